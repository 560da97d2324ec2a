"""A judge in this process: any causal language model, held to its schema by choosing among what the
schema allows.

The reason is written greedily up to its closing quote. Then every way to fill the other fields is
weighed by its log-likelihood, all in one pass, and they are settled one by one: the likeliest value
of the first, then of the next after it. So every reply is a verdict, and the temperature is 0.

Some cases are read at a time, and the rubric that they share once for all of them. For thousands of
grades start a server (vLLM, SGLang) and name it in `base_url`.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import torch
from pydantic import BaseModel
from torch import Tensor

from warmth import loaded
from warmth.api import Call, Reply
from warmth.api.calls import Usage
from warmth.chat import prompt_ids
from warmth.entries import named_model
from warmth.evaluation.answer.decoding import tokenizer_of
from warmth.evaluation.answer.prefill import PrefillBatch
from warmth.evaluation.answer.weighing import Weighing, reply_log_probs, values_after
from warmth.precision import dtype_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CASES = 8  # read at a time
REASON_TOKENS = 40  # most tokens of the one sentence; what goes on longer is closed there


@dataclass
class Written:
    """A reason as it is written."""

    ids: list[int] = field(default_factory=list)
    ending: str = ""  # what the token that closed it holds before the quote
    following: Tensor | None = None  # (V,) logits after `ids`; None while it is written


def _loaded(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    judge = named_model(name, "grader model")
    return loaded.load_once(judge, getattr(torch, dtype_of(judge)), "judges"), tokenizer_of(judge)


def complete(name: str, calls: Iterable[Call]) -> Iterator[Reply]:
    """Yield one reply to each call, as its cases are judged.

    A prompt longer than the model can read fails as `too_long`.

    Args:
        name: a model entry, a hub id or a folder.
        calls: all of one schema: a text first and then fields of few values (Literal, bool, None).

    Raises:
        UserError: there is no such model.
    """
    model, tokenizer = _loaded(name)
    numbered_calls = enumerate(calls)
    while batch := list(islice(numbered_calls, CASES)):
        readable: list[tuple[int, list[int]]] = []
        for index, call in batch:
            ids = prompt_ids(tokenizer, call.messages)
            if len(ids) + call.max_tokens > model.config.max_position_embeddings:
                yield Reply(index, "", "", None, "", "too_long")
            else:
                readable.append((index, ids))
        if not readable:
            continue
        first_call = batch[0][1]
        assert first_call.schema is not None
        limit = min(first_call.max_tokens, REASON_TOKENS)
        prompts = [ids for _, ids in readable]
        texts = likeliest_verdicts(model, tokenizer, prompts, first_call.schema, limit)
        for (index, ids), text in zip(readable, texts, strict=True):
            usage = Usage(len(ids), 0, len(tokenizer(text, add_special_tokens=False).input_ids))
            verdict = first_call.schema.model_validate_json(text)
            yield Reply(index, "", text, verdict, "stop", "", usage)


@torch.inference_mode()
def likeliest_verdicts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    schema: type[BaseModel],
    limit: int,
) -> list[str]:
    """Return the JSON of each prompt's verdict, its reason of at most `limit` tokens."""
    reason_field = next(iter(schema.model_fields))
    opening = tokenizer(f'{{"{reason_field}": "', add_special_tokens=False).input_ids
    starts = [[*prompt, *opening] for prompt in prompts]
    order = sorted(range(len(starts)), key=lambda row: -len(starts[row]))
    rows = [starts[row] for row in order]
    # Room for the fields: what the token that closes a reason holds before the quote adds a little,
    # and all ways to fill them share their beginnings, which is much more.
    room = sum(map(len, field_ids(tokenizer, schema, ".").values()))
    batch = PrefillBatch(model, rows, tokenizer.pad_token_id or 0, len(rows[0]) + limit + room)
    reasons = write_reasons(batch, tokenizer, limit)
    replies = [field_ids(tokenizer, schema, reason.ending) for reason in reasons]
    weighed = weigh_fields(batch, rows, reasons, [list(ids.values()) for ids in replies])
    texts = [""] * len(rows)
    for row, reason, fields, values in zip(order, reasons, replies, weighed, strict=True):
        likelihoods = dict(zip(fields, values, strict=True))
        text = tokenizer.decode(reason.ids, skip_special_tokens=True) + reason.ending
        texts[row] = json_of(schema, text.strip(), likeliest(schema, likelihoods))
    return texts


