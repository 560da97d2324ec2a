"""The study's own words, read from the authors' files: `warmth study RELEASED_DIR --out FILE`.

Prompts stand in their released outputs, so statements, preamble, belief sentences, the exam's cases
as told, and the supplied wrong answers can be cut out of them. The phrases by which they found
refusals are a list in one of their scripts, which is parsed and never run. The file is for
`design=paper statements=FILE refusals=FILE`; it holds their words, so it stays with the user.
"""

from __future__ import annotations

import ast
import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from warmth.analysis.study.released import BELIEFS, context_of
from warmth.analysis.study.summaries import TASKS
from warmth.errors import UserError, one_line
from warmth.types import CONTEXTS

HEADER = """\
# Words of the authors of the study, cut out of their files by `warmth study`.
# They state no licence: keep this file to yourself.
# python evaluate.py -m experiment=paper_evaluate statements=THIS_FILE refusals=THIS_FILE
"""
STATEMENTS = 5  # of each context, as published
ASKED = 1625  # questions of the study
CASES = 500  # those of MedQA among them
# columns with a question as asked without a belief
QUESTIONS = ("content_key", "prompt_disinfo", "original_question")
RIGHT = ("correct_answer", "answer")
WRONG = ("incorrect_answer", "wrong_answer")
NEUTRAL = "original_neutral"
FEWEST = 3  # phrases of a list of refusals
REFUSING = re.compile(r"\b(?:sorry|cannot|can't|can’t|unable|as an ai)\b")


@dataclass
class StudyWords:
    """What the files hold, in the form of the file that is written."""

    statements: dict[str, list[str]] = field(default_factory=dict)  # context → statements
    preamble: str = ""
    # belief → sentence with {right} or {wrong}
    templates: dict[str, str] = field(default_factory=dict)
    # asserted_to_friends and so on → sentence with {claim}
    claims: dict[str, str] = field(default_factory=dict)
    recast: dict[str, str] = field(default_factory=dict)  # exam's case → as told with a belief
    # question → right, wrong, or the two propositions
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def lacks(self) -> list[str]:
        """List what the study has and these files do not hold, one line each."""
        lines = []
        for context in CONTEXTS[1:]:
            count = len(self.statements.get(context, ()))
            if count < STATEMENTS:
                lines.append(f"statements.{context}: {count} of {STATEMENTS}")
        if not self.preamble:
            lines.append("preamble: no prompt has it alone")
        for name in ("wrong_asserted", "right_denied"):
            if name not in self.templates:
                lines.append(f"templates.{name}")
        for name in ("asserted_to_friends", "denied_to_friends"):
            if name not in self.claims:
                lines.append(f"claims.{name}")
        if not self.refusals:
            lines.append(
                "refusals: no script with a list of phrases "
                "(statistical_models/analysis_utilities.py)"
            )
        if len(self.answers) < ASKED:
            lines.append(f"answers: {len(self.answers):,} of {ASKED:,} questions")
        if len(self.recast) < CASES:
            lines.append(f"recast: {len(self.recast)} of {CASES} cases as told")
        return lines

    def content(self) -> dict[str, Any]:
        """Return the file's content."""
        counts = [len(self.statements.get(context, ())) for context in CONTEXTS[1:]]
        statements = {name: self.statements[name] for name in CONTEXTS if name in self.statements}
        cases = [{"exam": exam, "told": told_case} for exam, told_case in self.recast.items()]
        answers = [{"question": question, **stated} for question, stated in self.answers.items()]
        return {
            "incomplete": any(count != STATEMENTS for count in counts),
            "files": self.files,
            "lacks": self.lacks(),
            "statements": statements,
            "preamble": self.preamble,
            "templates": self.templates,
            "claims": self.claims,
            "recast": cases,
            "answers": answers,
            "refusals": self.refusals,
        }


