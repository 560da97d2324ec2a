"""What child processes say: each keeps all its words in a file of its own, and how it failed in a
second one beside it.

The parent reads both: an error line quotes the child that failed first, not those that failed
because it did.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from warmth.errors import one_line

LAST_LINES = 20  # of a failed child's words, kept in status.json


@dataclass(frozen=True)
class Failure:
    """How one child ended."""

    # user (its input is wrong), known (an error with a line of its own), crash, or stopped (it
    # saved first)
    kind: str
    line: str  # the exception, or what the user reads
    time: float  # seconds since 1970
    log: str  # where its words are


def capture(log: Path) -> None:
    """Send all that this process and its children print from now on to the end of a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    failure_path(log).unlink(missing_ok=True)
    with log.open("ab", buffering=0) as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)


def failure_path(log: Path) -> Path:
    """Return where a child notes how it failed: `rank-3.log` has `rank-3.error.json`."""
    return log.with_name(f"{log.stem}.error.json")


def note_failure(log: Path, kind: str, line: str) -> None:
    """Write down how this process fails; whole or not at all, and never a reason for another
    error.
    """
    path = failure_path(log)
    partial = path.with_suffix(".partial")
    failure = Failure(kind, line, time.time(), str(log))
    try:
        partial.write_text(json.dumps(asdict(failure)), encoding="utf-8")
        partial.replace(path)
    except OSError:
        pass  # a full disk: the words, and the exit code, must do


def exception_line(error: BaseException) -> str:
    """Return an exception as the last line of its traceback has it, in one line: `IndexError: index
    out of range`.
    """
    message = one_line(error)
    name = type(error).__name__
    if message == name:
        return name
    return f"{name}: {message}"


def first_failure(logs: Iterable[Path]) -> Failure | None:
    """Return the failure that came first; None if no child noted one (it was killed)."""
    failures = []
    for log in logs:
        try:
            failures.append(Failure(**json.loads(failure_path(log).read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            continue
    return min(failures, key=lambda failure: failure.time, default=None)


def forget_failures(folder: Path) -> None:
    """Remove what an earlier start noted, before children start anew; their words stay."""
    for path in folder.glob("*.error.json"):
        path.unlink(missing_ok=True)


def last_lines(log: Path, number: int = LAST_LINES) -> list[str]:
    """Return the last lines of a child's words that are not empty."""
    try:
        with log.open(encoding="utf-8", errors="replace") as stream:
            lines = deque(filter(None, map(str.rstrip, stream)), maxlen=number)
    except OSError:
        return []
    return list(lines)


def error_line(log: Path | None) -> str:
    """Return the line a command ended with: its last `error: ` (not the hint after it), else its
    last line.
    """
    if log is None:
        return ""
    lines = last_lines(log, 200)
    for line in reversed(lines):
        if line.startswith("error: ") and "this is a bug" not in line:
            return line.strip()
    if not lines:
        return ""
    return lines[-1].strip()
