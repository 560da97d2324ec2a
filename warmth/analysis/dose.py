"""Dose and response: does error rise with the dose of a manner, by how much, and from where on does it matter?

A dose is any number that arms of one recipe differ in: the adapter's scale, the checkpoint in epochs, the strength
(share of warm examples). Rows pair across doses on (model, prompt_id, sample), so a question is compared with itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from warmth.analysis.covariance import ROUNDING, Inference, inference
from warmth.analysis.statistics.effects import PAIR, Mean, clustered_mean
from warmth.errors import UserError

DOSES = ("dose", "checkpoint", "strength")
DRAWS = 999


@dataclass(frozen=True)
class Response:
    """`curve`: dose, answers, rise (fraction, against the lowest dose), low, high, monotone (the isotonic fit)."""

    by: str
    slope: Inference  # change of the error rate, a fraction, per unit of dose
    curve: pd.DataFrame
    crossing: float  # the dose at which the monotone rise exceeds the margin; infinite where it never does
    crossing_low: float
    crossing_high: float
    margin: float


def response(rows: pd.DataFrame, by: str, margin: float = 0.02, outcome: str = "wrong", seed: int = 0) -> Response:
    """Error against dose over arms of one recipe, the original at dose 0.

    Slope: least squares within (model, prompt, sample), Σ d̃·ỹ / Σ d̃² with both centred there, CR1 by question and
    t(G-1), as statsmodels' OLS on the centred values. Monotone fit: weighted isotonic regression of the mean rise, not
    below 0. The crossing is read off that fit by linear interpolation; its interval is the 2.5 and 97.5 % quantile
    over draws of whole questions, and may end at infinity.

    Args:
        rows: one recipe's answers and the original's, with the column `by`; the original's is taken for 0.
        by: dose, checkpoint or strength.
        margin: the rise that matters, a fraction.
        outcome: wrong, wrong_dropped, wrong_strict or wrong_lenient.
        seed: of the bootstrap.

    Raises:
        UserError: fewer than two doses share a prompt.
    """
    if by not in DOSES:
        raise UserError(f"dose={by} is not allowed; choose one of: {', '.join(DOSES)}")
    frame = rows[rows[outcome].notna()].assign(
        at=lambda table: np.where(table["arm"].eq("original"), 0.0, pd.to_numeric(table[by], errors="coerce"))
    )
    frame = frame[frame["at"].notna()]
    levels = np.sort(frame["at"].unique())
    if len(levels) < 2:
        raise UserError(f"a dose-response curve needs two doses or more; there is {len(levels)}")
    cell = frame.groupby(PAIR, sort=False).ngroup().to_numpy()
    dose, wrong = frame["at"].to_numpy(float), frame[outcome].to_numpy(float)
    question = pd.factorize(frame["question_id"])[0]
    curve, sums = _curve(frame.assign(outcome=wrong), levels)
    crossings = _crossings(levels, sums, margin, seed)
    low, high = np.quantile(crossings, [0.025, 0.975], method="inverted_cdf")
    crossing = crossing_dose(levels, curve["monotone"].to_numpy(), margin)
    return Response(by, slope(dose, wrong, cell, question), curve, crossing, float(low), float(high), margin)


def slope(dose: np.ndarray, wrong: np.ndarray, cell: np.ndarray, question: np.ndarray) -> Inference:
    """Clustered least-squares slope within cells.

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
    groups, rows = int(question.max()) + 1, len(x)
    scores = np.bincount(question, x * (y - value * x))
    spread = groups / max(groups - 1, 1) * (rows - 1) / max(rows - 1, 1) * float(scores @ scores) / total**2
    error = math.sqrt(spread) if groups > 1 else math.nan
    rounding = ROUNDING / float(np.ptp(dose))  # per unit of dose, as the slope
    return inference(value, error, groups - 1, rounding=rounding)


