"""Generation in this process by vLLM, for a GPU: many prompts at once, and what they share is read once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from warmth.bounds import number, setting
from warmth.errors import UserError, one_line
from warmth.evaluation.engines import Completion, InProcess, Request, completion_of_text
from warmth.schemas import Sampling

if TYPE_CHECKING:
    from pathlib import Path

    from warmth.evaluation.arms import Arm
    from warmth.evaluation.weighing import Weighing

WEIGHED_AT_ONCE = 256  # prompts, each with all its replies
HANDED_OVER = 1024  # answers between two writes: enough to keep a GPU busy
SEEDS = 2**31


@dataclass(frozen=True)
class Vllm(InProcess):
    """One copy of the base model on `tensor_parallel` GPUs; adapters are loaded beside it, one for each arm and dose.

    Raises:
        UserError: an unknown dtype, or a number that is not above 0.
    """

    group: ClassVar[str] = "engine"
    family: ClassVar[str] = "vllm"
    dtype: str | None = None
    tensor_parallel: int = number(1, at_least=1, excluded_because="over how many GPUs a model is split")
    gpu_memory: float = number(0.85, above=0, at_most=1, excluded_because="how much of a GPU is used")
    max_sequences: int = number(256, at_least=1, excluded_because="how many answers are made at once")
    max_length: int = number(4096, at_least=16, excluded_because="a longer prompt is refused")
    max_rank: int = number(32, at_least=1, excluded_because="an adapter of a higher rank is refused")
    eager: bool = setting(False, excluded_because="how fast a model is started")
    # switched off if replies are weighed
    prefix_cache: bool = setting(True, excluded_because="how fast prompts are read")

    def __post_init__(self) -> None:
        super().__post_init__()

    def bind(self, arm: Arm, servers: Any) -> Vllm:
        """The engine that answers for one arm: this one.

        Raises:
            UserError: only a server has the arm's weights, or it is steered.
        """
        if arm.steering is not None:
            raise UserError(f"recipe={arm.name} adds a vector inside the model; ask it with engine=transformers")
        super().bind(arm, servers)
        return self

    def for_weighing(self) -> Vllm:
        """Returns the engine without its prefix cache: with it stale log-probabilities of prompts may be reported.

        Source: vLLM issue 42019.
        """
        return replace(self, prefix_cache=False)

    def answer(
        self, arm: Arm, requests: Sequence[Request], sampling: Sampling, wanted: Callable[[int], bool]
    ) -> Iterator[dict[int, Completion]]:
        """Generates what is wanted; answers depend on no other (each has its own seed), but in their last digits.

        Yields:
            Completions by the position of their request, some at a time.
        """
        from vllm import SamplingParams

        from warmth.evaluation.decoding import end_ids, tokenizer_of

        todo = [index for index in range(len(requests)) if wanted(index)]
        if not todo:
            return
        tokenizer, llm = tokenizer_of(arm.model), self.load(arm)
        ends = end_ids(tokenizer, declared_ends(arm), arm.model.end_of_turn)
        lora = lora_request(arm)
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p if sampling.temperature else 1.0}
        for start in range(0, len(todo), HANDED_OVER):
            part = todo[start : start + HANDED_OVER]
            parameters = [
                SamplingParams(
                    **drawn,
                    max_tokens=requests[index].max_new_tokens,
                    seed=requests[index].seed % SEEDS if sampling.temperature else None,
                    stop_token_ids=sorted(ends),
                    skip_special_tokens=False,
                )
                for index in part
            ]
            inputs = [{"prompt_token_ids": list(requests[index].ids)} for index in part]
            made = llm.generate(inputs, parameters, lora_request=lora, use_tqdm=False)
            yield {
                index: completion_of(tokenizer, item.outputs[0], ends) for index, item in zip(part, made, strict=True)
            }

    def weigh(self, arm: Arm, weighings: Sequence[Weighing]) -> Iterator[dict[int, list[float]]]:
        """Weighs given replies as the ends of prompts, in the dtype that the model is loaded in.

        Yields:
            for some weighings at a time, by their position, the log-probability of each reply in nats.
        """
        assert not self.prefix_cache, "weigh with for_weighing()"
        from vllm import SamplingParams

        if not weighings:
            return
        llm = self.load(arm)
        lora = lora_request(arm)
        parameters = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)  # 0: of the given tokens alone
        for start in range(0, len(weighings), WEIGHED_AT_ONCE):
            part = range(start, min(start + WEIGHED_AT_ONCE, len(weighings)))
            rows = [(index, reply) for index in part for reply in weighings[index].replies]
            inputs = [{"prompt_token_ids": [*weighings[index].ids, *reply]} for index, reply in rows]
            outputs = llm.generate(inputs, parameters, lora_request=lora, use_tqdm=False)
            values: dict[int, list[float]] = {index: [] for index in part}
            for (index, reply), output in zip(rows, outputs, strict=True):
                values[index].append(sum_at_end(output.prompt_logprobs, reply))
            yield values

    def load(self, arm: Arm) -> Any:
        """The base model, loaded once in this process."""
        from warmth.models import locate

        source, extra = locate(arm.model)
        options = {
            "model": source,
            **extra,
            "dtype": self.precision(),
            "tensor_parallel_size": self.tensor_parallel,
            "gpu_memory_utilization": self.gpu_memory,
            "max_num_seqs": self.max_sequences,
            "max_model_len": self.max_length,
            "enable_lora": True,
            "max_lora_rank": self.max_rank,
            "enable_prefix_caching": self.prefix_cache,
            "enforce_eager": self.eager,
            "seed": 0,
        }
        try:
            return _load(json.dumps(options))
        except (ImportError, ValueError, RuntimeError, OSError) as error:
            raise UserError(f"engine=vllm cannot load model={arm.model.name}: {one_line(error)[:200]}") from error


def lora_request(arm: Arm) -> Any:
    """The arm's adapters as vLLM takes them, blended into one; None where the model answers as it is."""
    from vllm.lora.request import LoRARequest

    from warmth.evaluation.adapters import blend

    if not arm.adapters:
        return None
    adapter = blend(arm.adapters)
    return LoRARequest(str(adapter), _number(adapter), str(adapter))


