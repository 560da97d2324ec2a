"""Refusals dropped, counted wrong and counted right; and what else did not count."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from warmth.analysis import wording
from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    Column,
    Fold,
    Paragraph,
    Section,
    TableCell,
    count,
    shift_cell,
    sort_value,
    table,
)
from warmth.analysis.report.study import Study, in_table_order
from warmth.analysis.rows.tables import records
from warmth.analysis.statistics import effects

WAYS = {"dropped": "Refusals dropped, %", "wrong": "Counted wrong, %", "right": "Counted right, %"}
ABOUT = Markup(
    "To drop refusals is to select on the outcome, so here are three estimates. <i>Unscored</i>: "
    "the grader was unsure "
    "or failed; never counted as right or wrong. <i>Cut off</i>: the answer met its length limit."
)
CAPTION = (
    "Refusals three ways. Counted wrong is every refusal, also where refusing is the right answer "
    "(disinformation, "
    "harmful requests), which the two others count right. Small: difference from original, "
    "points. One in a single "
    "column is one in refusing."
)


def refusals(study: Study) -> Section | None:
    """Show the error rate with refusals dropped, wrong and right."""
    frame = in_table_order(effects.refusals_three_ways(study.pool, weights=study.settings.weights))
    rates = {(row["model"], row["arm"], row["refusals"]): row for row in frame.to_dict("records")}
    columns = [
        MODEL,
        ARM,
        count("Answers", "answers"),
        count("Refused", "refused"),
        count("Unscored", "unscored"),
        count("Cut off", "cut_off"),
    ]
    columns += [_way(heading, way, rates) for way, heading in WAYS.items()]
    return Section(
        id="refusals",
        title="Refused, unscored, cut off",
        nav="Refusals",
        parts=[
            Paragraph(ABOUT),
            Fold(
                "Rates and differences by each rule",
                [table("refusals", CAPTION, columns, study.headline, wide=True)],
                ["refusals"],
            ),
        ],
        frames={"refusals": frame},
        summary={"refusals": records(frame)},
    )


def _way(heading: str, way: str, rates: dict[Any, Any]) -> Column:
    def cell(row: Any) -> TableCell:
        counted = rates[row["model"], row["arm"], way]
        shift = shift_cell(counted, "difference")
        note = f"{shift.text} ({shift.note})" if shift.note else ""
        return TableCell(wording.percent_words(counted["rate"]), sort_value(counted["rate"]), note)

    return Column(heading, "number", cell)
