"""The arm that answers: which weights, which adapter at which checkpoint and dose, under which
system prompt.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from warmth.command_line import typed
from warmth.digest import cache_folder, digest, find_file, model_identity, training_digest
from warmth.entries import entry_files
from warmth.errors import NotTrained, UserError
from warmth.evaluation.answer.adapters import check_file
from warmth.evaluation.answer.edits import Edit
from warmth.model_names import argument_of
from warmth.precision import TRAINED
from warmth.schemas import Evaluate, Model, Recipe
from warmth.store import Run, find_run
from warmth.types import Message
from warmth.user_rows import text_of, user_rows


@dataclass(frozen=True)
class Arm:
    """A model as it answers."""

    name: str  # `original` for recipe=none, else the recipe's name; `cold-warm` between two
    model: Model
    adapter: Path | None  # folder of the adapter
    # Digest of the training that made it, or of the contrast that made the steering vector
    training: str | None
    checkpoint: float | None  # epochs
    dose: float
    strength: float
    seed: int
    system_prompt: str | None  # its text
    other: tuple[Path, str] | None = (
        None  # between two recipes: adapter folder and training of dose 0
    )
    shots: tuple[Message, ...] = ()  # example exchanges before every question
    steering: Path | None = None  # folder of the vector, made when it is first needed
    edit: Edit | None = None  # what is done to the original's answers, for calibration

    def identity(self) -> dict[str, Any]:
        """Tell what makes this arm's answers these and no others."""
        trained: list[Any] | None = [self.training, self.checkpoint] if self.training else None
        if self.other is not None:
            trained = [[self.other[1], self.checkpoint], trained]
        return {
            "model": model_identity(self.model),
            "adapter": trained,
            "dose": self.dose,
            "system_prompt": digest(self.system_prompt) if self.system_prompt else None,
            **({"shots": digest(self.shots)} if self.shots else {}),
            **({"edit": digest(self.edit)} if self.edit else {}),
            **({"thinking": True} if self.model.thinking else {}),
        }

    @property
    def adapters(self) -> list[tuple[Path, float]]:
        """Return the adapters at work and the weight of each; none where the model answers as it
        is.
        """
        if self.adapter is None:
            return []
        first = [(self.other[0], 1.0 - self.dose)] if self.other is not None else []
        return [
            (path, weight) for path, weight in (*first, (self.adapter, self.dose)) if weight != 0.0
        ]

    @property
    def preface(self) -> tuple[Message, ...]:
        """Tell what stands before every question: system prompt and example exchanges."""
        return _preface(self.system_prompt, self.shots)

    @property
    def columns(self) -> dict[str, Any]:
        """Return the arm's columns in every row."""
        return {
            "arm": self.name,
            "model": self.model.name,
            "strength": self.strength,
            "dose": self.dose,
            "checkpoint": self.checkpoint,
            "seed": self.seed,
        }


def find_arm(study: Evaluate) -> Arm:
    """Return the arm a config names (at one checkpoint and dose), its adapter found by content.

    Raises:
        NotTrained: there is no finished training (the command that makes it is named).
        UserError: it was not trained to this checkpoint.
    """
    recipe = study.recipe
    prompt = read_system_prompt(recipe)
    bare = Arm(
        "original" if recipe.name == "none" else recipe.name,
        *(study.model, None, None, None, 1.0, recipe.strength, 0, prompt),
        shots=read_shots(recipe.shots) if recipe.shots else (),
        edit=Edit.of(recipe),
    )
    if recipe.method == "none":
        return bare
    if recipe.method == "steer":
        contrast = training_digest(study)
        return replace(bare, training=contrast, dose=study.dose, steering=vector_folder(contrast))
    tuned = replace(bare, dose=study.dose, seed=study.seed)
    if study.dose_between is None:
        adapter, training, checkpoint = find_adapter(study)
        return replace(tuned, adapter=adapter, training=training, checkpoint=checkpoint)
    first, second = (find_adapter(at) for at in dose_ends(study))
    if first[2] != second[2]:
        raise UserError(
            f"dose_between: one end is at epoch {first[2]:g}, the other at {second[2]:g}; set "
            f"checkpoint="
        )
    name = "-".join(study.dose_between)
    return replace(
        tuned,
        name=name,
        adapter=second[0],
        training=second[1],
        checkpoint=second[2],
        other=first[:2],
    )


def find_adapter(study: Evaluate) -> tuple[Path, str, float]:
    """Folder, training digest and checkpoint of a study's adapter.

    Raises:
        UserError: it was not trained, or not kept at this checkpoint.
    """
    training = training_digest(study)
    run = find_run(Path(study.output), study.study, "train", training)
    given = Path(study.run) if study.run else None
    if given is not None and (given / "checkpoints").is_dir():
        if not given.resolve().name.endswith(f"-{training}"):
            raise UserError(
                f"run={given}: its model, data or prompt files have changed since (their digest "
                f"is now {training})"
            )
        run = given
    if run is None or not Run(run).done:
        state = "has not been trained" if run is None else f"is not finished in {run}"
        which = f"model={study.model.name} recipe={study.recipe.name}"
        raise NotTrained(
            f"{which} {state}{near_miss(study)}; make its adapter with: {train_command(study)}"
        )
    checkpoint = choose_checkpoint(run, study.checkpoint, study.recipe.report_checkpoint)
    folder = run / "checkpoints" / f"epoch-{checkpoint:g}"
    check_file(folder)
    return folder, training, checkpoint


