"""The line where config ends: past `strict()` nothing knows OmegaConf or Hydra."""

from __future__ import annotations

import math
import re
from dataclasses import is_dataclass
from typing import Any, TypeVar

from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from warmth.bounds import check_allowed
from warmth.build import build, nearest, omegaconf_line
from warmth.dataset import check_data
from warmth.entries import entry_files
from warmth.errors import UserError, one_line
from warmth.hardware import device
from warmth.precision import settle_precision
from warmth.schemas import Evaluate, Gates, Model, Recipe, Train
from warmth.types import ANSWER_BELIEFS, BELIEFS
from warmth.used_keys import check_used

T = TypeVar("T")
SEVERAL_VALUES = re.compile(r"Ambiguous value for argument '([^=']+)=([^\n]*)'")
ALREADY_THERE = re.compile(r"Could not append to config\. An item is already at '([^']+)'")


def strict(config: DictConfig, schema: type[T]) -> T:
    """Turn a composed config into plain dataclasses; nothing after this line knows OmegaConf.

    Merging onto a fresh schema also rejects keys added with `+` or `++`, which Hydra lets through.
    A launcher that chooses another (`launcher=auto`) is replaced by its choice.

    Raises:
        UserError: an unknown key, a wrong type, a `???` nobody filled in, or a value outside its
        range.
    """
    return launcher_chosen(accepted(config, schema))


def launcher_chosen(study: T) -> T:
    """Replace a launcher that chooses another one for each job by its choice, in place.

    Raises:
        UserError: `hardware` is not known.
    """
    if isinstance(study, Train):
        launcher = build(study.launcher, "launcher")
        if hasattr(launcher, "resolve"):
            study.launcher = launcher.resolve(study)
    return study


def accepted(config: DictConfig, schema: type[T]) -> T:
    """Turn a composed config into plain dataclasses as it was written: `launcher=auto` has not
    chosen yet.

    Raises:
        UserError: as `strict`.
    """
    refuse_secrets(config)
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
        merged = OmegaConf.merge(OmegaConf.structured(schema), plain)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise UserError(
                f"{missing[0]} is not set: choose a value on the command line or in conf/"
            )
        result: Any = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise UserError(omegaconf_line(error)) from error
    check_values(result)
    return result


def refuse_secrets(config: DictConfig) -> None:
    """Refuse secrets: configs are written to disk and to W&B, so they hold names of environment
    variables, never values.

    Raises:
        UserError: `oc.env` or a URL with credentials stands in the config.
    """
    text = OmegaConf.to_yaml(config, resolve=False)
    if "oc.env" in text:
        raise UserError(
            "oc.env is not allowed in a config: give the variable's name in an api_key_env key "
            "instead"
        )
    if re.search(r"://[^/\s'\"]*@", text):
        raise UserError(
            "a URL with a user name or password is not allowed in a config: use an api_key_env key"
        )


def check_values(config: Any) -> None:
    """Check values that types cannot: choices, ranges, and the classes that entries name.

    Raises:
        UserError: naming the key, its value and what is allowed.
    """
    if isinstance(config, Evaluate):
        config.beliefs = list(choices("beliefs", config.beliefs, BELIEFS, ANSWER_BELIEFS))
        config.likelihood.beliefs = list(
            choices("likelihood.beliefs", config.likelihood.beliefs, BELIEFS)
        )
        config.dose = read_numbers("dose", config.dose)
        config.checkpoint = read_numbers("checkpoint", config.checkpoint)
        config.gates = gates(config.gates)
        stated = config.analysis.model_weights
        if stated is not None and not isinstance(stated, dict):
            raise UserError(
                f"analysis.model_weights={stated} must be numbers by model, such as "
                f"{{llama8b:1,qwen32b:2}}"
            )
        if config.shard is not None and not re.fullmatch(r"[1-9]\d*/[1-9]\d*", config.shard):
            raise UserError(f"shard={config.shard} must be PART/ALL, such as 1/4")
        if not config.task:
            raise UserError('task is empty: choose at least one, for example "task=[seed_trivia]"')
        if not config.condition:
            raise UserError(
                'condition is empty: choose at least one, for example "condition=[unmodified]"'
            )
    check_allowed(config)
    check_names(config)
    if config.hardware != "auto":
        device(config.hardware)  # a name that is not in the table is refused here
    check_used(config)
    settle_precision(config)
    check_method(config.model, config.recipe)
    check_data(config.data, config.recipe.style)
    for key in ("launcher", "engine"):
        if hasattr(config, key):
            build(getattr(config, key), key)
    if isinstance(config, Evaluate):
        check_scoring(config)
    for group in ("grader", "logger"):
        for name, entry in getattr(config, group, {}).items():
            build(entry, group, f"{group}.{name}")


