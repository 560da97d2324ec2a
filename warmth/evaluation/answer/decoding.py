"""The decode loop: prompts of one batch in, generated token ids out. torch is imported here, so
import this late.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from warmth import loaded
from warmth.errors import UserError, one_line
from warmth.evaluation.answer.adapters import check_placed, whole_model
from warmth.evaluation.answer.prefill import PrefillBatch
from warmth.evaluation.answer.sampling import Sampler
from warmth.evaluation.answer.steering import make_vector, steered
from warmth.evaluation.progress import note_progress
from warmth.models import load_tokenizer
from warmth.schemas import Model, Recipe
from warmth.types import Conversation

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from warmth.evaluation.answer.arms import Arm


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    ends: frozenset[int],
    pad: int,
    sampler: Sampler,
) -> list[tuple[list[int], bool]]:
    """Answer a batch of prompts: what they share is read once; rows that are finished leave.

    Args:
        model: any causal language model.
        prompts: token ids of each row.
        limits: most new tokens of each row.
        ends: token ids that end a turn.
        pad: token id put in front of shorter prompts; its value does not matter, it is masked.
        sampler: how tokens are chosen.

    Returns:
        For each prompt the new token ids without the end token, and whether an end token was
        reached.
    """
    live = sorted(range(len(prompts)), key=lambda row: (-len(prompts[row]), row))
    batch = PrefillBatch(
        model, [prompts[row] for row in live], pad, len(prompts[live[0]]) + max(limits)
    )
    made: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    done: set[int] = set()
    order = torch.tensor(live, device=batch.device)
    draws = sampler.draws(len(prompts), max(limits), batch.device)[order]
    note_progress(0, 0)  # the model is loaded, the work begins
    logits = batch.read()
    for position in range(max(limits)):
        next_tokens = sampler.choose(logits, draws[:, position])
        for row, token in zip(live, next_tokens.tolist(), strict=True):
            if row in done:
                continue
            ended[row] = token in ends
            if not ended[row]:
                made[row].append(token)
            if ended[row] or len(made[row]) == limits[row]:
                done.add(row)
        note_progress(len(done), sum(map(len, made)))
        if len(done) == len(prompts):
            break
        # Rows leave in eighths of the batch: each time all that the others have read is copied.
        stay = [position_in_batch for position_in_batch, row in enumerate(live) if row not in done]
        if len(live) - len(stay) >= max(1, len(live) // 8):
            rows_kept = batch.keep(stay)
            next_tokens, draws = next_tokens[rows_kept], draws[rows_kept]
            live = [live[position_in_batch] for position_in_batch in stay]
        logits = batch.step(next_tokens)
    return list(zip(made, ended, strict=True))


def end_ids(tokenizer: PreTrainedTokenizerBase, declared: Any, end_of_turn: str) -> frozenset[int]:
    """Return every token id that ends an answer: the tokenizer's, those a model declares and the
    configured one.

    Raises:
        UserError: `end_of_turn` is not a token.
    """
    ids = {tokenizer.eos_token_id, *(declared if isinstance(declared, list) else [declared])}
    if end_of_turn:
        token = tokenizer.convert_tokens_to_ids(end_of_turn)
        if token is None or token == tokenizer.unk_token_id:
            raise UserError(f"model.end_of_turn={end_of_turn} is not a token of this tokenizer")
        ids.add(token)
    return frozenset(token for token in ids if token is not None)


def tokenizer_of(model: Model) -> PreTrainedTokenizerBase:
    """Return a model's tokenizer, loaded once in this process."""
    return _tokenizer(json.dumps(asdict(model)))


def base_of(model: Model, dtype: torch.dtype, room: float = 0.0) -> PreTrainedModel:
    """Return a model's own weights, loaded once; `room` is what answering will need beside them, in
    bytes.

    Raises:
        UserError: the weights cannot be found, or they do not fit the GPUs.
    """
    return loaded.load_once(model, dtype, "answers", room)


@cache
def _tokenizer(model: str) -> PreTrainedTokenizerBase:
    return load_tokenizer(Model(**json.loads(model)))


@contextmanager
def weights(
    model: Model, dtype: torch.dtype, arm: Arm, room: float = 0.0, purpose: str = "answers"
) -> Generator[PreTrainedModel]:
    """Open the base model as an arm has it: its adapters at their weights, its steering vector;
    untouched again afterwards.

    In float32 adapters are merged, which answers a quarter faster, and the layers they touched get
    their own weights back from a copy, to the bit. In bfloat16 they are not: a change this small
    would be rounded away.

    Raises:
        UserError: a folder holds no adapter that fits the model.
    """
    full_model = whole_model(arm.adapters)
    if full_model is not None:
        yield loaded.load_once(replace(model, path=str(full_model)), dtype, purpose, room)
        return
    base = loaded.load_once(model, dtype, purpose, room)
    if arm.steering is not None:
        with steered(base, arm.steering, arm.dose):
            yield base
        return
    if not arm.adapters:
        yield base
        return
    tuned = load_adapters(base, model, arm.adapters)
    if dtype != torch.float32:
        try:
            yield tuned
        finally:
            tuned.unload()
        return
    base_weights = {layer: layer.weight.detach().clone() for layer in adapted(tuned)}
    try:
        yield tuned.merge_and_unload(adapter_names=tuned.active_adapters)
    finally:
        with torch.no_grad():
            for layer, base_weight in base_weights.items():
                layer.weight.copy_(base_weight)


def prepare_steering(
    arm: Arm, recipe: Recipe, conversations: Sequence[Conversation], precision: str
) -> None:
    """Make the steering vector of an arm, unless it was made before.

    Raises:
        UserError: the conversations lack a style, or a depth lies outside the model.
    """
    assert arm.steering is not None
    base, tokenizer = base_of(arm.model, getattr(torch, precision)), tokenizer_of(arm.model)
    make_vector(arm.steering, conversations, recipe, base, tokenizer)


def adapted(tuned: Any) -> list[torch.nn.Module]:
    """Return the base model's own layers that adapters act on."""
    from peft.tuners.lora import LoraLayer

    return [layer.get_base_layer() for layer in tuned.modules() if isinstance(layer, LoraLayer)]


def load_adapters(
    base: PreTrainedModel, model: Model, adapters: Sequence[tuple[Path, float]]
) -> Any:
    """Return the base model with all these adapters at work, each scaled by its weight.

    Raises:
        UserError: a folder holds no adapter that fits the model.
    """
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    folder = adapters[0][0]
    names = [f"arm{number}" for number in range(len(adapters))]
    try:
        with warnings.catch_warnings():
            # PEFT's own use of an old name, nothing a user can mend
            warnings.simplefilter("ignore", FutureWarning)
            tuned = PeftModel.from_pretrained(base, str(folder), adapter_name=names[0])
            for name, (folder, _) in list(zip(names, adapters, strict=True))[1:]:
                tuned.load_adapter(str(folder), adapter_name=name)
    except (OSError, ValueError, RuntimeError) as error:
        loaded.free()  # it may carry half an adapter
        raise UserError(
            f"{folder} holds no adapter for model={model.name}: {one_line(error)[:200]}"
        ) from error
    try:
        for name, (folder, _) in zip(names, adapters, strict=True):
            check_placed(tuned, name, folder)
    except UserError:
        loaded.free()  # it carries an adapter that does not fit
        raise
    tuned.base_model.set_adapter(names)
    for layer in tuned.modules():
        if isinstance(layer, LoraLayer):
            for name, (_, weight) in zip(names, adapters, strict=True):
                if name in layer.scaling:
                    layer.scaling[name] *= weight
    return tuned.eval()
