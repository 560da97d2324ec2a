"""The answer for every arm in one table: what is claimed, what missing verdicts could do, and the
bare question.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from warmth.analysis import wording
from warmth.analysis.report import answer_text
from warmth.analysis.report.kernel import (
    ARM,
    Cell,
    Column,
    Notes,
    Part,
    Section,
    arm_name,
    number,
    p_value,
    shift,
    sort_value,
    table,
    text,
)
from warmth.analysis.report.study import Study
from warmth.analysis.statistics import contrast
from warmth.analysis.statistics.answer import Answer

CAPTION = (
    "What is said of every arm, over all models. Worst case: the difference if the unscored "
    "answers of the two arms "
    "were right and wrong the worst ways. Tipping point: by how many points unscored answers "
    "would have to differ "
    "from scored ones to turn the sign. Shown: the difference the study would have shown with 80 "
    "% power. p: of the "
    "primary contrast its own, of other arms corrected among them (Holm)."
)
MISSING = (
    "Manski’s bounds: pairs in which an answer has no verdict are filled in with a wrong answer "
    "in one arm and a right "
    "one in the other. Refusals, dropped by the stated rule, and tasks that wait for a judge are "
    "outside. No direction "
    "is claimed if the bounds span zero and the arms differ in their unscored shares (by more "
    "than 2 points, or p < "
    "0.05), or less than 25 points between unscored and scored answers would turn the sign."
)
MODELS = (
    "One weight each. Q, I² and τ (Paule–Mandel) from each model’s difference and its error; from "
    "three models a "
    "random-effects interval with t(k − 1), from five a prediction interval with t(k − 2). Models "
    "answered the same "
    "questions, so Q rejects too seldom if anything."
)
DETECTABLE = "(t₀.₉₇₅ + t₀.₈) times the error of the difference, with its degrees of freedom."
RELATIVE = (
    "Ratio of the two error rates on the pairs; its interval by the delta method on the logarithm."
)


def answers(study: Study) -> Section | None:
    """Show the answers of all arms next to each other."""
    found = study.said.answers
    if not found:
        return None
    frame = pd.DataFrame([row_of(item) for item in found])
    columns = [
        ARM,
        arm_name("Against", "reference"),
        text("Claim", "claim"),
        shift("Difference, points", "difference"),
        p_value("p", "p"),
        Column("Worst case, points", "number", _bounds),
        number("Tipping point, points", "tipping_points", 0),
        shift("Without context and belief", "bare", "bare_low", "bare_high"),
        shift("Against its control", "control_difference", "control_low", "control_high"),
        number("Shown, points", "detectable_points", 1),
    ]
    parts: list[Part] = [table("answers", CAPTION, columns, frame, wide=True)]
    lines = [answer_text.lead(item) for item in found[1:]]
    if lines:
        parts.append(Notes(lines))
    return Section(
        id="answers",
        title="Every arm’s answer",
        nav="Answers",
        parts=parts,
        frames={"answers": frame},
        methods={
            "Missing verdicts": MISSING,
            "Models": MODELS,
            "Smallest difference": DETECTABLE,
            "Relative": RELATIVE,
        },
    )


def row_of(item: Answer) -> dict[str, Any]:
    """Flatten an answer to a row of `tables/answers.csv`; fractions, but for `*_points`."""
    best = item.best
    row: dict[str, Any] = {"arm": item.effect.arm, "reference": item.effect.reference}
    row |= {
        "claim": item.claim.replace("_", " "),
        "difference": best.difference,
        "low": best.low,
        "high": best.high,
    }
    row |= {
        "p": item.p,
        "equivalence_p": best.equivalence_p,
        "raw_difference": item.effect.difference,
    }
    row |= {
        "pairs": item.effect.pairs,
        "questions": item.effect.questions,
        "informative": item.effect.informative,
    }
    row |= {
        "ratio": item.effect.ratio,
        "ratio_low": item.effect.ratio_low,
        "ratio_high": item.effect.ratio_high,
    }
    row |= {"detectable_points": 100 * item.effect.detectable}
    gap = item.missing
    row |= {
        "bound_low": float("nan") if gap is None else gap.low,
        "bound_high": float("nan") if gap is None else gap.high,
        "tipping_points": float("nan")
        if gap is None or gap.tipping_points is None
        else gap.tipping_points,
    }
    for prefix, other in (("bare", item.without_context), ("control", item.control)):
        row |= _ends(prefix, other)
    return row


def _ends(prefix: str, other: contrast.Contrast | None) -> dict[str, float]:
    """Name a contrast's numbers; NaN if there is none."""
    value = "bare" if prefix == "bare" else f"{prefix}_difference"
    if other is None:
        return dict.fromkeys((value, f"{prefix}_low", f"{prefix}_high"), float("nan"))
    return {value: other.difference, f"{prefix}_low": other.low, f"{prefix}_high": other.high}


def _bounds(row: Any) -> Cell:
    interval = wording.span(row["bound_low"], row["bound_high"], sign=True)
    return Cell(interval or "—", sort_value(row["bound_low"]))
