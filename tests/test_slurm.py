"""A sweep through a real Slurm of one node: tests/slurm_node.sh sets it up on the loopback."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from warmth.digest import ROOT
from warmth.store import read_json, read_rows

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]
NODE = ROOT / "tests" / "slurm_node.sh"
LAUNCHER = [
    "hydra/launcher=slurm",
    "hydra.launcher.cpus=1",
    "hydra.launcher.mem_gb=2",
    "hydra.launcher.poll_s=0.5",
    "hydra.launcher.at_once=2",
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if os.getuid() or not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))):
        pytest.skip("needs root, slurm-wlm and munge")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([NODE, "start", folder], check=True, timeout=120)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield
        subprocess.run(["scancel", "--user", "root"], check=False)
        subprocess.run([NODE, "stop", folder], check=False)


@pytest.fixture
def train(cluster, tiny_model_folder, tmp_path):
    """Starts `train.py -m` on the tiny model; long enough to be hit in the middle."""

    def start(*words, slurm=True):
        small = [
            "data.per_type=2",
            "recipe.epochs=15",
            "recipe.checkpoints=[]",
            "launcher=local",
            "launcher.save_steps=3",
        ]
        model = [
            f"model.path={tiny_model_folder}",
            "model.name=tiny",
            "logger=none",
            f"output={tmp_path}",
        ]
        argv = [
            sys.executable,
            "train.py",
            "-m",
            *model,
            *small,
            *(LAUNCHER if slurm else []),
            *words,
        ]
        return subprocess.Popen(
            argv, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )

    return start


def states(tmp_path):
    """The rows of the sweep's summary, by learning rate."""
    (path,) = tmp_path.glob("default/sweeps/*.json")
    rows = json.loads(path.read_text())["runs"]
    rate = {
        row["run"]: json.loads(
            (tmp_path / "default" / "train" / row["run"] / "config.json").read_text()
        )
        for row in rows
    }
    return {rate[row["run"]]["recipe"]["learning_rate"]: row for row in rows}


def jobs_of(tmp_path):
    """Job ids by run name, from the claims of what was submitted and has not ended."""
    rows = {
        path.name.removesuffix(".claim"): json.loads(path.read_text())["job"]
        for path in claims_in(tmp_path)
    }
    return {name: job for name, job in rows.items() if job}


def claims_in(tmp_path):
    return list(tmp_path.glob("default/train/*.claim"))


def wait_for(condition, seconds=600):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.2)
    return found


def test_a_sweep_of_four_with_one_cancelled_and_continued_and_one_failing(train, tmp_path, capsys):
    rates = "recipe.learning_rate=1e-3,2e-3,3e-3,1e300"
    sweep = train(rates)

    def under_way():
        for folder in (tmp_path / "default" / "train").glob("tiny-*-s0-*"):
            if (
                list(folder.glob("resume/checkpoint-*/complete"))
                and not (folder / "done.json").exists()
            ):
                return folder

    hit = wait_for(under_way)
    before = list(read_rows(hit / "metrics.jsonl"))[:3]
    subprocess.run(["scancel", jobs_of(tmp_path)[hit.name]], check=True)
    err = sweep.communicate(timeout=600)[1]
    rows = states(tmp_path)
    assert sweep.returncode == 1, err
    assert rows[1e300]["state"] == "failed" and rows[1e300]["message"] and rows[1e300]["log"]
    cancelled = next(row for row in rows.values() if row["run"] == hit.name)
    assert cancelled["state"] in ("interrupted", "killed") and cancelled["message"]
    assert sorted(row["state"] for row in rows.values() if row["run"] != hit.name) == [
        "done",
        "done",
        "failed",
    ]
    with capsys.disabled():
        print(err)

    again = train(rates)
    err = again.communicate(timeout=600)[1]
    with capsys.disabled():
        print(err)
    assert again.returncode == 1 and "submitted 2 jobs" in err
    assert sorted(row["state"] for row in states(tmp_path).values()) == [
        "done",
        "done",
        "done",
        "failed",
    ]
    rows = list(read_rows(hit / "metrics.jsonl"))
    assert [row["step"] for row in rows] == list(range(1, 46)) and rows[
        :3
    ] == before  # continued: their seconds too