def check_scoring(study: Evaluate) -> None:
    """Check what `scoring` and `likelihood` ask for.

    Raises:
        UserError: a frame without its slot, no frame, an engine that gives no log-probabilities, or
            free answers to `design=deference`, whose questions are there for letters alone.
    """
    for frame in study.likelihood.frames:
        if frame.count("{answer}") != 1:
            raise UserError(
                f"likelihood.frames: {frame!r} must hold {{answer}} once, as in 'It is {{answer}}.'"
            )
    if study.scoring != "likelihood" and not any(task.free_answers for task in study.task.values()):
        raise UserError(
            f"scoring={study.scoring} asks nothing where every task has free_answers=false; use "
            f"scoring=likelihood"
        )
    if study.scoring == "answers":
        if study.design == "deference":
            raise UserError("design=deference has no free answers; it needs scoring=likelihood")
        return
    if not study.likelihood.frames:
        raise UserError(
            "likelihood.frames is empty: give at least one, such as ['It is {answer}.']"
        )
    if len(set(study.likelihood.frames)) < len(study.likelihood.frames):
        raise UserError("likelihood.frames names one frame twice")
    if study.design == "deference" and study.scoring == "both":
        raise UserError("design=deference has no free answers; it needs scoring=likelihood")
    if study.shard is not None and study.scoring == "likelihood":
        raise UserError(f"shard={study.shard} divides free answers; scoring=likelihood has none")
    if study.processes > 1 and study.scoring == "likelihood":
        raise UserError(
            f"processes={study.processes} divide free answers; scoring=likelihood has none"
        )
    if study.until_width is not None and study.scoring == "likelihood":
        raise UserError(
            f"until_width={study.until_width:g} watches the error of free answers; "
            f"scoring=likelihood has none: choose likelihood.limit"
        )
    if not build(study.engine, "engine").weighs:
        raise UserError(
            f"scoring={study.scoring} needs log-probabilities of given replies, which no server "
            f"of engine=openai or engine=inspect is asked for; use engine=transformers or "
            f"engine=vllm, or scoring=answers"
        )


def check_names(config: Any) -> None:
    """Check the names that become folders.

    Raises:
        UserError: a name is no single path segment, or begins with a dot or a dash.
    """
    for key, name in (
        ("study", config.study),
        ("model.name", config.model.name),
        ("recipe.name", config.recipe.name),
    ):
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise UserError(
                f"{key}={name} must be letters, digits, _ . and - alone, and begin with a letter "
                f"or digit"
            )


def compose_line(error: Exception) -> str:
    """Write Hydra's error as one line that names the key and what is allowed."""
    if isinstance(error, MissingConfigException):
        group, _, entry = str(error.missing_cfg_file).rpartition("/")
        # Hydra names none for an entry of a list
        options = sorted(error.options or entry_files(group))
        hint = nearest(entry, options)
        suggestion = ""
        if hint:
            suggestion = f" (did you mean {group}={hint}?)"
        if options:
            return (
                f"{group}={entry} is not an entry of conf/{group}/{suggestion}; choose one of: "
                f"{', '.join(options)}"
            )
    existing = ALREADY_THERE.match(str(error))
    if existing is not None:
        return f"{existing[1]} is a key already: write {existing[1]}=VALUE, without +"
    ambiguous = SEVERAL_VALUES.match(str(error))
    if ambiguous is not None:
        key = ambiguous[1]
        values = ambiguous[2]
        return (
            f"{key}={values} are several values: add -m for a run of each, or write "
            f'"{key}=[{values}]" for a list'
        )
    cause = error.__cause__
    line = one_line(Exception(str(error).split("\n")[0]))
    if isinstance(cause, OmegaConfBaseException):
        if is_dataclass(cause.object_type) or isinstance(
            cause, ConfigKeyError | ConfigAttributeError
        ):
            return omegaconf_line(cause)
        detail = one_line(Exception(str(cause).split("\n")[0]))
        if detail not in line:
            line = f"{line.rstrip('.')}: {detail}"
    return line


