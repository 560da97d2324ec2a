"""The points of a sweep composed fast: Hydra composes each choice of entries once, values are then
set on the result.

Hydra applies `key=value` after it has merged the chosen entries, so points that choose the same
entries differ in those values alone. A thousand points of a study choose some twenty sets of
entries.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from warmth.config import accepted, check, launcher_chosen, strict
from warmth.entries import entry_files
from warmth.errors import UserError
from warmth.model_names import expand


def points(loader: Any, arguments: Iterable[str]) -> list[list[str]]:
    """Make the cartesian product of sweep arguments, as Hydra's basic sweeper does; models are
    named as in one run.
    """
    parser = OverridesParser.create(config_loader=loader)
    product = BasicSweeper.split_arguments(parser.parse_overrides(list(arguments)), None)
    entries = entry_files("model")
    return [expand(overrides, entries) for overrides in itertools.chain.from_iterable(product)]


def axes_of(loader: Any, name: str, arguments: Sequence[str]) -> list[list[str]]:
    """Return the sweep arguments of each experiment that is asked for, with the axes that the
    experiment itself has.

    Hydra adds an experiment's own axes only if one is chosen; of `experiment=a,b` it would run each
    without them. An axis given on the command line replaces that of the experiment.

    Args:
        loader: Hydra's loader of configs.
        name: of the command's config.
        arguments: what was typed.
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(arguments))
    chosen = [
        item for item in parsed if item.key_or_group == "experiment" and item.value() is not None
    ]
    if not chosen:
        return [list(arguments)]
    values = (
        list(chosen[-1].sweep_string_iterator())
        if chosen[-1].is_sweep_override()
        else [str(chosen[-1].value())]
    )
    given = {item.key_or_group for item in parsed}
    others = [str(item.input_line) for item in parsed if item.key_or_group != "experiment"]
    found = []
    for value in values:
        config = loader.load_configuration(name, [f"experiment={value}"], run_mode=RunMode.MULTIRUN)
        params = config.hydra.sweeper.get("params") or {}
        axes = [f"{key}={axis}" for key, axis in params.items() if key not in given]
        found.append([f"experiment={value}", *axes, *others])
    return found


class Grid:
    """Composes and accepts points of one command's config."""

    def __init__(self, loader: Any, name: str, schema: type, shared: Sequence[str] = ()):
        """`shared` are Hydra's own overrides, the same for every point."""
        self.loader, self.name, self.schema, self.shared = loader, name, schema, list(shared)
        self.parser, self._groups = OverridesParser.create(), set(loader.list_groups(""))
        self._bases: dict[tuple[str, ...], tuple[DictConfig, Any] | None] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """One point by Hydra alone, without Hydra's own node."""
        config = self.loader.load_configuration(
            self.name, [*self.shared, *overrides], run_mode=RunMode.RUN
        )
        return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])

    def accept(self, overrides: Sequence[str]) -> Any:
        """One point as the schema's dataclass: equal to `strict(compose(overrides))`, and with its
        errors.

        Raises:
            UserError: the point is wrong.
            HydraException, OmegaConfBaseException: Hydra refuses it while composing.
        """
        parsed = self.parser.parse_overrides(list(overrides))
        values = [item for item in parsed if self._is_value(item)]
        entries = tuple(str(item.input_line) for item in parsed if not self._is_value(item))
        keys = {item.key_or_group for item in values}
        base = self._base(entries) if values and len(keys) == len(values) else None
        if base is None or not all(_is_leaf(base[1], key) for key in keys):
            return strict(self.compose(overrides), self.schema)
        config, study = base
        for item in values:
            study = _replaced(study, item.key_or_group.split("."), _converted(config, item))
        study = copy.deepcopy(
            study
        )  # points must not share what `check` writes or somebody changes
        check(study)
        return launcher_chosen(study)

    def _base(self, entries: tuple[str, ...]) -> tuple[DictConfig, Any] | None:
        """The config and study of a choice of entries; None where it is wrong by itself or has
        interpolations.
        """
        if entries not in self._bases:
            config = self.compose(entries)
            try:
                ties = "${" in OmegaConf.to_yaml(config, resolve=False)
                self._bases[entries] = None if ties else (config, accepted(config, self.schema))
            except UserError:
                self._bases[entries] = None
        return self._bases[entries]

    def _is_value(self, item: Override) -> bool:
        """Whether an override sets a value rather than choosing an entry, adding or deleting."""
        return (
            item.type == OverrideType.CHANGE
            and item.package is None
            and item.key_or_group not in self._groups
            and "/" not in item.key_or_group
            and not item.is_hydra_override()
        )


def _converted(config: DictConfig, item: Override) -> Any:
    """A value as the typed config takes it, which is then as it was before.

    Raises:
        OmegaConfBaseException: the key's type refuses it.
    """
    key = item.key_or_group
    before = OmegaConf.select(config, key)
    try:
        ConfigLoaderImpl._apply_overrides_to_config([item], config)
        after = OmegaConf.select(config, key)
        return OmegaConf.to_container(after, resolve=True) if OmegaConf.is_config(after) else after
    finally:
        OmegaConf.update(config, key, before, merge=False)


def _is_leaf(study: Any, key: str) -> bool:
    """Whether `key` names one value, or a list of them, that is there already."""
    for part in key.split("."):
        inside = study if isinstance(study, dict) else vars(study) if is_dataclass(study) else {}
        if part not in inside:
            return False
        study = inside[part]
    return not isinstance(study, dict) and not is_dataclass(study)


def _replaced(node: Any, path: list[str], value: Any) -> Any:
    """A dataclass or dictionary with one value replaced; what lies beside the path is shared."""
    old = node[path[0]] if isinstance(node, dict) else getattr(node, path[0])
    new = _replaced(old, path[1:], value) if path[1:] else value
    if isinstance(node, dict):
        return {**node, path[0]: new}
    made = copy.copy(node)  # not `replace`: it would run `__post_init__` on what is built already
    setattr(made, path[0], new if path[1:] else _as_declared(type(node), path[0], new))
    return made


def _as_declared(schema: type, name: str, value: Any) -> Any:
    """Return a whole number as a float where the key is one, or None: Hydra's null has lost the
    key's type.
    """
    declared = _types(schema).get(name)
    is_float = declared is float or float in get_args(declared)
    return float(value) if is_float and type(value) is int else value


@cache
def _types(schema: type) -> dict[str, Any]:
    return get_type_hints(schema)
