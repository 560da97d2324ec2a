"""Random kills: a sweep that is killed again and again ends, by repeating one command, as if
nothing had happened.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from warmth.digest import ROOT
from warmth.store import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.ranks, pytest.mark.timeout(1500)]


@pytest.fixture
def command(tiny_model_folder, tmp_path):
    """A sweep of the tiny model as a command line for one output folder."""

    def make(output, runs=6):
        words = [
            "data.per_type=2",
            "recipe.epochs=3",
            "recipe.checkpoints=[2]",
            "recipe.dropout=0.1",
            f"seed=range(0,{runs})",
        ]
        model = [
            f"model.path={tiny_model_folder}",
            "model.name=tiny",
            "logger=none",
            f"output={output}",
        ]
        how = [
            "launcher=local",
            "launcher.save_steps=2",
            "hydra/launcher=joblib",
            "hydra.launcher.n_jobs=2",
        ]
        return [sys.executable, "train.py", "-m", *model, *words, *how]

    return make


def descendants(pid):
    """All processes under a process, itself first."""
    table = subprocess.run(
        ["ps", "-eo", "pid=,ppid="], capture_output=True, text=True
    ).stdout.split()
    children = {}
    for child, parent in zip(table[::2], table[1::2], strict=True):
        children.setdefault(int(parent), []).append(int(child))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def outcome(output):
    """What training made, without times: every run's losses and the bytes of its adapters."""
    found = {}
    for folder in sorted((output / "default" / "train").glob("tiny-*[0-9a-f]")):
        if (folder / "done.json").exists():
            losses = [(row["step"], row["loss"]) for row in read_rows(folder / "metrics.jsonl")]
            weights = {
                str(p.relative_to(folder)): p.read_bytes()
                for p in folder.rglob("adapter_model.safetensors")
            }
            found[folder.name] = (
                losses,
                weights,
                json.loads((folder / "summary.json").read_text())["steps"],
            )
    return found


def test_a_sweep_under_random_kills_ends_as_an_undisturbed_one(command, tmp_path):
    calm, wild, chance = tmp_path / "calm", tmp_path / "wild", random.Random(9)
    subprocess.run(command(calm), cwd=ROOT, check=True, capture_output=True, timeout=900)
    killed = []
    for _ in range(30):
        sweep = subprocess.Popen(
            command(wild), cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        if len(killed) < 6:
            time.sleep(
                chance.uniform(1, 7)
            )  # a run alone takes longer, so six kills find something to kill
            family = descendants(sweep.pid)
            victim = chance.choice(family[1:] or family) if chance.random() < 0.7 else sweep.pid
            try:
                os.kill(victim, chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
                killed.append("the sweep" if victim == sweep.pid else "a job or rank")
            except ProcessLookupError:
                pass
        err = sweep.communicate(timeout=900)[1]
        if sweep.returncode == 0 and len(outcome(wild)) == 6:
            break
    else:
        pytest.fail(f"not done after 30 commands; the last one said:\n{err}")
    assert len(killed) >= 3, killed
    assert outcome(wild) == outcome(calm)
    assert not list(wild.rglob("*.partial"))


FORTY = 40
KILLS = 25


def processes_about(output):
    """Command lines of all processes that name an output folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(output) in words and int(path.parent.name) != os.getpid():
            found.append(words)
    return found


def note_finished(output, seen):
    """Note each `done.json` by its inode: one that is written anew is a run that was done twice."""
    for path in output.glob("default/train/*/done.json"):
        try:
            seen.setdefault(path.parent.name, set()).add(path.stat().st_ino)
        except OSError:
            pass


@pytest.mark.release
@pytest.mark.timeout(4 * 3600)
def test_forty_runs_by_two_equal_commands_under_random_kills_end_as_an_undisturbed_sweep(
    command, tmp_path
):
    calm, wild, chance = tmp_path / "calm", tmp_path / "wild", random.Random(40)
    subprocess.run(
        command(calm, FORTY), cwd=ROOT, check=True, capture_output=True, timeout=2 * 3600
    )
    log = (tmp_path / "commands.log").open("wb")

    def start():
        # Words go to a file, since a pipe that nobody reads would fill up. As many jobs at once as
        # in the undisturbed sweep: the threads of a job decide how its sums are rounded.
        return subprocess.Popen(command(wild, FORTY), cwd=ROOT, stdout=log, stderr=log)

    commands = [start(), start()]
    killed = {"a command": 0, "a worker or rank": 0}
    finished: dict[str, set[int]] = {}
    next_kill = time.monotonic() + 10
    while len(finished) < FORTY or any(process.poll() is None for process in commands):
        time.sleep(0.5)
        note_finished(wild, finished)
        for index, process in enumerate(commands):
            if process.poll() is not None and len(finished) < FORTY:
                commands[index] = start()
        if time.monotonic() < next_kill or sum(killed.values()) >= KILLS:
            continue
        next_kill = time.monotonic() + chance.uniform(3, 25)
        parent = chance.choice(commands)
        family = descendants(parent.pid)[1:]
        is_parent = not family or chance.random() < 0.3
        try:
            os.kill(
                parent.pid if is_parent else chance.choice(family),
                chance.choice((signal.SIGKILL, signal.SIGTERM)),
            )
        except ProcessLookupError:
            continue
        killed["a command" if is_parent else "a worker or rank"] += 1
    final = subprocess.run(
        command(wild, FORTY), cwd=ROOT, capture_output=True, text=True, timeout=3600
    )
    assert final.returncode == 0 and f"{FORTY} of {FORTY} done" in final.stderr
    print(f"killed: {killed}")
    assert min(killed.values()) >= 3, killed
    assert outcome(wild) == outcome(calm)
    assert {name: len(inodes) for name, inodes in finished.items()} == dict.fromkeys(finished, 1)
    time.sleep(2)
    assert processes_about(wild) == []
    left = [
        path for pattern in ("*.partial", "*.claim", "*.command") for path in wild.rglob(pattern)
    ]
    assert left == []
