"""What arms are called, and which one a report speaks of where a recipe has several strengths,
doses or checkpoints.

The plain name, `warm`, is that of strength 1, dose 1 and the checkpoint to report, which each model
has of its own: one that was trained for a single epoch and one for three are both there when models
are pooled, and a pre-registered plan that says `warm` means them.
"""

from __future__ import annotations

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
    """What an arm's name says, in the order of tables: the recipe's place and name, then its
    numbers.
    """

    place: int
    recipe: str
    strength: float = 1.0
    dose: float = 1.0
    epoch: float = 0.0  # 0 of the checkpoint to report, which the name does not say


def arm_order(arm: str) -> ArmName:
    """Sort key: the place its recipe states, then its name, then its numbers as numbers."""
    recipe = arm.split(",")[0]
    return ArmName(
        look_of(recipe).order,
        recipe,
        **{name: float(number) for name, number in _SET_APART.findall(arm)},
    )


def plain_checkpoints(
    answers: pd.DataFrame, runs: Iterable[FinishedRun]
) -> dict[tuple[str, str], float]:
    """Model and recipe → the checkpoint of the plain name: `recipe.report_checkpoint`, else the
    last that was asked.

    Args:
        answers: model, recipe, checkpoint (epochs; NaN where nothing was trained).
        runs: the evaluations, for their configs.
    """
    wanted: dict[tuple[str, str], set[float]] = {}
    for run in runs:
        epoch = (run.config.get("recipe") or {}).get("report_checkpoint")
        wanted.setdefault((run.model, run.arm), set()).update(
            [float(epoch)] if isinstance(epoch, int | float) else []
        )
    found = {}
    for key, asked in answers.dropna(subset=["checkpoint"]).groupby(["model", "recipe"])[
        "checkpoint"
    ]:
        there = set(asked.unique())
        found[key] = max(there & wanted.get(key, set()) or there)
    return found


def name_arms(tables: Iterable[pd.DataFrame], plain: Mapping[tuple[str, str], float]) -> None:
    """Adds `arm`: the recipe, and strength, dose or checkpoint where they set it apart from the
    plain arm.
    """
    for table in tables:
        names = []
        which = table.groupby(
            ["model", "recipe", "strength", "dose", "checkpoint"], dropna=False, sort=False
        )
        for model, recipe, strength, dose, checkpoint in which.size().index:
            parts = [str(recipe)]
            parts += [f"strength {strength:g}"] if strength != 1 else []
            parts += [f"dose {dose:g}"] if dose != 1 else []
            set_apart = checkpoint == checkpoint and checkpoint != plain.get(
                (model, recipe), checkpoint
            )
            names.append(", ".join([*parts, *([f"epoch {checkpoint:g}"] if set_apart else [])]))
        table["arm"] = pd.Series(
            [names[number] for number in which.ngroup()], index=table.index, dtype="object"
        )


def told_checkpoints(answers: pd.DataFrame, plain: Mapping[tuple[str, str], float]) -> list[str]:
    """At which epoch the plain arms are, where the name alone does not tell: a line for recipes
    that are alike.
    """
    lines: dict[str, list[str]] = {}
    for recipe, rows in answers.dropna(subset=["checkpoint"]).groupby("recipe"):
        if rows["checkpoint"].nunique() > 1:
            epochs = {
                model: f"{plain[model, recipe]:g}" for model in sorted(rows["model"].unique())
            }
            same = len(set(epochs.values())) == 1
            of = [
                f"epoch {epoch}" + ("" if same else f" of {model}")
                for model, epoch in epochs.items()
            ]
            lines.setdefault(", ".join(dict.fromkeys(of)), []).append(str(recipe))
    return [f"At {of}: {', '.join(sorted(names, key=arm_order))}." for of, names in lines.items()]


def other_arms(answers: pd.DataFrame) -> list[str]:
    """Models that were asked a recipe, but not the arm of it that stands for it."""
    chosen, lines = reported(answers["arm"].unique()), []
    for (model, recipe), arms in answers.groupby(["model", "recipe"])["arm"]:
        one = chosen[arm_order(arms.iloc[0]).recipe]
        if one not in set(arms):
            there = "; ".join(sorted(set(arms), key=arm_order))
            lines.append(
                f"{model}: {recipe} was asked as {there} alone, so what is said of {one} leaves "
                f"it out."
            )
    return lines


def reported(arms: Iterable[str]) -> dict[str, str]:
    """The arm of each recipe that the first screen, the controls and the study's own figures show.

    That of the plain name; where it was not asked, the last in the order of tables, strength before
    dose before checkpoint.

    Args:
        arms: names, as `name_arms` gives them.

    Returns:
        recipe → arm, in the order of tables.
    """
    chosen: dict[str, str] = {}
    for arm in sorted(arms, key=arm_order):
        one = arm_order(arm)
        if one.recipe not in chosen or _fit(one) >= _fit(arm_order(chosen[one.recipe])):
            chosen[one.recipe] = arm
    return chosen


def kind_of(config: Mapping[str, Any]) -> str:
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
        kind: from `kind_of`.
        chosen: from `reported`.
    """
    return [chosen[recipe] for recipe in CONTROLS_OF_KIND.get(kind, ()) if recipe in chosen]


def as_strong(control: str, arm: str, kind: str) -> str:
    """Name the control that was made as strongly as an arm: a steered one at the arm's dose, any
    other as it is.
    """
    dose = arm_order(arm).dose
    if kind != STEERED or arm_order(control).dose == dose:
        return control
    recipe = arm_order(control).recipe
    return recipe if dose == 1 else f"{recipe}, dose {dose:g}"


def is_comparable(arm: str, reference: str, kinds: Mapping[str, str]) -> bool:
    """Say whether two arms may stand beside each other: with the original any, else arms that were
    made alike.

    Steered ones are alike at one dose, for a longer vector changes more whatever its direction.

    Args:
        arm: the arm.
        reference: what it would be compared with.
        kinds: arm → from `kind_of`.
    """
    if reference == "original":
        return True
    kind = kinds.get(arm, "")
    return kind == kinds.get(reference) and as_strong(reference, arm, kind) == reference


def as_recipes(answers: pd.DataFrame, chosen: Mapping[str, str]) -> pd.DataFrame:
    """The answers of the arms that `chosen` names, called by their recipes, as the study has them;
    no others.
    """
    recipes = {arm: recipe for recipe, arm in chosen.items()}
    kept = answers[answers["arm"].isin(recipes)]
    return kept.assign(arm=kept["arm"].map(recipes))


def _fit(one: ArmName) -> tuple[bool, bool, bool]:
    return one.strength == 1, one.dose == 1, one.epoch == 0


def focal(chosen: Mapping[str, str]) -> str | None:
    """Name the arm a page asks about: warm, else the first recipe in the order of arms; None for
    original alone.

    Args:
        chosen: from `reported`.
    """
    others = [recipe for recipe in chosen if recipe != "original"]
    if not others:
        return None
    return chosen["warm" if "warm" in others else others[0]]
