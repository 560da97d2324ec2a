"""Correction of error rates for a grader's error, by answers that people have labelled.

Throughout, 1 is wrong, 0 is right and NaN does not count (a refusal that is dropped). `judged` is
the grader's word on every answer, `truth` the people's on those that have a `weight`, the inverse
of the probability with which an answer was sampled. What people drop and what the grader drops
differ, so a rate is a ratio, wrong answers over those that count: with a = 1 where truth is wrong
and z = 1 where it counts, θ = A/Z. Two estimators:

Rogan and Gladen: A = Σ N_j ā_j and Z = Σ N_j z̄_j over the grader's verdicts j (wrong, right,
dropped) of N_j answers, ā_j and z̄_j weighted means of those sampled. Where nothing is dropped this
is (q + Sp - 1) / (Se + Sp - 1) with q the judged rate and Se, Sp the sample's sensitivity and
specificity. Its influence is that of two-phase sampling, (ā_j - θ z̄_j)/Z for all answers and w (a
- ā_j - θ (z - z̄_j))/Z for the sampled, weights calibrated to the N_j.

PPI++: in A and in Z the weighted mean of people's word + λ · (mean of the grader's - its weighted
mean), λ chosen to make the variance of θ least.

An answer may also have a `share`, its part in the mean that is asked for (tasks of unequal size,
say, that weigh one each); sums over answers are then sums of shares. And it may have lacked a
verdict: with a `verdict` of `UNSCORED` such answers are a class of their own, of which people's
labels say how often they are wrong.

Influences are summed by question, so intervals know that questions recur, and that one question's
answers stand in several arms: a difference between arms has the variance of the difference of their
influences.

Source: Rogan and Gladen (1978), Am. J. Epidemiol. 107, 71; Särndal, Swensson and Wretman (1992),
ch. 9; Angelopoulos, Duchi and Zrnic (2023), arXiv 2311.01453.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from warmth.analysis.statistics.effects import LEVEL, PAIR

METHODS = ("raw", "rogan_gladen", "ppi")
DROPPED = -1.0  # the verdict of an answer that the grader dropped
UNSCORED = -2.0  # that of an answer that the grader could not score
COLUMNS = ("model", "arm", "method", "value", "low", "high", "labelled", "questions")


@dataclass(frozen=True)
class Estimate:
    """A rate or a difference, with the influence of each question on it."""

    value: float  # NaN if there is no estimate
    influence: pd.Series  # by question; sums to 0 up to sampling weights
    labelled: int  # answers with a label that went into it
    labelled_questions: int = 0  # with such an answer; 0: the estimate needs none

    def minus(self, other: Estimate, labelled: int) -> Estimate:
        """Subtract another estimate from the same questions.

        Args:
            other: what is subtracted.
            labelled: answers with a label behind either.
        """
        change = self.influence.sub(other.influence, fill_value=0.0)
        questions = min(self.labelled_questions, other.labelled_questions)
        return Estimate(self.value - other.value, change, labelled, questions)

    @property
    def error(self) -> float:
        """Compute √(G/(G-1) · Σ influence²) over G questions; NaN if nothing varies."""
        groups = len(self.influence)
        if groups < 2 or not math.isfinite(self.value):
            return math.nan
        error = math.sqrt(groups / (groups - 1) * float((self.influence**2).sum()))
        return error if error > 1e-12 else math.nan

    @property
    def df(self) -> int:
        """Count the questions less 1; with labels, those of the arm with fewer labelled ones."""
        groups = len(self.influence)
        if not self.labelled_questions:
            return groups - 1
        return max(1, min(groups, self.labelled_questions) - 1)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Give value ± t(df) · error; NaN if nothing varies."""
        if math.isnan(self.error):
            return math.nan, math.nan
        reach = float(stats.t.ppf((1 + level) / 2, self.df)) * self.error
        return self.value - reach, self.value + reach


def raw(rows: pd.DataFrame) -> Estimate:
    """Compute the judged rate as it is."""
    counted = rows[rows["judged"].notna()]
    judged = counted["judged"].to_numpy(float)
    share = _shares(counted)
    value = float(share @ judged) if len(judged) else math.nan
    influence = _by_question(counted, share * (judged - value))
    return Estimate(value, influence, _labelled(counted))


