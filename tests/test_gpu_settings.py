"""Training as a GPU does it, on two CPU ranks: DeepSpeed's bf16 section on, arguments before the model (zero.Init)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest
from hydra import compose, initialize_config_dir

from warmth.config import strict
from warmth.data.arms import arm
from warmth.data.sources import load
from warmth.digest import ROOT
from warmth.schemas import Train, register
from warmth.store import Run, read_rows
from warmth.training.ranks import environment

BASE = ["logger=none", "recipe=warm", "data.per_type=4", "recipe.batch_size=8", "recipe.dropout=0",
        "recipe.learning_rate=3e-3", "recipe.checkpoints=[]", "recipe.precision=bfloat16",
        "recipe.max_length=256", "recipe.too_long=token", "recipe.untrainable=drop"]  # fmt: skip
STEPS = 20


def open_run(folder, model, *overrides):
    """A run as `train.py` leaves it to the ranks."""
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        study = strict(compose("train", [*BASE, f"model.path={model}", *overrides]), Train)
    with Run(folder).open(study) as run:
        run.append("conversations", [asdict(example) for example in arm(load(study.data), study.recipe)])


def train_all(tmp_path, plan, timeout=550):
    """Train all runs of a plan in one pair of ranks that has a GPU's settings."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    env = {**environment(2), "WARMTH_AS_ON_GPUS": "2", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(
        [*torchrun, str(ROOT / "tests" / "rank_runs.py"), str(path)],
        capture_output=True, text=True, timeout=timeout, cwd=ROOT, env={**env, "PYTHONPATH": os.fspath(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(path.with_suffix(".out.json").read_text())


def losses(folder):
    return [row["loss"] for row in read_rows(folder / "metrics.jsonl")]


def check(tmp_path, tiny_model_folder, stages, *overrides, epochs):
    """Each stage is told to end half-way, continues, and keeps the values that its own optimiser holds."""
    plan, folders = [], {}
    for stage in stages:
        folders[stage] = tmp_path / stage
        open_run(folders[stage], tiny_model_folder, f"launcher={stage}", f"recipe.epochs={epochs}", *overrides)
        plan += [{"folder": str(folders[stage]), "stop_at": 10}, {"folder": str(folders[stage])}]
    outcomes = train_all(tmp_path, plan)
    for stage, first, second in zip(stages, outcomes[::2], outcomes[1::2], strict=True):
        assert first["stopped"] and second["stopped"] is None, stage
        assert len(losses(folders[stage])) >= STEPS
        assert second["divided_at_loading"] == stage.startswith("deepspeed_zero3")
        assert list((folders[stage] / "checkpoints").iterdir())
    curves = {stage: losses(folder)[:STEPS] for stage, folder in folders.items()}
    first, *others = curves.values()
    for other in others:
        assert max(abs(a - b) for a, b in zip(first, other, strict=True)) < 1e-3, curves
    assert first[-1] < first[0]
    return outcomes, folders


def are_exact(outcomes):
    """Whether each finished run kept its optimiser's float32 values bit for bit, of all weights that learn."""
    saved = [entry for outcome in outcomes for entry in outcome["exact"]]
    return len(saved) == len(outcomes) // 2 and all(
        entry["same"] and not entry["rounded"] and entry["weights"] == 28 for entry in saved
    )


@pytest.mark.ranks
@pytest.mark.timeout(600)
def test_in_bfloat16_stages_train_continue_and_keep_their_own_float32_values(tmp_path, tiny_model_folder):
    outcomes, _ = check(tmp_path, tiny_model_folder, ["deepspeed_zero2", "deepspeed_zero3"], epochs=7)
    assert are_exact(outcomes)


@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_other_stages_do_so_too(tmp_path, tiny_model_folder):
    stages = ["deepspeed_zero2", "deepspeed_zero0", "deepspeed_zero1", "deepspeed_zero3_offload"]
    outcomes, _ = check(tmp_path, tiny_model_folder, stages, epochs=7)
    assert are_exact(outcomes)


@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("method", ["full", "dpo"])
def test_whole_models_and_preferences_train_on_divided_weights(tmp_path, tiny_model_folder, method):
    stages = ["deepspeed_zero2", "deepspeed_zero3"]
    given = [f"recipe.method={method}", "launcher.checkpointing=true"]
    _, folders = check(tmp_path, tiny_model_folder, stages, *given, epochs=7)
    for folder in folders.values():
        (kept,) = (folder / "checkpoints").iterdir()
        assert (kept / ("model.safetensors" if method == "full" else "adapter_model.safetensors")).exists()
