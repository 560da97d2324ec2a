"""`bench/gpu.py`: on a tiny model on a CPU it runs the code that a GPU will run, part by part."""

import importlib
import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from warmth.digest import ROOT

SCRIPT = ROOT / "bench" / "gpu.py"


def bench(*words):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny", *words],
        capture_output=True,
        text=True,
        timeout=280,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"part"')]
    return done.returncode, {row["part"]: row for row in rows}, done.stderr


@pytest.fixture
def script(monkeypatch):
    """The bench as a module, with parts of its own."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    module = importlib.import_module("gpu")
    yield module
    sys.modules.pop("gpu", None)


@pytest.mark.ranks
def test_every_part_but_the_ranks_runs_on_a_tiny_model():
    code, rows, words = bench("--skip", "stages")
    assert code == 0 and all(row["ok"] is not False for row in rows.values()), (rows, words[-1000:])
    assert rows["stages"]["skipped"] == "by --skip" and rows["machine"]["device"] == "cpu"
    assert [entry["tokens"] for entry in rows["passes"]["passes"]] == [60, 120]
    assert rows["memory"]["variants"]["4bit"] == {"skipped": "needs a GPU"}


@pytest.mark.ranks
@pytest.mark.slow
def test_stages_are_saved_resumed_and_compared():
    code, rows, words = bench("stages")
    assert code == 0 and rows["stages"]["ok"], (rows, words[-1000:])
    assert rows["stages"]["largest_loss_difference"]["deepspeed_zero2"] < 1e-3


def test_a_part_that_fails_is_a_row_and_one_that_cannot_run_says_why(script, monkeypatch):
    def broken(setting):
        raise ValueError("a wrong shape")

    def elsewhere(setting):
        raise script.Skipped("vllm is not installed")

    monkeypatch.setattr(
        script,
        "parts",
        lambda: {"broken": broken, "elsewhere": elsewhere, "fine": lambda _: {"x": 1}},
    )
    setting = script.Setting("cpu", True, Path())
    rows = [script.carry_out(name, setting) for name in ("broken", "elsewhere", "fine")]
    assert [row["ok"] for row in rows] == [False, None, True]
    assert (
        rows[0]["error"] == "ValueError: a wrong shape"
        and rows[1]["skipped"] == "vllm is not installed"
    )


def test_a_part_that_dies_or_hangs_costs_the_next_nothing(script, tmp_path, monkeypatch):
    arguments = Namespace(device="cpu", tiny=True)
    child = tmp_path / "gpu.py"
    monkeypatch.setattr(script, "HERE", tmp_path)
    child.write_text(
        "import os, sys; print('out of memory', file=sys.stderr, flush=True); os._exit(9)"
    )
    row = script.in_child("passes", arguments, 60)
    assert row["ok"] is False and row["error"] == "ended with code 9: out of memory"
    child.write_text("import time; time.sleep(60)")
    assert script.in_child("passes", arguments, 1)["error"] == "took more than 1 s"


def test_an_unknown_part_names_the_known():
    code, _, words = bench("everything")
    assert code == 1 and words.startswith(
        "error: no part everything; there are: stages, passes, equal_answers"
    )
