"""Entries of the config groups, read without Hydra: those of a user's own `--config-dir`, then
those of `conf/`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import OmegaConf

from warmth.errors import UserError, one_line
from warmth.paths import ROOT
from warmth.schemas import Model

OWN_MODULES = "own"  # under which name modules of that folder are known
# environment variable, so that processes started by a command know the folder too
OWN_FOLDER = "WARMTH_CONFIG_DIR"


def adopt_own_folder(words: Sequence[str]) -> list[str]:
    """Remember the folder that a command line names by `--config-dir`, for this process and those
    it starts.

    Returns:
        the command line, which names the folder also if a process that started this one did.

    Raises:
        UserError: it is not a folder.
    """
    named = False
    for number, argument in enumerate(words):
        option, equals, value = argument.partition("=")
        if option not in ("--config-dir", "-cd"):
            continue
        folder = Path(value if equals else "".join(words[number + 1 : number + 2]))
        if not folder.is_dir():
            raise UserError(f"--config-dir={folder} is not a folder")
        os.environ[OWN_FOLDER] = str(folder.resolve())
        named = True
    inherited = own_folder()
    if named or inherited is None:
        return list(words)
    return [f"--config-dir={inherited}", *words]


def own_folder() -> Path | None:
    """Find the user's own folder; None if the command line named none."""
    folder = os.environ.get(OWN_FOLDER)
    return Path(folder) if folder else None


def config_folders() -> list[Path]:
    """List the folders that hold config groups, the user's own first."""
    folder = own_folder()
    return [*([folder] if folder else []), ROOT / "conf"]


def own_module(name: str) -> ModuleType | None:
    """Load `<name>.py` of the user's own folder; None if there is no such file.

    The user named the folder on the command line, so its code is theirs to run. A stored run cannot
    name one.

    Raises:
        UserError: the file cannot be loaded.
    """
    folder = own_folder()
    if folder is None or not re.fullmatch(r"\w+(\.\w+)*", name):
        return None
    file = folder / f"{name.replace('.', '/')}.py"
    if not file.is_file():
        return None
    full_name = f"{OWN_MODULES}.{name}"
    known = sys.modules.get(full_name)
    if known is not None and known.__file__ == str(file):
        return known
    spec = importlib.util.spec_from_file_location(full_name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[full_name]
        raise UserError(
            f"{file} cannot be loaded: {type(error).__name__}: {one_line(error)}"
        ) from error
    return module


def entry_files(group: str) -> dict[str, Path]:
    """Find the file of every entry of a group, by the entry's name and in its order; a user's own
    file wins.
    """
    files: dict[str, Path] = {}
    for folder in reversed(config_folders()):
        files.update({path.stem: path for path in (folder / group).glob("*.yaml")})
    return dict(sorted(files.items()))


def read_entry(group: str, name: str) -> dict[str, Any]:
    """Read an entry of a multi-select group (task, condition, grader): what stands under its name.

    Raises:
        UserError: there is no such entry, or its file does not hold it.
    """
    files = entry_files(group)
    if name not in files:
        raise UserError(
            f"{group}={name} is not an entry of conf/{group}/; choose one of: {', '.join(files)}"
        )
    content: Any = OmegaConf.to_container(OmegaConf.load(files[name]))
    if not isinstance(content, dict) or not isinstance(content.get(name), dict):
        raise UserError(f"{files[name]} must hold the key {name}: with the entry's keys below it")
    return content[name]


def _whole_entry(name: str, files: Mapping[str, Path], key: str) -> Any:
    """Read a model's entry together with those that its `defaults` name; its own values come last,
    as with Hydra.

    Raises:
        UserError: an entry that it names is not there.
    """
    if name not in files:
        raise UserError(
            f"{key}: conf/model has no entry {name}, which another one names in its defaults"
        )
    own: Any = OmegaConf.load(files[name])
    bases = [base for base in own.pop("defaults", []) if base != "_self_"]
    return OmegaConf.merge(*[_whole_entry(base, files, key) for base in bases], own)


def named_model(name: str, key: str) -> Model:
    """Find a model by name: an entry of conf/model/, a folder, or else a hub id.

    Raises:
        UserError: none of these, or a model that only an API serves; `key` is where the name was
        given.
    """
    files = entry_files("model")
    if name in files:
        loaded: Any = OmegaConf.to_object(
            OmegaConf.merge(OmegaConf.structured(Model), _whole_entry(name, files, key))
        )
        if loaded.kind == "api":
            raise UserError(
                f"{key}={name} is served by an API; it cannot be loaded in this process"
            )
        return loaded
    if Path(name).is_dir():
        return Model(name=name, kind="hub", path=name)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, flags=re.ASCII):
        raise UserError(
            f"{key}={name} is neither a folder nor a hub id nor one of: {', '.join(files)}"
        )
    return Model(name=name, kind="hub", hub_id=name)
