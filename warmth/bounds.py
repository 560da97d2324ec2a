"""What a key allows, declared beside the key: bounds of numbers, choices of words, and why a key is
in no digest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from omegaconf import MISSING

from warmth.errors import UserError

PATH = "PATH"  # in a word that a key allows: any path
SEED_LIMIT = 2**32 - 1  # numpy takes no larger seed


@dataclass(frozen=True)
class Bounds:
    """The numbers that a key allows; every bound is finite, so infinity and NaN are never
    allowed.
    """

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None

    def admits(self, value: Any) -> bool:
        """Return whether a value is a finite number that lies inside the bounds."""
        if not isinstance(value, int | float) or not math.isfinite(value):
            return False
        if self.above is not None and value <= self.above:
            return False
        if self.at_least is not None and value < self.at_least:
            return False
        if self.below is not None and value >= self.below:
            return False
        return self.at_most is None or value <= self.at_most

    def __str__(self) -> str:
        """Describe the bounds in words, such as `above 0, at most 1`."""
        limits = {
            "above": self.above,
            "at least": self.at_least,
            "below": self.below,
            "at most": self.at_most,
        }
        phrases = []
        for relation, limit in limits.items():
            if limit is not None:
                phrases.append(f"{relation} {limit:,.15g}")
        return ", ".join(phrases) or "finite"


@dataclass(frozen=True)
class Choices:
    """The words that a key allows; `file:PATH` stands for that beginning with any path after it."""

    words: tuple[str, ...]

    def admits(self, value: Any) -> bool:
        """Return whether a value is one of the words."""
        for choice_word in self.words:
            prefix = choice_word.removesuffix(PATH)
            is_path = isinstance(value, str) and value.startswith(prefix)
            if choice_word.endswith(f":{PATH}") and is_path:
                return value not in (prefix, choice_word)
        return value in self.words

    def __str__(self) -> str:
        """List the words."""
        return f"one of: {', '.join(self.words)}"


def excluded(reason: str) -> dict[str, Any]:
    """Make the metadata of a key that is in no digest, with the reason why a result does not depend
    on it.
    """
    return {"digest": False, "reason": reason}


def number(
    default: Any = MISSING,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    excluded_because: str | None = None,
) -> Any:
    """Declare a key that holds a number inside bounds, or a list or dictionary of such numbers."""
    metadata: dict[str, Any] = {"allowed": Bounds(above, at_least, below, at_most)}
    return _declare(default, metadata, excluded_because)


def choice(default: Any, *words: str, excluded_because: str | None = None) -> Any:
    """Declare a key that holds one of some words; a list of words holds them in each of its
    items.
    """
    return _declare(default, {"allowed": Choices(words)}, excluded_because)


def setting(default: Any = MISSING, *, excluded_because: str) -> Any:
    """Declare a key of any type that is in no digest; a class as default makes a new object for
    each config.
    """
    return _declare(default, {}, excluded_because)


def _declare(default: Any, metadata: dict[str, Any], excluded_because: str | None) -> Any:
    if excluded_because is not None:
        metadata |= excluded(excluded_because)
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Yield the dotted key, the value and the metadata of every leaf of nested dataclasses.

    A dictionary of dataclasses (tasks by their name) is walked into; any other value is a leaf.
    What lies below a key that is in no digest is in none either, for the same reason.
    """
    for key_field in fields(config):
        value = getattr(config, key_field.name)
        key = f"{prefix}{key_field.name}"
        if is_dataclass(value) and not isinstance(value, type):
            yield from _leaves_below(value, key, key_field.metadata)
        elif isinstance(value, dict) and value and all(map(is_dataclass, value.values())):
            for name, entry in value.items():
                yield from _leaves_below(entry, f"{key}.{name}", key_field.metadata)
        else:
            yield key, value, key_field.metadata


def _leaves_below(
    config: Any, key: str, above: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    inherited: dict[str, Any] = {}
    if not above.get("digest", True):
        inherited = excluded(above["reason"])
    for below, value, metadata in leaves(config, f"{key}."):
        yield below, value, {**inherited, **metadata}


def check_allowed(config: Any, prefix: str = "") -> None:
    """Check every declared key of nested dataclasses.

    Raises:
        UserError: a value is not allowed; the line names the key, the value and what is allowed.
    """
    for key, value, metadata in leaves(config, prefix):
        allowed = metadata.get("allowed")
        if allowed is None or value is None or value == MISSING:
            continue
        for name, value_given in values_given(key, value):
            if not allowed.admits(value_given):
                raise UserError(refusal(name, value_given, allowed))


def values_given(key: str, value: Any) -> list[tuple[str, Any]]:
    """List the key and value of everything that the bounds of a key hold for."""
    if isinstance(value, list | tuple):
        return [(key, entry) for entry in value]
    if isinstance(value, dict):
        return [(f"{key}.{name}", entry) for name, entry in value.items()]
    return [(key, value)]


def allowed_words(schema: Any, key: str) -> str:
    """Describe what a dotted key of a schema allows, in words; an empty string if any value of its
    type is allowed.
    """
    head, _, below = key.partition(".")
    for key_field in fields(schema):
        if key_field.name != head:
            continue
        if not below:
            return str(key_field.metadata.get("allowed", ""))
        inner = key_field.default_factory
        if isinstance(inner, type) and is_dataclass(inner):
            return allowed_words(inner, below)
    return ""


def refusal(key: str, value: Any, allowed: Bounds | Choices) -> str:
    """Say in one line that a value is not allowed, and what is."""
    if isinstance(allowed, Choices):
        return f"{key}={value} is not allowed; choose {allowed}"
    return f"{key}={value} must be {allowed}"
