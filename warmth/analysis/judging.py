"""What a grader's error does to error rates, and the correction by answers that people have labelled.

Throughout, 1 is wrong and 0 is right. `judged` is the grader's word on every answer, `truth` the people's on a sample,
NaN elsewhere; `weight` is the inverse of the probability with which an answer was sampled. Two estimators:

Rogan and Gladen: (q + Sp - 1) / (Se + Sp - 1) with q the judged rate and Se, Sp the sample's weighted sensitivity and
specificity, weights calibrated so that each verdict's add up to how often the grader gave it. Its influence is that of
two-phase sampling, (m_J - θ)/N for all answers and w (T - m_J)/N for the sampled, m_j the share of truly wrong ones
among those judged j.

PPI++: weighted mean of T + λ · (mean of J - weighted mean of J), λ chosen to make the variance least.

Influences are summed by question, so intervals know that questions recur, and that one question's answers stand in
several arms: a difference between arms has the variance of the difference of their influences.

Source: Rogan and Gladen (1978), Am. J. Epidemiol. 107, 71; Särndal, Swensson and Wretman (1992), ch. 9;
Angelopoulos, Duchi and Zrnic (2023), arXiv 2311.01453.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from warmth.analysis.effects import LEVEL, PAIR

METHODS = ("raw", "rogan_gladen", "ppi")
COLUMNS = ("model", "arm", "method", "value", "low", "high", "labelled", "questions")


@dataclass(frozen=True)
class Estimate:
    """A rate or a difference, with the influence of each question on it; `value` is NaN where it cannot be had."""

    value: float
    influence: pd.Series  # by question; sums to 0 up to sampling weights
    labelled: int  # answers with a label that went into it

    def minus(self, other: Estimate) -> Estimate:
        """The difference of two estimates from the same questions."""
        change = self.influence.sub(other.influence, fill_value=0.0)
        return Estimate(self.value - other.value, change, self.labelled + other.labelled)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Value ± t(G-1) · √(G/(G-1) · Σ influence²) over G questions; NaN where nothing varies."""
        groups = len(self.influence)
        error = math.sqrt(groups / (groups - 1) * float((self.influence**2).sum())) if groups > 1 else 0.0
        if not (math.isfinite(self.value) and error > 1e-12):
            return math.nan, math.nan
        reach = float(stats.t.ppf((1 + level) / 2, groups - 1)) * error
        return self.value - reach, self.value + reach


def raw(rows: pd.DataFrame) -> Estimate:
    """The judged rate as it is."""
    judged = rows["judged"].to_numpy(float)
    return _by_question(rows, float(judged.mean()), (judged - judged.mean()) / len(rows))


def rogan_gladen(rows: pd.DataFrame) -> Estimate:
    """The rate corrected by the grader's sensitivity and specificity on the sample.

    Args:
        rows: `judged`, `truth`, `weight`, `question_id` of one arm's answers.
    """
    judged, truth = rows["judged"].to_numpy(float), rows["truth"].to_numpy(float)
    weight = calibrated(rows)
    if weight is None:
        return _nothing(rows)
    sensitivity, specificity = se_sp(judged, truth, weight)
    informed = sensitivity + specificity - 1
    if not informed > 0:  # no better than chance, or only one kind was sampled; then the weighted mean is what is left
        value = float(np.nansum(weight * truth) / weight.sum())
    else:
        value = (judged.mean() + specificity - 1) / informed
    known = ~np.isnan(truth)
    influence = np.zeros(len(rows))
    for verdict in (0.0, 1.0):
        here = judged == verdict
        sampled = here & known
        if not here.any():
            continue
        mean = float(np.average(truth[sampled], weights=weight[sampled]))
        small = math.sqrt(sampled.sum() / max(1, sampled.sum() - 1)) if sampled.sum() < here.sum() else 1.0
        influence[here] += (mean - value) / len(rows)
        influence[sampled] += small * weight[sampled] * (truth[sampled] - mean) / len(rows)
    return _by_question(rows, float(value), influence)


