"""Intervals that may be looked at after every question: for `until_width`, which stops when it
knows enough.

An ordinary 95 % interval watched until it is narrow, or until it leaves 0, covers far less than 95
%. A confidence sequence covers at all times at once, so any rule for stopping is allowed; the price
is its width.

What is estimated is Σ w_k θ_k: tasks k with weights that are fixed before the first question, and
in each task the ratio θ_k = E[v]/E[c] of what a question's rows add up to, v, over how many of them
count, c. Answers that are dropped by a rule lower c, so that this is the mean over counted answers,
as everywhere in the report. One task may run out of questions before another: its sequence then
stands still, and what is estimated stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from warmth.errors import UserError

LEVEL = 0.95
CANDIDATES = 2001  # means that are bet against; an interval is rounded outward to the next one
# shares of the largest bet that cannot lose everything
BETS = (0.9, 0.45, 0.225, 0.1125, 0.056, 0.028, 0.014)
KEPT_BACK = 1 / 8  # share of the stake that is never bet
# multipliers among which the tightest bound is chosen
PRICES = np.exp(np.linspace(-12.0, 3.0, 120))


class TaskBets:
    """The capital won by betting against each candidate for one task's mean, after all its
    questions so far.

    Whoever bets that the mean is above a candidate m multiplies the stake by 1 + λ(v - m·c) with
    each question. If m is the mean, or above it, nothing is won on average, and the capital exceeds
    x at any time with probability at most 1/x (Ville). The stake is divided over several λ. Nothing
    is assumed but bounds and independence of questions.

    Source: Waudby-Smith and Ramdas (2024), J. R. Stat. Soc. B 86, 1; here with bets fixed before
    the first question.
    """

    def __init__(self, lowest: float, candidates: np.ndarray):
        """`lowest` is the smallest possible mean, -1 of a difference and 0 of a rate; the largest
        is 1.
        """
        self.lowest = lowest
        self.candidates = candidates  # (C,)
        shares = np.array(BETS)[:, None]
        self._bet_above = shares / np.maximum(candidates - lowest, 1e-9)  # (bets, C)
        self._bet_below = shares / np.maximum(1 - candidates, 1e-9)
        self._won_above = np.zeros((len(BETS), len(candidates)))  # logarithms
        self._won_below = np.zeros((len(BETS), len(candidates)))

    def add(self, low: np.ndarray, high: np.ndarray, counted: np.ndarray) -> None:
        """Take in questions, in an order that does not depend on their values.

        Args:
            low: (n, 1) or (n, C), the sum of a question's rows, an unscored one being as low as it
                could be; between lowest · counted and counted.
            high: likewise, an unscored row being as high as it could be.
            counted: likewise, how many rows count, as a share of all that a question of this task
            can have; 0 to 1.

        Raises:
            UserError: a value is out of bounds.
        """
        slack = 1e-9
        if not (
            np.isfinite(low).all()
            and (low >= self.lowest * counted - slack).all()
            and (low <= high + slack).all()
            and (high <= counted + slack).all()
            and (counted <= 1 + slack).all()
        ):
            raise UserError(f"values must lie between {self.lowest:g} and 1 for each counted row")
        for at in range(len(low)):
            expected = self.candidates * counted[at]
            self._won_above += np.log1p(
                self._bet_above * np.maximum(low[at] - expected, self.lowest - self.candidates)
            )
            self._won_below += np.log1p(
                -self._bet_below * np.minimum(high[at] - expected, 1 - self.candidates)
            )

    def above(self) -> np.ndarray:
        """Return (C,) the logarithm of what betting on a larger mean than each candidate has made
        of a stake of 1.
        """
        return _capital(self._won_above)

    def below(self) -> np.ndarray:
        """Return the same of betting on a smaller mean."""
        return _capital(self._won_below)


def _capital(won: np.ndarray) -> np.ndarray:
    log_share = math.log((1 - KEPT_BACK) / len(BETS))
    return np.logaddexp(math.log(KEPT_BACK), np.logaddexp.reduce(won, axis=0) + log_share)


class ConfidenceSequence:
    """The interval of a weighted mean over tasks, valid at every look; no look makes it wider.

    The product of the tasks' capitals against their true means exceeds 2/(1 - level) with
    probability (1 - level)/2 at most, for each side. All vectors of means whose product is lower
    stay possible, and the interval ends at the least and the greatest weighted mean among them.
    That is much narrower than the sum of the tasks' own intervals.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        lowest: float,
        level: float = LEVEL,
        candidates: int = CANDIDATES,
    ):
        """Start without a question.

        Args:
            weights: of each task; scaled to add up to 1, and not to be changed afterwards.
            lowest: smallest possible mean: -1 of a difference, 0 of a rate.
            level: coverage at all looks together.
            candidates: how many means are bet against.

        Raises:
            UserError: the level is no probability.
        """
        if not 0 < level < 1:
            raise UserError(f"level={level:g} is not between 0 and 1")
        total = sum(weights.values())
        means = np.linspace(lowest, 1.0, candidates)
        self.weights = {task: weight / total for task, weight in weights.items()}
        self.tasks = {task: TaskBets(lowest, means) for task in weights}
        self.low = lowest
        self.high = 1.0
        self._bound = math.log(2 / (1 - level))
        self._step = float(means[1] - means[0])

    def add(self, task: str, low: ArrayLike, high: ArrayLike, counted: ArrayLike) -> None:
        """Take in questions of one task, an entry for each; see `TaskBets.add`."""
        self.tasks[task].add(_column(low), _column(high), _column(counted))

    def look(self) -> tuple[float, float]:
        """Return the interval of the weighted mean, as far as all questions so far show it."""
        below = {task: bets.below() for task, bets in self.tasks.items()}
        above = {task: bets.above() for task, bets in self.tasks.items()}
        greatest = self._greatest(1.0, below)
        least = -self._greatest(-1.0, above)
        self.high = max(min(self.high, greatest + self._step), self.low)
        self.low = min(max(self.low, least - self._step), self.high)
        return self.low, self.high

    def _greatest(self, sign: float, capital: Mapping[str, np.ndarray]) -> float:
        """Bound sign · Σ w_k m_k over all vectors m with Σ log capital below the bound, by
        Lagrange's dual.

        Every multiplier gives a valid bound; the least of many is taken.
        """
        bounds = PRICES * self._bound
        for task, bets in self.tasks.items():
            gains = sign * self.weights[task] * bets.candidates - PRICES[:, None] * capital[task]
            bounds = bounds + gains.max(axis=1)
        return float(bounds.min())


