"""A batch as the model reads and continues it: every beginning that prompts share is computed once,
nothing is padded.

torch is imported here.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from warmth.evaluation.answer.cache import cache_for, reserved, select_rows

SHARED = "shared"
UNLIKE = 256  # tokens by which rows of one call may differ: more is computed for nothing
GROUP = 16  # rows that attend to prompts in one call
STRIP = 32  # rows that attend to one more token in one call: few, to be of like length


@dataclass(frozen=True)
class Tree:
    """Prompts as a tree of tokens: one node for each beginning that any of them has."""

    tokens: list[int]  # of each node, the last of its beginning
    depths: list[int]  # of each node, how many tokens stand before it
    paths: list[list[int]]  # of each prompt, the nodes of its tokens
    own: list[int]  # of each prompt, how many of its last nodes are in no path before it


@dataclass(frozen=True)
class PrefillGroup:
    """Rows whose own tokens attend together; the longest of them sets how many queries each row
    has.
    """

    rows: Tensor  # (b,)
    queries: Tensor  # (b * N,) nodes; those in front of a row's own are computed for nothing
    mask: Tensor  # (b, 1, N, T) which keys a query sees, both counted from the end

    def to(self, device: torch.device, non_blocking: bool = False) -> PrefillGroup:
        """Return the group on another device."""
        return PrefillGroup(
            rows=self.rows.to(device, non_blocking=non_blocking),
            queries=self.queries.to(device, non_blocking=non_blocking),
            mask=self.mask.to(device, non_blocking=non_blocking),
        )


@dataclass(frozen=True)
class PrefillPlan:
    """How the nodes of a tree attend."""

    groups: tuple[PrefillGroup, ...]
    take: Tensor  # (nodes,) where each node's result stands among the groups', laid end to end
    copies: dict[torch.device, PrefillPlan] = field(default_factory=dict, compare=False, repr=False)

    def to(
        self, device: torch.device | int | str | None, non_blocking: bool = False
    ) -> PrefillPlan:
        """Return the plan on a device, copied there once; accelerate calls this for each layer of a
        split model.
        """
        target = self.take.device if device is None else torch.device(device)
        if target == self.take.device:
            return self
        if target not in self.copies:
            groups = tuple(group.to(target, non_blocking) for group in self.groups)
            self.copies[target] = PrefillPlan(
                groups, self.take.to(target, non_blocking=non_blocking)
            )
        return self.copies[target]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """(1, heads, nodes, D) queries, (B, key heads, T, D) keys → (1, nodes, heads, D)."""
        results = []
        many = query.shape[1] != key.shape[1]
        for group in self.groups:
            count, width = group.mask.shape[-2:]
            own_queries = (
                query[0].index_select(1, group.queries).unflatten(1, (-1, count)).transpose(0, 1)
            )
            keys = key[:, :, -width:].index_select(0, group.rows)
            values = value[:, :, -width:].index_select(0, group.rows)
            got = F.scaled_dot_product_attention(
                own_queries, keys, values, group.mask, scale=scaling, enable_gqa=many
            )
            results.append(got.transpose(1, 2).flatten(0, 1))
        return torch.cat(results).index_select(0, self.take)[None]


@dataclass(frozen=True)
class Strips:
    """How rows, longest first, attend with their newest token: a strip at a time, without the
    padding all of it has.
    """

    mask: Tensor  # (B, T) whether a row has a token there
    firsts: tuple[int, ...]  # of each strip of rows, the first column with a token
    copies: dict[torch.device, Strips] = field(default_factory=dict, compare=False, repr=False)

    def to(self, device: torch.device | int | str | None, non_blocking: bool = False) -> Strips:
        """Return the strips on a device, copied there once; accelerate calls this for each layer of
        a split model.
        """
        target = self.mask.device if device is None else torch.device(device)
        if target == self.mask.device:
            return self
        if target not in self.copies:
            self.copies[target] = Strips(
                self.mask.to(target, non_blocking=non_blocking), self.firsts
            )
        return self.copies[target]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """(B, heads, 1, D) queries, (B, key heads, T, D) keys → (B, 1, heads, D)."""
        # Heads that share a key are its queries.
        folded = query.unflatten(1, (key.shape[1], -1)).squeeze(3)
        results = []
        for number, first_column in enumerate(self.firsts):
            rows = slice(number * STRIP, (number + 1) * STRIP)
            strip_result = F.scaled_dot_product_attention(
                folded[rows],
                key[rows, :, first_column:],
                value[rows, :, first_column:],
                self.mask[rows, None, None, first_column:],
                scale=scaling,
            )
            results.append(strip_result)
        return torch.cat(results).flatten(1, 2)[:, None]


@dataclass(frozen=True)
class Ancestors:
    """Attention in which a node sees its own path."""

    seen: Tensor  # (N, N) bool, or (B, 1, N, T) after what the rows of a batch have read
    copies: dict[torch.device, Ancestors] = field(default_factory=dict, compare=False, repr=False)

    def to(self, device: torch.device | int | str | None, non_blocking: bool = False) -> Ancestors:
        """Return it on a device, copied there once; accelerate calls this for each layer of a split
        model.
        """
        target = self.seen.device if device is None else torch.device(device)
        if target == self.seen.device:
            return self
        if target not in self.copies:
            self.copies[target] = Ancestors(self.seen.to(target, non_blocking=non_blocking))
        return self.copies[target]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """(B, heads, N, D) queries, (B, key heads, T, D) keys → (B, N, heads, D)."""
        many = query.shape[1] != key.shape[1]
        result = F.scaled_dot_product_attention(
            query, key, value, self.seen, scale=scaling, enable_gqa=many
        )
        return result.transpose(1, 2)


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Count the tokens with which two rows begin alike."""
    length = 0
    for token, other_token in zip(first, second, strict=False):
        if token != other_token:
            break
        length += 1
    return length


