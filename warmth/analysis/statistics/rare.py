"""Intervals and tests for paired differences of right and wrong, also if few questions differ.

A pair's difference is -1, 0 or 1, and the pairs of a question are one cluster. The ordinary
interval, value ± t·√V with the clustered (CR1) variance V, keeps its promise if many questions hold
a discordant pair. If few do, V is itself a guess: the interval covers 60 to 92 % in place of 95 %,
and equivalence is claimed too often. Three rules, by u, the number of questions that a change could
be seen in (`Evidence.informative`):

- u = 0, all pairs alike: exact binomial, a question counting as one answer;
- u below `COMMON`: Tango's score interval at an effective number of pairs, which leans from what
  the pairs show to a question counting as one answer; with more than `MANY_ROWS` rows a question,
  or u below `FEW_SEEN` where questions recur, the outer ends of that and of Newcombe's method 10;
- otherwise, or if nearly all questions hold a discordant pair (`NEARLY_ALL`): value ± t·√V.

Interval, test and equivalence are one thing seen from three sides: `signed_quantile` says at which
quantile an end of the interval meets a value.

Sources: Tango (1998), Stat. Med. 17, 891; Newcombe (1998), Stat. Med. 17, 2635, method 10; Korn and
Graubard (1998), Survey Methodology 24, 193 (effective size). The lean, `COMMON`, `NEARLY_ALL`,
`MANY_ROWS` and `FEW_SEEN` were found by simulation; docs/statistics.md has their coverage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

COMMON = 40  # questions with a discordant pair from which the ordinary interval holds
# rows a question beyond which row noise can hide a question that changes as a whole
MANY_ROWS = 8.0
# questions that a change could be seen in below which it can with any rows a question
FEW_SEEN = 15
NEARLY_ALL = 0.9  # share of questions with one from which it holds too, however few they are
HALVINGS = 45  # of [-1, 1]: the ends are exact to 1e-13
FARTHEST = 80.0  # largest quantile looked for
ALIKE = 1e-12  # a spread below this is what computing left of none


@dataclass(frozen=True)
class Design:
    """Which rows belong together and how much each weighs.

    Attributes:
        weight: (n,) adds up to 1.
        question: (n,) codes of the clusters.
        cell: (n,) codes of the groups whose share of the weight is fixed, such as task and model.
        stratum: (n,) codes of the groups whose questions were drawn apart, such as tasks.
    """

    weight: np.ndarray
    question: np.ndarray
    cell: np.ndarray
    stratum: np.ndarray

    @property
    def questions(self) -> int:
        """Count the clusters."""
        return int(self.question.max()) + 1

    @property
    def stratum_of_question(self) -> np.ndarray:
        """Give the stratum of each question."""
        owner = np.zeros(self.questions, int)
        owner[self.question] = self.stratum
        return owner

    @property
    def cautious(self) -> float:
        """Give the design effect if a question were one answer: n · Σ_g W_g², W_g its weight."""
        return len(self.weight) * float((np.bincount(self.question, self.weight) ** 2).sum())

    @property
    def df(self) -> float:
        """Give the degrees of freedom, (Σ W_t²/G_t)² / Σ (W_t²/G_t)²/(G_t - 1) over strata.

        That is G - 1 for one stratum. It is as if questions were equally variable: what a stratum
        of few questions shows of its own spread is not asked.
        """
        sizes = np.bincount(self.stratum_of_question)
        spreads = np.bincount(self.stratum, self.weight) ** 2 / sizes
        if self.questions < 2:
            return 0.0
        return float(spreads.sum() ** 2 / (spreads**2 / np.maximum(sizes - 1, 1)).sum())

    def mean(self, values: np.ndarray) -> float:
        """Average values; a mean within rounding of 0 is 0, as of changes that cancel."""
        if np.ptp(self.weight) == 0:
            return float(np.mean(values))
        products = self.weight * values
        mean = float(self.weight @ values)
        rounding = np.finfo(float).eps * len(products) * float(np.abs(products).sum())
        return 0.0 if abs(mean) <= rounding else mean

    def influence(self, values: np.ndarray) -> np.ndarray:
        """Give each row's weighted deviation from the mean of its cell."""
        shares = np.bincount(self.cell, self.weight)
        means = np.bincount(self.cell, self.weight * values) / shares
        return self.weight * (values - means[self.cell])

    def residuals(self, values: np.ndarray) -> np.ndarray:
        """Sum `influence` over each question's rows."""
        return np.bincount(self.question, self.influence(values))

    def variance(self, values: np.ndarray) -> float:
        """Estimate the variance of `mean`: Σ_t G_t/(G_t - 1) Σ_{g in t} (Σ_{i in g} influence)².

        CR1 of a mean, G/(G-1) Σ_g (Σ_i e_i)² / n², with one cell and stratum and equal weights. NaN
        for one question.
        """
        if self.questions < 2:
            return np.nan
        owner = self.stratum_of_question
        sizes = np.bincount(owner)
        squares = np.bincount(owner, self.residuals(values) ** 2)
        return float((sizes / np.maximum(sizes - 1, 1) * squares).sum())


