"""The vLLM engine really answers, with and without an adapter, in an environment that has vLLM.

PEERS_VENVS=FOLDER names a folder whose `vllm/` is such an environment (with hydra-core installed there); without it,
this one must have it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from warmth.build import build
from warmth.digest import ROOT
from warmth.errors import UserError
from warmth.evaluation.arms import Arm
from warmth.evaluation.vllm import Vllm
from warmth.schemas import Model

ORIGINAL = Arm("original", Model(name="tiny", kind="embedded"), None, None, None, 1.0, 1.0, 0, None)
SCRIPT = """
import json, sys
from dataclasses import replace
from pathlib import Path
from warmth.chat import prompt_ids
from warmth.evaluation.arms import Arm
from warmth.evaluation.decoding import tokenizer_of
from warmth.evaluation.engines import Request
from warmth.evaluation.vllm import Vllm
from warmth.schemas import Model, Sampling
from warmth.types import Message

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
        build({"_target_": "warmth.evaluation.vllm.Vllm", "max_rank": 0}, "engine")
    with pytest.raises(UserError, match="recipe=steer_warm adds a vector"):
        Vllm().bind(replace(ORIGINAL, name="steer_warm", steering=Path("x")), None)
    with pytest.raises(UserError, match="ask it with engine=openai"):
        Vllm().bind(replace(ORIGINAL, model=Model(name="gpt4o", kind="api")), None)


def small_model(folder, tokenizer):
    """Random weights with heads of 64, which vLLM's kernels for a CPU need."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=1, **sizes, **ends))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_vllm_answers_with_and_without_an_adapter(tokenizer, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model

    base = small_model(tmp_path / "model", tokenizer)
    tuned = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"]))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=2.0)
    tuned.save_pretrained(tmp_path / "adapter")
    script = tmp_path / "answer.py"
    script.write_text(SCRIPT)
    beside = Path(os.environ.get("PEERS_VENVS", "")) / "vllm" / "bin" / "python"
    python = str(beside) if beside.exists() else sys.executable
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
    env = {**os.environ, **settings, "VLLM_NO_USAGE_STATS": "1", "PYTHONPATH": str(ROOT)}
    command = [python, str(script), str(tmp_path / "model"), str(tmp_path / "adapter")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert done.returncode == 0 and lines, (done.stdout + done.stderr)[-20000:]
    found = json.loads(lines[0].removeprefix("RESULT "))
    assert len(found["original"]) == 3 and found["again"] == found["original"] == found["zero"]
    assert found["tuned"] != found["original"] and found["half"] not in (found["original"], found["tuned"])
    assert found["drawn_alone"]["1"] == found["drawn"]["1"]  # its own seed, whoever is beside it
    assert all(0 < tokens <= 8 and finish in ("stop", "length") for _, finish, tokens in found["tuned"].values())
    assert found["signature"] == {"family": "vllm", "dtype": "bfloat16"}
