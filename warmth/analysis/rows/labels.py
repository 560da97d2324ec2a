"""Labels by people: a blind sheet and its key, raters' files read back, disagreements settled.

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
    "user_right": "thinks it is {right}",
    "wrong_denied": "does not think it is {wrong}",
}


def read_labels(paths: Sequence[Path], folders: Sequence[Path] = ()) -> pd.DataFrame:
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
    labels = pd.concat([read_file(path, folders) for path in paths], ignore_index=True)
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
        raise UserError(
            f"answer {nameless['answer_id'].iloc[0]} has more than one label by rater {NAMELESS}; "
            f"each rater needs a name of their own ({files})"
        )
    latest = labels.drop_duplicates(pair, keep="last", ignore_index=True)
    latest.attrs["corrected"] = len(distinct) - len(latest)
    return latest


def read_file(path: Path, folders: Sequence[Path] = ()) -> pd.DataFrame:
    """Read one rater's file, or one with a column for each rater; see `read_labels`."""
    rows = list(user_rows(path, NEEDED[:1]))
    columns = rows[0][1].keys() if rows else COLUMNS
    if not any(is_label_column(str(name)) for name in columns):
        raise UserError(f"{path} has no column label; it needs {', '.join(COLUMNS[:3])}")
    if "label" in columns and "rater" not in columns:
        raise UserError(f"{path} has no column rater; it needs {', '.join(COLUMNS[:3])}")
    items: Mapping[str, Mapping[str, Any]] | None = None
    if "weight" not in columns:
        items = keys.find_items(path, *sheet_and_ids(rows), folders)
        if items is None:
            raise UserError(
                f"{path} has no column weight, and the key of its sheet (*{keys.SUFFIX}) is not "
                f"beside it or in the study's {keys.FOLDER}: put it there, or add the column "
                f"(1 if all answers were labelled)"
            )
    records: list[tuple[str, str, str, float]] = []
    for place, row in rows:
        for rater, label in labels_of(row, place):
            answer_id = labelled_answer(row, label, place)
            records.append((answer_id, rater, label, weight_of(row, answer_id, place, items)))
    labels = pd.DataFrame(records, columns=list(COLUMNS))
    distinct = labels.drop_duplicates(["answer_id", "rater", "label"])
    contradictory = distinct[distinct.duplicated(["answer_id", "rater"])]
    if len(contradictory):
        answer_id, rater = contradictory.iloc[0][["answer_id", "rater"]]
        raise UserError(
            f"answer {answer_id} has more than one label by rater {rater}; each rater needs a "
            f"name of their own ({path})"
        )
    return labels.drop_duplicates(["answer_id", "rater"], ignore_index=True)


