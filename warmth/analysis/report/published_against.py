"""`warmth reproduce`: the authors' released files, anyone's graded CSVs, or our own runs beside the
study's numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from warmth.analysis import wording
from warmth.analysis.report import reproduction_page
from warmth.analysis.report.drawing.ink import Drawing
from warmth.analysis.rows import tables
from warmth.analysis.rows.arm_names import as_recipes
from warmth.analysis.statistics.families import MARGIN_POINTS
from warmth.analysis.study import comparison, released, reproduction
from warmth.analysis.study.reproduction import PublishedRow
from warmth.errors import UserError

OWN = {
    "title": "The study’s numbers beside ours",
    "ours": "Ours",
    "about": "Rise in wrong answers from original to warm, points. Small: our 95 % interval, "
    "clustered by question. "
    "The verdict is an equivalence test on the difference, with the standard errors of both.",
}


@dataclass(frozen=True)
class ReproductionPage:
    """Hold what the verb shows: rows with verdicts, figures, broken pairs, and how the page calls
    them.
    """

    rows: tuple[PublishedRow, ...]
    drawings: tuple[Drawing, ...]
    broken: tuple[str, ...]
    words: Mapping[str, Any] = field(default_factory=dict)
    answers: pd.DataFrame | None = None  # imported rows, where there are any

    @property
    def sentences(self) -> list[str]:
        """Say the answer in words."""
        return list(self.words.get("answer") or reproduction_page.reproduction_sentences(self.rows))


def build_reproduction(
    folder: Path,
    columns: str | None = None,
    margin_points: float = MARGIN_POINTS,
    figures: bool = True,
) -> ReproductionPage:
    """Read a folder by what it holds.

    Args:
        folder: the authors' release; with `columns` a folder of graded CSVs, or one CSV; or
        finished runs of ours.
        columns: see `released.parse_columns`.
        margin_points: what counts as the same, for rows other than the authors' own.
        figures: draw the study's figures from its summaries.

    Raises:
        UserError: the margin is not above 0; the folder is missing, or holds none of these, or a
        file in it is broken.
    """
    if not margin_points > 0:
        raise UserError(f"--margin-points={margin_points:g} must be above 0")
    if columns is not None:
        if not folder.exists():
            raise UserError(f"{folder} does not exist")
        graded = released.answers_by_columns([folder], columns)
        return _against(graded.answers, graded.broken, margin_points, keep=True)
    if folder.is_dir() and next(folder.rglob("done.json"), None) is not None:
        from warmth.analysis.rows.frames import load_rows

        rows = load_rows([folder])
        return _against(as_recipes(rows.answers, rows.reported), (), margin_points, keep=False)
    reproduced = reproduction.reproduce_figures(folder)
    drawings: Sequence[Drawing] = ()
    if figures and reproduced.summaries is not None:
        from warmth.analysis.report.drawing import study_figures

        drawings = study_figures.draw_study_figures(reproduced.summaries)
    return ReproductionPage(reproduced.rows, tuple(drawings), reproduced.broken)


def _against(
    answers: pd.DataFrame, broken: tuple[str, ...], margin_points: float, keep: bool
) -> ReproductionPage:
    arms = sorted(answers["arm"].unique())
    if "original" not in arms or len(arms) < 2:
        raise UserError(
            f"a comparison needs an arm called original and another; there are: {', '.join(arms)}"
        )
    rows = comparison.compare_with_published(answers, margin_points)
    comparable = sum(row.recomputed is not None for row in rows)
    lead = f"{comparable} of the study’s {len(rows)} rises can be set beside these answers; "
    lead += f"the same means within ±{margin_points:g} points."
    words = {**OWN, "answer": [lead, *caveats(answers)]}
    return ReproductionPage(tuple(rows), (), broken, words, answers if keep else None)


def caveats(answers: pd.DataFrame) -> list[str]:
    """Say in what the rows are not the study's, a sentence each."""
    lines = []
    models = sorted(set(answers["model"].astype(str)) - set(comparison.STUDY_MODELS))
    if models:
        lines.append(
            f"Not the study’s models: {wording.joined(list(map(wording.name_words, models)))}."
        )
    tasks = sorted(set(answers["task"].astype(str)) - set(comparison.STUDY_TASKS))
    if tasks:
        names = wording.joined(list(map(wording.name_words, tasks)))
        lines.append(f"Not the study’s tasks, and so left out: {names}.")
    return lines


def write_reproduction(made: ReproductionPage, out: Path) -> Path:
    """Write the page, tables, figures and JSON under `out`; imported rows too, as
    `tables/answers.csv`.

    Raises:
        UserError: the folder cannot be written.
    """
    page = reproduction_page.write_page(out, made.rows, made.drawings, made.broken, **made.words)
    if made.answers is not None:
        tables.write_csv(out / "tables" / "answers.csv", made.answers)
    return page
