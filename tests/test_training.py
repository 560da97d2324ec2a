"""Real ranks on a tiny model: the launcher, the number of ranks and an interruption change
nothing.
"""

import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file
from test_tracking import records

from warmth.config import strict
from warmth.digest import ROOT
from warmth.schemas import Train, register
from warmth.store import find_run

pytestmark = pytest.mark.ranks
TINY = [
    "logger=none",
    "recipe=warm",
    "data.per_type=4",
    "recipe.batch_size=8",
    "recipe.epochs=2",
    "recipe.dropout=0",
    # fmt: skip
    "recipe.learning_rate=3e-3",
    "recipe.precision=float32",
    "recipe.checkpoints=[1]",
]


def command(folder, model, *overrides):
    given = [*TINY, f"output={folder}", f"model.path={model}", *overrides]
    return [sys.executable, str(ROOT / "train.py"), *given]


def train(folder, model, *overrides, code=0):
    done = subprocess.run(
        command(folder, model, *overrides), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == code, done.stderr[-2000:]
    return done


def run_in(folder):
    (run,) = [path for path in (folder / "default" / "train").iterdir() if path.is_dir()]
    return run


def losses(folder):
    return [
        json.loads(line)["loss"]
        for line in (run_in(folder) / "metrics.jsonl").read_text().splitlines()
    ]


def weights(folder):
    return load_file(run_in(folder) / "checkpoints" / "epoch-2" / "adapter_model.safetensors")


LONGER = ["recipe.epochs=10", "recipe.checkpoints=[]"]


def metrics(folder):
    """Rows so far."""
    files = list(folder.glob("default/train/*/metrics.jsonl"))
    return files[0].read_text().count("\n") if files else 0


def wait_for(condition, process):
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None, "the run ended too early"
        time.sleep(0.05)
    raise AssertionError("nothing happened for a minute")


def ranks_of(folder):
    """Process ids of a run's ranks, by rank."""
    found = subprocess.run(
        ["pgrep", "-f", f"warmth.training.sft {folder}"], capture_output=True, text=True
    ).stdout.split()
    own = [pid for pid in found if "torch.distributed.run" not in _cmdline(pid)]
    return sorted(
        own, key=lambda pid: next((one for one in _environ(pid) if one.startswith("RANK=")), "")
    )


def _cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as stream:
            return stream.read()
    except OSError:
        return "torch.distributed.run"


@pytest.fixture(scope="module")
def longer(tmp_path_factory, tiny_model_folder):
    """30 steps, undisturbed."""
    folder = tmp_path_factory.mktemp("longer")
    train(folder, tiny_model_folder, *LONGER)
    return folder


@pytest.fixture(scope="module")
def reference(tmp_path_factory, tiny_model_folder):
    """One process, a whole batch in one pass."""
    folder = tmp_path_factory.mktemp("reference")
    train(folder, tiny_model_folder, "launcher.per_device=8")
    return folder


def test_a_finished_run_holds_checkpoints_rows_and_a_loss_that_falls(reference):
    run = run_in(reference)
    assert {path.name for path in run.iterdir()} == {
        "checkpoints",
        "config.json",
        "conversations.jsonl",
        "done.json",
        "logs",
        "metrics.jsonl",
        "provenance.json",
        "status.json",
        "summary.json",
    }
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["epoch-1", "epoch-2"]
    curve = losses(reference)
    assert len(curve) == 6 and curve[-1] < curve[0]


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["launcher.per_device=2"], id="accumulation"),
        pytest.param(
            ["launcher=deepspeed_zero0", "launcher.per_device=4"],
            id="zero0",
            marks=pytest.mark.slow,
        ),
        pytest.param(["launcher=deepspeed_zero2", "recipe.packing=false"], id="zero2-unpacked"),
        pytest.param(
            ["launcher=deepspeed_zero3", "launcher.tokens_per_pass=4096"],
            id="zero3-full-passes",
            marks=pytest.mark.slow,
        ),
        pytest.param(["launcher=ddp", "launcher.per_device=4"], id="ddp", marks=pytest.mark.slow),
    ],
)
def test_passes_ranks_and_zero_stage_leave_losses_and_adapter_as_they_are(
    tmp_path, reference, tiny_model_folder, overrides
):
    train(tmp_path, tiny_model_folder, *overrides)
    assert losses(tmp_path) == pytest.approx(losses(reference), abs=1e-5)
    ours, theirs = weights(tmp_path), weights(reference)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (ours[name] - tensor).abs().max() < 1e-4, name


