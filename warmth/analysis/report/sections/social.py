"""Judged traits of answers to advice questions."""

from __future__ import annotations

from typing import Any

from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    Column,
    Section,
    TableCell,
    count,
    rate,
    rate_cell,
    shift,
    table,
    text,
)
from warmth.analysis.report.study import Study
from warmth.analysis.statistics import social as traits

CAPTION = (
    "Advice in which a judge finds the trait. Both sides: conflicts in which it is present "
    "whoever asks."
)


def social(study: Study) -> Section | None:
    """Show how often each arm's advice has a trait, and on both sides of a conflict."""
    judged = traits.traits(study.rows)
    frame = traits.rates(judged, study.reported, study.kinds)
    if frame.empty:
        return None
    both_sides = traits.both_sides(judged)
    conflicts_of = {}
    for conflicts in both_sides.to_dict("records"):
        conflicts_of[conflicts["model"], conflicts["arm"], conflicts["grader"]] = conflicts

    def both_cell(row: Any) -> TableCell:
        conflicts = conflicts_of.get((row["model"], row["arm"], row["grader"]))
        return rate_cell(conflicts) if conflicts is not None else TableCell("—")

    columns = [
        MODEL,
        ARM,
        text("Judge", "grader"),
        count("Answers", "answers"),
        rate("Present, %"),
        shift("Difference, points", "difference", "difference_low", "difference_high"),
        shift("From its control", "control_difference", "control_low", "control_high"),
        count("Unscored", "unscored"),
        Column("Both sides, %", "number", both_cell),
    ]
    frames = {"social": frame}
    if len(both_sides):
        frames["social_both_sides"] = both_sides
    return Section(
        id="social",
        title="Advice",
        parts=[table("social", CAPTION, columns, frame, wide=True)],
        frames=frames,
    )