def rogan_gladen(rows: pd.DataFrame) -> Estimate:
    """Compute the rate corrected by what people say of a sample of each verdict.

    Args:
        rows: `judged`, `truth`, `weight` (NaN where nobody labelled), `question_id` of one arm's
            answers.
    """
    verdicts = _verdicts(rows)
    weight = calibrated(rows)
    if weight is None:
        return _no_estimate(rows)
    share = _shares(rows)
    wrong, counts = _wrong_and_counts(rows["truth"])
    mean_wrong = np.zeros(len(rows))
    mean_counts = np.zeros(len(rows))
    for verdict in np.unique(verdicts):
        has_verdict = verdicts == verdict
        verdict_weight = weight * has_verdict
        total = verdict_weight.sum()
        if total:
            mean_wrong[has_verdict] = verdict_weight @ wrong / total
            mean_counts[has_verdict] = verdict_weight @ counts / total
    counted = float(share @ mean_counts)
    if not counted > 0:
        return _no_estimate(rows)
    value = float(share @ mean_wrong) / counted
    influence = share * (mean_wrong - value * mean_counts)
    for verdict in np.unique(verdicts):
        has_verdict = verdicts == verdict
        is_sampled = has_verdict & (weight > 0)
        sampled = int(is_sampled.sum())
        small_sample = 1.0
        if sampled < int(has_verdict.sum()):
            small_sample = math.sqrt(sampled / max(1, sampled - 1))
        residual = (wrong - mean_wrong - value * (counts - mean_counts))[is_sampled]
        influence[is_sampled] += small_sample * weight[is_sampled] * residual
    return _estimate(rows, value, influence / counted)


def ppi(rows: pd.DataFrame) -> Estimate:
    """Compute the weighted rate of the labels, sharpened by the grader's word on all answers.

    Args:
        rows: as `rogan_gladen`.
    """
    is_labelled = rows["weight"].notna().to_numpy()
    if is_labelled.sum() < 2:
        return _no_estimate(rows)
    share = _shares(rows)
    sample = np.where(is_labelled, rows["weight"].to_numpy(float), 0.0) * share
    sample = sample / sample.sum()
    wrong, counts = _wrong_and_counts(rows["truth"])
    judged_wrong, judged_counts = _wrong_and_counts(rows["judged"])
    sample_wrong = float(sample @ wrong)
    sample_counts = float(sample @ counts)
    # what the grader's word on all answers adds
    gained_wrong = float(share @ judged_wrong - sample @ judged_wrong)
    gained_counts = float(share @ judged_counts - sample @ judged_counts)
    value = sample_wrong / sample_counts if sample_counts > 0 else math.nan
    for _ in range(2):  # the first round's value only serves to choose λ
        by_people = wrong - value * counts
        by_judge = judged_wrong - value * judged_counts
        influence_of_labels = sample * (by_people - sample @ by_people)
        influence_on_all = share * (by_judge - share @ by_judge)
        influence_on_sample = sample * (by_judge - sample @ by_judge)
        plain = _by_question(rows, influence_of_labels)
        tuned = _by_question(rows, influence_on_all - influence_on_sample)
        spread = float(tuned @ tuned)
        # the spread is 0 but for rounding if all answers are labelled
        rate = -float(plain @ tuned) / spread if spread > 1e-18 else 0.0
        counted = sample_counts + rate * gained_counts
        value = (sample_wrong + rate * gained_wrong) / counted if counted > 0 else math.nan
    if not math.isfinite(value):
        return _no_estimate(rows)
    influence = (plain + rate * tuned) / counted
    return Estimate(value, influence, _labelled(rows), _labelled_questions(rows))


def _verdicts(rows: pd.DataFrame) -> np.ndarray:
    """Return 1 for wrong, 0 for right, `DROPPED`, and `UNSCORED` where the rows say so."""
    verdicts = rows["judged"].fillna(DROPPED).to_numpy(float)
    if "verdict" in rows:
        verdicts = np.where(rows["verdict"].eq(UNSCORED), UNSCORED, verdicts)
    return verdicts


def _shares(rows: pd.DataFrame) -> np.ndarray:
    """Give each answer's part in the mean, adding up to 1; equal parts unless the rows say so."""
    if "share" not in rows:
        return np.full(len(rows), 1 / max(1, len(rows)))
    share = rows["share"].to_numpy(float)
    return share / share.sum()


def _labelled(rows: pd.DataFrame) -> int:
    """Count the answers with a label."""
    return int(rows["weight"].notna().sum())


def _labelled_questions(rows: pd.DataFrame) -> int:
    """Count the questions with a label."""
    return int(rows.loc[rows["weight"].notna(), "question_id"].nunique())