def _column(values: ArrayLike) -> np.ndarray:
    return np.asarray(values, float)[:, None]


def stopping_sentences(found: Mapping[str, Any], usd_per_answer: float = 0.0) -> list[str]:
    """Say what the last look at a run found: the target, whether it was reached, after how much,
    and what is left.

    Args:
        found: the run's `stopping.json`.
        usd_per_answer: what an answer has cost so far.
    """
    how_many = f"{found['asked']:,} of {found['questions']:,} questions"
    target = f"Target: an interval {found['until_width']:g} points wide by sampling"
    if found["low"] is None or found["sampling_width"] is None:
        return [f"{target}, not reached after {how_many}: a task has no answer that counts."]
    reached = "not reached"
    if found["stopped"]:
        reached = "reached"
    estimand = "error rate"
    if found["paired"]:
        estimand = "difference from original"
    value = "unknown"
    if found["mean"] is not None:
        value = f"{found['mean']:.1f}"
    validity = "valid at every look"
    if found["unscored"]:
        validity = f"unscored answers counted either way, {validity}"
    lines = [
        f"{target}, {reached} ({found['sampling_width']:.1f}) after {how_many}: {estimand} {value} "
        f"({found['low']:.1f} to {found['high']:.1f}, {validity})."
    ]
    if found["unscored"]:
        lines.append(
            f"{found['unscored']:,} unscored answers add {found['unscored_points']:.1f} points to "
            f"the width, which asking on does not narrow."
        )
    if found["not_counted"]:
        lines.append(
            f"{found['not_counted']:,} answers do not count: refused, or without a partner."
        )
    return [*lines, _continuing(found, usd_per_answer)]


def _continuing(found: Mapping[str, Any], usd_per_answer: float) -> str:
    """Say what asking on would cost and bring."""
    if not found["answers_left"]:
        return "No question is left; only more questions would narrow it."
    questions_left = found["questions"] - found["asked"]
    price = ""
    if usd_per_answer:
        price = f", about {usd_per_answer * found['answers_left']:.2f} USD,"
    return (
        f"The {questions_left:,} questions left are {found['answers_left']:,} answers more{price} "
        f"and would narrow it to about {found['width_if_all']:.1f} points in all; it stays valid "
        f"if asking goes on."
    )
