"""Several conversations in one forward pass without padding and without seeing one another.

Conversations are laid end to end in one row; positions restart at each, and attention runs within
each. Flash attention does this natively from the same `cu_seq_lens_*` arguments; `segments` does it
with PyTorch's own kernel on any device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from warmth.chat import Encoded

SEGMENTS = "segments"
# kinds of layers that remember what stood before
STATES = ("mamba", "conv", "recurrent", "linear_attention", "hybrid")
SHORT = 512  # tokens up to which `short_attention` is faster (measured: docs/benchmarks.md)
BLOCK = 128  # queries that it takes at a time
CACHED = 16  # rows of logits that the loss takes at a time on a CPU: what its cache holds
FILLING = 1024  # the same on a GPU: what fills it
IGNORED = -100  # PyTorch's label that no loss counts


def carries_state(config: Any) -> bool:
    """Tell whether a network's config names layers that carry a state along a row.

    Recurrent layers and convolutions do.
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
    is_unusual = softcap is not None or s_aux is not None
    is_bfloat16_on_cpu = query.device.type == "cpu" and query.dtype == torch.bfloat16
    suits_short = is_bfloat16_on_cpu and not dropout and query.shape[-1] == value.shape[-1]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    # `split`, not slices: the gradient of each slice is a whole tensor of zeros that is filled and
    # added.
    segments = zip(
        query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True
    )
    outputs = []
    for q, k, v in segments:
        length = q.shape[2]
        window = sliding_window
        if window is not None and length <= window:
            window = None
        if is_unusual:
            output = unusual_attention(q, k, v, scale, dropout, window, softcap, s_aux)
        elif suits_short and length <= SHORT and window is None:
            output = short_attention(q, k, v, scale)
        else:
            mask = None if window is None else seen_keys(length, window, q.device)
            output = F.scaled_dot_product_attention(
                q,
                k,
                v,
                mask,
                dropout_p=dropout,
                is_causal=mask is None,
                scale=scale,
                enable_gqa=q.shape[1] != k.shape[1],
            )
        outputs.append(output)
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def seen_keys(length: int, window: int | None, device: torch.device) -> Tensor:
    """Return which keys each query sees: (length, length) booleans.

    A query sees keys that are not later than itself and within the window.
    """
    seen = torch.ones(length, length, dtype=torch.bool, device=device).tril_()
    if window is None:
        return seen
    return seen.triu_(1 - window)


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
    """Compute causal attention of one conversation with soft caps and sinks.

    PyTorch's own has neither. Shapes as in `segment_attention`; scores and their softmax are
    float32.
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
    """Compute causal attention of one short conversation by plain products.

    On a CPU in bfloat16 this is faster than the fused kernel. Shapes as in `segment_attention`.
    Scores and their softmax are float32; queries go in blocks, each against the keys up to its end,
    and heads that share a key in one product.
    """
    _, heads, length, size = query.shape
    groups = key.shape[1]
    keys = key[0].float()
    values = value[0]
    outputs = []
    start = 0
    for block in query[0].view(groups, heads // groups, length, size).split(BLOCK, 2):
        rows = block.shape[2]
        stop = start + rows
        hidden = torch.full((rows, stop), -torch.inf).triu_(start + 1)
        scores = torch.baddbmm(
            hidden.repeat(heads // groups, 1)[None],
            block.flatten(1, 2).float(),
            keys[:, :stop].transpose(1, 2),
            alpha=scale,
        )
        weights = scores.softmax(-1).to(value.dtype)
        outputs.append(torch.bmm(weights, values[:, :stop]).view(groups, -1, rows, size))
        start = stop
    return torch.cat(outputs, 2).view(1, heads, length, size)


AttentionInterface.register(SEGMENTS, segment_attention)
AttentionMaskInterface.register(SEGMENTS, lambda *_, **__: None)


def collator(pad_id: int, packed: bool = True) -> Callable[[Sequence[Encoded]], dict[str, Any]]:
    """Make a function that lays a list of conversations out as one forward pass.

    An empty list becomes one padding token. Without `packed` the list has one conversation at most,
    and the model's own attention gets what it always gets.
    """

    def collate(examples: Sequence[Encoded]) -> dict[str, Any]:
        """Pack conversations into one row.

        Returns:
            input_ids, position_ids (1, T); cu_seq_lens_q, cu_seq_lens_k (conversations + 1,) int32;
            max_length_q, max_length_k; segment_lengths, tokens of each on the host; logits_to_keep
            (S,) positions whose next token is trained; labels (1, 1 + S) a filler, then those
            tokens.
        """
        rows = [example.ids for example in examples] or [(pad_id,)]
        flags = [example.trained for example in examples] or [(False,)]
        lengths = list(map(len, rows))
        edges = torch.tensor(list(accumulate(lengths, initial=0)), dtype=torch.int32)
        ids = torch.tensor(list(chain.from_iterable(rows)))
        trained = torch.tensor(list(chain.from_iterable(flags)))
        trained[edges[:-1].long()] = False  # nothing predicts the first token of a conversation
        targets = trained.nonzero(as_tuple=True)[0]
        # The Trainer counts labels from the second on, as if they still had to be shifted.
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
    """Sums the cross-entropy of many rows over a vocabulary, without a float32 copy of all logits.

    The numbers are PyTorch's in float32. A few rows are taken at a time, which stay in the cache,
    and of the forward pass only each row's normaliser is stored.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the sum.

        Args:
            ctx: PyTorch's.
            logits: (S, vocabulary).
            targets: (S,) the right tokens.

        Returns:
            () in float32, in nats.
        """
        blocks = logits.split(rows_at_once(logits))
        normalisers = torch.cat([block.float().logsumexp(-1) for block in blocks])
        ctx.save_for_backward(logits, targets, normalisers)
        return (normalisers - logits.gather(-1, targets[:, None])[:, 0].float()).sum()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        """Return the gradient for the logits, in their dtype."""
        logits, targets, normalisers = ctx.saved_tensors
        grad = torch.empty_like(logits)
        count = rows_at_once(grad)
        for block, right, normaliser, out in zip(
            logits.split(count),
            targets.split(count),
            normalisers.split(count),
            grad.split(count),
            strict=True,
        ):
            share = (block.float() - normaliser[:, None]).exp_()
            share.scatter_add_(-1, right[:, None], share.new_full((len(right), 1), -1.0))
            out.copy_(share.mul_(outer[0]))
        return grad, None


def rows_at_once(logits: Tensor) -> int:
    """Choose how many rows of logits the loss takes at a time on this device."""
    return CACHED if logits.device.type == "cpu" else FILLING


def token_loss(
    outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """Compute the cross-entropy of a pass's trained tokens over the global batch's number of them.

    Logits come at the trained positions only (`logits_to_keep`), so nothing is computed for the
    others.

    Returns:
        () in nats per token.
    """
    targets = labels[:, 1:].flatten()
    total = SummedCrossEntropy.apply(outputs.logits.flatten(0, 1), targets)
    if num_items_in_batch is None:
        num_items_in_batch = max(targets.numel(), 1)
    return total / num_items_in_batch
