"""A whole sweep: which of its jobs there is anything to do for, in which order they start, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from time import sleep
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from warmth.config import compose_line
from warmth.errors import NotTrained, RunFailed, UserError, one_line
from warmth.schemas import Train
from warmth.store import Run
from warmth.sweep import chain, plan, summary
from warmth.sweep.grid import Grid, points
from warmth.sweep.jobs import Job, folders_of
from warmth.sweep.launching import Failures, launch
from warmth.sweep.pairs import pairs_of
from warmth.sweep.states import state_of
from warmth.text import say

POLL_S = 5.0  # between two looks at a training that is waited for


class Sweep:
    """The jobs of one command."""

    def __init__(self, loader: Any, task: Any, shared: Sequence[str], arguments: Sequence[str]):
        """Composes and checks the whole grid.

        Raises:
            UserError: naming the first job that is wrong.
        """
        self.loader, self.task = loader, task
        grid = Grid(loader, task.name, task.schema, shared)
        asked = pairs_of(loader, task.name, arguments).of(points(loader, arguments))
        self.jobs = [self._accept(grid, overrides) for overrides in asked]
        self.asked, self.left_out = len(self.jobs), []

    @property
    def is_plan(self) -> bool:
        """Whether the command only asks what it would take."""
        return any(job.study.plan for job in self.jobs)

    def plan(self) -> None:
        """Prints what the runs need, each once."""
        seen: dict[tuple[str, str], plan.Forecast] = {}
        for job in self.jobs:
            found = plan.of_study(job.study, self.task.folders)
            for study in self._following(job):
                found += plan.of_study(study, evaluation_folders)
            for forecast in found:
                seen.setdefault((forecast.stage, forecast.run), forecast)
        plan.show(list(seen.values()))
        for study in [job.study for job in self.jobs][:1]:
            plan.show_grid(study)

    def run(self, launcher: Any) -> None:
        """Carries out what is not done yet and sums up, also on an interrupt.

        Raises:
            UserError: an adapter is missing, or every failure was the user's to mend.
            RunFailed: not every run is done.
        """
        self._find_runs()
        jobs = self._distinct()
        todo = [job for job in jobs if self._is_wanted(job, launcher)]
        failures = Failures(self.jobs[0].study.stop_after_failures if self.jobs else None)
        try:
            launch(launcher, [job for job in todo if not job.waits_for], failures)
            for job in (job for job in todo if job.waits_for):
                self._wait(job)
                launch(launcher, [job], failures)
        finally:
            summary.show(jobs, self.asked, self.left_out)
        self._end(jobs, failures)

    def _accept(self, grid: Grid, overrides: list[str]) -> Job:
        label = " ".join(overrides)
        try:
            return Job(self.task.name, list(overrides), grid.accept(overrides))
        except UserError as error:
            raise UserError(f"sweep refused, nothing was started; job [{label}]: {one_line(error)}") from error
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(f"sweep refused, nothing was started; job [{label}]: {compose_line(error)}") from error

    def _following(self, job: Job) -> list[Any]:
        return chain.studies(self.loader, job.study) if isinstance(job.study, Train) and job.study.evaluate else []

    def _find_runs(self) -> None:
        """Fills in each job's run folders.

        Raises:
            UserError: adapters are missing that nobody is making; each is named with its command first.
        """
        missing: dict[str, None] = {}
        for job in self.jobs:
            try:
                job.folders, job.waits_for = folders_of(job.study, self.task.folders)
            except NotTrained as error:
                missing[one_line(error)] = None
                continue
            following = self._following(job)
            job.follow = [(one, folder) for one in following for folder in plan.planned(one, evaluation_folders)]
        if len(missing) > 1:
            for line in missing:
                say(line)
            raise UserError(f"sweep refused, nothing was started: {len(missing)} adapters are missing, named above")
        if missing:
            raise UserError(f"sweep refused, nothing was started: {next(iter(missing))}")

    def _distinct(self) -> list[Job]:
        """Each job once that has runs; what trains nothing is left out with one line."""
        found: dict[Any, Job] = {}
        for job in self.jobs:
            if not job.runs and not job.waits_for:
                self._leave_out(f"recipe={job.study.recipe.name} trains nothing: skipped")
            else:
                found.setdefault(tuple(job.runs) or job.label, job)
        return list(found.values())

    def _leave_out(self, line: str) -> None:
        if line not in self.left_out:
            self.left_out.append(line)
            say(line)

    def _is_wanted(self, job: Job, launcher: Any) -> bool:
        """Whether a job is to be started or followed: not done, not under way elsewhere, not excluded by `rerun`."""
        if hasattr(launcher, "follows") and launcher.follows(job):
            return True
        states = {folder: state_of(folder) for folder in job.runs}
        rerun = job.study.rerun
        if any(state.name == "running" for state in states.values()):
            where = next(state.host for state in states.values() if state.name == "running")
            self._leave_out(f"{job.name} is running on {where}: left alone")
            return False
        if rerun == "all":
            for folder in job.runs:
                Run(folder).put_aside()
            return True
        if rerun == "none" and any(state.name == "failed" for state in states.values()):
            self._leave_out(f"{job.name} has failed before: left as it is (rerun=none)")
            return False
        return bool(job.waits_for) or not job.is_done()

    def _wait(self, job: Job) -> None:
        """Waits until the training that makes a job's adapter has ended."""
        say(f"{job.label}: waiting for {job.waits_for}, which is being trained")
        while job.waits_for and state_of(job.waits_for).name == "running":
            sleep(POLL_S)
        job.folders = self.task.folders(job.study)

    def _end(self, jobs: Sequence[Job], failures: Failures) -> None:
        """Says by an exception, and so by the exit code, that not all is done."""
        open_runs = [folder for job in jobs for folder in job.runs if state_of(folder).name != "done"]
        errors = list(failures.errors.values())
        if errors:
            kind = UserError if all(isinstance(error, UserError) for error in errors) else RunFailed
            more = f" (and {len(errors) - 1} more failures)" if len(errors) > 1 else ""
            stopped = f"; stopped after {len(errors)} failures" if failures.reached else ""
            raise kind(one_line(errors[0]) + more + stopped)
        if open_runs:
            raise RunFailed(f"{len(open_runs)} of {sum(len(job.runs) for job in jobs)} runs are not done: see above")


def evaluation_folders(study: Any) -> list[Any]:
    """Run folders of an evaluation."""
    from warmth.evaluation.points import folders_of

    return folders_of(study)