def _curve(frame: pd.DataFrame, levels: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Mean rise at each dose against the lowest on shared prompts; (doses, questions, 2) sums and counts behind it."""
    base = frame[frame["at"].eq(levels[0])].groupby(PAIR)["outcome"].mean().rename("base")
    joined = frame.merge(base, left_on=PAIR, right_index=True)
    joined["rise"] = joined["outcome"] - joined["base"]
    codes = pd.factorize(joined["question_id"])[0]
    count = int(codes.max()) + 1 if len(codes) else 0
    lines, sums = [], np.zeros((len(levels), count, 2))
    for at, level in enumerate(levels):
        here = joined["at"].eq(level).to_numpy()
        if not here.any():
            raise UserError(f"dose {level:g} shares no prompt with dose {levels[0]:g}")
        mean = clustered_mean(joined["rise"].to_numpy()[here], codes[here])
        lines.append({"dose": level, "answers": mean.n, "rise": mean.value, "low": mean.low, "high": mean.high})
        sums[at, :, 0] = np.bincount(codes[here], joined["rise"].to_numpy()[here], count)
        sums[at, :, 1] = np.bincount(codes[here], minlength=count)
    curve = pd.DataFrame(lines)
    curve["monotone"] = monotone(curve["rise"].to_numpy(), curve["answers"].to_numpy(float))
    return curve, sums


def monotone(rise: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Isotonic regression of a rise that starts at 0 (its first value is the reference) and never falls below it."""
    return np.maximum(isotonic_regression(rise, weights=weights, increasing=True).x, 0.0)


def crossing_dose(levels: np.ndarray, fitted: np.ndarray, margin: float) -> float:
    """The smallest dose at which a monotone fit, linear between doses, reaches the margin; infinite where none does."""
    above = np.flatnonzero(fitted >= margin)
    if len(above) == 0:
        return math.inf
    at = above[0]
    if at == 0 or fitted[at] == fitted[at - 1]:
        return float(levels[at])
    share = (margin - fitted[at - 1]) / (fitted[at] - fitted[at - 1])
    return float(levels[at - 1] + share * (levels[at] - levels[at - 1]))


def _crossings(levels: np.ndarray, sums: np.ndarray, margin: float, seed: int) -> np.ndarray:
    questions = sums.shape[1]
    draws = np.random.default_rng(seed).multinomial(questions, np.full(questions, 1 / questions), size=DRAWS)
    totals, counts = (draws @ sums[:, :, part].T for part in (0, 1))
    rises = totals / np.maximum(counts, 1)
    return np.array(
        [
            crossing_dose(levels, monotone(rise, count), margin)
            for rise, count in zip(rises, np.maximum(counts, 1e-9), strict=True)
        ]
    )


def difference_in_differences(pairs: pd.DataFrame, column: str, value: str, base: str) -> Mean:
    """How much larger an arm's paired difference is under one condition than under another, clustered by question.

    (arm - reference | column = value) - (arm - reference | column = base): with the reference paraphrase or
    untransformed it is what the *manner* adds under that condition, fine-tuning as such taken out. Each row enters
    with weight ± N/n of its condition, so that the weighted mean of all N rows is the difference of the two means.

    Args:
        pairs: from `effects.pair(answers, reference)`, one arm.
        column: context, belief or task.
        value: the condition asked for.
        base: what it is compared with, as `none` or `unmodified`.

    Raises:
        UserError: a condition has no pairs.
    """
    rows = pairs[pairs[column].isin([value, base])]
    sizes = rows[column].value_counts()
    for name in (value, base):
        if name not in sizes:
            raise UserError(f"{column}={name} has no pairs; there are: {', '.join(sorted(pairs[column].unique()))}")
    means = rows.groupby(column)["difference"].transform("mean")
    sign = np.where(rows[column].eq(value), 1.0, -1.0) * len(rows) / rows[column].map(sizes).to_numpy(float)
    contrast = float(
        rows.loc[rows[column].eq(value), "difference"].mean() - rows.loc[rows[column].eq(base), "difference"].mean()
    )
    centred = sign * (rows["difference"] - means).to_numpy() + contrast
    mean = clustered_mean(centred, rows["question_id"].to_numpy())
    return Mean(contrast, mean.low, mean.high, mean.p, mean.n, mean.clusters)
