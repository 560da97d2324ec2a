"""Weights of models, tasks and rows in a mean difference, as one `Design` for every interval.

Models weigh one each, or what is stated. Within a model each task weighs one (`weights=tasks`), so
that a task of 1,319 questions does not drown one of 125; or each row does (`weights=rows`). Within
a task every row weighs the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from warmth.analysis.statistics.rare import Design, design
from warmth.errors import UserError

TASKS = "tasks"
ROWS = "rows"
WEIGHTS = (TASKS, ROWS)


@dataclass(frozen=True)
class Weights:
    """How much tasks and models weigh in a mean over rows.

    Attributes:
        tasks: `tasks`: each task of a model weighs one; `rows`: each row of it does.
        models: name and weight of each model; empty: one each.
    """

    tasks: str = TASKS
    models: tuple[tuple[str, float], ...] = ()

    def of_models(self, names: Iterable[str]) -> np.ndarray:
        """Look up the weight of each of some models."""
        stated = dict(self.models)
        return np.array([stated.get(name, 1.0) for name in names])

    @property
    def about_models(self) -> str:
        """Describe how models weigh, in words."""
        if not self.models:
            return "one weight each"
        return "weighed " + ", ".join(f"{name} {weight:g}" for name, weight in self.models)


EQUAL = Weights()


def checked_models(
    stated: Mapping[str, object], models: Iterable[str], key: str
) -> tuple[tuple[str, float], ...]:
    """Return stated weights of models as pairs, sorted by name; none if none is stated.

    Args:
        stated: model → weight.
        models: all that there are.
        key: the option or config key, for the message.

    Raises:
        UserError: a weight is no number above 0, or the weights name other models than there are.
    """
    if not stated:
        return ()
    for name, weight in stated.items():
        check_weight(name, weight, key)
    present = sorted(set(models))
    if sorted(stated) != present:
        names = ", ".join(present)
        raise UserError(
            f"{key} states weights of {', '.join(sorted(stated))}; it must name each model: {names}"
        )
    return tuple((name, float(str(stated[name]))) for name in present)


def parsed_models(text: str, key: str) -> dict[str, float]:
    """Read weights of models as `llama8b=2,qwen32b=1`.

    Raises:
        UserError: an entry is not a name and a number, or a name comes twice.
    """
    weights: dict[str, float] = {}
    for assignment in text.split(","):
        name, _, number = assignment.partition("=")
        try:
            weight = float(number)
        except ValueError:
            raise UserError(
                f"{key}={text} must be NAME=NUMBER,NAME=NUMBER, such as llama8b=2,qwen32b=1"
            ) from None
        name = name.strip()
        if name in weights:
            raise UserError(f"{key}={text} names {name} twice")
        weights[name] = weight
    return weights


def check_weight(model: str, weight: object, key: str) -> None:
    """Check one model's weight.

    Raises:
        UserError: it is no number above 0.
    """
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not (is_number and math.isfinite(float(str(weight))) and float(str(weight)) > 0):
        raise UserError(f"{key}: the weight of {model} is {weight}; it must be a number above 0")


def checked_weighting(weights: str, key: str = "analysis.weights") -> str:
    """Return the name of a way to weigh.

    Raises:
        UserError: it is none of `WEIGHTS`.
    """
    if weights not in WEIGHTS:
        raise UserError(f"{key}={weights} is not allowed; choose one of: {', '.join(WEIGHTS)}")
    return weights


def weighted_design(frame: pd.DataFrame, weights: Weights = EQUAL) -> Design:
    """Weigh the rows of a frame, and cluster them by question.

    Args:
        frame: `question_id`, distinct between tasks; `model` and `task`, if there can be several.
        weights: how much tasks and models weigh.

    Raises:
        ValueError: there are no rows.
    """
    question = frame["question_id"].to_numpy()
    model = codes(frame, ["model"])
    stated = model_weights(frame, weights)
    if weights.tasks == ROWS:
        return design(question, weight=_shares(model) * stated, cell=model)
    task = codes(frame, ["task"])
    cell = codes(frame, ["model", "task"])
    if frame.empty:
        return design(question)
    tasks_of_model = pd.Series(cell).groupby(model).nunique().to_numpy()
    weight = _shares(cell) / tasks_of_model[model] * stated
    return design(question, weight=weight, cell=cell, stratum=task)


def model_weights(frame: pd.DataFrame, weights: Weights) -> np.ndarray:
    """Give the weight of each row's model: (n,)."""
    if "model" not in frame or not weights.models:
        return np.ones(len(frame))
    return weights.of_models(frame["model"])


def codes(frame: pd.DataFrame, names: list[str]) -> np.ndarray:
    """Number the groups that columns make: (n,); one group if none of the columns is there."""
    present = [name for name in names if name in frame]
    if not present:
        return np.zeros(len(frame), int)
    return frame.groupby(present, sort=False, observed=True).ngroup().to_numpy()


def _shares(group: np.ndarray) -> np.ndarray:
    """Give each row the weight that makes its group weigh one."""
    sizes = np.bincount(group)
    return 1 / sizes[group]
