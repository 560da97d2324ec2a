"""`hydra/launcher=joblib` and `slurm`: thin shells around `warmth/sweep/processes.py` and
`warmth/sweep/slurm.py`.
"""

# No `from __future__ import annotations`: Hydra loads plugins outside sys.modules, where
# dataclasses read no strings.
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class JobLauncher(Launcher):
    """Takes the jobs of this project's sweeper, which know their run folders and needs."""

    def __init__(self, **settings: Any):
        self.settings = settings

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Called by Hydra once."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Hydra's own way in.

        Raises:
            UserError: another sweeper was chosen.
        """
        from warmth.errors import UserError

        raise UserError("this hydra/launcher works with hydra/sweeper=study, the default, alone")


class ProcessLauncher(JobLauncher):
    """`hydra/launcher=joblib`."""

    def carry_out(self, backlog: Any) -> None:
        """Several jobs at once on this machine."""
        from warmth.sweep.processes import Processes

        Processes(**self.settings).carry_out(backlog)

    def at_once(self, jobs: Any) -> int:
        """Count the jobs that run at the same time."""
        from warmth.sweep.processes import Processes

        return len(Processes(**self.settings).slots(jobs))


class SlurmLauncher(JobLauncher):
    """`hydra/launcher=slurm`."""

    def carry_out(self, backlog: Any) -> None:
        """Jobs through a Slurm cluster's queue."""
        from warmth.sweep.slurm import Slurm

        Slurm(**self.settings).carry_out(backlog)

    def at_once(self, jobs: Any) -> int:
        """Count the jobs that run at the same time."""
        from warmth.sweep.slurm import Slurm

        return Slurm(**self.settings).at_once
