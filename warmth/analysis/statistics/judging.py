"""What a grader's error does to error rates, and the correction by answers that people have
labelled.

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
UNSCORED = (
    -2.0
)  # the verdict of an answer that the grader could not score; one that it dropped has -1
COLUMNS = ("model", "arm", "method", "value", "low", "high", "labelled", "questions")


@dataclass(frozen=True)
class Estimate:
    """A rate or a difference, with the influence of each question on it; `value` is NaN where it
    cannot be had.
    """

    value: float
    influence: pd.Series  # by question; sums to 0 up to sampling weights
    labelled: int  # answers with a label that went into it
    told: int = 0  # questions with one; 0: the estimate needs none

    def minus(self, other: Estimate, labelled: int) -> Estimate:
        """The difference of two estimates from the same questions, with so many labels between
        them.
        """
        change = self.influence.sub(other.influence, fill_value=0.0)
        return Estimate(self.value - other.value, change, labelled, min(self.told, other.told))

    @property
    def error(self) -> float:
        """Give √(G/(G-1) · Σ influence²) over G questions; NaN where nothing varies."""
        groups = len(self.influence)
        error = (
            math.sqrt(groups / (groups - 1) * float((self.influence**2).sum()))
            if groups > 1
            else 0.0
        )
        return error if math.isfinite(self.value) and error > 1e-12 else math.nan

    @property
    def df(self) -> int:
        """Give G - 1, with labels the questions of the arm with fewer of them less 1: what they say
        is what varies.
        """
        groups = len(self.influence)
        return max(1, min(groups, self.told) - 1) if self.told else groups - 1

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Give value ± t(df) · error; NaN where nothing varies."""
        if math.isnan(self.error):
            return math.nan, math.nan
        reach = float(stats.t.ppf((1 + level) / 2, self.df)) * self.error
        return self.value - reach, self.value + reach


def raw(rows: pd.DataFrame) -> Estimate:
    """The judged rate as it is."""
    counted = rows[rows["judged"].notna()]
    judged = counted["judged"].to_numpy(float)
    share = _shares(counted)
    value = float(share @ judged) if len(judged) else math.nan
    found = _by_question(counted, value, share * (judged - value))
    return Estimate(value, found.influence, found.labelled)


def rogan_gladen(rows: pd.DataFrame) -> Estimate:
    """The rate corrected by what people say of a sample of each verdict.

    Args:
        rows: `judged`, `truth`, `weight` (NaN where nobody labelled), `question_id` of one arm's
        answers.
    """
    verdicts = _verdicts(rows)
    weight = calibrated(rows)
    if weight is None:
        return _nothing(rows)
    share = _shares(rows)
    wrong, counts = _word(rows["truth"])
    means = {}
    for verdict in np.unique(verdicts):
        own = weight * (verdicts == verdict)
        means[verdict] = (
            (own @ wrong / own.sum(), own @ counts / own.sum()) if own.sum() else (0.0, 0.0)
        )
    mean_wrong, mean_counts = (
        np.array([means[verdict][k] for verdict in verdicts]) for k in (0, 1)
    )
    counted = float(share @ mean_counts)
    if not counted > 0:
        return _nothing(rows)
    value = float(share @ mean_wrong) / counted
    influence = share * (mean_wrong - value * mean_counts)
    for verdict in means:
        sampled = (verdicts == verdict) & (weight > 0)
        known, whole = int(sampled.sum()), int((verdicts == verdict).sum())
        small = math.sqrt(known / max(1, known - 1)) if known < whole else 1.0
        own = (wrong - mean_wrong - value * (counts - mean_counts))[sampled]
        influence[sampled] += small * weight[sampled] * own
    return _by_question(rows, value, influence / counted)


def ppi(rows: pd.DataFrame) -> Estimate:
    """The weighted rate of the labels, sharpened by the grader's word on all answers; arguments as
    `rogan_gladen`.
    """
    known = rows["weight"].notna().to_numpy()
    if known.sum() < 2:
        return _nothing(rows)
    every = _shares(rows)
    share = np.where(known, rows["weight"].to_numpy(float), 0.0) * every
    share = share / share.sum()
    people, judge = _word(rows["truth"]), _word(rows["judged"])
    gained = [
        float(every @ word - share @ word) for word in judge
    ]  # what the grader's word on all adds, in a and z
    means = [float(share @ word) for word in people]

    def influences(value: float) -> tuple[np.ndarray, np.ndarray]:
        told, said = (wrong - value * counts for wrong, counts in (people, judge))
        return share * (told - share @ told), every * (said - every @ said) - share * (
            said - share @ said
        )

    value, rate = means[0] / means[1] if means[1] > 0 else math.nan, 0.0
    for _ in range(2):  # the first round's value only serves to choose λ
        plain, tuned = (_by_question(rows, 0.0, part).influence for part in influences(value))
        spread = float(tuned @ tuned)
        rate = (
            -float(plain @ tuned) / spread if spread > 1e-18 else 0.0
        )  # 0 but for rounding where all is labelled
        counted = means[1] + rate * gained[1]
        value = (means[0] + rate * gained[0]) / counted if counted > 0 else math.nan
    if not math.isfinite(value):
        return _nothing(rows)
    return Estimate(value, (plain + rate * tuned) / counted, int(known.sum()), _told(rows))


