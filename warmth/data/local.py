"""A model in this process as the rewriter: transformers generates, and replies are kept where a
server's would be.

A reply is drawn by a generator of its own, seeded by its call's key, so batches and restarts do not
change it (but for the last digits of bfloat16). torch is imported here, so import this late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig, LogitsProcessor
from transformers.utils.logging import disable_progress_bar

from warmth.api import Call, Reply, Server, Usage
from warmth.api.reply_cache import ReplyCache
from warmth.api.rows import reply_of, row_of
from warmth.chat import prompt_ids
from warmth.dataset import Rewriter
from warmth.digest import digest, model_identity
from warmth.entries import named_model
from warmth.loaded import placement
from warmth.models import choose_dtype, load_model, load_tokenizer
from warmth.output import output_of_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Local:
    """Calls answered by a model of conf/model/, a folder or a hub id; loaded when the first reply
    is not in the store.

    Raises:
        UserError: there is no such model, or it cannot be loaded here.
    """

    def __init__(self, settings: Rewriter, store: Path):
        self.model = named_model(settings.model, "data.rewriter.model")
        self.dtype = choose_dtype(settings.dtype)
        self.batch_size, self.store = settings.batch_size, store
        # no address; two dtypes do not share replies
        self.server = Server(
            "", settings.model, identity=f"{digest(model_identity(self.model))} {self.dtype}"
        )

    def complete(self, calls: Iterable[Call]) -> Iterator[Reply]:
        """Yield one reply to each call: those in the store first, then the others from the longest
        prompt on.
        """
        cache = ReplyCache(self.store)
        try:
            cache.refresh()
            todo: list[tuple[int, Call]] = []
            for index, call in enumerate(calls):
                row = cache.get(call.key(self.server))
                stored = reply_of(row, index, call) if row else None
                if stored:
                    yield stored
                else:
                    todo.append((index, call))
            for reply in self._write(todo):
                cache.put(reply.key, row_of(reply, self.server))
                yield reply
        finally:
            cache.close()

    def _write(self, todo: Sequence[tuple[int, Call]]) -> Iterator[Reply]:
        if not todo:
            return
        disable_progress_bar()  # of loading: it would tear our own progress lines
        tokenizer = load_tokenizer(self.model)
        weights = load_model(self.model, self.dtype, **placement(self.model, self.dtype)).eval()
        prompts = [prompt_ids(tokenizer, call.messages) for _, call in todo]
        order = sorted(
            range(len(todo)), key=lambda place: -len(prompts[place])
        )  # what needs most memory goes first
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            chosen = [todo[place] for place in places]
            keys = [call.key(self.server) for _, call in chosen]
            limit = min(
                max(call.max_tokens for _, call in chosen),
                weights.config.max_position_embeddings - len(prompts[places[0]]),
            )
            if limit < 1:
                for (index, _), key in zip(chosen, keys, strict=True):
                    yield Reply(index, key, "", None, "", "too_long")
                continue
            rows = [prompts[place] for place in places]
            made = generate(
                weights,
                tokenizer,
                rows,
                self.model.end_of_turn,
                limit,
                chosen[0][1].temperature,
                keys,
            )
            for (index, _), key, prompt, (text, tokens, ended) in zip(
                chosen, keys, rows, made, strict=True
            ):
                output = output_of_text(text, "stop" if ended else "length")
                failure = (
                    "cut_off"
                    if output.finish == "length"
                    else ""
                    if output.text.strip()
                    else "empty"
                )
                usage = Usage(len(prompt), 0, tokens)
                yield Reply(
                    index, key, output.text, None, output.finish, failure, usage,
                    thinking=output.thinking, raw_finish=output.raw_finish,
                )  # fmt: skip


class _Draw(LogitsProcessor):
    """Adds Gumbel noise, so that the largest score is a draw from the distribution at a
    temperature.
    """

    def __init__(self, temperature: float, keys: Sequence[str]):
        self.temperature = temperature
        self.generators = [torch.Generator().manual_seed(int(key[:15], 16)) for key in keys]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """(B, V) scores → (B, V) scores whose largest is the drawn token."""
        noise = torch.stack(
            [torch.empty(scores.shape[-1]).exponential_(generator=each) for each in self.generators]
        )
        return scores.float() / self.temperature - noise.to(scores.device).log()


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    end_of_turn: str,
    limit: int,
    temperature: float,
    keys: Sequence[str],
) -> list[tuple[str, int, bool]]:
    """For each prompt's token ids: the reply, its tokens, and whether it ended before the limit.

    Args:
        model: any causal language model.
        tokenizer: its own.
        prompts: rendered chats.
        end_of_turn: a token that ends a reply, beside those the model declares; "": none.
        limit: most new tokens.
        temperature: 0 is greedy.
        keys: what each reply's draws are seeded by, in hex.
    """
    declared = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(declared if isinstance(declared, list) else [declared])} - {
        None
    }
    if end_of_turn:
        ends.add(tokenizer.convert_tokens_to_ids(end_of_turn))
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
        made = model.generate(**batch, generation_config=config, logits_processor=draw)
    width = batch["input_ids"].shape[1]
    found = []
    for row in made[:, width:].tolist():
        stop = next((place for place, token in enumerate(row) if token in ends), len(row))
        found.append(
            (tokenizer.decode(row[:stop], skip_special_tokens=True), stop, stop < len(row))
        )
    return found
