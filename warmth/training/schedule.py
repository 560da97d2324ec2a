"""Which conversations meet in which optimiser step, on which rank, in which forward pass: set by the seed alone."""

from __future__ import annotations

import math
import random

from warmth.errors import UserError


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Optimiser steps that see each example once; the last batch of an epoch may be smaller."""
    return math.ceil(examples / batch_size)


def global_batches(examples: int, batch_size: int, epochs: float, seed: int) -> list[list[int]]:
    """Indices of the conversations of each optimiser step, over all ranks, for the whole run.

    Each epoch is a fresh shuffle; a fraction of an epoch takes that share of its batches, rounded up.
    """
    batches: list[list[int]] = []
    for epoch in range(math.ceil(epochs)):
        indices = list(range(examples))
        random.Random(f"{seed}/{epoch}").shuffle(indices)
        batches += [indices[start : start + batch_size] for start in range(0, examples, batch_size)]
    return batches[: step_at(epochs, examples, batch_size)]


def step_at(epochs: float, examples: int, batch_size: int) -> int:
    """The optimiser step after which `epochs` epochs are done, at least 1."""
    return max(1, math.ceil(round(epochs * steps_per_epoch(examples, batch_size), 9)))


def rank_batches(
    batches: list[list[int]], lengths: list[int], batch_size: int, ranks: int, per_device: int, rank: int
) -> tuple[list[list[int]], int]:
    """One rank's forward passes, step after step, and how many make one step.

    Every rank gets the same number of passes (an empty one has nothing to learn from). Within a step conversations are
    dealt out by length, so that ranks finish together.

    Returns:
        (passes, accumulation): lists of indices, `accumulation` of them for each optimiser step.

    Raises:
        UserError: the batch cannot be divided among the ranks.
    """
    if batch_size % ranks:
        raise UserError(f"recipe.batch_size={batch_size} cannot be divided among launcher.ranks={ranks}")
    accumulation = math.ceil(batch_size / ranks / per_device)
    passes = []
    for batch in batches:
        ordered = sorted(batch, key=lambda index: (-lengths[index], index))
        dealt = [ordered[slot :: ranks * accumulation] for slot in range(ranks * accumulation)]
        passes += dealt[rank::ranks]
    return passes, accumulation
