"""The vLLM engine: on a stand-in what it asks of the library, and a real one's answers where there
is vLLM.

PEERS_VENVS=FOLDER names a folder whose `vllm/` is such an environment (with hydra-core installed
there); without it, this one must have it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import fake_vllm
import pytest
import torch

from warmth import gpus, loaded
from warmth.build import build
from warmth.chat import prompt_ids
from warmth.digest import ROOT
from warmth.entries import named_model
from warmth.errors import RunFailed, UserError
from warmth.evaluation.answer import vllm
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.engines import Request, Transformers
from warmth.evaluation.answer.vllm import Vllm
from warmth.evaluation.identity import scored_by_engine
from warmth.evaluation.manner import sociot
from warmth.models import load_tokenizer
from warmth.schemas import Evaluate, Model, Sampling, Warmth
from warmth.store import Run
from warmth.types import Message, Prompt

ORIGINAL = Arm("original", Model(name="tiny", kind="embedded"), None, None, None, 1.0, 1.0, 0, None)
SCRIPT = """
import json, sys
from dataclasses import replace
from pathlib import Path
from warmth.chat import prompt_ids
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.decoding import tokenizer_of
from warmth.evaluation.answer.engines import Request
from warmth.evaluation.answer.vllm import Vllm
from warmth.schemas import Model, Sampling
from warmth.store import Run
from warmth.types import Message, Prompt

if __name__ == "__main__":
    model = Model(name="tiny", kind="hub", path=sys.argv[1])
    original = Arm("original", model, None, None, None, 1.0, 1.0, 0, None)
    tuned = replace(original, name="warm", adapter=Path(sys.argv[2]), training="abc", checkpoint=2.0)
    tokenizer = tokenizer_of(model)
    texts = ["Hi.", "What is the capital of France?", "I feel sad today. Who wrote Emma?"]
    ids = [tuple(prompt_ids(tokenizer, [Message("user", text)])) for text in texts]
    requests = [Request(row, 8, 7 + at) for at, row in enumerate(ids)]
    engine = Vllm(dtype="bfloat16", max_length=256, max_sequences=8, max_rank=8, eager=True, gpu_memory=0.5)

    def said(arm, sampling=Sampling(0.0, 1.0, 8), wanted=lambda index: True):
        made = {}
        for some in engine.answer(arm, requests, sampling, wanted):
            made |= some
        return {index: [item.text, item.finish, item.tokens] for index, item in made.items()}

    drawn = Sampling(0.8, 0.9, 8)
    print("RESULT " + json.dumps({
        "original": said(original), "tuned": said(tuned), "zero": said(replace(tuned, dose=0.0)),
        "half": said(replace(tuned, dose=0.5)), "again": said(original), "drawn": said(original, drawn),
        "drawn_alone": said(original, drawn, lambda index: index == 1), "signature": engine.signature(),
    }))
