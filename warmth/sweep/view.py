"""`warmth status`: the study as it is now, from the lists of its sweeps and its run folders alone.

So it works on any machine that sees the folder. A list says which runs there are to be; what became of each is read
from its folder, its lock and its claim.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from warmth.errors import UserError, one_line
from warmth.store import PROGRESS, Run, clock
from warmth.sweep import claims, joblist
from warmth.sweep.commands import living
from warmth.sweep.joblist import JobList, Listed
from warmth.sweep.outcome import outcome_of
from warmth.sweep.states import state_of

STAGES = ("train", "evaluate")
LAST = 5  # lines of a failure that are kept
RECENT = 10  # steps whose speed tells the time left
TAIL_BYTES = 64 * 1024
BROKEN = ("failed", "not scored", "killed", "interrupted", "incomplete", "unreadable")
OPEN = ("waiting", "queued", "starting", "not started")  # nothing of it is there yet


@dataclass(frozen=True)
class Line:
    """One run as it is now."""

    study: str
    stage: str
    run: str
    state: str
    done: int | None = None  # steps or answers
    total: int | None = None
    left_s: float | None = None
    elapsed_s: float | None = None  # over all attempts
    seen_s: float | None = None  # since its last sign of life
    attempts: int | None = None
    job: str | None = None  # a scheduler's id
    usd: float | None = None
    figures: dict[str, float] | None = None  # loss; error_percent and warmth
    message: str = ""
    log: str | None = None
    last_lines: tuple[str, ...] = ()
    expected_s: float | None = None  # by the plan

    @property
    def name(self) -> str:
        """The run folder within `output`."""
        return f"{self.study}/{self.stage}/{self.run}"


@dataclass(frozen=True)
class Overview:
    """One study as it is now."""

    study: str
    lines: tuple[Line, ...]
    commands: int  # that are at work on it
    at_once: int  # jobs that its last sweep carries out at once
    command: str  # line of its last sweep; "" if no list was written

    def count(self, *states: str) -> int:
        """Count the runs in these states."""
        return sum(line.state in states for line in self.lines)

    @property
    def usd(self) -> float:
        """Dollars spent so far."""
        return sum(line.usd or 0.0 for line in self.lines)

    @property
    def left_s(self) -> float | None:
        """Estimate the seconds until all runs are done; None if nothing is known, 0.0 if nothing is left.

        A run that has not begun takes what finished ones of its stage took on average, else what the plan says.
        """
        running = [line for line in self.lines if line.state == "running"]
        waiting = [line for line in self.lines if line.state in OPEN]
        if not running and not waiting:
            return 0.0
        expected = [self._expected_s(line) for line in waiting]
        left = [self._left_s(line) for line in running]
        known = [seconds for seconds in (*expected, *left) if seconds is not None]
        if len(known) < len(running) + len(waiting):
            return None
        return max(sum(known) / max(self.at_once, len(running), 1), max(known))

    def _left_s(self, line: Line) -> float | None:
        if line.left_s is not None:
            return line.left_s
        expected = self._expected_s(line)
        return None if expected is None else max(0.0, expected - (line.elapsed_s or 0.0))

    def _expected_s(self, line: Line) -> float | None:
        taken = [other.elapsed_s for other in self.lines if other.state == "done" and other.stage == line.stage]
        known = [seconds for seconds in taken if seconds is not None]
        return sum(known) / len(known) if known else line.expected_s

    @property
    def heading(self) -> str:
        """Say in a line how far the study is: `demo: 13 of 40 done, 5 running, 22 waiting, about 6 h left`."""
        parts = [f"{self.study}: {self.count('done')} of {len(self.lines)} done"]
        groups: dict[str, int] = {}
        for line in self.lines:
            name = "waiting" if line.state == "queued" else line.state
            groups[name] = groups.get(name, 0) + 1
        for state in ("running", "starting", "waiting", *BROKEN, "not started"):
            if groups.get(state):
                parts.append(f"{groups[state]} {state}")
        is_moving = self.commands or self.count("running", "queued")
        if is_moving and self.left_s:
            parts.append(f"about {rough(self.left_s)} left")
        if self.usd:
            parts.append(f"{self.usd:.2f} USD")
        return ", ".join(parts)


def rough(seconds: float) -> str:
    """Write a time as people say it: `40 s`, `25 min`, `6 h`, `3 days`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    if seconds < 48 * 3600:
        return f"{round(seconds / 3600)} h"
    return f"{round(seconds / 86400)} days"