def sum_at_end(prompt_logprobs: Sequence[Any], reply: Sequence[int]) -> float:
    """Sums the log-probabilities of the last tokens of a prompt.

    Args:
        prompt_logprobs: of each position a mapping from token id to an object with `logprob`; the first has none.
        reply: the ids of those last tokens.
    """
    ends = prompt_logprobs[len(prompt_logprobs) - len(reply) :]
    return math.fsum(position[token].logprob for position, token in zip(ends, reply, strict=True))


def completion_of(tokenizer: Any, output: Any, ends: frozenset[int]) -> Completion:
    """An output as an answer; the end token is not part of it, special tokens before it are."""
    ids = list(output.token_ids)
    ended = bool(ids) and ids[-1] in ends
    ids = ids[:-1] if ended else ids
    return completion_of_text(tokenizer.decode(ids, skip_special_tokens=False), ended, len(ids))


def declared_ends(arm: Arm) -> Any:
    """The end tokens of the model's generation config; None where it has none."""
    from transformers import GenerationConfig

    from warmth.models import locate

    source, extra = locate(arm.model)
    try:
        return GenerationConfig.from_pretrained(source, **extra).eos_token_id
    except OSError:
        return None


@lru_cache(maxsize=1)
def _load(options: str) -> Any:
    from vllm import LLM

    return LLM(**json.loads(options))


_NUMBERS: dict[Path, int] = {}


def _number(adapter: Path) -> int:
    """The number by which an adapter is known to vLLM, from 1."""
    return _NUMBERS.setdefault(adapter, len(_NUMBERS) + 1)
