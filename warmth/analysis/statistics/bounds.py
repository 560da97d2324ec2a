"""Worst-case bounds of a difference whose verdicts are missing in part, and its tipping point.

The bounds hold the difference on the very questions asked; `reach_low` and `reach_high` allow for
others.

A pair is in the bounds if both answers are there and either has a verdict or lacks one. What is
dropped by a stated rule (refusals, as the study does) or was never to be scored (a task that needs
a judge) is no missing verdict: it is counted in the flow (`flow.py`) and left out here.

Sources: Manski (1990), American Economic Review 80, 319 (bounds); Yan, Lee and Li (2009),
Statistics in Biopharmaceutical Research 1, 1 (tipping point).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize

from warmth.analysis.statistics import estimand, rare
from warmth.analysis.statistics.estimand import EQUAL, Weights
from warmth.analysis.statistics.rare import Design

UNEVEN = 0.02  # shares of unscored answers that differ by more than this make the arms unlike
NEAR = 25.0  # points: a tipping point below this is not far-fetched
ALPHA = 0.05


@dataclass(frozen=True)
class Missing:
    """What the unscored answers of two arms leave open; rates and shares are fractions.

    `tipping_points`: by how many points more often than scored answers the unscored ones of the arm
    that looks better would have to be wrong, and those of the other less often, for the difference
    to be 0; None if they cannot do it.
    """

    low: float  # the arm's unscored answers all right, the reference's all wrong
    high: float  # the other way round
    tipping_points: float | None
    unscored_arm: float
    unscored_reference: float
    uneven_p: float  # that the two shares are the same
    pairs: int
    # lower end of the 95 % interval of `low`: other questions could have been asked
    reach_low: float = math.nan
    reach_high: float = math.nan  # upper end of that of `high`

    @property
    def spans_zero(self) -> bool:
        """Say whether the unscored answers alone could decide the sign."""
        return self.low < 0 < self.high

    @property
    def uneven(self) -> bool:
        """Say whether the arms differ in how many answers have no verdict."""
        gap = abs(self.unscored_arm - self.unscored_reference)
        return gap > UNEVEN or self.uneven_p < ALPHA

    @property
    def open_sign(self) -> bool:
        """Say whether no direction can be claimed: it would not take much to turn the sign."""
        near = self.tipping_points is not None and self.tipping_points < NEAR
        return self.spans_zero and (self.uneven or near)


def missing_bounds(pairs: pd.DataFrame, weights: Weights = EQUAL) -> Missing | None:
    """Fill the unscored answers of two arms in opposite ways.

    Args:
        pairs: a row for every prompt, sample and seed that both arms answered, with `wrong_arm` and
            `wrong_reference` (1 wrong, 0 right, NaN unscored), `question_id`, and `model` and
            `task` if there are several.
        weights: see `estimand`.

    Returns:
        None if there is no pair.
    """
    if pairs.empty:
        return None
    rows = estimand.weighted_design(pairs, weights)
    arm = pairs["wrong_arm"].to_numpy(float)
    reference = pairs["wrong_reference"].to_numpy(float)
    no_arm = np.isnan(arm)
    no_reference = np.isnan(reference)
    lowest = rare.evidence(np.where(no_arm, 0.0, arm), np.where(no_reference, 1.0, reference), rows)
    highest = rare.evidence(
        np.where(no_arm, 1.0, arm), np.where(no_reference, 0.0, reference), rows
    )
    low = lowest.value
    high = highest.value
    tipping = None
    if low < 0 < high:
        tipping = tipping_points(arm, reference, rows)
    return Missing(
        low=low,
        high=high,
        tipping_points=tipping,
        unscored_arm=rows.mean(no_arm),
        unscored_reference=rows.mean(no_reference),
        uneven_p=_uneven_p(no_arm, no_reference, rows),
        pairs=len(pairs),
        reach_low=rare.interval(lowest)[0],
        reach_high=rare.interval(highest)[1],
    )


def tipping_points(arm: np.ndarray, reference: np.ndarray, rows: Design) -> float:
    """Find by how many points unscored answers must differ from scored ones to give 0.

    At 0 an unscored answer is wrong as often as the scored ones of its arm, model and task. From
    there the arm that looks better gets worse and the other better, point for point, none below 0
    or above 100 %.
    """
    arm_rate = _expected(arm, rows)
    reference_rate = _expected(reference, rows)
    sign = -1.0 if rows.mean(arm_rate) > rows.mean(reference_rate) else 1.0

    def gap(shift: float) -> float:
        filled_arm = np.where(np.isnan(arm), np.clip(arm_rate + sign * shift, 0, 1), arm)
        filled_reference = np.where(
            np.isnan(reference), np.clip(reference_rate - sign * shift, 0, 1), reference
        )
        return rows.mean(filled_arm) - rows.mean(filled_reference)

    if gap(0.0) * gap(1.0) >= 0:
        return 0.0
    return 100 * float(optimize.brentq(gap, 0.0, 1.0))


def _expected(wrong: np.ndarray, rows: Design) -> np.ndarray:
    """Give each row its own verdict, and an unscored one the rate of its cell, else of all."""
    known = ~np.isnan(wrong)
    if not known.any():
        return np.full(len(wrong), 0.5)
    scored = np.bincount(rows.cell[known], minlength=rows.cell.max() + 1)
    errors = np.bincount(rows.cell[known], wrong[known], minlength=rows.cell.max() + 1)
    overall = float(np.average(wrong[known], weights=rows.weight[known]))
    rates = np.where(scored > 0, errors / np.maximum(scored, 1), overall)
    return np.where(known, wrong, rates[rows.cell])


def _uneven_p(no_arm: np.ndarray, no_reference: np.ndarray, rows: Design) -> float:
    """Test that both arms leave equally many answers unscored: McNemar's question of clusters.

    Exact if each question occurs once; else by the paired interval, which knows that a question
    recurs.
    """
    arm_only = int((no_arm & ~no_reference).sum())
    reference_only = int((no_reference & ~no_arm).sum())
    if arm_only + reference_only == 0:
        return 1.0
    if rows.questions == len(no_arm):
        from scipy import stats

        return float(stats.binomtest(arm_only, arm_only + reference_only, 0.5).pvalue)
    p = rare.paired_p_value(rare.evidence(no_arm.astype(float), no_reference.astype(float), rows))
    return 1.0 if math.isnan(p) else p