def ppi(rows: pd.DataFrame) -> Estimate:
    """The weighted mean of the labels, sharpened by the grader's word on all answers; arguments as `rogan_gladen`."""
    judged, truth = rows["judged"].to_numpy(float), rows["truth"].to_numpy(float)
    known = ~np.isnan(truth)
    if known.sum() < 2:
        return _nothing(rows)
    share = np.where(known, rows["weight"].to_numpy(float), 0.0)
    share = share / share.sum()
    mean, sampled, whole = float(np.nansum(share * truth)), float(share @ judged), float(judged.mean())
    label = np.where(known, share * (np.nan_to_num(truth) - mean), 0.0)
    judge = (judged - whole) / len(rows) - share * (judged - sampled)
    plain, tuned = _by_question(rows, mean, label).influence, _by_question(rows, 0.0, judge).influence
    spread = float(tuned @ tuned)
    rate = -float(plain @ tuned) / spread if spread > 1e-18 else 0.0  # 0 but for rounding where all is labelled
    return Estimate(mean + rate * (whole - sampled), plain + rate * tuned, int(known.sum()))


def se_sp(judged: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Weighted sensitivity (wrong found wrong) and specificity (right found right); NaN where no such is known."""
    found = []
    for kind in (1.0, 0.0):
        of_kind = weight * (truth == kind)
        found.append(float(of_kind @ (judged == kind)) / float(of_kind.sum()) if of_kind.sum() else math.nan)
    return found[0], found[1]


def calibrated(rows: pd.DataFrame) -> np.ndarray | None:
    """Weights, 0 where unlabelled, that add up to the number of each verdict; None where a verdict has no label."""
    known = rows["truth"].notna().to_numpy()
    weight = np.where(known, rows["weight"].to_numpy(float), 0.0)
    judged = rows["judged"].to_numpy(float)
    for verdict in (0.0, 1.0):
        here = judged == verdict
        if here.any():
            if not weight[here].sum() > 0:
                return None
            weight[here] *= here.sum() / weight[here].sum()
    return weight


def corrected_rates(rows: pd.DataFrame) -> pd.DataFrame:
    """Raw and corrected error rates of every model and arm, side by side.

    Args:
        rows: model, arm, question_id, judged, truth, weight; answers the grader scored.

    Returns:
        A row per model, arm and method with `COLUMNS`; value and interval are NaN where labels do not allow any.
    """
    found = []
    for (model, arm), group in rows.groupby(["model", "arm"], sort=False):
        for method, estimate in estimates(group).items():
            found.append(_row(str(model), str(arm), method, estimate, bounded=True))
    return pd.DataFrame(found, columns=list(COLUMNS))


def corrected_differences(rows: pd.DataFrame, reference: str = "original") -> pd.DataFrame:
    """Raw and corrected paired differences from a reference arm, over prompts and samples that both arms answered.

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
            left = own.merge(base[PAIR], on=PAIR)
            right = base.merge(own[PAIR].drop_duplicates(), on=PAIR)
            if left.empty:
                continue
            ours, theirs = estimates(left), estimates(right)
            found += [_row(str(model), str(arm), name, ours[name].minus(theirs[name]), False) for name in METHODS]
    return pd.DataFrame(found, columns=list(COLUMNS))


def estimates(rows: pd.DataFrame) -> dict[str, Estimate]:
    """One arm's rate by every method."""
    return {"raw": raw(rows), "rogan_gladen": rogan_gladen(rows), "ppi": ppi(rows)}


def _row(model: str, arm: str, method: str, estimate: Estimate, bounded: bool) -> tuple[object, ...]:
    low, high = estimate.interval()
    if bounded:  # a rate; its estimate is left where it falls, for clipping it would bias it
        low, high = max(low, 0.0), min(high, 1.0)
    return model, arm, method, estimate.value, low, high, estimate.labelled, len(estimate.influence)


def _by_question(rows: pd.DataFrame, value: float, influence: np.ndarray) -> Estimate:
    summed = pd.Series(influence).groupby(rows["question_id"].to_numpy()).sum()
    return Estimate(value, summed, int(rows["truth"].notna().sum()))


def _nothing(rows: pd.DataFrame) -> Estimate:
    return _by_question(rows, math.nan, np.zeros(len(rows)))
