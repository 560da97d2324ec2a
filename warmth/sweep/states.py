"""What became of a run, read from its folder alone: as true on another machine that shares the
folder as here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from warmth.store import Run


@dataclass(frozen=True)
class State:
    """A run's state: not started, running, done, failed, not scored, interrupted, incomplete or
    killed.
    """

    name: str
    message: str = ""
    host: str = ""
    time: float = 0.0  # of the last change, by the clock of the machine that made it


def state_of(folder: Path) -> State:
    """Return the state of the run in `folder`; `killed` is one that says it is running while nobody
    holds it.
    """
    run = Run(folder)
    if run.done:
        return State("done")
    row = run.last_status()
    if not row:
        return State("not started")
    name = str(row.get("state", "killed"))
    if name == "done":  # the marker is gone or files are missing: a folder copied by half
        name = "incomplete"
    if name == "running" and not run.is_held():
        name = "killed"
    return State(
        name, str(row.get("message", "")), str(row.get("host", "")), float(row.get("time", 0.0))
    )