def natural(text: str) -> list[Any]:
    """Return a sort key in which seed 2 comes before seed 10."""
    parts: list[Any] = []
    digits = ""
    for char in text:
        if char.isdigit():
            digits += char
            continue
        if digits:
            parts += [(0, int(digits), "")]
            digits = ""
        parts.append((1, 0, char))
    if digits:
        parts.append((0, int(digits), ""))
    return parts


def short_name(run: str) -> str:
    """Return a run's name without its digest: model, recipe and seed."""
    return run.rpartition("-")[0] or run


def overviews(output: Path, study: str | None = None) -> list[Overview]:
    """Look at a study, or at all of them.

    Raises:
        UserError: there is no such study, or no run at all.
    """
    if study is not None and not (output / study).is_dir():
        names = ", ".join(path.name for path in study_folders(output)) or "none"
        raise UserError(f"there is no study {study} in {output}; there are: {names}")
    folders = study_folders(output) if study is None else [output / study]
    found = [overview(folder) for folder in folders]
    if not any(item.lines for item in found):
        raise UserError(f"no run was started in {output / study if study else output} yet")
    return [item for item in found if item.lines]


def study_folders(output: Path) -> list[Path]:
    """List the folders of studies: those with runs, or with a sweep that has begun."""
    found = [path for path in output.glob("*") if any((path / name).is_dir() for name in (*STAGES, joblist.FOLDER))]
    return sorted(found, key=lambda path: natural(path.name))


def overview(study: Path) -> Overview:
    """Look at the runs of one study: those on its lists, and those there are."""
    lists = list(joblist.read_lists(study))
    listed = {item.folder: item for sweep in lists for item in sweep.runs}
    for stage in STAGES:
        for entry in _entries(study / stage):
            folder = Path(entry)
            if folder not in listed and os.path.exists(os.path.join(entry, "status.json")):
                listed[folder] = Listed(study=study, stage=stage, run=folder.name)
    alive = living(study / joblist.FOLDER)
    gone = jobs_gone(study)
    lines = [look(item, bool(alive), gone) for item in listed.values()]
    lines.sort(key=lambda line: (STAGES.index(line.stage), natural(short_name(line.run)), line.run))
    last: JobList | None = lists[-1] if lists else None
    return Overview(
        study=study.name,
        lines=tuple(lines),
        commands=len(alive),
        at_once=last.at_once if last else 1,
        command=last.command if last else "",
    )


def jobs_gone(study: Path) -> set[str]:
    """Return the scheduler's jobs on claims that have left the queue; none where no Slurm is here to ask."""
    claimed = [claims.read_claim(path.with_suffix("")) for stage in STAGES for path in (study / stage).glob("*.claim")]
    numbers = [claim.job for claim in claimed if claim is not None and claim.job is not None]
    if not numbers or shutil.which("squeue") is None:
        return set()
    from warmth.sweep.slurm import in_queue

    return set(numbers) - in_queue(numbers)


def _entries(folder: Path) -> list[str]:
    """List the run folders of a stage; what was put aside by `rerun=all` is none."""
    try:
        with os.scandir(folder) as found:
            return [item.path for item in found if item.is_dir() and not item.name.endswith(".replaced")]
    except OSError:
        return []


def look(listed: Listed, is_commanded: bool = False, gone: Collection[str] = ()) -> Line:
    """Describe one run in a line; a folder that cannot be read is named and hides no other.

    Whatever a strange or damaged folder holds, the overview of all others must go on, so every error is caught here.

    Args:
        listed: what its sweep's list says.
        is_commanded: whether a command is at work on the study, so that what has not begun waits for it.
        gone: a scheduler's jobs that have left its queue.
    """
    try:
        return _look(listed, is_commanded, gone)
    except Exception as error:
        message = f"cannot be read: {type(error).__name__}: {one_line(error)}"
        return Line(
            study=listed.study.name, stage=listed.stage, run=listed.run, state="unreadable", message=message
        )  # fmt: skip


