"""Objects from config entries: engine, grader, launcher and logger are classes of this project, and
nothing else is.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import json
from collections.abc import Collection
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from warmth.bounds import check_allowed
from warmth.entries import own_module
from warmth.errors import UserError, one_line


def build(entry: Any, group: str, key: str | None = None) -> Any:
    """Make the object an entry's `_target_` names, from a group's own classes only.

    A dotted path alone proves nothing (a module of ours imports `subprocess`), so the resolved
    object is checked: a dataclass defined in `warmth`, or in a file of the user's own folder, whose
    `group` is the one asked for.

    Raises:
        UserError: another class, an unknown field, or a value of the wrong type.
    """
    key = key or group
    cls = class_of(entry, group, key)
    names = {key_field.name for key_field in fields(cls) if key_field.init}
    given = {name: value for name, value in entry.items() if name != "_target_"}
    unknown = sorted(set(given) - names)
    if unknown:
        raise UserError(unknown_key(f"{key}.{unknown[0]}", names))
    built = cls(**_typed(cls, given, key))
    check_allowed(built, f"{key}.")
    return built


def class_of(entry: Any, group: str, key: str) -> Any:
    """Find the class that an entry's `_target_` names.

    Raises:
        UserError: there is none, or it is no class of the group.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("_target_"), str):
        raise UserError(
            f"{key}={one_line(Exception(str(entry)))} is not an entry of conf/{group}/ (no "
            f"_target_)"
        )
    cls = _locate(entry["_target_"])
    if cls is None or getattr(cls, "group", None) != group:
        raise UserError(
            f"{key}._target_={entry['_target_']} is not one of this project's {group} classes"
        )
    return cls


def _locate(target: str) -> Any:
    module_name, _, class_name = target.rpartition(".")
    if module_name.startswith("warmth."):
        return _shipped(module_name, class_name)
    module = own_module(module_name)
    cls = getattr(module, class_name, None)
    if module is None or not isinstance(cls, type) or not is_dataclass(cls):
        return None
    if cls.__module__ != module.__name__:
        return None
    return cls


@cache
def _shipped(module_name: str, class_name: str) -> Any:
    try:
        cls = getattr(importlib.import_module(module_name), class_name, None)
    except ImportError:
        return None
    if not isinstance(cls, type) or not is_dataclass(cls):
        return None
    if not cls.__module__.startswith("warmth."):
        return None
    return cls


def _typed(cls: type, given: dict[str, Any], key: str) -> dict[str, Any]:
    """Convert field values to the declared types, by the same rules as the schemas above."""
    try:
        text = json.dumps(given)
    except TypeError:  # a value that no file holds
        return _converted(cls, given, key)
    return copy.deepcopy(_remembered(cls, text, key))


@cache
def _remembered(cls: type, given: str, key: str) -> dict[str, Any]:
    """Convert field values once: plans of hundreds of runs build the same few entries thousands of
    times.
    """
    return _converted(cls, json.loads(given), key)


def _converted(cls: type, given: dict[str, Any], key: str) -> dict[str, Any]:
    try:
        shape = OmegaConf.structured(cls)
        OmegaConf.set_readonly(shape, False)  # the classes are frozen, their shape need not be
        merged = OmegaConf.merge(shape, given)
        missing = sorted(OmegaConf.missing_keys(merged))
        if missing:
            raise UserError(f"{key}.{missing[0]} is not set")
        return {str(name): value for name, value in OmegaConf.to_container(merged).items()}
    except OmegaConfBaseException as error:
        raise UserError(f"{key}.{omegaconf_line(error)}") from error


def omegaconf_line(error: OmegaConfBaseException) -> str:
    """Write one line with the key and, for a typo, the keys that exist."""
    message = one_line(Exception(str(error).split("\n")[0]))
    key = error.full_key or error.key
    if error.object_type is not None and is_dataclass(error.object_type) and "not in" in message:
        return unknown_key(str(key), {key_field.name for key_field in fields(error.object_type)})
    parent = error.parent_node
    if isinstance(error, ConfigKeyError | ConfigAttributeError) and isinstance(parent, DictConfig):
        return unknown_key(
            str(key), {str(name) for name in parent if not str(name).startswith("_")}
        )
    if key and str(key) not in message:
        return f"{key}: {message}"
    return message


def unknown_key(key: str, allowed: Collection[str]) -> str:
    """Say in one line that a key does not exist, which are allowed there, and which comes
    nearest.
    """
    parents, _, name = key.rpartition(".")
    near = nearest(name, allowed)
    prefix = ""
    if parents:
        prefix = f"{parents}."
    hint = ""
    if near:
        hint = f" (did you mean {prefix}{near}?)"
    return f"unknown key {key}{hint}; allowed here: {', '.join(sorted(allowed))}"


def nearest(name: str, allowed: Collection[str]) -> str:
    """Return the allowed name that is most like a mistyped one, "" if none is."""
    matches = difflib.get_close_matches(name, sorted(allowed), n=1)
    if not matches:
        return ""
    return matches[0]
