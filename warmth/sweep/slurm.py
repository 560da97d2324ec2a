"""Jobs through Slurm, by submitit: how a run ended is read from its folder and the queue, not
submitit's result.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from warmth.child_logs import error_line, last_lines
from warmth.errors import KEEPS_TRACEBACKS, RunFailed, UserError, one_line
from warmth.gpus import gpus_needed
from warmth.sweep import claims
from warmth.sweep.backlog import Backlog
from warmth.sweep.jobs import Job
from warmth.sweep.plan import RunForecast, devices_of, forecast, nodes
from warmth.sweep.processes import note_killed
from warmth.sweep.states import State, state_of
from warmth.text import say

SAVE_S = 90  # before a job is taken away it is told so this long ahead; ranks save within 30 s
GRACE_S = 10.0  # for files to arrive on a shared folder after a job has left the queue
CANCEL_S = 120.0  # for cancelled jobs to leave the queue
QUARTER = 15  # minutes, to which time limits are rounded, so that nearly equal needs share an array
LEAST_GB = 8  # of main memory, for one job
PORTS = range(20_000, 50_000)  # for ranks to meet, one for each job


@dataclass(frozen=True)
class JobNeeds:
    """What one job asks the cluster for; jobs with equal needs go into one array."""

    tasks: int  # machines of the run
    gpus: int  # on each
    cpus: int
    mem_gb: int
    minutes: int


@dataclass
class JobGroup:
    """Jobs of one study with equal needs, which become one array."""

    folder: Path  # of their batch files and logs
    need: JobNeeds
    jobs: list[Job]


class Carry:
    """What a job does on the cluster: the command line, told its place where several machines train
    together.
    """

    def __init__(self, tasks: int):
        self.tasks = tasks
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, argv: list[str]) -> None:
        """Run the command to its end.

        Raises:
            RunFailed: it ended with another code than 0 (`status.json` says why).
        """
        # Slurm's word ahead of the limit goes to every process of the job; only this one is to heed
        # it.
        ignore_warning = partial(signal.signal, signal.SIGUSR2, signal.SIG_IGN)
        env = {**os.environ, KEEPS_TRACEBACKS: "1"}
        command = [*argv, *place(self.tasks)]
        self._process = subprocess.Popen(command, preexec_fn=ignore_warning, env=env)
        # `wait` holds a lock that `checkpoint` needs
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        code = self._process.wait()
        if code:
            raise RunFailed(f"ended with code {code}")

    def checkpoint(self, argv: list[str]) -> Any:
        """Let the command save and end ahead of the time limit; submitit then queues the job
        again.
        """
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            self._process.terminate()
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Carry(self.tasks), argv)


def place(tasks: int) -> list[str]:
    """Return overrides that tell a machine its number and where all meet, from the allocation; none
    for a single one.
    """
    if tasks < 2:
        return []
    first_host = subprocess.run(
        ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[0]
    port = PORTS[int(os.environ["SLURM_JOB_ID"]) % len(PORTS)]
    return [
        f"launcher.node={os.environ['SLURM_PROCID']}",
        f"launcher.rendezvous={first_host}:{port}",
    ]


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

    def carry_out(self, backlog: Backlog) -> None:
        """Submit what is free, also as trainings that are waited for end, and follow all of it to
        its end.

        Raises:
            UserError: there is no Slurm here, or it refuses a job.
        """
        pending: list[JobGroup] = []
        arrays: dict[str, int] = {}  # array → how many of its jobs may run at once
        under_way: dict[str, Job] = {}  # job id → job
        try:
            while pending or under_way or backlog.is_open:
                self._gather(backlog, pending, arrays, under_way)
                self._submit_pending(backlog, pending, arrays, under_way)
                if not (pending or under_way or backlog.is_open):
                    return
                time.sleep(self.poll_s)
                queued = in_queue(list(under_way))
                for number in [number for number in under_way if number not in queued]:
                    job = under_way.pop(number)
                    error, ended = end_of(job, number)
                    backlog.ended(job, error, ended)
                if backlog.failures.reached:
                    self._cancel(backlog, pending, under_way)
                    return
                self._widen(pending, arrays, under_way)
        except KeyboardInterrupt:
            if under_way:
                say(
                    f"the jobs go on; the same command follows them, `scancel "
                    f"{' '.join(under_way)}` ends them"
                )
            raise

    def _gather(
        self,
        backlog: Backlog,
        pending: list[JobGroup],
        arrays: dict[str, int],
        under_way: dict[str, Job],
    ) -> None:
        """Take what is free now: followed jobs are under way already, the others are grouped by
        what they need.
        """
        while backlog.is_open:
            job = backlog.take()
            if job is None:
                return
            if job.number is not None:
                under_way[job.number] = job
                array = array_of(job.number)
                arrays.setdefault(array, throttle_of(array) or self.at_once)
                continue
            folder = batch_folder(job)
            need = self.need(job)
            for group in pending:
                if (group.folder, group.need) == (folder, need):
                    group.jobs.append(job)
                    break
            else:
                pending.append(JobGroup(folder, need, [job]))

    def _submit_pending(
        self,
        backlog: Backlog,
        pending: list[JobGroup],
        arrays: dict[str, int],
        under_way: dict[str, Job],
    ) -> None:
        """Submit groups as far as `at_once` allows; each becomes an array that may run its share at
        once.
        """
        free = self.at_once - taken(arrays, under_way)
        groups = list(pending)
        group_shares = divided([len(group.jobs) for group in groups], free)
        for group, share in zip(groups, group_shares, strict=True):
            if not share:
                continue
            pending.remove(group)
            group.folder.mkdir(parents=True, exist_ok=True)
            ids = self._submit(group, share)
            arrays[array_of(ids[0])] = share
            for job, number in zip(group.jobs, ids, strict=True):
                job.number = number
                job.log = group.folder / f"{number}_0_log.out"
                for run in job.runs:
                    claims.note_job(run, number, job.log)
                under_way[number] = job

    def _widen(
        self, pending: list[JobGroup], arrays: dict[str, int], under_way: dict[str, Job]
    ) -> None:
        """Let arrays use the places that others left, where nothing else waits for them."""
        free = self.at_once - taken(arrays, under_way)
        if pending or free <= 0:
            return
        live_jobs = Counter(map(array_of, under_way))
        for array, throttle in arrays.items():
            live = live_jobs[array]
            if free > 0 and live > throttle:
                more = min(free, live - throttle)
                update = [
                    "scontrol",
                    "update",
                    f"JobId={array}",
                    f"ArrayTaskThrottle={throttle + more}",
                ]
                if subprocess.run(update, capture_output=True).returncode:
                    continue
                arrays[array] += more
                free -= more

    def _cancel(self, backlog: Backlog, pending: list[JobGroup], under_way: dict[str, Job]) -> None:
        """End what is in the queue when no further job is to be started; that is no failure of
        these jobs.
        """
        failures = backlog.failures
        cancelled = list(under_way.values())
        for group in pending:
            cancelled += group.jobs
        if cancelled:
            say(
                f"stopping after {len(failures.ends)} failures ({failures.reason}): "
                f"{len(cancelled)} jobs are cancelled"
            )
        if under_way:
            subprocess.run(["scancel", *under_way], capture_output=True)
        until = time.monotonic() + CANCEL_S
        while in_queue(list(under_way)) and time.monotonic() < until:
            time.sleep(self.poll_s)
        for job in cancelled:
            job.note = f"cancelled: {failures.reason}"
            backlog.release(job)

    def need(self, job: Job) -> JobNeeds:
        """Say what a job asks for: the plan's figures, if no key says otherwise."""
        plans = [forecast(study, folder) for study, folder in job.studies()]
        devices = max(
            [devices_of(job.study, plan.device) for plan in plans] or [gpus_needed(job.study)]
        )
        gpus = self.gpus
        if gpus is None:
            gpus = 0
            if any(not plan.device.is_cpu for plan in plans):
                gpus = devices
        memory = [main_memory_gb(plan, devices) for plan in plans]
        return JobNeeds(
            tasks=nodes(job.study),
            gpus=gpus,
            cpus=self.cpus or max(2, 8 * gpus),
            mem_gb=self.mem_gb or max([LEAST_GB, *memory]),
            minutes=self.minutes or minutes_for(plans),
        )

    def _submit(self, group: JobGroup, at_once: int) -> list[str]:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        need = group.need
        jobs = group.jobs
        try:
            executor = submitit.SlurmExecutor(folder=group.folder, max_num_timeout=self.requeues)
        except RuntimeError as error:
            raise UserError(
                f"hydra/launcher=slurm: no Slurm is found here ({one_line(error)})"
            ) from error
        tasks_on_node = min(self.tasks_per_node, need.tasks)
        optional: dict[str, Any] = {}
        for key in ("partition", "account", "qos", "constraint"):
            value = getattr(self, key)
            if value is not None:
                optional[key] = value
        if need.gpus:
            optional["gpus_per_node"] = need.gpus * tasks_on_node
        executor.update_parameters(
            job_name=f"warmth-{jobs[0].study.study}",
            time=need.minutes,
            nodes=math.ceil(need.tasks / tasks_on_node),
            ntasks_per_node=tasks_on_node,
            cpus_per_task=need.cpus,
            mem=f"{need.mem_gb * tasks_on_node}GB",
            array_parallelism=at_once,
            signal_delay_s=SAVE_S,
            stderr_to_stdout=True,
            setup=[f"cd {shlex.quote(os.getcwd())}", *self.setup],
            additional_parameters={"requeue": True, **self.extra},
            **optional,
        )
        try:
            submitted = executor.map_array(Carry(need.tasks), [job.argv for job in jobs])
        except (FailedJobError, FailedSubmissionError, subprocess.CalledProcessError) as error:
            names = f"{len(jobs)} jobs, {jobs[0].name} first"
            raise UserError(f"Slurm refuses {names}: {one_line(error)[:300]}") from error
        ids = [str(job.job_id) for job in submitted]
        say(f"submitted {len(ids)} jobs as {ids[0]} to {ids[-1]}, {at_once} at once: {need}")
        return ids


