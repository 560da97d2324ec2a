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
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from warmth.config import accepted, check_values, launcher_chosen, strict
from warmth.entries import entry_files
from warmth.errors import UserError
from warmth.model_names import expand


def grid_points(loader: Any, arguments: Iterable[str]) -> list[list[str]]:
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
    experiment: Override | None = None
    other_arguments = []
    for override in parsed:
        if override.key_or_group != "experiment":
            other_arguments.append(str(override.input_line))
        elif override.value() is not None:
            experiment = override
    if experiment is None:
        return [list(arguments)]
    names = [str(experiment.value())]
    if experiment.is_sweep_override():
        names = list(experiment.sweep_string_iterator())
    typed_keys = {override.key_or_group for override in parsed}
    result = []
    for value in names:
        config = loader.load_configuration(name, [f"experiment={value}"], run_mode=RunMode.MULTIRUN)
        params = config.hydra.sweeper.get("params") or {}
        axes = [f"{key}={axis}" for key, axis in params.items() if key not in typed_keys]
        result.append([f"experiment={value}", *axes, *other_arguments])
    return result


class SweepGrid:
    """Composes and accepts points of one command's config."""

    def __init__(self, loader: Any, name: str, schema: type, shared: Sequence[str] = ()):
        """`shared` are Hydra's own overrides, the same for every point."""
        self.loader = loader
        self.name = name
        self.schema = schema
        self.shared = list(shared)
        self.parser = OverridesParser.create()
        self._groups = set(loader.list_groups(""))
        self._bases: dict[tuple[str, ...], tuple[DictConfig, Any] | None] = {}

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Compose one point by Hydra alone, without Hydra's own node."""
        config = self.loader.load_configuration(
            self.name, [*self.shared, *overrides], run_mode=RunMode.RUN
        )
        # not `masked_copy`: the keys at the top would lose their types
        with read_write(config), open_dict(config):
            del config["hydra"]
        return config

    def accept(self, overrides: Sequence[str]) -> Any:
        """Return one point as the schema's dataclass: equal to `strict(compose(overrides))`, and
        with its errors.

        Raises:
            UserError: the point is wrong.
            HydraException, OmegaConfBaseException: Hydra refuses it while composing.
        """
        values: list[Override] = []
        entries: list[str] = []
        for override in self.parser.parse_overrides(list(overrides)):
            if self._is_value(override):
                values.append(override)
            else:
                entries.append(str(override.input_line))
        keys = {override.key_or_group for override in values}
        base = None
        if values and len(keys) == len(values):
            base = self._base(tuple(entries))
        if base is None or not all(_is_leaf(base[1], key) for key in keys):
            return strict(self.compose(overrides), self.schema)
        config, study = base
        for override in values:
            path = override.key_or_group.split(".")
            study = _replaced(study, path, _converted(config, override))
        # points must not share what `check` writes or somebody changes
        study = copy.deepcopy(study)
        check_values(study)
        return launcher_chosen(study)

    def _base(self, entries: tuple[str, ...]) -> tuple[DictConfig, Any] | None:
        """Return the config and study of a choice of entries; None if it is wrong by itself or has
        interpolations.
        """
        if entries not in self._bases:
            self._bases[entries] = None
            config = self.compose(entries)
            if "${" not in OmegaConf.to_yaml(config, resolve=False):
                try:
                    self._bases[entries] = (config, accepted(config, self.schema))
                except UserError:
                    pass  # the point as a whole says what is wrong
        return self._bases[entries]

    def _is_value(self, override: Override) -> bool:
        """Say whether an override sets a value rather than choosing an entry, adding or
        deleting.
        """
        return (
            override.type == OverrideType.CHANGE
            and override.package is None
            and override.key_or_group not in self._groups
            and "/" not in override.key_or_group
            and not override.is_hydra_override()
        )


def _converted(config: DictConfig, override: Override) -> Any:
    """Return a value as the typed config takes it, which is then as it was before.

    Raises:
        OmegaConfBaseException: the key's type refuses it.
    """
    key = override.key_or_group
    before = OmegaConf.select(config, key)
    try:
        ConfigLoaderImpl._apply_overrides_to_config([override], config)
        after = OmegaConf.select(config, key)
        if OmegaConf.is_config(after):
            return OmegaConf.to_container(after, resolve=True)
        return after
    finally:
        OmegaConf.update(config, key, before, merge=False)


def _is_leaf(study: Any, key: str) -> bool:
    """Say whether `key` names one value, or a list of them, that is there already."""
    node = study
    for name in key.split("."):
        inside: dict[str, Any] = {}
        if isinstance(node, dict):
            inside = node
        elif is_dataclass(node):
            inside = vars(node)
        if name not in inside:
            return False
        node = inside[name]
    return not isinstance(node, dict) and not is_dataclass(node)


def _replaced(node: Any, path: list[str], value: Any) -> Any:
    """Return a dataclass or dictionary with one value replaced; what lies beside the path is
    shared.
    """
    name, *deeper = path
    if isinstance(node, dict):
        new = value
        if deeper:
            new = _replaced(node[name], deeper, value)
        return {**node, name: new}
    # not `replace`: it would run `__post_init__` on what is built already
    changed = copy.copy(node)
    if deeper:
        setattr(changed, name, _replaced(getattr(node, name), deeper, value))
    else:
        setattr(changed, name, _as_declared(type(node), name, value))
    return changed


def _as_declared(schema: type, name: str, value: Any) -> Any:
    """Return a whole number as a float if the key is one, or None: Hydra's null has lost the key's
    type.
    """
    declared = _types(schema).get(name)
    is_float = declared is float or float in get_args(declared)
    if is_float and type(value) is int:
        return float(value)
    return value


@cache
def _types(schema: type) -> dict[str, Any]:
    return get_type_hints(schema)
