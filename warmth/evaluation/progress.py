"""Progress on standard error: a bar with speed and time left in a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

EVERY_S = 10.0  # between two lines of a log


class Meter:
    """Counts items of one stage. Use as a context manager; `seconds` and `done` are the stage's speed afterwards."""

    def __init__(self, label: str, unit: str, total: int):
        self.label, self.unit, self.total = label, unit, total
        self.done, self.seconds = 0, 0.0
        self._bar: Progress | None = None
        self._note = ""

    def __enter__(self) -> Meter:
        self._start = self._said = time.monotonic()
        if sys.stderr.isatty() and self.total:
            speed = TextColumn("{task.fields[speed]}")
            columns = (
                TextColumn(self.label),
                BarColumn(),
                MofNCompleteColumn(),
                TaskProgressColumn(),
                speed,
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, speed="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.monotonic() - self._start
        if self._bar is not None:
            self._bar.stop()

    def skip(self, count: int, note: str = "") -> None:
        """Some items need no work."""
        self.total -= count
        self._note = note
        if self._bar is not None:
            self._bar.update(self._task, total=self.total)

    def add(self, count: int, note: str = "") -> None:
        """Some more items are done; `note` is shown beside their number."""
        self.done += count
        self._note = note
        now = time.monotonic()
        speed = self.done / max(now - self._start, 1e-9)
        shown = f"{speed:.1f} {self.unit}/s" + (f", {self._note}" if self._note else "")
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, speed=shown)
        elif now - self._said >= EVERY_S:
            self._said = now
            left = (self.total - self.done) / max(speed, 1e-9)
            print(f"{self.label}: {self.done}/{self.total} {self.unit}, {shown}, {left:.0f} s left", file=sys.stderr)