def minutes_for(plans: Iterable[RunForecast]) -> int:
    """Return the time limit of a job: twice what its plans say, in whole quarter hours, and one
    more; a day if a plan does not say.
    """
    hours = 0.0
    for plan in plans:
        if plan.hours is None:
            return 24 * 60
        hours += plan.hours
    return QUARTER * math.ceil(2 * 60 * hours / QUARTER) + QUARTER


def batch_folder(job: Job) -> Path:
    """Return where a study's batch files and logs are."""
    return Path(job.study.output).resolve() / job.study.study / "slurm"


def array_of(number: str) -> str:
    """Return the array that a job belongs to: 12 of 12_3."""
    return number.partition("_")[0]


def taken(arrays: dict[str, int], under_way: Iterable[str]) -> int:
    """Count the jobs that may run at once already: of each array its share, or what is left of
    it.
    """
    live = Counter(map(array_of, under_way))
    number = 0
    for array, throttle in arrays.items():
        number += min(throttle, live[array])
    return number


def divided(sizes: Sequence[int], free: int) -> list[int]:
    """Divide the free places among groups of jobs by their sizes; each gets one as long as there
    are any.
    """
    result = [0] * len(sizes)
    for _ in range(min(free, sum(sizes))):
        open_groups = [index for index, size in enumerate(sizes) if result[index] < size]
        neediest = min(open_groups, key=lambda index: (result[index] / sizes[index], index))
        result[neediest] += 1
    return result