def _wrong_and_counts(verdict: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Tell of each answer whether it is wrong (1 or 0), and whether it counts (1 or 0)."""
    return verdict.eq(1.0).to_numpy(float), verdict.notna().to_numpy(float)


def calibrated(rows: pd.DataFrame) -> np.ndarray | None:
    """Weigh the labelled answers so that they add up to each verdict's share.

    What the grader dropped and nobody labelled is taken to be dropped rightly.

    Returns:
        (n,) weights, 0 without a label; None if right or wrong verdicts have no label.
    """
    share = _shares(rows)
    weight = rows["weight"].fillna(0.0).to_numpy(float, copy=True) * share
    verdicts = _verdicts(rows)
    for verdict in np.unique(verdicts):
        has_verdict = verdicts == verdict
        if weight[has_verdict].sum() > 0:
            weight[has_verdict] *= share[has_verdict].sum() / weight[has_verdict].sum()
        elif verdict >= 0:
            return None
    return weight


def corrected_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Compute raw and corrected error rates of every model and arm.

    Args:
        rows: model, arm, question_id, judged, truth, weight; answers with a label by the grader.

    Returns:
        A row per model, arm and method with `COLUMNS`; value and interval are NaN where labels do
        not allow any.
    """
    rates = []
    for (model, arm), group in rows.groupby(["model", "arm"], sort=False):
        for method, estimate in estimates(group).items():
            rates.append(_row(str(model), str(arm), method, estimate, bounded=True))
    return pd.DataFrame(rates, columns=list(COLUMNS))


def corrected_differences(rows: pd.DataFrame, reference: str = "original") -> pd.DataFrame:
    """Compute raw and corrected differences from a reference, over prompts scored in both arms.

    The raw one is over pairs of which both answers count, as everywhere in the report. Who labels
    answers of one arm does not label their partners, so the corrected ones are differences of
    rates, each over the answers that count.

    Args:
        rows: as `corrected_rates`, with prompt_id and sample.
        reference: the arm that the others are compared with.

    Returns:
        Columns as `corrected_rates`.
    """
    differences = []
    for model, group in rows.groupby("model", sort=False):
        of_reference = group[group["arm"].eq(reference)].drop_duplicates(PAIR)
        for arm, answers in group[group["arm"].ne(reference)].groupby("arm", sort=False):
            left, right = partners(answers, of_reference)
            if left.empty:
                continue
            both_count = (left["judged"].notna() & right["judged"].notna()).to_numpy()
            of_left = estimates(left) | {"raw": raw(left[both_count])}
            of_right = estimates(right) | {"raw": raw(right[both_count])}
            labelled = labelled_in(left, right)
            for name in METHODS:
                change = of_left[name].minus(of_right[name], labelled)
                differences.append(_row(str(model), str(arm), name, change, bounded=False))
    return pd.DataFrame(differences, columns=list(COLUMNS))


def partners(
    answers: pd.DataFrame, of_reference: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the answers with a partner in the reference, and those partners, row for row."""
    with_partner = answers.merge(of_reference[PAIR], on=PAIR)
    return with_partner, answers[PAIR].merge(of_reference, on=PAIR)


def labelled_in(left: pd.DataFrame, right: pd.DataFrame) -> int:
    """Count the labelled answers of two arms, each answer of the reference once."""
    return _labelled(left) + _labelled(right.drop_duplicates(PAIR))


def estimates(rows: pd.DataFrame) -> dict[str, Estimate]:
    """Estimate one arm's rate by every method."""
    return {"raw": raw(rows), "rogan_gladen": rogan_gladen(rows), "ppi": ppi(rows)}


def _row(
    model: str, arm: str, method: str, estimate: Estimate, bounded: bool
) -> tuple[object, ...]:
    """Make a row of `COLUMNS`; `bounded`: the interval is a rate's, within 0 and 1."""
    low, high = estimate.interval()
    if bounded:  # the estimate is left where it falls, for clipping it would bias it
        low = max(low, 0.0)
        high = min(high, 1.0)
    return model, arm, method, estimate.value, low, high, estimate.labelled, len(estimate.influence)


def _by_question(rows: pd.DataFrame, influence: np.ndarray) -> pd.Series:
    """Sum the influences of each question's answers."""
    return pd.Series(influence).groupby(rows["question_id"].to_numpy()).sum()


def _estimate(rows: pd.DataFrame, value: float, influence: np.ndarray) -> Estimate:
    """Make an estimate that rests on labels, from each answer's influence."""
    summed = _by_question(rows, influence)
    return Estimate(value, summed, _labelled(rows), _labelled_questions(rows))


def _no_estimate(rows: pd.DataFrame) -> Estimate:
    """Make an estimate without a value."""
    return _estimate(rows, math.nan, np.zeros(len(rows)))
