"""The study's models 1 to 4: logistic regressions of a wrong answer."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup

from warmth.analysis import wording
from warmth.analysis.report.kernel import (
    ARM,
    Column,
    Fold,
    Notes,
    Paragraph,
    Part,
    Section,
    Table,
    TableCell,
    count,
    name,
    p_value,
    shift,
    table,
    text,
)
from warmth.analysis.report.study import Study
from warmth.analysis.statistics import regressions as fits
from warmth.analysis.statistics.comparison_families import REGRESSION_FAMILY
from warmth.analysis.statistics.families import adjust

DRAWS = 999  # of the cluster bootstrap, with --checks
NORMAL = 1.959964  # the published intervals are naive and normal
ABOUT = (
    "The study’s models 1–4 of each arm against original: log-odds of a wrong answer on arm, task "
    "and model, by "
    "context or stated belief, without and with the answer’s length. Effects are average marginal "
    "effects in points."
)
CAPTION = (
    "Average marginal effects on the rate of wrong answers. Small: 95 % interval, clustered by "
    "question; the naive "
    "interval takes all rows for independent, as the study did."
)
METHOD = Markup(
    "Logistic, clustered by question (CR1, t<sub>G−1</sub>), effects by the delta method; below "
    "50 questions beside it "
    "CR2, whose residuals are corrected for each question’s leverage. Under separation Firth’s "
    "estimate with a cluster "
    "jackknife, no naive interval, and none at all for the separated terms."
)


def regressions(study: Study) -> Section | None:
    """Fit and show the study's models 1 to 4."""
    checks = study.settings.checks
    fitted = fits.tables(study.pool, draws=DRAWS if checks else 0, check=checks)
    effects = with_correction(fitted.effects)
    notes = [wording.visible(" ".join(line.split()), 400) for line in fitted.notes]
    inside: list[Part] = [Paragraph("No model could be fitted to these rows.")]
    if len(effects):
        inside = [regression_table(effects)]
    if notes:
        inside.append(Notes(notes))
    return Section(
        id="regressions",
        title="Regressions",
        parts=[
            Paragraph(ABOUT),
            Fold("Models 1–4, effects and intervals", inside, ["regressions", "coefficients"]),
        ],
        frames={"regressions": effects, "coefficients": fitted.coefficients},
        methods={"Regressions": METHOD},
    )


def with_correction(effects: pd.DataFrame) -> pd.DataFrame:
    """Correct the p-values over all arms, models and cells of the table, one declared family."""
    if effects.empty or effects["p"].isna().all():
        return effects.assign(correction_family="", p_holm=float("nan"), p_bh=float("nan"))
    return adjust(effects, REGRESSION_FAMILY)


def regression_table(effects: pd.DataFrame) -> Table:
    """Make the table of average marginal effects, the clustered interval next to the naive one."""
    columns = [
        ARM,
        Column("Model", "text", lambda row: TableCell(f"{row['model']}: {row['about']}")),
        Column(
            "Length",
            "text",
            lambda row: TableCell("yes (caused by the manner)" if row["length"] else "no"),
        ),
        name("Effect in", "effect"),
        count("Rows", "rows"),
        count("Questions", "clusters"),
        shift("Effect, points", "value"),
        Column("Naive interval", "number", _naive),
    ]
    for heading, ending in (("Bootstrap interval", "boot"), ("CR2 interval", "cr2")):
        if f"low_{ending}" in effects:
            columns.append(_interval(heading, ending))
    columns += [
        p_value("p, clustered", "p"),
        p_value("p, Holm", "p_holm"),
        text("Method", "method", limit=200),
    ]
    return table("regressions", CAPTION, columns, effects, wide=True)


def _interval(heading: str, ending: str) -> Column:
    def cell(row: Any) -> TableCell:
        return TableCell(
            wording.span(row[f"low_{ending}"], row[f"high_{ending}"], sign=True) or "—"
        )

    return Column(heading, "number", cell)


def _naive(row: Any) -> TableCell:
    reach = NORMAL * row["error_naive"]
    return TableCell(wording.span(row["value"] - reach, row["value"] + reach, sign=True) or "—")