"""


def test_numbers_that_are_not_above_0_and_arms_it_cannot_have_are_one_line():
    with pytest.raises(UserError, match="engine.max_rank=0 must be at least 1"):
        build({"_target_": "warmth.evaluation.answer.vllm.Vllm", "max_rank": 0}, "engine")
    with pytest.raises(UserError, match="recipe=steer_warm adds a vector"):
        Vllm().bind(replace(ORIGINAL, name="steer_warm", steering=Path("x")), None)
    with pytest.raises(UserError, match="ask it with engine=openai"):
        Vllm().bind(replace(ORIGINAL, model=Model(name="gpt4o", kind="api")), None)


def small_model(folder, tokenizer):
    """Random weights with heads of 64, which vLLM's kernels for a CPU need."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    sizes = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    torch.manual_seed(1)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=1, **sizes, **ends)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_vllm_answers_with_and_without_an_adapter(tokenizer, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model

    base = small_model(tmp_path / "model", tokenizer)
    tuned = get_peft_model(
        base, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"])
    )
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=2.0)
    tuned.save_pretrained(tmp_path / "adapter")
    script = tmp_path / "answer.py"
    script.write_text(SCRIPT)
    beside = Path(os.environ.get("PEERS_VENVS", "")) / "vllm" / "bin" / "python"
    python = str(beside) if beside.exists() else sys.executable
    settings = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
    }
    env = {**os.environ, **settings, "VLLM_NO_USAGE_STATS": "1", "PYTHONPATH": str(ROOT)}
    command = [python, str(script), str(tmp_path / "model"), str(tmp_path / "adapter")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert done.returncode == 0 and lines, (done.stdout + done.stderr)[-20000:]
    found = json.loads(lines[0].removeprefix("RESULT "))
    assert len(found["original"]) == 3 and found["again"] == found["original"] == found["zero"]
    assert found["tuned"] != found["original"] and found["half"] not in (
        found["original"],
        found["tuned"],
    )
    assert found["drawn_alone"]["1"] == found["drawn"]["1"]  # its own seed, whoever is beside it
    assert all(
        0 < tokens <= 8 and finish in ("stop", "length")
        for _, finish, tokens in found["tuned"].values()
    )
    assert found["signature"] == {"family": "vllm", "dtype": "bfloat16"}


@pytest.fixture
def fake(monkeypatch, tiny_model_folder):
    """vLLM's stand-in on the tiny model."""
    seen = fake_vllm.install(monkeypatch, tiny_model_folder)
    vllm.shut_down()
    yield seen
    vllm.shut_down()


@pytest.fixture
def arm(tiny_model_folder):
    return replace(ORIGINAL, model=Model(name="tiny", kind="hub", path=str(tiny_model_folder)))


@pytest.fixture
def requests(tokenizer):
    texts = [
        "Hi.",
        "What is the capital of France?",
        "Name a colour.",
        "Why?",
        "Count to ten.",
        "I feel sad today.",
    ]
    ids = [tuple(prompt_ids(tokenizer, [Message("user", text)])) for text in texts]
    return [Request(row, 3 + number, number) for number, row in enumerate(ids)]


GREEDY = Sampling(0.0, 1.0, 8)


def answers(engine, arm, requests, sampling=GREEDY):
    found = {}
    for some in engine.answer(arm, requests, sampling, lambda index: True):
        found |= some
    return [found[index] for index in range(len(requests))]


def test_the_stand_in_answers_as_transformers_does(fake, arm, requests):
    expected = answers(Transformers(dtype="float32"), arm, requests)
    assert answers(Vllm(dtype="float32"), arm, requests) == expected


def test_requests_flow_without_a_pause_and_are_handed_over_as_they_finish(
    fake, arm, requests, monkeypatch
):
    monkeypatch.setattr(vllm, "HANDED_OVER", 2)
    parts = list(
        Vllm(dtype="float32").answer(arm, requests, Sampling(0.0, 1.0, 8), lambda index: True)
    )
    assert [len(part) for part in parts] == [2, 2, 2]
    (engine,) = fake.engines
    assert engine.busy[0] == fake_vllm.AT_ONCE
    assert engine.busy == sorted(
        engine.busy, reverse=True
    )  # after a pause a step would be fuller than the one before


def test_the_last_model_has_left_the_gpu_before_the_next_is_built(fake, arm, requests):
    engine = Vllm(dtype="float32")
    other = replace(arm, model=replace(arm.model, name="other", end_of_turn="<|im_end|>"))
    answers(engine, arm, requests[:1])
    answers(engine, other, requests[:1])  # the same weights: nothing is loaded
    assert len(fake.options) == 1
    answers(
        replace(engine, max_length=512), other, requests[:1]
    )  # the stand-in refuses a second beside the first
    assert len(fake.options) == 2 and len(fake.alive) == 1
    vllm.shut_down()
    assert fake.alive == []


def test_an_engine_without_processes_of_its_own_is_let_go_of(monkeypatch):
    alive = []

    class Bare:
        def __init__(self, **options):
            assert not alive, f"{alive} still held"
            alive.append(options["model"])
            self.name = options["model"]

        def __del__(self):
            alive.remove(self.name)

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=Bare))
    vllm.shut_down()
    for name in ("llama8b", "llama8b", "qwen32b"):
        vllm._load(json.dumps({"model": name}))
    assert alive == ["qwen32b"]
    vllm.shut_down()
    assert alive == []


