"""`warmth report --publish`: the page, its tables and a W&B report over the study's runs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from warmth.analysis.report import Report, wandb_report
from warmth.analysis.rows.runs import FinishedRun
from warmth.analysis.rows.tables import records
from warmth.digest import digest
from warmth.errors import one_line
from warmth.store import Run, write_json
from warmth.tracking import Wandb

SYNC_S = 120.0  # for one offline run
# how long a server may take to say anything at all, before W&B's own patience of minutes begins
REACH_S = 5.0


@dataclass(frozen=True)
class Published:
    """What the report was made of: its config in W&B."""

    study: str
    runs: tuple[str, ...]
    draw_seed: int


def publish(report: Report, out: Path) -> str:
    """Record the first tables and the report folder as an artifact; save the W&B report.

    Online with a key: offline runs of every study are sent first, so that the report's filters find
    them. Without a key, or without a network, all is recorded offline beside the runs and the W&B
    report's specification is written as `wandb_report.json` beside the page. Project and team are
    those that the runs were recorded under.

    Returns:
        one line: the W&B report's address, or why there is none.

    Raises:
        UserError: wandb is not installed.
    """
    runs = [run for run in report.study.rows.runs if run.evaluation]
    server = _server_of(runs)
    names = tuple(sorted(run.folder.name for run in report.study.rows.runs))
    study = runs[0].folder.parent.parent
    config = Published(study.name, names, int(report.study.rows.answers["draw_seed"].iloc[0]))
    composed = wandb_report.compose(report, server.project)
    write_json(out / "wandb_report.json", wandb_report.spec(composed))
    studies = sorted({run.folder.parent.parent for run in report.study.rows.runs})
    line, server = _save(report, server, studies)
    tracker = server.start(Run(study / "report" / f"report-{digest(names)}"), config, "report")
    for name in report.panels:
        tracker.table(name, records(report.frames[name]))
    for run in runs:
        for name in ("answers", "grades"):
            title = f"{name}-{run.folder.name}"
            files = [f"{name}.jsonl"]
            tracker.artifact(title, name, run.folder, copy=True, files=files, used=True)
    tracker.artifact(f"{study.name}-report", "report", out, copy=True)
    tracker.summary({"answer": " ".join(report.study.sentences)})
    tracker.finish()
    return line


def _server_of(runs: Sequence[FinishedRun]) -> Wandb:
    """Find the server that the runs were recorded on; the default one if none was."""
    for run in runs:
        logger = (run.config.get("logger") or {}).get("wandb")
        if isinstance(logger, dict):
            keys = ("project", "entity", "mode", "base_url")
            return Wandb(**{key: logger[key] for key in keys if key in logger})
    return Wandb()


def _save(report: Report, server: Wandb, studies: Iterable[Path]) -> tuple[str, Wandb]:
    """Send offline runs and save the W&B report; whatever W&B does becomes one line.

    Returns:
        the line, and the server to record on: offline if this failed, so that nobody waits for it
        twice.
    """
    if server.resolved_mode() != "online":
        reason = (
            "recording is offline (WANDB_API_KEY is not set and `wandb login` left no key, or the "
            "mode says so)"
        )
        return f"wandb: no report was published, {reason}", server
    os.environ["WANDB_BASE_URL"] = server.address()
    try:
        reach(server.address())
        # W&B tells the terminal of each attempt
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            for study in studies:
                for folder in unsent(study):
                    _send(folder, server)
            entity = server.entity or _default_entity()
            published = wandb_report.compose(report, server.project, entity, online=True)
            published.save()
        return f"wandb: report at {published.url}", server
    # no network, no permission, a server's own failure: the local report is unharmed
    except Exception as error:
        line = f"wandb: no report was published: {one_line(error)[:200]}"
        return line, replace(server, mode="offline")


def reach(address: str) -> None:
    """Wait for any answer of a server.

    Raises:
        ConnectionError: there was none within `REACH_S` seconds.
    """
    try:
        urlopen(address, timeout=REACH_S).close()
    except HTTPError:
        return  # it answers; what it thinks of the address does not matter
    except OSError as error:
        raise ConnectionError(
            f"{address} cannot be reached: {one_line(getattr(error, 'reason', error))}"
        ) from error


def _default_entity() -> str:
    """Ask W&B for the team of whoever is logged in."""
    import wandb

    return str(wandb.Api(timeout=15).default_entity)


def unsent(study: Path) -> Iterator[Path]:
    """Yield offline runs of a study that were not sent yet; `wandb sync` marks those that were."""
    for folder in sorted((study / "wandb").glob("offline-run-*")):
        if next(folder.glob("*.synced"), None) is None:
            yield folder


def _send(folder: Path, server: Wandb) -> None:
    """Send an offline run to W&B.

    Raises:
        TimeoutError: it took more than `SYNC_S`.
        RuntimeError: W&B says that it failed.
    """
    command: list[Any] = [sys.executable, "-m", "wandb", "sync", "--project"]
    command += [server.project, folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SYNC_S)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{folder.name} was not sent within {SYNC_S:.0f} s") from error
    if done.returncode:
        last_line = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise RuntimeError(f"{folder.name} was not sent: {last_line}")
