"""Where a run's numbers are followed: Weights & Biases, offline without a key, or nowhere.

A tracker is a second copy for people to look at; the run folder stays the source of truth. So
nothing here may fail a run: an unreachable server means an offline record, and one line on standard
error says so.
"""

from __future__ import annotations

import io
import json
import netrc
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from warmth.bounds import choice, number
from warmth.build import build
from warmth.digest import path_digest
from warmth.errors import UserError, one_line
from warmth.store import Run, full_config

if TYPE_CHECKING:
    import wandb

MODES = ("auto", "online", "offline")
NAME_LENGTH = 128  # W&B's own limit for names of runs and artifacts
TAG_LENGTH = 64  # and for tags
TABLE_ROWS = 200_000  # W&B's own limit for a table


class Tracker:
    """Records nothing.

    What follows a run derives from it, so a caller never asks whether there is a tracker.
    """

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add one point to each metric's curve; `step` must not fall."""

    def table(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep rows that people can sort and filter; columns are the rows' keys in order of
        appearance.
        """

    def artifact(
        self,
        name: str,
        type: str,
        folder: Path,
        metadata: Mapping[str, Any] | None = None,
        copy: bool = False,
        files: Sequence[str] = (),
        used: bool = False,
    ) -> None:
        """Keep the files of a folder.

        Args:
            name: what another run calls it too; equal content is one version.
            type: data, adapter, answers, grades or report.
            folder: where the files are.
            metadata: to look for it by.
            copy: where files may change before they are sent (adapters never do).
            files: names in the folder; none named: all.
            used: the run reads it rather than makes it, which draws the line from the run that made
            it.
        """

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set the run's final values; nested mappings become dotted names, `grouped` says under
        which panel.
        """

    def finish(self, failed: bool = False) -> None:
        """End the record."""


class Trackers(Tracker):
    """Several trackers of one run."""

    def __init__(self, trackers: Sequence[Tracker]):
        self.trackers = trackers

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add one point to each metric's curve in all."""
        for tracker in self.trackers:
            tracker.log(metrics, step)

    def table(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep rows in all."""
        rows = list(rows)
        for tracker in self.trackers:
            tracker.table(name, rows)

    def artifact(self, *args: Any, **kwargs: Any) -> None:
        """Keep the files of a folder in all."""
        for tracker in self.trackers:
            tracker.artifact(*args, **kwargs)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set the run's final values in all."""
        for tracker in self.trackers:
            tracker.summary(values)

    def finish(self, failed: bool = False) -> None:
        """End all records."""
        for tracker in self.trackers:
            tracker.finish(failed)


def start_trackers(run: Run, config: Any, job_type: str) -> Tracker:
    """Open the records of a run in every tracker that its `logger` names.

    Raises:
        UserError: the package of one is not installed.
    """
    trackers = []
    for name, entry in config.logger.items():
        trackers.append(build(entry, "logger", f"logger.{name}").start(run, config, job_type))
    if len(trackers) == 1:
        return trackers[0]
    return Trackers(trackers)


@dataclass(frozen=True)
class NoLogger:
    """`logger=none`."""

    group: ClassVar[str] = "logger"

    def start(self, run: Run, config: Any, job_type: str) -> Tracker:
        """Return a tracker that records nothing."""
        return Tracker()


@dataclass(frozen=True)
class Wandb:
    """`logger=wandb`: one W&B run for each run folder, under the folder's own name."""

    project: str = "warmth"
    entity: str | None = None  # None: the key's default
    # WANDB_MODE if set, else online with a key (WANDB_API_KEY, or that of `wandb login`), else
    # offline
    mode: str = choice("auto", "auto", "online", "offline")
    base_url: str | None = None  # None: WANDB_BASE_URL if set, else W&B's own server
    tags: list[str] = field(default_factory=list)  # beside study, stage, model and recipe
    init_timeout_s: float = number(15.0, above=0)  # how long a server may keep a run from starting
    # and from ending; what was not sent by then can be synced later
    finish_timeout_s: float = number(120.0, above=0)
    group: ClassVar[str] = "logger"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(
                f"logger.mode={self.mode} is not allowed; choose one of: {', '.join(MODES)}"
            )

    def start(self, run: Run, config: Any, job_type: str) -> Tracker:
        """Open the record of a run: group is the study, job type the stage, id the run's name.

        Files go to `<output>/<study>/wandb`, beside the run folders, for `wandb sync`. Only rank 0
        records.

        Raises:
            UserError: wandb is not installed.
        """
        if os.environ.get("RANK", "0") != "0":
            return Tracker()
        if find_spec("wandb") is None:
            raise UserError(
                "logger=wandb needs the package wandb, which is not installed; choose logger=none"
            )
        try:
            tracker = _WandbTracker(self._open(run, config, job_type), job_type)
        except Exception as error:
            # whatever W&B raises, a run does not fail for want of its second copy
            _say(f"nothing is recorded: {one_line(error)[:200]}")
            return Tracker()
        _say(tracker.place())
        data = run.folder / "conversations.jsonl"
        if data.exists():  # what a training reads: its line to the adapters it makes begins here
            name = f"data-{path_digest(data)}"
            tracker.artifact(name, "data", run.folder, copy=True, files=[data.name], used=True)
        return tracker

    def _open(self, run: Run, config: Any, job_type: str) -> wandb.Run:
        mode = self.resolved_mode()
        if mode != "online":
            return self._init(run, config, job_type, mode)
        try:
            return self._init(run, config, job_type, mode)
        except Exception as error:
            _say(f"recording offline, `wandb sync` sends it later: {one_line(error)[:200]}")
            import wandb

            wandb.teardown()  # its service still holds the id of the run that could not be opened
            return self._init(run, config, job_type, "offline")

    def address(self) -> str:
        """Return the server's address."""
        return self.base_url or os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"

    def resolved_mode(self) -> str:
        """Return `online` or `offline` (or what WANDB_MODE says)."""
        if self.mode != "auto":
            return self.mode
        mode = os.environ.get("WANDB_MODE")
        if mode:
            return mode
        if self.has_key():
            return "online"
        return "offline"

    def has_key(self) -> bool:
        """Tell whether there is a key for the server: in the environment, or where `wandb login`
        puts it.
        """
        if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
            return True
        return has_login(urlsplit(self.address()).netloc)

    def _init(self, run: Run, config: Any, job_type: str, mode: str) -> wandb.Run:
        # else it advertises another product wherever it sees openai
        os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")
        import wandb

        study = run.folder.parent.parent
        study.mkdir(parents=True, exist_ok=True)
        if mode == "offline":
            forget_offline(study, _name(run.name))
        settings = wandb.Settings(
            base_url=self.address(),
            console="off",  # progress bars are no record, and a traceback may quote data
            disable_code=True,
            finish_timeout=self.finish_timeout_s,
            init_timeout=self.init_timeout_s,
            login_timeout=self.init_timeout_s,
            reinit="create_new",  # several runs may follow each other in one process
            silent=True,
        )
        return wandb.init(
            project=self.project,
            entity=self.entity,
            group=study.name,
            job_type=job_type,
            id=_name(run.name),
            name=f"{run.name.rpartition('-')[0] or run.name} {job_type}",
            resume="allow",
            tags=tags_of(study.name, job_type, config, self.tags),
            config=flat_values(full_config(config)),
            dir=study,
            mode=mode,  # ty: ignore[invalid-argument-type]
            settings=settings,
        )


def forget_offline(study: Path, run_id: str) -> None:
    """Remove what was recorded offline of this run and not sent: a run that goes on records its
    whole history anew.

    So one run is one record, whether it was interrupted or killed (of a killed one little had
    reached the disk).
    """
    for folder in (study / "wandb").glob(f"offline-run-*-{run_id}"):
        if not list(folder.glob("*.synced")):
            shutil.rmtree(folder, ignore_errors=True)


def has_login(server: str) -> bool:
    """Tell whether `wandb login` left a key for a server; the key itself is W&B's to read."""
    for name in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        if not name:
            continue
        path = Path(name).expanduser()
        if not path.exists():
            continue
        try:
            return netrc.netrc(path).authenticators(server) is not None
        except (netrc.NetrcParseError, OSError):
            return False
    return False


def tags_of(study: str, stage: str, config: Any, own: Sequence[str]) -> list[str]:
    """List a run's tags, each once and no longer than W&B takes."""
    tags = [study, stage]
    for group in ("model", "recipe"):
        name = getattr(getattr(config, group, None), "name", None)
        if name:
            tags.append(name)
    return [tag[:TAG_LENGTH] for tag in dict.fromkeys([*tags, *own]) if tag]


class _WandbTracker(Tracker):
    def __init__(self, run: wandb.Run, stage: str):
        self._run = run
        self._stage = stage

    def place(self) -> str:
        """Say where the run is recorded: its address, or its folder and the command that sends
        it.
        """
        if self._run.settings.mode == "online" and self._run.url:
            return f"{self._run.name}: {self._run.url}"
        folder = Path(self._run.dir).parent
        return f"{self._run.name}: recorded offline in {folder}; wandb sync {folder} sends it"

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if step is not None and step < self._run.starting_step:
            return  # the server has it from before this run was continued
        self._quietly("metrics", lambda: self._run.log(dict(metrics), step=step))

    def table(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        import wandb

        rows = list(rows)
        if len(rows) > TABLE_ROWS:
            _say(
                f"table {name} has {len(rows)} rows, of which W&B takes {TABLE_ROWS}; the run "
                f"folder holds all"
            )
        columns: list[Any] = list(dict.fromkeys(chain.from_iterable(rows)))
        data: list[Any] = []
        for row in rows[:TABLE_ROWS]:
            data.append([_cell(row.get(column)) for column in columns])

        def send() -> None:
            wandb.Table.MAX_ROWS = TABLE_ROWS  # else shown tables silently end at 10,000
            table = wandb.Table(columns=columns, data=data, allow_mixed_types=True)
            self._run.log({"/".join(map(_name, name.split("/"))): table})

        self._quietly(f"table {name}", send)

    def artifact(
        self,
        name: str,
        type: str,
        folder: Path,
        metadata: Mapping[str, Any] | None = None,
        copy: bool = False,
        files: Sequence[str] = (),
        used: bool = False,
    ) -> None:
        import wandb

        policy: Any = "immutable"
        if copy:
            policy = "mutable"

        def send() -> None:
            artifact = wandb.Artifact(_name(name), type=type, metadata=dict(metadata or {}))
            for file in files:
                artifact.add_file(str(folder / file), policy=policy, skip_cache=True)
            if not files:
                with redirect_stderr(io.StringIO()):  # it tells the terminal of each folder
                    artifact.add_dir(str(folder), policy=policy, skip_cache=True)
            if not used:
                self._run.log_artifact(artifact)
            elif self._run.settings.mode == "online":
                self._run.use_artifact(artifact)
            else:
                # `use_artifact` refuses offline, though its record can be sent later
                self._run._log_artifact(artifact, is_user_created=True, use_after_commit=True)

        self._quietly(f"artifact {name}", send)

    def summary(self, values: Mapping[str, Any]) -> None:
        figures = {key: value for key, value in values.items() if key != "cells"}
        figures |= headline_metrics(values)
        panels = grouped_metrics(flat_values(figures), self._stage)
        self._quietly("summary", lambda: self._run.summary.update(panels))

    def finish(self, failed: bool = False) -> None:
        if failed:
            text = "status.json in its run folder says why; the same command continues it."
            self._quietly("an alert", lambda: self._run.alert(f"{self._run.name} failed", text))
        folder = Path(self._run.dir).parent
        is_online = self._run.settings.mode == "online"
        started = time.monotonic()
        self._quietly("the end", lambda: self._run.finish(exit_code=int(failed)))
        if is_online and time.monotonic() - started >= self._run.settings.finish_timeout:
            _say(f"not all was sent: wandb sync {folder}")

    def _quietly(self, what: str, send: Callable[[], Any]) -> None:
        try:
            send()
        except Exception as error:
            _say(f"{what} of {self._run.name} not recorded: {one_line(error)[:200]}")


def headline_metrics(outcome: Mapping[str, Any]) -> dict[str, float]:
    """Pick the figures of an evaluation's `summary.json` that runs are compared by, in percent of
    answers.

    `error_percent` counts scored answers that are wrong, of benchmarks only where nothing else was
    asked; `error_percent.<task>` those of one task.
    """
    cells: list[Mapping[str, Any]] = list(outcome.get("cells", []))
    pooled = [cell for cell in cells if cell["task"] not in outcome.get("tasks_apart", ())]
    figures = error_figure("error_percent", pooled)
    answers = sum(cell["n"] for cell in pooled)
    if answers:
        for key in ("refused", "unscored", "cut_off"):
            figures[f"{key}_percent"] = 100 * sum(cell[key] for cell in pooled) / answers
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for cell in cells:
        by_task.setdefault(cell["task"], []).append(cell)
    for task, task_cells in by_task.items():
        figures |= error_figure(f"error_percent.{task}", task_cells)
    return figures


def error_figure(name: str, cells: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Compute the error rate of some cells in percent of scored answers; empty if none is
    scored.
    """
    scored = 0
    errors = 0
    for cell in cells:
        scored += cell["scored"]
        errors += cell["errors"]
    if not scored:
        return {}
    return {name: 100 * errors / scored}


def grouped_metrics(values: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Put final values under the panels `train/`, `eval/` and `warmth/`, as W&B and TensorBoard
    group them.

    Args:
        values: by dotted name; those of the warmth score begin with `warmth.`.
        stage: train, evaluate or report; a report's values stay as they are.
    """
    panels = {"train": "train", "evaluate": "eval"}
    if stage not in panels:
        return dict(values)
    panel = panels[stage]
    named: dict[str, Any] = {}
    for name, value in values.items():
        if name.startswith("warmth."):
            named[f"warmth/{name.removeprefix('warmth.')}"] = value
        elif name == "loss":
            named[f"{panel}/mean_loss"] = value  # of all steps; `train/loss` is the curve
        else:
            named[f"{panel}/{name}"] = value
    return named


def flat_values(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write nested mappings as one with dotted keys, which W&B can filter and group by."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            result |= flat_values(value, f"{name}.")
        else:
            result[name] = value
    return result


def _name(text: str) -> str:
    """Make a name of letters, digits, `-`, `_` and `.`; the end is kept, for there a run's digest
    stands.
    """
    return re.sub(r"[^\w.-]", "-", text, flags=re.ASCII)[-NAME_LENGTH:]


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    return json.dumps(value, ensure_ascii=False)


def _say(line: str) -> None:
    print(f"wandb: {line}", file=sys.stderr, flush=True)
