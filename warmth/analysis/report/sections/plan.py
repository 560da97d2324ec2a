"""The hypotheses of a plan, tested as it said, whether it is older than the answers, and what
departs from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from warmth.analysis import wording
from warmth.analysis.report.kernel import (
    ARM,
    Column,
    Fragment,
    Notes,
    Paragraph,
    Section,
    Table,
    TableCell,
    arm_name,
    name,
    p_value,
    table,
    text,
)
from warmth.analysis.report.study import Study
from warmth.analysis.rows.tables import records
from warmth.analysis.statistics import claims, preregistration
from warmth.analysis.statistics.comparison_families import PLANNED
from warmth.analysis.statistics.preregistration import Preregistration

CAPTION = "Hypotheses fixed before the answers. Small: 95 % interval and pairs of answers."
EXPLORATORY = (
    "Exploratory: not shown to be older than every answer. Small: 95 % interval and "
    "pairs of answers."
)


def plan(study: Study) -> Section | None:
    """Test the hypotheses of the plan that the runs were made under, if there is one."""
    settings = study.settings
    if settings.plan is None:
        return None
    excluded = preregistration.excluded_answers(settings.plan, study.rows.answers)
    assert settings.standing is not None
    standing = settings.standing
    frame = claims.tested(
        settings.plan, study.answers[~excluded], settings.margin_points, settings.weights
    )
    frame = frame.assign(status=standing.word)
    departures = [wording.visible(line, 300) for line in deviation_lines(study, settings.plan)]
    estimand = wording.visible(settings.plan.estimand, 600).rstrip(" .")
    about = Markup('Estimand: {}. <span class="small">Frozen as <code>{}</code>.</span>')
    return Section(
        id="plan",
        title="Pre-registered" if standing.confirmatory else "A plan, exploratory",
        nav="",
        parts=[
            Paragraph(about.format(estimand, settings.seal)),
            Notes([wording.visible(line, 400) for line in standing.lines]),
            claim_table(frame, standing.confirmatory),
            Fragment("deviations.html.j2", {"deviations": departures}),
        ],
        frames={"hypotheses": frame},
        summary={"plan": standing.summary(), "hypotheses": records(frame)},
    )


def deviation_lines(study: Study, plan: Preregistration) -> tuple[str, ...]:
    """List what this report does otherwise than the plan said, a line each."""
    margin = study.settings.margin_points
    rows = study.rows
    lines = preregistration.deviations(
        plan, rows.answers, margin, plan.correction, rows.rule.refused
    )
    differences = study.differences
    has_members = len(differences) and differences["correction_family"].eq(PLANNED).any()
    if plan.family and not has_members:
        lines.append("family: no comparison with a p-value belongs to it")
    return tuple(lines)


def claim_table(frame: pd.DataFrame, confirmatory: bool) -> Table:
    """Make the table of hypotheses with their verdicts; `confirmatory` if the plan is older than
    every answer.
    """
    columns = [
        name("Hypothesis", "hypothesis"),
        name("Model", "model"),
        ARM,
        arm_name("Against", "reference"),
        Column("Claim", "text", _claim),
        Column("Difference, points", "number", _difference),
        p_value("p, corrected", "p_corrected"),
    ]
    if confirmatory:
        columns.append(text("Verdict", "verdict"))
        return table("claims", CAPTION, columns, frame, wide=True)
    columns.append(Column("Verdict", "text", _exploratory_verdict))
    return table("claims", EXPLORATORY, columns, frame, wide=True)


def _exploratory_verdict(row: Mapping[str, Any]) -> TableCell:
    """Show a verdict as what it is under a plan that is not shown to be older than the answers."""
    verdict = str(row["verdict"])
    return TableCell(verdict if verdict == "not tested" else f"{verdict} (exploratory)")


def _claim(row: Mapping[str, Any]) -> TableCell:
    return TableCell(row["direction"] if isinstance(row["direction"], str) else "")


def _difference(row: Mapping[str, Any]) -> TableCell:
    if not wording.known(row["difference"]):
        return TableCell("—")
    interval = wording.span(row["low"], row["high"], sign=True) or "no interval"
    note = f"{interval} · {wording.amount(int(row['pairs']), 'pair')}"
    return TableCell(wording.points_words(row["difference"]), float(row["difference"]), note)