def sheet_and_ids(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[set[str], list[str]]:
    """Read the digests of sheets that rows name, and the ids of their answers."""
    digests: set[str] = set()
    answer_ids: list[str] = []
    for _, row in rows:
        digests.add(str(row.get(keys.SHEET) or ""))
        answer_id = str(row.get("answer_id") or "").strip()
        if answer_id:
            answer_ids.append(answer_id)
    return digests, answer_ids


def sheet_key(path: Path, folders: Sequence[Path] = ()) -> Path | None:
    """Find the key of a filled sheet of labels; None if it has none, or its own weights."""
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
        if not label:
            continue
        rater = column.removeprefix("label_")
        if column == "label":
            rater = (row.get("rater") or "").strip()
        yield rater or NAMELESS, label


def labelled_answer(row: Mapping[str, Any], label: str, place: str) -> str:
    """Read which answer a label is of."""
    # the value is None if the row is shorter than the header
    answer_id = (row.get("answer_id") or "").strip()
    if not answer_id:
        raise UserError(f"{place}: answer_id is empty; it says which answer is {label}")
    return answer_id


def weight_of(
    row: Mapping[str, Any],
    answer_id: str,
    place: str,
    items: Mapping[str, Mapping[str, Any]] | None,
) -> float:
    """Read an answer's weight, from its row or from the key."""
    if items is not None:
        if answer_id not in items:
            raise UserError(f"{place}: answer {answer_id} is not in the key of this sheet")
        return float(items[answer_id]["weight"])
    try:
        weight = float(row.get("weight") or "nan")
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise UserError(
            f"{place}: weight={row['weight']} must be a number "
            "above 0 (1 where all answers were labelled)"
        )
    return weight


def settle_labels(labels: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Settle on one label for each answer: the adjudicator's, else the one all raters gave.

    Returns:
        answer_id, truth_label, weight; and the answers whose raters disagree and that no
        adjudicator decided.
    """
    settled: list[tuple[Any, Any, Any]] = []
    undecided: list[str] = []
    for answer_id, group in labels.groupby("answer_id", sort=False):
        by_adjudicator = group[group["rater"].eq(ADJUDICATOR)]
        deciding = by_adjudicator if len(by_adjudicator) else group
        distinct = deciding["label"].unique()
        if len(distinct) == 1:
            settled.append((answer_id, distinct[0], group["weight"].iloc[0]))
        else:
            undecided.append(str(answer_id))
    return pd.DataFrame(settled, columns=["answer_id", "truth_label", "weight"]), undecided


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
            f"--export={size}: none of {len(answers)} answers "
            "is scored, so none can be drawn by verdict"
        )
    verdict = scored["label"].fillna(UNSCORED).rename("verdict")
    strata = scored.groupby([*STRATUM, verdict], sort=True)
    groups = sorted((group for _, group in strata), key=len)
    if size < len(groups):
        raise UserError(
            f"--export={size} is too small: there are {len(groups)} strata of arm, task and verdict"
        )
    rng = np.random.default_rng(seed)
    drawn = []
    undrawn = size
    for number, group in enumerate(groups):
        count = min(len(group), undrawn // (len(groups) - number))
        undrawn -= count
        index = np.sort(rng.choice(group.index.to_numpy(), count, replace=False))
        probability = count / len(group)
        weight = len(group) / count
        drawn.append(group.loc[index].assign(probability=probability, weight=weight))
    return pd.concat(drawn).sample(frac=1, random_state=seed).reset_index(drop=True)


def export_sheet(
    rows: Rows, path: Path, size: int, seed: int, clean: Callable[[str], str]
) -> pd.DataFrame:
    """Write a sheet for raters, in random order, and its key.

    The sheet has no arm, model, context, verdict or grader, nor a weight, which would give the
    verdict away: those are in the key alone. Answers whose prompt was lost, of which
    `frames.load_rows` warns, cannot be shown and are not drawn.

    Args:
        rows: the finished runs.
        path: the file, which must not exist, nor its key.
        size: how many answers; fewer where fewer are scored.
        seed: of the draw.
        clean: takes from an answer what would tell its arm.

    Returns:
        the sheet.

    Raises:
        UserError: the file exists, or see `sample`.
    """
    keys.refuse_existing(path)
    drawn = sample(rows.answers[rows.answers["prompt_id"].isin(rows.prompts.index)], size, seed)
    prompts = rows.prompts.loc[drawn["prompt_id"]].reset_index()
    sheet = pd.DataFrame(
        {
            "answer_id": drawn["answer_id"],
            keys.SHEET: keys.sheet_digest(drawn["answer_id"]),
            "rater": "",
            "label": "",
            "question": prompts["question"],
            "accepted": prompts["answers"].map("; ".join),
            "user": stated_beliefs(drawn["belief"], prompts),
            "answer": drawn["text"].map(clean),
        }
    )
    hidden = drawn[["answer_id", *STRATUM, "probability", "weight"]]
    hidden = hidden.assign(verdict=drawn["label"].fillna(UNSCORED)).set_index("answer_id")
    keys.write_key(path, hidden.to_dict("index"), rows.studies)
    tables.write_csv(path, sheet)
    return sheet


def stated_beliefs(beliefs: pd.Series, prompts: pd.DataFrame) -> list[str]:
    """Say what the user of each prompt believes, with the answer that is meant.

    Args:
        beliefs: of each prompt.
        prompts: `answers` (accepted ones) and `wrong`, in the same order.
    """
    sentences = []
    for belief, accepted, wrong in zip(beliefs, prompts["answers"], prompts["wrong"], strict=True):
        right = accepted[0] if accepted else ""
        sentences.append(BELIEF[belief].format(right=right, wrong=wrong))
    return sentences


def write_open(labels: pd.DataFrame, open_ones: Sequence[str], sheet: Path, path: Path) -> None:
    """Write the answers raters disagree on, with their labels and what the raters' sheet shows.

    Weights stay in the key, unless the raters' own file has them.

    Args:
        labels: from `read_labels`.
        open_ones: ids of the answers, from `settle_labels`.
        sheet: the raters' sheet; columns that it lacks are empty.
        path: the file to write.

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
    has_weight = False
    rows = []
    for answer_id in open_ones:
        answer_labels = labels[labels["answer_id"].eq(answer_id)]
        pairs = zip(answer_labels["rater"], answer_labels["label"], strict=True)
        text = texts.get(answer_id, {})
        row = {name: text.get(name, "") for name in shown}
        row["answer_id"] = answer_id
        row["rater"] = ADJUDICATOR
        row["label"] = ""
        row["said"] = "; ".join(f"{rater}: {label}" for rater, label in pairs)
        if "weight" in text:
            row["weight"] = answer_labels["weight"].iloc[0]
            has_weight = True
        rows.append(row)
    if has_weight:
        shown.append("weight")
    tables.write_csv(path, pd.DataFrame(rows, columns=shown))
