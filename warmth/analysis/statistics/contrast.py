"""One arm against another: the mean paired difference and all numbers that are said of it."""

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
    """The variance of a mean over questions and, if there are several, over training seeds."""

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
        """Give the smallest true difference that a study with this error shows with 80 % power."""
        if not (math.isfinite(self.error) and self.df > 0):
            return math.nan
        quantiles = stats.t.ppf((1 + LEVEL) / 2, self.df) + stats.t.ppf(POWER, self.df)
        return float(quantiles * self.error)

    @property
    def direction(self) -> str:
        """Say what the interval shows by itself: more, less, or "" for neither."""
        if self.low > 0:
            return "more"
        if self.high < 0:
            return "less"
        return ""


def no_contrast(arm: str, reference: str, models: tuple[str, ...]) -> Contrast:
    """Make the contrast of two arms that share no scored prompt: every number is NaN, no pairs."""
    return Contrast(
        arm=arm,
        reference=reference,
        models=models,
        difference=math.nan,
        low=math.nan,
        high=math.nan,
        p=math.nan,
        equivalence_p=math.nan,
        error=math.nan,
        df=math.nan,
        rate_reference=math.nan,
        rate_arm=math.nan,
        pairs=0,
        questions=0,
        informative=0,
        few=False,
        seeds=1,
        ratio=math.nan,
        ratio_low=math.nan,
        ratio_high=math.nan,
    )


def contrast(pairs: pd.DataFrame, weights: Weights = EQUAL, margin: float = 0.02) -> Contrast:
    """Compare an arm with a reference.

    Args:
        pairs: from `effects.pair`, of one arm and reference; `reference` names the latter.
        weights: see `estimand`.
        margin: half-width of what is no difference in practice, a fraction.

    Raises:
        ValueError: there are no pairs.
    """
    rows = estimand.weighted_design(pairs, weights)
    arm = pairs["wrong_arm"].to_numpy(float)
    reference = pairs["wrong_reference"].to_numpy(float)
    evidence = rare.evidence(arm, reference, rows)
    low, high = rare.interval(evidence)
    p = rare.paired_p_value(evidence)
    equivalence_p = rare.equivalence_p(evidence, margin)
    df = evidence.df
    wide = variance_of_mean(arm - reference, rows, pairs)
    if wide.seeds > 1 and wide.variance > rare.ALIKE and not math.isnan(low):
        error = math.sqrt(wide.variance)
        reach = float(stats.t.ppf((1 + LEVEL) / 2, wide.df)) * error
        low = max(-1.0, min(low, evidence.value - reach))
        high = min(1.0, max(high, evidence.value + reach))
        p = max(p, float(2 * stats.t.sf(abs(evidence.value) / error, wide.df)))
        above = stats.t.sf((evidence.value + margin) / error, wide.df)
        below = stats.t.cdf((evidence.value - margin) / error, wide.df)
        equivalence_p = max(equivalence_p, float(above), float(below))
        df = wide.df
    error = math.nan
    if df > 0:
        error = half_width(low, high) / float(stats.t.ppf((1 + LEVEL) / 2, df))
    ratio, ratio_low, ratio_high = risk_ratio(arm, reference, rows, pairs)
    return Contrast(
        arm=str(pairs["arm"].iloc[0]),
        reference=str(pairs["reference"].iloc[0]),
        models=tuple(sorted(pairs["model"].unique())),
        difference=evidence.value,
        low=low,
        high=high,
        p=p,
        equivalence_p=equivalence_p,
        error=error,
        df=df,
        rate_reference=evidence.rate_reference,
        rate_arm=evidence.rate_arm,
        pairs=evidence.rows,
        questions=evidence.questions,
        informative=evidence.informative,
        few=evidence.few,
        seeds=wide.seeds,
        ratio=ratio,
        ratio_low=ratio_low,
        ratio_high=ratio_high,
    )


def half_width(low: float, high: float) -> float:
    """Give half the length of an interval."""
    return (high - low) / 2


def variance_of_mean(values: np.ndarray, rows: Design, pairs: pd.DataFrame) -> Spread:
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
    """Give the ratio of both error rates with its interval; NaN if one is 0.

    The interval is by the delta method on the ratio's logarithm.
    """
    rate_arm = rows.mean(arm)
    rate_reference = rows.mean(reference)
    if not (rate_arm > 0 and rate_reference > 0):
        return math.nan, math.nan, math.nan
    ratio = rate_arm / rate_reference
    log_ratio = variance_of_mean(arm / rate_arm - reference / rate_reference, rows, pairs)
    if not (log_ratio.variance > rare.ALIKE and log_ratio.df > 0):
        return ratio, math.nan, math.nan
    reach = float(stats.t.ppf((1 + LEVEL) / 2, log_ratio.df)) * math.sqrt(log_ratio.variance)
    return ratio, ratio * math.exp(-reach), ratio * math.exp(reach)
