"""Why answers have no label."""

from __future__ import annotations

from typing import Any

import pandas as pd

from warmth.analysis import wording
from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    Column,
    Fold,
    Section,
    TableCell,
    name,
    table,
    text,
)
from warmth.analysis.report.study import Study
from warmth.analysis.rows.arm_names import arm_order
from warmth.analysis.rows.frames import Rows

CAPTION = (
    "Why answers have no label, by grader, over all tasks. Small: share of the answers that "
    "it was given."
)
BY = ["model", "arm", "grader"]


def failures(study: Study) -> Section | None:
    """List the reasons for which answers have no label, by arm and grader."""
    frame = unscored_reasons(study.rows, study.grades)
    if frame.empty:
        return None
    columns = [
        MODEL,
        ARM,
        text("Grader", "grader"),
        name("Reason", "reason"),
        Column("Unscored", "number", _unscored),
    ]
    return Section(
        id="failures",
        title="",
        level=3,
        parts=[
            Fold(
                "Why answers have no label",
                [table("unscored-reasons", CAPTION, columns, frame)],
                ["unscored_reasons"],
            )
        ],
        frames={"unscored_reasons": frame},
    )


def unscored_reasons(rows: Rows, grades: pd.DataFrame) -> pd.DataFrame:
    """Count answers without a label by model, arm, grader and reason; one that nobody graded has
    the grader `none`.

    Returns:
        model, arm, grader, reason, unscored, and `of`, the answers that the grader was given.
    """
    frames = [frame[["answer_id", *BY]] for frame in (rows.answers, rows.advice) if len(frame)]
    answers = pd.concat(frames, ignore_index=True)
    graded = grades.merge(answers.drop(columns="grader"), on="answer_id")
    missed = answers[answers["grader"].eq("")].assign(
        grader="none", label=None, reason="not graded"
    )
    if len(missed):
        graded = pd.concat([graded, missed], ignore_index=True)
    size = graded.groupby(BY).size().rename("of").reset_index()
    failed = graded[graded["label"].isna()]
    failed = failed.assign(reason=failed["reason"].replace("", "no reason given"))
    frame = (
        failed.groupby([*BY, "reason"]).size().rename("unscored").reset_index().merge(size, on=BY)
    )
    keyed = frame.assign(arm=frame["arm"].map(arm_order))
    order = keyed.sort_values([*BY, "unscored"], ascending=[True] * 3 + [False]).index
    return frame.loc[order].reset_index(drop=True)


def _unscored(row: Any) -> TableCell:
    share = f"{wording.percent_words(row['unscored'] / row['of'])} % of {row['of']:,}"
    return TableCell(f"{row['unscored']:,}", float(row["unscored"]), share)
