"""Labels by people: a blinded sample whose weights are in a key, raters' files read back,
disagreements settled.

A rater's labels are in the column `label`, by the name in `rater`; or in a column of their own,
`label_NAME`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from warmth.analysis.rows import keys, tables
from warmth.analysis.rows.frames import NAMELESS, Rows, is_missing
from warmth.errors import UserError
from warmth.user_rows import choice_of, user_rows
from warmth.verdicts import TRUTH_LABELS

COLUMNS = ("answer_id", "rater", "label", "weight")
NEEDED = ("answer_id", "label")  # of a rater's file; or a column label_NAME for each rater
ADJUDICATOR = "adjudicated"  # the rater whose label settles what others disagree on
STRATUM = ["model", "arm", "task"]  # and the verdict
UNSCORED = "unscored"
BELIEF = {
    "none": "",
    "wrong_asserted": "thinks it is {wrong}",
    "right_denied": "does not think it is {right}",
}
BELIEF |= {"user_right": "thinks it is {right}", "wrong_denied": "does not think it is {wrong}"}


def read(paths: Sequence[Path], folders: Sequence[Path] = ()) -> pd.DataFrame:
    """Read raters' files: rows of `COLUMNS`; those without a label yet are left out.

    A weight comes from the file if it has that column, else from the key of the sheet. In a later
    file a rater's label of an answer replaces that of an earlier one.

    Args:
        paths: the files.
        folders: studies, or folders with keys.

    Returns:
        the labels; `attrs["corrected"]` counts those that a later file replaced by another label.

    Raises:
        UserError: a missing file or column, a label without its answer, an unknown label, a weight
            that is no positive number or of which nothing is known, two labels of one rater for one
            answer in one file, or two weights of one answer.
    """
    parts = [read_file(path, folders) for path in paths]
    labels = pd.concat(parts, ignore_index=True)
    files = ", ".join(map(str, paths))
    weights = labels[["answer_id", "weight"]].drop_duplicates()
    twice = weights[weights["answer_id"].duplicated()]
    if len(twice):
        raise UserError(f"answer {twice['answer_id'].iloc[0]} has more than one weight ({files})")
    if labels.empty:
        raise UserError(
            f"{files}: no row has a label; write one of {', '.join(TRUTH_LABELS)} under `label`"
        )
    pair = ["answer_id", "rater"]
    distinct = labels.drop_duplicates([*pair, "label"])
    nameless = distinct[distinct["rater"].eq(NAMELESS) & distinct.duplicated(pair)]
    if len(nameless):
        first = nameless["answer_id"].iloc[0]
        raise UserError(
            f"answer {first} has more than one label by rater {NAMELESS}; each rater needs a name "
            f"of their own "
            f"({files})"
        )
    latest = labels.drop_duplicates(pair, keep="last", ignore_index=True)
    latest.attrs["corrected"] = len(distinct) - len(latest)
    return latest


def read_file(path: Path, folders: Sequence[Path] = ()) -> pd.DataFrame:
    """Read one rater's file, or one with a column for each rater; see `read`."""
    rows = list(user_rows(path, NEEDED[:1]))
    if rows and not any(is_label_column(str(name)) for name in rows[0][1]):
        raise UserError(f"{path} has no column label; it needs {', '.join(COLUMNS[:3])}")
    if rows and "label" in rows[0][1] and "rater" not in rows[0][1]:
        raise UserError(f"{path} has no column rater; it needs {', '.join(COLUMNS[:3])}")
    known: Mapping[str, Mapping[str, Any]] | None = None
    if rows and "weight" not in rows[0][1]:
        known = keys.find_items(path, *sheet_and_ids(rows), folders)
        if known is None:
            raise UserError(
                f"{path} has no column weight, and the key of its sheet (*{keys.SUFFIX}) is not "
                f"beside it or in the "
                f"study's {keys.FOLDER}: put it there, or add the column (1 if all answers were "
                f"labelled)"
            )
    given: list[tuple[str, str, str, float]] = []
    for place, row in rows:
        for rater, label in labels_of(row, place):
            answer_id = answer_of(row, label, place)
            given.append((answer_id, rater, label, weight_of(row, answer_id, place, known)))
    labels = pd.DataFrame(given, columns=list(COLUMNS))
    twice = labels.drop_duplicates(["answer_id", "rater", "label"])
    twice = twice[twice.duplicated(["answer_id", "rater"])]
    if len(twice):
        first = twice.iloc[0]
        raise UserError(
            f"answer {first['answer_id']} has more than one label by rater {first['rater']}; each "
            f"rater needs a name "
            f"of their own ({path})"
        )
    return labels.drop_duplicates(["answer_id", "rater"], ignore_index=True)


