"""What both entry scripts share: compose the config, accept it whole, run the job, end with one
line on an error.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from warmth import __version__
from warmth.command_line import (
    flags_first,
    plain_groups,
    refuse_changed_settings,
    refuse_ignored_flags,
    refuse_ignored_hydra,
    refuse_null_groups,
    refuse_other_groups,
    refuse_sweep_keys,
)
from warmth.config import compose_line, strict
from warmth.digest import ROOT
from warmth.entries import adopt_own_folder, entry_files
from warmth.errors import Preempted, UserError, guarded
from warmth.help import GROUPS, page
from warmth.model_names import expand
from warmth.schemas import Evaluate, Train, register
from warmth.used_keys import check_overrides

SCHEMAS: dict[str, type] = {"train": Train, "evaluate": Evaluate}


def hydra_command(
    name: str, folders: Callable[[Any], list[Path]]
) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Makes `main(study)` a Hydra command over `conf/<name>.yaml`.

    `folders(study)` says which run folders a job is about; the sweeper uses it to run equal jobs
    once and to sum up. The command has `carry_out_words`, which does the same for a program: it
    raises its errors and returns run folders.
    """

    def wrap(main: Callable[[Any], None]) -> Callable[[], None]:
        failures: list[BaseException] = []
        runs: list[Path] = []  # that this command was about, in the order of its jobs

        def job(config: DictConfig) -> BaseException | None:
            try:
                study: Any = strict(config, SCHEMAS[name])
                if not multirun():
                    settings = HydraConfig.get()
                    refuse_sweep_keys(list(settings.overrides.hydra))
                    refuse_changed_settings(settings)
                    check_overrides(study, list(settings.overrides.task))
                carry_out(study, main, folders)
                if not multirun():
                    runs.extend(runs_of(study, folders))
            except (
                Preempted,
                Exception,
            ) as error:  # handed on as a value: Hydra would print its own lines above ours
                failures.append(error)
                return error
            return None

        # ty: ignore[missing-attribute]
        job.name, job.schema, job.folders, job.runs = name, SCHEMAS[name], folders, runs

        def carry_out_words(words: Sequence[str]) -> list[Path]:
            failures.clear()
            runs.clear()
            words = adopt_own_folder(words)
            if {"-h", "--help"} & set(words):
                print(page(name))
                return []
            if "--version" in words:
                print(f"warmth {__version__}")
                return []
            sys.argv[1:] = accepted_words(name, words)
            os.environ["HYDRA_FULL_ERROR"] = (
                "1"  # Hydra's own report is a page long; ours is one line
            )
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, preempted)
            register()
            forget_launchers()
            try:
                hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name=name)(
                    job
                )()
            except (HydraException, OmegaConfBaseException) as error:
                raise UserError(compose_line(error)) from error
            if failures:
                raise failures[0]
            return list(dict.fromkeys(runs))

        @guarded
        def run() -> None:
            carry_out_words(sys.argv[1:])

        run.carry_out_words = carry_out_words  # ty: ignore[missing-attribute]
        return run

    return wrap


def runs_of(study: Any, folders: Callable[[Any], list[Path]]) -> list[Path]:
    """List the run folders that a job was about; none if it only planned or trained nothing."""
    if study.plan or (study.recipe.method == "none" and isinstance(study, Train)):
        return []
    return folders(study)


def accepted_words(name: str, words: Sequence[str]) -> list[str]:
    """Put a command line into the form that Hydra reads.

    Raises:
        UserError: a word that Hydra would take and that has no effect, or that it answers with a
        traceback.
    """
    groups = [path.name for path in (ROOT / "conf").iterdir() if path.is_dir()]
    refuse_ignored_flags(words)
    refuse_ignored_hydra(words)
    refuse_null_groups(words, ROOT / "conf")
    refuse_other_groups(
        words, name, GROUPS[name], {group for names in GROUPS.values() for group in names}
    )
    return expand(plain_groups(flags_first(words), groups), entry_files("model"))


def carry_out(
    study: Any, main: Callable[[Any], None], folders: Callable[[Any], list[Path]]
) -> None:
    """Do one job: its plan alone, or its work, what that took, and the evaluation that follows
    it.
    """
    if getattr(study, "evaluate", None):
        from warmth.sweep import chain

        # a name that does not exist is refused before the training, or its plan
        chain.experiment(study.evaluate)
    if study.plan:
        from warmth.sweep import plan

        plan.print_plan(plan.plan_of_job(study, folders))
        plan.show_lifetimes([study])
        plan.show_grid(study)
        return
    if isinstance(study, Train) and study.launcher.get("node", 0):
        # machine 0 keeps the run: it alone starts it anew, notes what it took, and goes on from it
        main(study)
        return
    forecasts = _forecasts(study, folders)
    main(study)
    if forecasts:
        from warmth.sweep import measured

        for folder, forecast in forecasts.items():
            measured.record_speed(study, folder, forecast)
    if getattr(study, "evaluate", None):
        from warmth.sweep import chain

        chain.evaluate_after(study, folders)


def _forecasts(study: Any, folders: Callable[[Any], list[Path]]) -> dict[Path, Any]:
    """Forecast what the runs that are not done yet will take."""
    from warmth.store import Run

    if study.recipe.method == "none" and isinstance(study, Train):
        return {}
    unfinished = [
        folder for folder in folders(study) if study.rerun == "all" or not Run(folder).done
    ]
    if not unfinished:
        return {}
    from warmth.sweep import plan

    return {folder: plan.forecast(study, folder) for folder in unfinished}


def forget_launchers() -> None:
    """Plugins that may be installed beside this project call a launcher `joblib` too;
    conf/hydra/launcher/ has ours.
    """
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # registers what is installed
    known = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for path in (ROOT / "conf" / "hydra" / "launcher").glob("*.yaml"):
        known.pop(path.name, None)


def preempted(*_: Any) -> None:
    """SIGTERM, as a scheduler sends it before it takes the machine away: what is done is kept, and
    the command ends.

    Raises:
        Preempted: always; later signals are ignored, so that a second one does not cut the saving
        short.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Preempted("ended by SIGTERM; what is done is kept, the same command continues")


def multirun() -> bool:
    """Tell whether this job is one of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
