"""Evaluation parts of `bench/gpu.py`: equal answers, answers a second with memory and its forecast,
warmth, vLLM.
"""

from __future__ import annotations

import random
import time
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch
from gpu import Setting, Skipped
from gpu_training import TINY, config_of, shape_for

from warmth.evaluation.answer.decoding import decode
from warmth.evaluation.answer.sampling import Sampler
from warmth.memory import GIB, ModelShape, answering_memory

EQUAL = 0.98  # share of rows that must be equal: float32 sums in another order can turn a near tie
SCORES_APART = 1e-4  # nats a token, between a device and the CPU in float32
LAYERS = 4  # of the shape whose answers are compared with the CPU's


def random_model(shape: ModelShape, device: str, dtype: torch.dtype) -> Any:
    """Make a Llama with random weights, always the same for a device, ready to answer."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return LlamaForCausalLM._from_config(
                config_of(shape), attn_implementation="sdpa"
            ).eval()
    finally:
        torch.set_default_dtype(before)


def prompts_of(count: int, tokens: int, vocabulary: int) -> list[list[int]]:
    """Make prompts of random tokens; four at a time begin alike for two thirds, as a question's
    conditions do.
    """
    draw = random.Random(0)
    rows = []
    for number in range(count):
        if number % 4 == 0:
            beginning = [draw.randrange(vocabulary) for _ in range(2 * tokens // 3)]
        ending = [draw.randrange(vocabulary) for _ in range(tokens // 3 + draw.randrange(8))]
        rows.append(beginning + ending)
    return rows


def answered(model: Any, prompts: list[list[int]], new: int, temperature: float) -> list[list[int]]:
    """Answer all prompts as one batch and return the token ids of each answer."""
    sampler = Sampler(temperature, 1.0, seeds=tuple(range(len(prompts))))
    return [ids for ids, _ in decode(model, prompts, [new] * len(prompts), frozenset(), 0, sampler)]


def equal_answers(setting: Setting) -> dict[str, Any]:
    """Compare greedy and drawn answers of the device with the CPU's, in float32."""
    shape = (
        TINY if setting.tiny else replace(shape_for(setting), layers=LAYERS, width=1024, inner=2816)
    )
    prompts = prompts_of(8 if setting.tiny else 32, 24, shape.vocabulary)
    model = random_model(shape, "cpu", torch.float32)
    row: dict[str, Any] = {"rows": len(prompts)}
    expected = {
        temperature: answered(model, prompts, 16, temperature) for temperature in (0.0, 0.8)
    }
    model = model.to(setting.device)
    for name, temperature in (("greedy", 0.0), ("drawn", 0.8)):
        answers = answered(model, prompts, 16, temperature)
        equal = sum(ours == cpus for ours, cpus in zip(answers, expected[temperature], strict=True))
        row[f"{name}_equal"] = equal
        if equal < EQUAL * len(prompts):
            raise AssertionError(
                f"{name}: {equal} of {len(prompts)} answers are equal to the CPU's"
            )
    return row


def answer_speed(setting: Setting) -> dict[str, Any]:
    """Measure answers a second at temperature 0 and 0.8 on an 8B shape, and peak memory beside its
    forecast.
    """
    shape = shape_for(setting)
    count, tokens, new = (8, 24, 8) if setting.tiny else (256, 120, 128)
    model = random_model(shape, setting.device, torch.bfloat16)
    prompts = prompts_of(count, tokens, shape.vocabulary)
    forecast = answering_memory(shape, count, max(map(len, prompts)), new, device=setting.device)
    row: dict[str, Any] = {"rows": count, "new_tokens": new, "predicted_gib": forecast.total / GIB}
    answered(model, prompts[:4], 4, 0.0)  # kernels are chosen and compiled
    for name, temperature in (("greedy", 0.0), ("drawn", 0.8)):
        seconds = seconds_of(setting, lambda: answered(model, prompts, new, temperature))  # noqa: B023
        row[f"{name}_answers_s"] = count / seconds
        row[f"{name}_tokens_s"] = count * new / seconds
    row["sampling_share"] = row["greedy_answers_s"] / row["drawn_answers_s"] - 1
    if setting.device == "cuda":
        row["measured_gib"] = torch.cuda.max_memory_allocated() / GIB
    return row


