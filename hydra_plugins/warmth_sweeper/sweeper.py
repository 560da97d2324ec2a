"""A sweep that is accepted whole before its first job starts, runs equal jobs once, and ends with a summary."""

# No `from __future__ import annotations`: Hydra loads plugins outside sys.modules, where dataclasses read no strings.
import itertools
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from warmth.entry import compose_line
from warmth.errors import RunFailed, UserError, one_line


@dataclass
class StudySweeperConfig:
    """`hydra/sweeper=study`."""

    _target_: str = "hydra_plugins.warmth_sweeper.sweeper.StudySweeper"
    params: dict[str, str] | None = None  # sweep axes of an experiment; the command line's come after and win


ConfigStore.instance().store(group="hydra/sweeper", name="study", node=StudySweeperConfig, provider="warmth")


@dataclass
class Job:
    """One point of the grid."""

    overrides: list[str]
    folder: Path
    lines: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The overrides as typed."""
        return " ".join(item for item in self.overrides if not item.startswith("hydra."))


class StudySweeper(Sweeper):
    """The cartesian product of the given overrides, as Hydra's basic sweeper makes it, checked before it runs."""

    def __init__(self, params: dict[str, str] | None = None):
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra once."""
        self.context, self.task, self.config = hydra_context, task_function, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Accepts every job, runs each distinct one, prints what became of them.

        Raises:
            UserError: a job's config is wrong (nothing was started), or every failure was the user's to mend.
            RunFailed: a job failed after it started.
        """
        jobs = self.jobs(arguments)
        distinct = {job.folder: job for job in reversed(jobs)}
        todo = [job for job in jobs if distinct.get(job.folder) is job]
        try:
            results = self.launcher.launch([job.overrides for job in todo], initial_job_idx=0)
        except KeyboardInterrupt:
            summarise(todo, len(jobs))
            raise
        errors = [result._return_value for result in results if isinstance(result._return_value, Exception)]
        summarise(todo, len(jobs))
        if errors:
            kind = UserError if all(isinstance(error, UserError) for error in errors) else RunFailed
            more = f" (and {len(errors) - 1} more failures)" if len(errors) > 1 else ""
            raise kind(one_line(errors[0]) + more)
        return results

    def jobs(self, arguments: list[str]) -> list[Job]:
        """Composes and checks the whole grid.

        Raises:
            UserError: naming the first job that is wrong.
        """
        given = [f"{key}={value}" for key, value in self.params.items()] + list(arguments)
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        grid = BasicSweeper.split_arguments(parser.parse_overrides(given), None)
        return [self._accept(overrides) for overrides in itertools.chain.from_iterable(grid)]

    def _accept(self, overrides: list[str]) -> Job:
        label = " ".join(overrides)
        try:
            config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
            own = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
            study = self.task.accept(own)  # type: ignore[attr-defined]
            return Job(list(overrides), self.task.folder(study))  # type: ignore[attr-defined]
        except UserError as error:
            raise UserError(f"sweep refused, nothing was started; job [{label}]: {one_line(error)}") from error
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(f"sweep refused, nothing was started; job [{label}]: {compose_line(error)}") from error


def summarise(jobs: list[Job], asked: int) -> None:
    """One line per run: state and, where it failed, why. Printed on standard error."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"sweep: {len(jobs)} runs" + (f" for {asked} jobs" if asked != len(jobs) else ""))
    for name in ("run", "state", "message"):
        table.add_column(name, overflow="fold")
    for job in jobs:
        status = job.folder / "status.json"
        row = json.loads(status.read_text()) if status.exists() else {"state": "not started", "message": ""}
        table.add_row(Text(job.folder.name), Text(row["state"]), Text(row["message"]))
    Console(file=sys.stderr).print(table)
