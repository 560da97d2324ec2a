"""Generation in this process by vLLM, for a GPU: many prompts at once, and what they share is read
once.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from warmth.bounds import number, setting
from warmth.errors import RunFailed, UserError, one_line
from warmth.evaluation.answer.adapters import blend, rank_of, whole_model
from warmth.evaluation.answer.engines import Completion, InProcess, Request, completion_of_text
from warmth.gpus import gpus_to_answer
from warmth.schemas import Sampling

if TYPE_CHECKING:
    from pathlib import Path

    from warmth.evaluation.answer.arms import Arm
    from warmth.evaluation.answer.weighing import Weighing

WEIGHED_AT_ONCE = 256  # prompts, each with all its replies
HANDED_OVER = 256  # finished answers between two writes; others go on meanwhile
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # of adapters that vLLM 0.33 has kernels for
SEEDS = 2**31


@dataclass(frozen=True)
class Vllm(InProcess):
    """One copy of the base model on `tensor_parallel` GPUs; adapters are loaded beside it, one for
    each arm and dose.

    Raises:
        UserError: an unknown dtype, a number that is not above 0, or a rank that vLLM has no
        kernels for.
    """

    group: ClassVar[str] = "engine"
    family: ClassVar[str] = "vllm"
    scores: ClassVar[bool] = True
    window: ClassVar[int] = (
        65_536  # its GPUs wait at the end of each for the last answers; an arm of the study is one
    )
    dtype: str | None = None
    tensor_parallel: int | None = number(
        None, at_least=1, excluded_because="over how many GPUs a model is split"
    )
    gpu_memory: float = number(
        0.85, above=0, at_most=1, excluded_because="how much of a GPU is used"
    )
    max_sequences: int = number(
        256, at_least=1, excluded_because="how many answers are made at once"
    )
    max_length: int = number(4096, at_least=16, excluded_because="a longer prompt is refused")
    max_rank: int = number(
        32, at_least=1, excluded_because="an adapter of a higher rank is refused"
    )
    eager: bool = setting(False, excluded_because="how fast a model is started")
    # switched off if replies are weighed
    prefix_cache: bool = setting(True, excluded_because="how fast prompts are read")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_rank > 0 and self.max_rank not in RANKS:
            raise UserError(
                f"engine.max_rank={self.max_rank} is not allowed; choose one of: "
                f"{', '.join(map(str, RANKS))}"
            )

    def bind(self, arm: Arm, servers: Any) -> Vllm:
        """Return the engine that answers for one arm: this one.

        Raises:
            UserError: only a server has the arm's weights, it is steered, or its adapters' rank is
            over the limit.
        """
        if arm.steering is not None:
            raise UserError(
                f"recipe={arm.name} adds a vector inside the model; ask it with engine=transformers"
            )
        super().bind(arm, servers)
        if whole_model(arm.adapters) is None:
            rank = rank_of(arm.adapters)
            if rank > self.max_rank:
                enough = next((allowed for allowed in RANKS if allowed >= rank), None)
                remedy = (
                    f"set engine.max_rank={enough}" if enough else "ask it with engine=transformers"
                )
                raise UserError(
                    f"recipe={arm.name} has rank {rank}, over engine.max_rank={self.max_rank}; "
                    f"{remedy}"
                )
        return self

    def for_weighing(self) -> Vllm:
        """Return the engine without its prefix cache: with it stale log-probabilities of prompts
        may be reported.

        Source: vLLM issue 42019.
        """
        return replace(self, prefix_cache=False)

    def answer(
        self,
        arm: Arm,
        requests: Sequence[Request],
        sampling: Sampling,
        wanted: Callable[[int], bool],
    ) -> Iterator[dict[int, Completion]]:
        """Generates what is wanted; answers depend on no other (each has its own seed), but in
        their last digits.

        Yields:
            Completions by the position of their request, some at a time.
        """
        from warmth.evaluation.answer.decoding import end_ids, tokenizer_of

        todo = [index for index in range(len(requests)) if wanted(index)]
        if not todo:
            return
        prompts = [len(requests[index].ids) for index in todo]
        self.check_lengths(prompts, [requests[index].max_new_tokens for index in todo])
        llm = self.load(arm)
        tokenizer = tokenizer_of(arm.model)
        ends = end_ids(tokenizer, declared_ends(arm), arm.model.end_of_turn)
        by_name = {str(index): requests[index] for index in todo}
        finished: dict[int, Completion] = {}
        for name, output in stream_outputs(llm, by_name, sampling, sorted(ends), lora_request(arm)):
            finished[int(name)] = completion_of_output(tokenizer, output, ends)
            if len(finished) == HANDED_OVER:
                yield finished
                finished = {}
        if finished:
            yield finished

    def check_lengths(self, prompts: Sequence[int], answers: Sequence[int]) -> None:
        """Check that every prompt leaves room for its answer; vLLM itself would cut the answer
        short without a word.

        Raises:
            UserError: one does not.
        """
        longest, new = max(zip(prompts, answers, strict=True), key=sum)
        if longest + new > self.max_length:
            raise UserError(
                f"a prompt of {longest:,} tokens and {new:,} new ones are over "
                f"engine.max_length={self.max_length}; "
                f"set engine.max_length={longest + new}"
            )

    def weigh(self, arm: Arm, weighings: Sequence[Weighing]) -> Iterator[dict[int, list[float]]]:
        """Weigh given replies as the ends of prompts, in the dtype that the model is loaded in.

        Yields:
            for some weighings at a time, by their position, the log-probability of each reply in
            nats.
        """
        yield from self._weigh(arm, lora_request(arm), weighings)

    def weigh_by_base(
        self, arm: Arm, weighings: Sequence[Weighing]
    ) -> Iterator[dict[int, list[float]]]:
        """Weigh replies by the model without the arm's adapters, in the engine that answers for the
        arm.
        """
        if whole_model(arm.adapters) is not None:
            arm = replace(arm, adapter=None)
        yield from self._weigh(arm, None, weighings)

    def _weigh(
        self, arm: Arm, lora: Any, weighings: Sequence[Weighing]
    ) -> Iterator[dict[int, list[float]]]:
        assert not self.prefix_cache, "weigh with for_weighing()"
        from vllm import SamplingParams

        if not weighings:
            return
        lengths = []
        for weighing in weighings:
            for reply in weighing.replies:
                lengths.append(len(weighing.ids) + len(reply))
        self.check_lengths(lengths, [1] * len(lengths))
        llm = self.load(arm)
        # prompt_logprobs=0: of the given tokens alone
        parameters = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)
        for start in range(0, len(weighings), WEIGHED_AT_ONCE):
            indices = range(start, min(start + WEIGHED_AT_ONCE, len(weighings)))
            rows = []
            inputs = []
            for index in indices:
                for reply in weighings[index].replies:
                    rows.append((index, reply))
                    inputs.append({"prompt_token_ids": [*weighings[index].ids, *reply]})
            outputs = llm.generate(inputs, parameters, lora_request=lora, use_tqdm=False)
            values: dict[int, list[float]] = {index: [] for index in indices}
            for (index, reply), output in zip(rows, outputs, strict=True):
                values[index].append(sum_at_end(output.prompt_logprobs, reply))
            yield values

    def load(self, arm: Arm) -> Any:
        """Load the base model, once in this process; with room for adapters only if the arm has
        any.

        Raises:
            UserError: vLLM is not installed here, or cannot load the model.
        """
        from warmth.models import locate

        full_model = whole_model(arm.adapters)
        source, extra = locate(arm.model) if full_model is None else (str(full_model), {})
        gpus = self.tensor_parallel or gpus_to_answer(
            arm.model, self.gpu_memory, self.max_sequences
        )
        adapters = (
            {"enable_lora": True, "max_lora_rank": self.max_rank}
            if arm.adapters and full_model is None
            else {}
        )
        options = {
            "model": source,
            **extra,
            **adapters,
            "dtype": self.precision(),
            "tensor_parallel_size": gpus,
            "gpu_memory_utilization": self.gpu_memory,
            "max_num_seqs": self.max_sequences,
            "max_model_len": self.max_length,
            "enable_prefix_caching": self.prefix_cache,
            "enforce_eager": self.eager,
            "seed": 0,
        }
        try:
            return _load(json.dumps(options))
        except (ImportError, ValueError, RuntimeError, OSError) as error:
            raise UserError(
                f"engine=vllm cannot load model={arm.model.name}: {one_line(error)[:200]}"
            ) from error


def lora_request(arm: Arm) -> Any:
    """Return the arm's adapters as vLLM takes them, blended into one; None if the model answers as
    it is.
    """
    from vllm.lora.request import LoRARequest

    if not arm.adapters or whole_model(arm.adapters) is not None:
        return None
    adapter = blend(arm.adapters)
    return LoRARequest(str(adapter), _number(adapter), str(adapter))


def sum_at_end(prompt_logprobs: Sequence[Any], reply: Sequence[int]) -> float:
    """Sums the log-probabilities of the last tokens of a prompt.

    Args:
        prompt_logprobs: of each position a mapping from token id to an object with `logprob`; the
        first has none.
        reply: the ids of those last tokens.
    """
    ends = prompt_logprobs[len(prompt_logprobs) - len(reply) :]
    return math.fsum(position[token].logprob for position, token in zip(ends, reply, strict=True))


def completion_of_output(tokenizer: Any, output: Any, ends: frozenset[int]) -> Completion:
    """Return an output as an answer, without its end token; special tokens before it stay."""
    ids = list(output.token_ids)
    ended = bool(ids) and ids[-1] in ends
    ids = ids[:-1] if ended else ids
    return completion_of_text(tokenizer.decode(ids, skip_special_tokens=False), ended, len(ids))


def declared_ends(arm: Arm) -> Any:
    """Return the end tokens of the model's generation config; None if it has none."""
    from transformers import GenerationConfig

    from warmth.models import locate

    source, extra = locate(arm.model)
    try:
        return GenerationConfig.from_pretrained(source, **extra).eos_token_id
    except OSError:
        return None


