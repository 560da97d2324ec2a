"""What a user sees of a training under way: a bar in a terminal, else a line at least every ten
seconds.

The ranks write `metrics.jsonl` after each step and `passes.json` after each pass; who started them
reads both.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from warmth.store import PROGRESS, read_rows, write_json
from warmth.text import duration, say

EVERY_S = 10.0  # between two lines of a log
EVERY_STEPS = 10  # steps that have a line however fast they are
RECENT = 10  # steps whose speed tells the time left
PASSES = "passes.json"  # how far the step under way is
FOLLOWED = ("loss", "grad_norm", "learning_rate", "epoch", "trained_tokens", "validation_loss")
SAMPLES = "samples.jsonl"  # replies of the model at its checkpoints


def followed(row: dict[str, Any]) -> dict[str, float]:
    """Choose what of a step's row is a curve: with validation losses and preferences' rewards,
    where there are such.
    """
    return {
        f"train/{key}": row[key] for key in row if key in FOLLOWED or key.startswith("rewards_")
    }


class Progress:
    """Shows the steps of one run and hands their numbers to its tracker.

    Use as a context manager.
    """

    def __init__(self, folder: Path, tracker: Any):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar

        self.folder, self.tracker = folder, tracker
        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        ]
        console = Console(file=sys.stderr)
        self.in_terminal = console.is_terminal
        self.bar = Bar(*columns, console=console, disable=not self.in_terminal)
        self.task = self.bar.add_task(folder.name, total=None, note="loading")
        self.rows: list[dict[str, Any]] = []
        self.samples = 0  # rows of samples.jsonl that the tracker has
        self.began = self.last_line = self.last_step = time.monotonic()

    def __enter__(self) -> Progress:
        if not self.in_terminal:
            say(f"training {self.folder.name}")
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        (self.folder / PROGRESS).unlink(missing_ok=True)
        (self.folder / PASSES).unlink(missing_ok=True)

    def take(self, rows: Sequence[dict[str, Any]]) -> bool:
        """Show all rows of `metrics.jsonl` so far; tell whether there are new ones."""
        new = rows[len(self.rows) :]
        if new:
            self.last_step = time.monotonic()
        self.rows = list(rows)
        for row in new:
            if self.tracker is not None:
                self.tracker.log(followed(row), step=row["step"])
            self.bar.update(
                self.task, total=row["steps"], completed=row["step"], note=self.note(row)
            )
            if row["step"] % EVERY_STEPS == 0 or row["step"] == row["steps"]:
                self.say(self.line())
        self.send_samples()
        if time.monotonic() - self.last_line >= EVERY_S:
            self.say(self.line())
        return bool(new)

    def note(self, row: dict[str, Any]) -> str:
        """Say what a step's row holds."""
        rate = row["trained_tokens"] / max(row["seconds"], 1e-9)
        return f"loss {row['loss']:.3f} · {rate:,.0f} trained tokens/s"

    def line(self) -> str:
        """Say in a line how far the run is."""
        under_way = self.passes()
        if not self.rows:
            return f"  {under_way or 'loading'}, {duration(time.monotonic() - self.began)} so far"
        row = self.rows[-1]
        parts = [f"step {row['step']}/{row['steps']}", self.note(row)]
        if row["step"] == row["steps"]:
            waited = time.monotonic() - self.last_step
            return (
                f"  {' · '.join(parts)}"
                if waited < 1
                else f"  keeping and checking the adapter, {duration(waited)}"
            )
        if under_way:
            parts.append(under_way)
        parts.append(f"{duration(self.left_s() or 0.0)} left")
        return f"  {' · '.join(parts)}"

    def left_s(self) -> float | None:
        """Forecast the seconds left from the steps done last, less what the next has taken; None
        before any.
        """
        if not self.rows:
            return None
        seconds = [row["seconds"] for row in self.rows[-RECENT:]]
        row = self.rows[-1]
        return max(
            0.0,
            (row["steps"] - row["step"]) * sum(seconds) / len(seconds)
            - (time.monotonic() - self.last_step),
        )

    def passes(self) -> str:
        """Say how far the step under way is; "" if no pass of it has ended."""
        try:
            row = json.loads((self.folder / PASSES).read_text(encoding="utf-8"))
            step, done, total = row["step"], row["passes"], row["of"]
        except (OSError, ValueError, KeyError):
            return ""
        last = self.rows[-1]["step"] if self.rows else 0
        return f"step {step}: pass {done} of {total}" if step > last else ""

    def say(self, line: str) -> None:
        """Print a line where there is no bar, and keep the same for `warmth status`."""
        self.last_line = time.monotonic()
        if not self.in_terminal:
            say(line)
        row = self.rows[-1] if self.rows else {"step": 0, "steps": None}
        record = {
            "stage": line.strip(),
            "done": row["step"],
            "total": row["steps"],
            "unit": "steps",
            "left_s": self.left_s(),
        }
        try:
            write_json(self.folder / PROGRESS, record | {"time": time.time()})
        except OSError:
            pass  # a full disk: rows matter, this does not

    def send_samples(self) -> None:
        """Hand the samples that were written at a checkpoint to the tracker."""
        if self.tracker is None:
            return
        rows = list(read_rows(self.folder / SAMPLES))
        if len(rows) > self.samples:
            self.samples = len(rows)
            self.tracker.table("train/samples", rows)
