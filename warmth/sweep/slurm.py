"""Jobs through Slurm, by submitit: how a run ended is read from its folder and the queue, not submitit's result."""

from __future__ import annotations

import math
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from warmth.child_logs import error_line
from warmth.errors import KEEPS_TRACEBACKS, RunFailed, UserError, one_line
from warmth.gpus import gpus_needed
from warmth.store import read_json, write_json
from warmth.sweep.jobs import Job
from warmth.sweep.launching import Failures
from warmth.sweep.plan import Forecast, devices_of, forecast, nodes
from warmth.sweep.states import state_of
from warmth.text import say

SAVE_S = 90  # before a job is taken away it is told so this long ahead; ranks save within 30 s
GRACE_S = 10.0  # for files to arrive on a shared folder after a job has left the queue
PORTS = range(20_000, 50_000)  # for ranks to meet, one for each job


@dataclass(frozen=True)
class Need:
    """What one job asks the cluster for; jobs with equal needs go into one array."""

    tasks: int  # machines of the run
    gpus: int  # on each
    cpus: int
    mem_gb: int
    minutes: int


class Carry:
    """What a job does on the cluster: the command line, told its place where several machines train together."""

    def __init__(self, tasks: int):
        self.tasks = tasks
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, argv: list[str]) -> None:
        """Runs the command to its end.

        Raises:
            RunFailed: it ended with another code than 0 (`status.json` says why).
        """
        # Slurm's word ahead of the limit goes to every process of the job; only this one is to heed it.
        deaf = partial(signal.signal, signal.SIGUSR2, signal.SIG_IGN)
        env = {**os.environ, KEEPS_TRACEBACKS: "1"}
        self._process = subprocess.Popen([*argv, *place(self.tasks)], preexec_fn=deaf, env=env)
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)  # `wait` holds a lock that `checkpoint` needs
        code = self._process.wait()
        if code:
            raise RunFailed(f"ended with code {code}")

    def checkpoint(self, argv: list[str]) -> Any:
        """Called ahead of the time limit: the command saves and ends, then submitit queues the job again."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            self._process.terminate()
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Carry(self.tasks), argv)


def place(tasks: int) -> list[str]:
    """Overrides that tell a machine its number and where all meet, from the allocation; none for a single one."""
    if tasks < 2:
        return []
    first = subprocess.run(
        ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    port = PORTS[int(os.environ["SLURM_JOB_ID"]) % len(PORTS)]
    return [f"launcher.node={os.environ['SLURM_PROCID']}", f"launcher.rendezvous={first}:{port}"]


@dataclass(frozen=True)
class Slurm:
    """`hydra/launcher=slurm`."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    at_once: int = 16
    gpus: int | None = None
    cpus: int | None = None
    mem_gb: int | None = None
    minutes: int | None = None
    requeues: int = 20
    tasks_per_node: int = 1
    poll_s: float = 10.0
    setup: Sequence[str] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    def carry_out(self, jobs: Sequence[Job], failures: Failures) -> None:
        """Submits what is not in the queue yet and follows all of it to its end.

        Raises:
            UserError: there is no Slurm here, or it refuses a job.
        """
        if not jobs:
            return
        folder = folder_of(jobs[0])
        folder.mkdir(parents=True, exist_ok=True)
        known, ids = noted(folder), submitted(jobs)
        groups: dict[Need, list[Job]] = {}
        for job in jobs:
            if job.name not in ids:
                groups.setdefault(self.need(job), []).append(job)
        for need, group in groups.items():
            ids |= dict(zip((job.name for job in group), self._submit(folder, need, group), strict=True))
            write_json(folder / "jobs.json", {**known, **ids})
        for job in jobs:
            job.log = folder / f"{ids[job.name]}_0_log.out"
        self._follow(jobs, ids, failures)

    def need(self, job: Job) -> Need:
        """What a job asks for: the plan's figures, where no key says otherwise."""
        plans = [forecast(study, path) for study, path in [*((job.study, run) for run in job.folders), *job.follow]]
        on_gpu = any(not item.device.is_cpu for item in plans)
        each = max((devices_of(job.study, item.device) for item in plans), default=gpus_needed(job.study))
        gpus = self.gpus if self.gpus is not None else each if on_gpu else 0
        hours = [item.hours for item in plans]
        minutes = 24 * 60 if None in hours else math.ceil(2 * 60 * sum(hour or 0 for hour in hours)) + 15
        return Need(
            tasks=nodes(job.study),
            gpus=gpus,
            cpus=self.cpus or max(2, 8 * gpus),
            mem_gb=self.mem_gb or max((main_memory_gb(item, each) for item in plans), default=8),
            minutes=self.minutes or minutes,
        )

    def _submit(self, folder: Path, need: Need, jobs: Sequence[Job]) -> list[str]:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=self.requeues)
        except RuntimeError as error:
            raise UserError(f"hydra/launcher=slurm: no Slurm is found here ({one_line(error)})") from error
        named = {key: getattr(self, key) for key in ("partition", "account", "qos", "constraint")}
        shared = min(self.tasks_per_node, need.tasks)
        executor.update_parameters(
            job_name=f"warmth-{jobs[0].study.study}",
            time=need.minutes,
            nodes=math.ceil(need.tasks / shared),
            ntasks_per_node=shared,
            cpus_per_task=need.cpus,
            mem=f"{need.mem_gb * shared}GB",
            array_parallelism=self.at_once,
            signal_delay_s=SAVE_S,
            stderr_to_stdout=True,
            setup=[f"cd {shlex.quote(os.getcwd())}", *self.setup],
            additional_parameters={"requeue": True, **self.extra},
            **({"gpus_per_node": need.gpus * shared} if need.gpus else {}),
            **{key: value for key, value in named.items() if value is not None},
        )
        try:
            made = executor.map_array(Carry(need.tasks), [job.argv for job in jobs])
        except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError) as error:
            raise UserError(f"Slurm refuses the jobs: {one_line(error)[:300]}") from error
        ids = [str(one.job_id) for one in made]
        say(f"submitted {len(ids)} jobs as {ids[0]} to {ids[-1]}: {need}")
        return ids

    def _follow(self, jobs: Sequence[Job], ids: dict[str, str], failures: Failures) -> None:
        """Waits until every job has left the queue; an interrupt leaves them there."""
        waiting = {ids[job.name]: job for job in jobs}
        try:
            while waiting:
                if failures.reached:
                    say(f"stopping after {len(failures.errors)} failures: {len(waiting)} jobs are cancelled")
                    subprocess.run(["scancel", *waiting], capture_output=True)
                time.sleep(self.poll_s)
                queued = in_queue(list(waiting))
                for number in [number for number in waiting if number not in queued]:
                    ended(waiting.pop(number), number, failures)
        except KeyboardInterrupt:
            say(f"the jobs go on; the same command follows them, `scancel {' '.join(waiting)}` ends them")
            raise


