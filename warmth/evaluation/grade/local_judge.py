"""A judge in this process: any causal language model, held to its schema by choosing among what the
schema allows.

The reason is written greedily up to its closing quote; then, field by field, each allowed value is
scored by its log-likelihood after all that stands before it, and the likeliest is taken. So every
reply is a verdict, and the temperature is 0. One case at a time: for thousands of grades start a
server (vLLM, SGLang) and name it in `base_url`.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import torch
from pydantic import BaseModel

from warmth import loaded
from warmth.api import Call, Reply
from warmth.api.calls import Usage
from warmth.chat import prompt_ids
from warmth.entries import named_model
from warmth.evaluation.answer.decoding import tokenizer_of
from warmth.evaluation.answer.weighing import Weighing, reply_log_probs
from warmth.precision import dtype_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

REASON_TOKENS = 60  # most tokens of the one sentence; what goes on longer is closed there


def _loaded(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    judge = named_model(name, "grader model")
    return loaded.load(judge, getattr(torch, dtype_of(judge)), "judges"), tokenizer_of(judge)


def complete(name: str, calls: Iterable[Call]) -> Iterator[Reply]:
    """One reply to each call, in order; a prompt longer than the model can read fails as
    `too_long`.

    Args:
        name: a model entry, a hub id or a folder.
        calls: each with a schema of a text `reason` first and then fields of few values (Literal,
        bool, None).

    Raises:
        UserError: there is no such model.
    """
    model, tokenizer = _loaded(name)
    for index, call in enumerate(calls):
        assert call.schema is not None
        ids = prompt_ids(tokenizer, call.messages)
        if len(ids) + call.max_tokens > model.config.max_position_embeddings:
            yield Reply(index, "", "", None, "", "too_long")
            continue
        text = verdict(model, tokenizer, ids, call.schema, min(call.max_tokens, REASON_TOKENS))
        usage = Usage(len(ids), 0, len(tokenizer(text, add_special_tokens=False).input_ids))
        yield Reply(index, "", text, call.schema.model_validate_json(text), "stop", "", usage)


@torch.inference_mode()
def verdict(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: list[int],
    schema: type[BaseModel],
    limit: int,
) -> str:
    """The JSON of one verdict: the likeliest value of each field, given all before it."""
    (first, *rest) = schema.model_fields
    text = f'{{"{first}": {json.dumps(_reason(model, tokenizer, ids, first, limit))}'
    for field in rest:
        text += f', "{field}": '
        ends = [
            f"{json.dumps(value)}{'}' if field == rest[-1] else ','}"
            for value in values_of(schema, field)
        ]
        likelihoods = scores(model, tokenizer, ids, text, ends)
        text += ends[likelihoods.index(max(likelihoods))][:-1]
    return text + "}"


def _reason(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: list[int],
    field: str,
    limit: int,
) -> str:
    start = [*ids, *tokenizer(f'{{"{field}": "', add_special_tokens=False).input_ids]
    device = model.get_input_embeddings().weight.device
    made = model.generate(
        torch.tensor([start], device=device), max_new_tokens=limit, do_sample=False
    )
    text = tokenizer.decode(made[0, len(start) :], skip_special_tokens=True)
    return text.partition('"')[0].partition("\n")[0].strip()


def scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: list[int],
    before: str,
    ends: Sequence[str],
) -> list[float]:
    """Weigh each of some ends after the prompt and what the reply holds before it, in one pass;
    nats.
    """
    start = (*ids, *tokenizer(before, add_special_tokens=False).input_ids)
    replies = tuple(tuple(tokenizer(end, add_special_tokens=False).input_ids) for end in ends)
    (values,) = reply_log_probs(model, [Weighing(start, replies)])
    return values[0]


def values_of(schema: type[BaseModel], field: str) -> list[Any]:
    """What a field may hold: the members of a Literal, true and false, null where it is
    optional.
    """
    kind = schema.model_fields[field].annotation
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    found: list[Any] = []
    for one in kinds:
        if get_origin(one) is Literal:
            found += get_args(one)
        elif one is bool:
            found += [True, False]
        elif one is type(None):
            found.append(None)
    return found
