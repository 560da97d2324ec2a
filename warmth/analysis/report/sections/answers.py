"""The answer for every arm in one table: what is claimed, what missing verdicts could do, and the
bare question.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from warmth.analysis import wording
from warmth.analysis.report import answer_text
from warmth.analysis.report.kernel import (
    ARM,
    Column,
    Notes,
    Part,
    Section,
    TableCell,
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
from warmth.analysis.statistics.answer import StudyAnswer

CAPTION = (
    "What is said of every arm, over all models. Worst case: the difference if the unscored "
    "answers of the two arms were right and wrong the worst ways. Tipping point: by how many "
    "points unscored answers would have to differ from scored ones to turn the sign. Shown: the "
    "difference the study would have shown with 80 % power. p: of the primary contrast its own, of "
    "other arms corrected among them (Holm)."
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
    arm_answers = study.said.answers
    if not arm_answers:
        return None
    frame = pd.DataFrame(list(map(flat_answer, arm_answers)))
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
    if len(arm_answers) > 1:
        parts.append(Notes(list(map(answer_text.lead, arm_answers[1:]))))
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


def flat_answer(item: StudyAnswer) -> dict[str, Any]:
    """Flatten an answer to a row of `tables/answers.csv`; fractions, but for `*_points`."""
    best = item.best
    effect = item.effect
    row: dict[str, Any] = {"arm": effect.arm, "reference": effect.reference}
    row["claim"] = item.claim.replace("_", " ")
    row |= {"difference": best.difference, "low": best.low, "high": best.high}
    row |= {"p": item.p, "equivalence_p": best.equivalence_p}
    row["raw_difference"] = effect.difference
    row |= {"pairs": effect.pairs, "questions": effect.questions}
    row["informative"] = effect.informative
    row |= {"ratio": effect.ratio, "ratio_low": effect.ratio_low, "ratio_high": effect.ratio_high}
    row["detectable_points"] = 100 * effect.detectable
    row |= dict.fromkeys(("bound_low", "bound_high", "tipping_points"), math.nan)
    gap = item.missing
    if gap is not None:
        row |= {"bound_low": gap.low, "bound_high": gap.high}
        if gap.tipping_points is not None:
            row["tipping_points"] = gap.tipping_points
    row |= _numbers_of(item.without_context, "bare", "bare")
    row |= _numbers_of(item.control, "control_difference", "control")
    return row


def _numbers_of(effect: contrast.Contrast | None, name: str, prefix: str) -> dict[str, float]:
    """Give a contrast's difference under a name, and its ends; NaN if there is none."""
    columns = (name, f"{prefix}_low", f"{prefix}_high")
    if effect is None:
        return dict.fromkeys(columns, math.nan)
    return dict(zip(columns, (effect.difference, effect.low, effect.high), strict=True))


def _bounds(row: Any) -> TableCell:
    interval = wording.span(row["bound_low"], row["bound_high"], sign=True)
    return TableCell(interval or "—", sort_value(row["bound_low"]))
