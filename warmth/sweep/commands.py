"""The commands that carry out a study's sweeps, as others see them: a locked file each, touched
while they live.
"""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from types import TracebackType

from filelock import FileLock

from warmth.store import BEAT_S, STALE_S, clock, is_locked

SUFFIX = ".command"


class SweepCommand:
    """This command's file in `<output>/<study>/sweeps/`.

    Use as a context manager: it is gone at the end.
    """

    def __init__(self, folder: Path):
        token = os.urandom(4).hex()  # process ids recur
        self.path = folder / f"{socket.gethostname()}-{os.getpid()}-{token}{SUFFIX}"
        self._lock = FileLock(str(self.path), mode=0o666)
        self._released = threading.Event()

    def __enter__(self) -> SweepCommand:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        forget_dead(self.path.parent)
        # a look by another command takes it for a moment
        self._lock.acquire(timeout=1.0, poll_interval=0.02)
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._released.set()
        self.path.unlink(missing_ok=True)
        self._lock.release()

    def _beat(self) -> None:
        while not self._released.wait(BEAT_S):
            try:
                os.utime(self.path)
            except OSError:
                return  # somebody removed the study


def is_alive(path: Path) -> bool:
    """Say whether the command with this file still runs, here (it has the lock) or elsewhere (it
    touched it lately).
    """
    host = path.name.removesuffix(SUFFIX).rsplit("-", 2)[0]
    if host == socket.gethostname():
        return is_locked(path)
    try:
        return clock(path.parent) - os.stat(path).st_mtime < STALE_S
    except OSError:
        return False


def living(folder: Path) -> list[Path]:
    """List the files of the commands in a study's `sweeps` folder that still run."""
    return [path for path in sorted(folder.glob(f"*{SUFFIX}")) if is_alive(path)]


def forget_dead(folder: Path) -> None:
    """Remove the files of commands that were killed."""
    for path in folder.glob(f"*{SUFFIX}"):
        if not is_alive(path):
            path.unlink(missing_ok=True)