def write_reasons(
    batch: PrefillBatch, tokenizer: PreTrainedTokenizerBase, limit: int
) -> list[Written]:
    """Write the reason of each row greedily, up to a quote, a line's or the turn's end."""
    reasons = [Written() for _ in batch.rows]
    special = frozenset(tokenizer.all_special_ids)
    logits = batch.read()
    for length in range(limit + 1):
        tokens = logits.argmax(-1)
        for row, token in enumerate(tokens.tolist()):
            reason = reasons[row]
            if reason.following is not None:
                continue
            text = tokenizer.decode([token])
            is_closed = '"' in text or "\n" in text or token in special
            if is_closed and token not in special:
                reason.ending = text.partition('"')[0].partition("\n")[0]
            if is_closed or length == limit:
                reason.following = logits[row]
            else:
                reason.ids.append(token)
        if all(reason.following is not None for reason in reasons):
            break
        logits = batch.step(tokens)
    return reasons


def weigh_fields(
    batch: PrefillBatch,
    rows: Sequence[Sequence[int]],
    reasons: Sequence[Written],
    replies: Sequence[Sequence[tuple[int, ...]]],
) -> list[list[float]]:
    """Weigh each row's ways to go on after its reason, in nats; in one pass if the model reads
    trees.
    """
    if batch.plain:
        lengths = [len(reason.ids) for reason in reasons]
        following = torch.stack([reason.following for reason in reasons])
        return values_after(batch, lengths, following, replies)
    weighings = []
    for row, reason, row_replies in zip(rows, reasons, replies, strict=True):
        weighings.append(Weighing((*row, *reason.ids), tuple(row_replies)))
    values: dict[int, list[float]] = {}
    for weighed in reply_log_probs(batch.model, weighings):
        values |= weighed
    return [values[row] for row in range(len(weighings))]


def field_ids(
    tokenizer: PreTrainedTokenizerBase, schema: type[BaseModel], ending: str
) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Return the tokens that close a reason and fill the fields after it, for every way to do so.

    Keys hold the values as JSON: of the first field, of the first and the second, and so on.
    """
    fields = list(schema.model_fields)[1:]
    texts: dict[tuple[str, ...], str] = {(): f'{ending}"'}
    ids: dict[tuple[str, ...], tuple[int, ...]] = {}
    for name in fields:
        longer_texts = {}
        for values, text in texts.items():
            for value in values_of(schema, name):
                written = json.dumps(value)
                longer_texts[*values, written] = f'{text}, "{name}": {written}'
        texts = longer_texts
        closing = "}" if name == fields[-1] else ","
        for values, text in texts.items():
            ids[values] = tuple(tokenizer(text + closing, add_special_tokens=False).input_ids)
    return ids


def likeliest(
    schema: type[BaseModel], likelihoods: Mapping[tuple[str, ...], float]
) -> tuple[str, ...]:
    """Choose the likeliest value of the first field, then of the next after it, as JSON."""
    settled: tuple[str, ...] = ()
    for name in list(schema.model_fields)[1:]:
        ways = [(*settled, json.dumps(value)) for value in values_of(schema, name)]
        settled = max(ways, key=lambda way: likelihoods[way])
    return settled


def json_of(schema: type[BaseModel], reason: str, values: Sequence[str]) -> str:
    """Return a verdict as JSON."""
    written = [json.dumps(reason, ensure_ascii=False), *values]
    pairs = zip(schema.model_fields, written, strict=True)
    return "{" + ", ".join(f'"{name}": {value}' for name, value in pairs) + "}"


def values_of(schema: type[BaseModel], name: str) -> list[Any]:
    """Return what a field may hold: the members of a Literal, true and false, null if it is
    optional.
    """
    kind = schema.model_fields[name].annotation
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    values: list[Any] = []
    for member in kinds:
        if get_origin(member) is Literal:
            values += get_args(member)
        elif member is bool:
            values += [True, False]
        elif member is type(None):
            values.append(None)
    return values
