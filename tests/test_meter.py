"""Progress of a stage: lines at least every ten seconds, also inside a batch; time left from speed
alone.
"""

from __future__ import annotations

import json

import pytest

from warmth.evaluation import progress
from warmth.evaluation.progress import Meter, note_progress
from warmth.text import duration
from warmth.training import follow


class Clock:
    """Time that a test sets."""

    def __init__(self, monkeypatch, module):
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (61, "1 min 01 s"),
        (3599, "59 min"),
        (3661, "1 h 01 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_time_is_said_in_units_that_fit(seconds, text):
    assert duration(seconds) == text


def test_the_time_left_is_forecast_from_speed_not_from_loading(monkeypatch):
    clock = Clock(monkeypatch, progress)
    monkeypatch.setattr(Meter, "_follow", lambda self: None)
    with Meter("answers", "answers", 100) as meter:
        assert meter.left_s() is None
        clock.now += 300  # loading, and the first batch
        meter.add(10)
        clock.now += 10
        meter.add(10)
        assert meter.left_s() == pytest.approx(80)  # one a second, though 320 s have passed for 20


def test_a_stage_s_seconds_are_those_of_its_work(monkeypatch):
    clock = Clock(monkeypatch, progress)
    monkeypatch.setattr(Meter, "_follow", lambda self: None)
    with Meter("answers", "answers", 10) as meter:
        clock.now += 200  # a model is loaded
        note_progress(0, 0)
        clock.now += 5
        meter.add(10)
    assert meter.seconds == pytest.approx(5)


def test_a_line_comes_while_a_batch_is_made_and_its_numbers_move(monkeypatch, capsys, tmp_path):
    clock = Clock(monkeypatch, progress)
    monkeypatch.setattr(Meter, "_follow", lambda self: None)
    with Meter("warm answers", "answers", 48, tmp_path) as meter:
        for finished, tokens in ((0, 120), (7, 900)):
            note_progress(finished, tokens)
            clock.now += 10.5
            meter._show()
        kept = json.loads((tmp_path / "progress.json").read_text())
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "warm answers: 0/48 answers, 120 tokens in this batch, 10 s so far"
    assert lines[1].startswith("warm answers: 7/48 answers, 900 tokens in this batch, ") and lines[
        1
    ].endswith(" left")
    assert (kept["done"], kept["total"]) == (7, 48) and kept["left_s"] > 0
    assert not (tmp_path / "progress.json").exists()  # the stage has ended


def test_the_thread_that_follows_a_batch_prints_without_being_asked(monkeypatch, capsys):
    import time

    monkeypatch.setattr(progress, "LOOK_S", 0.02)
    monkeypatch.setattr(progress, "EVERY_S", 0.05)
    with Meter("grades", "grades", 3):
        time.sleep(0.5)
    assert len(capsys.readouterr().err.splitlines()) >= 2


def test_a_training_says_something_every_ten_seconds_from_loading_to_the_pass_under_way(
    monkeypatch, capsys, tmp_path
):
    clock = Clock(monkeypatch, follow)
    row = {
        "step": 1,
        "steps": 24,
        "epoch": 0.04,
        "loss": 3.5,
        "grad_norm": 1.0,
        "learning_rate": 1e-3,
    }
    row |= {"trained_tokens": 900, "seconds": 30.0}
    with follow.TrainingProgress(tmp_path, None) as shown:
        clock.now += 11
        assert not shown.take([])
        (tmp_path / follow.PASSES).write_text('{"step": 1, "passes": 2, "of": 4}')
        clock.now += 11
        shown.take([])
        clock.now += 11
        assert shown.take([row])
        assert json.loads((tmp_path / "progress.json").read_text())["left_s"] == pytest.approx(
            23 * 30
        )
        clock.now += 11
        shown.take([row, {**row, "step": 24}])
        clock.now += 11
        shown.take([row, {**row, "step": 24}])
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "  saving and checking the adapter, 11 s"
    assert lines[1:3] == ["  loading, 11 s so far", "  step 1: pass 2 of 4, 22 s so far"]
    assert lines[3] == "  step 1/24 · loss 3.500 · 30 trained tokens/s · 11 min left"
    assert not (tmp_path / "progress.json").exists() and not (tmp_path / follow.PASSES).exists()


def test_a_shard_leaves_the_progress_of_the_whole_run_alone(tmp_path):
    from warmth.evaluation.shards import Shard
    from warmth.store import Run

    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "progress.json").write_text("{}")
    shard = Shard(folder, 1, 2)
    assert shard.progress_folder is None and Run(folder).progress_folder == folder
    shard.close()
    assert (folder / "progress.json").exists()
