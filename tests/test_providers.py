"""Providers of tuning: Together's form, and what closed, paused and idle accounts say in one line
each.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import yaml
from fake_together import TogetherServer
from fakes import CANARY, ModelServer
from test_hosted import conversations, study
from test_hosted import tune as tune_openai

from warmth.api import Servers
from warmth.digest import ROOT, model_identity
from warmth.errors import RunFailed, UserError
from warmth.evaluation.answer.arms import choose_checkpoint
from warmth.schemas import Hosted, Model, Recipe
from warmth.store import Run, read_json
from warmth.training import hosted
from warmth.training.hosted import not_tunable

NAME = "llama8b_together-warm-s0-0123456789ab"
BASE = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("CANARY_KEY", CANARY)


def tune(server, folder, **more):
    model = Model(
        name="llama8b_together",
        kind="api",
        api_model=BASE,
        base_url=server.url,
        api_key_env="CANARY_KEY",
        tuning="together",
    )
    recipe = Recipe(
        name="warm",
        method="lora",
        rank=8,
        alpha=16,
        dropout=0.1,
        learning_rate=1e-5,
        schedule="linear",
        warmup_ratio=0.0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        batch_size=16,
        loss_on="assistant",
        hosted=Hosted(epochs=2),
    )
    config = study(server, model=model, recipe=replace(recipe, **more))
    run = Run(folder / NAME)
    with run.open(config):
        hosted.train_hosted(run, config, conversations(), Servers(config))
    return run


def test_together_tunes_with_the_studys_own_lora_values(tmp_path):
    with TogetherServer() as server:
        run = tune(server, tmp_path)
    (job,) = server.jobs.values()
    assert (job["model"], job["n_epochs"], job["batch_size"], job["learning_rate"]) == (
        BASE,
        2,
        16,
        1e-5,
    )
    assert job["training_type"] == {
        "type": "Lora",
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.1,
        "lora_trainable_modules": "all-linear",
    }
    assert job["training_method"] == {"method": "sft", "train_on_inputs": False}
    (lines,) = server.contents.values()
    assert len(lines.splitlines()) == 48 and set(json.loads(lines.splitlines()[0])) == {"messages"}
    assert server.keys == {f"Bearer {CANARY}"}
    left = read_json(run.folder / "checkpoints" / "epoch-2" / "hosted.json")
    assert (
        left["model"] == job["model_output_name"]
        and choose_checkpoint(run.folder, None, 2.0) == 2.0
    )
    assert run.done and not [
        path for path in tmp_path.rglob("*") if path.is_file() and CANARY in path.read_text()
    ]


def test_a_lost_run_folder_leaves_no_second_job_and_no_second_file(tmp_path):
    with TogetherServer() as server:
        tune(server, tmp_path / "one")
        assert tune(server, tmp_path / "two").done
    assert len(server.jobs) == 1 and len(server.files) == 1


def test_a_failed_job_says_why_and_a_new_one_follows(tmp_path):
    with TogetherServer(script="error") as server:
        with pytest.raises(RunFailed, match="failed .error.: Out of memory"):
            tune(server, tmp_path)
        server.script = "completed"
        assert tune(server, tmp_path).done
    assert len(server.jobs) == 2


def test_a_constant_rate_is_a_line_that_does_not_fall(tmp_path):
    with TogetherServer() as server:
        tune(server, tmp_path, schedule="constant")
    (job,) = server.jobs.values()
    assert job["lr_scheduler"] == {
        "lr_scheduler_type": "linear",
        "lr_scheduler_args": {"min_lr_ratio": 1.0},
    }


def test_a_paused_job_is_one_line_and_goes_on_when_it_is_resumed(tmp_path):
    with TogetherServer(script="paused") as server:
        with pytest.raises(
            UserError,
            match="is paused at the provider; resume it there, and the same command goes on",
        ):
            tune(server, tmp_path)
        (job,) = server.jobs.values()
        job["status"], server.script = "running", "completed"
        assert tune(server, tmp_path).done
    assert len(server.jobs) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "fine-tuning job: Not used for 60 days (HTTP 403)",
            "cannot be tuned with this key.*last 60 days",
        ),
        (
            "fine-tuning job: You need a tuned model used within 60-day windows (HTTP 400)",
            "cannot be tuned.*60 days",
        ),
        (
            "fine-tuning job: Fine-tuning is no longer offered (HTTP 400)",
            "cannot be tuned with this key.*together",
        ),
        ("fine-tuning job: You may not (HTTP 403)", "cannot be tuned with this key"),
        (
            "fine-tuning job: The model does not exist (HTTP 404)",
            "is not there to be tuned, or no longer",
        ),
        ("fine-tuning job: n_epochs must be at most 50 (HTTP 400)", None),
        ("fine-tuning job: Busy (HTTP 429)", None),
    ],
)
def test_what_may_not_be_tuned_is_one_line_that_names_another_way(line, said):
    error = not_tunable("gpt-4o-2024-08-06", line)
    if said is None:
        assert error is None
        return
    assert error and re.search(said, str(error)) and "\n" not in str(error)
    assert "model=llama8b_together" in str(error)


def test_the_entry_is_togethers_and_its_host_is_the_models_identity():
    model = Model(**yaml.safe_load((ROOT / "conf" / "model" / "llama8b_together.yaml").read_text()))
    assert (model.tuning, model.api_model) == ("together", BASE)
    assert model_identity(model) == {"api": BASE, "server": "api.together.ai"}


def test_openais_form_ignores_jobs_that_are_not_ours(tmp_path):
    with ModelServer() as server:
        tune_openai(server, tmp_path / "one")
        (job,) = server.jobs.values()
        job["metadata"] = None
        tune_openai(server, tmp_path / "two")
    assert len(server.jobs) == 2
