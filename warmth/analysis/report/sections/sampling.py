"""Runs that asked until an interval was narrow enough (`until_width`): target, interval, and what
is left to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from warmth.analysis import wording
from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    Column,
    Section,
    TableCell,
    count,
    number,
    table,
    text,
)
from warmth.analysis.report.study import Study, in_table_order
from warmth.analysis.rows.comparable import last_look
from warmth.analysis.rows.tables import records

CAPTION = (
    "Sampling that was watched. The interval holds at all looks together, whenever asking "
    "stopped. Its width is held to the target without what unscored answers add, which asking on "
    "does not narrow."
)
METHOD = (
    "A betting confidence sequence for each task, over questions that are asked under every "
    "condition; the tasks weigh as in the answer, from the first question to the last. Unscored "
    "answers are taken to be right in one end and wrong in the other; refusals count as in the "
    "answer."
)


def sampling(study: Study) -> Section | None:
    """Show what sampling was aimed at in every run with `until_width`, and whether it got there."""
    frame = looks(study)
    if frame.empty:
        return None
    columns = [
        MODEL,
        ARM,
        text("Of", "of"),
        number("Target, points", "until_width", 1),
        number("By sampling", "sampling_width", 1),
        Column("Reached", "text", _reached),
        number("Interval", "mean", 1, "low", "high"),
        number("From unscored", "unscored_points", 1),
        Column("Questions", "number", _questions),
        count("Answers left", "answers_left"),
        number("Width if all are asked", "width_if_all", 1),
    ]
    return Section(
        id="sampling",
        title="Sampling until it is known",
        nav="Sampling",
        parts=[table("sampling", CAPTION, columns, frame, wide=True)],
        frames={"sampling": frame},
        methods={"Watched sampling": METHOD},
        summary={"sampling": records(frame)},
    )


def looks(study: Study) -> pd.DataFrame:
    """Read the last look of every run with `until_width`: model, arm, what is estimated, and
    numbers in points.
    """
    rows: list[dict[str, Any]] = []
    for run in study.rows.runs:
        look_at_end = last_look(run)
        if look_at_end is None or run.folder not in study.rows.run_arms:
            continue
        row = {"model": run.model, "arm": study.rows.run_arms[run.folder]}
        row["of"] = "difference from original" if look_at_end["paired"] else "error rate"
        row |= look_at_end
        row.pop("tasks", None)
        rows.append(row)
    frame = pd.DataFrame(rows)
    if frame.empty:
        return frame
    numbers = ("mean", "low", "high", "sampling_width", "unscored_points", "width_if_all")
    return in_table_order(frame.astype(dict.fromkeys(numbers, float)))


def _reached(row: Mapping[str, Any]) -> TableCell:
    return TableCell("yes" if row["stopped"] else "no")


def _questions(row: Mapping[str, Any]) -> TableCell:
    questions = wording.amount(row["questions"], "question")
    return TableCell(f"{row['asked']:,}", float(row["asked"]), f"of {questions}")
