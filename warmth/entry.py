"""What both entry scripts share: compose the config, accept it whole, run the job, end with one line on an error."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from warmth.build import omegaconf_line
from warmth.config import strict
from warmth.digest import ROOT
from warmth.errors import UserError, guarded, one_line
from warmth.help import page
from warmth.schemas import Evaluate, Train, register

SCHEMAS: dict[str, type] = {"train": Train, "evaluate": Evaluate}


def command(name: str, folder: Callable[[Any], Path]) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Makes `main(study)` a Hydra command over `conf/<name>.yaml`.

    `folder(study)` says which run folder a job is about; the sweeper uses it to run equal jobs once and to sum up.
    """

    def wrap(main: Callable[[Any], None]) -> Callable[[], None]:
        failures: list[Exception] = []

        def job(config: DictConfig) -> Exception | None:
            try:
                main(strict(config, SCHEMAS[name]))
            except Exception as error:  # handed on as a value: Hydra would print its own lines above ours
                failures.append(error)
                return error
            return None

        job.accept = lambda config: strict(config, SCHEMAS[name])  # ty: ignore[missing-attribute]
        job.folder = folder  # ty: ignore[missing-attribute]

        @guarded
        def run() -> None:
            if {"-h", "--help"} & set(sys.argv[1:]):
                print(page(name))
                return
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra's own report is a page long; ours is one line
            register()
            try:
                hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name=name)(job)()
                if failures:
                    raise failures[0]
            except (HydraException, OmegaConfBaseException) as error:
                raise UserError(compose_line(error)) from error

        return run

    return wrap


def compose_line(error: Exception) -> str:
    """Hydra's error as one line that names the key and what is allowed."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, entry = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={entry} is not an entry of conf/{group}/; choose one of: {', '.join(sorted(error.options))}"
    cause = error.__cause__
    line = one_line(Exception(str(error).split("\n")[0]))
    if isinstance(cause, OmegaConfBaseException):
        if is_dataclass(cause.object_type):
            return omegaconf_line(cause)
        detail = one_line(Exception(str(cause).split("\n")[0]))
        line = f"{line.rstrip('.')}: {detail}" if detail not in line else line
    return line


def multirun() -> bool:
    """Whether this job is one of a sweep."""
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