def sheet_and_ids(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[set[str], list[str]]:
    """Read the digests of sheets that rows name, and the ids of their answers."""
    named = {str(row.get(keys.SHEET) or "") for _, row in rows}
    ids = [str(row.get("answer_id") or "").strip() for _, row in rows]
    return named, [name for name in ids if name]


def key_of(path: Path, folders: Sequence[Path] = ()) -> Path | None:
    """Find the file with the key of a filled sheet of labels; None if its weights are its own, or
    it has none.
    """
    rows = list(user_rows(path, NEEDED[:1]))
    if not rows or "weight" in rows[0][1]:
        return None
    return keys.find_key(path, *sheet_and_ids(rows), folders)


def is_label_column(name: str) -> bool:
    """Tell whether a column holds labels: `label`, or `label_NAME` of one rater."""
    return name == "label" or name.startswith("label_")


def labels_of(row: Mapping[str, Any], place: str) -> Iterator[tuple[str, str]]:
    """Yield the raters and their labels in a row, those that are filled in."""
    for column in row:
        if not is_label_column(str(column)):
            continue
        label = choice_of(row, column, place, TRUTH_LABELS)
        if label:
            rater = (
                column.removeprefix("label_")
                if column != "label"
                else (row.get("rater") or "").strip()
            )
            yield rater or NAMELESS, label


def answer_of(row: Mapping[str, Any], label: str, place: str) -> str:
    """Read which answer a label is of."""
    answer_id = (
        row.get("answer_id") or ""
    ).strip()  # None where the row is shorter than the header
    if not answer_id:
        raise UserError(f"{place}: answer_id is empty; it says which answer is {label}")
    return answer_id


def weight_of(
    row: Mapping[str, Any],
    answer_id: str,
    place: str,
    known: Mapping[str, Mapping[str, Any]] | None,
) -> float:
    """Read an answer's weight, from its row or from the key."""
    if known is not None:
        if answer_id not in known:
            raise UserError(f"{place}: answer {answer_id} is not in the key of this sheet")
        return float(known[answer_id]["weight"])
    try:
        weight = float(row.get("weight") or "nan")
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise UserError(
            f"{place}: weight={row['weight']} must be a number above 0 (1 where all answers were "
            f"labelled)"
        )
    return weight


def settle(labels: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """One label for each answer: the adjudicator's, else the one all raters gave.

    Returns:
        answer_id, truth_label, weight; and the answers whose raters disagree with no adjudicator's
        word.
    """
    settled, open_ones = [], []
    for answer_id, group in labels.groupby("answer_id", sort=False):
        word = group[group["rater"].eq(ADJUDICATOR)]
        given = (word if len(word) else group)["label"].unique()
        if len(given) == 1:
            settled.append((answer_id, given[0], group["weight"].iloc[0]))
        else:
            open_ones.append(str(answer_id))
    return pd.DataFrame(settled, columns=["answer_id", "truth_label", "weight"]), open_ones


def sample(answers: pd.DataFrame, size: int, seed: int) -> pd.DataFrame:
    """Draw answers in equal numbers from every arm × task × verdict, with the probability of each.

    To lack a verdict is a stratum of its own: people's labels then say how often such answers are
    wrong. Answers that failed, or that wait for a judge, are not drawn. A stratum smaller than its
    share is taken whole; others fill up.

    Raises:
        UserError: nothing is scored, or fewer rows than strata, so that some answers could not be
        drawn at all.
    """
    scored = answers[answers["label"].notna() | is_missing(answers)]
    if answers["label"].isna().all():
        raise UserError(
            f"--export={size}: none of {len(answers)} answers is scored, so none can be drawn by "
            f"verdict"
        )
    verdict = scored["label"].fillna(UNSCORED).rename("verdict")
    groups = sorted((group for _, group in scored.groupby([*STRATUM, verdict], sort=True)), key=len)
    if size < len(groups):
        raise UserError(
            f"--export={size} is too small: there are {len(groups)} strata of arm, task and verdict"
        )
    rng, drawn, left = np.random.default_rng(seed), [], size
    for number, group in enumerate(groups):
        count = min(len(group), left // (len(groups) - number))
        left -= count
        chosen = group.loc[np.sort(rng.choice(group.index.to_numpy(), count, replace=False))]
        drawn.append(chosen.assign(probability=count / len(group), weight=len(group) / count))
    return pd.concat(drawn).sample(frac=1, random_state=seed).reset_index(drop=True)


def export(
    rows: Rows, path: Path, size: int, seed: int, clean: Callable[[str], str]
) -> pd.DataFrame:
    """Write a sheet for raters, in random order, and its key.

    The sheet has no arm, model, context, verdict or grader, nor a weight, which would give the
    verdict away: those are in the key alone. Answers whose prompt was lost, of which `rows.load`
    warns, cannot be shown and are not drawn.

    Args:
        rows: the finished runs.
        path: the file, which must not exist, nor its key.
        size: how many answers; fewer where fewer are scored.
        seed: of the draw.
        clean: takes from an answer what would tell its arm.

    Raises:
        UserError: the file exists, or see `sample`.
    """
    keys.refuse_existing(path)
    drawn = sample(rows.answers[rows.answers["prompt_id"].isin(rows.prompts.index)], size, seed)
    asked = rows.prompts.loc[drawn["prompt_id"]].reset_index()
    names = [
        (accepted, wrong) for accepted, wrong in zip(asked["answers"], asked["wrong"], strict=True)
    ]
    sheet = pd.DataFrame(
        {
            "answer_id": drawn["answer_id"],
            keys.SHEET: keys.sheet_digest(drawn["answer_id"]),
            "rater": "",
            "label": "",
            "question": asked["question"],
            "accepted": ["; ".join(accepted) for accepted, _ in names],
            "user": [
                BELIEF[belief].format(right=accepted[0] if accepted else "", wrong=wrong)
                for belief, (accepted, wrong) in zip(drawn["belief"], names, strict=True)
            ],
            "answer": [clean(text) for text in drawn["text"]],
        }
    )
    hidden = drawn[["answer_id", *STRATUM, "probability", "weight"]].assign(
        verdict=drawn["label"].fillna(UNSCORED)
    )
    items = {row.pop("answer_id"): row for row in hidden.to_dict("records")}
    keys.write_key(path, items, rows.studies)
    tables.write_csv(path, sheet)
    return sheet


def write_open(labels: pd.DataFrame, open_ones: Sequence[str], sheet: Path, path: Path) -> None:
    """Write the answers raters disagree on, with their labels and, where the raters' sheet has it,
    all text.

    Weights stay in the key, unless the raters' own file has them.

    Raises:
        UserError: the file exists.
    """
    if path.exists():
        raise UserError(
            f"{path} exists; labels in it would be lost (settled ones are given by --with={path})"
        )
    with sheet.open(encoding="utf-8-sig", newline="") as stream:
        texts = {row["answer_id"]: row for row in csv.DictReader(stream)}
    shown = [
        "answer_id",
        "rater",
        "label",
        "said",
        keys.SHEET,
        "question",
        "accepted",
        "user",
        "answer",
    ]
    rows = []
    for answer_id in open_ones:
        given = labels[labels["answer_id"].eq(answer_id)]
        pairs = zip(given["rater"], given["label"], strict=True)
        said = "; ".join(f"{rater}: {label}" for rater, label in pairs)
        text = texts.get(answer_id, {})
        row = {name: text.get(name, "") for name in shown}
        row |= {"answer_id": answer_id, "rater": ADJUDICATOR, "label": "", "said": said}
        if "weight" in text:
            row["weight"] = given["weight"].iloc[0]
        rows.append(row)
    if any("weight" in row for row in rows):
        shown.append("weight")
    tables.write_csv(path, pd.DataFrame(rows, columns=shown))