def _verdicts(rows: pd.DataFrame) -> np.ndarray:
    """Give 1 for wrong, 0 for right, -1 for dropped, and `UNSCORED` where the rows say so."""
    verdicts = rows["judged"].fillna(-1.0).to_numpy(float)
    if "verdict" in rows:
        verdicts = np.where(rows["verdict"].eq(UNSCORED), UNSCORED, verdicts)
    return verdicts


def _shares(rows: pd.DataFrame) -> np.ndarray:
    """Give each answer's part in the mean, adding up to 1; equal parts unless the rows say so."""
    if "share" not in rows:
        return np.full(len(rows), 1 / max(1, len(rows)))
    share = rows["share"].to_numpy(float)
    return share / share.sum()


def _told(rows: pd.DataFrame) -> int:
    """Count the questions with a label."""
    return int(rows.loc[rows["weight"].notna(), "question_id"].nunique())


def _word(said: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Whether each answer is said to be wrong, and whether it counts."""
    return said.eq(1.0).to_numpy(float), said.notna().to_numpy(float)


def calibrated(rows: pd.DataFrame) -> np.ndarray | None:
    """Weigh the labelled so that they add up to each verdict's share; 0 for others; None if a
    verdict has no label.

    What the grader dropped and nobody labelled is taken to be dropped rightly.
    """
    share = _shares(rows)
    weight = rows["weight"].fillna(0.0).to_numpy(float, copy=True) * share
    verdicts = _verdicts(rows)
    for verdict in np.unique(verdicts):
        here = verdicts == verdict
        if weight[here].sum() > 0:
            weight[here] *= share[here].sum() / weight[here].sum()
        elif verdict >= 0:
            return None
    return weight


def corrected_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Raw and corrected error rates of every model and arm, side by side.

    Args:
        rows: model, arm, question_id, judged, truth, weight; answers with a label by the grader.

    Returns:
        A row per model, arm and method with `COLUMNS`; value and interval are NaN where labels do
        not allow any.
    """
    found = []
    for (model, arm), group in rows.groupby(["model", "arm"], sort=False):
        for method, estimate in estimates(group).items():
            found.append(_row(str(model), str(arm), method, estimate, bounded=True))
    return pd.DataFrame(found, columns=list(COLUMNS))


def corrected_differences(rows: pd.DataFrame, reference: str = "original") -> pd.DataFrame:
    """Raw and corrected differences from a reference arm, over prompts and samples that the grader
    scored in both.

    The raw one is over pairs of which both answers count, as everywhere in the report. Who labels
    answers of one arm does not label their partners, so the corrected ones are differences of
    rates, each over the answers that count.

    Args:
        rows: as `corrected_rates`, with prompt_id and sample.
        reference: the arm that the others are compared with.

    Returns:
        Columns as `corrected_rates`.
    """
    found = []
    for model, group in rows.groupby("model", sort=False):
        base = group[group["arm"].eq(reference)].drop_duplicates(PAIR)
        for arm, own in group[group["arm"].ne(reference)].groupby("arm", sort=False):
            left, right = (
                own.merge(base[PAIR], on=PAIR),
                own[PAIR].merge(base, on=PAIR),
            )  # row for row
            if left.empty:
                continue
            counted = (left["judged"].notna() & right["judged"].notna()).to_numpy()
            ours = estimates(left) | {"raw": raw(left[counted])}
            theirs = estimates(right) | {"raw": raw(right[counted])}
            labelled = int(
                left["weight"].notna().sum() + right.drop_duplicates(PAIR)["weight"].notna().sum()
            )
            for name in METHODS:
                found.append(
                    _row(
                        str(model), str(arm), name, ours[name].minus(theirs[name], labelled), False
                    )
                )
    return pd.DataFrame(found, columns=list(COLUMNS))


def estimates(rows: pd.DataFrame) -> dict[str, Estimate]:
    """One arm's rate by every method."""
    return {"raw": raw(rows), "rogan_gladen": rogan_gladen(rows), "ppi": ppi(rows)}


def _row(
    model: str, arm: str, method: str, estimate: Estimate, bounded: bool
) -> tuple[object, ...]:
    low, high = estimate.interval()
    if bounded:  # a rate; its estimate is left where it falls, for clipping it would bias it
        low, high = max(low, 0.0), min(high, 1.0)
    return model, arm, method, estimate.value, low, high, estimate.labelled, len(estimate.influence)


def _by_question(rows: pd.DataFrame, value: float, influence: np.ndarray) -> Estimate:
    summed = pd.Series(influence).groupby(rows["question_id"].to_numpy()).sum()
    return Estimate(value, summed, int(rows["weight"].notna().sum()), _told(rows))


def _nothing(rows: pd.DataFrame) -> Estimate:
    return _by_question(rows, math.nan, np.zeros(len(rows)))
