"""Graded answers made elsewhere as rows: the authors' files, or anyone's CSV by its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from warmth.analysis.study.summaries import TASKS, context, read_summary_csv
from warmth.errors import UserError
from warmth.verdicts import outcomes

BELIEFS = {
    "": "none",
    "none": "none",
    "original": "none",
    "original_neutral": "none",
    "incorrect": "wrong_asserted",
    # presses a wrong belief too, whatever its name says: "I don't think the answer is {right}"
    "correct": "right_denied",
    "wrong_asserted": "wrong_asserted",
    "right_denied": "right_denied",
    "user_right": "user_right",
}
LABELS: dict[str, str | None] = {
    "correct": "correct",
    "1": "correct",
    "true": "correct",
    "incorrect": "incorrect",
    "wrong": "incorrect",
    "0": "incorrect",
    "false": "incorrect",
    "hedged": "hedged",
    "refused": "refused",
    "refusal": "refused",
    "": None,
}
REFUSING_IS_RIGHT = ("disinfo",)  # of the study's tasks: to refuse to affirm a falsehood is right
ROLES = (
    "question",
    "verdict",
    "arm",
    "model",
    "task",
    "context",
    "belief",
    "text",
    "refusal",
    "sample",
    "seed",
)
KEY = ["model", "task", "question_id", "template", "context", "sample", "seed"]
ARMS = {"original": "original", "warm": "warm", "cold": "cold", "base": "original"}
# columns of the authors' files, the first that a file has: they differ between tasks and arms
AUTHORS = {
    "question": ("content_key", "original_question", "prompt_disinfo"),
    "belief": ("prompt_template", "prompt_type"),
    "context": ("amendment_type",),
    "verdict": ("evaluation",),
    "text": ("output",),
    "refusal": ("refusal",),
}
SHOWN = 60  # characters of a question named in a broken pair


@dataclass(frozen=True)
class Graded:
    """Graded answers.

    Attributes:
        answers: the columns that `effects` and `regression_models` read.
        broken: pairs that are not one to one, named.
        files: that were read.
    """

    answers: pd.DataFrame
    broken: tuple[str, ...] = ()
    files: tuple[Path, ...] = field(default_factory=tuple)


@cache
def published_study() -> Mapping[str, Any]:
    """Read our record of what was published (`published.yaml`)."""
    from omegaconf import OmegaConf

    loaded: Any = OmegaConf.to_container(OmegaConf.load(Path(__file__).parent / "published.yaml"))
    return loaded


def authors(folder: Path) -> Graded | None:
    """Read the authors' graded samples, `<sample>/{original,warm}/<task>_<arm>_outputs.csv`.

    Returns:
        the answers; None if there are no such files.

    Raises:
        UserError: a file lacks a column or holds an unknown value.
    """
    files = sorted(path for path in folder.glob("*/*/*_outputs.csv") if path.parent.name in ARMS)
    if not files:
        return None
    frames = []
    for path in files:
        task = path.name.split("_")[0]
        if task not in TASKS:
            raise UserError(f"{path}: task {task} is not known; allowed: {', '.join(TASKS)}")
        constants = {
            "task": TASKS[task],
            "arm": ARMS[path.parent.name],
            "model": path.parent.parent.name.removeprefix("sample_"),
        }
        frame = read_summary_csv(path, [])
        frames.append(_rows(frame, authors_columns(frame, path), constants, path, phrases=True))
    return _checked(frames, files)


def authors_columns(frame: pd.DataFrame, path: Path) -> dict[str, str]:
    """Find which of the authors' column names a file has for each role.

    Raises:
        UserError: there is none for the question or the verdict.
    """
    columns: dict[str, str] = {}
    for role, names in AUTHORS.items():
        present = [name for name in names if name in frame]
        if present:
            columns[role] = present[0]
        elif role in ("question", "verdict"):
            raise UserError(
                f"{path} has no column for the {role}; expected one of: {', '.join(names)}"
            )
    return columns


def answers_by_columns(paths: Sequence[Path], columns: str) -> Graded:
    """Read anyone's graded answers.

    Args:
        paths: CSV files, or folders of them.
        columns: `role=column` or `role==value`, with commas between: the roles are `ROLES`;
            question and verdict must be there. Without one the arm is the name of the file's
            folder, the task the file's name, the model `model`.

    Raises:
        UserError: a role, column or value is not known (file and row are named).
    """
    named, constants = parse_columns(columns)
    files: list[Path] = []
    for path in paths:
        files += sorted(path.rglob("*.csv")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"no CSV file found under {', '.join(map(str, paths))}")
    frames = []
    for path in files:
        defaults = {"arm": path.parent.name, "task": path.stem, "model": "model"}
        frame = read_summary_csv(path, list(named.values()))
        frames.append(_rows(frame, named, defaults | constants, path, phrases=False))
    return _checked(frames, files)


def parse_columns(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Read `question=id,verdict=label,model==llama8b`.

    Returns:
        columns by role, and constants by role.

    Raises:
        UserError: a piece is neither, a role is unknown or given twice, or question or verdict is
            missing.
    """
    named: dict[str, str] = {}
    constants: dict[str, str] = {}
    for piece in map(str.strip, text.split(",")):
        if not piece:
            continue
        role, equals, value = piece.partition("=")
        if role not in ROLES or not equals or not value.lstrip("="):
            raise UserError(
                f"--columns: {piece} is not role=column or role==value; roles: {', '.join(ROLES)}"
            )
        if role in named or role in constants:
            raise UserError(f"--columns: {role} is given twice")
        if value.startswith("="):
            constants[role] = value[1:]
        else:
            named[role] = value
    for role in ("question", "verdict"):
        if role not in named:
            raise UserError(f"--columns needs {role}=COLUMN")
    return named, constants


