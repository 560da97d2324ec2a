"""How many answers were asked for, came, were scored and paired, and why the others were lost."""

from __future__ import annotations

from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    Fold,
    Paragraph,
    Part,
    Section,
    count,
    name,
    table,
    text,
)
from warmth.analysis.report.study import Study, in_table_order
from warmth.analysis.rows.tables import records
from warmth.analysis.statistics.flow import STAGES

ABOUT = (
    "Every loss between a question asked and a pair that counts. Refused answers are dropped by "
    "the rule for refusals; the other answers without a verdict are what the worst case of the "
    "answer fills in."
)
NOT_REACHED = {"answered": "not answered", "scored": "not scored", "paired": "not paired"}


def flow(study: Study) -> Section | None:
    """Follow the answers of every arm from asked to paired."""
    stages = in_table_order(study.said.flow)
    if stages.empty:
        return None
    losses = in_table_order(study.said.losses)
    columns = [MODEL, ARM, *(count(stage.capitalize(), stage) for stage in STAGES)]
    caption = (
        "Answers of the tasks that are pooled. Paired: with a scored answer of the "
        "original, of which any arm’s."
    )
    parts: list[Part] = [Paragraph(ABOUT), table("flow", caption, columns, stages)]
    if len(losses):
        shown = losses.assign(stage=losses["stage"].map(NOT_REACHED))
        reasons = [
            MODEL,
            ARM,
            text("Lost", "stage"),
            name("Reason", "reason"),
            count("Answers", "count"),
        ]
        reasons_table = table("losses", "Why answers were lost on the way.", reasons, shown)
        summary = f"Why {losses['count'].sum():,} were lost on the way"
        parts.append(Fold(summary, [reasons_table], ["losses"]))
    return Section(
        id="flow",
        title="From asked to paired",
        nav="Flow",
        parts=parts,
        frames={"flow": stages, "losses": losses},
        summary={"flow": records(stages), "losses": records(losses)},
    )