def test_a_run_killed_in_the_middle_continues_bit_equal_even_with_dropout(
    tmp_path, tiny_model_folder
):
    dropout = ["recipe.dropout=0.1", "launcher.save_steps=2", "recipe.epochs=4"]
    train(tmp_path / "calm", tiny_model_folder, *dropout)
    process = subprocess.Popen(
        command(tmp_path / "killed", tiny_model_folder, *dropout),
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    path = None
    for _ in range(600):
        path = next(
            (tmp_path / "killed").glob("default/train/*/resume/checkpoint-4/complete"), None
        )
        if path or process.poll() is not None:
            break
        time.sleep(0.1)
    assert path, "no resume checkpoint appeared"
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1)  # its rank dies with it
    train(tmp_path / "killed", tiny_model_folder, *dropout)
    assert losses(tmp_path / "killed") == losses(tmp_path / "calm")
    steps = [
        json.loads(line)["step"]
        for line in (run_in(tmp_path / "killed") / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == list(range(1, 13))
    killed = run_in(tmp_path / "killed")
    outcome, status = (
        json.loads((killed / name).read_text()) for name in ("summary.json", "status.json")
    )
    (measured,) = map(json.loads, (tmp_path / "killed" / "measured.jsonl").read_text().splitlines())
    assert (
        measured["tokens"] == outcome["last_attempt"]["tokens"] < outcome["tokens"]
    )  # those whose seconds are known
    assert measured["seconds"] == outcome["last_attempt"]["seconds"] < outcome["seconds"]
    assert status["attempts"] == 2


@pytest.mark.slow
def test_a_run_told_to_leave_in_the_middle_of_a_step_continues_bit_equal_even_with_dropout(
    tmp_path, tiny_model_folder
):
    dropout = [
        "recipe.dropout=0.1",
        "launcher.save_steps=1000",
        "recipe.epochs=6",
        "launcher.per_device=1",
    ]
    train(tmp_path / "calm", tiny_model_folder, *dropout)
    told = tmp_path / "told"
    process = subprocess.Popen(
        command(told, tiny_model_folder, *dropout), stderr=subprocess.DEVNULL
    )
    wait_for(lambda: metrics(told) >= 3, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert list(run_in(told).glob("resume/checkpoint-*/complete"))
    train(told, tiny_model_folder, *dropout)
    assert losses(told) == losses(tmp_path / "calm")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("deepspeed_zero2", "local"),
        ("local", "deepspeed_zero3"),
        ("deepspeed_zero3", "deepspeed_zero1"),
    ],
)
@pytest.mark.slow
def test_a_run_told_to_leave_saves_and_continues_at_other_ranks_or_another_stage(
    tmp_path, longer, tiny_model_folder, first, second
):
    given = [*LONGER, f"launcher={first}", "launcher.save_steps=1000"]
    process = subprocess.Popen(
        command(tmp_path, tiny_model_folder, *given),
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: metrics(tmp_path) >= 3, process)
    told = time.monotonic()
    for pid in ranks_of(tmp_path):
        os.kill(int(pid), signal.SIGTERM)
    error = process.communicate(timeout=60)[1]
    assert time.monotonic() - told < 30
    assert process.returncode == 130, error
    assert list(run_in(tmp_path).glob("resume/checkpoint-*/complete"))
    train(tmp_path, tiny_model_folder, *LONGER, f"launcher={second}")
    assert losses(tmp_path) == pytest.approx(losses(longer), abs=1e-4)


@pytest.mark.slow
def test_two_machines_that_meet_at_a_rendezvous_train_like_one(
    tmp_path, reference, tiny_model_folder
):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = ["launcher=deepspeed_zero2", "launcher.ranks=1", "launcher.nodes=2"]
    meet = [*shared, f"launcher.rendezvous=127.0.0.1:{port}"]
    nodes = [
        subprocess.Popen(
            command(tmp_path, tiny_model_folder, *meet, f"launcher.node={node}"),
            stderr=subprocess.PIPE,
        )
        for node in (1, 0)
    ]
    assert [node.wait(timeout=240) for node in nodes] == [0, 0], [
        node.stderr.read()[-900:] for node in nodes
    ]
    assert losses(tmp_path) == pytest.approx(losses(reference), abs=1e-5)
    assert json.loads((run_in(tmp_path) / "provenance.json").read_text())["ranks"] == 2


@pytest.mark.slow
def test_a_rank_that_hangs_ends_the_run_with_one_line(tmp_path, tiny_model_folder):
    given = ["launcher=deepspeed_zero2", "recipe.epochs=400", "launcher.stalled_s=40"]
    process = subprocess.Popen(
        command(tmp_path, tiny_model_folder, *given), stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: metrics(tmp_path) >= 1, process)
    os.kill(int(ranks_of(tmp_path)[1]), signal.SIGSTOP)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert (
        "no step was finished for launcher.stalled_s=40 seconds" in error.strip().splitlines()[-1]
    )
    assert json.loads((run_in(tmp_path) / "status.json").read_text())["state"] == "failed"


@pytest.mark.parametrize(
    "launcher",
    [["launcher.checkpointing=true"], ["launcher=deepspeed_zero2"]],
)
@pytest.mark.slow
def test_full_fine_tuning_keeps_a_whole_model_that_loads_by_itself(
    tmp_path, tiny_model_folder, launcher
):
    from transformers import AutoModelForCausalLM

    train(tmp_path, tiny_model_folder, "recipe.method=full", *launcher)
    curve, folder = losses(tmp_path), run_in(tmp_path) / "checkpoints" / "epoch-2"
    assert curve[-1] < curve[0]
    kept, base = (
        AutoModelForCausalLM.from_pretrained(path) for path in (folder, tiny_model_folder)
    )
    pairs = zip(kept.parameters(), base.parameters(), strict=True)
    assert all(not new.equal(old) for new, old in pairs)


@pytest.mark.slow
def test_preferences_train_the_same_under_every_launcher_and_are_learnt(
    tmp_path, tiny_model_folder
):
    given = [
        "recipe.method=dpo",
        "recipe.max_length=1024",
        "recipe.untrainable=drop",
        "data.per_type=2",
    ]
    launchers = {"one": "local", "two": "deepspeed_zero2", "uneven": "ddp"}
    for name, launcher in launchers.items():
        pairs = 1 if name == "two" else 8
        train(
            tmp_path / name,
            tiny_model_folder,
            *given,
            f"launcher={launcher}",
            f"launcher.per_device={pairs}",
        )
    one, two, uneven = (losses(tmp_path / name) for name in launchers)
    assert one == pytest.approx(two, abs=1e-5) and one == pytest.approx(uneven, abs=1e-5)
    from warmth.training.fit import TrainingSetup

    passes = [
        [len(rows) for rows in TrainingSetup(run_in(tmp_path / "uneven"), rank, 2).passes]
        for rank in (0, 1)
    ]
    assert passes[0] != passes[1]  # some passes of the two ranks hold different numbers of pairs
    assert one[0] == pytest.approx(math.log(2), abs=1e-5) and one[-1] < one[0]
    assert (
        run_in(tmp_path / "one") / "checkpoints" / "epoch-2" / "adapter_model.safetensors"
    ).exists()


@pytest.mark.slow
def test_what_is_not_trained_on_has_a_loss_at_each_checkpoint_in_metrics_card_and_w_and_b(
    tmp_path, tiny_model_folder
):
    short = [
        "recipe.max_length=192",
        "recipe.too_long=token",
        "recipe.untrainable=drop",
        "data.per_type=2",
    ]
    train(
        tmp_path,
        tiny_model_folder,
        "recipe.method=dpo",
        "data.validation=0.25",
        "logger=wandb",
        *short,
    )
    rows = [
        json.loads(line) for line in (run_in(tmp_path) / "metrics.jsonl").read_text().splitlines()
    ]
    validated = {row["step"]: row["validation_loss"] for row in rows if "validation_loss" in row}
    assert (
        len(validated) == 2 and max(validated) == rows[-1]["step"]
    )  # after the first epoch and at the end
    card = (run_in(tmp_path) / "checkpoints" / "epoch-2" / "README.md").read_text()
    assert f"{validated[rows[-1]['step']]:.4f}, on 3 examples" in card
    (record,) = tmp_path.glob("default/wandb/offline-run-*/*.wandb")
    sent = [
        {item.key or item.nested_key[0]: item.value_json for item in entry.history.item}
        for entry in records(record)
    ]
    name = "train/validation_loss"
    followed = {int(point["_step"]): float(point[name]) for point in sent if name in point}
    assert followed == pytest.approx(validated) and any(
        "train/rewards_margins" in point for point in sent
    )


def test_a_run_that_cannot_fit_is_refused_before_anything_is_loaded(tmp_path, tiny_model_folder):
    huge = tmp_path / "model"
    shutil.copytree(tiny_model_folder, huge)
    config = json.loads((huge / "config.json").read_text())
    sizes = {
        "hidden_size": 65536,
        "intermediate_size": 262144,
        "num_hidden_layers": 100,
        "head_dim": 16384,
    }
    (huge / "config.json").write_text(json.dumps({**config, **sizes}))
    line = train(tmp_path, huge, code=2).stderr.strip().splitlines()[-1]
    assert (
        "a rank would need" in line
        and "GiB are free; try" in line
        and "launcher.checkpointing=true" in line
    )


@pytest.mark.slow
def test_a_run_continued_on_other_conversations_is_refused(tmp_path, tiny_model_folder):
    origin = {"base": {"path": "x", "template": None}, "revision": None, "data": "x"}
    started = train(tmp_path, tiny_model_folder)
    run = run_in(tmp_path)
    (run / "done.json").unlink()
    (run / "resume").mkdir()
    (run / "resume" / "origin.json").write_text(json.dumps(origin))
    assert "done" in started.stderr
    line = train(tmp_path, tiny_model_folder, code=2).stderr.strip().splitlines()[-1]
    assert "began with another base model" in line and "resume" in line


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_random_kills_leave_the_run_as_if_undisturbed(tmp_path, tiny_model_folder):
    """Each start is killed at a random moment, while it loads as well as while it trains or
    saves.
    """
    given = ["recipe.dropout=0.1", "launcher.save_steps=1", "recipe.epochs=8"]
    train(tmp_path / "calm", tiny_model_folder, *given)
    chance = random.Random(0)
    kills = 0
    while kills < 20:
        process = subprocess.Popen(
            command(tmp_path / "killed", tiny_model_folder, *given),
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        wanted = -1 if kills % 5 == 4 else metrics(tmp_path / "killed")
        wait_for(lambda wanted=wanted: metrics(tmp_path / "killed") > wanted, process)
        time.sleep(chance.uniform(0, 0.4))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        time.sleep(0.3)
    train(tmp_path / "killed", tiny_model_folder, *given)
    assert kills >= 15 and losses(tmp_path / "killed") == losses(tmp_path / "calm")
    ours, theirs = (
        load_file(run_in(tmp_path / name) / "checkpoints" / "epoch-8" / "adapter_model.safetensors")
        for name in ("killed", "calm")
    )
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_the_same_command_again_does_nothing(reference, tiny_model_folder):
    before = (run_in(reference) / "done.json").stat().st_mtime_ns
    assert "done already" in train(reference, tiny_model_folder).stderr
    assert (run_in(reference) / "done.json").stat().st_mtime_ns == before


def test_evaluation_finds_the_run_by_the_same_overrides(reference, tiny_model_folder):
    from hydra import compose, initialize_config_dir

    from warmth.digest import training_digest

    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        study = strict(
            compose("train", [*TINY, f"output={reference}", f"model.path={tiny_model_folder}"]),
            Train,
        )
    assert find_run(reference, "default", "train", training_digest(study)) == run_in(reference)


def test_a_dead_rank_fails_the_run_within_thirty_seconds_and_shows_its_last_lines(
    tmp_path, tiny_model_folder
):
    process = subprocess.Popen(
        command(tmp_path, tiny_model_folder, "launcher=deepspeed_zero2", "recipe.epochs=200"),
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    ranks = []
    for _ in range(900):
        ranks = ranks_of(tmp_path)
        if len(ranks) == 2 and list(tmp_path.glob("default/train/*/metrics.jsonl")):
            break
        time.sleep(0.1)
    os.kill(int(ranks[1]), signal.SIGKILL)
    killed = time.monotonic()
    error = process.communicate(timeout=60)[1]
    assert time.monotonic() - killed < 30
    assert process.returncode == 1
    log = run_in(tmp_path).resolve() / "logs" / "rank-1.log"
    assert (
        "error: a rank ended with code" in error
        and f"all its words: {log}: killed by SIGKILL" in error
    )
    status = json.loads((run_in(tmp_path) / "status.json").read_text())
    assert status["state"] == "failed" and "killed by SIGKILL" in status["message"]
    assert not (run_in(tmp_path) / "done.json").exists()


def _environ(pid):
    try:
        with open(f"/proc/{pid}/environ") as stream:
            return stream.read().split("\0")
    except OSError:
        return ""


def test_a_learning_rate_that_explodes_is_one_line_with_the_remedy(tmp_path, tiny_model_folder):
    error = train(tmp_path, tiny_model_folder, "recipe.learning_rate=1e30", code=1).stderr
    assert "learning_rate" in error.strip().splitlines()[-1]
    assert not list(tmp_path.glob("**/done.json"))


def test_a_model_folder_without_tokenizer_is_refused(tmp_path, tiny_model_folder):
    broken = tmp_path / "model"
    broken.mkdir()
    for name in ("config.json", "model.safetensors"):
        (broken / name).symlink_to(tiny_model_folder / name)
    error = train(tmp_path, broken, code=2).stderr
    assert error.strip().splitlines()[-1] == (
        f"error: model.path={broken} holds no tokenizer (tokenizer.json, tokenizer.model or "
        f"vocab.json)"
    )


def test_a_batch_that_ranks_cannot_share_is_refused_before_anything_starts(
    tmp_path, tiny_model_folder
):
    started = time.monotonic()
    error = train(
        tmp_path, tiny_model_folder, "launcher=deepspeed_zero2", "recipe.batch_size=7", code=2
    ).stderr
    assert "recipe.batch_size=7 cannot be divided among launcher.ranks=2" in error
    assert time.monotonic() - started < 4