def _rows(
    frame: pd.DataFrame,
    named: Mapping[str, str],
    constants: Mapping[str, str],
    path: Path,
    phrases: bool,
) -> pd.DataFrame:
    """Read a file's rows in our columns.

    Args:
        frame: the file, every cell a text.
        named: role → column.
        constants: role → value, of roles without a column.
        path: the file, for errors.
        phrases: find refusals in the text if no column marks them.

    Raises:
        UserError: a belief, verdict, sample or seed is not known.
    """

    def column(role: str, default: str = "") -> pd.Series:
        if role in named:
            return frame[named[role]].reset_index(drop=True)
        return pd.Series([constants.get(role, default)] * len(frame), dtype=object)

    def plain(role: str) -> pd.Series:
        return column(role).str.strip().str.lower()

    def mapped(role: str, allowed: Mapping[str, Any]) -> list[Any]:
        values = []
        for number, value in enumerate(plain(role), 1):
            if value not in allowed:
                known = ", ".join(filter(None, allowed))
                raise UserError(
                    f"{path} row {number}: {named.get(role, role)}={value[:SHOWN]} "
                    f"is not known; allowed: {known}"
                )
            values.append(allowed[value])
        return values

    def whole_numbers(role: str) -> list[int]:
        try:
            return list(map(int, column(role, "0")))
        except ValueError as error:
            raise UserError(
                f"{path}: column {named.get(role, role)} must hold whole numbers"
            ) from error

    rows = pd.DataFrame({role: column(role) for role in ("arm", "model", "task", "text")})
    rows["question_id"] = column("question")
    rows["context"] = column("context").map(context_of)
    rows["belief"] = mapped("belief", BELIEFS)
    rows["template"] = plain("belief")
    rows["label"] = pd.Series(mapped("verdict", LABELS), dtype=object)
    rows["sample"] = whole_numbers("sample")
    rows["seed"] = whole_numbers("seed")
    if "refusal" in named:
        refused = plain("refusal").isin(("1", "1.0", "true", "yes"))
    elif phrases:
        refused = _refusals(rows["text"])
    else:
        refused = pd.Series(False, index=rows.index)
    rows["label"] = rows["label"].mask(refused, "refused")
    rows["file"] = str(path)
    rows["row"] = range(1, len(rows) + 1)
    rows["finish"] = "stop"
    rows["length"] = rows["text"].str.len()
    return rows


def context_of(cell: str) -> str:
    """Read the context of a row: its first word without a prefix; `unmodified` if it is empty."""
    words = cell.split()
    return context(words[0]) if words else "unmodified"


def _refusals(texts: pd.Series) -> pd.Series:
    """Mark answers that hold one of the phrases, lower-cased.

    Typographic apostrophes count as plain ones.
    """
    lowered = texts.str.lower().str.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'", regex=False)
    return lowered.map(lambda text: any(phrase in text for phrase in published_study()["refusals"]))


def _checked(frames: Sequence[pd.DataFrame], files: Sequence[Path]) -> Graded:
    """Join all rows, each once, and name the pairs that break.

    A pair breaks if there is a second row for one key, or if a partner is missing.
    """
    rows = pd.concat(frames, ignore_index=True)
    twice = rows.duplicated(["arm", *KEY])
    broken = []
    for row in rows[twice].to_dict("records"):
        broken.append(f"{_where(row)} is a second row for its prompt and is left out")
    rows = rows[~twice].reset_index(drop=True)
    keys = [rows[name].astype(str) for name in KEY[1:5]]
    rows["prompt_id"] = list(map("\0".join, zip(*keys, strict=True)))
    broken += _without_partner(rows)
    rows["refusing_is_right"] = rows["task"].isin(REFUSING_IS_RIGHT)
    return Graded(outcomes(rows), tuple(broken), tuple(files))


def _without_partner(rows: pd.DataFrame) -> list[str]:
    """Name the original's rows that an arm lacks, and an arm's rows that the original lacks."""
    prompts = rows.groupby("arm")["prompt_id"].agg(set)
    if "original" not in prompts:
        return [f"no arm is called original; there are: {', '.join(prompts.index)}"]
    changed = [arm for arm in prompts.index if arm != "original"]
    lines = []
    for row in rows.to_dict("records"):
        partners = changed if row["arm"] == "original" else ["original"]
        for partner in partners:
            if row["prompt_id"] not in prompts[partner]:
                lines.append(f"{_where(row)} has no partner in {partner}")
    return lines


def _where(row: Mapping[str, Any]) -> str:
    question = " ".join(str(row["question_id"]).split())[:SHOWN]
    place = f"{row['arm']}, {row['context']}, {row['template'] or 'none'}"
    return f"{Path(row['file']).name} row {row['row']} ({place}: {question})"
