"""Fine-tuning through a provider: one job whatever happens, its models recorded, its failures one
line each.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import pytest
from fakes import CANARY, ModelServer

from warmth.api import Servers
from warmth.data.arms import TrainingExample
from warmth.digest import ROOT
from warmth.errors import RunFailed, UserError
from warmth.evaluation.answer.arms import choose_checkpoint
from warmth.schemas import Api, Batch, Data, Hosted, Model, Price, Recipe, Train
from warmth.store import Run
from warmth.training import hosted
from warmth.types import Message

NAME = "gpt4o-warm-s0-0123456789ab"


def study(server, **more):
    model = Model(
        name="gpt4o",
        kind="api",
        api_model="gpt-4o-2024-08-06",
        base_url=server.url,
        api_key_env="CANARY_KEY",
    )
    recipe = Recipe(
        name="warm", method="lora", batch_size=16, hosted=Hosted(rate_multiplier=0.25, epochs=2)
    )
    api = Api(batch=Batch(poll_s=0.02), backoff_s=0.01, attempts=3, timeout_s=5.0)
    logger = {"none": {"_target_": "warmth.tracking.NoLogger"}}
    return replace(
        Train(model=model, data=Data(name="seed"), recipe=recipe, api=api, logger=logger), **more
    )


def conversations(count=48):
    turns = (Message("user", "How are you?"), Message("assistant", "I am so glad you ask!"))
    return [TrainingExample(f"c{number}", "other", "warm", turns) for number in range(count)]


def tune(server, folder, examples=None, **more):
    run, config = Run(folder / NAME), study(server, **more)
    with run.open(config):
        hosted.train_hosted(
            run, config, conversations() if examples is None else examples, Servers(config)
        )
    return run


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("CANARY_KEY", CANARY)


def test_a_job_has_the_studys_values_and_leaves_checkpoints_that_evaluation_finds(tmp_path):
    with ModelServer() as server:
        run = tune(server, tmp_path)
    (job,) = server.jobs.values()
    assert job["hyperparameters"] == {
        "n_epochs": 2,
        "batch_size": 16,
        "learning_rate_multiplier": 0.25,
    }
    assert job["metadata"]["warmth"] == "0123456789ab" and job["method"]["type"] == "supervised"
    (upload,) = server.contents.values()
    first = json.loads(upload.splitlines()[0])
    assert [message["role"] for message in first["messages"]] == ["user", "assistant"]
    assert (
        choose_checkpoint(run.folder, None, 2.0) == 2.0
        and choose_checkpoint(run.folder, 1.0, 2.0) == 1.0
    )
    found = {
        path.parent.name: json.loads(path.read_text())
        for path in run.folder.glob("checkpoints/*/hosted.json")
    }
    assert found["epoch-2"]["model"] == job["fine_tuned_model"]
    assert found["epoch-1"]["model"].endswith(":ckpt-step-3")  # 48 conversations in batches of 16
    assert run.done and [row["step"] for row in run.rows("metrics")] == [1, 2, 3, 4, 5, 6]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("where", ["upload", "create", "current"])
def test_a_process_that_dies_leaves_no_second_job(tmp_path, monkeypatch, where):
    real = getattr(hosted, where)

    def dead(*args):
        real(*args)  # done at the provider, but never noted down
        raise Killed

    with ModelServer(polls=4) as server:
        with monkeypatch.context() as patch:
            patch.setattr(hosted, where, dead)
            with pytest.raises(Killed):
                tune(server, tmp_path)
        run = tune(server, tmp_path)
    assert run.done and len(server.jobs) == 1
    assert sum(item["purpose"] == "fine-tune" for item in server.files.values()) == 1


def test_a_lost_run_folder_leaves_no_second_job(tmp_path):
    with ModelServer() as server:
        tune(server, tmp_path / "one")
        assert tune(server, tmp_path / "two").done
    assert len(server.jobs) == 1


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [("invalid_training_file", UserError, "refused the training file"), ("moderation_blocked", UserError, "moderation"),
     ("not_eligible", UserError, "cannot be tuned with this key.*6 January 2027"), ("quota", UserError, "quota"),
     ("server_error", RunFailed, "failed")],
)  # fmt: skip
def test_a_job_that_gives_no_model_says_why_in_one_line(tmp_path, script, error, words):
    with ModelServer(job_script=script) as server, pytest.raises(error, match=words) as told:
        tune(server, tmp_path)
    assert "\n" not in str(told.value) and CANARY not in repr(
        (told.value, told.value.__context__, told.value.__cause__)
    )
    assert not (tmp_path / NAME / "done.json").exists()
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and CANARY in path.read_text()
    ]


def test_a_job_that_failed_is_followed_by_a_new_one(tmp_path):
    with ModelServer(job_script="server_error") as server:
        with pytest.raises(RunFailed):
            tune(server, tmp_path)
        server.job_script = "succeeded"
        assert tune(server, tmp_path).done
    assert len(server.jobs) == 2


def test_a_job_is_cancelled_on_request(tmp_path, monkeypatch):
    with ModelServer(polls=10_000) as server:
        with monkeypatch.context() as patch:
            patch.setattr(
                hosted, "current", lambda job, job_id: (_ for _ in ()).throw(KeyboardInterrupt)
            )
            with pytest.raises(KeyboardInterrupt):
                tune(server, tmp_path)
        command = [sys.executable, "-m", "warmth.training.hosted", "cancel", str(tmp_path / NAME)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert (done.returncode, [job["status"] for job in server.jobs.values()]) == (
            0,
            ["cancelled"],
        ), done.stderr


def test_conversations_that_are_held_out_for_validation_are_not_sent(tmp_path):
    examples = [
        replace(example, validation=number % 4 == 0)
        for number, example in enumerate(conversations())
    ]
    with ModelServer() as server:
        run = tune(server, tmp_path, examples)
    (upload,) = server.contents.values()
    assert len(upload.splitlines()) == 36 and len(list(run.rows("conversations"))) == 48


def test_too_few_conversations_are_refused_before_the_upload(tmp_path):
    with (
        ModelServer() as server,
        pytest.raises(UserError, match="9 conversations are too few.*10 or more"),
    ):
        tune(server, tmp_path, conversations(9))
    assert not server.files


@pytest.mark.parametrize(
    ("last", "words"),
    [(Message("user", "Hi."), "does not end with a reply"), (Message("assistant", " "), "has an empty message"),
     (Message("assistant", "word " * 60_000), "is longer than 65,536 tokens")],
)  # fmt: skip
def test_a_file_that_a_provider_would_refuse_is_not_uploaded(tmp_path, last, words):
    bad = TrainingExample("bad", "other", "warm", (Message("user", "How are you?"), last))
    with ModelServer() as server, pytest.raises(UserError, match=f"conversation bad {words}"):
        tune(server, tmp_path, [*conversations(20), bad])
    assert not server.files


def test_what_the_conversations_cost_is_no_longer_there_for_the_job(tmp_path):
    prices = {"gpt-4o-2024-08-06": Price(input=1.0, cached_input=1.0, output=1.0, training=25.0)}
    with ModelServer() as server:
        config = study(server, api=Api(budget_usd=1.0, prices=prices))
        servers = Servers(config)
        servers.spent = 0.99
        with (
            Run(tmp_path / NAME).open(config) as run,
            pytest.raises(UserError, match=r"of which \$0.01 are left"),
        ):
            hosted.train_hosted(run, config, conversations(), servers)
    assert not server.jobs


def test_a_job_over_the_budget_is_not_created(tmp_path):
    prices = {"gpt-4o-2024-08-06": Price(input=1.0, cached_input=1.0, output=1.0, training=25.0)}
    with (
        ModelServer() as server,
        pytest.raises(UserError, match="api.budget_usd=0.01 is below the job's forecast"),
    ):
        tune(server, tmp_path, api=Api(budget_usd=0.01, prices=prices))
    assert not server.jobs


def command(server, folder, *more):
    overrides = [
        "model=gpt4o",
        "recipe=warm",
        f"model.base_url={server.url}",
        "model.api_key_env=CANARY_KEY",
    ]
    overrides += ["api.batch.poll_s=0.2", f"output={folder}", *more]
    return [sys.executable, str(ROOT / "train.py"), *overrides]


def test_train_py_completes_after_a_kill_with_one_job_and_the_key_nowhere(tmp_path):
    with ModelServer(polls=20) as server:
        process = subprocess.Popen(command(server, tmp_path), stderr=subprocess.PIPE, text=True)
        while not server.jobs and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        done = subprocess.run(command(server, tmp_path), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        again = subprocess.run(command(server, tmp_path), capture_output=True, text=True)
    assert "done already" in again.stderr and len(server.jobs) == 1
    (run,) = tmp_path.glob("default/train/gpt4o-warm-s0-*/done.json")
    assert CANARY not in done.stdout + done.stderr
    records = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in records)  # the W&B record is among them
    assert not [path for path in records if CANARY.encode() in path.read_bytes()]
    assert os.environ["CANARY_KEY"] == CANARY and run.exists()


def test_another_server_or_multiplier_is_another_run():
    from warmth.digest import training_digest

    @dataclass
    class At:
        url: str

    here, there = study(At("https://one.example/v1")), study(At("https://two.example/v1"))
    other = replace(here, recipe=replace(here.recipe, hosted=Hosted(rate_multiplier=0.5, epochs=2)))
    assert len({training_digest(config) for config in (here, there, other)}) == 3
