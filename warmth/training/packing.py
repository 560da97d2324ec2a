"""Several conversations in one forward pass without padding and without seeing one another.

Conversations are laid end to end in one row; positions restart at each, and attention runs within
each. Flash attention does this natively from the same `cu_seq_lens_*` arguments; `segments` does it
with PyTorch's own kernel on any device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from warmth.chat import Encoded

SEGMENTS = "segments"
STATES = (
    "mamba",
    "conv",
    "recurrent",
    "linear_attention",
    "hybrid",
)  # kinds of layers that remember what stood before
SHORT, BLOCK = (
    512,
    128,
)  # tokens: what `short_attention` is faster at (measured: docs/benchmarks.md), and its blocks
CACHED, FILLING = (
    16,
    1024,
)  # rows of logits that the loss takes at a time: what a CPU's cache holds, what fills a GPU
IGNORED = -100  # PyTorch's label that no loss counts


def carries_state(config: Any) -> bool:
    """Say whether a network's config names layers that carry a state along a row: recurrent ones
    and convolutions.
    """
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return any(state in kind for kind in kinds for state in STATES)
    return any(name.startswith("mamba_") for name in getattr(config, "__dict__", {}))


def segment_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    cu_seq_lens_q: Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    segment_lengths: Sequence[int] | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Compute causal attention within each conversation of a packed row.

    What a model hands over beside these is ignored here, so `architecture.py` compares each model
    with its own attention before it is trained like this.

    Args:
        module: the attention layer.
        query: (1, heads, T, head size).
        key: (1, key heads, T, head size); grouped heads are repeated.
        value: like `key`.
        attention_mask: None, always: there is no padding.
        cu_seq_lens_q: (conversations + 1,) boundaries in the row, from 0 to T.
        scaling: factor on the scores; None: 1 / sqrt(head size).
        dropout: on the attention weights.
        sliding_window: most keys that a query sees, its own included; None: all before it.
        softcap: bound that scores approach; None: none.
        s_aux: (heads,) score of each head's sink, which takes weight and gives nothing; None: no
        sinks.
        segment_lengths: tokens of each conversation, as the host knows them; None: read from
            `cu_seq_lens_q`, for which the host has to wait until the device has caught up, in every
            layer.

    Returns:
        (1, T, heads, head size) and no weights.

    Raises:
        ValueError: several conversations are packed for a network whose other layers see across
        them.
    """
    lengths = cu_seq_lens_q.diff().tolist() if segment_lengths is None else list(segment_lengths)
    if len(lengths) > 1 and carries_state(getattr(module, "config", None)):
        raise ValueError(
            "other layers of this network carry a state from one conversation of a row to the next"
        )
    unusual = softcap is not None or s_aux is not None
    plain = query.device.type == "cpu" and query.dtype == torch.bfloat16 and not dropout
    plain = plain and query.shape[-1] == value.shape[-1]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    # split, not slices: the gradient of each slice is a whole tensor of zeros that is filled and
    # added
    segments = zip(
        query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True
    )
    parts = []
    for q, k, v in segments:
        length = q.shape[2]
        window = sliding_window if sliding_window is not None and length > sliding_window else None
        if unusual:
            parts.append(unusual_attention(q, k, v, scale, dropout, window, softcap, s_aux))
        elif plain and length <= SHORT and window is None:
            parts.append(short_attention(q, k, v, scale))
        else:
            seen = None if window is None else seen_keys(length, window, q.device)
            grouped = q.shape[1] != k.shape[1]
            parts.append(
                F.scaled_dot_product_attention(
                    q,
                    k,
                    v,
                    seen,
                    dropout_p=dropout,
                    is_causal=seen is None,
                    scale=scale,
                    enable_gqa=grouped,
                )
            )
    return torch.cat(parts, dim=2).transpose(1, 2), None


def seen_keys(length: int, window: int | None, device: torch.device) -> Tensor:
    """Say which keys each query sees: (length, length) booleans, True if the key is not later and
    within the window.
    """
    seen = torch.ones(length, length, dtype=torch.bool, device=device).tril_()
    return seen if window is None else seen.triu_(1 - window)


