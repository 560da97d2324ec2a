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
        result = []
        for point in points:
            if any(meets(point, condition) for condition in self.leave_out):
                continue
            typed_keys = set(last_values(point))
            extended = list(point)
            for condition, overrides in self.also:
                if meets(point, condition):
                    extended += [text for text in overrides if pair_key(text) not in typed_keys]
            result.append(extended)
        if not result:
            raise UserError(
                "no job is left: hydra.sweeper.leave_out of this experiment takes out all that "
                "are asked for"
            )
        return result


def sweep_rules(loader: Any, name: str, arguments: Sequence[str]) -> Pairs:
    """Read the rules of the experiment that a command line chooses; none where it chooses none.

    Raises:
        UserError: a rule is not made of `key=value` words.
    """
    experiments = [text for text in arguments if pair_key(text) == "experiment" and "," not in text]
    if not experiments:
        return Pairs()
    config = loader.load_configuration(name, experiments[-1:], run_mode=RunMode.MULTIRUN)
    sweeper = config.hydra.sweeper
    leave_out = tuple(condition_of(rule, "leave_out") for rule in sweeper.get("leave_out") or ())
    also = []
    for rule, overrides in (sweeper.get("also") or {}).items():
        also.append((condition_of(str(rule), "also"), tuple(str(overrides).split())))
    return Pairs(leave_out, tuple(also))


def condition_of(rule: str, key: str) -> Condition:
    """Read `key=value,value key=value`.

    Raises:
        UserError: a word has no value.
    """
    condition = {}
    for pair in rule.split():
        name, equals, values = pair.partition("=")
        if not equals or not values:
            raise UserError(f"hydra.sweeper.{key}: {pair} is not key=value")
        condition[name] = frozenset(values.split(","))
    return condition


def meets(point: Sequence[str], condition: Condition) -> bool:
    """Say whether a point's overrides hold, for every key of a condition, one of its values."""
    values = last_values(point)
    return all(values.get(key) in allowed for key, allowed in condition.items())


def last_values(point: Sequence[str]) -> dict[str, str]:
    """Return the last value of each key among some overrides."""
    values = {}
    for override in point:
        key, _, value = override.partition("=")
        values[key] = value
    return values


def pair_key(override: str) -> str:
    """Return the key that an override sets."""
    return override.partition("=")[0]
