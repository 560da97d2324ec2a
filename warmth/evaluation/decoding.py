"""The decode loop: prompts of one batch in, generated token ids out. torch is imported here, so import this late."""

from __future__ import annotations

import json
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from warmth.errors import UserError, one_line
from warmth.models import load_model, load_tokenizer
from warmth.schemas import Model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Sampler:
    """How the next token of each row is chosen.

    Adding Gumbel noise to log-probabilities and taking the largest draws from the same distribution as sampling does,
    and a row's noise comes from its own generator: order, batch and restarts change nothing.
    """

    temperature: float  # 0: greedy
    top_p: float  # in (0, 1]
    generators: tuple[torch.Generator, ...]  # one for each row, on the CPU so that every device draws the same

    def choose(self, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """(B, V) logits of the rows named → (B,) token ids."""
        if self.temperature == 0.0:
            return logits.argmax(-1)
        scores = logits.float() / self.temperature
        if self.top_p < 1.0:
            scores = keep_top_p(scores, self.top_p)
        uniform = torch.stack(
            [torch.empty(logits.shape[-1]).exponential_(generator=self.generators[row]) for row in rows]
        )
        return (scores - uniform.to(logits.device).log()).argmax(-1)


def keep_top_p(scores: Tensor, top_p: float) -> Tensor:
    """(B, V) scores with minus infinity outside the smallest set of tokens that holds `top_p` of the probability."""
    ordered, order = scores.sort(-1, descending=True)
    before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
    outside = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= top_p)
    return scores.masked_fill(outside, float("-inf"))


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    ends: frozenset[int],
    pad: int,
    sampler: Sampler,
) -> list[tuple[list[int], bool]]:
    """Answers a batch of prompts, left-padded; finished rows leave the batch as it goes.

    Args:
        model: any causal language model.
        prompts: token ids of each row.
        limits: most new tokens of each row.
        ends: token ids that end a turn.
        pad: token id put in front of shorter prompts; its value does not matter, it is masked.
        sampler: how tokens are chosen.

    Returns:
        For each prompt the new token ids without the end token, and whether an end token was reached.
    """
    from transformers import DynamicCache

    width = max(len(ids) for ids in prompts)
    device = model.get_input_embeddings().weight.device
    tokens = torch.tensor([[pad] * (width - len(ids)) + list(ids) for ids in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    past = DynamicCache(config=model.config)
    made: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    live = list(range(len(prompts)))
    while live:
        logits = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=past,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        chosen = sampler.choose(logits, live)
        stay = []
        for place, (row, token) in enumerate(zip(live, chosen.tolist(), strict=True)):
            ended[row] = token in ends
            if not ended[row]:
                made[row].append(token)
                if len(made[row]) < limits[row]:
                    stay.append(place)
        if len(stay) < len(live):
            kept = torch.tensor(stay, dtype=torch.long, device=device)
            chosen, mask, positions = chosen[kept], mask[kept], positions[kept]
            if stay:
                past.batch_select_indices(kept)
            live = [live[place] for place in stay]
        tokens, positions = chosen[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=-1)
    return list(zip(made, ended, strict=True))


def end_tokens(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, end_of_turn: str) -> frozenset[int]:
    """Every token id that ends an answer: the tokenizer's, the generation config's and the configured one.

    Raises:
        UserError: `end_of_turn` is not a token.
    """
    declared: Any = getattr(model.generation_config, "eos_token_id", None)
    ids = {tokenizer.eos_token_id, *(declared if isinstance(declared, list) else [declared])}
    if end_of_turn:
        token = tokenizer.convert_tokens_to_ids(end_of_turn)
        if token is None or token == tokenizer.unk_token_id:
            raise UserError(f"model.end_of_turn={end_of_turn} is not a token of this tokenizer")
        ids.add(token)
    return frozenset(token for token in ids if token is not None)


def tokenizer_of(model: Model) -> PreTrainedTokenizerBase:
    """A model's tokenizer, loaded once in this process."""
    return _tokenizer(json.dumps(asdict(model)))


def base_of(model: Model, dtype: torch.dtype) -> PreTrainedModel:
    """A model's own weights, on the GPUs where there are any; one model stays loaded between the jobs of a process."""
    return _base(json.dumps(asdict(model)), dtype)


@cache
def _tokenizer(model: str) -> PreTrainedTokenizerBase:
    return load_tokenizer(Model(**json.loads(model)))


@lru_cache(maxsize=1)
def _base(model: str, dtype: torch.dtype) -> PreTrainedModel:
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of loading: it would tear our own progress lines
    where = {"device_map": "auto"} if torch.cuda.is_available() else {}
    return load_model(Model(**json.loads(model)), dtype, **where).eval()


@contextmanager
def weights(model: Model, dtype: torch.dtype, adapter: Path | None, dose: float) -> Generator[PreTrainedModel]:
    """The base model with an adapter at a dose, and the untouched base again afterwards.

    In float32 the adapter is merged, which answers a quarter faster; the base is then loaded anew, because taking the
    adapter off again would leave rounding behind. In bfloat16 it is not: a change this small would be rounded away.
    Dose 0 loads none.

    Raises:
        UserError: the folder holds no adapter that fits the model.
    """
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    base = base_of(model, dtype)
    if adapter is None or dose == 0.0:
        yield base
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT's own use of an old name, nothing a user can mend
            tuned = PeftModel.from_pretrained(base, str(adapter)).eval()
    except (OSError, ValueError, RuntimeError) as error:
        _base.cache_clear()  # it may carry half an adapter
        raise UserError(f"{adapter} holds no adapter for model={model.name}: {one_line(error)[:200]}") from error
    try:
        for layer in tuned.modules():
            if isinstance(layer, LoraLayer):
                for name in layer.scaling:
                    layer.scaling[name] *= dose
        yield tuned.merge_and_unload() if dtype == torch.float32 else tuned
    finally:
        if dtype == torch.float32:
            _base.cache_clear()
        else:
            tuned.unload()