def unusual_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    dropout: float,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """Compute causal attention of one conversation with what PyTorch's own does not have: soft caps
    and sinks.

    Shapes as in `segment_attention`; scores and their softmax are float32.
    """
    repeats = query.shape[1] // key.shape[1]
    keys = key.repeat_interleave(repeats, dim=1)
    values = value.repeat_interleave(repeats, dim=1)
    scores = (query @ keys.transpose(2, 3)).float() * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~seen_keys(query.shape[2], window, query.device), -torch.inf)
    if sinks is not None:
        column = sinks.float().view(1, -1, 1, 1).expand(1, -1, query.shape[2], 1)
        weights = torch.cat([scores, column], dim=-1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    return F.dropout(weights, dropout).to(values.dtype) @ values


@torch.autocast("cpu", enabled=False)  # which would do the product of the scores in bfloat16
def short_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Causal attention of one short conversation by plain products: faster than the fused one in
    bfloat16 on a CPU.

    Shapes as in `segment_attention`. Scores and their softmax are float32; queries go in blocks,
    each against the keys up to its end, and heads that share a key in one product.
    """
    _, heads, length, size = query.shape
    groups = key.shape[1]
    keys, values = key[0].float(), value[0]
    parts = []
    for block in query[0].view(groups, heads // groups, length, size).split(BLOCK, 2):
        start, rows = sum(part.shape[2] for part in parts), block.shape[2]
        stop = start + rows
        hidden = (
            torch.full((rows, stop), -torch.inf).triu_(start + 1).repeat(heads // groups, 1)[None]
        )
        scores = torch.baddbmm(
            hidden, block.flatten(1, 2).float(), keys[:, :stop].transpose(1, 2), alpha=scale
        )
        weights = scores.softmax(-1).to(value.dtype)
        parts.append(torch.bmm(weights, values[:, :stop]).view(groups, -1, rows, size))
    return torch.cat(parts, 2).view(1, heads, length, size)


AttentionInterface.register(SEGMENTS, segment_attention)
AttentionMaskInterface.register(SEGMENTS, lambda *_, **__: None)


def collator(pad_id: int, packed: bool = True) -> Callable[[Sequence[Encoded]], dict[str, Any]]:
    """Make one forward pass of a list of conversations (of one padding token if the list is empty).

    Without `packed` the list has one conversation at most, and the model's own attention gets what
    it always gets.
    """

    def collate(examples: Sequence[Encoded]) -> dict[str, Any]:
        """Packs conversations into one row.

        Returns:
            input_ids, position_ids (1, T); cu_seq_lens_q, cu_seq_lens_k (conversations + 1,) int32;
            max_length_q, max_length_k; segment_lengths, tokens of each on the host; logits_to_keep
            (S,) positions whose next token is trained; labels (1, 1 + S) a filler, then those
            tokens.
        """
        rows = [list(example.ids) for example in examples] or [[pad_id]]
        lengths = [len(row) for row in rows]
        edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
        ids = torch.tensor([token for row in rows for token in row])
        trained = torch.tensor(
            [flag for example in examples for flag in example.trained] or [False]
        )
        trained[edges[:-1].long()] = False  # nothing predicts the first token of a conversation
        targets = trained.nonzero(as_tuple=True)[0]
        # the Trainer counts labels from the second on, as if they still had to be shifted
        labels = torch.cat([torch.tensor([IGNORED]), ids[targets]])[None]
        if not packed:
            return {"input_ids": ids[None], "logits_to_keep": targets - 1, "labels": labels}
        return {
            "input_ids": ids[None],
            "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
            "cu_seq_lens_q": edges,
            "cu_seq_lens_k": edges,
            "max_length_q": max(lengths),
            "max_length_k": max(lengths),
            "segment_lengths": tuple(lengths),
            "logits_to_keep": targets - 1,
            "labels": labels,
        }

    return collate


class SummedCrossEntropy(torch.autograd.Function):
    """Cross-entropy of many rows over a vocabulary, summed, without a float32 copy of all logits or
    of their softmax.

    The same numbers as PyTorch's in float32: a few rows at a time, which stay in the cache, and of
    the forward pass only each row's normaliser is kept.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        """Computes the sum.

        Args:
            ctx: PyTorch's.
            logits: (S, vocabulary).
            targets: (S,) the right tokens.

        Returns:
            () in float32, in nats.
        """
        total = torch.cat(
            [part.float().logsumexp(-1) for part in logits.split(rows_at_once(logits))]
        )
        ctx.save_for_backward(logits, targets, total)
        return (total - logits.gather(-1, targets[:, None])[:, 0].float()).sum()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        """Return the gradient for the logits, in their dtype."""
        logits, targets, total = ctx.saved_tensors
        grad = torch.empty_like(logits)
        parts = (tensor.split(rows_at_once(grad)) for tensor in (logits, targets, total, grad))
        for part, right, normaliser, out in zip(*parts, strict=True):
            share = (part.float() - normaliser[:, None]).exp_()
            share.scatter_add_(-1, right[:, None], share.new_full((len(right), 1), -1.0))
            out.copy_(share.mul_(outer[0]))
        return grad, None


def rows_at_once(logits: Tensor) -> int:
    """Choose how many rows of logits the loss takes at a time on this device."""
    return CACHED if logits.device.type == "cpu" else FILLING


def token_loss(
    outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """Cross-entropy summed over the pass's trained tokens, divided by the global batch's: (), in
    nats per token.

    Logits come at the trained positions only (`logits_to_keep`), so nothing is computed for the
    others.
    """
    targets = labels[:, 1:].flatten()
    total = SummedCrossEntropy.apply(outputs.logits.flatten(0, 1), targets)
    return total / (
        num_items_in_batch if num_items_in_batch is not None else max(targets.numel(), 1)
    )
