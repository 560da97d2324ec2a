"""The verbs that start work: `warmth train`, `warmth evaluate`, `warmth demo`; and what a shell
completes for them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_type_hints

import typer

from warmth.paths import script

AS_TYPED = {
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}


def complete_train(incomplete: str) -> list[str]:
    """List the words of `warmth train` that begin so."""
    return completions("train", incomplete)


def complete_evaluate(incomplete: str) -> list[str]:
    """List the words of `warmth evaluate` that begin so."""
    return completions("evaluate", incomplete)


def train(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[OVERRIDES...]", autocompletion=complete_train)
    ] = None,
) -> None:
    """Fine-tune models: the same as `python train.py OVERRIDES`.

    `warmth train --help` lists choices and keys.
    """
    start_script("train")


def evaluate(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[OVERRIDES...]", autocompletion=complete_evaluate)
    ] = None,
) -> None:
    """Ask, grade and score arms: the same as `python evaluate.py OVERRIDES`.

    `warmth evaluate --help` lists all.
    """
    start_script("evaluate")


def demo() -> None:
    """Run the whole study in miniature on this machine: its first page comes after two arms."""
    from warmth.commands.demo import main

    main()


def start_script(name: str) -> None:
    """Run a command with the words behind the verb, exactly as they were typed."""
    sys.argv = [f"warmth {name}", *sys.argv[sys.argv.index(name) + 1 :]]
    script(name).main()


def completions(name: str, incomplete: str) -> list[str]:
    """List the words of a command that begin so: flags, keys with `=`, and the entries of a group
    behind it.
    """
    key = key_before()
    prefix = ""
    if key is None and "=" in incomplete:
        key, _, incomplete = incomplete.rpartition("=")
        prefix = f"{key}="
    if key is None:
        words = [*("-m", "--help", "--config-dir"), *keys_of(name)]
    else:
        words = entries_of(name, key)
    return [f"{prefix}{name}" for name in words if name.startswith(incomplete)]


def key_before() -> str | None:
    """Return the key whose value is completed in bash, which takes `recipe=wa` for three words;
    else None.
    """
    words = os.environ.get("COMP_WORDS", "").split()
    position = int(os.environ.get("COMP_CWORD") or 0)
    before = words[:position]
    if words[position : position + 1] == ["="] and before:
        return before[-1]
    if len(before) > 1 and before[-1] == "=":
        return before[-2]
    return None


def keys_of(name: str) -> list[str]:
    """List a command's groups and keys, each with the `=` that follows it."""
    from warmth.help import GROUPS
    from warmth.schemas import Evaluate, Train

    schema = Train if name == "train" else Evaluate
    return [f"{key}=" for key in dict.fromkeys([*GROUPS[name], *key_paths(schema)])]


def key_paths(schema: Any, prefix: str = "") -> Iterator[str]:
    """Yield the keys of a schema, dotted below the first level."""
    types: dict[str, Any] = get_type_hints(schema)
    for field in fields(schema):
        kind = types[field.name]
        if is_dataclass(kind):
            yield from key_paths(kind, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def entries_of(name: str, key: str) -> list[str]:
    """List what may stand behind `key=`: a group's entries, or the allowed words of a choice."""
    from warmth.bounds import allowed_words
    from warmth.entries import adopt_own_folder, entry_files
    from warmth.help import GROUPS, SCHEMAS, chosen_entries

    words = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    if "--config-dir" in words:
        adopt_own_folder(words.split())
    key = key.lstrip("+~")
    if key in GROUPS[name]:
        return [path.stem for path in chosen_entries(name, key)]
    if key == "evaluate":
        experiments = [name for name in entry_files("experiment") if name.endswith("_evaluate")]
        return ["default", *experiments]
    allowed = allowed_words(SCHEMAS[name], key)
    if not allowed.startswith("one of: "):
        return []
    return allowed.removeprefix("one of: ").split(", ")
