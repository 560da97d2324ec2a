"""`warmth status`: the study as it is now, from the lists of its sweeps and its run folders alone.

So it works on any machine that sees the folder. A list says which runs there are to be; what became
of each is read from its folder, its lock and its claim.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from warmth.errors import UserError, one_line
from warmth.store import PROGRESS, Run, clock, objects_in
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
    doing: str = ""  # the stage under way, or the training that it waits for
    message: str = ""
    log: str | None = None
    last_lines: tuple[str, ...] = ()
    expected_s: float | None = None  # by the plan

    @property
    def name(self) -> str:
        """Name the run folder within `output`."""
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
        """Add up the dollars spent so far."""
        return sum(line.usd or 0.0 for line in self.lines)

    @property
    def left_s(self) -> float | None:
        """Estimate the seconds until all runs are done; None if nothing is known, 0.0 if nothing is
        left.

        A run that has not begun takes what finished ones of its stage took on average, else what
        the plan says.
        """
        taken = self._seconds_taken()
        remaining: list[float] = []
        for line in self.lines:
            if line.state not in ("running", *OPEN):
                continue
            seconds = line.left_s
            if seconds is None:
                expected = taken.get(line.stage, line.expected_s)
                if expected is None:
                    return None
                seconds = max(0.0, expected - (line.elapsed_s or 0.0))
            remaining.append(seconds)
        if not remaining:
            return 0.0
        at_once = max(self.at_once * self.commands, self.count("running", "starting"), 1)
        return max(sum(remaining) / at_once, max(remaining))

    def _seconds_taken(self) -> dict[str, float]:
        """Return the mean seconds of the finished runs of each stage that has any."""
        means: dict[str, float] = {}
        for stage in STAGES:
            seconds = []
            for line in self.lines:
                if line.stage == stage and line.state == "done" and line.elapsed_s is not None:
                    seconds.append(line.elapsed_s)
            if seconds:
                means[stage] = fmean(seconds)
        return means

    @property
    def heading(self) -> str:
        """Say in a line how far the study is: `demo: 13 of 40 done, 5 running, 22 waiting, about 6
        h left`.
        """
        phrases = [f"{self.study}: {self.count('done')} of {len(self.lines)} done"]
        for state in ("running", "starting", "waiting", *BROKEN, "not started"):
            number = self.count(state)
            if state == "waiting":
                number += self.count("queued")
            if number:
                phrases.append(f"{number} {state}")
        is_moving = self.commands or self.count("running", "queued")
        left_s = self.left_s
        if is_moving and left_s:
            phrases.append(f"about {rough(left_s)} left")
        if self.usd:
            phrases.append(f"{self.usd:.2f} USD")
        return ", ".join(phrases)


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
    key: list[Any] = []
    for piece in re.findall(r"[0-9]+|[^0-9]+", text):
        if piece[0] in "0123456789":
            key.append((0, int(piece), ""))
        else:
            key.append((1, 0, piece))
    return key


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
    folders = study_folders(output)
    if study is not None:
        folders = [output / study]
    studies = []
    for folder in folders:
        seen = overview(folder)
        if seen.lines:
            studies.append(seen)
    if not studies:
        raise UserError(f"no run was started in {output / (study or '')} yet")
    return studies


def study_folders(output: Path) -> list[Path]:
    """List the folders of studies: those with runs, or with a sweep that has begun."""
    folders = set()
    for name in (*STAGES, joblist.FOLDER):
        for path in output.glob(f"*/{name}"):
            if path.is_dir():
                folders.add(path.parent)
    return sorted(folders, key=lambda path: natural(path.name))


def overview(study: Path) -> Overview:
    """Look at the runs of one study: those on its lists, and those there are."""
    lists = list(joblist.read_lists(study))
    listed: dict[Path, Listed] = {}
    for sweep in lists:
        for run in sweep.runs:
            listed[run.folder] = run
    for stage in STAGES:
        for entry in _entries(study / stage):
            folder = Path(entry)
            if folder not in listed and os.path.exists(os.path.join(entry, "status.json")):
                listed[folder] = Listed(study=study, stage=stage, run=folder.name)
    alive = living(study / joblist.FOLDER)
    ended_jobs = jobs_ended(study)
    lines = [look_at_run(run, bool(alive), ended_jobs) for run in listed.values()]
    lines.sort(key=lambda line: (STAGES.index(line.stage), natural(short_name(line.run)), line.run))
    newest = JobList(study, command="", at_once=1, started=0.0, runs=())
    if lists:
        newest = lists[-1]
    return Overview(
        study=study.name,
        lines=tuple(lines),
        commands=len(alive),
        at_once=newest.at_once,
        command=newest.command,
    )


def jobs_ended(study: Path) -> set[str]:
    """Return the scheduler's jobs on claims that have left the queue; none where no Slurm is here
    to ask.
    """
    numbers = []
    for path in study.glob("*/*.claim"):
        claim = claims.read_claim(path.with_suffix(""))
        if claim is not None and claim.job is not None:
            numbers.append(claim.job)
    if not numbers or shutil.which("squeue") is None:
        return set()
    from warmth.sweep.slurm import in_queue

    return set(numbers) - in_queue(numbers)


def _entries(folder: Path) -> list[str]:
    """List the run folders of a stage; what was put aside by `rerun=all` is none."""
    try:
        with os.scandir(folder) as entries:
            return [
                entry.path
                for entry in entries
                if entry.is_dir() and not entry.name.endswith(".replaced")
            ]
    except OSError:
        return []


def look_at_run(
    listed: Listed, is_commanded: bool = False, ended_jobs: Collection[str] = ()
) -> Line:
    """Describe one run in a line; a folder that cannot be read is named and hides no other.

    Whatever a strange or damaged folder holds, the overview of all others must go on, so every
    error is caught here.

    Args:
        listed: what its sweep's list says.
        is_commanded: whether a command is at work on the study, so that what has not begun waits
        for it.
        ended_jobs: a scheduler's jobs that have left its queue.
    """
    try:
        return _look(listed, is_commanded, ended_jobs)
    except Exception as error:
        message = f"cannot be read: {type(error).__name__}: {one_line(error)}"
        return Line(
            study=listed.study.name,
            stage=listed.stage,
            run=listed.run,
            state="unreadable",
            message=message,
        )


def _look(listed: Listed, is_commanded: bool, ended_jobs: Collection[str]) -> Line:
    folder = listed.folder
    state = state_of(folder)
    outcome = outcome_of(folder, state)
    claim = None
    if state.name != "done":
        claim = claims.read_claim(folder)
    if claim is not None and claim.job in ended_jobs and not claim.is_held(listed.study):
        claim = None
    name = state.name
    message = outcome["message"]
    training = None
    if name == "not started":
        training = _open_training(listed)
        name, message = _not_started(listed, claim, is_commanded, training)
    message = message or listed.note
    usd = outcome["usd"]
    figures = outcome["figures"]
    status: dict[str, Any] = {}
    progress = RunProgress()
    if name not in ("done", *OPEN):
        status = Run(folder).last_status()
        progress = _progress(folder, listed.stage, is_running=name == "running")
        if usd is None:
            usd = _spent(folder)
        figures = figures or _running_figures(folder, listed.stage)
    doing = progress.doing
    if doing:
        message = f"{doing} {message}".strip()
    if name == "waiting" and training is not None:
        doing = f"for {short_name(training.name)}"
    left_s = None
    if name == "running":
        left_s = progress.left_s
    last_lines: tuple[str, ...] = ()
    if name in BROKEN:
        last_lines = tuple(map(str, status.get("last_lines", [])[-LAST:]))
    job = listed.job
    log = listed.log
    if claim is not None:
        job = claim.job or job
        log = claim.log or log
    if log is None and name in BROKEN:
        log = _log_of(listed)
    return Line(
        study=listed.study.name,
        stage=listed.stage,
        run=listed.run,
        state=name,
        done=progress.done,
        total=progress.total,
        left_s=left_s,
        elapsed_s=_elapsed(folder, name, status, outcome["seconds"]),
        seen_s=_seen(folder, name),
        attempts=outcome["attempts"],
        job=job,
        usd=usd,
        figures=figures,
        doing=doing,
        message=message,
        log=log,
        last_lines=last_lines,
        expected_s=listed.expected_s,
    )


def _log_of(listed: Listed) -> str | None:
    """Find the words of a run whose command has not written them down yet: those of its job, or of
    its ranks.
    """
    for path in (listed.study / "logs" / f"{listed.run}.log", listed.folder / "logs"):
        if path.exists():
            return str(path)
    return None


def _open_training(listed: Listed) -> Path | None:
    """Return the first training before a run that is not done; None if there is none."""
    for training in listed.waits_for:
        if not Run(training).done:
            return training
    return None


def _not_started(
    listed: Listed, claim: claims.RunClaim | None, is_commanded: bool, training: Path | None
) -> tuple[str, str]:
    """Say what a run of which nothing is there yet waits for: its state, and a message.

    Args:
        listed: what its sweep's list says.
        claim: who has claimed it.
        is_commanded: whether a command is at work on the study.
        training: of its adapter, if that is not done.
    """
    is_held = claim is not None and claim.is_held(listed.study)
    if training is not None and (is_held or (is_commanded and not listed.note)):
        return "waiting", f"for its training {claims.run_key(training)}"
    if claim is not None and claim.job:
        return "queued", f"job {claim.job}"
    if claim is not None and is_held:
        return "starting", f"on {claim.host}"
    if is_commanded and not listed.note:
        return "waiting", ""
    return "not started", listed.note


def _elapsed(
    folder: Path, state: str, status: dict[str, Any], seconds: float | None
) -> float | None:
    """Return the seconds that a run has taken over all attempts."""
    if state == "done" or state in OPEN:
        return seconds
    before = float(status.get("seconds") or 0.0)
    if state != "running":
        return before or None
    return before + max(0.0, clock(folder) - (folder / "status.json").stat().st_mtime)


def _seen(folder: Path, state: str) -> float | None:
    """Return the seconds since a run's last sign of life: its lock's touch, its last row, or how it
    ended.
    """
    if state in OPEN:
        return None
    paths = [folder / "status.json", folder / "metrics.jsonl", folder / "answers.jsonl"]
    if state == "done":
        paths = [folder / "done.json"]
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
    now = time.time()
    if state == "running":
        now = clock(folder)
    return max(0.0, now - max(times))


@dataclass(frozen=True)
class RunProgress:
    """How far a run is that has begun; None if that is not known."""

    done: int | None = None  # steps, or answers
    total: int | None = None
    left_s: float | None = None
    doing: str = ""  # the stage under way


def _progress(folder: Path, stage: str, is_running: bool) -> RunProgress:
    """Say how far a run is: what it keeps of its stage under way, else what its rows say."""
    progress = _evaluation_progress(folder)
    if stage == "train":
        progress = _training_progress(folder)
    under_way = None
    if is_running:
        under_way = _stage_under_way(folder)
    if under_way is None:
        return progress
    return replace(under_way, total=under_way.total or progress.total)


def _training_progress(folder: Path) -> RunProgress:
    """Read the steps done, the steps in all, and the seconds left at the speed of the last
    steps.
    """
    steps = list(_tail(folder / "metrics.jsonl"))
    if not steps:
        return RunProgress()
    mean_s = fmean(step["seconds"] for step in steps[-RECENT:])
    done = steps[-1]["step"]
    total = steps[-1]["steps"]
    return RunProgress(done, total, (total - done) * mean_s)


def _evaluation_progress(folder: Path) -> RunProgress:
    """Count the answers made and asked for, and the seconds left at the speed since this attempt
    began.
    """
    try:
        samples = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("samples", 1)
        began = (folder / "status.json").stat().st_mtime
    except (OSError, ValueError):
        return RunProgress()
    done = _lines(folder / "answers.jsonl")
    total = _lines(folder / "prompts.jsonl") * samples
    if not total:
        return RunProgress()
    if not done:
        return RunProgress(done, total)
    passed = clock(folder) - began
    return RunProgress(done, total, (total - done) * passed / done)


def _stage_under_way(folder: Path) -> RunProgress | None:
    """Read what a running command keeps in `progress.json`, inside a batch or a step too; None
    between two stages.
    """
    try:
        row = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        return RunProgress(int(row["done"]), row["total"], row["left_s"], str(row["stage"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _running_figures(folder: Path, stage: str) -> dict[str, float] | None:
    """Read the loss of the last step, of a training that is not done."""
    if stage != "train":
        return None
    for row in reversed(list(_tail(folder / "metrics.jsonl"))):
        if isinstance(row.get("loss"), float):
            return {"loss": round(row["loss"], 4)}
    return None


def _spent(folder: Path) -> float | None:
    """Add up the dollars of the grades so far, while a run is under way."""
    usd = 0.0
    for row in _tail(folder / "grades.jsonl", whole=True):
        usd += row.get("cost_usd") or 0.0
    if not usd:
        return None
    return round(usd, 4)


def _lines(path: Path) -> int:
    try:
        with path.open("rb") as stream:
            return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    except OSError:
        return 0


def _tail(path: Path, whole: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the last rows of a file that may be written to right now; a torn line is left out."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            cut = max(0, size - TAIL_BYTES)
            if whole:
                cut = 0
            stream.seek(cut)
            lines = stream.read().split(b"\n")[:-1]
    except OSError:
        return
    if cut:
        lines = lines[1:]  # its beginning was not read
    yield from objects_in(lines)


def status_json(overviews: Sequence[Overview]) -> dict[str, Any]:
    """Return the studies and their runs for machines."""
    studies = [study_row(seen) for seen in overviews]
    runs: list[dict[str, Any]] = []
    for seen in overviews:
        runs += map(asdict, seen.lines)
    return {"studies": studies, "runs": runs}


def study_row(seen: Overview) -> dict[str, Any]:
    """Return how far one study is, for machines."""
    return {
        "study": seen.study,
        "runs": len(seen.lines),
        "done": seen.count("done"),
        "running": seen.count("running"),
        "waiting": seen.count("waiting", "queued", "starting"),
        "not_started": seen.count("not started"),
        "broken": seen.count(*BROKEN),
        "left_s": seen.left_s,
        "usd": seen.usd,
        "commands": seen.commands,
        "command": seen.command,
    }


def broken(lines: Iterable[Line]) -> list[Line]:
    """List the runs that did not end well and are not under way again."""
    return [line for line in lines if is_broken(line)]


def is_broken(line: Line) -> bool:
    """Say whether a run did not end well, or was left out for a reason that is said."""
    return line.state in BROKEN or (line.state == "not started" and bool(line.message))
