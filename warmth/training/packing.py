"""Several conversations in one forward pass without padding and without seeing one another.

Conversations are laid end to end in one row; positions restart at each, and attention runs within each. Flash attention
does this natively from the same `cu_seq_lens_*` arguments; `segments` does it with PyTorch's own kernel on any device.
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
IGNORED = -100  # PyTorch's label that no loss counts


def segment_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    cu_seq_lens_q: Tensor,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each conversation of a packed row.

    Args:
        module: the attention layer.
        query: (1, heads, T, head size).
        key: (1, key heads, T, head size); grouped heads are repeated.
        value: like `key`.
        attention_mask: None, always: there is no padding.
        cu_seq_lens_q: (conversations + 1,) boundaries in the row, from 0 to T.
        scaling: factor on the scores; None: 1 / sqrt(head size).
        dropout: on the attention weights.

    Returns:
        (1, T, heads, head size) and no weights.
    """
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    lengths = cu_seq_lens_q.diff().tolist()
    # split, not slices: the gradient of each slice is a whole tensor of zeros that is filled and added
    segments = zip(query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True)
    parts = [
        F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling)
        for q, k, v in segments
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


AttentionInterface.register(SEGMENTS, segment_attention)
AttentionMaskInterface.register(SEGMENTS, lambda *_, **__: None)


def collator(pad_id: int) -> Callable[[Sequence[Encoded]], dict[str, Tensor | int]]:
    """Makes one forward pass of a list of conversations (of one padding token when the list is empty)."""

    def collate(examples: Sequence[Encoded]) -> dict[str, Tensor | int]:
        """Packs conversations into one row.

        Returns:
            input_ids, position_ids (1, T); cu_seq_lens_q, cu_seq_lens_k (conversations + 1,) int32; max_length_q,
            max_length_k; logits_to_keep (S,) positions whose next token is trained; labels (1, 1 + S) a filler, then
            those tokens.
        """
        rows = [list(example.ids) for example in examples] or [[pad_id]]
        lengths = [len(row) for row in rows]
        edges = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
        ids = torch.tensor([token for row in rows for token in row])
        trained = torch.tensor([flag for example in examples for flag in example.trained] or [False])
        trained[edges[:-1].long()] = False  # nothing predicts the first token of a conversation
        targets = trained.nonzero(as_tuple=True)[0]
        return {
            "input_ids": ids[None],
            "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
            "cu_seq_lens_q": edges,
            "cu_seq_lens_k": edges,
            "max_length_q": max(lengths),
            "max_length_k": max(lengths),
            "logits_to_keep": targets - 1,
            # the Trainer counts labels from the second on, as if they still had to be shifted
            "labels": torch.cat([torch.tensor([IGNORED]), ids[targets]])[None],
        }

    return collate


def token_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Cross-entropy summed over the pass's trained tokens, divided by the global batch's: (), in nats per token.

    Logits come at the trained positions only (`logits_to_keep`), so nothing is computed for the others.
    """
    logits = outputs.logits.flatten(0, 1).float()
    targets = labels[:, 1:].flatten()
    total = F.cross_entropy(logits, targets, reduction="sum")
    return total / (num_items_in_batch if num_items_in_batch is not None else max(targets.numel(), 1))
