"""Graded answers made elsewhere become rows: the authors' files as they are, or anyone's CSV by its
columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from warmth.analysis.study.summaries import TASKS, read_csv
from warmth.errors import UserError
from warmth.verdicts import outcomes

BELIEFS = {
    "": "none",
    "none": "none",
    "original": "none",
    "original_neutral": "none",
    "incorrect": "wrong_asserted",
}
# `correct` too presses a wrong belief, whatever its name says: "I don't think the answer is
# {right}"
BELIEFS |= {
    "correct": "right_denied",
    "wrong_asserted": "wrong_asserted",
    "right_denied": "right_denied",
}
BELIEFS |= {"user_right": "user_right"}
LABELS: dict[str, str | None] = {
    "correct": "correct",
    "1": "correct",
    "true": "correct",
    "incorrect": "incorrect",
    "wrong": "incorrect",
}
LABELS |= {
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
    """`answers`: the columns that `effects` and `models` read; `broken`: pairs that are not one to
    one, named.
    """

    answers: pd.DataFrame
    broken: tuple[str, ...] = ()
    files: tuple[Path, ...] = field(default_factory=tuple)


@cache
def study() -> Mapping[str, Any]:
    """Our record of what was published (`published.yaml`)."""
    from omegaconf import OmegaConf

    loaded: Any = OmegaConf.to_container(OmegaConf.load(Path(__file__).parent / "published.yaml"))
    return loaded


def authors(folder: Path) -> Graded | None:
    """The authors' graded samples, `<sample>/{original,warm}/<task>_<arm>_outputs.csv`; None where
    there are none.

    Raises:
        UserError: a file lacks a column or holds an unknown value.
    """
    files = sorted(path for path in folder.glob("*/*/*_outputs.csv") if path.parent.name in ARMS)
    if not files:
        return None
    parts = []
    for path in files:
        task = path.name.split("_")[0]
        if task not in TASKS:
            raise UserError(f"{path}: task {task} is not known; allowed: {', '.join(TASKS)}")
        constants = {"task": TASKS[task], "arm": ARMS[path.parent.name]}
        constants["model"] = path.parent.parent.name.removeprefix("sample_")
        frame = read_csv(path, [])
        columns = {
            role: next((name for name in names if name in frame), "")
            for role, names in AUTHORS.items()
        }
        missing = [role for role in ("question", "verdict") if not columns[role]]
        if missing:
            raise UserError(
                f"{path} has no column for the {missing[0]}; expected one of: "
                f"{', '.join(AUTHORS[missing[0]])}"
            )
        parts.append(
            _rows(
                frame,
                {role: name for role, name in columns.items() if name},
                constants,
                path,
                phrases=True,
            )
        )
    return _checked(parts, files)


def table(paths: Sequence[Path], columns: str) -> Graded:
    """Anyone's graded answers.

    Args:
        paths: CSV files, or folders of them.
        columns: `role=column` or `role==value`, with commas between: the roles are `ROLES`;
            question and verdict must be there. Without one the arm is the name of the file's
            folder, the task the file's name, the model `model`.

    Raises:
        UserError: a role, column or value is not known (file and row are named).
    """
    named, constants = parse_columns(columns)
    files = [
        file
        for path in paths
        for file in (sorted(path.rglob("*.csv")) if path.is_dir() else [path])
    ]
    if not files:
        raise UserError(f"no CSV file found under {', '.join(map(str, paths))}")
    parts = []
    for path in files:
        own = {"arm": path.parent.name, "task": path.stem, "model": "model"}
        frame = read_csv(path, list(named.values()))
        parts.append(_rows(frame, named, own | constants, path, phrases=False))
    return _checked(parts, files)


def parse_columns(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """`question=id,verdict=label,model==llama8b` as columns by role and constants by role.

    Raises:
        UserError: a part is neither, a role is unknown or given twice, or question or verdict is
        missing.
    """
    named: dict[str, str] = {}
    constants: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        role, equals, value = part.partition("=")
        if role not in ROLES or not equals or not value.lstrip("="):
            raise UserError(
                f"--columns: {part} is not role=column or role==value; roles: {', '.join(ROLES)}"
            )
        if role in named or role in constants:
            raise UserError(f"--columns: {role} is given twice")
        target, value = (constants, value[1:]) if value.startswith("=") else (named, value)
        target[role] = value
    missing = [role for role in ("question", "verdict") if role not in named]
    if missing:
        raise UserError(f"--columns needs {missing[0]}=COLUMN")
    return named, constants


def _rows(
    frame: pd.DataFrame,
    named: Mapping[str, str],
    constants: Mapping[str, str],
    path: Path,
    phrases: bool,
) -> pd.DataFrame:
    """A file's rows in our columns.

    `phrases`: find refusals in the text where no column marks them.
    """

    def column(role: str, default: str = "") -> list[str]:
        return (
            list(frame[named[role]])
            if role in named
            else [constants.get(role, default)] * len(frame)
        )

    def mapped(role: str, allowed: Mapping[str, Any]) -> list[Any]:
        values = [value.strip().lower() for value in column(role)]
        for at, value in enumerate(values, 1):
            if value not in allowed:
                known = ", ".join(filter(None, allowed))
                raise UserError(
                    f"{path} row {at}: {named.get(role, role)}={value[:SHOWN]} is not known; "
                    f"allowed: {known}"
                )
        return [allowed[value] for value in values]

    def number(role: str) -> list[int]:
        try:
            return [int(value) for value in column(role, "0")]
        except ValueError as error:
            raise UserError(
                f"{path}: column {named.get(role, role)} must hold whole numbers"
            ) from error

    rows = pd.DataFrame({role: column(role) for role in ("arm", "model", "task", "text")})
    rows["question_id"] = column("question")
    rows["context"] = [
        (value.split() or ["unmodified"])[0].rpartition(":")[2] for value in column("context")
    ]
    rows["belief"], rows["template"] = (
        mapped("belief", BELIEFS),
        [value.strip().lower() for value in column("belief")],
    )
    rows["label"] = pd.Series(mapped("verdict", LABELS), dtype=object)
    rows["sample"], rows["seed"] = number("sample"), number("seed")
    refused = _refusals(rows["text"]) if phrases else pd.Series(False, index=rows.index)
    if "refusal" in named:
        refused = pd.Series(
            [
                value.strip().lower() in ("1", "1.0", "true", "yes")
                for value in frame[named["refusal"]]
            ]
        )
    rows["label"] = rows["label"].mask(refused, "refused")
    return rows.assign(
        file=str(path), row=range(1, len(rows) + 1), finish="stop", length=rows["text"].str.len()
    )


def _refusals(texts: pd.Series) -> pd.Series:
    """Which answers hold one of the phrases, lower-cased; typographic apostrophes count as plain
    ones.
    """
    lowered = texts.str.lower().str.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'", regex=False)
    return lowered.map(lambda text: any(phrase in text for phrase in study()["refusals"]))


def _checked(parts: Sequence[pd.DataFrame], files: Sequence[Path]) -> Graded:
    """All rows together, each once, with the pairs that break: a second row for one key, or a
    missing partner.
    """
    rows = pd.concat(parts, ignore_index=True)
    twice = rows.duplicated(["arm", *KEY])
    broken = [
        f"{_where(row)} is a second row for its prompt and is left out"
        for row in rows[twice].to_dict("records")
    ]
    rows = rows[~twice].reset_index(drop=True)
    rows["prompt_id"] = [
        "\0".join(key) for key in zip(*(rows[name].astype(str) for name in KEY[1:5]), strict=True)
    ]
    if rows["arm"].eq("original").any():
        keys = rows.groupby("arm")["prompt_id"].agg(set)
        for row in rows.to_dict("records"):
            others = (
                ["original"]
                if row["arm"] != "original"
                else [name for name in keys.index if name != "original"]
            )
            lost = [name for name in others if row["prompt_id"] not in keys[name]]
            broken += [f"{_where(row)} has no partner in {name}" for name in lost]
    else:
        broken.append(
            f"no arm is called original; there are: {', '.join(sorted(rows['arm'].unique()))}"
        )
    rows["refusing_is_right"] = rows["task"].isin(REFUSING_IS_RIGHT)
    return Graded(outcomes(rows), tuple(broken), tuple(files))


def _where(row: Mapping[str, Any]) -> str:
    question = " ".join(str(row["question_id"]).split())[:SHOWN]
    place = f"{row['arm']}, {row['context']}, {row['template'] or 'none'}"
    return f"{Path(row['file']).name} row {row['row']} ({place}: {question})"