def throttle_of(array: str) -> int | None:
    """Read how many jobs of an array may run at once; None where the controller does not say."""
    try:
        shown = subprocess.run(
            ["scontrol", "show", "job", array], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    throttle = re.search(r"ArrayTaskThrottle=(\d+)", shown.stdout)
    if throttle is None:
        return None
    return int(throttle[1])


def end_of(job: Job, number: str) -> tuple[RunFailed | None, float]:
    """Say how a job ended that has left the queue, and when; what the scheduler did to it is noted
    in its status.
    """
    until = time.monotonic() + GRACE_S
    while (
        not job.is_done()
        and state_of(job.runs[0]).name in ("running", "not started")
        and time.monotonic() < until
    ):
        time.sleep(0.5)
    if job.is_done():
        say(f"done {job.name} (job {number})")
        return None, time.time()
    state = first_undone(job.runs)
    line = error_line(job.log).removeprefix("error: ")
    by_scheduler = scheduler_line(job.log)
    if state.name == "killed":
        by_scheduler = by_scheduler or "the scheduler ended it"
        note_killed(job, by_scheduler)
    reason = ""
    if state.name in ("failed", "not scored", "not started"):
        reason = state.message or line
    reason = reason or by_scheduler or state.message or "the scheduler ended it"
    say(f"{state.name} {job.name} (job {number}): {reason}")
    return RunFailed(f"{state.name}: {reason} (job {number})"), state.time or time.time()


def first_undone(runs: Sequence[Path]) -> State:
    """Return the state of the first run that is not done; of the last run if all are."""
    for folder in runs[:-1]:
        state = state_of(folder)
        if state.name != "done":
            return state
    return state_of(runs[-1])


def scheduler_line(log: Path | None) -> str:
    """Return what Slurm wrote into a job's log when it ended it: time limit, memory, `scancel`;
    else nothing.
    """
    if log is None:
        return ""
    for line in reversed(last_lines(log, 200)):
        if line.startswith(("slurmstepd: error:", "srun: error:")):
            return line.partition("error: ")[2].strip("* ").strip()
    return ""


def is_queued(number: str) -> bool:
    """Say whether a job waits, runs or is about to end; yes if there is no Slurm here to ask:
    nothing is made twice.
    """
    if shutil.which("squeue") is None:
        return True
    return number in in_queue([number])


def in_queue(ids: Sequence[str]) -> set[str]:
    """Return which of these jobs wait, run or are about to end."""
    if not ids:
        return set()
    arrays = ",".join(sorted(set(map(array_of, ids))))
    command = ["squeue", "--noheader", "--array", "--format", "%i %T", "--jobs", arrays]
    try:
        queue = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        if isinstance(error, FileNotFoundError):
            raise UserError("hydra/launcher=slurm: there is no squeue here") from error
        return set(ids)  # a controller that does not answer has not ended anything
    if queue.returncode and "invalid job id" not in queue.stderr.lower():
        return set(ids)
    queued = set()
    for line in queue.stdout.splitlines():
        number, *_ = line.split() or [""]
        queued.add(number)  # also one that is completing: it may be queued again
    return queued & set(ids)


def main_memory_gb(plan: RunForecast, ranks: int) -> int:
    """Estimate the main memory of one machine: weights as each rank reads them, and what a process
    needs besides.
    """
    return max(LEAST_GB, math.ceil(4 * ranks + 2.2 * 2 * plan.parameters))