def read_study_words(folder: Path) -> StudyWords:
    """Read what an authors' folder holds of the study's wording.

    Raises:
        UserError: the folder does not exist or holds no released outputs, or a file cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder")
    rows = list(released_prompt_rows(folder))
    if not rows:
        raise UserError(
            f"{folder} holds no released outputs with their prompts (…/original/*_outputs.csv)"
        )
    words = StudyWords(files=sorted({str(row["file"].relative_to(folder)) for row in rows}))
    neutral_rows = [row for row in rows if template_of(row) == NEUTRAL]
    words.preamble = most_common(map(before_question, neutral_rows))
    statements: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        note(row, words, statements)
    for context, counts in statements.items():
        words.statements[context] = sorted(counts)
    for name, told_name in (("asserted", "asserted_to_friends"), ("denied", "denied_to_friends")):
        # without the preamble nobody was told; no published prompt is so
        if told_name in words.claims:
            words.claims[name] = words.claims[told_name]
    for path in sorted(folder.rglob("*.py")):
        words.refusals = refusal_list(path)
        if words.refusals:
            words.files.append(str(path.relative_to(folder)))
            break
    return words


def released_prompt_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of released outputs with a whole prompt, and add their file and task."""
    for path in sorted(folder.rglob("*_outputs.csv")):
        task = path.name.split("_")[0]
        if task not in TASKS:
            continue
        for row in released_csv_rows(path):
            if question_of(row) and (row.get("prompt") or "").strip():
                yield {**row, "file": path, "task": TASKS[task]}


def released_csv_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file as it is: "None" is an answer here.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from error


def note(row: Mapping[str, Any], words: StudyWords, statements: Mapping[str, Counter[str]]) -> None:
    """Take the statement, belief sentence, case as told and supplied answers from one row.

    Args:
        row: of a released output.
        words: changed in place.
        statements: context → how often each statement stands; changed in place.
    """
    context = context_of(str(row.get("amendment_type", "")))
    after = after_question(row)
    belief = BELIEFS.get(template_of(row), "none")
    statement = plain_end(before_question(row).removesuffix(words.preamble).strip())
    if context in CONTEXTS[1:] and statement:
        statements[context][statement] += 1
    exam = str(row.get("original_question") or "")
    told_case = str(row.get("question") or "")
    if exam and told_case and exam != told_case:
        words.recast[exam] = told_case
    question = str(row.get("original_question") or question_of(row))
    right = first_of(row, RIGHT)
    wrong = first_of(row, WRONG)
    if "proposition" in row:
        claims = {
            "right_claim": claim_in(row, "ground_truth"),
            "wrong_claim": claim_in(row, "ground_false"),
        }
        words.answers.setdefault(question, claims)
        note_claim(belief, after, claims, words)
        return
    # a few cells are empty: the answer "None" was lost before the files were released
    if right and wrong:
        words.answers.setdefault(question, {"right": right, "wrong": wrong})
    if belief.startswith("wrong_"):
        template = with_slot(after, wrong, "wrong")
    else:
        template = with_slot(after, right, "right")
    if belief != "none" and template:
        words.templates.setdefault(belief, template)


def note_claim(belief: str, sentence: str, claims: Mapping[str, str], words: StudyWords) -> None:
    """Take the sentence by which a proposition is stated, with a slot in its place.

    Args:
        belief: of the row.
        sentence: its belief in words; "" if it has none.
        claims: the right and the wrong proposition.
        words: changed in place.
    """
    if belief == "none" or not sentence:
        return
    name = "denied_to_friends"
    stated = [claims["right_claim"]]
    if belief == "wrong_asserted":
        name = "asserted_to_friends"
        stated = [claims["wrong_claim"]]
    elif belief == "right_denied":
        stated = list(claims.values())
    for claim in stated:
        template = with_slot(sentence, claim, "claim")
        if template:
            words.claims.setdefault(name, template)
            return
    # The proposition is worded otherwise in the prompt: its sentence ends like others, so its
    # beginning is kept.
    words_before = re.match(r"(.*?\bthink\b) ", sentence)
    if words_before:
        words.claims.setdefault(name, f"{words_before[1]} {{claim}}.")


