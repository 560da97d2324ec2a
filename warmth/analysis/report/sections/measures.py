"""Whether the measures of warmth agree: SocioT, a judge's rating, people's blind choices."""

from __future__ import annotations

from typing import Any

from warmth.analysis import wording
from warmth.analysis.report.kernel import Column, Section, TableCell, count, number, table, text
from warmth.analysis.report.study import Study
from warmth.analysis.statistics import measures as agreements

CAPTION = (
    "Pairs of replies to one prompt, an arm’s and the original’s: do two measures order them "
    "alike? Kendall’s τ-b of "
    "the differences; same direction: of the pairs that neither measure ties. Small: 95 % "
    "intervals."
)


def measures(study: Study) -> Section | None:
    """Show how far every two measures of warmth order pairs of replies alike."""
    frame = agreements.rank_agreement(agreements.pairs(study.rows))
    if frame.empty:
        return None
    columns = [
        text("Measures", "measures"),
        count("Pairs", "pairs"),
        number("τ", "tau", 2, "low", "high", sign=True),
        Column("Same direction, %", "number", _same_direction),
    ]
    return Section(
        id="measures",
        title="Do the measures agree?",
        level=3,
        parts=[table("agreement", CAPTION, columns, frame)],
        frames={"warmth_agreement": frame},
    )


def _same_direction(row: Any) -> TableCell:
    share = row["same"] / row["decided"] if row["decided"] else float("nan")
    note = f"{wording.span(row['same_low'], row['same_high'])} · {row['same']} / {row['decided']}"
    return TableCell(wording.percent_words(share), share, note)