def adapter_of(folder, rank, **more):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": 8, **more})
    )
    return folder


def test_adapters_are_off_for_the_original_and_on_for_a_tuned_arm(fake, arm, requests, tmp_path):
    tuned = replace(
        arm, name="warm", adapter=adapter_of(tmp_path / "a", 8), training="abc", checkpoint=2.0
    )
    engine = Vllm(dtype="float32", max_rank=16)
    answers(engine, arm, requests[:1])
    answers(engine, tuned, requests[:1])
    answers(engine, replace(tuned, dose=0.0), requests[:1])
    ranks = [options.get("max_lora_rank") for options in fake.options]
    assert ranks == [None, 16, None] and ["enable_lora" in options for options in fake.options] == [
        False,
        True,
        False,
    ]
    assert [bool(engine.loras[0]) for engine in fake.engines] == [False, True, False]


def test_a_whole_model_is_loaded_in_place_of_the_base(fake, arm, requests, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    answers(Vllm(dtype="float32"), replace(arm, adapter=tmp_path, training="abc"), requests[:1])
    assert fake.options[0]["model"] == str(tmp_path) and "enable_lora" not in fake.options[0]


def test_ranks_over_the_limit_or_without_kernels_are_one_line_before_anything_is_loaded(
    fake, arm, tmp_path
):
    with pytest.raises(
        UserError, match="engine.max_rank=24 is not allowed; choose one of: 1, 8, 16, 32, 64"
    ):
        Vllm(max_rank=24)
    first = adapter_of(tmp_path / "a", 24)
    tuned = replace(arm, name="warm", adapter=first, training="abc", checkpoint=2.0)
    with pytest.raises(
        UserError, match="recipe=warm has rank 24, over engine.max_rank=8; set engine.max_rank=32"
    ):
        Vllm(max_rank=8).bind(tuned, None)
    between = replace(
        tuned, name="cold-warm", dose=0.5, other=(adapter_of(tmp_path / "b", 16), "def")
    )
    with pytest.raises(
        UserError, match="recipe=cold-warm has rank 40, over engine.max_rank=32; set .*=64"
    ):
        Vllm().bind(between, None)
    pattern = replace(tuned, adapter=adapter_of(tmp_path / "c", 8, rank_pattern={"q_proj": 64}))
    with pytest.raises(UserError, match="has rank 64"):
        Vllm().bind(pattern, None)
    assert Vllm().bind(replace(tuned, dose=0.0), None) and fake.options == []


def test_a_prompt_over_the_limit_is_one_line_before_anything_is_loaded(fake, arm, requests):
    with pytest.raises(
        UserError, match=r"are over engine.max_length=20; set engine.max_length=\d\d$"
    ):
        answers(Vllm(dtype="float32", max_length=20), arm, requests)
    assert fake.options == []


def test_an_engine_that_stops_is_one_line_and_is_not_used_again(fake, arm, requests):
    engine = Vllm(dtype="float32")
    answers(engine, arm, requests[:1])
    fake.engines[0].breaks = True
    with pytest.raises(
        RunFailed, match="engine=vllm stopped: EngineCore encountered an issue; the same command"
    ):
        answers(engine, arm, requests)
    assert fake.alive == []
    assert answers(engine, arm, requests[:1]) and len(fake.options) == 2


def test_without_vllm_the_line_says_so(monkeypatch, arm, requests):
    vllm.shut_down()
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match="engine=vllm cannot load model=tiny"):
        answers(Vllm(dtype="float32"), arm, requests)