def folder_of(job: Job) -> Path:
    """Where a study's batch files and logs are."""
    return Path(job.study.output).resolve() / job.study.study / "slurm"


def noted(folder: Path) -> dict[str, str]:
    """The job each run was last submitted as."""
    return read_json(folder / "jobs.json") if (folder / "jobs.json").exists() else {}


def submitted(jobs: Sequence[Job]) -> dict[str, str]:
    """The jobs of these that an earlier command submitted and that still wait or run, by name."""
    known = noted(folder_of(jobs[0])) if jobs else {}
    queued = in_queue([known[job.name] for job in jobs if job.name in known])
    return {job.name: known[job.name] for job in jobs if known.get(job.name) in queued}


def ended(job: Job, number: str, failures: Failures) -> None:
    """Notes how a job ended that has left the queue."""
    until = time.monotonic() + GRACE_S
    while not job.is_done() and state_of(job.runs[0]).name in ("running", "not started") and time.monotonic() < until:
        time.sleep(0.5)
    if job.is_done():
        say(f"done {job.name} (job {number})")
        return
    states = [state_of(folder) for folder in job.runs]
    state = next(state for state in states if state.name != "done")
    line = error_line(job.log).removeprefix("error: ")
    why = state.message or line if state.name in ("failed", "not started", "done") else "the scheduler ended it"
    failures.errors[job.name] = RunFailed(f"{job.name}: {state.name}: {why} (job {number}, {job.log})")
    say(f"{state.name} {job.name} (job {number}): {why}")


def in_queue(ids: Sequence[str]) -> set[str]:
    """Which of these jobs wait, run or are about to end."""
    if not ids:
        return set()
    whole = sorted({number.split("_")[0] for number in ids})
    asked = ["squeue", "--noheader", "--array", "--format", "%i %T", "--jobs", ",".join(whole)]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        if isinstance(error, FileNotFoundError):
            raise UserError("hydra/launcher=slurm: there is no squeue here") from error
        return set(ids)  # a controller that does not answer has not ended anything
    if found.returncode and "invalid job id" not in found.stderr.lower():
        return set(ids)
    rows = [line.split() for line in found.stdout.splitlines()]
    return {row[0] for row in rows if row} & set(ids)  # also one that is completing: it may be queued again


def main_memory_gb(item: Forecast, ranks: int) -> int:
    """Main memory of one machine: weights as they are read, by each rank, and what a process needs besides."""
    return max(8, math.ceil(4 * ranks + 2.2 * 2 * item.parameters))
