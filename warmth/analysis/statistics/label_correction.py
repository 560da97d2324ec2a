"""The answer corrected by people's labels: what the grader got wrong, and could not score, taken
out of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from warmth.analysis.rows.frames import Rows, is_missing
from warmth.analysis.statistics import effects, estimand
from warmth.analysis.statistics.agreement import joined
from warmth.analysis.statistics.answer import Corrected
from warmth.analysis.statistics.effects import PAIR
from warmth.analysis.statistics.estimand import Weights
from warmth.analysis.statistics.judging import UNSCORED, Estimate, ppi

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
        labels: from `labels.read`.
        contrasts: arm and reference of each difference.
        weights: see `estimand`.
        margin: half-width of what is no difference in practice, a fraction.
    """
    frame = effects.pooled(joined(rows, labels, None)[0])
    frame = frame[frame["label"].notna() | is_missing(frame)]
    found: dict[tuple[str, str], Corrected | str] = {}
    for arm, reference in contrasts:
        found[arm, reference] = correction(frame, arm, reference, weights, margin)
    return found


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
    own = frame[frame["arm"].isin([arm, reference])]
    fewest, where = fewest_labels(own)
    if fewest < FEWEST:
        return (
            f"People’s labels do not correct this: of {where} there are {fewest}, and {FEWEST} or "
            f"more of each arm and "
            "model are needed for an interval that keeps its promise."
        )
    covers = covers_unscored(own)
    if not covers:
        own = own[own["label"].notna()]
    by_model: dict[str, Estimate] = {}
    for model, group in own.groupby("model", sort=False):
        base = group[group["arm"].eq(reference)].drop_duplicates(PAIR)
        left = group[group["arm"].eq(arm)]
        right = left[PAIR].merge(base, on=PAIR)
        left = left.merge(base[PAIR], on=PAIR)
        if left.empty:
            continue
        share = estimand.design_of(left, weights).weight
        estimates = []
        for side in (left, right):
            verdict = np.where(side["label"].isna(), UNSCORED, 0.0)
            estimates.append(ppi(side.assign(share=share, verdict=verdict)))
        labelled = int(
            left["weight"].notna().sum() + right.drop_duplicates(PAIR)["weight"].notna().sum()
        )
        by_model[str(model)] = estimates[0].minus(estimates[1], labelled)
    if not by_model:
        return "People’s labels do not correct this: no prompt was scored in both arms."
    found = mean_of(list(by_model.values()), weights.of_models(by_model))
    return as_corrected(found, covers, margin)


def fewest_labels(frame: pd.DataFrame) -> tuple[int, str]:
    """Count the labels of the arm and model that has fewest, and name them."""
    counts = frame.assign(known=frame["weight"].notna()).groupby(["model", "arm"])["known"].sum()
    model, arm = counts.idxmin()
    several = frame["model"].nunique() > 1
    return int(counts.min()), f"{arm} of {model}" if several else str(arm)


def covers_unscored(frame: pd.DataFrame) -> bool:
    """Say whether people labelled enough answers without a verdict, wherever there are any, to
    correct for them.
    """
    unscored = frame[frame["label"].isna()]
    if unscored.empty:
        return True
    groups = unscored.assign(known=unscored["weight"].notna()).groupby(["model", "arm"])["known"]
    enough = groups.sum() >= np.minimum(FEWEST_UNSCORED, groups.size())
    return bool(enough.all())


def mean_of(estimates: Sequence[Estimate], weights: np.ndarray) -> Estimate:
    """Average estimates of several models over the same questions, each with its weight."""
    shares = weights / weights.sum()
    influences = [item.influence * share for item, share in zip(estimates, shares, strict=True)]
    return Estimate(
        value=float(shares @ np.array([item.value for item in estimates])),
        influence=pd.concat(influences).groupby(level=0).sum(),
        labelled=sum(item.labelled for item in estimates),
        told=min(item.told for item in estimates),
    )


def as_corrected(found: Estimate, covers_unscored: bool, margin: float) -> Corrected | str:
    """Add the tests to an estimate."""
    low, high = found.interval()
    if math.isnan(low):
        return (
            "People’s labels do not correct this: what they say does not vary, so there is no "
            "interval."
        )
    above = float(stats.t.sf((found.value + margin) / found.error, found.df))
    below = float(stats.t.cdf((found.value - margin) / found.error, found.df))
    return Corrected(
        difference=found.value,
        low=low,
        high=high,
        p=float(2 * stats.t.sf(abs(found.value) / found.error, found.df)),
        equivalence_p=max(above, below),
        labelled=found.labelled,
        covers_unscored=covers_unscored,
        method=METHOD,
    )
