"""A whole sweep: which of its jobs there is anything to do for, in which order they start, and what
became of them.
"""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from warmth.config import compose_line
from warmth.errors import NotTrained, RunFailed, UserError, one_line
from warmth.schemas import Train
from warmth.sweep import claims, joblist, plan, summary
from warmth.sweep.backlog import Backlog
from warmth.sweep.chain import CHAINED, Following
from warmth.sweep.commands import SweepCommand
from warmth.sweep.failures import Failures
from warmth.sweep.grid import SweepGrid, axes_of, grid_points
from warmth.sweep.jobs import Job, folders_of
from warmth.sweep.launching import launch
from warmth.sweep.pairs import sweep_rules
from warmth.sweep.states import state_of
from warmth.text import say

REFUSED = "sweep refused, nothing was started"


class Sweep:
    """The jobs of one command."""

    def __init__(self, loader: Any, task: Any, shared: Sequence[str], arguments: Sequence[str]):
        """Compose and check the whole grid.

        Args:
            loader: Hydra's loader of configs.
            task: the command: its name, schema, and the run folders that a config means.
            shared: Hydra's own overrides, the same for every job.
            arguments: what was typed; an experiment's own sweep axes are added.

        Raises:
            UserError: naming the first job that is wrong.
        """
        self.task = task
        self.following = Following(loader)
        grid = SweepGrid(loader, task.name, task.schema, shared)
        grids = axes_of(loader, task.name, arguments)
        overrides: list[list[str]] = []
        for given in grids:
            overrides += sweep_rules(loader, task.name, given).of(grid_points(loader, given))
        self.jobs = [self._accept(grid, point) for point in overrides]
        self.asked = len(self.jobs)
        self.left_out: list[str] = []
        self.is_chained = CHAINED in os.environ
        self.expected: dict[Path, float | None] = {}  # run folder → seconds by the plan
        if len({job.study.plan for job in self.jobs}) > 1:
            raise UserError(
                "plan=true,false is no axis of a sweep: give plan=true to plan all of it, or "
                "leave it out"
            )

    @property
    def is_plan(self) -> bool:
        """Say whether the command only asks what it would take."""
        return any(job.study.plan for job in self.jobs)

    def plan(self) -> None:
        """Print what the runs need, each once."""
        forecasts: dict[Path, plan.RunForecast] = {}
        for job in self.jobs:
            job_forecasts = plan.plan_of_job(job.study, self.task.folders)
            for study in self._following(job):
                job_forecasts += plan.plan_of_job(study, evaluation_folders)
            for forecast in job_forecasts:
                forecasts.setdefault(forecast.folder, forecast)
        plan.print_plan(list(forecasts.values()))
        plan.show_lifetimes([job.study for job in self.jobs])
        if self.jobs:
            plan.show_grid(self.jobs[0].study)

    def run(self, launcher: Any) -> None:
        """Carry out what is not done yet and sum up, also on an interrupt.

        Raises:
            UserError: an adapter is missing, or every failure was the user's to mend.
            RunFailed: not every run is done.
        """
        began = time.time()
        self._find_runs()
        jobs = self._distinct()
        failures = Failures(self.jobs[0].study.stop_after_failures if self.jobs else None)
        todo = [job for job in jobs if is_open(job)]
        lines: list[str] = []
        try:
            if todo:
                with self._commands(todo) as commands:
                    self._forecast(todo)
                    self._keep(jobs, launcher, began)
                    backlog = self._backlog(todo, failures, commands)
                    try:
                        self._carry_out(launcher, backlog)
                    finally:
                        backlog.close()
                        lines = backlog.lines_at_the_end()
        finally:
            claims.forget_finished(runs_of_jobs(jobs))
            lines.append(self._keep(jobs, launcher, began))
            summary.print_summary(jobs, self.asked, [*self.left_out, *filter(None, lines)])
        self._end(jobs, failures)

    def _keep(self, jobs: Sequence[Job], launcher: Any, began: float) -> str:
        """Write the list of the jobs as they stand now; return a line that says where it is, or why
        it is not kept.
        """
        if self.is_chained:
            return ""
        at_once = 1
        if jobs and hasattr(launcher, "at_once"):
            at_once = launcher.at_once(jobs)
        return summary.keep_list(jobs, self.expected, type(launcher).__name__, at_once, began)

    def _carry_out(self, launcher: Any, backlog: Backlog) -> None:
        """Start jobs until none is left; what others held and left undone is tried once they are
        gone.
        """
        launch(launcher, backlog)
        while backlog.look_again():
            launch(launcher, backlog)
        if backlog.failures.reached and backlog.left:
            for job in backlog.left:
                job.note = job.note or backlog.failures.reason
            say(f"{len(backlog.left)} jobs are not started: {backlog.failures.reason}")

    @contextmanager
    def _commands(self, jobs: Sequence[Job]) -> Generator[dict[Path, Path]]:
        """Make this command known in each of its studies: study folder → its file there.

        Raises:
            UserError: a study's folder cannot be written.
        """
        if self.is_chained:
            yield {}
            return
        files: dict[Path, Path] = {}
        with ExitStack() as stack:
            for study in map(claims.study_of, runs_of_jobs(jobs)):
                if study in files:
                    continue
                try:
                    files[study] = stack.enter_context(SweepCommand(study / joblist.FOLDER)).path
                except OSError as error:
                    raise UserError(
                        f"{study} cannot be written: {error.strerror or one_line(error)}"
                    ) from error
            yield files

    def _backlog(
        self, jobs: Sequence[Job], failures: Failures, commands: dict[Path, Path]
    ) -> Backlog:
        from warmth.sweep.slurm import is_queued

        return Backlog(jobs, failures, commands, self.task.folders, is_coming, is_queued)

    def _forecast(self, jobs: Sequence[Job]) -> None:
        """Note what the runs are expected to take, for estimates of the time left; nothing here may
        fail a sweep.
        """
        for job in jobs:
            for study, folder in job.studies():
                self.expected[folder] = None
                try:
                    hours = plan.forecast(study, folder).hours
                except (UserError, OSError):
                    continue
                if hours is not None:
                    self.expected[folder] = round(3600 * hours, 1)

    def _accept(self, grid: SweepGrid, overrides: list[str]) -> Job:
        label = " ".join(overrides)
        try:
            return Job(self.task.name, list(overrides), grid.accept(overrides))
        except UserError as error:
            raise UserError(f"{REFUSED}; job [{label}]: {one_line(error)}") from error
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(f"{REFUSED}; job [{label}]: {compose_line(error)}") from error

    def _following(self, job: Job) -> list[Any]:
        if not isinstance(job.study, Train) or not job.study.evaluate:
            return []
        return self.following.studies(job.study)

    def _find_runs(self) -> None:
        """Fill in each job's run folders.

        Raises:
            UserError: adapters are missing that nobody is making; each is named with its command
            first.
        """
        missing: dict[str, str] = {}  # what is missing → the first job that needs it
        for job in self.jobs:
            try:
                job.folders, job.waits_for = folders_of(job.study, self.task.folders, has_maker)
                for study in self._following(job):
                    for folder in plan.planned(study, evaluation_folders):
                        job.follow.append((study, folder))
            except NotTrained as error:
                missing.setdefault(one_line(error), job.label)
            except UserError as error:
                raise UserError(f"{REFUSED}; job [{job.label}]: {one_line(error)}") from error
        if len(missing) > 1:
            for line, label in missing.items():
                say(f"job [{label}]: {line}")
            raise UserError(f"{REFUSED}: {len(missing)} adapters are missing, named above")
        for line, label in missing.items():
            raise UserError(f"{REFUSED}; job [{label}]: {line}")

    def _distinct(self) -> list[Job]:
        """List each job once that has runs; what trains nothing is left out with one line."""
        distinct: dict[Any, Job] = {}
        for job in self.jobs:
            if job.runs:
                distinct.setdefault(tuple(job.runs), job)
            else:
                self._leave_out(f"recipe={job.study.recipe.name} trains nothing: skipped")
        return list(distinct.values())

    def _leave_out(self, line: str) -> None:
        if line not in self.left_out:
            self.left_out.append(line)
            say(line)

    def _end(self, jobs: Sequence[Job], failures: Failures) -> None:
        """Say by an exception, and so by the exit code, that not all is done."""
        if failures.first is not None:
            line = failure_line(failures, failures.first)
            if all(map(is_users, failures.errors.values())):
                raise UserError(line)
            raise RunFailed(line)
        counts = Counter(state_of(folder).name for folder in runs_of_jobs(jobs))
        runs = counts.total()
        undone = runs - counts.pop("done", 0)
        if undone:
            phrases = ", ".join(f"{number} {name}" for name, number in counts.items())
            raise RunFailed(f"{undone} of {runs} runs are not done: {phrases}")


