"""Lists in one command: every checkpoint and dose it names is a point of its own, with a run folder
of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from warmth.errors import UserError
from warmth.evaluation.answer.arms import dose_ends
from warmth.evaluation.identity import folder_of
from warmth.evaluation.stored_runs import from_run
from warmth.schemas import Evaluate


def points_of_study(
    study: Evaluate, in_sweep: bool, say: Callable[[str], None] = lambda line: None
) -> list[Evaluate]:
    """Return the study at each of its checkpoints and doses, `run=` read; one study where neither
    is a list.

    Raises:
        UserError: a dose or checkpoint of an arm without one; inside a sweep it is ignored, with
        one line.
    """
    study = from_run(study)
    if study.dose_between is not None:
        study = _between(study, in_sweep, say)
    doses = listed(study.dose)
    checkpoints = listed(study.checkpoint)
    for key, values, plain, fits in (
        ("dose", doses, [1.0], study.recipe.method != "none"),
        ("checkpoint", checkpoints, [None], study.recipe.method not in ("none", "steer")),
    ):
        if fits or values == plain:
            continue
        why = f"recipe={study.recipe.name}, which {LACKS[key]}"
        shown = ",".join([f"{value:g}" for value in values])
        shown = f"{key}={shown}" if len(values) == 1 else f"{key}=[{shown}]"
        if not in_sweep:
            raise UserError(f"{shown} says nothing about {why}; leave it out")
        say(f"{shown} is ignored for {why}")
        values[:] = plain
    return [replace(study, checkpoint=at, dose=dose) for at, dose in product(checkpoints, doses)]


def _between(study: Evaluate, in_sweep: bool, say: Callable[[str], None]) -> Evaluate:
    names = ",".join(study.dose_between or ())
    if study.recipe.method not in ("none", "steer"):
        dose_ends(study)  # names that cannot be had are refused here
        return replace(study, recipe=replace(study.recipe, name=names.replace(",", "-")))
    if not in_sweep:
        raise UserError(
            f"dose_between=[{names}] says nothing about recipe={study.recipe.name}; choose a "
            f"tuned recipe="
        )
    say(f"dose_between=[{names}] is ignored for recipe={study.recipe.name}")
    return replace(study, dose_between=None)


def listed(value: Any) -> list[Any]:
    """Return one value, or the values of a list, as a list."""
    return list(value) if isinstance(value, list | tuple) else [value]


LACKS = {"dose": "has nothing to scale", "checkpoint": "trains no adapter"}


def folders_of_points(study: Evaluate) -> list[Path]:
    """Return where the rows of every point are, or will be.

    Raises:
        UserError: the adapter of one has not been trained, or a file that is named does not exist.
    """
    return [folder_of(point) for point in points_of_study(study, in_sweep=True)]
