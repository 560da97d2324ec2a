"""Names of arms, and the one arm of each recipe that a report speaks of.

The plain name, `warm`, is that of strength 1, dose 1 and the checkpoint to report, which each model
has of its own: one that was trained for a single epoch and one for three are both there when models
are pooled, and a pre-registered plan that says `warm` means them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from warmth.analysis.rows.looks import look_of

if TYPE_CHECKING:
    from warmth.analysis.rows.runs import FinishedRun

FINE_TUNED = "fine-tuned"
PROMPTED = "prompted"  # a system prompt
SHOWN = "shown examples"  # exchanges before the question
STEERED = "steered"
EDITED = "edited"  # the original's own answers, changed for calibration
# What an arm of each kind is compared with to see what its manner does: made the same way, the
# manner left alone.
CONTROLS_OF_KIND = {
    FINE_TUNED: ("paraphrase", "untransformed"),  # strictest first
    PROMPTED: ("system_neutral",),
    SHOWN: ("few_shot_neutral",),
    STEERED: ("steer_orthogonal",),
}
CONTROLS = (*(name for names in CONTROLS_OF_KIND.values() for name in names), "original")
_SET_APART = re.compile(r", (strength|dose|epoch) (-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)")


@dataclass(frozen=True, order=True)
class ArmName:
    """The parts of an arm's name, in the order by which tables sort arms."""

    place: int
    recipe: str
    strength: float = 1.0
    dose: float = 1.0
    epoch: float = 0.0  # 0 of the checkpoint to report, which the name does not say


def arm_order(arm: str) -> ArmName:
    """Return an arm's sort key: the place its recipe states, then its name, then its numbers."""
    recipe = arm.split(",")[0]
    numbers = {name: float(number) for name, number in _SET_APART.findall(arm)}
    return ArmName(look_of(recipe).order, recipe, **numbers)


def settings_in(arm: str) -> list[str]:
    """List what sets an arm apart by its name: strength, dose, epoch."""
    return [name for name, _ in _SET_APART.findall(arm)]


def written_as_named(arm: str) -> str:
    """Write an arm's name as `name_arms` gives it to an arm with these settings."""
    name = arm_order(arm)
    epoch = name.epoch if "epoch" in settings_in(arm) else math.nan
    return full_arm_name(name.recipe, name.strength, name.dose, epoch, math.nan)


def plain_checkpoints(
    answers: pd.DataFrame, runs: Iterable[FinishedRun]
) -> dict[tuple[str, str], float]:
    """Find the checkpoint that a recipe's plain name means, for each model.

    It is `recipe.report_checkpoint` if that was asked, else the last that was asked.

    Args:
        answers: model, recipe, checkpoint (epochs; NaN where nothing was trained).
        runs: the evaluations, for their configs.

    Returns:
        (model, recipe) → epochs.
    """
    to_report: dict[tuple[str, str], set[float]] = {}
    for run in runs:
        epoch = (run.config.get("recipe") or {}).get("report_checkpoint")
        epochs = to_report.setdefault((run.model, run.arm), set())
        if isinstance(epoch, int | float):
            epochs.add(float(epoch))
    plain = {}
    with_checkpoint = answers.dropna(subset=["checkpoint"])
    for key, checkpoints in with_checkpoint.groupby(["model", "recipe"])["checkpoint"]:
        asked = set(checkpoints.unique())
        plain[key] = max(asked & to_report.get(key, set()) or asked)
    return plain


def name_arms(tables: Iterable[pd.DataFrame], plain: Mapping[tuple[str, str], float]) -> None:
    """Add the column `arm` to tables: the recipe, and what sets an arm apart from the plain one.

    Args:
        tables: model, recipe, strength, dose and checkpoint (epochs); changed in place.
        plain: from `plain_checkpoints`.
    """
    parts = ["model", "recipe", "strength", "dose", "checkpoint"]
    for table in tables:
        arms = table.groupby(parts, dropna=False, sort=False)
        names = []
        for model, recipe, strength, dose, checkpoint in arms.size().index:
            plain_checkpoint = plain.get((model, recipe), checkpoint)
            names.append(full_arm_name(recipe, strength, dose, checkpoint, plain_checkpoint))
        arm_of_row = [names[number] for number in arms.ngroup()]
        table["arm"] = pd.Series(arm_of_row, index=table.index, dtype="object")


def full_arm_name(
    recipe: str, strength: float, dose: float, checkpoint: float, plain_checkpoint: float
) -> str:
    """Name an arm: `warm`, or `warm, dose 0.5, epoch 3` where it departs from the plain arm.

    Args:
        recipe: its name.
        strength: 1 of the plain arm.
        dose: 1 of the plain arm.
        checkpoint: epochs; NaN where nothing was trained.
        plain_checkpoint: that of the plain arm, epochs.
    """
    parts = [str(recipe)]
    if strength != 1:
        parts.append(f"strength {strength:g}")
    if dose != 1:
        parts.append(f"dose {dose:g}")
    if not math.isnan(checkpoint) and checkpoint != plain_checkpoint:
        parts.append(f"epoch {checkpoint:g}")
    return ", ".join(parts)


