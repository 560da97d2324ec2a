"""Every paired difference from the original with its tests, folded away."""

from __future__ import annotations

import math
from typing import Any

from warmth.analysis import wording
from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    Column,
    Fold,
    Section,
    TableCell,
    condition,
    count,
    p_value,
    percent,
    shift,
    sort_value,
    table,
)
from warmth.analysis.report.study import Study
from warmth.analysis.rows.tables import records

CAPTION = (
    "Paired differences from original on the prompts both answered. McNemar only where a "
    "question occurs once."
)
MCNEMAR = (
    "Exact and two-sided: of b + c prompts on which one side alone is wrong, b ~ Binomial(b + c, "
    "½). Shown only where "
    "each question occurs once. Cohen’s g = b/(b + c) − ½."
)
EQUIVALENCE = (
    "Two one-sided tests, by the interval’s own rule, against ±{margin} points{exploratory}; "
    "equivalent when both "
    "reject at 5 %. “Not significant” is not equivalence.{planned}"
)
CORRECTION = (
    "Clustered p-values are corrected in declared families, each over all arms and models: the "
    "overall differences; "
    "those of single tasks, contexts, beliefs and conditions; those from the control arms; the "
    "differences in "
    "differences, of each two arms once; and the regressions’ effects.{own} Verdict words follow "
    "Holm’s p. The answer "
    "is the primary contrast, tested by itself; the other arms’ answers are corrected among "
    "themselves. Holm bounds "
    "the chance of any false finding, Benjamini–Hochberg (BH) the share of false ones. Intervals "
    "are not corrected: "
    "among many cells some miss zero by chance."
)


def every_difference(study: Study) -> Section | None:
    """List every paired difference from the original with its tests."""
    margin = f"{study.settings.margin_points:g}"
    columns = [
        MODEL,
        ARM,
        condition("Task", "task"),
        condition("Context", "context"),
        condition("Belief", "belief"),
        count("Pairs", "pairs"),
        percent("Original, %", "rate_reference"),
        percent("Arm, %", "rate_arm"),
        shift("Difference, points", "difference"),
        p_value("p, clustered", "p"),
        p_value("p, Holm", "p_holm"),
        p_value("p, BH", "p_bh"),
        count("Only arm wrong", "arm_only_wrong"),
        count("Only original wrong", "reference_only_wrong"),
        p_value("McNemar p", "mcnemar_p"),
        Column("Cohen’s g", "number", _cohens_g),
        Column("Odds ratio", "number", odds_cell),
        Column(
            f"Within ±{margin} points",
            "text",
            lambda row: TableCell(row["equivalence"].partition(" (")[0]),
        ),
    ]
    frame = study.differences
    summary = "All paired differences with their tests"
    return Section(
        id="every-difference",
        title="",
        level=3,
        parts=[
            Fold(
                summary, [table("differences", CAPTION, columns, frame, wide=True)], ["differences"]
            )
        ],
        frames={"differences": frame},
        methods={
            "McNemar": MCNEMAR,
            "No effect": EQUIVALENCE.format(margin=margin, **_equivalence_words(study, margin)),
            "Many comparisons": CORRECTION.format(own=_own_family(study)),
        },
        summary={"differences": records(frame)},
        panels=["differences"],
    )


def odds_cell(row: Any) -> TableCell:
    """Make the cell of the discordant pairs' odds ratio, exact, if each question occurs once."""
    if not wording.known(row["odds_ratio"]):
        return TableCell("")
    texts = [_finite(row[name]) for name in ("odds_ratio", "odds_low", "odds_high")]
    return TableCell(texts[0], float(row["odds_ratio"]), f"{texts[1]} to {texts[2]}")


def _finite(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "∞"


def _cohens_g(row: Any) -> TableCell:
    value = row["cohens_g"]
    return TableCell(wording.signed(value, 2) if wording.known(value) else "", sort_value(value))


def _equivalence_words(study: Study, margin: str) -> dict[str, str]:
    settings = study.settings
    exploratory = (
        "" if settings.preregistered else " (exploratory: the margin was not pre-registered)"
    )
    planned = ""
    if settings.plan is not None and settings.plan.margin_points is not None:
        of_plan = f"{settings.plan.margin_points:g}"
        if of_plan != margin:
            planned = f" The hypotheses are held to the plan’s ±{of_plan} points."
    return {"exploratory": exploratory, "planned": planned}


def _own_family(study: Study) -> str:
    plan = study.settings.plan
    if plan is None or not plan.family:
        return ""
    family = "; ".join(f"{column} {', '.join(values)}" for column, values in plan.family.items())
    words = wording.visible(family, 300)
    return (
        f" Comparisons of the plan’s own family ({words}) are corrected among themselves instead."
    )
