"""What children say is kept, and the one that failed first is quoted."""

import json
import subprocess
import sys

import pytest

from warmth import child_logs
from warmth.digest import ROOT
from warmth.errors import RunFailed, UserError
from warmth.store import Run
from warmth.training import ranks


def fail_as(folder, number, kind, line, time):
    log = folder / "logs" / f"rank-{number}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"loading\n{line}\n")
    child_logs.note_failure(log, kind, line)
    path = child_logs.failure_path(log)
    path.write_text(json.dumps({**json.loads(path.read_text()), "time": time}))
    return log


def test_a_child_keeps_what_it_and_its_children_print(tmp_path):
    code = "import subprocess, sys; from pathlib import Path; from warmth import child_logs\n"
    code += (
        "child_logs.capture(Path(sys.argv[1])); print('mine', flush=True); "
        "subprocess.run(['echo', 'of a child'])"
    )
    log = tmp_path / "logs" / "rank-0.log"
    done = subprocess.run(
        [sys.executable, "-c", code, str(log)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == done.stderr == "" and log.read_text() == "mine\nof a child\n"


def test_the_line_quotes_the_rank_that_failed_first_and_names_its_words(tmp_path):
    fail_as(tmp_path, 0, "crash", "RuntimeError: Connection closed by peer", time=20.0)
    log = fail_as(tmp_path, 1, "crash", "IndexError: index out of range in self", time=10.0)
    with pytest.raises(RunFailed) as caught:
        ranks.fail(Run(tmp_path), 1)
    expected = (
        f"a rank ended with code 1: all its words: {log}: IndexError: index out of range in self"
    )
    assert str(caught.value) == expected
    assert caught.value.last_lines == ("loading", "IndexError: index out of range in self")


@pytest.mark.parametrize(
    ("kind", "line", "error", "shown"),
    [
        (
            "user",
            "model.path=x holds no config.json",
            UserError,
            "^model.path=x holds no config.json$",
        ),
        ("known", "the loss is nan at step 3", RunFailed, "^the loss is nan at step 3$"),
        ("stopped", "told to end; saved after step 7", KeyboardInterrupt, "saved after step 7"),
        (
            "crash",
            "torch.OutOfMemoryError: CUDA out of memory",
            RunFailed,
            "out of memory: lower launcher.per_device",
        ),
        ("crash", "OSError: No space left on device", UserError, "no space left on device under"),
    ],
)
def test_each_kind_of_end_is_the_exception_it_means(tmp_path, kind, line, error, shown):
    fail_as(tmp_path, 0, kind, line, time=1.0)
    with pytest.raises(error, match=shown):
        ranks.fail(Run(tmp_path), 1)


SUMMARY = """
Failures:
  <NO_OTHER_FAILURES>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-30_16:00:00
  host      : node
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 77)
  error_file: <N/A>
"""


def test_a_rank_that_was_killed_is_found_in_the_starters_summary(tmp_path):
    (tmp_path / "logs").mkdir()
    for number in (0, 1):
        (tmp_path / "logs" / f"rank-{number}.log").write_text(f"words of {number}\n")
    (tmp_path / "logs" / ranks.START).write_text(SUMMARY)
    log = tmp_path / "logs" / "rank-1.log"
    with pytest.raises(RunFailed, match=f"all its words: {log}: killed by SIGKILL .*: words of 1$"):
        ranks.fail(Run(tmp_path), 1)


def test_what_an_earlier_start_noted_is_forgotten_and_its_words_stay(tmp_path):
    log = fail_as(tmp_path, 0, "crash", "ValueError: old", time=1.0)
    child_logs.forget_failures(tmp_path / "logs")
    assert child_logs.first_failure([log]) is None and log.exists()


def test_a_jobs_line_is_its_error_and_not_the_hint_below_it(tmp_path):
    log = tmp_path / "job.log"
    log.write_text(
        "step 1\nerror: KeyError: 'x'\nerror: this is a bug; WARMTH_DEBUG=1 shows where it "
        "happened\n"
    )
    assert child_logs.error_line(log) == "error: KeyError: 'x'"


def test_a_job_whose_words_are_kept_shows_where_a_bug_is(tmp_path):
    code = "from warmth.errors import guarded\ndef broken(): return {}['x']\nguarded(broken)()"
    for kept in ("", "1"):
        env = {"WARMTH_KEEPS_TRACEBACKS": kept, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
        assert done.returncode == 1 and "error: KeyError: 'x'" in done.stderr
        assert ("Traceback" in done.stderr) == bool(kept)