def seconds_of(setting: Setting, work: Any) -> float:
    """Time work whose last kernel has ended."""
    if setting.device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if setting.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def warmth_scores(setting: Setting) -> dict[str, Any]:
    """Compare SocioT scores of the embedded model on the device with the CPU's, and with the
    published ones.
    """
    import json

    from warmth.digest import ROOT
    from warmth.errors import UserError
    from warmth.models import load_model, load_tokenizer
    from warmth.schemas import Model

    entry = Model(name="smollm2", kind="embedded")
    try:
        tokenizer = load_tokenizer(entry, chat=False)
    except (UserError, ImportError) as error:
        raise Skipped(f"the embedded model is not installed: {error}") from error
    if setting.tiny:
        model = random_model(replace(TINY, vocabulary=len(tokenizer)), "cpu", torch.float32)
    else:
        model = load_model(entry, torch.float32).eval()
    golden_file = ROOT.parent / "shared" / "data" / "sociot_golden.json"
    items = []
    if golden_file.exists() and not setting.tiny:
        items = json.loads(golden_file.read_text(encoding="utf-8"))["items"]
    texts = [item["text"] for item in items] or [
        "I am so glad you told me.",
        "No.",
        "The report is due on Monday.",
    ]
    expected = score_values(texts, model, tokenizer)
    model = model.to(setting.device)
    scores = score_values(texts, model, tokenizer)
    row: dict[str, Any] = {"texts": len(scores), "largest_from_cpu": apart(scores, expected)}
    if items and len(scores) == len(items):
        golden = [item["deterministic"]["score"] for item in items]
        row["largest_from_published"] = apart(scores, golden)
    if max(value for name, value in row.items() if name.startswith("largest")) > SCORES_APART:
        raise AssertionError(f"scores are apart: {row}")
    return row


def score_values(texts: list[str], model: Any, tokenizer: Any) -> list[float]:
    """Return the warmth of every text that has a score."""
    from warmth.evaluation.manner import sociot

    return [
        result.score
        for result in sociot.score_texts(texts, model, tokenizer)
        if isinstance(result, sociot.Score)
    ]


def apart(values: list[float], expected: list[float]) -> float:
    """Return the largest difference of two lists, in nats a token."""
    return max(abs(value - target) for value, target in zip(values, expected, strict=True))


def vllm(setting: Setting) -> dict[str, Any]:
    """Answer by vLLM: two models in one process, one after the other, and warmth scored by the
    engine.
    """
    if find_spec("vllm") is None:
        raise Skipped(
            "vllm is not installed in this environment (`make setup-vllm` makes one that has it)"
        )
    if setting.device == "cpu":
        raise Skipped("needs a GPU")
    from warmth.evaluation.answer.arms import Arm
    from warmth.evaluation.answer.engines import Request
    from warmth.evaluation.answer.vllm import Vllm, shut_down
    from warmth.evaluation.answer.weighing import Weighing
    from warmth.models import load_tokenizer
    from warmth.schemas import Model, Sampling

    shape = replace(shape_for(setting), layers=LAYERS)
    row: dict[str, Any] = {}
    for name in ("first", "second"):
        folder = setting.folder / name
        random_model(shape, setting.device, torch.bfloat16).save_pretrained(folder)
        load_tokenizer(Model(name="smollm2", kind="embedded")).save_pretrained(folder)
        torch.cuda.empty_cache()
        arm = Arm(
            "original",
            Model(name=name, kind="hub", path=str(folder)),
            None,
            None,
            None,
            1.0,
            1.0,
            0,
            None,
        )
        engine = Vllm(dtype="bfloat16", max_length=1024, gpu_memory=0.5).for_weighing()
        prompts = prompts_of(512, 120, 40_000)
        requests = [Request(tuple(ids), 128, number) for number, ids in enumerate(prompts)]
        engine.load(arm)
        for kind, temperature in (("greedy", 0.0), ("drawn", 0.8)):
            started = time.perf_counter()
            parts = list(
                engine.answer(arm, requests, Sampling(temperature, 1.0, 128), lambda _: True)
            )
            row[f"{name}_{kind}_answers_s"] = sum(map(len, parts)) / (time.perf_counter() - started)
        weighings = [Weighing(tuple(ids), ((1, 2, 3),)) for ids in prompts[:64]]
        row[f"{name}_weighed"] = sum(map(len, engine.weigh_by_base(arm, weighings)))
    shut_down()
    return row


PARTS = {
    "equal_answers": equal_answers,
    "answer_speed": answer_speed,
    "warmth_scores": warmth_scores,
    "vllm": vllm,
}
