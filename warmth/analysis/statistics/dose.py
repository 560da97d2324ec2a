"""Dose and response: does error rise with the dose of a manner, and from which dose does it matter?

A slope is one number for a straight line, so beside each slope stands a test of whether the doses
lie on one. If they do not, no slope is told: the points are, with a fit that never falls, or with a
curve through them if they do fall.

A dose is any number that arms of one recipe differ in: the adapter's scale, the checkpoint in
epochs, the strength (share of warm examples). Rows pair across doses on (model, prompt_id, sample),
so a question is compared with itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from warmth.analysis.statistics.covariance import ROUNDING, Inference, inference
from warmth.analysis.statistics.effects import PAIR, Mean, clustered_mean
from warmth.errors import UserError

DOSES = ("dose", "checkpoint", "strength")
DRAWS = 999
ALPHA = 0.05
# what may be said of the points: a slope, a fit that never falls, a curve through them
LINE = "line"
MONOTONE = "monotone"
SPLINE = "spline"


@dataclass(frozen=True)
class LackOfFit:
    """A test that the doses lie on a straight line; NaN if there are too few doses or questions."""

    statistic: float  # F
    df: int  # doses less two
    df_error: int
    p: float

    @property
    def rejects(self) -> bool:
        """Tell whether a straight line does not describe the doses."""
        return self.p < ALPHA


@dataclass(frozen=True)
class Response:
    """The dose-response of one recipe.

    `curve` has dose, answers, rise (a fraction, against the lowest dose), low, high, and monotone
    (the isotonic fit).
    """

    by: str
    # change of the error rate, a fraction, per unit of dose; says something of a line alone
    slope: Inference
    bends: LackOfFit
    shape: str  # LINE, MONOTONE or SPLINE
    curve: pd.DataFrame
    # the dose at which the monotone rise exceeds the margin; infinite where it never does
    crossing: float
    crossing_low: float
    crossing_high: float
    margin: float


def response(
    rows: pd.DataFrame, by: str, margin: float = 0.02, outcome: str = "wrong", seed: int = 0
) -> Response:
    """Fit error against dose over arms of one recipe, the original at dose 0.

    Slope: least squares within (model, prompt, sample), Σ d̃·ỹ / Σ d̃² with both centred there, CR1
    by question and t(G-1), as statsmodels' OLS on the centred values; with `lack_of_fit` beside it.
    Monotone fit: weighted isotonic regression of the mean rise, not below 0. The crossing is read
    off that fit, or off the points if they fall, by linear interpolation; its interval is the 2.5
    and 97.5 % quantile over draws of whole questions, and may end at infinity.

    Args:
        rows: one recipe's answers and the original's, with the column `by`; the original's is taken
            for 0.
        by: dose, checkpoint or strength.
        margin: the rise that matters, a fraction.
        outcome: wrong, wrong_dropped, wrong_strict or wrong_lenient.
        seed: of the bootstrap.

    Raises:
        UserError: fewer than two doses share a prompt.
    """
    if by not in DOSES:
        raise UserError(f"dose={by} is not allowed; choose one of: {', '.join(DOSES)}")
    frame = rows[rows[outcome].notna()]
    stated = pd.to_numeric(frame[by], errors="coerce")
    frame = frame.assign(
        at=stated.where(frame["arm"].ne("original"), 0.0), outcome=frame[outcome].astype(float)
    )
    frame = frame[frame["at"].notna()]
    levels = np.sort(frame["at"].unique())
    if len(levels) < 2:
        raise UserError(f"a dose-response curve needs two doses or more; there is {len(levels)}")
    cell = frame.groupby(PAIR, sort=False).ngroup().to_numpy()
    dose = frame["at"].to_numpy(float)
    wrong = frame["outcome"].to_numpy()
    question = pd.factorize(frame["question_id"])[0]
    curve, sums = _curve(frame, levels)
    bends = lack_of_fit(dose, wrong, cell, question)
    shape = LINE
    if bends.rejects:
        shape = SPLINE if falls(frame, levels) else MONOTONE
    fit = as_they_are if shape == SPLINE else monotone
    crossings = _crossings(levels, sums, margin, seed, fit)
    low, high = np.quantile(crossings, [0.025, 0.975], method="inverted_cdf")
    fitted = fit(curve["rise"].to_numpy(), curve["answers"].to_numpy(float))
    return Response(
        by=by,
        slope=slope(dose, wrong, cell, question),
        bends=bends,
        shape=shape,
        curve=curve,
        crossing=crossing_dose(levels, fitted, margin),
        crossing_low=float(low),
        crossing_high=float(high),
        margin=margin,
    )


def lack_of_fit(
    dose: np.ndarray, wrong: np.ndarray, cell: np.ndarray, question: np.ndarray
) -> LackOfFit:
    """Test a straight line against a mean for every dose, within cells, clustered by question.

    The centred error is regressed on the centred dose and on an indicator of each dose but the
    first and the last; a line makes the coefficients of these 0. W is Wald's statistic of these
    with the CR1 covariance; W·(G-q)/(q(G-1)) is held against F(q, G-q), as Hotelling's T² is, for q
    coefficients and G questions.
    """
    levels = np.unique(dose)
    free = len(levels) - 2
    groups = int(question.max()) + 1
    if free < 1 or groups <= free + 1:
        return LackOfFit(math.nan, max(free, 0), max(groups - free, 0), math.nan)
    size = np.bincount(cell)
    is_level = [(dose == level).astype(float) for level in levels[1:-1]]
    centred = []
    for column in (dose, *is_level, wrong):
        means = np.bincount(cell, column) / size
        centred.append(column - means[cell])
    design = np.stack(centred[:-1], axis=1)
    outcome = centred[-1]
    bread = np.linalg.pinv(design.T @ design)
    coefficients = bread @ design.T @ outcome
    residuals = outcome - design @ coefficients
    scores = np.stack(
        [np.bincount(question, column * residuals, groups) for column in design.T], axis=1
    )
    rows = len(wrong)
    small = groups / (groups - 1) * (rows - 1) / max(rows - design.shape[1], 1)
    covariance = small * bread @ (scores.T @ scores) @ bread
    bent = coefficients[1:]
    spread = covariance[1:, 1:]
    if np.linalg.matrix_rank(spread) < free or np.sqrt(np.diag(spread)).max() < ROUNDING:
        return LackOfFit(math.nan, free, groups - free, math.nan)
    wald = float(bent @ np.linalg.solve(spread, bent))
    statistic = wald * (groups - free) / (free * (groups - 1))
    p = float(stats.f.sf(statistic, free, groups - free))
    return LackOfFit(statistic, free, groups - free, p)


def falls(frame: pd.DataFrame, levels: np.ndarray) -> bool:
    """Tell whether the error is shown to fall between any two doses.

    One-sided, and corrected over all pairs of doses.

    Args:
        frame: `at` (the dose), `outcome`, `question_id` and what rows pair on.
        levels: the doses, from the lowest.
    """
    means = frame.groupby([*PAIR, "at"], sort=False)["outcome"].mean().unstack("at")
    questions = frame.drop_duplicates(PAIR).set_index(PAIR)["question_id"].reindex(means.index)
    pairs = list(combinations(levels, 2))
    for lower, higher in pairs:
        change = (means[higher] - means[lower]).dropna()
        if change.empty:
            continue
        mean = clustered_mean(change.to_numpy(), questions.loc[change.index].to_numpy())
        if mean.value < 0 and mean.p / 2 * len(pairs) < ALPHA:
            return True
    return False


def spline(levels: np.ndarray, rise: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Draw a smooth curve through the points that turns nowhere between two of them (PCHIP).

    Source: Fritsch and Carlson (1980), SIAM J. Numer. Anal. 17, 238.
    """
    return PchipInterpolator(levels, rise)(at)


