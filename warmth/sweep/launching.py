"""Starting a sweep's jobs: one after another in this process, or however a launcher of ours does
it.
"""

from __future__ import annotations

import signal
import time
from typing import Any

from warmth.errors import Preempted, RunFailed, UserError
from warmth.sweep.backlog import POLL_S, Backlog


def launch(launcher: Any, backlog: Backlog) -> None:
    """Carry out the jobs of a backlog; failures are collected, an interrupt is raised.

    A launcher of this project has `carry_out(backlog)`; another (Hydra's basic one) gets one job at
    a time, so that a sweep can stop between two.
    """
    if hasattr(launcher, "carry_out"):
        launcher.carry_out(backlog)
        return
    number = 0
    while backlog.is_open:
        job = backlog.take()
        if job is None:
            time.sleep(POLL_S)
            continue
        (result,) = launcher.launch([[*job.overrides, "rerun=failed"]], initial_job_idx=number)
        number += 1
        error = result._return_value
        if isinstance(error, KeyboardInterrupt):
            raise error
        backlog.ended(job, error if isinstance(error, BaseException) else None)


def error_of(code: int, last_line: str) -> BaseException | None:
    """Return how a job's process ended, as the exception it would have been here."""
    line = last_line.removeprefix("error: ")
    if code == 0:
        return None
    if code in (143, -15):
        return Preempted(line or "ended by SIGTERM")
    if code < 0:
        return RunFailed(killed_by(-code))
    if code == 2:
        return UserError(line)
    return RunFailed(line or f"ended with code {code}")


def killed_by(number: int) -> str:
    """Say in words which signal ended a process, and what usually sends it."""
    if number == signal.SIGKILL:
        return "killed by SIGKILL, as the system does when memory runs out"
    return f"killed by {signal.Signals(number).name}"
