"""Several jobs at once on this machine, each in a process of its own: no two share a GPU, and one
may be killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from warmth.child_logs import error_line
from warmth.children import end_with_parent
from warmth.devices import child_environment, visible_gpus
from warmth.errors import KEEPS_TRACEBACKS, RunFailed, UserError
from warmth.gpus import gpus_needed
from warmth.store import Run
from warmth.sweep.backlog import Backlog
from warmth.sweep.jobs import Job
from warmth.sweep.launching import error_of
from warmth.sweep.outcome import elapsed_text
from warmth.sweep.states import state_of
from warmth.text import say

CORES_EACH = 4  # for one job on a machine without GPUs
POLL_S = 1.0  # until a look at jobs that wait for a training is taken again
PATIENCE_S = 60.0  # for jobs that were told to end: ranks save within 30 s


@dataclass(frozen=True)
class DeviceSlot:
    """What one job at a time may use."""

    gpus: tuple[str, ...]
    cores: tuple[int, ...]

    def environment(self, job: Job) -> dict[str, str]:
        """Return this process's environment with the slot's devices and threads."""
        threads = max(1, len(self.cores) // gpus_needed(job.study))
        env = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            KEEPS_TRACEBACKS: "1",
        }
        return child_environment(self.gpus, env)


@dataclass
class Working:
    """A job under way."""

    job: Job
    slot: DeviceSlot
    process: subprocess.Popen[bytes]
    started: float


@dataclass(frozen=True)
class Processes:
    """`hydra/launcher=joblib`."""

    n_jobs: int | None = None

    def carry_out(self, backlog: Backlog) -> None:
        """Run the jobs, as many at once as there are slots; on an interrupt all are told to save
        and end.
        """
        free = self.slots(backlog.left)
        working: list[Working] = []
        looked = -POLL_S  # when nothing could be taken last
        try:
            while working or backlog.is_open:
                while free and backlog.is_open and time.monotonic() - looked >= POLL_S:
                    job = backlog.take()
                    if job is None:
                        looked = time.monotonic()
                        break
                    working.append(self._start(job, free.pop()))
                time.sleep(0.1)
                for running in list(working):
                    if running.process.poll() is not None:
                        working.remove(running)
                        free.append(running.slot)
                        self._end(running, backlog)
        except BaseException:
            stop([running.process for running in working])
            raise

    def slots(self, jobs: Sequence[Job]) -> list[DeviceSlot]:
        """Divide the devices and cores into disjoint sets, one for each job at a time.

        The sets do not depend on what is left to do: a run that is continued alone must have the
        threads it began with, or its sums are rounded in another order.

        Raises:
            UserError: a job needs more GPUs than there are, or n_jobs is not above 0.
        """
        if self.n_jobs is not None and self.n_jobs < 1:
            raise UserError(f"hydra.launcher.n_jobs={self.n_jobs} must be above 0")
        gpus = visible_gpus()
        cores = sorted(os.sched_getaffinity(0))
        gpus_each = 1
        if jobs:
            neediest = max(jobs, key=lambda job: gpus_needed(job.study))
            gpus_each = gpus_needed(neediest.study)
            if gpus and gpus_each > len(gpus):
                raise UserError(
                    f"job [{neediest.label}] needs {gpus_each} GPUs (launcher.ranks, or "
                    f"engine.tensor_parallel x processes), but {len(gpus)} may be used here "
                    f"({', '.join(gpus)})"
                )
        if gpus:
            most = len(gpus) // gpus_each
            number = max(1, min(self.n_jobs or most, most))
        else:
            number = self.n_jobs or max(1, len(cores) // CORES_EACH)
        cores_each = max(1, len(cores) // number)
        slots = []
        for index in range(number):
            first_core = (index * cores_each) % len(cores)
            slot_gpus = gpus[index * gpus_each : (index + 1) * gpus_each]
            slot_cores = cores[first_core : first_core + cores_each]
            slots.append(DeviceSlot(tuple(slot_gpus), tuple(slot_cores)))
        return slots

    def _start(self, job: Job, slot: DeviceSlot) -> Working:
        job.log = log_path(job)
        job.log.parent.mkdir(parents=True, exist_ok=True)

        def prepare() -> None:
            os.sched_setaffinity(0, slot.cores)
            if sys.platform == "linux":
                end_with_parent()

        with job.log.open("wb") as stream:
            process = subprocess.Popen(
                job.argv,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=slot.environment(job),
                preexec_fn=prepare,
            )
        line = f"started {job.name}"
        if slot.gpus:
            line += f" on GPU {','.join(slot.gpus)}"
        say(line)
        return Working(job, slot, process, time.monotonic())

    def _end(self, ended: Working, backlog: Backlog) -> None:
        job = ended.job
        error = error_of(ended.process.returncode, error_line(job.log))
        if ended.process.returncode < 0 and isinstance(error, RunFailed):
            note_killed(job, str(error))
        backlog.ended(job, error)
        seconds = elapsed_text(time.monotonic() - ended.started)
        if error is not None:
            say(f"failed {job.name} after {seconds}: {error}")
            return
        state = "done"
        if job.runs:
            state = state_of(job.runs[-1]).name
        say(f"{state} {job.name} after {seconds}")


def log_path(job: Job) -> Path:
    """Return the file that a job's words go to: one for its first run, in the study's folder."""
    name = job.label
    if job.runs:
        name = job.runs[0].name
    return Path(job.study.output) / job.study.study / "logs" / f"{name}.log"


def note_killed(job: Job, message: str) -> None:
    """Write into the status of the run that a killed process held what ended it; nothing here may
    fail a sweep.
    """
    for folder in job.runs:
        if state_of(folder).name != "killed":
            continue
        try:
            Run(folder).note_killed(message)
        except OSError:
            pass  # the log has the rest


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Tell jobs to save and end, and end those that do not."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + PATIENCE_S
    for process in processes:
        try:
            process.wait(timeout=max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
