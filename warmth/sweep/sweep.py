"""A whole sweep: which of its jobs there is anything to do for, in which order they start, and what became of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from warmth.config import compose_line
from warmth.errors import RunFailed, UserError, one_line
from warmth.sweep import plan, summary
from warmth.sweep.grid import Grid, points


@dataclass
class Job:
    """One point of the grid."""

    overrides: list[str]
    study: Any
    folders: list[Path] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The overrides as typed."""
        return " ".join(item for item in self.overrides if not item.startswith("hydra."))


class Sweep:
    """The jobs of one command."""

    def __init__(self, loader: Any, task: Any, shared: Sequence[str], arguments: Sequence[str]):
        """Composes and checks the whole grid.

        Raises:
            UserError: naming the first job that is wrong.
        """
        self.task = task
        grid = Grid(loader, task.name, task.schema, shared)
        self.jobs = [self._accept(grid, overrides) for overrides in points(loader, arguments)]

    @property
    def is_plan(self) -> bool:
        """Whether the command only asks what it would take."""
        return any(job.study.plan for job in self.jobs)

    def plan(self) -> None:
        """Prints what the runs need, each once."""
        seen = {}
        for job in self.jobs:
            for forecast in plan.of_study(job.study, self.task.folders):
                seen.setdefault((forecast.stage, forecast.run), forecast)
        plan.show(list(seen.values()))

    def run(self, launcher: Any) -> None:
        """Carries the distinct jobs out and sums up, also on an interrupt.

        Raises:
            UserError: every failure was the user's to mend.
            RunFailed: a job failed after it started.
        """
        for job in self.jobs:
            job.folders = self.task.folders(job.study)
        distinct = {tuple(job.folders): job for job in reversed(self.jobs)}
        todo = [job for job in self.jobs if distinct.get(tuple(job.folders)) is job]
        try:
            results = launcher.launch([job.overrides for job in todo], initial_job_idx=0)
        finally:
            summary.show([folder for job in todo for folder in job.folders], len(self.jobs))
        errors = [result._return_value for result in results if isinstance(result._return_value, BaseException)]
        if errors:
            kind = UserError if all(isinstance(error, UserError) for error in errors) else RunFailed
            more = f" (and {len(errors) - 1} more failures)" if len(errors) > 1 else ""
            raise kind(one_line(errors[0]) + more)

    def _accept(self, grid: Grid, overrides: list[str]) -> Job:
        label = " ".join(overrides)
        try:
            return Job(list(overrides), grid.accept(overrides))
        except UserError as error:
            raise UserError(f"sweep refused, nothing was started; job [{label}]: {one_line(error)}") from error
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(f"sweep refused, nothing was started; job [{label}]: {compose_line(error)}") from error


def say(line: str) -> None:
    """A line for the user on standard error."""
    print(line, file=sys.stderr, flush=True)
