"""Log-probabilities of replies after prompts: every beginning that prompts and replies share is
read once.

Prompts with their replies are one tree of tokens. The model reads its nodes in one pass, each
seeing its own path alone, and gives logits only where a reply's token is predicted; the last token
of a reply is predicted, never read. torch is imported here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from warmth.evaluation.answer.cache import cache_for, reserved
from warmth.evaluation.answer.likelihood import device_of, padded, seen_tokens
from warmth.evaluation.answer.prefill import (
    Ancestors,
    PrefillBatch,
    Tree,
    common_length,
    shared,
    tree_of,
    with_last,
)
from warmth.evaluation.progress import note_progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CPU_NODES = 512  # read in one pass there: attention over a tree costs the square of its nodes
GPU_NODES = 4096


@dataclass(frozen=True)
class Weighing:
    """A prompt and the replies that are weighed after it, as token ids; no reply is empty."""

    ids: tuple[int, ...]
    replies: tuple[tuple[int, ...], ...]


def reply_log_probs(
    model: PreTrainedModel, weighings: Sequence[Weighing], nodes: int | None = None
) -> Iterator[dict[int, list[float]]]:
    """Sum the log-probabilities of each reply's tokens after its prompt, in nats and float32.

    Args:
        model: any causal language model; one whose attention is not all of the plain kind reads
        padded rows.
        weighings: what is weighed, in any order; a value depends on no other but by rounding.
        nodes: how many tokens are read in one pass; None: what suits the model's device.

    Yields:
        by position in `weighings`, a sum for each of its replies; pass by pass.
    """
    note_progress(0, 0)  # the model is loaded, the work begins
    nodes = nodes or nodes_at_once(model)
    plain = reads_trees(model)
    for indices in parts(weighings, nodes, shared_beginnings=plain):
        pass_weighings = [weighings[index] for index in indices]
        values = (
            tree_values(model, pass_weighings) if plain else padded_values(model, pass_weighings)
        )
        yield dict(zip(indices, values, strict=True))


def nodes_at_once(model: PreTrainedModel) -> int:
    """Return how many tokens suit one pass on the model's device."""
    return CPU_NODES if device_of(model).type == "cpu" else GPU_NODES


def reads_trees(model: PreTrainedModel) -> bool:
    """Tell whether every layer of a model attends to all that stands before, as a tree needs."""
    return bool(model._supports_attention_backend) and reserved(cache_for(model.config, 1))


def parts(
    weighings: Sequence[Weighing], nodes: int, shared_beginnings: bool = True
) -> Iterator[list[int]]:
    """Group positions of weighings that begin alike, so many that a group has at most `nodes`
    tokens, or is one.
    """
    indices: list[int] = []
    total = 0
    before: tuple[int, ...] = ()
    for index in sorted(range(len(weighings)), key=lambda index: (weighings[index].ids, index)):
        ids = weighings[index].ids
        replies = sum(len(reply) - 1 for reply in weighings[index].replies)
        new = (
            len(ids) - common_length(ids, before)
            if shared_beginnings
            else len(ids) * len(weighings[index].replies)
        )
        if indices and total + new + replies > nodes:
            yield indices
            indices = []
            total = 0
            new = len(ids) if shared_beginnings else new
        indices.append(index)
        total += new + replies
        before = ids
    if indices:
        yield indices


@torch.inference_mode()
def tree_values(model: PreTrainedModel, weighings: Sequence[Weighing]) -> list[list[float]]:
    """Read weighings as one tree and return the sum of each reply's log-probabilities."""
    pairs = each_reply(weighings)
    tree = tree_of([(*ids, *reply[:-1]) for ids, reply in pairs])
    device = device_of(model)
    read: set[int] = set()  # the nodes whose logits are needed
    for path, (ids, _) in zip(tree.paths, pairs, strict=True):
        read.update(path[len(ids) - 1 :])
    tree = with_last(tree, read)
    first_read = len(tree.tokens) - len(read)
    logit_rows: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for number, (path, (ids, reply)) in enumerate(zip(tree.paths, pairs, strict=True)):
        for node, token in zip(path[len(ids) - 1 :], reply, strict=True):
            logit_rows.append(node - first_read)
            targets.append(token)
            owners.append(number)
    with shared(model):
        logits = model(
            input_ids=torch.tensor([tree.tokens], device=device),
            position_ids=torch.tensor([tree.depths], device=device),
            plan=Ancestors(ancestors(tree).to(device)),
            use_cache=False,
            logits_to_keep=len(read),
        ).logits[0]
    gained = log_probs(logits, logit_rows, targets)
    sums = torch.zeros(len(pairs), dtype=torch.float64)
    sums.index_add_(0, torch.tensor(owners), gained.double().cpu())
    return values_by_weighing(sums.tolist(), weighings)


