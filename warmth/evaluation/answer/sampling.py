"""Choose the next token of each row: the most likely one, or one drawn with the row's own random
numbers.

A random number depends on the seed of its answer and on its position in the answer, and on nothing
else (a counter-based generator). So an answer is the same whoever shares its batch, and numbers are
made where the logits are. torch is imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LOW = 0xFFFFFFFF  # the low 32 bits of an integer
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
BLOCK = 256  # tokens whose probabilities are added up before one of them is looked for
CPU_ROWS = 16  # rows that are drawn for at once on a CPU: their probabilities stay in its cache
# How many of the most likely tokens are looked at, until they hold a nucleus whole
NUCLEUS = (
    64,
    512,
    4096,
)


@dataclass(frozen=True)
class Sampler:
    """How the next token of each row is chosen.

    Another way of drawing needs another `engines.SAMPLER`.
    """

    temperature: float  # 0: greedy
    top_p: float  # in (0, 1]
    seeds: tuple[int, ...]  # one for each row; ignored when greedy

    def draws(self, rows: int, count: int, device: torch.device) -> Tensor:
        """Return the random numbers (rows, count) of `count` tokens in each row, uniform in [0, 1),
        float64.
        """
        if self.temperature == 0.0:
            return torch.zeros((rows, count), dtype=torch.float64, device=device)
        return uniform(self.seeds, count, device)

    def choose(self, logits: Tensor, draws: Tensor) -> Tensor:
        """Choose a token id (B,) for each row.

        Args:
            logits: (B, V), in any dtype.
            draws: (B,) uniform random numbers, ignored when greedy.
        """
        if self.temperature == 0.0:
            return index_of_largest(logits)
        rows = CPU_ROWS if logits.device.type == "cpu" else len(logits)
        slices = zip(logits.split(rows), draws.split(rows), strict=True)
        return torch.cat([self._draw(row_logits, row_draws) for row_logits, row_draws in slices])

    def _draw(self, logits: Tensor, draws: Tensor) -> Tensor:
        probabilities = (logits.float() / self.temperature).softmax(-1)
        if self.top_p < 1.0:
            return draw_from_nucleus(probabilities, self.top_p, draws)
        return invert(probabilities, draws)


def index_of_largest(logits: Tensor) -> Tensor:
    """Return where each row of (B, V) is largest, (B,); on a CPU `max` takes a fifth of the time of
    `argmax`.
    """
    return logits.max(-1).indices if logits.device.type == "cpu" else torch.argmax(logits, -1)


def uniform(seeds: Sequence[int], count: int, device: torch.device) -> Tensor:
    """Return `count` random numbers (seeds, count) for each seed, uniform in [0, 1), 53 bits each,
    float64.
    """
    low = torch.tensor([seed & LOW for seed in seeds], dtype=torch.int64, device=device)[:, None]
    high = torch.tensor([seed >> 32 & LOW for seed in seeds], dtype=torch.int64, device=device)[
        :, None
    ]
    position = torch.arange(count, dtype=torch.int64, device=device)[None]
    zero = torch.zeros_like(position)
    low_word, high_word, _, _ = philox((position, zero, zero, zero), (low, high))
    return ((low_word >> 5) * 2**26 + (high_word >> 6)).double() / 2**53


def philox(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute Philox4x32-10: four random words for each counter and key.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).

    Args:
        counter: four tensors of 32-bit words, held in int64.
        key: two such tensors; shapes broadcast.
    """
    word_0, word_1, word_2, word_3 = counter
    left_key, right_key = key
    for _ in range(ROUNDS):
        # an int64 product wraps around, but its 64 bits are those of the unsigned product
        first_product = word_0 * MULTIPLIERS[0]
        third_product = word_2 * MULTIPLIERS[1]
        word_0 = (third_product >> 32 & LOW) ^ word_1 ^ left_key
        word_2 = (first_product >> 32 & LOW) ^ word_3 ^ right_key
        word_1 = third_product & LOW
        word_3 = first_product & LOW
        left_key = left_key + KEY_STEPS[0] & LOW
        right_key = right_key + KEY_STEPS[1] & LOW
    return word_0, word_1, word_2, word_3


