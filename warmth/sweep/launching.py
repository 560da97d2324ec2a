"""Starting a sweep's jobs: one after another in this process, or however a launcher of ours does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from warmth.errors import Preempted, RunFailed, UserError
from warmth.sweep.jobs import Job


@dataclass
class Failures:
    """What went wrong so far, and whether it is enough to stop."""

    most: int | None  # `stop_after_failures`
    errors: dict[str, BaseException] = field(default_factory=dict)  # by the job's name

    @property
    def reached(self) -> bool:
        """Whether no further job is to be started."""
        return self.most is not None and len(self.errors) >= self.most


def launch(launcher: Any, jobs: Sequence[Job], failures: Failures) -> None:
    """Carries jobs out; failures are collected, an interrupt is raised.

    A launcher of this project has `carry_out(jobs, failures)`; another (Hydra's basic one) gets one job at a time,
    so that a sweep can stop between two.
    """
    if hasattr(launcher, "carry_out"):
        launcher.carry_out(jobs, failures)
        return
    for number, job in enumerate(jobs):
        if failures.reached:
            return
        (result,) = launcher.launch([[*job.overrides, "rerun=failed"]], initial_job_idx=number)
        error = result._return_value
        if isinstance(error, KeyboardInterrupt):
            raise error
        if isinstance(error, BaseException):
            failures.errors[job.name] = error


def error_of(code: int, last_line: str) -> BaseException | None:
    """How a job's process ended, as the exception it would have been here."""
    line = last_line.removeprefix("error: ")
    if code == 0:
        return None
    if code in (143, -15):
        return Preempted(line or "ended by SIGTERM")
    if code < 0:
        return RunFailed(f"killed by signal {-code}")
    return UserError(line) if code == 2 else RunFailed(line or f"ended with code {code}")