@torch.inference_mode()
def values_after(
    batch: PrefillBatch,
    lengths: Sequence[int],
    following: Tensor,
    replies: Sequence[Sequence[Sequence[int]]],
) -> list[list[float]]:
    """Sum the log-probabilities of replies after what a batch has read, in one pass and in nats.

    Args:
        batch: of a model that reads trees; afterwards it can be used for nothing else.
        lengths: of each row, how many of the tokens read after its prompt count; those behind them
            are not seen.
        following: (B, V) logits after these tokens.
        replies: of each row; a first token is predicted by `following`.
    """
    trees = []
    count = 0
    for row_replies in replies:
        tree = tree_of([reply[:-1] for reply in row_replies])
        trees.append(tree)
        count = max(count, len(tree.tokens))
    tokens = torch.zeros((len(trees), count), dtype=torch.long)
    depths = torch.zeros((len(trees), count), dtype=torch.long)
    seen = torch.zeros((len(trees), count, count), dtype=torch.bool)
    for row, tree in enumerate(trees):
        size = len(tree.tokens)
        tokens[row, :size] = torch.tensor(tree.tokens)
        depths[row, :size] = torch.tensor(tree.depths)
        seen[row, :size, :size] = ancestors(tree)
    logits = batch.branch(tokens, depths, seen, lengths)  # (B, N, V)
    values = []
    for row, (tree, row_replies) in enumerate(zip(trees, replies, strict=True)):
        logprobs = torch.cat([following[row][None], logits[row]]).float().log_softmax(-1)
        sums = []
        for path, reply in zip(tree.paths, row_replies, strict=True):
            logit_rows = [0, *(node + 1 for node in path)]
            sums.append(float(logprobs[logit_rows, list(reply)].double().sum()))
        values.append(sums)
    return values


def each_reply(weighings: Sequence[Weighing]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return every reply with the ids of its prompt before it."""
    pairs = []
    for weighing in weighings:
        for reply in weighing.replies:
            pairs.append((weighing.ids, reply))
    return pairs


def values_by_weighing(values: Sequence[float], weighings: Sequence[Weighing]) -> list[list[float]]:
    """Hand a value for every reply back to its weighing."""
    remaining = iter(values)
    return [list(islice(remaining, len(weighing.replies))) for weighing in weighings]


def ancestors(tree: Tree) -> Tensor:
    """(N, N) bool: which nodes stand on each node's path, itself included."""
    count = len(tree.tokens)
    seen = torch.eye(count, dtype=torch.bool)
    done = [False] * count
    for path in tree.paths:
        for depth, node in enumerate(path):
            if depth and not done[node]:
                seen[node] |= seen[path[depth - 1]]
            done[node] = True
    return seen


def log_probs(logits: Tensor, places: Sequence[int], targets: Sequence[int]) -> Tensor:
    """Return the log-probability of `targets[i]` by row `places[i]` of (R, V) logits, in
    float32.
    """
    logits = logits.float()
    rows = torch.tensor(places, device=logits.device)
    tokens = torch.tensor(targets, device=logits.device)
    return logits[rows, tokens] - logits.logsumexp(-1)[rows]


@torch.inference_mode()
def padded_values(model: PreTrainedModel, weighings: Sequence[Weighing]) -> list[list[float]]:
    """Read every prompt with every reply as a row of its own, padded on the right, where a tree
    cannot be read.
    """
    pairs = each_reply(weighings)
    rows = [[*ids, *reply] for ids, reply in pairs]
    lengths = list(map(len, rows))
    device = device_of(model)
    tokens = padded(rows, max(lengths), device)
    mask = seen_tokens(lengths, max(lengths), device)
    output: Any = model(input_ids=tokens, attention_mask=mask, use_cache=False)
    sums = []
    for row, (ids, reply) in enumerate(pairs):
        start = len(ids) - 1
        logits = output.logits[row, start : start + len(reply)]
        gained = log_probs(logits, range(len(reply)), reply)
        sums.append(float(gained.double().sum()))
    return values_by_weighing(sums, weighings)