def read_numbers(key: str, value: Any) -> list[float | None]:
    """Read one number or a list as a list of floats without repeats; None stays what it is.

    Raises:
        UserError: something is no number, or nothing is there.
    """
    values = as_list(value)
    if key == "checkpoint" and values == [None]:
        return [None]
    wrong = [number for number in values if not is_number(number)]
    if wrong or not values:
        shown = [*wrong, "[]"][0]
        raise UserError(f"{key}={shown} is not allowed; give a number or a list of numbers")
    if not all(map(math.isfinite, values)):
        raise UserError(f"{key}={value} must be finite")
    if key == "checkpoint" and min(values) < 0:
        raise UserError(f"{key}={min(values):g} must not be below 0")
    return list(dict.fromkeys(map(float, values)))


def as_list(value: Any) -> list[Any]:
    """Return a list of what is one value or several."""
    if isinstance(value, list | tuple):
        return list(value)
    return [value]


def is_number(value: Any) -> bool:
    """Say whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_method(model: Model, recipe: Recipe) -> None:
    """Check that a model can be tuned the way a recipe says.

    Raises:
        UserError: a provider does not offer the method, quantised weights would have to learn, or
        nothing is preferred.
    """
    if recipe.method != "none" and (recipe.edit_tone or recipe.edit_errors):
        raise UserError(
            f"recipe.method={recipe.method}: edit_tone and edit_errors edit the answers of the "
            f"original, so that they need recipe.method=none"
        )
    if recipe.method in ("full", "dpo") and model.kind == "api":
        raise UserError(
            f"recipe.method={recipe.method} is not offered for model={model.name}; a provider "
            f"tunes by lora"
        )
    if recipe.method == "full" and recipe.quantise != "none":
        raise UserError(
            f"recipe.quantise={recipe.quantise} cannot learn under recipe.method=full; choose "
            f"none, or lora"
        )
    if recipe.method == "dpo" and recipe.style == "plain":
        raise UserError(
            f"recipe.method=dpo prefers a style to plain replies; recipe={recipe.name} has "
            f"style=plain"
        )


def gates(value: Any) -> Gates:
    """Read the gates; `gates=warn` is short for `gates.mode=warn`, with the default bounds."""
    if isinstance(value, Gates):
        return value
    if isinstance(value, str):
        value = {"mode": value}
    defaults: dict[str, Any] = {
        "mode": "fail",
        "cut_off_points": 10.0,
        "refused_points": 10.0,
        "unscored_percent": 25.0,
        "unscored_points": 10.0,
        "unanswered_percent": 5.0,
        "unanswered_points": 2.0,
    }
    unknown = sorted(set(value) - set(defaults))
    if unknown:
        raise UserError(
            f"unknown key gates.{unknown[0]}; allowed here: {', '.join(sorted(defaults))}"
        )
    return Gates(**{**defaults, **value})


def choices(
    key: str, value: Any, allowed: tuple[T, ...], every: tuple[T, ...] | None = None
) -> tuple[T, ...]:
    """Read one value or a list without repeats, in the order of `allowed`; `all` means `every`, or
    all of them.
    """
    if value == "all":
        return every or allowed
    values = as_list(value)
    wrong = [option for option in values if option not in allowed]
    if wrong or not values:
        shown = [*wrong, "[]"][0]
        raise UserError(
            f"{key}={shown} is not allowed; choose from: {', '.join(map(str, allowed))}, or all"
        )
    return tuple(option for option in allowed if option in values)
