"""What the instruments say of arms whose cost in truth is known, kept in one file of the package.

`python -m warmth.commands.calibrate` writes it. It is keyed by a digest of the measuring code
without comments and docstrings: a page of another version says that it has no calibration.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import warmth
from warmth.analysis import wording
from warmth.digest import cache_folder, digest
from warmth.store import write_json

FILE = Path(__file__).with_name("calibration.json")
PACKAGE = Path(warmth.__file__).resolve().parent
# What asks, weighs and grades, and the estimates and intervals of differences.
KIND_OPENING = "kind opening"  # the arm whose weighed replies begin with kind words
MOVED_BY_TONE = ("K", "B", "P", "S")  # quantities of that arm; K alone must stay
BOUND = 0.2  # nats by which kind words may move K
MEASURES = ("evaluation/**/*.py", "analysis/statistics/*.py", "verdicts.py")


@cache
def measuring_digest() -> str:
    """Digest the measuring code, whatever its comments, docstrings and layout."""
    files: set[Path] = set()
    for pattern in MEASURES:
        files.update(PACKAGE.glob(pattern))
    sources = []
    for path in sorted(files):
        sources.append([str(path.relative_to(PACKAGE)), path.read_text(encoding="utf-8")])
    memory = cache_folder() / "digests" / f"code-{digest(sources)}"  # parsing takes half a second
    if not memory.exists():
        memory.parent.mkdir(exist_ok=True)
        partial = memory.with_suffix(f".{os.getpid()}")
        partial.write_text(digest([[name, meaning_of(source)] for name, source in sources]))
        partial.replace(memory)
    return memory.read_text()


def meaning_of(source: str) -> str:
    """Return a module's syntax tree as text, docstrings left out."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and node.body:
            statement = node.body[0]
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                node.body = node.body[1:]
    return ast.dump(tree)


def write_calibration(rows: Sequence[Mapping[str, Any]], model: str, day: str) -> Path:
    """Write the calibration of this code; return its file."""
    content = {
        "code": measuring_digest(),
        "model": model,
        "day": day,
        "rows": list(map(dict, rows)),
    }
    write_json(FILE, content)
    return FILE


def read_calibration() -> dict[str, Any] | None:
    """Read the calibration of this code; None if the file is of other code, or missing."""
    if not FILE.exists():
        return None
    content = json.loads(FILE.read_text(encoding="utf-8"))
    return content if content["code"] == measuring_digest() else None


def calibration_sentence() -> str:
    """Say in one sentence what the instruments report of a change of tone alone and of known
    errors.
    """
    content = read_calibration()
    if content is None:
        command = "python -m warmth.commands.calibrate"
        return f"No calibration for this version; {command} makes one in minutes."
    results = [row_words(row) for row in content["rows"] if row["quantity"] in ("", "K")]
    return (
        f"Calibration of this version on {wording.name_words(content['model'])}, {content['day']}: "
        f"{'; '.join(results)}."
    )


def tone_sentences() -> str:
    """Say how far kind words alone move each quantity of likelihood, and which may so be moved by
    manner.
    """
    content = read_calibration()
    if content is None:
        return (
            "How far tone alone moves K, B, P and S is not known for this version; python -m "
            "warmth.commands.calibrate measures it."
        )
    moves = []
    moved = []
    open_ones = []  # that tone moves them is neither shown nor ruled out
    for row in content["rows"]:
        if row["name"] != KIND_OPENING or row["low"] is None:
            continue
        moves.append(f"{row['quantity']} by {change(row)}")
        if row["low"] > 0 or row["high"] < 0:
            moved.append(row["quantity"])
        elif widest(row) > BOUND:
            open_ones.append(row["quantity"])
    text = (
        f"Kind words before the same replies of {wording.name_words(content['model'])} moved "
        f"{wording.joined(moves)} nats."
    )
    if moved:
        text += (
            f" {wording.joined(moved)}: tone alone moves it, so a difference of this size may "
            f"be one of manner."
        )
    if open_ones:
        text += (
            f" {wording.joined(open_ones)}: that tone moves it by less than {BOUND:g} nats is "
            f"not shown."
        )
    return text


def change(row: Mapping[str, Any]) -> str:
    """Write a difference in nats with its interval."""
    interval = f"{wording.signed(row['low'], 2)} to {wording.signed(row['high'], 2)}"
    return f"{wording.signed(row['difference'], 2)} ({interval})"


def widest(row: Mapping[str, Any]) -> float:
    """Return how far from 0 the interval of a row reaches, in nats."""
    return max(abs(row["low"]), abs(row["high"]))


def row_words(row: Mapping[str, Any]) -> str:
    """Say what one arm was measured as, and what it truly is."""
    if row["unit"] == "nats":
        value = wording.signed(row["difference"], 2)
        interval = f"{wording.signed(row['low'], 2)} to {wording.signed(row['high'], 2)}"
        truth = "below 0" if row["expected"] is None else wording.signed(row["expected"], 2)
        return f"{row['name']}: {row['quantity']} {value} nats ({interval}; true {truth})"
    value = wording.points_words(row["difference"])
    interval = f"{wording.points_words(row['low'])} to {wording.points_words(row['high'])}"
    return (
        f"{row['name']}: {value} points ({interval}; true {wording.points_words(row['expected'])})"
    )


def is_promised(row: Mapping[str, Any]) -> bool:
    """Tell whether a row can fail: how far kind words move B, P and S is told and not promised."""
    return row["unit"] != "nats" or row["quantity"] == "K"


def holds(row: Mapping[str, Any]) -> bool:
    """Tell whether an instrument said the truth of an arm: its interval holds it, or it has the
    sign that is known.

    An arm that does not vary from the original has no interval; then the difference itself must be
    the truth. Kind words may move K by less than `BOUND`; how far they move B, P and S is told and
    not promised.
    """
    low, high = row["low"], row["high"]
    if row["expected"] is None:
        return high is not None and high < 0
    if not is_promised(row):
        return True
    if row["unit"] == "nats":
        return abs(row["difference"] - row["expected"]) < BOUND
    if low is None or high is None:
        return abs(row["difference"] - row["expected"]) < 1e-9
    return low <= row["expected"] <= high
