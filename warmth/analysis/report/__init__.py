"""`warmth report`: finished runs become sections, and sections one page, CSV files, figures and
`summary.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from warmth.analysis.report import behind, inputs
from warmth.analysis.report.drawing.ink import Drawing
from warmth.analysis.report.kernel import Section, drawings_of
from warmth.analysis.report.page import render_page
from warmth.analysis.report.sections import SECTIONS, WITHOUT_ANSWERS, own_sections
from warmth.analysis.report.study import QUESTION, Study, all_points
from warmth.analysis.rows import tables
from warmth.analysis.rows.frames import load_rows
from warmth.analysis.statistics import effects
from warmth.analysis.statistics.settings import of_runs
from warmth.errors import UserError

__all__ = ["Report", "build", "summary", "write"]


@dataclass(frozen=True)
class Report:
    """A report: what its sections share, and the sections in the order of the page."""

    study: Study
    sections: tuple[Section, ...]

    @cached_property
    def frames(self) -> dict[str, pd.DataFrame]:
        """The tables people open in a spreadsheet, by file name."""
        frames: dict[str, pd.DataFrame] = {}
        for section in self.sections:
            frames.update(section.frames)
        return frames

    @cached_property
    def drawings(self) -> dict[str, Drawing]:
        """Every figure, by its name."""
        return {
            drawing.name: drawing
            for section in self.sections
            for drawing in drawings_of(section.parts)
        }

    @property
    def panels(self) -> list[str]:
        """The frames that W&B shows as panels of their own."""
        return [name for section in self.sections for name in section.panels]

    @cached_property
    def points(self) -> dict[str, dict[str, Any]]:
        """What a figure's point opens, by its id."""
        cells = all_points(
            [section.points for section in self.sections if section.points is not None]
        )
        marks: set[str] = set()
        for drawing in self.drawings.values():
            marks.update(re.findall(r"-(point-[0-9a-f]{10})", drawing.inline))
        rows = self.study.rows
        if rows.answers.empty:
            return behind.rows_behind_warmth(rows.warmth, marks, self.study.paths)
        of_answers = behind.rows_behind_points(rows.answers, rows.prompts, cells, self.study.paths)
        return of_answers | behind.rows_behind_warmth(rows.warmth, marks, self.study.paths)


def build_report(
    paths: Sequence[Path],
    margin_points: float | None = None,
    preregister: Path | None = None,
    checks: bool = False,
    labels: Path | None = None,
    weights: str | None = None,
    model_weights: Mapping[str, float] | None = None,
) -> Report:
    """Read the finished runs under `paths` and compute everything a report shows.

    Args:
        paths: folders above finished run folders.
        margin_points: a difference smaller than this is none in practice; None: as the runs'
        configs say.
        preregister: a frozen plan; None: the one that the runs were made under, if any.
        checks: fit regressions by cluster bootstrap and estimating equations too; minutes on a
        large study.
        labels: people's labels (`warmth agreement`), to correct the answer by.
        weights: what weighs one where tasks are pooled, `tasks` or `rows`; None: as the runs'
        configs say.
        model_weights: model → weight where models are pooled; None: as the runs' configs say, else
        one each.

    Raises:
        UserError: see `frames.load_rows` and `settings.of_runs`.
    """
    rows = load_rows(paths)
    evaluations = [run for run in rows.runs if run.evaluation]
    settings = of_runs(evaluations, margin_points, preregister, checks, weights, model_weights)
    return sections_of(Study(rows, settings, tuple(paths), labels, preregister))


def sections_of(study: Study) -> Report:
    """Compute every section of a study; those that the rows do not allow are left out."""
    sections = SECTIONS if len(study.rows.answers) else WITHOUT_ANSWERS
    computed = [section(study) for section in (*sections, *own_sections())]
    return Report(study, tuple(section for section in computed if section is not None))


def report_summary(report: Report) -> dict[str, Any]:
    """Write the content of `summary.json`: what the runs are, and what each section adds; null:
    unknown or infinite.
    """
    rows = report.study.rows
    content: dict[str, Any] = {
        "question": QUESTION,
        "models": rows.models,
        "arms": rows.arms,
        "tasks_pooled": sorted(effects.pooled(rows.main)["task"].unique()),
        "tasks_apart": effects.apart(rows.main),
        "warnings": list(rows.warnings),
        "answer_rows": len(rows.answers),
        "questions": effects.questions_of(rows.main).nunique(),
    }
    for section in report.sections:
        content.update(section.summary)
    return content


def write_report(report: Report, out: Path) -> Path:
    """Write a report under a folder: `write_files`, and `inputs.json` with what it was made of;
    return the page's path.

    Raises:
        UserError: the folder cannot be written.
    """
    page = write_files(report, out)
    study = report.study
    settings = study.settings
    made_of = inputs.inputs_of(
        study.paths,
        out,
        margin_points=settings.margin_points,
        weights=settings.weights.tasks,
        model_weights=dict(settings.weights.models) or None,
        checks=settings.checks,
        labels=study.labels,
        preregister=study.preregister,
        own_sections=bool(own_sections()),
    )
    inputs.write_inputs(made_of, out)
    return page


def write_files(report: Report, out: Path) -> Path:
    """Write `report.html`, `tables/`, `figures/` and `summary.json` under `out`; return the page's
    path.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        for folder in ("tables", "figures"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        for name, frame in report.frames.items():
            tables.write_csv(out / "tables" / f"{name}.csv", frame)
        for name, drawing in report.drawings.items():
            (out / "figures" / f"{name}.svg").write_text(drawing.file, encoding="utf-8")
        text = json.dumps(
            report_summary(report), indent=2, ensure_ascii=True, allow_nan=False, default=_number
        )
        (out / "summary.json").write_text(text + "\n", encoding="utf-8")
        page = render_page(report.study, report.sections, report.points)
        (out / "report.html").write_text(page, encoding="utf-8")
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{out} is not a folder") from error
    except OSError as error:
        raise UserError(f"{error.filename or out} cannot be written: {error.strerror}") from error
    return out / "report.html"


def _number(value: Any) -> Any:
    """Turn NumPy's numbers into Python's."""
    return value.item()
