"""The hypotheses of a pre-registered plan, tested as it said, and what the report does otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from warmth.analysis import claims, preregistration, wording
from warmth.analysis.corrections import PLANNED
from warmth.analysis.preregistration import Plan
from warmth.analysis.report.kernel import (
    ARM,
    Cell,
    Column,
    Fragment,
    Paragraph,
    Section,
    Table,
    arm_name,
    name,
    p_value,
    table,
    text,
)
from warmth.analysis.report.study import Study

CAPTION = "Hypotheses fixed before the answers. Small: 95 % interval and pairs of answers."


def plan(study: Study) -> Section | None:
    """Test the hypotheses of the plan that the runs were made under, if there is one."""
    settings = study.settings
    if settings.plan is None:
        return None
    excluded = preregistration.excluded(settings.plan, study.rows.answers)
    frame = claims.tested(settings.plan, study.answers[~excluded], settings.margin_points)
    lines = [wording.visible(line, 300) for line in deviations(study, settings.plan)]
    estimand = wording.visible(settings.plan.estimand, 600).rstrip(" .")
    about = Markup('Estimand: {}. <span class="small">Frozen as <code>{}</code>.</span>')
    return Section(
        id="plan",
        title="Pre-registered",
        nav="",
        parts=[
            Paragraph(about.format(estimand, settings.seal)),
            claim_table(frame),
            Fragment("deviations.html.j2", {"deviations": lines}),
        ],
        frames={"hypotheses": frame},
    )


def deviations(study: Study, plan: Plan) -> tuple[str, ...]:
    """List what this report does otherwise than the plan said, a line each."""
    margin = study.settings.margin_points
    rows = study.rows
    lines = preregistration.deviations(plan, rows.answers, margin, plan.correction, rows.rule.refused)
    differences = study.differences
    members = differences["correction_family"].eq(PLANNED) if len(differences) else pd.Series(dtype=bool)
    if plan.family and not members.any():
        lines.append("family: no comparison with a p-value belongs to it")
    return tuple(lines)


def claim_table(frame: pd.DataFrame) -> Table:
    """Make the table of hypotheses with their verdicts."""
    columns = [
        name("Hypothesis", "hypothesis"),
        name("Model", "model"),
        ARM,
        arm_name("Against", "reference"),
        Column("Claim", "text", _claim),
        Column("Difference, points", "number", _difference),
        p_value("p, corrected", "p_corrected"),
        text("Verdict", "verdict"),
    ]
    return table("claims", CAPTION, columns, frame, wide=True)


def _claim(row: Mapping[str, Any]) -> Cell:
    return Cell(row["direction"] if isinstance(row["direction"], str) else "")


def _difference(row: Mapping[str, Any]) -> Cell:
    if not wording.known(row["difference"]):
        return Cell("—")
    interval = wording.span(row["low"], row["high"], sign=True) or "no interval"
    note = f"{interval} · {int(row['pairs']):,} pairs"
    return Cell(wording.points(row["difference"]), float(row["difference"]), note)
