"""Labels by people: a blinded sample with its weights, the raters' files read back, disagreements settled."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from warmth.analysis import tables
from warmth.analysis.rows import Rows, is_missing
from warmth.errors import UserError
from warmth.user_rows import choice_of, user_rows
from warmth.verdicts import TRUTH_LABELS

COLUMNS = ("answer_id", "rater", "label", "weight")
ADJUDICATOR = "adjudicated"  # the rater whose label settles what others disagree on
STRATUM = ["model", "arm", "task"]  # and the verdict
UNSCORED = "unscored"
BELIEF = {"none": "", "wrong_asserted": "thinks it is {wrong}", "right_denied": "does not think it is {right}"}
BELIEF |= {"user_right": "thinks it is {right}", "wrong_denied": "does not think it is {wrong}"}


def read(paths: Sequence[Path]) -> pd.DataFrame:
    """Rows of raters' files with `COLUMNS`; those without a label yet are left out.

    Raises:
        UserError: a missing file or column, a label without its answer, an unknown label, a weight that is no positive
            number, two labels of one rater for one answer, or two weights of one answer.
    """
    found: list[tuple[str, str, str, float]] = []
    for path in paths:
        for place, row in user_rows(path, COLUMNS):
            label = choice_of(row, "label", place, TRUTH_LABELS)
            if label:
                found.append(_row(row, label, place))
    labels = pd.DataFrame(found, columns=list(COLUMNS))
    files = ", ".join(map(str, paths))
    for what, columns in (("label", ["answer_id", "rater", "label"]), ("weight", ["answer_id", "weight"])):
        kept = labels[columns].drop_duplicates()
        twice = kept[kept.duplicated(columns[:-1])]
        if len(twice):
            first = twice.iloc[0]
            whose = f" by rater {first['rater']}; each rater needs a name of their own" if what == "label" else ""
            raise UserError(f"answer {first['answer_id']} has more than one {what}{whose} ({files})")
    if labels.empty:
        raise UserError(f"{files}: no row has a label; write one of {', '.join(TRUTH_LABELS)} under `label`")
    return labels.drop_duplicates(["answer_id", "rater"], ignore_index=True)


def _row(row: dict[str, str], label: str, place: str) -> tuple[str, str, str, float]:
    answer_id = (row["answer_id"] or "").strip()  # None where the row is shorter than the header
    if not answer_id:
        raise UserError(f"{place}: answer_id is empty; it says which answer is {label}")
    try:
        weight = float(row["weight"] or "nan")
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise UserError(f"{place}: weight={row['weight']} must be a number above 0 (1 where all answers were labelled)")
    return answer_id, (row["rater"] or "").strip() or "rater", label, weight


def settle(labels: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """One label for each answer: the adjudicator's, else the one all raters gave.

    Returns:
        answer_id, truth_label, weight; and the answers whose raters disagree with no adjudicator's word.
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

    To lack a verdict is a stratum of its own: people's labels then say how often such answers are wrong. Answers that
    failed, or that wait for a judge, are not drawn. A stratum smaller than its share is taken whole; others fill up.

    Raises:
        UserError: nothing is scored, or fewer rows than strata, so that some answers could not be drawn at all.
    """
    scored = answers[answers["label"].notna() | is_missing(answers)]
    if answers["label"].isna().all():
        raise UserError(f"--export={size}: none of {len(answers)} answers is scored, so none can be drawn by verdict")
    verdict = scored["label"].fillna(UNSCORED).rename("verdict")
    groups = sorted((group for _, group in scored.groupby([*STRATUM, verdict], sort=True)), key=len)
    if size < len(groups):
        raise UserError(f"--export={size} is too small: there are {len(groups)} strata of arm, task and verdict")
    rng, drawn, left = np.random.default_rng(seed), [], size
    for number, group in enumerate(groups):
        count = min(len(group), left // (len(groups) - number))
        left -= count
        chosen = group.loc[np.sort(rng.choice(group.index.to_numpy(), count, replace=False))]
        drawn.append(chosen.assign(probability=count / len(group), weight=len(group) / count))
    return pd.concat(drawn).sample(frac=1, random_state=seed).reset_index(drop=True)


def export(rows: Rows, path: Path, size: int, seed: int, clean: Callable[[str], str]) -> pd.DataFrame:
    """Writes a sheet for raters: no arm, model, context, verdict or grader; in random order.

    Answers whose prompt was lost, of which `rows.load` warns, cannot be shown and are not drawn.

    Args:
        rows: the finished runs.
        path: the file, which must not exist.
        size: how many answers; fewer where fewer are scored.
        seed: of the draw.
        clean: takes from an answer what would tell its arm.

    Raises:
        UserError: the file exists, or see `sample`.
    """
    if path.exists():
        raise UserError(f"{path} exists; labels in it would be lost")
    drawn = sample(rows.answers[rows.answers["prompt_id"].isin(rows.prompts.index)], size, seed)
    asked = rows.prompts.loc[drawn["prompt_id"]].reset_index()
    names = [(accepted, wrong) for accepted, wrong in zip(asked["answers"], asked["wrong"], strict=True)]
    sheet = pd.DataFrame(
        {
            "answer_id": drawn["answer_id"],
            "rater": "",
            "label": "",
            "question": asked["question"],
            "accepted": ["; ".join(accepted) for accepted, _ in names],
            "user": [
                BELIEF[belief].format(right=accepted[0] if accepted else "", wrong=wrong)
                for belief, (accepted, wrong) in zip(drawn["belief"], names, strict=True)
            ],
            "answer": [clean(text) for text in drawn["text"]],
            "probability": drawn["probability"],
            "weight": drawn["weight"],
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    tables.write_csv(path, sheet)
    return sheet


def write_open(labels: pd.DataFrame, open_ones: Sequence[str], sheet: Path, path: Path) -> None:
    """Writes the answers raters disagree on, with their labels and, where the raters' sheet has it, all text.

    Raises:
        UserError: the file exists.
    """
    if path.exists():
        raise UserError(f"{path} exists; labels in it would be lost (settled ones are given by --with={path})")
    with sheet.open(encoding="utf-8-sig", newline="") as stream:
        texts = {row["answer_id"]: row for row in csv.DictReader(stream)}
    rows = []
    for answer_id in open_ones:
        own = labels[labels["answer_id"].eq(answer_id)]
        said = "; ".join(f"{rater}: {label}" for rater, label in zip(own["rater"], own["label"], strict=True))
        rest = {name: texts.get(answer_id, {}).get(name, "") for name in ("question", "accepted", "user", "answer")}
        base = {"answer_id": answer_id, "rater": ADJUDICATOR, "label": "", "weight": own["weight"].iloc[0]}
        rows.append({**base, "said": said, **rest})
    tables.write_csv(path, pd.DataFrame(rows, columns=[*COLUMNS, "said", "question", "accepted", "user", "answer"]))