def question_of(row: Mapping[str, Any]) -> str:
    """Return the question of a row as its prompt holds it, a case of the exam as told."""
    prompt = str(row.get("prompt", ""))
    told_case = str(row.get("question") or "")
    if told_case and told_case in prompt:
        return told_case
    for name in QUESTIONS:
        question = str(row.get(name) or "")
        if question and question in prompt:
            return question
    return ""


def before_question(row: Mapping[str, Any]) -> str:
    """Return what stands in a prompt before the question: statement and preamble."""
    return str(row["prompt"]).partition(question_of(row))[0].strip()


def after_question(row: Mapping[str, Any]) -> str:
    """Return what stands in a prompt after the question: the belief."""
    return str(row["prompt"]).partition(question_of(row))[2].strip()


def template_of(row: Mapping[str, Any]) -> str:
    """Return the name of a row's belief template."""
    return str(row.get("prompt_template") or row.get("prompt_type") or "").strip().lower()


def first_of(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the first of some columns that a row fills."""
    texts = [str(row.get(name) or "").strip() for name in names]
    return next(filter(None, texts), "")


def claim_in(row: Mapping[str, Any], column: str) -> str:
    """Return a proposition as it stands after "I think": in lower case, without a full stop.

    A name at its beginning keeps its capital: a first word with more capitals or digits, or one
    that stands in the question with a capital.
    """
    text = str(row.get(column) or "").strip().rstrip(".")
    first_word = text.partition(" ")[0]
    is_name = any(letter.isupper() or letter.isdigit() for letter in first_word[1:])
    if is_name or first_word in question_of(row).split()[1:]:
        return text
    return text[:1].lower() + text[1:]


def plain_end(statement: str) -> str:
    """Cut the second mark off a statement's end ("interested..", "right?."), left by joining."""
    return re.sub(r"([.!?])\.$", r"\1", statement)


def with_slot(sentence: str, answer: str, slot: str) -> str:
    """Put a slot where a sentence names an answer, whatever its case; "" if it does not."""
    name = answer.rstrip(".")
    start = sentence.lower().find(name.lower())
    if not answer or start < 0:
        return ""
    ending = sentence[start + len(name) :].lstrip(".")
    template = f"{sentence[:start]}{{{slot}}}{ending}"
    return template.rstrip(".") + "."


def most_common(texts: Iterable[str]) -> str:
    """Return the text that stands most often; "" if there is none."""
    counts = Counter(filter(None, texts))
    return counts.most_common(1)[0][0] if counts else ""


def refusal_list(path: Path) -> list[str]:
    """Read the list of phrases by which a script finds refusals; the script is parsed and not run.

    It is the longest list of lower-case texts, or alternatives of one pattern, that stands in a
    function or under a name that speaks of refusals, or holds words of refusing. Returns [] if
    there is none or the file is not Python.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError):
        return []
    best: list[str] = []
    for texts in text_lists(tree):
        phrases = [text.lower() for text in dict.fromkeys(texts) if text.strip()]
        refusing = sum(bool(REFUSING.search(phrase)) for phrase in phrases)
        if len(phrases) >= FEWEST and refusing >= 2 and len(phrases) > len(best):
            best = phrases
    return best


def text_lists(tree: ast.AST) -> Iterator[list[str]]:
    """Yield every list of texts in a syntax tree, and the alternatives of every pattern with bars.

    Tuples and sets are lists, too.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            texts = [text for text in map(constant_text, node.elts) if text is not None]
            if texts and len(texts) == len(node.elts):
                yield texts
            continue
        pattern = constant_text(node)
        if pattern is not None and pattern.count("|") >= FEWEST - 1:
            yield [re.sub(r"\\(.)", r"\1", phrase) for phrase in pattern.strip("()").split("|")]


def constant_text(node: ast.AST) -> str | None:
    """Return the text of a constant; None if a node is something else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def write_study(words: StudyWords, path: Path) -> None:
    """Write the file.

    Raises:
        UserError: it cannot be written.
    """
    text = HEADER + yaml.safe_dump(words.content(), allow_unicode=True, sort_keys=False, width=120)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
