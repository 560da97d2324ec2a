"""A model in this process as the rewriter: its replies are stored where a server's would be.

A reply is drawn by a generator of its own, seeded by its call's key, so batches and restarts do not
change it (but for the last digits of bfloat16). torch is imported here, so import this late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig, LogitsProcessor
from transformers.utils.logging import disable_progress_bar

from warmth.api import Call, Reply, Server, Usage
from warmth.api.reply_cache import ReplyCache
from warmth.api.rows import reply_of, reply_row
from warmth.chat import prompt_ids
from warmth.dataset import Rewriter
from warmth.digest import digest, model_identity
from warmth.entries import named_model
from warmth.loaded import placement
from warmth.models import choose_dtype, load_model, load_tokenizer
from warmth.output import output_of_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class LocalRequest:
    """A call to be answered: its place among the calls, its key, its prompt's token ids."""

    index: int
    call: Call
    key: str
    prompt: Sequence[int]


class LocalRewriter:
    """Answers calls by a model of conf/model/, a folder or a hub id.

    The model is loaded when a reply is not in the store.

    Raises:
        UserError: there is no such model, or it cannot be loaded here.
    """

    def __init__(self, settings: Rewriter, store: Path):
        self.model = named_model(settings.model, "data.rewriter.model")
        self.dtype = choose_dtype(settings.dtype)
        self.batch_size = settings.batch_size
        self.store = store
        # no address; two dtypes do not share replies
        identity = f"{digest(model_identity(self.model))} {self.dtype}"
        self.server = Server("", settings.model, identity=identity)

    def complete(self, calls: Iterable[Call]) -> Iterator[Reply]:
        """Yield one reply to each call: the stored ones, then the others, longest prompt first."""
        cache = ReplyCache(self.store)
        try:
            cache.refresh()
            missing: list[tuple[int, Call]] = []
            for index, call in enumerate(calls):
                row = cache.get(call.key(self.server))
                stored = reply_of(row, index, call) if row else None
                if stored:
                    yield stored
                else:
                    missing.append((index, call))
            for reply in self._write(missing):
                cache.put(reply.key, reply_row(reply, self.server))
                yield reply
        finally:
            cache.close()

    def _write(self, indexed_calls: Sequence[tuple[int, Call]]) -> Iterator[Reply]:
        """Write replies in batches of prompts of like length, the longest first.

        The longest needs most memory: what does not fit fails at once.
        """
        if not indexed_calls:
            return
        disable_progress_bar()  # of loading: it would tear our own progress lines
        tokenizer = load_tokenizer(self.model)
        weights = load_model(self.model, self.dtype, **placement(self.model, self.dtype)).eval()
        requests = []
        for index, call in indexed_calls:
            prompt = prompt_ids(tokenizer, call.messages)
            requests.append(LocalRequest(index, call, call.key(self.server), prompt))
        requests.sort(key=lambda request: -len(request.prompt))
        for start in range(0, len(requests), self.batch_size):
            yield from self._write_batch(
                weights, tokenizer, requests[start : start + self.batch_size]
            )

    def _write_batch(
        self,
        weights: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        requests: Sequence[LocalRequest],
    ) -> Iterator[Reply]:
        asked = max(request.call.max_tokens for request in requests)
        room = weights.config.max_position_embeddings - len(requests[0].prompt)
        limit = min(asked, room)
        if limit < 1:
            for request in requests:
                yield Reply(request.index, request.key, "", None, "", "too_long")
            return
        generations = generate(
            weights,
            tokenizer,
            prompts=[request.prompt for request in requests],
            end_of_turn=self.model.end_of_turn,
            limit=limit,
            temperature=requests[0].call.temperature,
            keys=[request.key for request in requests],
        )
        for request, (text, tokens, ended) in zip(requests, generations, strict=True):
            output = output_of_text(text, "stop" if ended else "length")
            failure = ""
            if output.finish == "length":
                failure = "cut_off"
            elif not output.text.strip():
                failure = "empty"
            yield Reply(
                request.index,
                request.key,
                output.text,
                None,
                output.finish,
                failure,
                Usage(len(request.prompt), 0, tokens),
                thinking=output.thinking,
                raw_finish=output.raw_finish,
            )


class _Draw(LogitsProcessor):
    """Adds Gumbel noise, so that the largest score is a draw at a temperature."""

    def __init__(self, temperature: float, keys: Sequence[str]):
        self.temperature = temperature
        self.generators = [torch.Generator().manual_seed(int(key[:15], 16)) for key in keys]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return (B, V) scores whose largest is the drawn token, from (B, V) scores."""
        draws = []
        for generator in self.generators:
            draws.append(torch.empty(scores.shape[-1]).exponential_(generator=generator))
        noise = torch.stack(draws).to(scores.device)
        return scores.float() / self.temperature - noise.log()


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    end_of_turn: str,
    limit: int,
    temperature: float,
    keys: Sequence[str],
) -> list[tuple[str, int, bool]]:
    """Return for each prompt the reply, its tokens, and whether it ended before the limit.

    Args:
        model: any causal language model.
        tokenizer: its own.
        prompts: token ids of rendered chats.
        end_of_turn: a token that ends a reply, beside those the model declares; "": none.
        limit: most new tokens.
        temperature: 0 is greedy.
        keys: what each reply's draws are seeded by, in hex.
    """
    ends = _end_tokens(model, tokenizer, end_of_turn)
    config = GenerationConfig(
        max_new_tokens=limit,
        do_sample=False,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
    )
    batch = tokenizer.pad(
        {"input_ids": [list(ids) for ids in prompts]}, padding_side="left", return_tensors="pt"
    )
    batch = batch.to(model.get_input_embeddings().weight.device)
    draw = [_Draw(temperature, keys)] if temperature else []
    with torch.inference_mode():
        sequences = model.generate(**batch, generation_config=config, logits_processor=draw)
    width = batch["input_ids"].shape[1]
    generations = []
    for row in sequences[:, width:].tolist():
        length = 0
        while length < len(row) and row[length] not in ends:
            length += 1
        text = tokenizer.decode(row[:length], skip_special_tokens=True)
        generations.append((text, length, length < len(row)))
    return generations


def _end_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, end_of_turn: str
) -> set[int]:
    """Collect the ids of all tokens that end a reply."""
    declared = model.generation_config.eos_token_id
    if not isinstance(declared, list):
        declared = [declared]
    ends = {tokenizer.eos_token_id, *declared}
    ends.discard(None)
    if end_of_turn:
        ends.add(tokenizer.convert_tokens_to_ids(end_of_turn))
    return ends