def _look(listed: Listed, is_commanded: bool, gone: Collection[str]) -> Line:
    folder = listed.folder
    state = state_of(folder)
    outcome = outcome_of(folder, state)
    claim = claims.read_claim(folder) if state.name != "done" else None
    if claim is not None and claim.job in gone and not claim.is_held(listed.study):
        claim = None
    name, message = state.name, outcome["message"]
    if name == "not started":
        name, message = _not_started(listed, claim, is_commanded)
    status = Run(folder).last_status() if name != "done" else {}
    done, total, left = None, None, None
    if name not in ("done", *OPEN):
        done, total, left = (_training if listed.stage == "train" else _evaluation)(folder)
    stage = _stage_under_way(folder) if name == "running" else None
    if stage is not None:
        done, total, left = stage.done, stage.total or total, stage.left_s
        message = f"{stage.words} {message}".strip()
    log = claim.log if claim is not None and claim.log else listed.log
    if log is None and name in BROKEN and (folder / "logs").is_dir():
        log = str(folder / "logs")
    return Line(
        study=listed.study.name,
        stage=listed.stage,
        run=listed.run,
        state=name,
        done=done,
        total=total,
        left_s=left if name == "running" else None,
        elapsed_s=_elapsed(folder, name, status, outcome["seconds"]),
        seen_s=_seen(folder, name),
        attempts=outcome["attempts"],
        job=claim.job if claim is not None and claim.job else listed.job,
        usd=outcome["usd"] if outcome["usd"] is not None or name in ("done", *OPEN) else _spent(folder),
        figures=outcome["figures"] or _running_figures(folder, listed.stage, name),
        message=message,
        log=log,
        last_lines=tuple(str(line) for line in status.get("last_lines", [])[-LAST:]) if name in BROKEN else (),
        expected_s=listed.expected_s,
    )


def _not_started(listed: Listed, claim: claims.Claim | None, is_commanded: bool) -> tuple[str, str]:
    """Say what a run of which nothing is there yet waits for."""
    if claim is not None and claim.job:
        return "queued", f"job {claim.job}"
    if claim is not None and claim.is_held(listed.study):
        return "starting", f"on {claim.host}"
    if is_commanded and not listed.note:
        return "waiting", ""
    return "not started", listed.note


def _elapsed(folder: Path, state: str, status: dict[str, Any], seconds: float | None) -> float | None:
    """Seconds that a run has taken over all attempts."""
    if state == "done" or state in OPEN:
        return seconds
    before = float(status.get("seconds") or 0.0)
    if state != "running":
        return before or None
    return before + max(0.0, clock(folder) - (folder / "status.json").stat().st_mtime)


def _seen(folder: Path, state: str) -> float | None:
    """Seconds since a run's last sign of life: its lock's touch, its last row, or how it ended."""
    if state in OPEN:
        return None
    names = ("done.json",) if state == "done" else ("status.json", "metrics.jsonl", "answers.jsonl")
    paths = [folder / name for name in names]
    if state in ("running", "killed"):
        paths.append(folder.with_name(f"{folder.name}.lock"))
    times = []
    for path in paths:
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    if not times:
        return None
    now = clock(folder) if state == "running" else time.time()
    return max(0.0, now - max(times))


def _training(folder: Path) -> tuple[int | None, int | None, float | None]:
    """Steps done, steps in all, seconds left at the speed of the last steps."""
    rows = list(_tail(folder / "metrics.jsonl"))
    if not rows:
        return None, None, None
    recent = [row["seconds"] for row in rows[-RECENT:]]
    last = rows[-1]
    return last["step"], last["steps"], (last["steps"] - last["step"]) * sum(recent) / len(recent)


def _evaluation(folder: Path) -> tuple[int | None, int | None, float | None]:
    """Answers made, answers asked for, seconds left at the speed since this attempt began."""
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


@dataclass(frozen=True)
class _Stage:
    """How far the stage under way is, inside a batch or a step too."""

    words: str
    done: int
    total: int | None
    left_s: float | None


def _stage_under_way(folder: Path) -> _Stage | None:
    """Read what a running command keeps in `progress.json`; None between two stages."""
    try:
        row = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        return _Stage(str(row["stage"]), int(row["done"]), row["total"], row["left_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _running_figures(folder: Path, stage: str, state: str) -> dict[str, float] | None:
    """The loss of the last step, of a training that is not done."""
    if stage != "train" or state in ("done", *OPEN):
        return None
    losses = [row["loss"] for row in _tail(folder / "metrics.jsonl") if isinstance(row.get("loss"), float)]
    return {"loss": round(losses[-1], 4)} if losses else None


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


def as_json(found: Sequence[Overview]) -> dict[str, Any]:
    """Return the studies and their runs for machines."""
    studies = [
        {
            "study": item.study,
            "runs": len(item.lines),
            "done": item.count("done"),
            "running": item.count("running"),
            "waiting": item.count("waiting", "queued", "starting"),
            "not_started": item.count("not started"),
            "broken": item.count(*BROKEN),
            "left_s": item.left_s,
            "usd": item.usd,
            "commands": item.commands,
            "command": item.command,
        }
        for item in found
    ]
    return {"studies": studies, "runs": [asdict(line) for item in found for line in item.lines]}


def broken(lines: Iterable[Line]) -> list[Line]:
    """List the runs that did not end well and are not under way again."""
    return [line for line in lines if line.state in BROKEN or (line.state == "not started" and line.message)]
