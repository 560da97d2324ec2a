"""Checks how much a reader must hold in mind: `python checks/density.py` (part of `make check`).

Counts are per token and per statement, so that breaking a line changes nothing. Bounds stand in
pyproject.toml under `[tool.density]`. They are only ever lowered: `--lower` writes what the code
reaches now if that is less, and no bound may lie above the goal of this file.
"""

from __future__ import annotations

import ast
import io
import math
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ROOT / "pyproject.toml"
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
MEANING = (tokenize.NAME, tokenize.NUMBER, tokenize.STRING, tokenize.OP)
# Names that do not say what their value is.
EMPTY_NAMES = """found made own one said told here there rest part parts chosen kept item other
others mine theirs each every first last what whole place places word look lost alone left gone
wanted asked"""
# Words with which a docstring begins that is no sentence with a verb.
NOUN_PHRASES = """a an the what how whether one every each all where why which who whose its our two
some rows of as in by with those no"""
GOALS = {
    "tokens_per_statement": 11.0,
    "comprehensions_per_1000_tokens": 3.5,
    "nested_comprehensions_per_1000_tokens": 0.1,
    "conditionals_per_1000_tokens": 3.0,
    "parallel_assignments_per_1000_statements": 8.0,
    "empty_names_percent": 3.0,
    "noun_docstrings_percent": 15.0,
}


@dataclass
class Counts:
    """What is counted in all files of a folder."""

    tokens: int = 0
    statements: int = 0
    comprehensions: int = 0
    nested: int = 0
    conditionals: int = 0
    parallel: int = 0
    names: int = 0
    empty_names: int = 0
    docstrings: int = 0
    noun_docstrings: int = 0

    def measures(self) -> dict[str, float]:
        """Return each measure under the name of its bound."""
        return {
            "tokens_per_statement": self.tokens / self.statements,
            "comprehensions_per_1000_tokens": 1000 * self.comprehensions / self.tokens,
            "nested_comprehensions_per_1000_tokens": 1000 * self.nested / self.tokens,
            "conditionals_per_1000_tokens": 1000 * self.conditionals / self.tokens,
            "parallel_assignments_per_1000_statements": 1000 * self.parallel / self.statements,
            "empty_names_percent": 100 * self.empty_names / self.names,
            "noun_docstrings_percent": 100 * self.noun_docstrings / self.docstrings,
        }


def count(folder: Path) -> Counts:
    """Count all Python files of a folder."""
    counts = Counts()
    for file in sorted(folder.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            counts.tokens += token.type in MEANING
        for node in ast.walk(ast.parse(text)):
            count_node(node, counts)
    return counts


def count_node(node: ast.AST, counts: Counts) -> None:
    """Add one node of a syntax tree to the counts."""
    counts.statements += isinstance(node, ast.stmt)
    counts.conditionals += isinstance(node, ast.IfExp)
    if isinstance(node, COMPREHENSIONS):
        counts.comprehensions += 1
        inside = (child for child in ast.walk(node) if child is not node)
        counts.nested += any(isinstance(child, COMPREHENSIONS) for child in inside)
    if isinstance(node, ast.Assign):
        has_two_sides = isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)
        counts.parallel += has_two_sides
    for name in names_bound(node):
        counts.names += 1
        counts.empty_names += name in EMPTY_NAMES.split()
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = ast.get_docstring(node)
        if docstring:
            counts.docstrings += 1
            counts.noun_docstrings += first_word(docstring) in NOUN_PHRASES.split()


def first_word(text: str) -> str:
    """Return the first word of a text in lower case, without punctuation."""
    return text.split()[0].lower().strip(".,")


def names_bound(node: ast.AST) -> Iterator[str]:
    """Yield the local names that an assignment, a loop or a comprehension binds."""
    if isinstance(node, ast.Assign):
        target = node.targets[0]
    elif isinstance(node, ast.For | ast.comprehension):
        target = node.target
    else:
        return
    for part in ast.walk(target):
        if isinstance(part, ast.Name):
            yield part.id


def lowered(text: str, measures: dict[str, float], bounds: dict[str, float]) -> str:
    """Return the settings with each bound replaced by what is reached, if that is less."""
    for name, value in measures.items():
        reached = math.ceil(value * 100) / 100
        if reached < bounds[name]:
            text = re.sub(rf"^{name} = .*$", f"{name} = {reached:g}", text, flags=re.MULTILINE)
    return text


def main(words: list[str]) -> int:
    """Print a line for each measure; return 1 if one is above its bound."""
    text = SETTINGS.read_text(encoding="utf-8")
    bounds = tomllib.loads(text)["tool"]["density"]
    measures = count(ROOT / "warmth").measures()
    failed = False
    for name, value in measures.items():
        bound = min(bounds[name], GOALS[name])
        is_over = value > bound
        failed = failed or is_over
        verdict = "over" if is_over else "ok"
        print(f"{name:42} {value:6.2f}  bound {bound:g}  goal {GOALS[name]:g}  {verdict}")
    if "--lower" in words:
        SETTINGS.write_text(lowered(text, measures, bounds), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