def test_two_tasks_on_one_node_train_together_like_one_process_also_when_queued_again(
    train, tmp_path
):
    fixed = ["recipe.dropout=0", "recipe.precision=float32"]
    alone = train(*fixed, "hydra/launcher=basic", f"output={tmp_path}/alone", slurm=False)
    nodes = [
        "launcher=deepspeed_zero2",
        "launcher.nodes=2",
        "launcher.ranks=1",
        "hydra.launcher.tasks_per_node=2",
    ]
    together = train(*fixed, *nodes)
    wait_for(lambda: list(tmp_path.glob("default/train/*/resume/checkpoint-*/complete")))
    (number,) = jobs_of(tmp_path).values()
    subprocess.run(["scancel", "--signal=USR2", number], check=True)
    errors = [sweep.communicate(timeout=600)[1] for sweep in (alone, together)]
    assert (alone.returncode, together.returncode) == (0, 0), errors
    (one,), (two,) = (
        folder.glob("default/train/tiny-*-s0-*[0-9a-f]")
        for folder in (tmp_path / "alone", tmp_path)
    )
    assert one.name == two.name and read_json(two / "provenance.json")["ranks"] == 2
    curves = [[row["loss"] for row in read_rows(folder / "metrics.jsonl")] for folder in (one, two)]
    assert len(curves[0]) == 45 and curves[1] == pytest.approx(curves[0], abs=1e-5)
    logs = [
        (tmp_path / "default" / "slurm" / f"{number}_{task}_log.out").read_text() for task in (0, 1)
    ]
    assert "Requeued job" in logs[0] and logs[1].count("node 1 of 2: joining") == 2


def test_an_interrupted_command_leaves_its_jobs_and_follows_them_again(train, tmp_path):
    first = train("recipe.epochs=20")
    wait_for(lambda: jobs_of(tmp_path))
    first.send_signal(signal.SIGINT)
    err = first.communicate(timeout=60)[1]
    assert first.returncode == 130 and "the same command follows them" in err
    second = train("recipe.epochs=20")
    err = second.communicate(timeout=600)[1]
    assert second.returncode == 0 and "submitted 1 jobs" not in err, err
    assert "which an earlier command submitted: followed" in err
    assert [row["state"] for row in states(tmp_path).values()] == ["done"]


def test_a_job_at_its_time_limit_saves_is_queued_again_and_continues(train, tmp_path):
    """The signal ahead of the limit is sent by hand: Slurm's own limit is a whole minute at
    least.
    """
    sweep = train("recipe.epochs=25")
    wait_for(lambda: list((tmp_path / "default" / "train").glob("*/resume/checkpoint-*/complete")))
    (number,) = jobs_of(tmp_path).values()
    subprocess.run(["scancel", "--signal=USR2", number], check=True)
    err = sweep.communicate(timeout=600)[1]
    assert sweep.returncode == 0, err
    (folder,) = (tmp_path / "default" / "train").glob("tiny-*-s0-*[0-9a-f]")
    assert [row["step"] for row in read_rows(folder / "metrics.jsonl")] == list(range(1, 76))
    log = (tmp_path / "default" / "slurm" / f"{number}_0_log.out").read_text()
    assert "Requeued job" in log


def test_two_equal_commands_and_an_evaluation_that_waits_in_the_queue(
    cluster, train, tiny_model_folder, tmp_path
):
    """Nothing is submitted twice; jobs of two needs never exceed `at_once` together; the evaluation
    waits its turn.
    """
    rates = "recipe.learning_rate=1e-3,2e-3,3e-3"
    first = train(rates, "recipe.epochs=8")
    wait_for(lambda: jobs_of(tmp_path))
    second = train(rates, "recipe.epochs=8")
    model = [
        f"model.path={tiny_model_folder}",
        "model.name=tiny",
        "logger=none",
        f"output={tmp_path}",
    ]
    same = [
        "data.per_type=2",
        "recipe.epochs=8",
        "recipe.checkpoints=[]",
        "recipe.learning_rate=2e-3",
        "gates=warn",
    ]
    few = [
        "checkpoint=8",
        "limit=1",
        "warmth.prompts=0",
        "condition=[unmodified]",
        "beliefs=[none]",
        "sampling.max_new_tokens=4",
    ]
    argv = [sys.executable, "evaluate.py", "-m", *model, *same, *few, "engine.dtype=float32"]
    evaluation = subprocess.Popen(
        argv, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    errors = [command.communicate(timeout=600)[1] for command in (first, second, evaluation)]
    assert first.returncode == 0, errors[0]
    assert "left alone" in errors[1] and "submitted" not in errors[1].replace(
        "is submitted as job", ""
    ), errors[1]
    assert "waiting for its training default/train/tiny-demo-s0-" in errors[2], errors[2]
    assert list(tmp_path.glob("default/evaluate/*/answers.jsonl"))
    numbers = {
        path.name.split("_0_log")[0]
        for path in (tmp_path / "default" / "slurm").glob("*_0_log.out")
    }
    assert len(numbers) == 3
    assert not claims_in(tmp_path)