def checkpoint_notes(answers: pd.DataFrame, plain: Mapping[tuple[str, str], float]) -> list[str]:
    """Say at which epoch the plain arms are, if the name alone does not tell.

    Args:
        answers: model, recipe and checkpoint.
        plain: from `plain_checkpoints`.

    Returns:
        a line for all recipes whose epochs are alike.
    """
    recipes: dict[str, list[str]] = {}
    for recipe, rows in answers.dropna(subset=["checkpoint"]).groupby("recipe"):
        if rows["checkpoint"].nunique() > 1:
            models = sorted(rows["model"].unique())
            epochs = {model: f"{plain[model, recipe]:g}" for model in models}
            recipes.setdefault(epochs_in_words(epochs), []).append(str(recipe))
    lines = []
    for epochs_text, names in recipes.items():
        lines.append(f"At {epochs_text}: {', '.join(sorted(names, key=arm_order))}.")
    return lines


def epochs_in_words(epochs: Mapping[str, str]) -> str:
    """Write each model's epoch, or the one epoch of all models."""
    if len(set(epochs.values())) == 1:
        return f"epoch {next(iter(epochs.values()))}"
    return ", ".join(f"epoch {epoch} of {model}" for model, epoch in epochs.items())


def recipes_left_out(answers: pd.DataFrame) -> list[str]:
    """Name models that were asked a recipe, but not the arm of it that stands for it."""
    arm_of_recipe = reported(answers["arm"].unique())
    lines = []
    for (model, recipe), arms in answers.groupby(["model", "recipe"])["arm"]:
        reported_arm = arm_of_recipe[arm_order(arms.iloc[0]).recipe]
        if reported_arm not in set(arms):
            asked_arms = "; ".join(sorted(set(arms), key=arm_order))
            lines.append(
                f"{model}: {recipe} was asked as {asked_arms} alone, so what is said of "
                f"{reported_arm} leaves it out."
            )
    return lines


def reported(arms: Iterable[str]) -> dict[str, str]:
    """Choose the arm of each recipe that the first screen, the controls and the figures show.

    It is that of the plain name; if that was not asked, the last in the order of tables, strength
    before dose before checkpoint.

    Args:
        arms: names, as `name_arms` gives them.

    Returns:
        recipe → arm, in the order of tables.
    """
    arm_of_recipe: dict[str, str] = {}
    for arm in sorted(arms, key=arm_order):
        name = arm_order(arm)
        rival = arm_of_recipe.get(name.recipe)
        if rival is None or _plainness(name) >= _plainness(arm_order(rival)):
            arm_of_recipe[name.recipe] = arm
    return arm_of_recipe


def kind_of_arm(config: Mapping[str, Any]) -> str:
    """Say how an arm was made, from a run's config; "" for the original."""
    recipe = config.get("recipe") or {}
    if recipe.get("name") in (None, "none"):
        return ""
    method = recipe.get("method")
    if method == "steer":
        return STEERED
    if method != "none":
        return FINE_TUNED
    if recipe.get("edit_tone") or recipe.get("edit_errors"):
        return EDITED
    return SHOWN if recipe.get("shots") else PROMPTED


def control_of(kind: str, chosen: Mapping[str, str]) -> list[str]:
    """List the arms that control for how an arm of a kind was made, strictest first.

    Args:
        kind: from `kind_of_arm`.
        chosen: from `reported`.
    """
    return [chosen[recipe] for recipe in CONTROLS_OF_KIND.get(kind, ()) if recipe in chosen]


def as_strong(control: str, arm: str, kind: str) -> str:
    """Name the control made as strongly as an arm: a steered one has the arm's dose."""
    dose = arm_order(arm).dose
    if kind != STEERED or arm_order(control).dose == dose:
        return control
    recipe = arm_order(control).recipe
    return recipe if dose == 1 else f"{recipe}, dose {dose:g}"


def is_comparable(arm: str, reference: str, kinds: Mapping[str, str]) -> bool:
    """Say whether two arms may stand side by side: any with the original, else two made alike.

    Steered ones are alike at one dose, for a longer vector changes more whatever its direction.

    Args:
        arm: the arm.
        reference: what it would be compared with.
        kinds: arm → from `kind_of_arm`.
    """
    if reference == "original":
        return True
    kind = kinds.get(arm, "")
    return kind == kinds.get(reference) and as_strong(reference, arm, kind) == reference


def as_recipes(answers: pd.DataFrame, chosen: Mapping[str, str]) -> pd.DataFrame:
    """Select the answers of the arms that `chosen` names, and call them by their recipes."""
    recipes = {arm: recipe for recipe, arm in chosen.items()}
    selected = answers[answers["arm"].isin(recipes)]
    return selected.assign(arm=selected["arm"].map(recipes))


def _plainness(name: ArmName) -> tuple[bool, bool, bool]:
    """Tell how near an arm is to the plain one; what comes first counts most."""
    return name.strength == 1, name.dose == 1, name.epoch == 0


def focal(chosen: Mapping[str, str]) -> str | None:
    """Name the arm a page asks about: warm, else the first recipe in the order of arms.

    Args:
        chosen: from `reported`.

    Returns:
        the arm; None if there is none but original.
    """
    if "warm" in chosen:
        return chosen["warm"]
    changed = [arm for recipe, arm in chosen.items() if recipe != "original"]
    return changed[0] if changed else None