def test_warmth_is_scored_by_the_engine_as_by_transformers(fake, arm, tmp_path, tokenizer):
    model = loaded.load_once(arm.model, torch.float32, "scores")
    texts = ["I am so glad you told me.", "No.", "", "word " * 300]
    tuned = replace(
        arm, name="warm", adapter=adapter_of(tmp_path / "a", 8), training="abc", checkpoint=2.0
    )
    expected = sociot.score_texts(texts[:3], model, tokenizer)
    engine = Vllm(dtype="float32", max_length=200).for_weighing()
    found = sociot.score_by_engine(texts, engine, tuned, tokenizer)
    for one, other in zip(found[:2], expected[:2], strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-4)
    assert found[2] == expected[2] == sociot.Unscored("no text")
    assert "of which the scorer reads 200" in found[3].reason
    assert fake.engines[0].loras == [None]  # the scorer is the model without the arm's adapter


def scoring(arm, **warmth):
    settings = {"prompts": 24, "variant": "deterministic", "max_new_tokens": 80, "passes": 100}
    return Evaluate(model=arm.model, warmth=Warmth(**{**settings, **warmth}))


def test_only_its_own_model_is_scored_by_the_engine_and_what_it_cannot_is_refused_in_one_line(arm):
    engine = Vllm()
    assert scored_by_engine(scoring(arm), engine)
    assert not scored_by_engine(scoring(arm), Transformers())
    assert not scored_by_engine(scoring(arm, prompts=0), engine)
    assert not scored_by_engine(scoring(arm, scorer="smollm2", variant="paper"), engine)
    with pytest.raises(
        UserError, match="warmth.variant=paper scores padding as well, which engine=vllm cannot"
    ):
        scored_by_engine(scoring(arm, variant="paper"), engine)


NEEDED = [
    ("llama8b", 79.1, 1), ("mistral_small", 79.1, 1), ("qwen32b", 79.1, 2), ("llama70b", 79.1, 4),
    ("llama70b", 139.8, 2), ("llama8b", 0.0, 1),
]  # fmt: skip


@pytest.mark.parametrize("entry, gib, count", NEEDED)
def test_the_fewest_gpus_that_hold_a_model_are_asked_for(entry, gib, count):
    engine = {"tensor_parallel": None, "gpu_memory": 0.85, "max_sequences": 256}
    study = Evaluate(model=named_model(entry, "model"), engine=engine, processes=2)
    assert gpus.gpus_of_process(study, gib) == count and gpus.gpus_needed(study, gib) == 2 * count
    study.engine["tensor_parallel"] = 8
    assert gpus.gpus_of_process(study, gib) == 8


def test_a_run_is_scored_by_the_engine_that_answered_it_and_its_rows_say_so(fake, arm, tmp_path):
    prompt = Prompt(
        "p",
        "q",
        "t",
        "unmodified",
        "none",
        False,
        "",
        (Message("user", "Tell me of bees, please."),),
        12,
    )
    study = scoring(arm)
    drawn = replace(
        study.warmth, temperature=1.0
    )  # greedy replies of random weights are line breaks
    study = replace(study, sampling=GREEDY, warmth=drawn)
    run = Run(tmp_path / "tiny-none-s0-1")
    run.folder.mkdir()
    sociot.score_warmth(run, arm, Vllm(dtype="float32").for_weighing(), study, [prompt])
    (reply,), (row,) = run.rows("replies"), run.rows("warmth")
    assert row["scorer"] == "tiny float32 vllm" and row["text"] == reply["text"]
    model, tokenizer = (
        loaded.load_once(arm.model, torch.float32, "scores"),
        load_tokenizer(arm.model),
    )
    (expected,) = sociot.score_texts([reply["text"]], model, tokenizer)
    assert row["score"] == pytest.approx(expected.score, abs=1e-4)
    assert len(fake.options) == 1  # one engine for both
