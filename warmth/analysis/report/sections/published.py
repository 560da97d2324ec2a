"""The study's published rises next to ours, on its own tasks."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from warmth.analysis import wording
from warmth.analysis.report.kernel import Paragraph, Section, Table, TableCell
from warmth.analysis.report.study import Study
from warmth.analysis.rows.arm_names import as_recipes
from warmth.analysis.statistics.settings import Settings
from warmth.analysis.study import comparison
from warmth.analysis.study.reproduction import PublishedRow

ABOUT = (
    "The study’s rises on its own tasks, and ours. Equivalent: the difference is shown to be "
    "smaller than the margin, "
    "by two one-sided tests. Undecided is neither sameness nor difference. Rises that these runs "
    "did not ask for are "
    "left out."
)
CAPTION = (
    "Rises in points. Small: our 95 % interval. The verdict adds the published value’s own "
    "error to ours."
)


def published(study: Study) -> Section | None:
    """Show the published rises that these rows speak to, with verdicts of equivalence."""
    rows = published_rows(study.answers, study.reported, study.settings)
    if not rows:
        return None
    columns = ["Quantity", "Published", "Ours", "Ours − published", "Verdict"]
    kinds = ["text", "number", "number", "number", "text"]
    table = Table("published", CAPTION, columns, kinds, [_cells(row) for row in rows], wide=True)
    return Section(
        id="published",
        title="Beside the published values",
        nav="Published",
        parts=[Paragraph(ABOUT), table],
        frames={"published": pd.DataFrame([row.record() for row in rows])},
    )


def published_rows(
    answers: pd.DataFrame, reported: Mapping[str, str], settings: Settings
) -> tuple[PublishedRow, ...]:
    """Compare with the published rises; empty without a task of the study, or without original or
    warm.

    Args:
        answers: graded answers.
        reported: recipe → the arm that stands for the study's arm of that recipe.
        settings: the margin.
    """
    rows = as_recipes(answers[answers["task"].isin(comparison.STUDY_TASKS)], reported)
    if rows.empty or not {"original", "warm"} <= set(rows["arm"]):
        return ()
    compared = comparison.compare_with_published(
        rows, settings.margin_points, settings.preregistered
    )
    return tuple(row for row in compared if row.recomputed is not None)


def _cells(row: PublishedRow) -> list[TableCell]:
    assert row.recomputed is not None and row.difference is not None
    verdict, _, remainder = wording.visible(row.verdict).partition(" (")
    return [
        TableCell(wording.visible(row.quantity)),
        TableCell(wording.signed(row.published, row.digits), row.published),
        TableCell(wording.signed(row.recomputed, 1), row.recomputed, row.note),
        TableCell(wording.signed(row.difference, 1), row.difference),
        TableCell(verdict, note=remainder.removesuffix(")")),
    ]
