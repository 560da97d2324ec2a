"""Who carries out a run: a claim beside its folder, taken before it is started or submitted, so
that none is twice.

`<run folder>.claim` names the command that took it and, once a scheduler has the run, its job id
and log. A claim holds as long as that command lives or its job waits or runs; then anybody may take
it over.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock

from warmth.store import Run, write_json
from warmth.sweep.commands import is_alive

LOCK = "claims.lock"  # in a study's `sweeps` folder: one command at a time looks and takes

# Verdicts of a look at what is to be started.
FREE = "free"
HELD = "held"
DONE = "done"
FOLLOWED = "followed"  # an earlier command submitted it, and its job waits or runs
FAILED = "failed"  # under another command, after this one has started


@dataclass(frozen=True)
class RunClaim:
    """What the file beside a run's folder says."""

    command: str  # file of the command, relative to the study's folder
    host: str
    pid: int
    time: float
    job: str | None = None  # id of a scheduler's job
    log: str | None = None

    def is_held(self, study: Path) -> bool:
        """Say whether the command that took it still runs."""
        return is_alive(study / self.command)


def claim_path(run: Path) -> Path:
    """Return where the claim on a run folder is."""
    return run.with_name(f"{run.name}.claim")


def study_of(run: Path) -> Path:
    """Return the folder of the study that a run folder belongs to:
    `<output>/<study>/<stage>/<run>`.
    """
    return run.parent.parent


def run_key(run: Path) -> str:
    """Name a run folder within `output`: `<study>/<stage>/<run>`."""
    return "/".join(run.parts[-3:])


def read_claim(run: Path) -> RunClaim | None:
    """Read the claim on a run folder; None where there is none, or none that can be read."""
    try:
        return RunClaim(**json.loads(claim_path(run).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def looking(study: Path) -> Generator[None]:
    """Keep other commands from taking claims in a study while this one looks and takes."""
    folder = study / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(str(folder / LOCK), mode=0o666, timeout=60):
        yield


def take(run: Path, command: Path, look: Callable[[], str]) -> bool:
    """Take the claim on a run for a command, if a look finds it free or to be followed; both are
    one step.

    Args:
        run: its folder, which need not exist.
        command: file of the command that takes it.
        look: looks at the run and at the claim there is, and returns a verdict.
    """
    study = study_of(run)
    with looking(study):
        verdict = look()
        if verdict not in (FREE, FOLLOWED):
            return False
        claim = RunClaim(
            command=str(command.relative_to(study)),
            host=socket.gethostname(),
            pid=os.getpid(),
            time=time.time(),
        )
        before = read_claim(run)
        if verdict == FOLLOWED and before is not None:
            claim = replace(claim, job=before.job, log=before.log)
        run.parent.mkdir(parents=True, exist_ok=True)
        write_json(claim_path(run), asdict(claim))
        return True


def note_job(run: Path, job: str, log: Path) -> None:
    """Write down as which job of a scheduler a claimed run was submitted, and where its log will
    be.
    """
    claim = read_claim(run)
    if claim is not None:
        write_json(claim_path(run), {**asdict(claim), "job": job, "log": str(log)})


def release(run: Path) -> None:
    """Give the claim on a run back."""
    claim_path(run).unlink(missing_ok=True)


def forget_finished(runs: Iterable[Path]) -> None:
    """Remove claims on finished runs that commands left which were killed before they gave them
    back; nothing here may fail a sweep.
    """
    for run in runs:
        if not is_left_over(run):
            continue
        try:
            with looking(study_of(run)):
                if is_left_over(run):
                    release(run)
        except OSError:
            pass  # a disk that cannot be written


def is_left_over(run: Path) -> bool:
    """Say whether a run is done and has a claim that no living command holds."""
    claim = read_claim(run)
    return claim is not None and not claim.is_held(study_of(run)) and Run(run).done
