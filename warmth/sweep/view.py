"""`warmth status`: what runs are doing, read from their folders alone, so it works where jobs run on other machines."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmth.errors import UserError, one_line
from warmth.store import Run, clock
from warmth.sweep.states import state_of
from warmth.sweep.summary import duration, result_of
from warmth.text import line as line_of

STAGES = ("train", "evaluate")
LAST = 5  # lines of a failure that are shown
RECENT = 10  # steps whose speed tells the time left
TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class Line:
    """One run as it is now."""

    study: str
    stage: str
    run: str
    state: str
    done: int | None  # steps or answers
    total: int | None
    left_s: float | None
    usd: float | None
    message: str
    last_lines: tuple[str, ...] = ()


def runs(output: Path, study: str | None) -> list[Path]:
    """The run folders of a study, or of all.

    Raises:
        UserError: there is no such study, or no run at all.
    """
    if study is not None and not (output / study).is_dir():
        known = sorted(path.name for path in output.glob("*") if any((path / stage).is_dir() for stage in STAGES))
        raise UserError(f"there is no study {study} in {output}; there are: {', '.join(known) or 'none'}")
    found = [
        path
        for stage in STAGES
        for path in sorted(output.glob(f"{study or '*'}/{stage}/*"))
        if path.is_dir() and (path / "status.json").exists()
    ]
    if not found:
        raise UserError(f"no run was started in {output / study if study else output} yet")
    return found


def look(folder: Path) -> Line:
    """Describe one run in a line; a folder that cannot be read is named and hides no other.

    Whatever a strange or damaged folder holds, the overview of all others must go on, so every error is caught here.
    """
    try:
        return _look(folder)
    except Exception as error:
        message = f"cannot be read: {type(error).__name__}: {one_line(error)}"
        return Line(
            study=folder.parent.parent.name,
            stage=folder.parent.name,
            run=folder.name,
            state="unreadable",
            done=None,
            total=None,
            left_s=None,
            usd=None,
            message=message,
            last_lines=(),
        )


def _look(folder: Path) -> Line:
    state, stage, outcome = state_of(folder), folder.parent.name, result_of(folder)
    done, total, left = (_training if stage == "train" else _evaluation)(folder)
    status = Run(folder).last_status()
    failed = state.name in ("failed", "killed", "interrupted", "incomplete")
    return Line(
        study=folder.parent.parent.name,
        stage=stage,
        run=folder.name,
        state=state.name,
        done=done,
        total=total,
        left_s=left if state.name == "running" else None,
        usd=outcome["usd"] if outcome["usd"] is not None else _spent(folder),
        message=state.message or (f"on {state.host}" if state.name == "running" else ""),
        last_lines=tuple(str(line) for line in status.get("last_lines", [])[-LAST:]) if failed else (),
    )


def _training(folder: Path) -> tuple[int | None, int | None, float | None]:
    """Steps done, steps in all, seconds left at the speed of the last steps."""
    rows = list(_tail(folder / "metrics.jsonl"))
    if not rows:
        return None, None, None
    recent = [row["seconds"] for row in rows[-RECENT:]]
    last = rows[-1]
    return last["step"], last["steps"], (last["steps"] - last["step"]) * sum(recent) / len(recent)


def _evaluation(folder: Path) -> tuple[int | None, int | None, float | None]:
    """Answers made, answers asked for, seconds left at the speed since this command began."""
    try:
        samples = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("samples", 1)
        began = (folder / "status.json").stat().st_mtime
    except (OSError, ValueError):
        return None, None, None
    done, total = _lines(folder / "answers.jsonl"), _lines(folder / "prompts.jsonl") * samples
    if not total:
        return None, None, None
    passed = clock(folder) - began
    return done, total, (total - done) * passed / done if done else None


def _spent(folder: Path) -> float | None:
    """Dollars of the grades so far, while a run is under way."""
    costs = [row.get("cost_usd") for row in _tail(folder / "grades.jsonl", whole=True)]
    known = [cost for cost in costs if cost]
    return round(sum(known), 4) if known else None


def _lines(path: Path) -> int:
    try:
        with path.open("rb") as stream:
            return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    except OSError:
        return 0


def _tail(path: Path, whole: bool = False) -> Iterator[dict[str, Any]]:
    """The last rows of a file that may be written to right now; a torn line is left out."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            cut = 0 if whole else max(0, size - TAIL_BYTES)
            stream.seek(cut)
            lines = stream.read().split(b"\n")[1 if cut else 0 : -1]
    except OSError:
        return
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def table(lines: Sequence[Line]) -> Any:
    """The lines for a terminal, the last words of failures below."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    result = Table(box=SIMPLE, title=heading(lines), title_justify="left")
    for name in ("run", "state", "progress", "left", "USD", "message"):
        result.add_column(name, overflow="fold", justify="right" if name in ("progress", "left", "USD") else "left")
    for line in lines:
        progress = f"{line.done:,}/{line.total:,}" if line.total and line.done is not None else ""
        usd = "" if line.usd is None else f"{line.usd:.2f}"
        where = f"{line.study}/{line.stage}/{line.run}"
        result.add_row(Text(where), line.state, progress, duration(line.left_s), usd, Text(line_of(line.message)))
    words = [Text(f"{one.run}: {line_of(said)}", style="dim") for one in lines for said in one.last_lines]
    return Group(result, *words)


def heading(lines: Sequence[Line]) -> str:
    """Counts of states, and dollars."""
    counts = {
        state: sum(line.state == state for line in lines) for state in dict.fromkeys(line.state for line in lines)
    }
    spent = sum(line.usd or 0.0 for line in lines)
    said = ", ".join(f"{number} {state}" for state, number in counts.items())
    return f"{len(lines)} runs: {said}" + (f"; {spent:.2f} USD" if spent else "")


def follow(output: Path, study: str | None, every_s: float) -> None:
    """Shows the table anew until nothing is running, or until an interrupt."""
    from rich.live import Live

    with Live(table([look(folder) for folder in runs(output, study)]), auto_refresh=False, screen=False) as live:
        while True:
            lines = [look(folder) for folder in runs(output, study)]
            live.update(table(lines), refresh=True)
            if not any(line.state == "running" for line in lines):
                return
            time.sleep(every_s)
