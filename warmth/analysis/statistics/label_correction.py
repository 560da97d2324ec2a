"""Correction of the answer by people's labels: of what the grader got wrong or could not score."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from warmth.analysis.rows.frames import Rows, is_missing
from warmth.analysis.statistics import effects, estimand
from warmth.analysis.statistics.agreement import with_labels
from warmth.analysis.statistics.answer import Corrected
from warmth.analysis.statistics.effects import PAIR
from warmth.analysis.statistics.estimand import Weights
from warmth.analysis.statistics.judging import UNSCORED, Estimate, labelled_in, partners, ppi

FEWEST = 40  # labels of each arm and model; intervals from fewer do not cover what they should
FEWEST_UNSCORED = 5  # labels of answers without a verdict from which these are corrected too
METHOD = "PPI++"


def corrections(
    rows: Rows,
    labels: pd.DataFrame,
    contrasts: Sequence[tuple[str, str]],
    weights: Weights,
    margin: float,
) -> dict[tuple[str, str], Corrected | str]:
    """Correct the difference of every arm from its reference, or say why it cannot be.

    Args:
        rows: the finished runs.
        labels: from `labels.read_labels`.
        contrasts: arm and reference of each difference.
        weights: see `estimand`.
        margin: half-width of what is no difference in practice, a fraction.
    """
    frame = effects.pooled(with_labels(rows, labels, None)[0])
    frame = frame[frame["label"].notna() | is_missing(frame)]
    corrected: dict[tuple[str, str], Corrected | str] = {}
    for arm, reference in contrasts:
        corrected[arm, reference] = correction(frame, arm, reference, weights, margin)
    return corrected


def correction(
    frame: pd.DataFrame, arm: str, reference: str, weights: Weights, margin: float
) -> Corrected | str:
    """Correct one difference.

    Args:
        frame: answers with `judged`, `truth` and `weight` (see `judging`), `label`, and what pairs
            them.
        arm: the arm.
        reference: what it is compared with.
        weights: see `estimand`.
        margin: half-width of what is no difference in practice, a fraction.
    """
    rows = frame[frame["arm"].isin([arm, reference])]
    fewest, arm_and_model = fewest_labels(rows)
    if fewest < FEWEST:
        return (
            f"People’s labels do not correct this: of {arm_and_model} "
            f"there are {fewest}, and {FEWEST} or more of each arm and "
            "model are needed for an interval that keeps its promise."
        )
    covers = covers_unscored(rows)
    if not covers:
        rows = rows[rows["label"].notna()]
    by_model: dict[str, Estimate] = {}
    for model, group in rows.groupby("model", sort=False):
        of_reference = group[group["arm"].eq(reference)].drop_duplicates(PAIR)
        left, right = partners(group[group["arm"].eq(arm)], of_reference)
        if len(left):
            share = estimand.weighted_design(left, weights).weight
            change = shared_rate(left, share).minus(
                shared_rate(right, share), labelled_in(left, right)
            )
            by_model[str(model)] = change
    if not by_model:
        return "People’s labels do not correct this: no prompt was scored in both arms."
    mean = mean_over_models(list(by_model.values()), weights.of_models(by_model))
    return as_corrected(mean, covers, margin)


def shared_rate(rows: pd.DataFrame, share: np.ndarray) -> Estimate:
    """Estimate one arm's rate by PPI++, each answer with its share, the unscored a class apart."""
    verdict = np.where(rows["label"].isna(), UNSCORED, 0.0)
    return ppi(rows.assign(share=share, verdict=verdict))


def fewest_labels(frame: pd.DataFrame) -> tuple[int, str]:
    """Count the labels of the arm and model that has fewest, and name them."""
    counts = frame.assign(known=frame["weight"].notna()).groupby(["model", "arm"])["known"].sum()
    model, arm = counts.idxmin()
    several = frame["model"].nunique() > 1
    return int(counts.min()), f"{arm} of {model}" if several else str(arm)


def covers_unscored(frame: pd.DataFrame) -> bool:
    """Say whether people labelled enough of the answers without a verdict to correct for them."""
    unscored = frame[frame["label"].isna()]
    if unscored.empty:
        return True
    groups = unscored.assign(known=unscored["weight"].notna()).groupby(["model", "arm"])["known"]
    enough = groups.sum() >= np.minimum(FEWEST_UNSCORED, groups.size())
    return bool(enough.all())


def mean_over_models(estimates: Sequence[Estimate], weights: np.ndarray) -> Estimate:
    """Average estimates of several models over the same questions, each with its weight."""
    shares = weights / weights.sum()
    influences = []
    for estimate, share in zip(estimates, shares, strict=True):
        influences.append(estimate.influence * share)
    return Estimate(
        value=float(shares @ np.array([estimate.value for estimate in estimates])),
        influence=pd.concat(influences).groupby(level=0).sum(),
        labelled=sum(estimate.labelled for estimate in estimates),
        labelled_questions=min(estimate.labelled_questions for estimate in estimates),
    )


def as_corrected(estimate: Estimate, covers_unscored: bool, margin: float) -> Corrected | str:
    """Add the tests to an estimate, or say why there is none."""
    low, high = estimate.interval()
    if math.isnan(low):
        return (
            "People’s labels do not correct this: what they "
            "say does not vary, so there is no interval."
        )
    above = float(stats.t.sf((estimate.value + margin) / estimate.error, estimate.df))
    below = float(stats.t.cdf((estimate.value - margin) / estimate.error, estimate.df))
    return Corrected(
        difference=estimate.value,
        low=low,
        high=high,
        p=float(2 * stats.t.sf(abs(estimate.value) / estimate.error, estimate.df)),
        equivalence_p=max(above, below),
        labelled=estimate.labelled,
        covers_unscored=covers_unscored,
        method=METHOD,
    )
