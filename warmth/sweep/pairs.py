"""Sweeps that are no full grid: points that are left out, and overrides that some points get
besides.

An experiment states both beside its axes:

    hydra.sweeper.leave_out: ["recipe=cold model=llama8b,mistral_small"]   # no such pair
    hydra.sweeper.also: {"model=gpt4o": "engine=openai"}                    # every such point
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.types import RunMode

from warmth.errors import UserError

Condition = Mapping[str, frozenset[str]]  # key → the values that meet it


@dataclass(frozen=True)
class Pairs:
    """What a sweep does with the points of its grid."""

    leave_out: tuple[Condition, ...] = ()
    also: tuple[tuple[Condition, tuple[str, ...]], ...] = ()

    def of(self, points: Iterable[list[str]]) -> list[list[str]]:
        """Return the points that stay, each with what it gets besides; a key that is given already
        stays as it is.

        Raises:
            UserError: none is left.
        """
        stay = [
            point
            for point in points
            if not any(meets(point, condition) for condition in self.leave_out)
        ]
        if not stay:
            raise UserError(
                "no job is left: hydra.sweeper.leave_out of this experiment takes out all that "
                "are asked for"
            )
        result = []
        for point in stay:
            given = set(values_of(point))
            more = [
                word for condition, words in self.also if meets(point, condition) for word in words
            ]
            result.append([*point, *(word for word in more if word.partition("=")[0] not in given)])
        return result


def pairs_of(loader: Any, name: str, arguments: Sequence[str]) -> Pairs:
    """Read the rules of the experiment that a command line chooses; none where it chooses none.

    Raises:
        UserError: a rule is not made of `key=value` words.
    """
    experiments = [word for word in arguments if word.startswith("experiment=") and "," not in word]
    if not experiments:
        return Pairs()
    sweeper = loader.load_configuration(
        name, experiments[-1:], run_mode=RunMode.MULTIRUN
    ).hydra.sweeper
    leave_out = tuple(condition_of(rule, "leave_out") for rule in sweeper.get("leave_out") or ())
    also = []
    for rule, words in (sweeper.get("also") or {}).items():
        also.append((condition_of(str(rule), "also"), tuple(str(words).split())))
    return Pairs(leave_out, tuple(also))


def condition_of(rule: str, key: str) -> Condition:
    """Read `key=value,value key=value`.

    Raises:
        UserError: a word has no value.
    """
    condition = {}
    for word in rule.split():
        name, equals, values = word.partition("=")
        if not equals or not values:
            raise UserError(f"hydra.sweeper.{key}: {word} is not key=value")
        condition[name] = frozenset(values.split(","))
    return condition


def meets(point: Sequence[str], condition: Condition) -> bool:
    """Say whether a point's overrides hold, for every key of a condition, one of its values."""
    values = values_of(point)
    return all(values.get(key) in allowed for key, allowed in condition.items())


def values_of(point: Sequence[str]) -> dict[str, str]:
    """Return the last value of each key among some overrides."""
    return {word.partition("=")[0]: word.partition("=")[2] for word in point}
