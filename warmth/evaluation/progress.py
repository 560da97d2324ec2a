"""Progress on standard error: a bar in a terminal, else a line at least every ten seconds, also
while a batch is made.

The same numbers go to `progress.json` of the run folder, for `warmth status`.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from warmth.store import PROGRESS, write_json
from warmth.text import duration

EVERY_S = 10.0  # between two lines of a log
LOOK_S = 1.0  # between two looks of the thread that keeps the bar and the file up to date


class Meter:
    """Counts items of one stage. Use as a context manager; `seconds` and `done` are the stage's
    speed afterwards.

    Speed is what plans learn from, so the time before the first batch began, in which a model is
    loaded, is left out.
    """

    def __init__(self, label: str, unit: str, total: int, folder: Path | None = None):
        """`folder` is the run's, where `progress.json` is kept while the stage lasts."""
        self.label, self.unit, self.total = label, unit, total
        self.done, self.seconds = 0, 0.0
        self._folder = folder
        self._bar: Progress | None = None
        self._note = ""
        self._under_way = 0  # items of the batch under way that are finished
        self._tokens = 0  # that the batch under way has made
        self._loaded_s: float | None = None  # when the first batch began; None: nobody said
        self._first_s: float | None = (
            None  # when the first items were done: loading and the first batch are no speed
        )
        self._first_done = 0
        self._ended = threading.Event()
        self._changes = threading.Lock()

    def __enter__(self) -> Meter:
        self._start = self._said = time.monotonic()
        if sys.stderr.isatty() and self.total:
            columns = (
                TextColumn(self.label),
                BarColumn(),
                MofNCompleteColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[speed]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, speed="")
        _meters.append(self)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seconds = time.monotonic() - self._start - (self._loaded_s or 0.0)
        self._ended.set()
        self._thread.join(timeout=LOOK_S)
        _meters.remove(self)
        if self._bar is not None:
            self._bar.stop()
        if self._folder is not None:
            (self._folder / PROGRESS).unlink(missing_ok=True)

    def skip(self, count: int, note: str = "") -> None:
        """Take some items out of the total: they need no work."""
        self.total -= count
        self._note = note
        if self._bar is not None:
            self._bar.update(self._task, total=self.total)

    def add(self, count: int, note: str = "") -> None:
        """Count some more items as done; `note` is shown beside their number."""
        with self._changes:
            self.done += count
            self._note = note
            self._under_way = self._tokens = 0
            if self._first_s is None and self.done:
                self._first_s = time.monotonic() - self._start
                self._first_done = self.done
        self._show()

    def look(self, finished: int, tokens: int) -> None:
        """Note how far the batch under way is: items of it that are finished, and tokens that it
        has made.
        """
        with self._changes:
            if self._loaded_s is None:
                self._loaded_s = time.monotonic() - self._start
            self._under_way, self._tokens = finished, tokens

    def left_s(self) -> float | None:
        """Forecast the seconds left from the speed since the first items were done; None until
        there is one.
        """
        finished_items = min(self.total, self.done + self._under_way)
        passed = time.monotonic() - self._start
        if self._first_s is not None and finished_items > self._first_done:
            speed = (finished_items - self._first_done) / max(passed - self._first_s, 1e-9)
        elif finished_items:
            speed = finished_items / max(passed - (self._loaded_s or 0.0), 1e-9)
        else:
            return None
        return max(0, self.total - finished_items) / speed

    def line(self) -> str:
        """Say in a line how far the stage is."""
        finished_items = min(self.total, self.done + self._under_way)
        passed = max(time.monotonic() - self._start, 1e-9)
        pieces = [f"{finished_items}/{self.total} {self.unit}"]
        if self._tokens:
            pieces.append(f"{self._tokens} tokens in this batch")
        elif finished_items:
            pieces.append(
                f"{finished_items / max(passed - (self._loaded_s or 0.0), 1e-9):.1f} {self.unit}/s"
            )
        if self._note:
            pieces.append(self._note)
        seconds_left = self.left_s()
        pieces.append(
            f"{duration(passed)} so far"
            if seconds_left is None
            else f"{duration(seconds_left)} left"
        )
        return f"{self.label}: {', '.join(pieces)}"

    def _follow(self) -> None:
        while not self._ended.wait(LOOK_S):
            self._show()

    def _show(self) -> None:
        finished_items = min(self.total, self.done + self._under_way)
        now = time.monotonic()
        if self._bar is not None:
            speed = f"{finished_items / max(now - self._start, 1e-9):.1f} {self.unit}/s"
            speed_text = ", ".join(piece for piece in (speed, self._note) if piece)
            self._bar.update(self._task, completed=finished_items, speed=speed_text)
        with self._changes:
            is_due = now - self._said >= EVERY_S
            if is_due:
                self._said = now
        if is_due and not self._ended.is_set():
            if self._bar is None:
                print(self.line(), file=sys.stderr, flush=True)
            self._keep(finished_items)

    def _keep(self, finished_items: int) -> None:
        if self._folder is None:
            return
        row = {
            "stage": self.label,
            "done": finished_items,
            "total": self.total,
            "unit": self.unit,
            "left_s": self.left_s(),
        }
        try:
            write_json(self._folder / PROGRESS, {**row, "time": time.time()})
        except OSError:
            pass  # a full disk: rows matter, this does not


_meters: list[Meter] = []  # of this process, the innermost last


def note_progress(finished: int, tokens: int) -> None:
    """Tell the stage under way how far its batch is; nothing if there is none."""
    if _meters:
        _meters[-1].look(finished, tokens)