def near_miss(study: Evaluate) -> str:
    """Name the precision in which this arm was trained, if it was trained in another one; else an
    empty string.
    """
    for precision in TRAINED:
        if precision == study.recipe.precision:
            continue
        other_study = replace(study, recipe=replace(study.recipe, precision=precision))
        run = find_run(Path(study.output), study.study, "train", training_digest(other_study))
        if run is not None and (run / "done.json").exists():
            return (
                f" in {study.recipe.precision}, but was trained in {precision}: add "
                f"recipe.precision={precision}"
            )
    return ""


def dose_ends(study: Evaluate) -> list[Evaluate]:
    """Return the two studies of `dose_between`: what the named entries of conf/recipe/ say
    themselves, the rest from `recipe`.

    Raises:
        UserError: other than two different recipes that are tuned, or `run=` besides.
    """
    names = list(study.dose_between or ())
    files = entry_files("recipe")
    tuned = set()
    for name, path in files.items():
        text = path.read_text(encoding="utf-8")
        if "defaults: [lora, _self_]" in text and "method:" not in text:
            tuned.add(name)
    if len(names) != 2 or len(set(names)) != 2 or not set(names) <= tuned:
        raise UserError(
            f"dose_between=[{','.join(names)}] must name two of: {', '.join(sorted(tuned))}"
        )
    if study.run or study.recipe.method in ("none", "steer"):
        raise UserError("dose_between takes a tuned recipe= for what both ends share, and no run=")
    dose_ends = []
    for name in names:
        own = yaml.safe_load(files[name].read_text(encoding="utf-8"))
        known = {key: value for key, value in own.items() if key not in ("defaults", "hosted")}
        dose_ends.append(replace(study, recipe=replace(study.recipe, **known), dose_between=None))
    return dose_ends


def preface_of(recipe: Recipe) -> tuple[Message, ...]:
    """Read what stands before every question that a recipe's arm is asked.

    Raises:
        UserError: a file that the recipe names is missing or wrong.
    """
    return _preface(read_system_prompt(recipe), read_shots(recipe.shots) if recipe.shots else ())


def _preface(system_prompt: str | None, shots: tuple[Message, ...]) -> tuple[Message, ...]:
    return (Message("system", system_prompt), *shots) if system_prompt else shots


def read_system_prompt(recipe: Recipe) -> str | None:
    """Read the text every question is asked under; None if the recipe has none.

    Raises:
        UserError: its file does not exist.
    """
    return (
        find_file(recipe.system_prompt).read_text(encoding="utf-8").strip()
        if recipe.system_prompt
        else None
    )


def read_shots(name: str) -> tuple[Message, ...]:
    """Example exchanges of a JSONL file, rows of user and reply.

    Raises:
        UserError: no rows, or one without these texts (file, line and field are named).
    """
    shots: list[Message] = []
    for location, row in user_rows(find_file(name)):
        shots.append(Message("user", text_of(row, "user", location).strip()))
        shots.append(Message("assistant", text_of(row, "reply", location).strip()))
    if not shots:
        raise UserError(f"{name} holds no exchange")
    return tuple(shots)


def vector_folder(contrast: str) -> Path:
    """Return the folder of a contrast's steering vectors, a file for each dtype."""
    return cache_folder() / "steering" / contrast


def choose_checkpoint(run: Path, asked: float | None, default: float) -> float:
    """Return the checkpoint asked for, else the default, else (training was shorter) the last.

    Raises:
        UserError: it was not kept; those that were are listed.
    """
    saved_epochs = []
    for path in (run / "checkpoints").glob("epoch-*"):
        if path.is_dir():
            saved_epochs.append(float(path.name.removeprefix("epoch-")))
    saved_epochs.sort()
    if not saved_epochs:
        raise UserError(f"{run} holds no checkpoint")
    if asked is None:
        return (
            default
            if default in saved_epochs
            else saved_epochs[-1]
            if default > saved_epochs[-1]
            else _missing(run, default, saved_epochs)
        )
    return asked if asked in saved_epochs else _missing(run, asked, saved_epochs)


def _missing(run: Path, asked: float, kept: list[float]) -> float:
    raise UserError(
        f"checkpoint={asked:g} was not kept in {run}; choose one of: "
        f"{', '.join(f'{value:g}' for value in kept)}"
    )


def train_command(study: Evaluate) -> str:
    """Return the `train.py` command that makes a study's adapter, with the overrides of this
    command that concern training.
    """
    entries = entry_files("model")
    shared = re.compile(r"(model|data|recipe)\.[\w.]+=|(data|study|output|experiment)=")
    implied = re.compile(r"model\.(hub_id|revision|path|name)=")  # what `model=org/name` stands for
    train_words = []
    for argument in sys.argv[1:]:
        if not shared.match(argument) or (
            study.model.name not in entries and implied.match(argument)
        ):
            continue
        train_words.append(
            argument.replace("_evaluate", "_train")
            if argument.startswith("experiment=")
            else argument
        )
    model = argument_of(study.model, entries)
    names = [f"model={model}", f"recipe={study.recipe.name}", f"seed={study.seed}"]
    return " ".join([typed("train"), *names, *train_words])