def invert(probabilities: Tensor, draws: Tensor) -> Tensor:
    """Find for each row the token at which its cumulative probability first exceeds its random
    number.

    Tokens are taken in the order of their ids. Sums over blocks come first, so that no long float32
    sum is made and only one block of each row is read again. A token of probability 0 is never
    returned.

    Args:
        probabilities: (B, V) float32; they need not add up to 1.
        draws: (B,) float64 in [0, 1).

    Returns:
        Token ids (B,).
    """
    rows, vocabulary = probabilities.shape
    blocked_size = vocabulary // BLOCK * BLOCK
    sums = probabilities[:, :blocked_size].unflatten(1, (-1, BLOCK)).sum(-1)
    if blocked_size < vocabulary:
        sums = torch.cat([sums, probabilities[:, blocked_size:].sum(-1, keepdim=True)], dim=1)
    block, share_in_block = first_above(sums, draws[:, None])
    token_ids = block * BLOCK + torch.arange(BLOCK, device=probabilities.device)
    inside = probabilities.gather(1, token_ids.clamp(max=vocabulary - 1))
    inside = inside.masked_fill(token_ids >= vocabulary, 0.0)
    within, _ = first_above(inside, share_in_block)
    return (block * BLOCK + within)[:, 0]


def first_above(weights: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Find the first place where the cumulative weight exceeds a share of the whole.

    Args:
        weights: (B, N), none negative.
        share: (B, 1) float64 in [0, 1).

    Returns:
        The place (B, 1), and the share (B, 1) of that place's own weight that is still to go, in
        [0, 1).
    """
    sums = weights.double().cumsum(-1)
    total = sums[:, -1:]
    target = torch.minimum(share * total, total.nextafter(torch.zeros_like(total)))
    index = torch.searchsorted(sums, target, right=True).clamp(max=weights.shape[-1] - 1)
    weight = weights.double().gather(1, index)
    before = sums.gather(1, index) - weight
    remaining_share = ((target - before) / weight).clamp(min=0.0, max=1.0)
    return index, remaining_share


def draw_from_nucleus(probabilities: Tensor, top_p: float, draws: Tensor) -> Tensor:
    """Draw a token of the nucleus of each row: of the most likely tokens that hold `top_p`
    together.

    Tokens that are as likely as the last of them belong to it. They are taken in the order of their
    ids, so that the draw is that of `invert` with all other probabilities set to 0. Few tokens are
    looked at first; rows whose nucleus they do not hold are looked at again with more.

    Args:
        probabilities: (B, V) float32.
        top_p: in (0, 1).
        draws: (B,) float64 in [0, 1).

    Returns:
        Token ids (B,).
    """
    vocabulary = probabilities.shape[-1]
    tokens = torch.empty(len(probabilities), dtype=torch.int64, device=probabilities.device)
    waiting = torch.arange(len(probabilities), device=probabilities.device)
    for count in (*(size for size in NUCLEUS if size < vocabulary), vocabulary):
        likely, ids = probabilities[waiting].topk(count)
        smallest, reached = smallest_inside(likely, top_p)
        if count < vocabulary:
            # Tokens as likely as the last may follow
            reached = reached & (smallest > likely[:, -1])
        else:
            reached = torch.ones_like(reached)
        ids, order = ids.sort()
        weights = likely.masked_fill(likely < smallest[:, None], 0.0).gather(1, order)
        rank, _ = first_above(weights, draws[waiting, None])
        tokens[waiting] = ids.gather(1, rank)[:, 0]  # of rows that wait on, only for now
        waiting = waiting[~reached]  # one wait for the device
        if not len(waiting):
            break
    return tokens


def smallest_inside(ordered: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Find the last probability that a nucleus needs.

    Args:
        ordered: (B, N) probabilities, largest first.
        top_p: what they are to hold together.

    Returns:
        The probability (B,), the last of all if they do not hold so much; and whether they do,
        (B,).
    """
    before = (ordered.double().cumsum(-1) < top_p).sum(-1)
    reached = before < ordered.shape[-1]
    index = before.clamp(max=ordered.shape[-1] - 1)
    return ordered.gather(1, index[:, None])[:, 0], reached
