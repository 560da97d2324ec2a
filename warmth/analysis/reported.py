"""Which arm of a recipe a report speaks of, where the recipe was asked at several strengths, doses or checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

ORDER = ("original", "untransformed", "paraphrase", "cold", "warm", "warm_honest", "system_warm")  # the order in tables
CONTROLS = ("paraphrase", "untransformed", "original")  # strictest first: what a manner is compared with
_SET_APART = re.compile(r", (strength|dose|epoch) (-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)")


@dataclass(frozen=True, order=True)
class ArmName:
    """What an arm's name says, in the order of tables: the recipe's place and name, then its numbers."""

    place: int
    recipe: str
    strength: float = 1.0
    dose: float = 1.0
    epoch: float = 0.0  # 0 where only one checkpoint was asked, so that the name does not say


def arm_order(arm: str) -> ArmName:
    """Sort key: original, the controls, then the manners, then arms this project does not know; numbers as numbers."""
    recipe = arm.split(",")[0]
    place = ORDER.index(recipe) if recipe in ORDER else len(ORDER)
    return ArmName(place, recipe, **{name: float(number) for name, number in _SET_APART.findall(arm)})


def reported(arms: Iterable[str], checkpoints: Mapping[str, Set[float]]) -> dict[str, str]:
    """The arm of each recipe that the first screen, the controls and the study's own figures show.

    That of strength 1, dose 1 and the checkpoint to report; where it was not asked, the last in the order of tables,
    strength before dose before checkpoint.

    Args:
        arms: names, as `rows.name_arms` gives them.
        checkpoints: recipe → epochs of the checkpoint to report (`recipe.report_checkpoint`), several where models
            differ.

    Returns:
        recipe → arm, in the order of tables.
    """
    chosen: dict[str, str] = {}
    for arm in sorted(arms, key=arm_order):
        one = arm_order(arm)
        if one.recipe not in chosen or _fit(one, checkpoints) >= _fit(arm_order(chosen[one.recipe]), checkpoints):
            chosen[one.recipe] = arm
    return chosen


def _fit(one: ArmName, checkpoints: Mapping[str, Set[float]]) -> tuple[bool, bool, bool]:
    told = {float(f"{epoch:g}") for epoch in checkpoints.get(one.recipe, ())}  # as the name rounds it
    return one.strength == 1, one.dose == 1, one.epoch in told


def focal(chosen: Mapping[str, str]) -> str | None:
    """The arm a page asks about: warm's, else the last of the others; None when only original answered.

    Args:
        chosen: from `reported`.
    """
    others = [recipe for recipe in chosen if recipe != "original"]
    return chosen["warm" if "warm" in others else others[-1]] if others else None
