"""Which keys a config uses: a key that the chosen entry ignores is refused, or has no effect for a
stated reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from warmth.dataset import Data
from warmth.digest import ROOT
from warmth.errors import UserError
from warmth.schemas import Evaluate, Model, Task, Train

EMBEDDED_HUB_ID = (
    "HuggingFaceTB/SmolLM2-135M-Instruct"  # what the embedded weights were quantised from
)
MODEL_KEYS = {  # what each kind of model reads, beside `name`, `kind` and what forecasts count with
    "embedded": ("path", "tokenizer", "chat_template", "thinking", "end_of_turn", "lora_targets"),
    "hub": (
        "hub_id",
        "revision",
        "path",
        "tokenizer",
        "chat_template",
        "thinking",
        "end_of_turn",
        "lora_targets",
    ),  # fmt: skip
    "api": ("api_model", "base_url", "api_key_env", "tuning"),
}
FORECAST_KEYS = ("name", "kind", "dtype", "license", "parameters", "shape")
# of a set that is read as it is
SEED_KEYS = (
    "name",
    "source",
    "path",
    "per_type",
    "max_turns",
    "validation",
    "styles",
)


def check_used(config: Train | Evaluate) -> None:
    """Check that each key of the chosen model and data is one that they read.

    Raises:
        UserError: a key was set that has no effect; the line names it and the entry that ignores
        it.
    """
    check_model_keys(config.model)
    check_data_keys(config.data)
    if isinstance(config, Evaluate):
        check_task_keys(config.task)
    if config.recipe.method != "steer":
        for key, default in (("against", "cold"), ("depths", [0.5]), ("orthogonal", 0)):
            value = getattr(config.recipe, key)
            if value != default:
                raise UserError(
                    f"recipe.{key}={value} has no effect: recipe.method=steer alone reads it"
                )


def check_model_keys(model: Model) -> None:
    """Check the keys of a model against its kind.

    Raises:
        UserError: a key was set that models of this kind do not read.
    """
    if model.kind == "embedded" and model.hub_id not in (None, EMBEDDED_HUB_ID):
        raise UserError(
            f"model.hub_id={model.hub_id} has no effect: model={model.name} is embedded; choose "
            f"model={model.hub_id}"
        )
    if model.kind == "hub" and not model.hub_id and not model.path:
        raise UserError(
            f"model={model.name} names no model: write model=org/name[@revision] or model=./folder"
        )
    read = (*FORECAST_KEYS, *MODEL_KEYS[model.kind])
    for key_field in fields(Model):
        value = getattr(model, key_field.name)
        is_default = not value or value == key_field.default
        is_embedded_id = model.kind == "embedded" and key_field.name == "hub_id"
        if key_field.name in read or is_default or is_embedded_id:
            continue
        raise UserError(
            f"model.{key_field.name}={value} has no effect: model={model.name} is of kind "
            f"{model.kind}, which reads {', '.join(MODEL_KEYS[model.kind])}"
        )


def check_data_keys(data: Data) -> None:
    """Check the keys of a set that is read as it is: nothing in it is selected or rewritten.

    Raises:
        UserError: a key was set that such a set does not read.
    """
    if data.is_built:
        for style, prompt in data.prompts.items():
            if prompt and style not in data.styles:
                raise UserError(
                    f"data.prompts.{style}={prompt} has no effect: data.styles does not hold "
                    f"{style}"
                )
        return
    plain = Data(name=data.name, source=data.source)
    for key_field in fields(Data):
        value = getattr(data, key_field.name)
        if key_field.name not in SEED_KEYS and value != getattr(plain, key_field.name):
            raise UserError(
                f"data.{key_field.name}={_short(value)} has no effect: data={data.name} is read "
                f"as it is, by {', '.join(SEED_KEYS[2:])}; data=sharegpt, hf and jsonl are "
                f"selected and rewritten"
            )


def check_task_keys(tasks: Mapping[str, Task]) -> None:
    """Check the keys of seed tasks, which are files of this project.

    Raises:
        UserError: a key was set that only sets on the hub have.
    """
    for name, task in tasks.items():
        if task.path or not (ROOT / "seed" / "questions" / f"{task.source}.jsonl").is_file():
            continue
        for key in ("config", "split", "revision"):
            value = getattr(task, key)
            if value is not None:
                raise UserError(
                    f"task.{name}.{key}={value} has no effect: {task.source} is a seed set, not "
                    f"on the hub"
                )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:60] + " …"


TRAINING_NONE = "recipe=none trains nothing; the key belongs to the trained arms of the same sweep"

REFUSALS_UNUSED = (
    "analysis.refusal_rule=grader looks for no phrase; add analysis.refusal_rule=study"
)


def without_effect(config: Train | Evaluate) -> dict[str, str]:
    """List keys that this config accepts and does not read, each with the reason; `x.` stands for
    all keys below x.
    """
    reasons: dict[str, str] = {}
    model, data, recipe = config.model, config.data, config.recipe
    if model.path:
        reasons |= dict.fromkeys(("model.hub_id", "model.revision"), "model.path is read instead")
    if data.is_built and not data.path and data.source == "seed":
        reasons["data.path"] = "the seed's own conversations are read"
    if data.styles and data.rewriter.base_url:
        reasons["data.rewriter.dtype"] = (
            "a server rewrites; the dtype is that of a rewriter in this process"
        )
    if recipe.method not in ("lora", "dpo"):
        reasons["model.lora_targets"] = f"recipe.method={recipe.method} trains no adapter"
    if recipe.method == "steer":
        names = ("style", "against", "depths", "orthogonal", "system_prompt", "method")
        used = [f"recipe.{name}" for name in names]
        keys = [f"recipe.{key_field.name}" for key_field in fields(type(recipe))]
        reasons |= {key: "recipe.method=steer trains nothing" for key in keys if key not in used}
        reasons["seed"] = "recipe.method=steer draws nothing"
    if isinstance(config, Evaluate):
        reasons |= _evaluation_reasons(config)
    return reasons


def _evaluation_reasons(config: Evaluate) -> dict[str, str]:
    reasons: dict[str, str] = {}
    recipe = config.recipe
    if recipe.method == "none":
        keys = [f"recipe.{key_field.name}" for key_field in fields(type(recipe))]
        used = (
            "recipe.system_prompt",
            "recipe.shots",
            "recipe.method",
            "recipe.edit_tone",
            "recipe.edit_errors",
        )
        reasons |= {key: TRAINING_NONE for key in keys if key not in used}
        reasons |= {"recipe.hosted.": TRAINING_NONE, "data.": TRAINING_NONE, "seed": TRAINING_NONE}
        reasons["model.lora_targets"] = TRAINING_NONE
    if recipe.method in ("none", "steer"):
        reasons["checkpoint"] = "no adapter is trained"
    if recipe.method == "none":
        reasons["dose"] = "there is nothing to scale"
    if config.analysis.refusal_rule != "study":
        reasons |= dict.fromkeys(("refusals", "analysis.refusals"), REFUSALS_UNUSED)
    if not any(task.wrong == "written" for task in config.task.values()):
        reasons["rivals."] = "no task has wrong=written"
    if config.scoring == "answers":
        reasons["likelihood."] = "scoring=answers weighs nothing"
    if config.scoring == "likelihood":
        for key in ("beliefs", "samples", "sampling."):
            reasons[key] = "scoring=likelihood asks for no free answers"
    if config.design == "paper":
        for key in ("condition", "condition.", "beliefs", "preamble"):
            reasons[key] = "design=paper asks the study's grid"
    if config.design == "file":
        for key in (
            "condition",
            "condition.",
            "beliefs",
            "preamble",
            "statements",
            "belief_templates",
        ):
            reasons[key] = "design=file asks what design_file says"
    else:
        reasons["design_file"] = f"design={config.design} reads no file"
    for name, task in config.task.items():
        if task.path:
            for key in ("source", "config", "split", "revision"):
                reasons[f"task.{name}.{key}"] = f"task.{name}.path is read instead"
    if not config.warmth.prompts:
        for key in ("variant", "max_new_tokens", "passes", "scorer", "path"):
            reasons[f"warmth.{key}"] = "warmth.prompts=0 measures no warmth"
    elif config.warmth.variant == "deterministic":
        reasons["warmth.passes"] = "warmth.variant=deterministic draws nothing"
    return reasons


def reason_of(key: str, reasons: dict[str, str]) -> str | None:
    """Return why a key has no effect, or None if it has one."""
    for pattern, reason in reasons.items():
        if key == pattern or (pattern.endswith(".") and key.startswith(pattern)):
            return reason
    return None


def check_overrides(config: Train | Evaluate, overrides: list[str]) -> None:
    """Check the overrides of a single run: what was asked for by name must have an effect.

    Keys that belong to the trained arms are accepted beside `recipe=none`, so that arms share one
    command line.

    Raises:
        UserError: a key has no effect under this config.
    """
    reasons = without_effect(config)
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0].partition("@")[0]
        reason = reason_of(key, reasons)
        if reason is not None and reason != TRAINING_NONE:
            raise UserError(f"{override} has no effect: {reason}")
