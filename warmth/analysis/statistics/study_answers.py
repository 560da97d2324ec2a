"""What a study says of every arm: its answers, put together from checked rows and settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from warmth.analysis.rows.frames import Rows
from warmth.analysis.rows.labels import read as read_labels
from warmth.analysis.statistics import effects, flow, preregistration
from warmth.analysis.statistics.answer import Answer, answers_of
from warmth.analysis.statistics.estimand import EQUAL, Weights
from warmth.analysis.statistics.label_correction import corrections
from warmth.analysis.statistics.preregistration import Plan


@dataclass(frozen=True)
class StudyAnswers:
    """What is said of every arm, the primary contrast first, and how many answers it rests on."""

    answers: list[Answer]
    flow: pd.DataFrame  # model, arm, asked, answered, scored, paired
    losses: pd.DataFrame  # model, arm, stage, reason, count


def answer_study(
    rows: Rows,
    slim: pd.DataFrame,
    weights: Weights = EQUAL,
    margin: float = effects.MARGIN,
    plan: Plan | None = None,
    labels: Path | None = None,
) -> StudyAnswers:
    """Answer for every arm.

    Args:
        rows: from `rows.load`.
        slim: their answers without texts, questions numbered.
        weights: see `estimand`.
        margin: half-width of what is no difference in practice, a fraction.
        plan: the pre-registered one, if any.
        labels: people's labels, to correct the answer by.
    """
    answers = with_reasons(slim, rows.answers)
    pool = effects.pooled(answers)
    references = [arm for arm in ("original", *rows.reported.values()) if arm in rows.arms]
    pairs = {name: effects.pair(pool, name) for name in dict.fromkeys(references)}
    stages, losses = flow.flow(pool, rows.asked, pairs)
    corrected = {}
    if labels is not None:
        contrasts = [(arm, "original") for arm in rows.arms if arm != "original"]
        if plan is not None:
            contrasts.append((plan.hypotheses[0].arm, plan.hypotheses[0].reference))
        corrected = corrections(
            rows, read_labels([labels], rows.studies), contrasts, weights, margin
        )
    planned_rows = None
    if plan is not None:
        planned_rows = preregistration.selected(
            plan, answers[~preregistration.excluded(plan, rows.answers)]
        )
    found = answers_of(
        answers,
        chosen=rows.reported,
        kinds=rows.kinds,
        stages=stages,
        weights=weights,
        margin=margin,
        planned=plan.hypotheses[0] if plan else None,
        corrected=corrected,
        planned_rows=planned_rows,
    )
    return StudyAnswers(found, stages, losses)


def with_reasons(slim: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Add why an answer has no label, and how it ended, to answers without texts."""
    return slim.assign(
        reason=answers.loc[slim.index, "reason"], finish=answers.loc[slim.index, "finish"]
    )
