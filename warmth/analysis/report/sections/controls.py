"""What is left of an arm's difference if an arm made the same way, the manner left alone, is the
reference.
"""

from __future__ import annotations

from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    Paragraph,
    Section,
    arm_name,
    count,
    p_value,
    percent,
    shift,
    table,
)
from warmth.analysis.report.study import Study
from warmth.analysis.rows.arm_names import arm_order
from warmth.analysis.rows.tables import records

CAPTION = (
    "Against the control arms: made as the arm was, but without the change of manner. p: "
    "over this table (Holm)."
)
ABOUT = (
    "An arm fine-tuned on replies whose manner was left alone shows what fine-tuning costs by "
    "itself. What a manner "
    "adds is its difference from that arm. An arm is compared with a control of its kind alone: "
    "what was fine-tuned "
    "with what was fine-tuned, a system prompt with a neutral one, a steering vector with an "
    "orthogonal one."
)


def controls(study: Study) -> Section | None:
    """Show every manner's difference from the control arms."""
    frame = study.controls
    contents = []
    manners = (
        frame[[_is_compared(row) for row in frame.to_dict("records")]] if len(frame) else frame
    )
    columns = [
        MODEL,
        ARM,
        arm_name("Compared with", "reference"),
        count("Pairs", "pairs"),
        percent("Reference, %", "rate_reference"),
        percent("Arm, %", "rate_arm"),
        shift("Difference, points", "difference"),
        p_value("p, Holm", "p_holm"),
    ]
    if len(manners):
        contents = [Paragraph(ABOUT), table("controls", CAPTION, columns, manners)]
    return Section(
        id="controls",
        title="Manner, or fine-tuning as such?" if contents else "",
        level=3,
        parts=contents,
        frames={"controls": frame},
        summary={"controls": records(frame)},
    )


def _is_compared(row: dict[str, str]) -> bool:
    return arm_order(row["arm"]).recipe not in ("original", arm_order(row["reference"]).recipe)