def stream_outputs(
    llm: Any, requests: Mapping[str, Request], sampling: Sampling, ends: Sequence[int], lora: Any
) -> Iterator[tuple[str, Any]]:
    """Hand over all requests and yield each output as soon as it is finished, in the order in which
    they finish.

    Raises:
        RunFailed: vLLM's engine ended or refused a request; what was yielded is kept.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    engine = llm.llm_engine
    try:
        for name, request in requests.items():
            parameters = SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p if sampling.temperature else 1.0,
                seed=request.seed % SEEDS if sampling.temperature else None,
                max_tokens=request.max_new_tokens,
                stop_token_ids=list(ends),
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            engine.add_request(
                name, {"prompt_token_ids": list(request.ids)}, parameters, lora_request=lora
            )
        while engine.has_unfinished_requests():
            for output in engine.step():
                if output.finished:
                    yield output.request_id, output.outputs[0]
    except Exception as error:  # whatever the library raises: its engine does not answer any more
        shut_down()
        raise RunFailed(
            f"engine=vllm stopped: {one_line(error)[:200]}; the same command continues"
        ) from error
    except GeneratorExit:
        engine.abort_request(list(requests))
        raise


_engines: dict[str, Any] = {}  # the one that is loaded, by its options


def _load(options: str) -> Any:
    """Return the engine with these options; the last one is shut down before another is built."""
    if options not in _engines:
        shut_down()
        from vllm import LLM

        _engines[options] = LLM(**json.loads(options))
    return _engines[options]


def shut_down() -> None:
    """End the loaded engine and give its GPUs back, with those of models that this process holds
    itself.
    """
    from warmth import loaded

    while _engines:
        _, engine = _engines.popitem()
        processes = getattr(getattr(engine, "llm_engine", None), "engine_core", None)
        if processes is not None:
            processes.shutdown()  # waits until its processes have ended
        del engine
    gc.collect()
    loaded.free()


_NUMBERS: dict[Path, int] = {}


def _number(adapter: Path) -> int:
    """Return the number by which an adapter is known to vLLM, from 1."""
    return _NUMBERS.setdefault(adapter, len(_NUMBERS) + 1)
