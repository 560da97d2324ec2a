"""One job of a sweep: the runs it is about, whether they are done, and the command that carries it
out alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from warmth.digest import ROOT, training_digest
from warmth.errors import NotTrained
from warmth.evaluation.answer.arms import dose_ends
from warmth.evaluation.stored_runs import from_run
from warmth.schemas import Evaluate, Train
from warmth.store import Run, find_run, run_folder
from warmth.sweep.claims import run_key
from warmth.sweep.plan import planned


@dataclass
class Job:
    """One point of the grid."""

    command: str  # train or evaluate
    overrides: list[str]
    study: Any
    folders: list[Path] = field(default_factory=list)
    # evaluations after it: study and run folder
    follow: list[tuple[Any, Path]] = field(default_factory=list)
    # training runs of its adapters that somebody else is making
    waits_for: list[Path] = field(default_factory=list)
    log: Path | None = None  # where a launcher keeps its output
    number: str | None = None  # id of a scheduler's job
    note: str = ""  # why it was not started, or was ended, where that is no failure of its own

    @property
    def label(self) -> str:
        """Return the overrides as typed."""
        typed = [override for override in self.overrides if not override.startswith("hydra.")]
        return " ".join(typed)

    @property
    def name(self) -> str:
        """Name its first run as `<study>/<stage>/<run>`: two studies of one sweep may hold runs of
        one name.
        """
        if not self.runs:
            return self.label
        return run_key(self.runs[0])

    @property
    def runs(self) -> list[Path]:
        """List all run folders it fills."""
        return [folder for _, folder in self.studies()]

    @property
    def argv(self) -> list[str]:
        """Return the command line of a process that carries it out; what is done by then is not
        done again.
        """
        # hydra.mode: an experiment may say that it is a sweep
        # rerun: done runs were put aside before
        return [
            sys.executable,
            str(ROOT / f"{self.command}.py"),
            *self.overrides,
            "hydra.mode=RUN",
            "rerun=failed",
        ]

    def studies(self) -> list[tuple[Any, Path]]:
        """List all its runs with their configs."""
        return [(self.study, folder) for folder in self.folders] + self.follow

    def trainings_before(self, run: Path) -> list[Path]:
        """List the training runs that one of its runs has to wait for.

        An evaluation that follows a training waits for the job's own training, if there is one:
        `recipe=none` trains nothing.
        """
        if run in self.folders:
            return self.waits_for
        return self.folders

    def is_done(self) -> bool:
        """Say whether there is nothing left to do."""
        return all(is_run_complete(study, folder) for study, folder in self.studies())


def is_run_complete(study: Train | Evaluate, folder: Path) -> bool:
    """Say whether a run is done, and graded by every grader that is asked for."""
    run = Run(folder)
    if not run.done or isinstance(study, Train):
        return run.done
    from warmth.api import Servers
    from warmth.evaluation import summary
    from warmth.evaluation.grade import graders

    return summary.is_complete(run, graders.graders_of(study, Servers(study)), study)


def folders_of(
    study: Train | Evaluate, folders: Callable[[Any], list[Path]], has_maker: Callable[[Path], bool]
) -> tuple[list[Path], list[Path]]:
    """Find the run folders of a job, and the training runs it has to wait for.

    Args:
        study: its config.
        folders: says which run folders a config means.
        has_maker: says whether somebody is making a training run, will, or has just failed to.

    Raises:
        NotTrained: an adapter is missing and nobody is making it.
    """
    if isinstance(study, Train) and study.recipe.method == "none":
        return [], []
    try:
        return folders(study), []
    except NotTrained:
        assert isinstance(study, Evaluate)  # a training needs no adapter
        missing = [folder for folder in training_folders(study) if not Run(folder).done]
        if not missing or not all(has_maker(folder) for folder in missing):
            raise
        return planned(study, folders), missing


def training_folders(study: Evaluate) -> list[Path]:
    """List the training runs that make an evaluation's adapters, which need not exist."""
    study = from_run(study)
    trained = [study]
    if study.dose_between:
        trained = dose_ends(study)
    folders = []
    for end in trained:
        identity = training_digest(end)
        existing = find_run(Path(study.output), study.study, "train", identity)
        folders.append(existing or run_folder(end, "train", identity))
    return folders