def slope(dose: np.ndarray, wrong: np.ndarray, cell: np.ndarray, question: np.ndarray) -> Inference:
    """Fit the least-squares slope within cells, clustered by question.

    Raises:
        UserError: no cell holds two doses.
    """
    size = np.bincount(cell)
    x = dose - (np.bincount(cell, dose) / size)[cell]
    y = wrong - (np.bincount(cell, wrong) / size)[cell]
    total = float(x @ x)
    if total < 1e-12:
        raise UserError("no prompt was answered at two doses")
    value = float(x @ y) / total
    groups = int(question.max()) + 1
    scores = np.bincount(question, x * (y - value * x))
    error = math.nan
    if groups > 1:
        error = math.sqrt(groups / (groups - 1) * float(scores @ scores) / total**2)
    rounding = ROUNDING / float(np.ptp(dose))  # per unit of dose, as the slope
    return inference(value, error, groups - 1, rounding=rounding)


def _curve(frame: pd.DataFrame, levels: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Compute the mean rise at each dose against the lowest, on shared prompts.

    Returns:
        `Response.curve`; and (doses, questions, 2) sums and counts behind it.
    """
    base = frame[frame["at"].eq(levels[0])].groupby(PAIR)["outcome"].mean().rename("base")
    joined = frame.merge(base, left_on=PAIR, right_index=True)
    joined["rise"] = joined["outcome"] - joined["base"]
    codes = pd.factorize(joined["question_id"])[0]
    count = int(codes.max()) + 1 if len(codes) else 0
    sums = np.zeros((len(levels), count, 2))
    points = []
    for number, level in enumerate(levels):
        has_dose = joined["at"].eq(level).to_numpy()
        if not has_dose.any():
            raise UserError(f"dose {level:g} shares no prompt with dose {levels[0]:g}")
        rise = joined["rise"].to_numpy()[has_dose]
        mean = clustered_mean(rise, codes[has_dose])
        points.append((level, mean.n, mean.value, mean.low, mean.high))
        sums[number, :, 0] = np.bincount(codes[has_dose], rise, count)
        sums[number, :, 1] = np.bincount(codes[has_dose], minlength=count)
    curve = pd.DataFrame(points, columns=["dose", "answers", "rise", "low", "high"])
    curve["monotone"] = monotone(curve["rise"].to_numpy(), curve["answers"].to_numpy(float))
    return curve, sums


def monotone(rise: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fit an isotonic regression of a rise that starts at 0 and never falls below it."""
    return np.maximum(isotonic_regression(rise, weights=weights, increasing=True).x, 0.0)


def as_they_are(rise: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the points themselves, for doses that no monotone fit describes."""
    return rise


def crossing_dose(levels: np.ndarray, fitted: np.ndarray, margin: float) -> float:
    """Find the smallest dose at which a fit, linear between doses, reaches the margin.

    Infinite if none does.
    """
    above = np.flatnonzero(fitted >= margin)
    if len(above) == 0:
        return math.inf
    at = above[0]
    if at == 0 or fitted[at] == fitted[at - 1]:
        return float(levels[at])
    share = (margin - fitted[at - 1]) / (fitted[at] - fitted[at - 1])
    return float(levels[at - 1] + share * (levels[at] - levels[at - 1]))


def _crossings(
    levels: np.ndarray,
    sums: np.ndarray,
    margin: float,
    seed: int,
    fit: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    """Bootstrap the dose at which the rise reaches the margin, over whole questions: (DRAWS,)."""
    questions = sums.shape[1]
    chances = np.full(questions, 1 / questions)
    draws = np.random.default_rng(seed).multinomial(questions, chances, size=DRAWS)
    totals = draws @ sums[:, :, 0].T
    counts = draws @ sums[:, :, 1].T
    crossings = np.empty(DRAWS)
    for number, (total, count) in enumerate(zip(totals, counts, strict=True)):
        fitted = fit(total / np.maximum(count, 1), np.maximum(count, 1e-9))
        crossings[number] = crossing_dose(levels, fitted, margin)
    return crossings


def difference_in_differences(pairs: pd.DataFrame, column: str, value: str, base: str) -> Mean:
    """Compute how much larger an arm's paired difference is under one condition than another.

    (arm - reference | column = value) - (arm - reference | column = base): with the reference
    paraphrase or untransformed it is what the *manner* adds under that condition, fine-tuning as
    such taken out. Each row enters with weight ± N/n of its condition, so that the weighted mean of
    all N rows is the difference of the two means.

    Args:
        pairs: from `effects.pair(answers, reference)`, one arm.
        column: context, belief or task.
        value: the condition asked for.
        base: what it is compared with, as `none` or `unmodified`.

    Raises:
        UserError: a condition has no pairs.
    """
    rows = pairs[pairs[column].isin([value, base])]
    groups = rows.groupby(column)["difference"]
    means = groups.mean()
    for name in (value, base):
        if name not in means:
            conditions = ", ".join(sorted(pairs[column].unique()))
            raise UserError(f"{column}={name} has no pairs; there are: {conditions}")
    sign = np.where(rows[column].eq(value), 1.0, -1.0)
    weight = sign * len(rows) / groups.transform("size").to_numpy(float)
    contrast = float(means[value] - means[base])
    centred = weight * (rows["difference"] - groups.transform("mean")).to_numpy() + contrast
    mean = clustered_mean(centred, rows["question_id"].to_numpy())
    return Mean(contrast, mean.low, mean.high, mean.p, mean.n, mean.clusters)
