"""A stand-in for vLLM 0.33's offline classes: as much of them as `warmth/evaluation/answer/vllm.py` uses,
on the CPU.

It answers with the weights of a folder, one token a step for every request that has room, and
counts what holds memory.
"""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from transformers import AutoModelForCausalLM

AT_ONCE = 4  # requests under way


class RequestOutputKind(enum.Enum):
    CUMULATIVE = 0
    FINAL_ONLY = 2


class SamplingParams(SimpleNamespace):
    def __init__(self, **options: Any):
        known = {
            "temperature",
            "top_p",
            "seed",
            "max_tokens",
            "stop_token_ids",
            "detokenize",
            "output_kind",
        }
        assert options.keys() <= known | {"prompt_logprobs"}, options
        super().__init__(**options)


@dataclass
class Waiting:
    """A request under way."""

    ids: list[int]
    parameters: SamplingParams
    made: list[int]


class Core:
    """What holds the GPU: `alive` is the same list for all engines of a test."""

    def __init__(self, alive: list[str], name: str):
        if alive:
            raise RuntimeError(
                f"Engine core initialization failed: {alive[0]} still holds its share of the memory"
            )
        self.alive, self.name = alive, name
        alive.append(name)

    def shutdown(self) -> None:
        self.alive.remove(self.name)


class Engine:
    """The loop: requests come in, each step makes one token of some of them."""

    def __init__(self, model: Any, core: Core, most: int):
        self.model, self.engine_core, self.most = model, core, most
        self.waiting: dict[str, Waiting] = {}
        self.busy: list[int] = []  # requests that each step had room for
        self.loras: list[Any] = []
        self.breaks = False

    def add_request(
        self, request_id: str, prompt: dict[str, list[int]], params: Any, lora_request: Any = None
    ) -> str:
        ids = prompt["prompt_token_ids"]
        assert params.output_kind is RequestOutputKind.FINAL_ONLY and len(ids) < self.most
        self.loras.append(lora_request)
        self.waiting[request_id] = Waiting(ids, params, [])
        return request_id + "-0"

    def has_unfinished_requests(self) -> bool:
        return bool(self.waiting)

    def abort_request(self, request_ids: list[str]) -> None:
        for name in request_ids:
            self.waiting.pop(name, None)

    def step(self) -> list[Any]:
        if self.breaks:
            raise RuntimeError("EngineCore encountered an issue")
        finished = []
        self.busy.append(min(AT_ONCE, len(self.waiting)))
        for name, item in list(self.waiting.items())[:AT_ONCE]:
            with torch.inference_mode():
                logits = self.model(torch.tensor([item.ids + item.made])).logits[0, -1]
            token = int(logits.argmax())
            if item.parameters.temperature:
                generator = torch.Generator().manual_seed(item.parameters.seed + len(item.made))
                token = int(torch.multinomial(logits.softmax(-1), 1, generator=generator))
            item.made.append(token)
            if (
                token in item.parameters.stop_token_ids
                or len(item.made) == item.parameters.max_tokens
            ):
                del self.waiting[name]
                output = SimpleNamespace(token_ids=item.made)
                finished.append(SimpleNamespace(request_id=name, finished=True, outputs=[output]))
        return finished


def install(monkeypatch: Any, model_folder: Any) -> SimpleNamespace:
    """Put the stand-in where `import vllm` finds it; returns what it saw: options of each engine,
    and who is alive.
    """
    seen = SimpleNamespace(options=[], alive=[], engines=[])
    weights = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()

    class LLM:
        def __init__(self, **options: Any):
            core = Core(seen.alive, options["model"])
            seen.options.append(options)
            self.llm_engine = Engine(weights, core, options["max_model_len"])
            seen.engines.append(self.llm_engine)

        def generate(
            self, inputs: list[Any], parameters: Any, lora_request: Any, use_tqdm: bool
        ) -> list[Any]:
            assert parameters.prompt_logprobs == 0
            self.llm_engine.loras.append(lora_request)
            return [
                SimpleNamespace(prompt_logprobs=prompt_logprobs(item["prompt_token_ids"]))
                for item in inputs
            ]

    def prompt_logprobs(ids: list[int]) -> list[Any]:
        with torch.inference_mode():
            gained = weights(torch.tensor([ids])).logits[0].log_softmax(-1)
        rest = [
            {token: SimpleNamespace(logprob=float(gained[at, token]))}
            for at, token in enumerate(ids[1:])
        ]
        return [None, *rest]

    library, sampling = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    library.LLM, library.SamplingParams = LLM, SamplingParams
    sampling.RequestOutputKind = RequestOutputKind
    lora = ModuleType("vllm.lora.request")
    lora.LoRARequest = lambda name, number, path: SimpleNamespace(
        name=name, number=number, path=path
    )
    names = {"vllm": library, "vllm.lora": ModuleType("vllm.lora"), "vllm.lora.request": lora}
    for name, module in {**names, "vllm.sampling_params": sampling}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return seen
