"""One job of a sweep: the runs it is about, whether they are done, and the command that carries it out alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warmth.digest import ROOT, training_digest
from warmth.errors import NotTrained
from warmth.schemas import Evaluate, Train
from warmth.store import Run, run_folder
from warmth.sweep.states import state_of


@dataclass
class Job:
    """One point of the grid."""

    command: str  # train or evaluate
    overrides: list[str]
    study: Any
    folders: list[Path] = field(default_factory=list)
    follow: list[tuple[Any, Path]] = field(default_factory=list)  # evaluations after it: study and run folder
    waits_for: Path | None = None  # the training run of its adapter, under way elsewhere
    log: Path | None = None  # where a launcher keeps its output

    @property
    def label(self) -> str:
        """The overrides as typed."""
        return " ".join(item for item in self.overrides if not item.startswith("hydra."))

    @property
    def name(self) -> str:
        """Its first run's name."""
        return self.runs[0].name if self.runs else self.label

    @property
    def runs(self) -> list[Path]:
        """All run folders it fills."""
        return [*self.folders, *(folder for _, folder in self.follow)]

    @property
    def argv(self) -> list[str]:
        """The command line that carries it out in a process of its own; what is done by then is not done again."""
        # hydra.mode: an experiment may say that it is a sweep; rerun: done runs were put aside before
        return [sys.executable, str(ROOT / f"{self.command}.py"), *self.overrides, "hydra.mode=RUN", "rerun=failed"]

    def is_done(self) -> bool:
        """Whether there is nothing left to do."""
        own = all(is_complete(self.study, folder) for folder in self.folders)
        return own and all(is_complete(study, folder) for study, folder in self.follow)


def is_complete(study: Train | Evaluate, folder: Path) -> bool:
    """Whether a run is done, and graded by every grader that is asked for."""
    run = Run(folder)
    if not run.done or isinstance(study, Train):
        return run.done
    from warmth.api import Servers
    from warmth.evaluation import graders, summary

    return summary.is_complete(run, graders.graders_of(study, Servers(study)), study)


def folders_of(study: Train | Evaluate, folders: Callable[[Any], list[Path]]) -> tuple[list[Path], Path | None]:
    """The run folders of a job, and the training run it has to wait for, if that is under way.

    Raises:
        NotTrained: the adapter is missing and nobody is making it.
    """
    if isinstance(study, Train) and study.recipe.method == "none":
        return [], None
    try:
        return folders(study), None
    except NotTrained:
        training = run_folder(study, "train", training_digest(study))
        if state_of(training).name == "running":
            return [], training
        raise
