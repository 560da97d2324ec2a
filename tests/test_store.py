"""A run folder survives kills, and belongs to one process at a time."""

import errno
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from warmth.errors import UserError
from warmth.schemas import Train
from warmth.store import Run, read_helpful_rows, read_json, read_rows, write_json


def test_a_torn_last_line_is_left_out_and_then_overwritten(tmp_path):
    folder = tmp_path / "m-r-s0-abc"
    folder.mkdir()
    (folder / "answers.jsonl").write_text('{"a": 1}\n{"a": 2}\n{"a": ')
    assert [row["a"] for row in read_rows(folder / "answers.jsonl")] == [1, 2]
    with Run(folder).open(Train()) as run:
        run.append("answers", [{"a": 3}])
        assert [row["a"] for row in run.rows("answers")] == [1, 2, 3]


def test_rows_kept_anew_do_not_continue_the_partial_file_of_a_killed_process(tmp_path):
    with Run(tmp_path / "m-r-s0-abc").open(Train()) as run:
        run.append("grades", [{"a": 1}, {"a": 2}])
        (run.folder / f"grades.jsonl.{os.getpid()}.partial").write_text('{"a": 9}\n')
        run.keep("grades", lambda row: row["a"] == 2)
        assert [row["a"] for row in run.rows("grades")] == [2]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\nnonsense\n{"a": 2}\n')
    with pytest.raises(UserError, match=r"x.jsonl line 2 is not JSON"):
        list(read_rows(path))


def test_a_second_process_on_the_same_run_is_refused_and_a_killed_one_frees_it(tmp_path):
    folder = tmp_path / "m-r-s0-abc"
    code = (
        "import sys, time; from pathlib import Path; from warmth.schemas import Train; from "
        "warmth.store import Run;"
        "run = Run(Path(sys.argv[1])).open(Train()); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="in use by another process"):
        Run(folder).open(Train())
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    Run(folder).open(Train()).close()


def test_an_exception_marks_the_run_failed_and_an_interrupt_interrupted(tmp_path):
    for error, state in (
        (ValueError("boom\nsecond line"), "failed"),
        (KeyboardInterrupt(), "interrupted"),
    ):
        run = Run(tmp_path / state)
        with pytest.raises(type(error)), run.open(Train()):
            raise error
        assert json.loads((run.folder / "status.json").read_text())["state"] == state
        assert not run.done


def test_a_run_keeps_the_commits_at_which_it_was_made_before(tmp_path, monkeypatch):
    def opened(commit, dirty=False):
        monkeypatch.setattr(
            "warmth.store.collect_provenance", lambda: {"commit": commit * 40, "dirty": dirty}
        )
        Run(tmp_path / "run").open(Train()).close()
        return read_json(tmp_path / "run" / "provenance.json")["earlier"]

    assert opened("a") == [] and opened("a") == []
    assert opened("a", dirty=True) == ["a" * 12]
    assert opened("b") == ["a" * 12, "a" * 12 + " + changes"]
    assert opened("a") == ["a" * 12 + " + changes", "b" * 12]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Run(tmp_path / "file" / "run").open(Train())


def test_lone_surrogates_from_a_model_do_not_break_the_store(tmp_path):
    with Run(tmp_path / "run").open(Train()) as run:
        run.append("answers", [{"text": "a\ud800b"}])
        assert len(list(run.rows("answers"))) == 1


def test_a_full_disk_leaves_whole_rows_only(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    with Run(tmp_path / "run").open(Train()) as run:
        (run.folder / "answers.jsonl").symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left"):
            run.append("answers", [{"a": 1}])


def test_a_run_made_again_is_put_aside_and_removed_when_the_new_one_is_done(tmp_path):
    study = Train(rerun="all")
    old = Run(tmp_path / "m-warm-s0-abc")
    with old.open(Train(rerun="failed")):
        old.append("answers", [{"answer_id": "a"}])
        old.finish({})
    new = Run(old.folder)
    with new.open(study):
        assert list(new.rows("answers")) == []
        assert (
            next(tmp_path.rglob("done.json"), None) is None
        )  # no report counts what was put aside
        assert (tmp_path / "m-warm-s0-abc.replaced" / "answers.jsonl").exists()
        new.finish({})
    assert not (tmp_path / "m-warm-s0-abc.replaced").exists()


def test_what_was_put_aside_outlives_a_second_attempt_that_breaks(tmp_path):
    old = Run(tmp_path / "m-warm-s0-abc")
    with old.open(Train(rerun="failed")):
        old.append("answers", [{"answer_id": "a"}])
        old.finish({})
    for _ in range(2):
        with pytest.raises(RuntimeError), Run(old.folder).open(Train(rerun="all")):
            raise RuntimeError
    assert (tmp_path / "m-warm-s0-abc.replaced" / "answers.jsonl").exists()


def test_a_run_that_a_process_holds_is_not_put_aside(tmp_path):
    held = Run(tmp_path / "m-warm-s0-abc")
    with held.open(Train(rerun="failed")):
        held.append("answers", [{"answer_id": "a"}])
        with pytest.raises(UserError, match="in use by another process"):
            Run(held.folder).put_aside()
        assert len(list(held.rows("answers"))) == 1


def test_a_full_disk_names_the_path_and_leaves_no_part(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "x.json"))):
        write_json(tmp_path / "x.json", {})
    assert list(tmp_path.iterdir()) == []


def test_damaged_rows_of_a_file_that_only_helps_are_skipped_and_named_once(tmp_path, capsys):
    path = tmp_path / "measured.jsonl"
    assert read_helpful_rows(path, lambda row: True) == []
    path.write_text('{"tflops": 1}\nnonsense\n[]\n{"other": 2}\n{"tflops": 3}\n')
    assert [row["tflops"] for row in read_helpful_rows(path, lambda row: row["tflops"] > 0)] == [
        1,
        3,
    ]
    assert capsys.readouterr().err == f"{path} line 2: 3 damaged rows of this file are skipped\n"


def test_lines_that_are_no_objects_are_passed_over():
    from warmth.store import objects_in

    assert list(objects_in([b'{"a": 1}', "", "[1]", '{"torn": ', b"\xff", '{"b": 2}'])) == [
        {"a": 1},
        {"b": 2},
    ]
