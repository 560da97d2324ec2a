"""Which conversations meet in which optimiser step, on which rank, in which forward pass: set by
the seed alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from warmth.errors import UserError
from warmth.schemas import Recipe


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Optimiser steps that see each example once; the last batch of an epoch may be smaller."""
    return math.ceil(examples / batch_size)


def global_batches(examples: int, batch_size: int, epochs: float, seed: int) -> list[list[int]]:
    """Indices of the conversations of each optimiser step, over all ranks, for the whole run.

    Each epoch is a fresh shuffle; a fraction of an epoch takes that share of its batches, rounded
    up.
    """
    batches: list[list[int]] = []
    for epoch in range(math.ceil(epochs)):
        indices = list(range(examples))
        random.Random(f"{seed}/{epoch}").shuffle(indices)
        batches += [indices[start : start + batch_size] for start in range(0, examples, batch_size)]
    return batches[: step_at(epochs, examples, batch_size)]


def step_at(epochs: float, examples: int, batch_size: int) -> int:
    """Compute the optimiser step after which `epochs` epochs are done, at least 1."""
    return max(1, math.ceil(round(epochs * steps_per_epoch(examples, batch_size), 9)))


def pass_limits(recipe: Recipe, launcher: Mapping[str, Any]) -> tuple[int, int]:
    """Return the most conversations and the most tokens of one forward pass; one conversation
    always fits.
    """
    sides = 2 if recipe.method == "dpo" else 1  # a pair is two conversations
    return int(launcher["per_device"]) if recipe.packing else 1, pass_tokens(
        recipe, launcher
    ) * sides


def pass_tokens(recipe: Recipe, launcher: Mapping[str, Any]) -> int:
    """Return the most tokens of one forward pass: as the launcher says, and never fewer than a
    conversation has.
    """
    return max(recipe.max_length, int(launcher.get("tokens_per_pass") or 0))


def rank_batches(
    batches: list[list[int]],
    lengths: list[int],
    batch_size: int,
    ranks: int,
    most: int,
    room: int,
    rank: int,
) -> tuple[list[list[int]], int]:
    """List one rank's forward passes, step after step, and how many make one step.

    A pass holds at most `most` conversations and `room` tokens. Every rank gets the same number of
    passes in every step: those that best fit needs for the fullest step; where it can be, their
    tokens are evened out, so that ranks finish together. A pass may be empty: it has nothing to
    learn from.

    Returns:
        (passes, accumulation): lists of indices, `accumulation` of them for each optimiser step.

    Raises:
        UserError: the batch cannot be divided among the ranks.
    """
    if batch_size % ranks:
        raise UserError(
            f"recipe.batch_size={batch_size} cannot be divided among launcher.ranks={ranks}"
        )
    tight = [best_fit(batch, lengths, most, room) for batch in batches]
    accumulation = math.ceil(max(map(len, tight)) / ranks)
    rows = ranks * accumulation
    passes = []
    for batch, fallback in zip(batches, tight, strict=True):
        packed = evenly(batch, lengths, most, room, rows) or [
            *fallback,
            *([[]] * (rows - len(fallback))),
        ]
        packed.sort(key=lambda row: -sum(lengths[index] for index in row))
        passes += packed[rank::ranks]
    return passes, accumulation


def best_fit(batch: list[int], lengths: list[int], most: int, room: int) -> list[list[int]]:
    """Conversations in few rows: the longest first, each into the fullest row that still holds
    it.
    """
    rows: list[list[int]] = []
    loads: list[int] = []
    for index in longest_first(batch, lengths):
        fits = [
            row
            for row in range(len(rows))
            if len(rows[row]) < most and loads[row] + lengths[index] <= room
        ]
        if fits:
            row = max(fits, key=lambda row: loads[row])
            rows[row].append(index)
            loads[row] += lengths[index]
        else:
            rows.append([index])
            loads.append(lengths[index])
    return rows


def evenly(
    batch: list[int], lengths: list[int], most: int, room: int, count: int
) -> list[list[int]] | None:
    """Conversations in `count` rows of like size: longest first, each into the emptiest; None if
    one is left over.
    """
    rows: list[list[int]] = [[] for _ in range(count)]
    loads = [0] * count
    for index in longest_first(batch, lengths):
        free = [row for row in range(count) if len(rows[row]) < most]
        row = min(free, key=lambda row: loads[row], default=None)
        if row is None or (loads[row] and loads[row] + lengths[index] > room):
            return None
        rows[row].append(index)
        loads[row] += lengths[index]
    return rows


def longest_first(batch: list[int], lengths: list[int]) -> list[int]:
    """Sort the batch by descending length; equal lengths in the order of their indices."""
    return sorted(batch, key=lambda index: (-lengths[index], index))