def tree_of(rows: Sequence[Sequence[int]]) -> Tree:
    """Return the tree of prompts; in sorted order each shares with the one before it all that it
    shares with any before it.
    """
    tokens: list[int] = []
    depths: list[int] = []
    paths: list[list[int]] = [[]] * len(rows)
    own_counts = [0] * len(rows)
    before: Sequence[int] = ()
    path: list[int] = []
    for place in sorted(range(len(rows)), key=lambda place: (list(rows[place]), place)):
        row = rows[place]
        common = common_length(row, before)
        own_counts[place] = len(row) - common
        path = [*path[:common], *range(len(tokens), len(tokens) + own_counts[place])]
        tokens += row[common:]
        depths += range(common, len(row))
        paths[place], before = path, row
    return Tree(tokens, depths, paths, own_counts)


def with_last(tree: Tree, nodes: set[int]) -> Tree:
    """Number the nodes of a tree anew so that these are its last.

    A model then computes logits for so many last tokens. A tensor of places would be an index on
    the first device of a split model, into states on its last.
    """
    order = sorted(range(len(tree.tokens)), key=lambda node: (node in nodes, node))
    number_of = {node: number for number, node in enumerate(order)}
    return Tree(
        tokens=[tree.tokens[node] for node in order],
        depths=[tree.depths[node] for node in order],
        paths=[[number_of[node] for node in path] for path in tree.paths],
        own=tree.own,
    )


def like_rows(order: Sequence[int], own: Sequence[int]) -> Iterator[list[int]]:
    """Yield rows that attend in one call: few, and none much shorter than the first of its call.

    The first row of a batch has all that others share as its own. Were a long rubric one call with
    the short cases behind it, each case would be computed as if it were as long.

    Args:
        order: rows, those with most tokens of their own first.
        own: of each row, how many these are.
    """
    rows: list[int] = []
    for row in order:
        if rows and (len(rows) == GROUP or own[rows[0]] - own[row] > UNLIKE):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def plan_of(tree: Tree, device: torch.device) -> PrefillPlan:
    """Return the groups of rows with like many own tokens, and where their results are found."""
    with_own_tokens = [row for row, own_count in enumerate(tree.own) if own_count]
    order = sorted(with_own_tokens, key=lambda row: (-tree.own[row], row))
    groups, take, done = [], [0] * len(tree.tokens), 0
    for rows in like_rows(order, tree.own):
        count = tree.own[rows[0]]
        path_lengths = [len(tree.paths[row]) for row in rows]
        width = max(path_lengths)
        lengths = torch.tensor(path_lengths)
        keys, queries = torch.arange(width), torch.arange(width - count, width)
        seen = (keys <= queries[:, None]) & (keys >= (width - lengths)[:, None, None])
        seen |= keys == queries[:, None]  # a query before its row's first token must see something
        nodes = [([0] * count + tree.paths[row])[-count:] for row in rows]
        for position, row in enumerate(rows):
            for back in range(tree.own[row]):
                take[nodes[position][-1 - back]] = done + (position + 1) * count - 1 - back
        done += len(rows) * count
        groups.append(
            PrefillGroup(
                torch.tensor(rows).to(device),
                torch.tensor(nodes).flatten().to(device),
                seen[:, None].to(device),
            )
        )
    return PrefillPlan(tuple(groups), torch.tensor(take).to(device))


