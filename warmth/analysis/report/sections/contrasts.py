"""Differences in differences: what a context or a stated belief adds to an arm's difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    Column,
    Fold,
    Section,
    TableCell,
    arm_name,
    condition_words,
    count,
    p_value,
    shift,
    table,
)
from warmth.analysis.report.study import Study, by_arm
from warmth.analysis.rows.arm_names import CONTROLS, arm_order
from warmth.analysis.statistics.dose import difference_in_differences
from warmth.analysis.statistics.families import Family, adjust
from warmth.errors import UserError

BASES = {"context": "unmodified", "belief": "none"}
FAMILY = Family("differences in differences", {})
CAPTION = (
    "How much larger an arm’s difference is in a context than without one, or under a belief than "
    "without one. "
    "Less a control arm it is what the manner adds there, fine-tuning as such taken out. Small: "
    "95 % intervals."
)
METHOD = (
    "(arm − reference | condition) − (arm − reference | base), each row weighted by ±N/n of its "
    "condition, clustered "
    "by question."
)


def contrasts(study: Study) -> Section | None:
    """Show how much larger each arm's difference is in a context or under a belief than without."""
    frame = contrast_rows(study.pairs)
    columns = [
        MODEL,
        ARM,
        arm_name("Less", "reference"),
        Column("In", "text", lambda row: TableCell(condition_words(row["column"], row["value"]))),
        count("Pairs", "pairs"),
        shift("Difference of differences, points", "difference"),
        p_value("p, Holm", "p_holm"),
        p_value("p, BH", "p_bh"),
    ]
    contents = []
    if len(frame):
        summary = "Differences in differences: what a context or a belief adds"
        contents = [
            Fold(summary, [table("contrasts", CAPTION, columns, frame, wide=True)], ["contrasts"])
        ]
    return Section(
        id="contrasts",
        title="",
        level=3,
        parts=contents,
        frames={"contrasts": frame},
        methods={"Differences in differences": METHOD},
    )


def contrast_rows(pairs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Compute how much larger each arm's difference is in a context or under a belief than without.

    Args:
        pairs: reference arm → `effects.pair(answers, reference)`.

    Returns:
        model, arm, reference, column, value, base, pairs, questions, difference, low, high, p
        (fractions), and p_holm, p_bh over all of them, one declared family. Each two arms are in it
        once: a control is compared with the looser ones alone.
    """
    rows = []
    for reference, paired in pairs.items():
        for (model, arm), group in by_arm(paired):
            if not _compared(arm, reference):
                continue
            for column, base in BASES.items():
                for value in group[column].unique():
                    if value == base or not group[column].eq(base).any():
                        continue
                    row = {"model": model, "arm": arm, "reference": reference}
                    row |= {"column": column, "value": value, "base": base}
                    rows.append(
                        row | _numbers(difference_in_differences(group, column, value, base))
                    )
    frame = pd.DataFrame(rows)
    if frame.empty:
        return frame
    try:
        return adjust(frame, FAMILY)
    except UserError:  # none has a p-value
        return frame.assign(p_holm=float("nan"), p_bh=float("nan"))


def _compared(arm: str, reference: str) -> bool:
    """Tell whether an arm is one to compare with this reference: a manner, or a stricter
    control.
    """
    recipe, looser = arm_order(arm).recipe, arm_order(reference).recipe
    return recipe not in CONTROLS or CONTROLS.index(recipe) < CONTROLS.index(looser)


def _numbers(mean: Any) -> dict[str, float]:
    numbers = {"pairs": mean.n, "questions": mean.clusters, "difference": mean.value}
    return {**numbers, "low": mean.low, "high": mean.high, "p": mean.p}
