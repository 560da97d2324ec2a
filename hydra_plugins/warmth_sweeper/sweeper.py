"""`hydra/sweeper=study`: sweeps that are accepted whole, planned, continued and summed up
(`warmth/sweep/sweep.py`).
"""

# No `from __future__ import annotations`: Hydra loads plugins outside sys.modules, where
# dataclasses read no strings.
from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass
class StudySweeperConfig:
    """`hydra/sweeper=study`."""

    _target_: str = "hydra_plugins.warmth_sweeper.sweeper.StudySweeper"
    params: dict[str, str] | None = (
        None  # sweep axes of an experiment; those of the command line win
    )
    # points that an experiment does not want (warmth/sweep/pairs.py)
    leave_out: list[str] = field(default_factory=list)
    # overrides that some of its points get besides
    also: dict[str, str] = field(default_factory=dict)


ConfigStore.instance().store(
    group="hydra/sweeper", name="study", node=StudySweeperConfig, provider="warmth"
)


class StudySweeper(Sweeper):
    """The cartesian product of the given overrides, as Hydra's basic sweeper makes it, checked
    before it runs.
    """

    def __init__(
        self,
        params: dict[str, str] | None = None,
        leave_out: list[str] | None = None,
        also: dict[str, str] | None = None,
    ):
        # the two others are read by `warmth.sweep.pairs`, with the experiment
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Called by Hydra once."""
        self.context, self.task, self.config = hydra_context, task_function, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Plans, or carries out and sums up, the whole grid.

        Raises:
            UserError: a job's config is wrong (nothing was started), or every failure was the
            user's to mend.
            RunFailed: not all is done at the end.
        """
        from warmth.command_line import refuse_changed_settings
        from warmth.sweep.sweep import Sweep

        refuse_changed_settings(self.config.hydra)
        given = {argument.partition("=")[0] for argument in arguments}
        axes = [f"{key}={value}" for key, value in self.params.items() if key not in given]
        shared = OmegaConf.to_container(self.config.hydra.overrides.hydra)
        sweep = Sweep(self.context.config_loader, self.task, shared, [*axes, *arguments])
        if sweep.is_plan:
            sweep.plan()
            return
        sweep.run(self.launcher)
        self.task.runs.extend(folder for job in sweep.jobs for folder in job.runs)