def design(
    question: np.ndarray,
    weight: np.ndarray | None = None,
    cell: np.ndarray | None = None,
    stratum: np.ndarray | None = None,
) -> Design:
    """Make a design from labels; what is not given is equal weights, one cell, one stratum.

    Two strata may use one label for two questions.

    A stratum with a single question shows no spread, so such strata are joined to one; if that too
    has a single question, it is joined to the largest.

    Raises:
        ValueError: there are no rows.
    """
    rows = len(question)
    if rows == 0:
        raise ValueError("no rows to average")
    if stratum is not None:
        stratum = pd.factorize(stratum)[0]
        question = pd.factorize(question)[0].astype(np.int64) * (stratum.max() + 1) + stratum
    codes = pd.factorize(question)[0]
    weights = np.full(rows, 1 / rows) if weight is None else weight / weight.sum()
    cells = np.zeros(rows, int) if cell is None else pd.factorize(cell)[0]
    if stratum is None:
        return Design(weights, codes, cells, np.zeros(rows, int))
    return Design(weights, codes, cells, _joined(codes, stratum))


def _joined(question: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """Join strata with a single question."""
    sizes = pd.Series(question).groupby(stratum).nunique().to_numpy()
    lonely = np.flatnonzero(sizes == 1)
    if len(lonely) == 0 or len(sizes) == 1:
        return stratum
    target = lonely[0] if len(lonely) > 1 else np.argmax(sizes)
    joined = np.where(np.isin(stratum, lonely), target, stratum)
    return np.unique(joined, return_inverse=True)[1]


@dataclass(frozen=True)
class Evidence:
    """Summary of the pairs of one comparison, or of many in arrays of one shape.

    Rates and shares are fractions in [0, 1], weighted if the design is; `rows`, `questions`,
    `informative` are counts.
    """

    value: Any  # mean of the differences
    arm_only: Any  # share of pairs in which the arm alone is wrong
    reference_only: Any
    variance: Any  # of `value`, clustered by question
    rows: Any
    questions: Any
    df: Any  # of the t distribution
    cautious: Any  # k: design effect if a question were one answer
    informative: Any  # u: the least, over -1, 0 and 1, of the questions that hold another value
    rate_arm: Any
    rate_reference: Any
    size_arm: Any  # effective number of answers behind the arm's rate
    size_reference: Any
    correlation: Any  # of the two arms' summed residuals by question

    def arrays(self) -> Evidence:
        """Return the same with every field as an array of floats."""
        names = [field.name for field in fields(self)]
        return Evidence(**{name: np.asarray(getattr(self, name), float) for name in names})

    @property
    def few(self) -> bool:
        """Say whether too few questions hold a discordant pair for the ordinary interval."""
        return bool(_is_few(self))


def evidence(arm: np.ndarray, reference: np.ndarray, pairs: Design) -> Evidence:
    """Summarise the pairs of one comparison.

    Args:
        arm: (n,) 1 if the arm's answer is wrong, else 0.
        reference: (n,) the same of the reference's answer to the same prompt.
        pairs: which pairs belong together.
    """
    difference = arm - reference
    holding = []
    for value in (-1, 0, 1):
        unlike = np.bincount(pairs.question, difference != value)
        holding.append(int((unlike > 0).sum()))
    arm_residuals = pairs.residuals(arm)
    reference_residuals = pairs.residuals(reference)
    spread = np.sqrt((arm_residuals @ arm_residuals) * (reference_residuals @ reference_residuals))
    correlation = float(arm_residuals @ reference_residuals) / spread if spread > ALIKE else 0.0
    return Evidence(
        value=pairs.mean(difference),
        arm_only=pairs.mean(difference > 0),
        reference_only=pairs.mean(difference < 0),
        variance=pairs.variance(difference),
        rows=len(arm),
        questions=pairs.questions,
        df=pairs.df,
        cautious=pairs.cautious,
        informative=min(holding),
        rate_arm=pairs.mean(arm),
        rate_reference=pairs.mean(reference),
        size_arm=effective_size(arm, pairs),
        size_reference=effective_size(reference, pairs),
        correlation=correlation,
    )


def effective_size(wrong: np.ndarray, rows: Design) -> float:
    """Count the independent answers that a rate of rows is worth: n (u + 1) / (u · s + k).

    s = max(1, V / (p(1-p)/n)) is what the rows show, k a question counting as one answer; u, the
    questions that hold the rarer of right and wrong, says how far the rows can be believed. n if
    each question occurs once, weights equal.
    """
    rate = rows.mean(wrong)
    count = len(wrong)
    questions = rows.questions
    cautious = rows.cautious
    if cautious <= 1 + 1e-9:
        return float(count)
    seen = cautious
    if questions > 1 and ALIKE < rate < 1 - ALIKE:
        seen = max(1.0, rows.variance(wrong) * count / (rate * (1 - rate)))
    holding_wrong = int((np.bincount(rows.question, wrong) > 0).sum())
    holding_right = int((np.bincount(rows.question, 1 - wrong) > 0).sum())
    rarer = min(holding_wrong, holding_right)
    return count * (rarer + 1) / (rarer * seen + cautious)


def rate_interval(
    wrong: np.ndarray, question: np.ndarray, level: float = 0.95, rows: Design | None = None
) -> tuple[float, float]:
    """Give Wilson's score interval of a share of ones, at the effective number of answers.

    See `effective_size`; the quantile is of t if questions recur.

    Args:
        wrong: (n,) 0 or 1.
        question: (n,) labels of the clusters.
        level: coverage, in (0, 1).
        rows: a design with weights; None: equal weights.

    Raises:
        ValueError: no rows.
    """
    if len(wrong) == 0:
        raise ValueError("no scored answers")
    rows = design(question) if rows is None else rows
    size = effective_size(wrong, rows)
    alpha = 1 - level
    if rows.questions < len(wrong):
        quantile = stats.t.ppf((1 + level) / 2, max(rows.df, 1))
        alpha = 2 * stats.norm.sf(quantile)
    low, high = proportion_confint(rows.mean(wrong) * size, size, alpha=alpha, method="wilson")
    return float(low), float(high)


def interval(evidence: Evidence, level: float = 0.95) -> tuple[Any, Any]:
    """Give the interval of the mean difference; NaN for a single question.

    Args:
        evidence: of one comparison, or of many in arrays.
        level: coverage, in (0, 1).

    Returns:
        Both ends, floats for one comparison and arrays for many.
    """
    facts = evidence.arrays()
    quantile = stats.t.ppf((1 + level) / 2, np.maximum(facts.df, 1.0))
    reach = quantile * np.sqrt(facts.variance)
    low = facts.value - reach
    high = facts.value + reach
    few = _is_few(facts)
    if few.any():
        score_low, score_high = _score_ends(facts, quantile)
        rate_low, rate_high = _rate_ends(facts, quantile)
        hidden = _may_hide(facts)
        few_low = np.where(hidden, np.minimum(score_low, rate_low), score_low)
        few_high = np.where(hidden, np.maximum(score_high, rate_high), score_high)
        low = np.where(few, few_low, low)
        high = np.where(few, few_high, high)
    alike = _are_alike(facts)
    if alike.any():
        exact_low, exact_high = _exact_ends(facts, level)
        low = np.where(alike, exact_low, low)
        high = np.where(alike, exact_high, high)
    lonely = facts.questions < 2
    low = np.where(lonely, np.nan, np.clip(low, -1, 1))
    high = np.where(lonely, np.nan, np.clip(high, -1, 1))
    return _float_or_array(low), _float_or_array(high)


def paired_p_value(evidence: Evidence, null: float = 0.0) -> Any:
    """Test that the true difference is `null`, two-sided; NaN for a single question."""
    facts = evidence.arrays()
    quantile = signed_quantile(evidence, null)
    p = 2 * stats.t.sf(np.abs(quantile), np.maximum(facts.df, 1e-9))
    alike = _are_alike(facts)
    if alike.any():
        p = np.where(alike, np.minimum(1.0, 2 * _exact_tail(facts, null)), p)
    return _float_or_array(np.where(facts.questions < 2, np.nan, p))


def equivalence_p(evidence: Evidence, margin: float) -> Any:
    """Test by two one-sided tests that the true difference is within ± margin; the larger p."""
    facts = evidence.arrays()
    sides = []
    for sign in (-1, 1):
        quantile = signed_quantile(evidence, sign * margin)
        p = stats.t.cdf(sign * quantile, np.maximum(facts.df, 1e-9))
        inside = sign * facts.value < margin
        exact = np.where(inside, _exact_tail(facts, sign * margin), 1.0)
        sides.append(np.where(_are_alike(facts), exact, p))
    return _float_or_array(np.where(facts.questions < 2, np.nan, np.maximum(*sides)))


def _float_or_array(values: np.ndarray) -> Any:
    """Return a float for one comparison, the array for many."""
    return float(values) if values.ndim == 0 else values


def signed_quantile(evidence: Evidence, null: float) -> np.ndarray:
    """Give the quantile at which the interval's end meets `null`, with the sign of value - null.

    For pairs that are all alike it is not meaningful; `p_value` and `equivalence_p` take the exact
    tail there.
    """
    facts = evidence.arrays()
    with np.errstate(divide="ignore", invalid="ignore"):
        ordinary = np.nan_to_num((facts.value - null) / np.sqrt(facts.variance))
    few = _is_few(facts)
    if not few.any():
        return ordinary
    score = _score(facts, np.full(facts.value.shape, float(null)))
    rate = _rate_quantile(facts, null)
    both = np.where(np.abs(score) < np.abs(rate), score, rate)
    return np.where(few, np.where(_may_hide(facts), both, score), ordinary)


def _is_few(facts: Evidence) -> np.ndarray:
    """Say where the ordinary interval would not keep its promise."""
    informative = np.asarray(facts.informative)
    return (informative < COMMON) & (informative < NEARLY_ALL * np.asarray(facts.questions))


def _may_hide(facts: Evidence) -> np.ndarray:
    """Say where a question that changes as a whole may be missing, hidden behind single rows.

    That is with many rows a question, or few questions that show a change, if questions recur at
    all.
    """
    cautious = np.asarray(facts.cautious)
    recurs = cautious > 1 + 1e-9
    return (cautious > MANY_ROWS) | (recurs & (np.asarray(facts.informative) < FEW_SEEN))


def _are_alike(facts: Evidence) -> np.ndarray:
    return facts.informative == 0


def _shrinkage(facts: Evidence) -> np.ndarray:
    """Give D, by which pairs count for less: (u·s + w·k)/(u + w) · (1 + 0.4·u/(u + 1)²).

    w is √(1 - u/G), s what the pairs show, V over the variance of independent pairs, which may be
    below 1, as rows of a question may differ by design; k is a question counting as one answer.
    """
    independent = (facts.arm_only + facts.reference_only - facts.value**2) / facts.rows
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = facts.variance / independent
    seen = np.where(independent > ALIKE / facts.rows, seen, facts.cautious)
    informative = facts.informative
    lean = np.sqrt(np.maximum(1 - informative / facts.questions, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        blend = (informative * seen + lean * facts.cautious) / (informative + lean)
    blend = np.where(informative + lean > 0, blend, facts.cautious)
    return blend * (1 + 0.4 * informative / (informative + 1) ** 2)


def _score(facts: Evidence, difference: np.ndarray) -> np.ndarray:
    """Give Tango's score statistic of the hypothesis that the true difference is `difference`.

    T = (b - c - nδ)/√(n(2q + δ(1-δ))), q = (√(B² + 8ncδ(1-δ)) - B)/(4n), B = (2n - b + c)δ - b - c,
    for counts divided by `_shrinkage`; here all as shares of n. 0 where it is 0/0.
    """
    size = facts.rows / _shrinkage(facts)
    return _score_of_shares(facts.arm_only, facts.reference_only, size, difference)


def _score_of_shares(
    arm_only: np.ndarray, reference_only: np.ndarray, size: np.ndarray, difference: np.ndarray
) -> np.ndarray:
    value = arm_only - reference_only
    spread = difference * (1 - difference)
    linear = (2 - value) * difference - (arm_only + reference_only)
    root = np.sqrt(np.maximum(linear * linear + 8 * reference_only * spread, 0.0))
    variance = np.maximum((root - linear) / 2 + spread, 0.0)
    distance = value - difference
    statistic = distance * np.sqrt(size / np.maximum(variance, 1e-300))
    return np.where(np.abs(distance) < ALIKE, 0.0, statistic)


def _score_ends(facts: Evidence, quantile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find both differences whose score is ± quantile, by halving: the score falls with them."""
    size = facts.rows / _shrinkage(facts)
    target = np.stack([quantile, -quantile])

    def is_above(difference: np.ndarray) -> np.ndarray:
        return _score_of_shares(facts.arm_only, facts.reference_only, size, difference) > target

    outermost = np.ones_like(facts.value)
    start = np.stack([-outermost, facts.value])
    end = np.stack([facts.value, outermost])
    low, high = _halve(is_above, start, end)
    return low, high


def _halve(
    is_above: Callable[[np.ndarray], np.ndarray], start: np.ndarray, end: np.ndarray
) -> np.ndarray:
    """Find where a condition that holds at `start` ends to hold on the way to `end`."""
    lower = start
    width = end - start
    for _ in range(HALVINGS):
        width = width / 2
        lower = np.where(is_above(lower + width), lower + width, lower)
    return lower + width / 2


def _wilson(
    rate: np.ndarray, size: np.ndarray, quantile: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Give Wilson's interval at any quantile."""
    spread = quantile**2 / size
    centre = (rate + spread / 2) / (1 + spread)
    reach = np.sqrt(np.maximum(spread * rate * (1 - rate) + spread**2 / 4, 0.0)) / (1 + spread)
    return np.clip(centre - reach, 0, 1), np.clip(centre + reach, 0, 1)


def _rate_ends(facts: Evidence, quantile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join the intervals of the two rates by Newcombe's method 10.

    They see a question that changes as a whole.
    """
    arm_low, arm_high = _wilson(facts.rate_arm, facts.size_arm, quantile)
    reference_low, reference_high = _wilson(facts.rate_reference, facts.size_reference, quantile)
    below = _joint_reach(
        facts.rate_arm - arm_low, reference_high - facts.rate_reference, facts.correlation
    )
    above = _joint_reach(
        arm_high - facts.rate_arm, facts.rate_reference - reference_low, facts.correlation
    )
    return facts.value - below, facts.value + above


def _joint_reach(of_arm: np.ndarray, of_reference: np.ndarray, correlation: np.ndarray) -> Any:
    """Join how far the intervals of two correlated rates reach from the rates."""
    squared = of_arm**2 + of_reference**2 - 2 * correlation * of_arm * of_reference
    return np.sqrt(np.maximum(squared, 0.0))


def _rate_quantile(facts: Evidence, null: float) -> np.ndarray:
    """Find the quantile at which an end of `_rate_ends` meets `null`, signed as value - null."""
    above = facts.value > null

    def is_short(quantile: np.ndarray) -> np.ndarray:
        low, high = _rate_ends(facts, quantile)
        return np.where(above, low > null, high < null)

    farthest = np.full_like(facts.value, FARTHEST)
    quantile = _halve(is_short, np.zeros_like(facts.value), farthest)
    return np.where(above, quantile, -quantile)


def _exact_tail(facts: Evidence, null: float) -> np.ndarray:
    """Give the chance, at most, that all pairs are alike if the true difference is `null`.

    A question counts as one answer: N = n/k of them. All 0: (1 - |null|)^N; all 1: ((1 +
    null)/2)^N, likewise for -1.
    """
    size = facts.rows / facts.cautious
    chance = np.where(facts.value == 0, 1 - abs(null), (1 + np.sign(facts.value) * null) / 2)
    return chance**size


def _exact_ends(facts: Evidence, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Invert `_exact_tail`."""
    tail = ((1 - level) / 2) ** (facts.cautious / facts.rows)
    low = np.where(facts.value > 0, 2 * tail - 1, np.where(facts.value < 0, -1.0, tail - 1))
    high = np.where(facts.value < 0, 1 - 2 * tail, np.where(facts.value > 0, 1.0, 1 - tail))
    return low, high
