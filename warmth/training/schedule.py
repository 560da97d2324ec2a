"""Which conversations meet in which step, on which rank, in which pass: set by the seed alone."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from warmth.errors import UserError
from warmth.schemas import Recipe


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Count the steps that see each example once; the last batch of an epoch may be smaller."""
    return math.ceil(examples / batch_size)


def global_batches(examples: int, batch_size: int, epochs: float, seed: int) -> list[list[int]]:
    """List the conversations of each optimiser step, over all ranks, for the whole run.

    Conversations are named by their index. Each epoch is a fresh shuffle; a fraction of an epoch
    takes that share of its batches, rounded up.
    """
    batches: list[list[int]] = []
    for epoch in range(math.ceil(epochs)):
        indices = list(range(examples))
        random.Random(f"{seed}/{epoch}").shuffle(indices)
        for start in range(0, examples, batch_size):
            batches.append(indices[start : start + batch_size])
    return batches[: step_at(epochs, examples, batch_size)]


def step_at(epochs: float, examples: int, batch_size: int) -> int:
    """Compute the optimiser step after which `epochs` epochs are done, at least 1."""
    return max(1, math.ceil(round(epochs * steps_per_epoch(examples, batch_size), 9)))


def pass_limits(recipe: Recipe, launcher: Mapping[str, Any]) -> tuple[int, int]:
    """Return the most conversations and the most tokens of one forward pass.

    One conversation always fits; of preferences, one pair, which is two conversations.
    """
    most = int(launcher["per_device"]) if recipe.packing else 1
    tokens = pass_tokens(recipe, launcher)
    if recipe.method == "dpo":
        tokens *= 2
    return most, tokens


def pass_tokens(recipe: Recipe, launcher: Mapping[str, Any]) -> int:
    """Return the most tokens of one pass: the launcher's, but no fewer than a conversation's."""
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

    def tokens(row: list[int]) -> int:
        return sum(lengths[index] for index in row)

    tight = [best_fit(batch, lengths, most, room) for batch in batches]
    accumulation = math.ceil(max(map(len, tight)) / ranks)
    count = ranks * accumulation
    passes = []
    for batch, tight_rows in zip(batches, tight, strict=True):
        rows = evenly(batch, lengths, most, room, count)
        if not rows:
            empty_rows: list[list[int]] = [[] for _ in range(count - len(tight_rows))]
            rows = tight_rows + empty_rows
        rows.sort(key=tokens, reverse=True)
        passes += rows[rank::ranks]
    return passes, accumulation


def best_fit(batch: list[int], lengths: list[int], most: int, room: int) -> list[list[int]]:
    """Lay conversations in few rows: longest first, each in the fullest row that still holds it."""
    rows: list[list[int]] = []
    loads: list[int] = []
    for index in by_length(batch, lengths):
        length = lengths[index]
        fullest = None
        for row, load in enumerate(loads):
            fits = len(rows[row]) < most and load + length <= room
            if fits and (fullest is None or load > loads[fullest]):
                fullest = row
        if fullest is None:
            rows.append([index])
            loads.append(length)
        else:
            rows[fullest].append(index)
            loads[fullest] += length
    return rows


def evenly(
    batch: list[int], lengths: list[int], most: int, room: int, count: int
) -> list[list[int]] | None:
    """Lay conversations in `count` rows of like size: longest first, each in the emptiest row.

    None if one conversation does not fit anywhere.
    """
    rows: list[list[int]] = [[] for _ in range(count)]
    loads = [0] * count
    for index in by_length(batch, lengths):
        free = [row for row in range(count) if len(rows[row]) < most]
        row = min(free, key=lambda row: loads[row], default=None)
        if row is None or (loads[row] and loads[row] + lengths[index] > room):
            return None
        rows[row].append(index)
        loads[row] += lengths[index]
    return rows


def by_length(batch: list[int], lengths: list[int]) -> list[int]:
    """Sort the batch by descending length; equal lengths in the order of their indices."""
    return sorted(batch, key=lambda index: (-lengths[index], index))
