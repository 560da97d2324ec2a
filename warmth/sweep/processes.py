"""Several jobs at once on this machine, each in a process of its own: no two share a GPU, and one may be killed."""

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
from warmth.devices import child_environment, visible
from warmth.errors import KEEPS_TRACEBACKS, UserError
from warmth.gpus import gpus_needed
from warmth.sweep.jobs import Job
from warmth.sweep.launching import Failures, error_of
from warmth.sweep.states import state_of
from warmth.sweep.summary import duration

CORES_EACH = 4  # for one job on a machine without GPUs
PATIENCE_S = 60.0  # for jobs that were told to end: ranks save within 30 s


@dataclass(frozen=True)
class Slot:
    """What one job at a time may use."""

    gpus: tuple[str, ...]
    cores: tuple[int, ...]

    def environment(self, job: Job) -> dict[str, str]:
        """This process's environment with the slot's devices and threads."""
        threads = max(1, len(self.cores) // gpus_needed(job.study))
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), KEEPS_TRACEBACKS: "1"}
        return child_environment(self.gpus, env)


@dataclass
class Working:
    """A job under way."""

    job: Job
    slot: Slot
    process: subprocess.Popen[bytes]
    started: float


@dataclass(frozen=True)
class Processes:
    """`hydra/launcher=joblib`."""

    n_jobs: int | None = None

    def carry_out(self, jobs: Sequence[Job], failures: Failures) -> None:
        """Runs the jobs, as many at once as there are slots; on an interrupt all are told to save and end."""
        free, left, working = self.slots(jobs), list(jobs), []
        try:
            while working or (left and not failures.reached):
                while free and left and not failures.reached:
                    working.append(self._start(left.pop(0), free.pop()))
                time.sleep(0.1)
                for one in [one for one in working if one.process.poll() is not None]:
                    working.remove(one)
                    free.append(one.slot)
                    self._end(one, failures)
        except BaseException:
            stop([one.process for one in working])
            raise

    def slots(self, jobs: Sequence[Job]) -> list[Slot]:
        """Disjoint sets of devices and cores.

        Raises:
            UserError: a job needs more GPUs than there are, or n_jobs is not above 0.
        """
        if self.n_jobs is not None and self.n_jobs < 1:
            raise UserError(f"hydra.launcher.n_jobs={self.n_jobs} must be above 0")
        gpus, cores = visible(), sorted(os.sched_getaffinity(0))
        each = max((gpus_needed(job.study) for job in jobs), default=1)
        if gpus and each > len(gpus):
            raise UserError(
                f"a job needs {each} GPUs (launcher.ranks, or engine.tensor_parallel x processes), but "
                f"{len(gpus)} may be used here ({', '.join(gpus)})"
            )
        most = len(gpus) // each if gpus else max(1, len(cores) // CORES_EACH)
        number = max(1, min(self.n_jobs or most, most) if gpus else self.n_jobs or most)  # whatever is left to do:
        # a run continued alone must have the threads it began with, or its sums are rounded in another order
        share = max(1, len(cores) // number)
        return [
            Slot(tuple(gpus[n * each : (n + 1) * each]), tuple(cores[(n * share) % len(cores) :][:share]))
            for n in range(number)
        ]

    def _start(self, job: Job, slot: Slot) -> Working:
        job.log = Path(job.study.output) / job.study.study / "logs" / f"{job.name}.log"
        job.log.parent.mkdir(parents=True, exist_ok=True)

        def prepare() -> None:
            os.sched_setaffinity(0, slot.cores)
            if sys.platform == "linux":
                end_with_parent()

        with job.log.open("wb") as stream:
            process = subprocess.Popen(
                job.argv, stdout=stream, stderr=subprocess.STDOUT, env=slot.environment(job), preexec_fn=prepare
            )
        where = f" on GPU {','.join(slot.gpus)}" if slot.gpus else ""
        print(f"started {job.name}{where}", file=sys.stderr, flush=True)
        return Working(job, slot, process, time.monotonic())

    def _end(self, one: Working, failures: Failures) -> None:
        error = error_of(one.process.returncode, error_line(one.job.log))
        if error is not None:
            failures.errors[one.job.name] = error
        took = duration(time.monotonic() - one.started)
        state = "failed" if error else state_of(one.job.runs[-1]).name if one.job.runs else "done"
        print(f"{state} {one.job.name} after {took}", file=sys.stderr, flush=True)


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Tells jobs to save and end, and ends those that do not."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + PATIENCE_S
    for process in processes:
        try:
            process.wait(timeout=max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
