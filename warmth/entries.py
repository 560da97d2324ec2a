"""Entries of the config groups, read without Hydra: those of a user's own `--config-dir`, then those of `conf/`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from warmth.errors import UserError
from warmth.paths import ROOT
from warmth.schemas import Model

OWN_FOLDER = "WARMTH_CONFIG_DIR"  # environment variable, so that processes started by a command know the folder too


def config_folders() -> list[Path]:
    """List the folders that hold config groups, the user's own first."""
    own = os.environ.get(OWN_FOLDER)
    return [*([Path(own)] if own else []), ROOT / "conf"]


def entry_files(group: str) -> dict[str, Path]:
    """Find the file of every entry of a group, by the entry's name and in its order; a user's own file wins."""
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
        raise UserError(f"{group}={name} is not an entry of conf/{group}/; choose one of: {', '.join(files)}")
    content: Any = OmegaConf.to_container(OmegaConf.load(files[name]))
    if not isinstance(content, dict) or not isinstance(content.get(name), dict):
        raise UserError(f"{files[name]} must hold the key {name}: with the entry's keys below it")
    return content[name]


def named_model(name: str, key: str) -> Model:
    """Find a model by name: an entry of conf/model/, a folder, or else a hub id.

    Raises:
        UserError: none of these, or a model that only an API serves; `key` is where the name was given.
    """
    files = entry_files("model")
    if name in files:
        loaded: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Model), OmegaConf.load(files[name])))
        if loaded.kind == "api":
            raise UserError(f"{key}={name} is served by an API; it cannot be loaded in this process")
        return loaded
    if Path(name).is_dir():
        return Model(name=name, kind="hub", path=name)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, flags=re.ASCII):
        raise UserError(f"{key}={name} is neither a folder nor a hub id nor one of: {', '.join(files)}")
    return Model(name=name, kind="hub", hub_id=name)