def is_open(job: Job) -> bool:
    """Say whether there may be something left to do for a job."""
    return bool(job.waits_for) or job.study.rerun == "all" or not job.is_done()


def runs_of_jobs(jobs: Sequence[Job]) -> list[Path]:
    """List the run folders of some jobs."""
    folders = []
    for job in jobs:
        folders += job.runs
    return folders


def failure_line(failures: Failures, first: str) -> str:
    """Say which run failed first, where its log is, and how many more failed."""
    end = failures.ends[first]
    line = f"{first}: {one_line(end.error).removeprefix(f'{first}: ')}"
    number = len(failures.ends)
    if end.log is not None:
        line += f" (log: {end.log})"
    if number > 1:
        line += f" (and {number - 1} more failures)"
    if failures.reached:
        line += f"; stopped after {number} failures: {failures.reason}"
    return line


def is_users(error: BaseException) -> bool:
    """Say whether an error is the user's to mend: refused input, or a full disk."""
    is_full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    return is_full or isinstance(error, UserError)


def is_coming(training: Path) -> bool:
    """Say whether somebody is making a training run: it runs, is queued, or is on the list of a
    living command.
    """
    from warmth.sweep.slurm import is_queued

    state = state_of(training).name
    if state == "running":
        return True
    claim = claims.read_claim(training)
    if claim is not None and claim.is_held(claims.study_of(training)):
        return True
    if claim is not None and claim.job and is_queued(claim.job):
        return True
    return state == "not started" and joblist.is_listed_by_living(training)


def has_maker(training: Path) -> bool:
    """Say whether a training run is coming, or has failed in a command that still runs.

    The evaluation of one that has failed fails alone, whether it was asked for before the failure
    or after.
    """
    return is_coming(training) or joblist.is_listed_by_living(training)


def evaluation_folders(study: Any) -> list[Path]:
    """Return the run folders of an evaluation."""
    from warmth.evaluation.points import folders_of_points

    return folders_of_points(study)
