"""Reading the prompts of a batch: every beginning that some of them share is computed once. torch is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from warmth.evaluation.cache import cache_for, reserved

SHARED = "shared"
GROUP = 16  # rows that attend in one call: few enough to be of like length, enough to fill it


@dataclass(frozen=True)
class Tree:
    """Prompts as a tree of tokens: one node for each beginning that any of them has."""

    tokens: list[int]  # of each node, the last of its beginning
    depths: list[int]  # of each node, how many tokens stand before it
    paths: list[list[int]]  # of each prompt, the nodes of its tokens
    own: list[int]  # of each prompt, how many of its last nodes are in no path before it


@dataclass(frozen=True)
class Group:
    """Rows whose own tokens attend together; the longest of them sets how many queries each row has."""

    rows: Tensor  # (b,)
    queries: Tensor  # (b * N,) nodes; those in front of a row's own are computed for nothing
    mask: Tensor  # (b, 1, N, T) which keys a query sees, both counted from the end


@dataclass(frozen=True)
class Plan:
    """How the nodes of a tree attend."""

    groups: tuple[Group, ...]
    take: Tensor  # (nodes,) where each node's result stands among the groups', laid end to end


def tree_of(rows: Sequence[Sequence[int]]) -> Tree:
    """The tree of prompts; in sorted order each shares with the one before it all that it shares with any before it."""
    tokens: list[int] = []
    depths: list[int] = []
    paths: list[list[int]] = [[]] * len(rows)
    own = [0] * len(rows)
    before: Sequence[int] = ()
    path: list[int] = []
    for place in sorted(range(len(rows)), key=lambda place: (list(rows[place]), place)):
        row = rows[place]
        limit = min(len(row), len(before))
        common = next((at for at in range(limit) if row[at] != before[at]), limit)
        own[place] = len(row) - common
        path = [*path[:common], *range(len(tokens), len(tokens) + own[place])]
        tokens += row[common:]
        depths += range(common, len(row))
        paths[place], before = path, row
    return Tree(tokens, depths, paths, own)


def plan_of(tree: Tree, device: torch.device) -> Plan:
    """The groups of rows with like many own tokens, and where their results are found."""
    order = sorted((row for row, own in enumerate(tree.own) if own), key=lambda row: (-tree.own[row], row))
    groups, take, done = [], [0] * len(tree.tokens), 0
    for start in range(0, len(order), GROUP):
        rows = order[start : start + GROUP]
        count, width = tree.own[rows[0]], max(len(tree.paths[row]) for row in rows)
        lengths = torch.tensor([len(tree.paths[row]) for row in rows])
        keys, queries = torch.arange(width), torch.arange(width - count, width)
        seen = (keys <= queries[:, None]) & (keys >= (width - lengths)[:, None, None])
        seen |= keys == queries[:, None]  # a query before its row's first token must see something
        nodes = [([0] * count + tree.paths[row])[-count:] for row in rows]
        for place, row in enumerate(rows):
            for back in range(tree.own[row]):
                take[nodes[place][-1 - back]] = done + (place + 1) * count - 1 - back
        done += len(rows) * count
        groups.append(
            Group(torch.tensor(rows).to(device), torch.tensor(nodes).flatten().to(device), seen[:, None].to(device))
        )
    return Plan(tuple(groups), torch.tensor(take).to(device))


def shared_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    plan: Plan,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each node to the nodes on its path.

    Args:
        module: the attention layer.
        query: (1, heads, nodes, head size).
        key: (B, key heads, T, head size), each row's path, left-padded: as the cache lays them out.
        value: like `key`.
        attention_mask: None, always: the plan has it.
        plan: which row attends for which node.
        scaling: factor on the scores; None: 1 / sqrt(head size).

    Returns:
        (1, nodes, heads, head size) and no weights.
    """
    parts = []
    for group in plan.groups:
        count, width = group.mask.shape[-2:]
        own = query[0].index_select(1, group.queries).unflatten(1, (-1, count)).transpose(0, 1)
        keys, values = (states[:, :, -width:].index_select(0, group.rows) for states in (key, value))
        many = query.shape[1] != key.shape[1]
        got = F.scaled_dot_product_attention(own, keys, values, group.mask, scale=scaling, enable_gqa=many)
        parts.append(got.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts).index_select(0, plan.take)[None], None


AttentionInterface.register(SHARED, shared_attention)
AttentionMaskInterface.register(SHARED, lambda *_, **__: None)


def read_prompts(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], pad: int, capacity: int
) -> tuple[Tensor, Any, Tensor]:
    """Reads a batch of prompts.

    Args:
        model: any causal language model; one whose attention is not all of the plain kind reads padded rows.
        rows: token ids of each prompt.
        pad: token id in front of shorter prompts where they are padded; its value does not matter, it is masked.
        capacity: most tokens of a row, answers included.

    Returns:
        Logits (B, V) after each prompt; the cache of left-padded rows; its mask (B, capacity), answers' own included.
    """
    width, device = max(map(len, rows)), model.get_input_embeddings().weight.device
    mask = torch.tensor([[0] * (width - len(row)) + [1] * (capacity - width + len(row)) for row in rows], device=device)
    cache = cache_for(model.config, capacity)
    if not (reserved(cache) and model._supports_attention_backend):
        tokens = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=device)
        positions = (mask[:, :width].cumsum(-1) - 1).clamp(min=0)
        logits = model(input_ids=tokens, attention_mask=mask[:, :width], position_ids=positions, past_key_values=cache,
                       use_cache=True, logits_to_keep=1).logits[:, -1]  # fmt: skip
        return logits, cache, mask
    tree = tree_of(rows)
    spread = torch.tensor([[0] * (width - len(path)) + path for path in tree.paths], device=device)
    for layer in cache.layers:
        layer.spread = spread
    usual, model.config._attn_implementation = model.config._attn_implementation, SHARED
    try:
        logits = model(
            input_ids=torch.tensor([tree.tokens], device=device),
            position_ids=torch.tensor([tree.depths], device=device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=torch.tensor([path[-1] for path in tree.paths], device=device),
            plan=plan_of(tree, device),
        ).logits[0]
    finally:
        model.config._attn_implementation = usual
    return logits, cache, mask
