"""Intervals that may be looked at after every question: for `until_width`, which stops when it knows enough.

An ordinary 95 % interval watched until it is narrow, or until it leaves 0, covers far less than 95 %. A confidence
sequence covers at all times at once, so any rule for stopping is allowed; the price is its width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from warmth.errors import UserError

GRID = 2001  # candidate means; the interval is rounded outward to 1/1000 of the range of values
BET = 0.5  # largest share of the stake put on one question
LEVEL = 0.95


@dataclass(frozen=True)
class Sequence95:
    """After each of n questions: `mean`, and `low` ≤ true mean ≤ `high` at all times together with the stated level."""

    mean: np.ndarray  # (n,)
    low: np.ndarray
    high: np.ndarray

    def reached(self, width: float) -> int | None:
        """Questions after which high - low is at most `width`, in the unit of the values; None if never."""
        narrow = np.flatnonzero(self.high - self.low <= width)
        return int(narrow[0]) + 1 if len(narrow) else None


def confidence_sequence(values: np.ndarray, low: float = -1.0, high: float = 1.0, level: float = LEVEL) -> Sequence95:
    """Betting confidence sequence of the mean of bounded values, taken in an order that does not depend on them.

    Whoever bets against a true mean m makes no money on average: the stake K_t(m) = ½Π(1 + λ_i(x_i - m)) +
    ½Π(1 - λ_i(x_i - m)) exceeds 1/α at any time with probability at most α (Ville). The means against which it never
    did are the interval, running intersection included. Nothing is assumed but bounds and independence of questions.

    Args:
        values: (n,) one number per question, its mean difference over all its conditions; in [low, high].
        low: smallest possible value.
        high: largest possible value.
        level: coverage at all times together.

    Raises:
        UserError: a value out of bounds, or a level that is no probability.

    Source: Waudby-Smith and Ramdas (2024), J. R. Stat. Soc. B 86, 1, hedged capital with predictable plug-in bets.
    """
    values = np.asarray(values, dtype=float)
    if not 0 < level < 1:
        raise UserError(f"level={level:g} is not between 0 and 1")
    if len(values) and not (np.isfinite(values).all() and values.min() >= low and values.max() <= high):
        raise UserError(f"values must lie between {low:g} and {high:g}")
    scaled, grid = (values - low) / (high - low), np.linspace(0, 1, GRID)
    bets = plug_in_bets(scaled[None], 1 - level)[0]
    up, down, inside = np.zeros(GRID), np.zeros(GRID), np.ones(GRID, bool)
    ends = np.empty((len(values), 2))
    for at, (value, bet) in enumerate(zip(scaled, bets, strict=True)):
        up += np.log1p(np.minimum(bet, BET / np.maximum(grid, 1e-12)) * (value - grid))
        down += np.log1p(-np.minimum(bet, BET / np.maximum(1 - grid, 1e-12)) * (value - grid))
        inside &= np.maximum(up, down) + math.log(0.5) < -math.log(1 - level)
        accepted = np.flatnonzero(inside)
        lowest, highest = (
            (accepted[0], accepted[-1]) if len(accepted) else (np.abs(grid - scaled[: at + 1].mean()).argmin(),) * 2
        )
        ends[at] = (
            grid[max(lowest - 1, 0)],
            grid[min(highest + 1, GRID - 1)],
        )  # outward: the truth may lie between two points
    running = np.cumsum(values) / np.arange(1, len(values) + 1)
    return Sequence95(running, low + (high - low) * ends[:, 0], low + (high - low) * ends[:, 1])


def plug_in_bets(scaled: np.ndarray, alpha: float) -> np.ndarray:
    """(B, n) bets, each from what came before it: √(2·log(2/α) / (σ̂²_{t-1}·t·log(1+t))), for values in [0, 1]."""
    count = np.arange(1, scaled.shape[1] + 1)
    means = (0.5 + np.cumsum(scaled, 1)) / (count + 1)
    spread = (0.25 + np.cumsum((scaled - means) ** 2, 1)) / (count + 1)
    before = np.concatenate([np.full((len(scaled), 1), 0.25), spread[:, :-1]], 1)
    return np.sqrt(2 * math.log(2 / alpha) / (before * count * np.log1p(count)))


def ever_excludes(
    values: np.ndarray, truth: float, low: float = -1.0, high: float = 1.0, level: float = LEVEL
) -> np.ndarray:
    """(B,) whether the sequence of each of B streams excludes `truth` at any time: the capital against it, no grid."""
    scaled, mean = (values - low) / (high - low), (truth - low) / (high - low)
    bets = plug_in_bets(scaled, 1 - level)
    up = np.log1p(np.minimum(bets, BET / mean) * (scaled - mean)).cumsum(1).max(1)
    down = np.log1p(-np.minimum(bets, BET / (1 - mean)) * (scaled - mean)).cumsum(1).max(1)
    return np.maximum(up, down) + math.log(0.5) >= -math.log(1 - level)