def shared_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    plan: PrefillPlan | Strips,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention as a plan has it; keys and values come from the cache, (B, key heads, T, head
    size), left-padded.
    """
    return plan.attend(query, key, value, scaling), None


AttentionInterface.register(SHARED, shared_attention)
AttentionMaskInterface.register(SHARED, lambda *_, **__: None)


@contextmanager
def shared(model: PreTrainedModel) -> Generator[None]:
    """While this is open, the model attends by plans."""
    usual, model.config._attn_implementation = model.config._attn_implementation, SHARED
    try:
        yield
    finally:
        model.config._attn_implementation = usual


class PrefillBatch:
    """Prompts of one batch as a model has read them, and their answers' tokens as they come."""

    def __init__(
        self, model: PreTrainedModel, rows: Sequence[Sequence[int]], pad: int, capacity: int
    ):
        """Nothing is read yet.

        Args:
            model: any causal language model; one whose attention is not all of the plain kind reads
            padded rows.
            rows: token ids of each prompt, longest first.
            pad: token id in front of shorter prompts where they are padded; its value does not
            matter, it is masked.
            capacity: most tokens of a row, its answer included.
        """
        self.model, self.rows, self.pad = model, rows, pad
        self.device = model.get_input_embeddings().weight.device
        self.width = self.seen = len(rows[0])
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        # (B, capacity)
        self.mask = torch.arange(capacity, device=self.device) >= self.width - lengths[:, None]
        self.positions = lengths[:, None]  # (B, 1) of the next token
        self.cache = cache_for(model.config, capacity)
        self.plain = reserved(self.cache) and model._supports_attention_backend

    def read(self) -> Tensor:
        """Logits (B, V) after each prompt."""
        if not self.plain:
            tokens = [[self.pad] * (self.width - len(row)) + list(row) for row in self.rows]
            mask = self.mask[:, : self.width].long()
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            return self._run(tokens, positions, attention_mask=mask, logits_to_keep=1)[:, -1]
        tree = tree_of(self.rows)
        tree = with_last(tree, {path[-1] for path in tree.paths})
        ends = []
        left_padded = []
        for path in tree.paths:
            ends.append(path[-1])
            left_padded.append([0] * (self.width - len(path)) + path)
        spread = torch.tensor(left_padded, device=self.device)
        for layer in self.cache.layers:
            layer.spread = spread
        end_count = len(set(ends))
        depths = torch.tensor([tree.depths], device=self.device)
        with shared(self.model):
            logits = self._run(
                [tree.tokens], depths, plan=plan_of(tree, self.device), logits_to_keep=end_count
            )[0]
        first_end = len(tree.tokens) - end_count
        return logits[torch.tensor(ends, device=logits.device) - first_end]

    def step(self, tokens: Tensor) -> Tensor:
        """Logits (B, V) after one more token of each row, (B,)."""
        self.seen += 1
        mask, positions = self.mask[:, : self.seen], self.positions
        self.positions = positions + 1
        if not self.plain:
            return self._run(tokens[:, None], positions, attention_mask=mask.long())[:, -1]
        firsts = tuple(self.width - len(row) for row in self.rows[::STRIP])
        with shared(self.model):
            return self._run(tokens[:, None], positions, plan=Strips(mask, firsts))[:, -1]

    def branch(
        self, tokens: Tensor, depths: Tensor, seen: Tensor, lengths: Sequence[int]
    ) -> Tensor:
        """Return logits (B, N, V) after tokens that branch off behind the first ones of each row.

        Args:
            tokens: (B, N), a tree of tokens for each row.
            depths: (B, N), how many tokens of the tree stand before each.
            seen: (B, N, N) bool, which tokens of the tree each sees.
            lengths: of each row, how many tokens after its prompt the tree stands behind; it sees
                none of those that were read since.
        """
        columns = torch.arange(self.seen, device=self.device)
        ends = torch.tensor(lengths, device=self.device)[:, None]
        before = self.mask[:, : self.seen] & (columns < self.width + ends)
        before = before[:, None].expand(-1, tokens.shape[1], -1)
        mask = torch.cat([before, seen.to(self.device)], -1)[:, None]
        rows = torch.tensor([len(row) for row in self.rows], device=self.device)[:, None]
        positions = rows + ends + depths.to(self.device)
        with shared(self.model):
            return self._run(tokens, positions, plan=Ancestors(mask))

    def keep(self, places: Sequence[int]) -> Tensor:
        """Let go of all rows but these, which are returned as a tensor."""
        row_numbers = torch.tensor(places, device=self.device)
        self.rows = [self.rows[position] for position in places]
        self.mask, self.positions = self.mask[row_numbers], self.positions[row_numbers]
        select_rows(self.cache, row_numbers)
        return row_numbers

    def _run(self, tokens: Any, positions: Tensor, **how: Any) -> Tensor:
        ids = torch.as_tensor(tokens, device=self.device)
        return self.model(
            input_ids=ids, position_ids=positions, past_key_values=self.cache, use_cache=True, **how
        ).logits
