"""`train.py evaluate=NAME`: the evaluation that follows a training, by an evaluation experiment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.types import RunMode

from warmth.children import before_start
from warmth.entries import entry_files
from warmth.errors import RunFailed, UserError
from warmth.evaluation.stored_runs import FILES
from warmth.paths import ROOT
from warmth.schemas import Evaluate, Train
from warmth.sweep.grid import SweepGrid, grid_points

# keys that say which adapter: the training's, not the experiment's
ARM = ("model", "data", "recipe", "seed")
SHARED = ("study", "output", "hardware", "rerun")
# set for evaluations that follow a training: its job has claimed their runs and listed them
CHAINED = "WARMTH_CHAINED"


def experiment(name: str) -> list[str]:
    """Return the override that chooses the experiment; none for `default`: conf/evaluate.yaml.

    Raises:
        UserError: there is no such experiment of evaluate.py.
    """
    if name == "default":
        return []
    known = [name for name in entry_files("experiment") if name.endswith("_evaluate")]
    if name not in known:
        raise UserError(
            f"evaluate={name} is not an experiment of evaluate.py; choose one of: default, "
            f"{', '.join(known)}"
        )
    return [f"experiment={name}"]


class Following:
    """The evaluations that follow trainings: each experiment is composed once, however many
    trainings it follows.
    """

    def __init__(self, loader: Any):
        self.loader = loader
        self._composed: dict[tuple[Any, ...], list[Evaluate]] = {}

    def studies(self, study: Train) -> list[Evaluate]:
        """List the evaluations that follow a training, without running it."""
        shared = tuple(getattr(study, name) for name in SHARED)
        key = (study.evaluate, *shared)
        if key not in self._composed:
            self._composed[key] = self._compose(study)
        arm = {name: getattr(study, name) for name in ARM}
        return [replace(evaluation, **arm) for evaluation in self._composed[key]]

    def _compose(self, study: Train) -> list[Evaluate]:
        arguments = experiment(study.evaluate or "default")
        config = self.loader.load_configuration("evaluate", arguments, run_mode=RunMode.MULTIRUN)
        for key, value in (config.hydra.sweeper.get("params") or {}).items():
            if key not in ARM:
                arguments.append(f"{key}={value}")
        arguments += shared_overrides(study)
        grid = SweepGrid(self.loader, "evaluate", Evaluate)
        return [grid.accept(overrides) for overrides in grid_points(self.loader, arguments)]


def shared_overrides(study: Train) -> list[str]:
    """Return the overrides that a training and the evaluations after it share."""
    return [f"{key}={getattr(study, key)}" for key in SHARED]


def evaluation_command(
    study: Train, folder: Path, given: Sequence[str], entries: dict[str, str]
) -> list[str]:
    """Return the command line of the evaluations.

    Args:
        study: the training.
        folder: its run folder, which names the adapter.
        given: overrides of the training; those of model, data and recipe say which arm, where
        nothing was trained.
        entries: the entries chosen for model, data, recipe and logger.
    """
    words = [sys.executable, str(ROOT / "evaluate.py"), "-m"]
    words += experiment(study.evaluate or "default")
    for group in ("model", "data", "recipe", "logger"):
        if entries.get(group):
            words.append(f"{group}={entries[group]}")
    if study.recipe.method == "none":
        words += [override for override in given if is_value_of_arm(override)]
    else:
        words.append(f"run={folder}")
        words += [override for override in given if names_file(override)]
    return [*words, f"seed={study.seed}", *shared_overrides(study)]


def is_value_of_arm(override: str) -> bool:
    """Say whether an override sets a value inside model, data or recipe."""
    group, dot, _ = override.partition("=")[0].partition(".")
    return bool(dot) and group in ARM


def names_file(override: str) -> bool:
    """Say whether an override names a file of the arm: `run=` alone trusts none that lies
    elsewhere.
    """
    key = override.partition("=")[0]
    return key in FILES or key.startswith(("data.prompts.", "data.questions"))


def evaluate_after(study: Train, folders: Callable[[Any], list[Path]]) -> None:
    """Run the evaluations after a training, in a process of their own.

    Raises:
        UserError: its input was refused.
        RunFailed: it failed.
    """
    from hydra.core.hydra_config import HydraConfig

    settings = HydraConfig.get()
    entries = {key: entry_text(value) for key, value in settings.runtime.choices.items()}
    (folder,) = folders(study)
    code = run_to_end(evaluation_command(study, folder, list(settings.overrides.task), entries))
    if not code:
        return
    line = (
        f"evaluate={study.evaluate} of {folder.name} ended with code {code}; its line stands above"
    )
    if code == 2:
        raise UserError(line)
    raise RunFailed(line)


def entry_text(choice: Any) -> str:
    """Write what was chosen in a group as the command line has it: `wandb`, or
    `[wandb,tensorboard]`.
    """
    if isinstance(choice, Sequence) and not isinstance(choice, str):
        return f"[{','.join(map(str, choice))}]"
    return str(choice)


def run_to_end(argv: Sequence[str]) -> int:
    """Run a command to its end; an interrupt or SIGTERM goes on to it, and it is waited for."""
    process = subprocess.Popen(argv, preexec_fn=before_start(), env={**os.environ, CHAINED: "1"})
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
