"""Jobs as processes: disjoint devices and cores, and nobody left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from warmth.child_logs import error_line
from warmth.errors import RunFailed, UserError
from warmth.schemas import Train
from warmth.sweep.backlog import Backlog
from warmth.sweep.failures import Failures
from warmth.sweep.jobs import Job
from warmth.sweep.processes import Processes
from warmth.sweep.states import state_of


@dataclass
class Script(Job):
    """A job that runs a line of Python."""

    code: str = ""

    @property
    def argv(self):
        return [sys.executable, "-c", self.code]


def job(tmp_path, name, code, ranks=1):
    study = Train(output=str(tmp_path), launcher={"ranks": ranks})
    return Script("train", [f"name={name}"], study, [tmp_path / name], code=code)


def carry_out(jobs, most=None, **settings):
    """Carry jobs out in processes; return what failed."""
    backlog = Backlog(jobs, Failures(most))
    Processes(**settings).carry_out(backlog)
    return backlog.failures


def test_no_two_jobs_at_once_share_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,9")
    seen = (
        f"open({str(tmp_path)!r} + f'/{{os.getpid()}}.seen', "
        f"'w').write(os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    code = f"import os, time; {seen}; time.sleep(0.5)"
    jobs = [job(tmp_path, f"j{n}", code, ranks=2) for n in range(4)]
    slots = Processes().slots(jobs)
    assert [slot.gpus for slot in slots] == [("4", "5"), ("6", "7")]
    failures = carry_out(jobs)
    seen = sorted(path.read_text() for path in tmp_path.glob("*.seen"))
    assert seen == ["4,5", "4,5", "6,7", "6,7"] and not failures.errors


def test_a_job_that_needs_more_gpus_than_there_are_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UserError, match=r"job \[name=j\] needs 2 GPUs .*, but 1 may be used here"):
        carry_out([job(tmp_path, "j", "", ranks=2)])


def test_jobs_share_the_cores_without_taking_more(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cores = len(os.sched_getaffinity(0))
    jobs = [job(tmp_path, f"j{n}", "", ranks=1) for n in range(cores)]
    slots = Processes(n_jobs=cores).slots(jobs)
    used = [core for slot in slots for core in slot.cores]
    assert sorted(used) == sorted(os.sched_getaffinity(0))
    assert {slot.environment(jobs[0])["OMP_NUM_THREADS"] for slot in slots} == {"1"}
    assert (
        Processes(n_jobs=cores).slots(jobs[:1]) == slots
    )  # the last job left computes as it would have among others


def test_failures_are_told_apart_and_stop_the_rest(tmp_path):
    say = "import sys; print('error: {}', file=sys.stderr); sys.exit({})"
    jobs = [
        job(tmp_path, "user", say.format("recipe.rank=0 must be above 0", 2)),
        job(tmp_path, "killed", "import os; os.kill(os.getpid(), 9)"),
        job(tmp_path, "never", "raise SystemExit('started')"),
    ]
    failures = carry_out(jobs, most=2, n_jobs=1)
    errors = {name.rpartition("/")[2]: error for name, error in failures.errors.items()}
    assert (
        type(errors["user"]) is UserError and str(errors["user"]) == "recipe.rank=0 must be above 0"
    )
    assert type(errors["killed"]) is RunFailed and "killed by SIGKILL" in str(errors["killed"])
    assert failures.first.endswith("/user")
    assert "never" not in errors and not (tmp_path / "default" / "logs" / "never.log").exists()


def test_a_full_disk_starts_no_further_job(tmp_path):
    full = (
        "import sys; print('error: [Errno 28] No space left on device: x', file=sys.stderr); "
        "sys.exit(2)"
    )
    jobs = [job(tmp_path, "full", full), job(tmp_path, "never", "raise SystemExit('started')")]
    failures = carry_out(jobs, n_jobs=1)
    assert [name.rpartition("/")[2] for name in failures.errors] == ["full"]
    assert failures.reason == "the disk is full"


def test_what_killed_a_worker_stands_in_its_run(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from warmth.schemas import Train; from "
        "warmth.store import Run\n"
        f"Run(Path({str(tmp_path / 'default' / 'train' / 'j')!r})).open(Train()); "
        f"os.kill(os.getpid(), 9)"
    )
    killed = job(tmp_path, "j", code)
    killed.folders = [tmp_path / "default" / "train" / "j"]
    carry_out([killed], n_jobs=1)
    state = state_of(killed.folders[0])
    assert (state.name, state.message) == (
        "killed",
        "killed by SIGKILL, as the system does when memory runs out",
    )


def test_an_interrupt_lets_jobs_save_and_leaves_none_behind(tmp_path):
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs ignore it
    code = (
        "import signal, sys, time, os\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (open({str(tmp_path)!r} + '/saved', "
        f"'w').close(), sys.exit(143)))\n"
        f"open({str(tmp_path)!r} + '/pid', 'w').write(str(os.getpid())); time.sleep(60)"
    )

    def interrupt():
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        carry_out([job(tmp_path, "j", code)], n_jobs=1)
    assert (tmp_path / "saved").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    signal.signal(signal.SIGINT, before)


def test_a_killed_sweep_takes_its_jobs_along(tmp_path):
    child = (
        f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); "
        f"time.sleep(60)"
    )
    parent = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'tests'); import test_processes "
        "as t;"
        f"t.carry_out([t.job(Path({str(tmp_path)!r}), 'j', {child!r})], n_jobs=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=Path(__file__).parent.parent)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    process.kill()
    process.wait()
    for _ in range(100):
        try:
            os.kill(int((tmp_path / "pid").read_text()), 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the job lives on")


def test_the_line_of_an_error_is_found_in_a_log(tmp_path):
    log = tmp_path / "log"
    assert error_line(None) == error_line(log) == ""
    log.write_text("step 1\nerror: no space left\nmore\n")
    assert error_line(log) == "error: no space left"
    log.write_text("step 1\n\n")
    assert error_line(log) == "step 1"
