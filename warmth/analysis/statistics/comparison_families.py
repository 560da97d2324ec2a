"""Families of comparisons that are corrected together, declared before a p-value is seen."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from warmth.analysis.rows.arm_names import CONTROLS
from warmth.analysis.statistics.families import Family, adjust
from warmth.analysis.statistics.preregistration import Preregistration

DECLARED = (  # the overall comparisons, and all that single them out
    Family("overall", {"family": ["overall"]}),
    Family("single cells", {"family": ["task", "context", "belief", "condition"]}),
)
CONTROL_FAMILY = (Family("against a control", {"family": ["overall"]}),)
POOLED_FAMILIES = (  # the answers over all models, apart for each question they answer
    Family("over models, from original", {"reference": ["original"]}),
    Family(
        "over models, from a control",
        {"reference": [name for name in CONTROLS if name != "original"]},
    ),
)
REGRESSION_FAMILY = Family("regressions", {})  # every average marginal effect of the table
PLANNED = "planned"  # the family that a plan declares


def families_of(plan: Preregistration | None) -> tuple[Family, ...]:
    """List the families of a report; the plan's comes last: its members are corrected in it."""
    if plan is None or not plan.family:
        return DECLARED
    return (*DECLARED, Family(PLANNED, plan.family))


def with_corrections(
    differences: pd.DataFrame, declared: Sequence[Family] = DECLARED
) -> pd.DataFrame:
    """Add `correction_family`, `p_holm` and `p_bh`, each family corrected by itself.

    They are NaN if nothing was tested. A comparison that belongs to two families has the numbers of
    the later one. One that a plan declares and that cannot be tested stays in the plan's family,
    with p = 1: else the family would shrink after the data were seen.
    """
    if differences.empty:
        return differences
    table = differences.assign(correction_family="", p_holm=float("nan"), p_bh=float("nan"))
    for family in declared:
        members = family.members(differences)
        tested = differences["p"].notna()
        if not (members & tested).any():
            continue
        if family.name == PLANNED:
            filled = differences.assign(p=differences["p"].where(tested | ~members, 1.0))
            adjusted = adjust(filled, family)
            adjusted[["p_holm", "p_bh"]] = adjusted[["p_holm", "p_bh"]].where(tested)
        else:
            adjusted = adjust(differences, family)
        for column in ("correction_family", "p_holm", "p_bh"):
            table.loc[members, column] = adjusted.loc[members, column]
    return table
