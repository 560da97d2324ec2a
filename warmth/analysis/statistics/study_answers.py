"""The answers of a study for every arm, put together from checked rows and settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from warmth.analysis.rows.frames import Rows
from warmth.analysis.rows.labels import read_labels
from warmth.analysis.statistics import effects, flow, preregistration
from warmth.analysis.statistics.answer import StudyAnswer, answers_of
from warmth.analysis.statistics.estimand import EQUAL, Weights
from warmth.analysis.statistics.label_correction import corrections
from warmth.analysis.statistics.preregistration import Preregistration


@dataclass(frozen=True)
class StudyAnswers:
    """The answer for every arm, the primary contrast first, and how many answers it rests on."""

    answers: list[StudyAnswer]
    flow: pd.DataFrame  # model, arm, asked, answered, scored, paired
    losses: pd.DataFrame  # model, arm, stage, reason, count


def answer_study(
    rows: Rows,
    slim: pd.DataFrame,
    weights: Weights = EQUAL,
    margin: float = effects.MARGIN,
    plan: Preregistration | None = None,
    labels: Path | None = None,
) -> StudyAnswers:
    """Answer for every arm.

    Args:
        rows: from `frames.load_rows`.
        slim: their answers without texts, questions numbered.
        weights: see `estimand`.
        margin: half-width of what is no difference in practice, a fraction.
        plan: the pre-registered one, if any.
        labels: people's labels, to correct the answer by.
    """
    answers = with_reasons(slim, rows.answers)
    pool = effects.pooled(answers)
    references = dict.fromkeys(("original", *rows.reported.values()))
    pairs = {arm: effects.pair(pool, arm) for arm in references if arm in rows.arms}
    stages, losses = flow.flow_of_answers(pool, rows.asked, pairs)
    hypothesis = None
    planned_rows = None
    if plan is not None:
        hypothesis = plan.hypotheses[0]
        followed = answers[~preregistration.excluded_answers(plan, rows.answers)]
        planned_rows = preregistration.selected(plan, followed)
    corrected = {}
    if labels is not None:
        contrasts = [(arm, "original") for arm in rows.arms if arm != "original"]
        if hypothesis is not None:
            contrasts.append((hypothesis.arm, hypothesis.reference))
        people = read_labels([labels], rows.studies)
        corrected = corrections(rows, people, contrasts, weights, margin)
    arm_answers = answers_of(
        answers,
        chosen=rows.reported,
        kinds=rows.kinds,
        stages=stages,
        weights=weights,
        margin=margin,
        planned=hypothesis,
        corrected=corrected,
        planned_rows=planned_rows,
    )
    return StudyAnswers(arm_answers, stages, losses)


def with_reasons(slim: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Add why an answer has no label, and how it ended, to answers without texts."""
    return slim.assign(
        reason=answers.loc[slim.index, "reason"], finish=answers.loc[slim.index, "finish"]
    )
