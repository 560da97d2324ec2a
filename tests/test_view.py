"""`warmth status` tells from files alone what runs are doing."""

import json
import os
import time

import pytest

from warmth.errors import UserError
from warmth.schemas import Evaluate, Train
from warmth.store import Run
from warmth.sweep import view


@pytest.fixture
def study(tmp_path):
    """Runs in every state, two of them held by this process."""
    with Run(tmp_path / "s" / "train" / "m-done-s0-1").open(Train()) as run:
        run.finish({"servers": [{"usd": 1.25}]})
    broken = Run(tmp_path / "s" / "train" / "m-failed-s0-2").open(Train())
    broken.status("failed", "a rank\x1b[31m ended", last_lines=["one", "Error: \x07 two"])
    broken.close()
    (tmp_path / "s" / "train" / "m-killed-s0-3").mkdir()
    Run(tmp_path / "s" / "train" / "m-killed-s0-3").status("running")
    training = Run(tmp_path / "s" / "train" / "m-warm-s0-4").open(Train())
    training.append("metrics", [{"step": step, "steps": 40, "seconds": 2.0} for step in range(1, 11)])
    asking = Run(tmp_path / "s" / "evaluate" / "m-warm-s0-5").open(Evaluate(samples=2))
    asking.append("prompts", [{"prompt_id": str(n)} for n in range(50)])
    asking.append("answers", [{"answer_id": str(n)} for n in range(25)])
    asking.append("grades", [{"cost_usd": 0.01}, {"cost_usd": None}, {"cost_usd": 0.02}])
    began = time.time() - 10
    os.utime(asking.folder / "status.json", (began, began))
    yield tmp_path
    training.close()
    asking.close()


def test_every_state_progress_time_left_and_spend(study):
    lines = {line.run: line for line in map(view.look, view.runs(study, "s"))}
    assert {name.split("-")[-1]: line.state for name, line in lines.items()} == {
        "1": "done", "2": "failed", "3": "killed", "4": "running", "5": "running"
    }  # fmt: skip
    training, asking = lines["m-warm-s0-4"], lines["m-warm-s0-5"]
    assert (training.done, training.total, training.left_s) == (10, 40, 60.0)
    assert (asking.done, asking.total) == (25, 100)
    assert asking.left_s == pytest.approx(30, abs=3)
    assert (lines["m-done-s0-1"].usd, asking.usd) == (1.25, 0.03)
    assert view.heading(list(lines.values())) == "5 runs: 1 done, 1 failed, 1 killed, 2 running; 1.28 USD"


def test_a_torn_row_is_no_progress(study):
    with (study / "s" / "train" / "m-warm-s0-4" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 11, "ste')
    assert view.look(study / "s" / "train" / "m-warm-s0-4").done == 10


def test_words_of_failures_are_shown_and_not_obeyed(study, capsys):
    from rich.console import Console

    lines = [view.look(folder) for folder in view.runs(study, "s")]
    Console(width=200).print(view.table(lines))
    out = capsys.readouterr().out
    assert "m-failed-s0-2: Error: ␇ two" in out and "\x07" not in out and "\x1b" not in out


def test_the_verb_prints_json_and_names_what_there_is(study, monkeypatch, capsys):
    from warmth import cli

    monkeypatch.setattr("sys.argv", ["warmth", "status", "--output", str(study), "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 5
    with pytest.raises(UserError, match="no study t in .*; there are: s"):
        view.runs(study, "t")
