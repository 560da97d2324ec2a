"""Log-probabilities of texts after a few shared beginnings, each beginning computed once. torch is
imported here.

Rows (a beginning and what follows it) are batched by like length; what follows is read in slices
against the kept keys and values, so memory is bounded by `batch_tokens` however long a text is, and
logits exist only where read.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from warmth.evaluation.answer.cache import select_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAD = 0  # the id that the published code pads with, and scores
SLICE_TOKENS = 4096  # read in one pass of the model: bounds the logits, the largest tensor there is
CPU_TOKENS = 1024  # what is read at once there: a layer's states stay in the processor's cache


@dataclass(frozen=True)
class TokenRow:
    """`body`: ids after beginning number `start`; `padded`: PAD tokens that follow, unseen by
    others but scored.
    """

    start: int
    body: tuple[int, ...]
    padded: int = 0

    @property
    def width(self) -> int:
        """Tokens that are read and scored."""
        return len(self.body) + self.padded


@torch.inference_mode()
def token_log_probs(
    model: PreTrainedModel,
    starts: Sequence[Sequence[int]],
    rows: Sequence[TokenRow],
    batch_tokens: int,
) -> Iterator[tuple[int, list[float]]]:
    """Yield the log-probability, in nats, of every token of each row's body (and padding), given
    all before it.

    Args:
        model: any causal language model; it is read in evaluation mode.
        starts: the beginnings, one token or more each.
        rows: what follows them, one token or more each.
        batch_tokens: tokens read at once, padding included.

    Yields:
        position in `rows`, and `width` numbers; batch by batch, longest first.
    """
    # Keys and values of one batch must be equally long
    for length in sorted({len(ids) for ids in starts}):
        start_numbers = [number for number, ids in enumerate(starts) if len(ids) == length]
        start_cache, following = _read_starts(model, [starts[number] for number in start_numbers])
        row_numbers = [index for index, row in enumerate(rows) if row.start in start_numbers]
        for bucket in buckets([rows[index].width for index in row_numbers], batch_tokens):
            batch = [rows[row_numbers[position]] for position in bucket]
            places_of_starts = [start_numbers.index(row.start) for row in batch]
            values = _follow(model, start_cache, following, places_of_starts, length, batch)
            for position, row, line in zip(bucket, batch, values, strict=True):
                yield row_numbers[position], line[: row.width]


def _read_starts(model: PreTrainedModel, starts: Sequence[Sequence[int]]) -> tuple[Any, Tensor]:
    """Return keys and values of equally long beginnings, and the log-probabilities (S, V) of what
    comes next.
    """
    output = model(
        input_ids=torch.tensor(starts, device=device_of(model)), use_cache=True, logits_to_keep=1
    )
    return output.past_key_values, output.logits[:, -1].float().log_softmax(-1)


def _follow(
    model: PreTrainedModel,
    kept: Any,
    following: Tensor,
    which: Sequence[int],
    length: int,
    rows: Sequence[TokenRow],
) -> list[list[float]]:
    """(B, W) log-probabilities of a batch: the first tokens from the beginnings' logits, the others
    slice by slice.
    """
    width = max([row.width for row in rows])
    device = following.device
    bodies = [row.body for row in rows]
    tokens = padded(bodies, width, device)
    start_numbers = torch.tensor(which, device=device)
    mask = None
    # Scored padding is seen by nothing; other padding stands where nothing looks.
    if sum([row.padded for row in rows]):
        mask = seen_tokens([length + len(body) for body in bodies], length + width, device)
    cache = copy.deepcopy(kept)
    select_rows(cache, start_numbers)
    log_probs = [following[start_numbers].gather(-1, tokens[:, :1])]
    step = max(1, SLICE_TOKENS // len(rows))
    for begin in range(0, width - 1, step):
        end = min(begin + step, width - 1)
        positions = torch.arange(length + begin, length + end, device=device).expand(len(rows), -1)
        output = model(
            input_ids=tokens[:, begin:end],
            attention_mask=None if mask is None else mask[:, : length + end],
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        log_probs.append(picked(output.logits, tokens[:, begin + 1 : end + 1]))
    return torch.cat(log_probs, 1).tolist()


def padded(rows: Sequence[Sequence[int]], width: int, device: torch.device) -> Tensor:
    """Return (B, W) token ids, with PAD behind shorter rows."""
    tokens = torch.full((len(rows), width), PAD, dtype=torch.long)
    for number, ids in enumerate(rows):
        tokens[number, : len(ids)] = torch.tensor(ids, dtype=torch.long)
    return tokens.to(device)


def seen_tokens(lengths: Sequence[int], width: int, device: torch.device) -> Tensor:
    """Return a (B, W) mask: 1 for the first tokens of each row, 0 for its padding."""
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    return mask.long().to(device)


def picked(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return (B, W) log-probabilities of the tokens from (B, W, V) logits, in float32.

    Row by row: a float32 copy of a whole batch's logits is what would not fit. log_softmax, as the
    golden values have it: on this many tokens it is some 9e-6 off the exact value, alike for every
    speaker, so scores do not change.
    """
    losses = []
    for row_logits, row_tokens in zip(logits, tokens, strict=True):
        targets = row_tokens.to(row_logits.device)
        losses.append(F.cross_entropy(row_logits.float(), targets, reduction="none"))
    return -torch.stack(losses)


