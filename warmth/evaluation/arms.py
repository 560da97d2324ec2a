"""The arm that answers: which weights, which adapter at which checkpoint and dose, under which system prompt."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from warmth.digest import digest, find_file, model_identity, training_digest
from warmth.errors import NotTrained, UserError
from warmth.models import locate
from warmth.schemas import Data, Evaluate, Model, Recipe
from warmth.store import find_run, read_json


@dataclass(frozen=True)
class Arm:
    """A model as it answers."""

    name: str  # `original` for recipe=none, else the recipe's name
    model: Model
    adapter: Path | None  # folder of the adapter
    training: str | None  # digest of the training that made it
    checkpoint: float | None  # epochs
    dose: float
    strength: float
    seed: int
    system_prompt: str | None  # its text

    def identity(self) -> dict[str, Any]:
        """What makes this arm's answers these and no others."""
        return {
            "model": model_identity(self.model),
            "adapter": [self.training, self.checkpoint] if self.training else None,
            "dose": self.dose,
            "system_prompt": digest(self.system_prompt) if self.system_prompt else None,
        }

    @property
    def columns(self) -> dict[str, Any]:
        """The arm's columns in every row."""
        return {
            "arm": self.name,
            "model": self.model.name,
            "strength": self.strength,
            "dose": self.dose,
            "checkpoint": self.checkpoint,
            "seed": self.seed,
        }


def resolve(study: Evaluate, in_sweep: bool) -> Evaluate:
    """The study with `run=` read, and without a dose or checkpoint where nothing was trained.

    Raises:
        UserError: a dose or checkpoint of an arm that has no adapter; inside a sweep it is ignored, with one line.
    """
    study = from_run(study)
    if study.recipe.method != "none" or (study.dose == 1.0 and study.checkpoint is None):
        return study
    key = f"dose={study.dose:g}" if study.dose != 1.0 else f"checkpoint={study.checkpoint:g}"
    if not in_sweep:
        raise UserError(f"{key} says nothing about recipe={study.recipe.name}, which trains no adapter; leave it out")
    print(f"recipe={study.recipe.name} trains no adapter: {key} is ignored", file=sys.stderr)
    return replace(study, dose=1.0, checkpoint=None)


def from_run(study: Evaluate) -> Evaluate:
    """With `run=FOLDER`, the study with model, data, recipe and seed of that run.

    Raises:
        UserError: the folder is no run folder, another version wrote it, or a local model folder is incomplete.
    """
    if study.run is None:
        if study.model.path:
            locate(study.model)  # before its files are hashed: a mistyped folder may hold anything
        return study
    config = read_json(Path(study.run) / "config.json")
    try:
        parts = {key: kind(**config[key]) for key, kind in (("model", Model), ("data", Data), ("recipe", Recipe))}
        return replace(study, **parts, seed=int(config["seed"]))
    except (KeyError, TypeError) as error:
        raise UserError(
            f"run={study.run}: its config.json is not that of a training or evaluation run ({error})"
        ) from error


def find_arm(study: Evaluate) -> Arm:
    """The arm a config names, its adapter found by content.

    Raises:
        NotTrained: there is no finished training (the command that makes it is named).
        UserError: it was not trained to this checkpoint.
    """
    recipe = study.recipe
    prompt = find_file(recipe.system_prompt).read_text(encoding="utf-8").strip() if recipe.system_prompt else None
    name = "original" if recipe.name == "none" else recipe.name
    if recipe.method == "none":
        return Arm(name, study.model, None, None, None, 1.0, recipe.strength, 0, prompt)
    training = training_digest(study)
    run = find_run(Path(study.output), study.study, "train", training)
    given = Path(study.run) if study.run else None
    if given is not None and (given / "checkpoints").is_dir():
        if not given.resolve().name.endswith(f"-{training}"):
            raise UserError(
                f"run={given}: its model, data or prompt files have changed since (their digest is now {training})"
            )
        run = given
    if run is None or not (run / "done.json").exists():
        state = "has not been trained" if run is None else f"is not finished in {run}"
        raise NotTrained(
            f"model={study.model.name} recipe={recipe.name} {state}; make its adapter with: {train_command(study)}"
        )
    checkpoint = choose_checkpoint(run, study.checkpoint, recipe.report_checkpoint)
    folder = run / "checkpoints" / f"epoch-{checkpoint:g}"
    return Arm(name, study.model, folder, training, checkpoint, study.dose, recipe.strength, study.seed, prompt)


def choose_checkpoint(run: Path, asked: float | None, default: float) -> float:
    """The checkpoint asked for, else the default, else (training was shorter) the last.

    Raises:
        UserError: it was not kept; those that were are listed.
    """
    kept = sorted(
        float(path.name.removeprefix("epoch-")) for path in (run / "checkpoints").glob("epoch-*") if path.is_dir()
    )
    if not kept:
        raise UserError(f"{run} holds no checkpoint")
    if asked is None:
        return default if default in kept else kept[-1] if default > kept[-1] else _missing(run, default, kept)
    return asked if asked in kept else _missing(run, asked, kept)


def _missing(run: Path, asked: float, kept: list[float]) -> float:
    raise UserError(
        f"checkpoint={asked:g} was not kept in {run}; choose one of: {', '.join(f'{value:g}' for value in kept)}"
    )


def train_command(study: Evaluate) -> str:
    """The `train.py` command that makes a study's adapter, with the overrides of this command that concern training."""
    shared = re.compile(r"(model|data|recipe)\.[\w.]+=|(data|study|output|experiment)=")
    asked = [
        word.replace("_evaluate", "_train") if word.startswith("experiment=") else word
        for word in sys.argv[1:]
        if shared.match(word)
    ]
    names = [f"model={study.model.name}", f"recipe={study.recipe.name}", f"seed={study.seed}"]
    return " ".join(["python train.py", *names, *asked])
