"""What became of a sweep's runs: a row for each, printed at its end and kept beside the runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from warmth.digest import digest
from warmth.errors import UserError
from warmth.store import read_json, write_json
from warmth.sweep.jobs import Job
from warmth.sweep.states import state_of
from warmth.tracking import headline


def rows(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """One row for each run: state, seconds, dollars, key figures, the line of a failure, and where its log is."""
    return [
        {
            "stage": folder.parent.name,
            "run": folder.name,
            **result_of(folder),
            "log": str(job.log) if job.log else None,
        }
        for job in jobs
        for folder in job.runs
    ]


def result_of(folder: Path) -> dict[str, Any]:
    """What a run folder says about its outcome."""
    state, outcome = state_of(folder), {}
    if state.name == "done":
        try:
            outcome = read_json(folder / "summary.json")
        except UserError:
            pass  # of a stage that keeps none
    usd = [row.get("usd") or 0.0 for row in outcome.get("servers", [])]
    return {
        "state": state.name,
        "seconds": read_json(folder / "done.json").get("seconds") if state.name == "done" else None,
        "usd": round(sum(usd), 4) if usd else None,
        "figures": figures(outcome),
        "message": state.message or (f"on {state.host}" if state.name == "running" else ""),
    }


def figures(outcome: Mapping[str, Any]) -> dict[str, float]:
    """The key figures of a run's `summary.json`, named as in the report: loss; error rate and warmth."""
    found: dict[str, float] = {}
    if isinstance(outcome.get("loss"), float):
        found["loss"] = round(outcome["loss"], 4)
    if (wrong := headline(outcome).get("error_percent")) is not None:
        found["error_percent"] = round(wrong, 1)
    warmth = (outcome.get("warmth") or {}).get("mean") if isinstance(outcome.get("warmth"), Mapping) else None
    if warmth is not None:
        found["warmth"] = round(warmth, 4)
    return found


def show(jobs: Sequence[Job], asked: int, left_out: Sequence[str]) -> None:
    """Prints the table on standard error and keeps it in `<output>/<study>/sweeps/`.

    Args:
        jobs: the distinct jobs.
        asked: how many the command named.
        left_out: lines on jobs that have nothing to do.
    """
    from rich.console import Console

    found = rows(jobs)
    console = Console(file=sys.stderr, markup=False, highlight=False)
    if not console.is_terminal:
        console = Console(file=sys.stderr, markup=False, highlight=False, width=160)
    console.print(table(found, asked))
    for line in left_out:
        console.print(line, soft_wrap=True)
    if jobs:
        console.print(f"summary: {keep(jobs[0].study, found)}", soft_wrap=True)


def keep(study: Any, found: Sequence[Mapping[str, Any]]) -> Path:
    """Writes a sweep's rows; the same sweep again writes the same file."""
    folder = Path(study.output) / study.study / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{digest([[row['stage'], row['run']] for row in found])}.json"
    write_json(path, {"runs": list(found)})
    return path


def table(found: Sequence[Mapping[str, Any]], asked: int) -> Any:
    """The rows for a terminal."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    more = f" for {asked} jobs" if asked != len(found) else ""
    result = Table(title=f"sweep: {len(found)} runs{more}", title_justify="left", box=SIMPLE)
    for name in ("run", "state", "time", "USD", "figures", "message"):
        result.add_column(name, overflow="fold", justify="right" if name in ("time", "USD") else "left")
    for row in found:
        shown = ", ".join(f"{name.replace('_percent', ' %')} {value:g}" for name, value in row["figures"].items())
        message = row["message"] + (f" [{row['log']}]" if row["log"] and row["state"] != "done" else "")
        usd = "" if row["usd"] is None else f"{row['usd']:.2f}"
        result.add_row(
            Text(f"{row['stage']}/{row['run']}"),
            row["state"],
            duration(row["seconds"]),
            usd,
            Text(shown),
            Text(message),
        )
    return result


def duration(seconds: float | None) -> str:
    """Seconds as people read them."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