@torch.inference_mode()
def start_log_probs(model: PreTrainedModel, starts: Sequence[Sequence[int]]) -> list[float]:
    """Sum the log-probabilities of each beginning's own tokens, the first of which is not
    predicted.
    """
    width = max(map(len, starts))
    tokens = padded(starts, width, device_of(model))
    logits = model(input_ids=tokens, use_cache=False).logits
    sums = []
    for values, ids in zip(picked(logits[:, :-1], tokens[:, 1:]).tolist(), starts, strict=True):
        sums.append(sum(values[: len(ids) - 1]))  # padding is behind and unseen
    return sums


@torch.no_grad()
def set_loss(
    rows: Sequence[Sequence[int]], model: PreTrainedModel, passes: int = 1, batch_tokens: int = 4096
) -> float:
    """Return the mean loss over all positions of right-padded rows; padding (token 0) is scored
    like text, as published.

    With `passes` the mean over that many forward passes, several in one batch, for a model whose
    dropout is on.
    """
    width = max(map(len, rows))
    device = device_of(model)
    tokens = padded(rows, width, device)
    mask = seen_tokens(list(map(len, rows)), width, device)
    positions = torch.arange(width, device=device)
    at_once = max(1, batch_tokens // tokens.numel())
    total = 0.0
    for begin in range(0, passes, at_once):
        copies = min(at_once, passes - begin)
        many = tokens.repeat(copies, 1)
        logits = model(
            input_ids=many,
            attention_mask=mask.repeat(copies, 1),
            position_ids=positions.expand(len(many), -1),
            use_cache=False,
        ).logits
        total -= float(picked(logits[:, :-1], many[:, 1:]).double().mean()) * copies
    return total / passes


def has_dropout(model: PreTrainedModel) -> bool:
    """Tell whether training mode changes what the model says."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout) and module.p > 0:
            return True
    return float(getattr(model.config, "attention_dropout", 0.0) or 0.0) > 0


@contextmanager
def dropout_on(model: PreTrainedModel, seed: int) -> Generator[None]:
    """Training mode with dropout drawn from `seed`; mode and random state are as before
    afterwards.
    """
    device = device_of(model)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model.train()
        try:
            yield
        finally:
            model.eval()


def buckets(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Positions grouped by like length, longest first; a padded group holds at most `tokens`, or is
    a single one.
    """
    bucket: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if bucket and (len(bucket) + 1) * lengths[bucket[0]] > tokens:
            yield bucket
            bucket = []
        bucket.append(index)
    if bucket:
        yield bucket


def tokens_at_once(model: PreTrainedModel) -> int:
    """Return the `batch_tokens` that suits a model's device."""
    return CPU_TOKENS if device_of(model).type == "cpu" else SLICE_TOKENS


def device_of(model: PreTrainedModel) -> torch.device:
    """Return the device that token ids go to."""
    return model.get_input_embeddings().weight.device
