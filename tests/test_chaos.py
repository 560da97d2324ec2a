"""Random kills: a sweep that is killed again and again ends, by repeating one command, as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from warmth.digest import ROOT
from warmth.store import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.ranks, pytest.mark.timeout(1500)]


@pytest.fixture
def command(tiny_model_folder, tmp_path):
    """The sweep of six runs, two at a time, as a command line for one output folder."""

    def make(output):
        words = [
            "data.per_type=2",
            "recipe.epochs=3",
            "recipe.checkpoints=[2]",
            "recipe.dropout=0.1",
            "seed=range(0,6)",
        ]
        model = [f"model.path={tiny_model_folder}", "model.name=tiny", "logger=none", f"output={output}"]
        how = ["launcher=local", "launcher.save_steps=2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
        return [sys.executable, "train.py", "-m", *model, *words, *how]

    return make


def descendants(pid):
    """All processes under a process, itself first."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout.split()
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
            weights = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("adapter_model.safetensors")}
            found[folder.name] = (losses, weights, json.loads((folder / "summary.json").read_text())["steps"])
    return found


def test_a_sweep_under_random_kills_ends_as_an_undisturbed_one(command, tmp_path):
    calm, wild, chance = tmp_path / "calm", tmp_path / "wild", random.Random(9)
    subprocess.run(command(calm), cwd=ROOT, check=True, capture_output=True, timeout=900)
    killed = []
    for _ in range(30):
        sweep = subprocess.Popen(command(wild), cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        if len(killed) < 6:
            time.sleep(chance.uniform(1, 7))  # a run alone takes longer, so six kills find something to kill
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
