"""What one GPU can prove: `python -m pytest -m gpu`, skipped where there is none."""

import json
import os
import subprocess
import sys

import pytest
import torch

from warmth.digest import ROOT

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(400),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize(
    "part", ["stages", "passes", "memory", "equal_answers", "answer_speed", "warmth_scores"]
)
def test_a_part_of_the_bench_holds_on_a_real_gpu(part):
    env = {
        name: value for name, value in os.environ.items() if name != "DS_ACCELERATOR"
    }  # the other tests' is cpu
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "gpu.py"), part],
        capture_output=True,
        text=True,
        timeout=380,
        env=env,
    )
    (row,) = [
        json.loads(line)
        for line in done.stdout.splitlines()
        if line.startswith(f'{{"part": "{part}"')
    ]
    assert row["ok"], row
    if part == "memory":
        for name, found in row["variants"].items():
            if (
                "measured_gib" in found
            ):  # a forecast that is too low ends a run after hours; one too high refuses it
                assert found["measured_gib"] <= 1.1 * found["predicted_gib"], (name, found)


def test_a_model_lies_on_one_gpu_and_leaves_it_before_the_next_comes(tiny_model_folder, tmp_path):
    import shutil

    from warmth import loaded
    from warmth.schemas import Model

    other = tmp_path / "other"
    shutil.copytree(tiny_model_folder, other)
    for folder in (tiny_model_folder, other):
        model = loaded.load_once(
            Model(name=folder.name, kind="hub", path=str(folder)), torch.float32, "answers"
        )
        assert {weight.device for weight in model.parameters()} == {torch.device("cuda", 0)}
        held = torch.cuda.memory_allocated()
        del model
    loaded.free()
    assert torch.cuda.memory_allocated() < held / 2


def test_sampling_draws_the_cpus_numbers_on_a_gpu():
    from warmth.evaluation.answer.sampling import Sampler, uniform

    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert torch.equal(uniform(range(50), 40, gpu).cpu(), uniform(range(50), 40, cpu))
    logits = torch.randn(64, 5000, generator=torch.Generator().manual_seed(0))
    for top_p in (1.0, 0.9):
        sampler = Sampler(0.8, top_p, seeds=tuple(range(64)))
        chosen = sampler.choose(logits.cuda(), sampler.draws(64, 1, gpu)[:, 0]).cpu()
        assert int((chosen == sampler.choose(logits, sampler.draws(64, 1, cpu)[:, 0])).sum()) >= 63


def test_gradients_and_losses_of_packed_rows_are_those_of_the_cpu_in_float32():
    from transformers import LlamaConfig, LlamaForCausalLM

    from warmth.chat import Encoded
    from warmth.training.packing import SEGMENTS, collator, token_loss

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2)  # fmt: skip
    model = LlamaForCausalLM._from_config(config, attn_implementation=SEGMENTS)
    rows = [
        Encoded(list(range(3, 3 + size)), [place > 4 for place in range(size)], cut=False)
        for size in (40, 25)
    ]
    found = {}
    for device in ("cpu", "cuda"):
        batch = {
            key: value.to(device) if torch.is_tensor(value) else value
            for key, value in collator(0)(rows).items()
        }
        labels = batch.pop("labels")
        model.zero_grad()
        loss = token_loss(model.to(device)(**batch, use_cache=False), labels)
        loss.backward()
        found[device] = loss.item(), [weight.grad.cpu() for weight in model.parameters()]
    assert found["cpu"][0] == pytest.approx(found["cuda"][0], abs=1e-5)
    for ours, theirs in zip(found["cpu"][1], found["cuda"][1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)
