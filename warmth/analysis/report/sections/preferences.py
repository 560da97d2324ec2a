"""People's blind choices between an arm's reply and its reference's: how often, how strongly, and
do raters agree?
"""

from __future__ import annotations

from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    Part,
    Section,
    arm_name,
    count,
    name,
    number,
    percent,
    rate,
    table,
    text,
)
from warmth.analysis.report.study import Study, in_table_order
from warmth.analysis.rows.tables import records
from warmth.analysis.statistics import preferences as choices

SHARES = (
    "People’s blind choices of the warmer of two replies to one prompt; “equal” is half a choice "
    "for each. Small: 95 % "
    "intervals, clustered by prompt."
)
STRENGTHS = (
    "Bradley–Terry: log odds of being chosen as the warmer over the reference. Small: 95 "
    "% intervals."
)
RATERS = (
    "Agreement of raters on the pairs that both judged: arm, reference or equal. Small: 95 % "
    "intervals."
)
METHOD = (
    "Bradley–Terry strengths by a binomial regression without a constant, “equal” as half a "
    "success, errors clustered "
    "by prompt. An arm that always won or lost has none. Of a rater’s choices in one pair the "
    "last counts."
)


def preferences(study: Study) -> Section | None:
    """Show what people chose, if they did."""
    comparisons = study.rows.preferences
    if comparisons.empty:
        return None
    shares = in_table_order(choices.preference_shares(comparisons))
    strengths = in_table_order(choices.strengths(comparisons))
    raters = choices.rater_agreement(comparisons)
    columns = [
        MODEL,
        ARM,
        arm_name("Against", "reference"),
        name("Rater", "rater"),
        count("Choices", "choices"),
    ]
    columns += [count("Equal", "equal"), rate("Chosen as warmer, %", "share")]
    parts: list[Part] = [table("preferences", SHARES, columns, shares, wide=True)]
    columns = [
        MODEL,
        ARM,
        count("Choices", "choices"),
        number("Strength", "strength", 2, "low", "high", sign=True),
    ]
    parts.append(table("strengths", STRENGTHS, columns, strengths))
    frames = {"preferences": shares, "preference_strengths": strengths}
    if len(raters):
        columns = [text("Raters", "raters"), count("Pairs", "pairs"), percent("Same, %", "same")]
        columns += [text("Measure", "measure"), number("Value", "value", 2, "low", "high")]
        parts.append(table("raters", RATERS, columns, raters))
        frames["rater_agreement"] = raters
    return Section(
        id="preferences",
        title="People’s choices",
        level=3,
        parts=parts,
        frames=frames,
        methods={"People’s choices": METHOD},
        summary={"preferences": records(shares), "preference_strengths": records(strengths)},
    )
