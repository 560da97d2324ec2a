"""Place, colour and marker of each arm in every figure and table.

A recipe's YAML states them (`order`, `colour`, `marker`), and a run's `config.json` keeps what its
recipe stated. A recipe that states no colour gets one of the spare looks, chosen by its name, and
another one than its neighbours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from warmth.entries import entry_files
from warmth.errors import UserError

if TYPE_CHECKING:
    from warmth.analysis.rows.runs import FinishedRun

LAST = 1000  # the place of an arm whose recipe states none
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "p", "h", "*", "<", ">", "d", "H")
HEX = re.compile(r"#[0-9a-f]{6}")
# (light page, dark page): at least 4.5:1 against either, so that words can be set in them
SPARE_COLOURS = (
    ("#96406b", "#e58ab4"),
    ("#4653ad", "#99a4f2"),
    ("#7b5227", "#d0a274"),
    ("#5d6b13", "#b5c45e"),
    ("#a02c2c", "#f08a86"),
    ("#4a6572", "#93b3c2"),
    ("#8a2f9a", "#dc8de8"),
    ("#1f6f9f", "#76c0e6"),
)
SPARE_MARKERS = ("h", "X", "p", "*", "d", "<", ">")


@dataclass(frozen=True)
class Look:
    """One arm's place in tables, its colours on a light and a dark page, and its marker."""

    order: int
    light: str
    dark: str
    marker: str


_adopted: dict[str, Look] = {}  # looks of the study that this process reports; see `adopt`


def look_of(arm: str) -> Look:
    """Find the look of an arm; doses, strengths and checkpoints share their recipe's.

    It is what the reported runs state, else what `conf/recipe/` states, else a spare look chosen by
    the name.
    """
    recipe = recipe_of(arm)
    look = _adopted.get(recipe) or shipped_looks().get(recipe)
    if look is None:
        look = _adopted[recipe] = spare_look(recipe, known_looks().values())
    return look


def recipe_of(arm: str) -> str:
    """Cut an arm's name down to its recipe: "warm, dose 0.5" is of `warm`."""
    return arm.split(",")[0]


def known_looks() -> dict[str, Look]:
    """List the look of every recipe in `conf/recipe/` and of the study that is reported, by arm."""
    return {**shipped_looks(), **_adopted}


def adopt(runs: Iterable[FinishedRun]) -> None:
    """Take the looks that the recipes of finished runs state, for all figures and tables.

    Raises:
        UserError: a config states a look that cannot be drawn (file, key and value are named).
    """
    looks: dict[str, Look] = {}
    unknown: set[str] = set()
    for run in runs:
        recipe = run.config.get("recipe") or {}
        look = stated_look(recipe, str(run.folder / "config.json"))
        if look is not None:
            looks[run.arm] = look
        elif run.arm not in shipped_looks():
            unknown.add(run.arm)
    for arm in sorted(unknown - set(looks)):
        looks[arm] = spare_look(arm, [*shipped_looks().values(), *looks.values()])
    _adopted.clear()
    _adopted.update(looks)


def shipped_looks() -> Mapping[str, Look]:
    """Read the look of every recipe in the config folders that states one, by arm."""
    return _shipped(tuple(entry_files("recipe").items()))


@cache
def _shipped(files: tuple[tuple[str, Path], ...]) -> Mapping[str, Look]:
    looks = {}
    for name, path in files:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        look = stated_look(content, str(path))
        if look is not None:
            arm = str(content.get("name", name))
            looks["original" if arm == "none" else arm] = look
    return looks


def stated_look(recipe: Mapping[str, Any], place: str) -> Look | None:
    """Read the look that a recipe states; None if it states no colour.

    Args:
        recipe: its keys.
        place: the file, for errors.

    Raises:
        UserError: a value is not what it must be.
    """
    colour = recipe.get("colour")
    marker = recipe.get("marker")
    order = recipe.get("order", LAST)
    if not colour:
        return None
    is_pair = isinstance(colour, list) and len(colour) == 2
    if not is_pair or not all(HEX.fullmatch(str(value)) for value in colour):
        raise UserError(
            f"{place}: recipe.colour={colour} must be two "
            "colours, light and dark, such as '#1b66a6'"
        )
    if marker not in MARKERS:
        raise UserError(
            f"{place}: recipe.marker={marker} is not allowed; choose one of: {' '.join(MARKERS)}"
        )
    if not isinstance(order, int):
        raise UserError(f"{place}: recipe.order={order} must be a whole number")
    return Look(order, colour[0], colour[1], marker)


def spare_look(arm: str, taken: Iterable[Look] = ()) -> Look:
    """Choose a look for an arm whose recipe states none, by its name.

    A taken look is chosen only if all are taken.
    """
    looks = []
    for marker, (light, dark) in product(SPARE_MARKERS, SPARE_COLOURS):
        looks.append(Look(LAST, light, dark, marker))
    start = int(hashlib.sha256(arm.encode(errors="replace")).hexdigest(), 16) % len(looks)
    taken_pairs = {(look.light, look.marker) for look in taken}
    for look in (*looks[start:], *looks[:start]):
        if (look.light, look.marker) not in taken_pairs:
            return look
    return looks[start]
