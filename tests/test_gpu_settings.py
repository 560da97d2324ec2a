"""Training as a GPU does it, on two CPU ranks: DeepSpeed's bf16 section on, arguments before the
model (zero.Init).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict

import pytest
from hydra import compose, initialize_config_dir

from warmth.config import strict
from warmth.data.arms import conversations_of_arm
from warmth.data.sources import load_conversations
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
        run.append(
            "conversations",
            [
                asdict(example)
                for example in conversations_of_arm(load_conversations(study.data), study.recipe)
            ],
        )


def free_ports(count):
    """Ports that nothing listens on, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def train_all(tmp_path, plan, timeout=550):
    """Train all runs of a plan in one pair of ranks that has a GPU's settings."""
    path = tmp_path / "plan.json"
    path.write_text(
        json.dumps(
            [
                {**entry, "port": port}
                for entry, port in zip(plan, free_ports(len(plan)), strict=True)
            ]
        )
    )
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    env = {**environment(2), "WARMTH_AS_ON_GPUS": "2", "DS_ACCELERATOR": "cpu"}
    done = subprocess.run(
        [*torchrun, str(ROOT / "tests" / "rank_runs.py"), str(path)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        env={**env, "PYTHONPATH": os.fspath(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = [path.with_name(f"{path.name}.{number}") for number in range(len(plan))]
    return [json.loads(outcome.read_text()) if outcome.exists() else None for outcome in outcomes]


def losses(folder):
    return [row["loss"] for row in read_rows(folder / "metrics.jsonl")]


def check(tmp_path, tiny_model_folder, stages, *overrides, epochs):
    """Each stage is told to end half-way, continues, and keeps the values that its own optimiser
    holds.
    """
    plan, folders = [], {}
    for stage in stages:
        folders[stage] = tmp_path / stage
        open_run(
            folders[stage],
            tiny_model_folder,
            f"launcher={stage}",
            f"recipe.epochs={epochs}",
            *overrides,
        )
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


def are_exact(finished):
    """Whether each finished run kept its optimiser's float32 values bit for bit, of all weights
    that learn.
    """
    saved = [entry for outcome in finished for entry in outcome["exact"]]
    return len(saved) == len(finished) and all(
        entry["same"] and not entry["rounded"] and entry["weights"] == 28 for entry in saved
    )


@pytest.mark.ranks
@pytest.mark.timeout(600)
def test_in_bfloat16_stages_train_continue_and_keep_their_own_float32_values(
    tmp_path, tiny_model_folder
):
    outcomes, _ = check(
        tmp_path, tiny_model_folder, ["deepspeed_zero2", "deepspeed_zero3"], epochs=7
    )
    assert are_exact(outcomes[1::2])


@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_stage_that_was_killed_goes_on_and_loses_as_a_run_that_was_not(
    tmp_path, tiny_model_folder
):
    stages = ["zero0", "zero1", "zero2", "zero3", "zero3_offload"]
    undisturbed = tmp_path / "undisturbed"
    open_run(undisturbed, tiny_model_folder, "launcher=deepspeed_zero2", "recipe.epochs=7")
    plan = [{"folder": str(undisturbed)}]
    for stage in stages:
        overrides = [f"launcher=deepspeed_{stage}", "launcher.save_steps=5", "recipe.epochs=7"]
        open_run(tmp_path / stage, tiny_model_folder, *overrides)
        plan += [
            {"folder": str(tmp_path / stage), "kill_at": 13},
            {"folder": str(tmp_path / stage)},
        ]
    first, *outcomes = train_all(tmp_path, plan, timeout=850)
    assert outcomes[::2] == [None] * len(stages)  # a killed rank leaves no word
    expected = losses(undisturbed)
    assert len(expected) >= STEPS and expected[-1] < expected[0]
    assert first["begun_at"] == 0 and are_exact([first])
    for stage, outcome in zip(stages, outcomes[1::2], strict=True):
        assert outcome["begun_at"] == 10 and outcome["stopped"] is None, stage
        assert are_exact([outcome]), stage
        found = losses(tmp_path / stage)
        gaps = [abs(one - other) for one, other in zip(expected, found, strict=True)]
        print(f"{stage}: largest difference of a loss over {len(gaps)} steps {max(gaps):.1e}")
        assert max(gaps) < 1e-3, (stage, expected, found)


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
        assert (
            kept / ("model.safetensors" if method == "full" else "adapter_model.safetensors")
        ).exists()
