"""One arm against another: the mean paired difference with everything that is said of it in
numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from warmth.analysis.statistics import estimand, rare
from warmth.analysis.statistics.estimand import EQUAL, Weights
from warmth.analysis.statistics.rare import Design

LEVEL = 0.95
POWER = 0.8  # with which the smallest difference would have been shown
ALPHA = 0.05


@dataclass(frozen=True)
class Spread:
    """The variance of a mean over questions and, if arms were trained with several seeds, over
    seeds.
    """

    variance: float
    df: float
    seeds: int  # trainings of each model's arm, the fewest; 1: nothing is known of another


@dataclass(frozen=True)
class Contrast:
    """The difference in error rate between two arms on the prompts both were scored on; fractions.

    Interval, p-values and error hold for another training seed of the recipe if `seeds` is 2 or
    more, else for the models as they were trained.
    """

    arm: str
    reference: str
    models: tuple[str, ...]
    difference: float
    low: float
    high: float
    p: float
    equivalence_p: float  # at the margin
    error: float  # half the interval over its quantile
    df: float
    rate_reference: float
    rate_arm: float
    pairs: int
    questions: int
    informative: int  # questions that a change could be seen in
    few: bool  # too few of these for the ordinary interval
    seeds: int
    ratio: float  # of the two rates; NaN without an error in either
    ratio_low: float
    ratio_high: float

    @property
    def detectable(self) -> float:
        """Give the smallest true difference that a study with this error shows with a power of 80
        %.
        """
        if not (math.isfinite(self.error) and self.df > 0):
            return math.nan
        quantiles = stats.t.ppf((1 + LEVEL) / 2, self.df) + stats.t.ppf(POWER, self.df)
        return float(quantiles * self.error)

    @property
    def direction(self) -> str:
        """Say what the interval shows by itself: more, less, or "" for neither."""
        if self.low > 0:
            return "more"
        return "less" if self.high < 0 else ""


def contrast(pairs: pd.DataFrame, weights: Weights = EQUAL, margin: float = 0.02) -> Contrast:
    """Compare an arm with a reference.

    Args:
        pairs: from `effects.pair`, of one arm and reference; `reference` names the latter.
        weights: see `estimand`.
        margin: half-width of what is no difference in practice, a fraction.

    Raises:
        ValueError: there are no pairs.
    """
    rows = estimand.design_of(pairs, weights)
    arm = pairs["wrong_arm"].to_numpy(float)
    reference = pairs["wrong_reference"].to_numpy(float)
    found = rare.evidence(arm, reference, rows)
    low, high = rare.interval(found)
    p = rare.p_value(found)
    equivalence_p = rare.equivalence_p(found, margin)
    df = found.df
    wide = spread(arm - reference, rows, pairs)
    if wide.seeds > 1 and wide.variance > rare.ALIKE and not math.isnan(low):
        error = math.sqrt(wide.variance)
        reach = float(stats.t.ppf((1 + LEVEL) / 2, wide.df)) * error
        low = max(-1.0, min(low, found.value - reach))
        high = min(1.0, max(high, found.value + reach))
        p = max(p, float(2 * stats.t.sf(abs(found.value) / error, wide.df)))
        above = stats.t.sf((found.value + margin) / error, wide.df)
        below = stats.t.cdf((found.value - margin) / error, wide.df)
        equivalence_p = max(equivalence_p, float(above), float(below))
        df = wide.df
    ratio, ratio_low, ratio_high = risk_ratio(arm, reference, rows, pairs)
    return Contrast(
        arm=str(pairs["arm"].iloc[0]),
        reference=str(pairs["reference"].iloc[0]),
        models=tuple(sorted(pairs["model"].unique())),
        difference=found.value,
        low=low,
        high=high,
        p=p,
        equivalence_p=equivalence_p,
        error=half_width(low, high) / float(stats.t.ppf((1 + LEVEL) / 2, df))
        if df > 0
        else math.nan,
        df=df,
        rate_reference=found.rate_reference,
        rate_arm=found.rate_arm,
        pairs=found.rows,
        questions=found.questions,
        informative=found.informative,
        few=found.few,
        seeds=wide.seeds,
        ratio=ratio,
        ratio_low=ratio_low,
        ratio_high=ratio_high,
    )


def half_width(low: float, high: float) -> float:
    """Give half the length of an interval."""
    return (high - low) / 2


def spread(values: np.ndarray, rows: Design, pairs: pd.DataFrame) -> Spread:
    """Estimate the variance of a mean over questions × training seeds.

    Every seed of a model meets every question, so the two are crossed: V = V_question + V_seed -
    V_question∩seed, not below the larger of the first two. Seeds of two models are different
    trainings, each model with a spread of its own: V_seed = Σ_m S_m/(S_m - 1) Σ_s (Σ influence)².
    Degrees of freedom are Satterthwaite's.

    Args:
        values: (n,) of each pair.
        rows: how pairs weigh and belong together.
        pairs: `model` and `seed` of each.

    Source: Cameron, Gelbach and Miller (2011), J. Business & Economic Statistics 29, 238.
    """
    by_question = rows.variance(values)
    model = estimand.codes(pairs, ["model"])
    training = estimand.codes(pairs, ["model", "seed"])
    owner = np.zeros(training.max() + 1, int)
    owner[training] = model
    counts = np.bincount(owner)
    seeds = int(counts.min())
    if seeds < 2 or rows.questions < 2:
        return Spread(by_question, rows.df, seeds)
    influence = rows.influence(values)
    squares = np.bincount(owner, np.bincount(training, influence) ** 2)
    of_model = counts / (counts - 1) * squares
    by_seed = float(of_model.sum())
    both = pd.factorize(rows.question.astype(np.int64) * (training.max() + 1) + training)[0]
    cells = int(both.max()) + 1
    by_both = cells / (cells - 1) * float((np.bincount(both, influence) ** 2).sum())
    total = max(by_question + by_seed - by_both, by_question, by_seed)
    under = by_question**2 / rows.df + float((of_model**2 / (counts - 1)).sum())
    df = total**2 / under if under > 0 else rows.df
    return Spread(total, df, seeds)


def risk_ratio(
    arm: np.ndarray, reference: np.ndarray, rows: Design, pairs: pd.DataFrame
) -> tuple[float, float, float]:
    """Give the ratio of both error rates with its interval, by the delta method on its logarithm;
    NaN if one is 0.
    """
    rate_arm = rows.mean(arm)
    rate_reference = rows.mean(reference)
    if not (rate_arm > 0 and rate_reference > 0):
        return math.nan, math.nan, math.nan
    ratio = rate_arm / rate_reference
    found = spread(arm / rate_arm - reference / rate_reference, rows, pairs)
    if not (found.variance > rare.ALIKE and found.df > 0):
        return ratio, math.nan, math.nan
    reach = float(stats.t.ppf((1 + LEVEL) / 2, found.df)) * math.sqrt(found.variance)
    return ratio, ratio * math.exp(-reach), ratio * math.exp(reach)
