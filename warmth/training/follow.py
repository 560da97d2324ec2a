"""What a user sees of a training under way.

In a terminal it is a bar, else a line at least every ten seconds. The ranks write `metrics.jsonl`
after each step and `passes.json` after each pass; who started them reads both.
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
    """Choose what of a step's row is a curve; validation losses and rewards are, if it has any."""
    curves = {}
    for key, value in row.items():
        if key in FOLLOWED or key.startswith("rewards_"):
            curves[f"train/{key}"] = value
    return curves


class TrainingProgress:
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

        self.folder = folder
        self.tracker = tracker
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

    def __enter__(self) -> TrainingProgress:
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
        new_rows = rows[len(self.rows) :]
        if new_rows:
            self.last_step = time.monotonic()
        self.rows = list(rows)
        for row in new_rows:
            step = row["step"]
            if self.tracker is not None:
                self.tracker.log(followed(row), step=step)
            self.bar.update(self.task, total=row["steps"], completed=step, note=self.note(row))
            if step % EVERY_STEPS == 0 or step == row["steps"]:
                self.say(self.line())
        self.send_samples()
        if time.monotonic() - self.last_line >= EVERY_S:
            self.say(self.line())
        return bool(new_rows)

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
        phrases = [f"step {row['step']}/{row['steps']}", self.note(row)]
        if row["step"] == row["steps"]:
            waited = time.monotonic() - self.last_step
            if waited >= 1:
                return f"  saving and checking the adapter, {duration(waited)}"
            return f"  {' · '.join(phrases)}"
        if under_way:
            phrases.append(under_way)
        phrases.append(f"{duration(self.left_s() or 0.0)} left")
        return f"  {' · '.join(phrases)}"

    def left_s(self) -> float | None:
        """Forecast the seconds left from the last steps, less what the next has taken.

        None before any step is done.
        """
        if not self.rows:
            return None
        recent = [row["seconds"] for row in self.rows[-RECENT:]]
        seconds_per_step = sum(recent) / len(recent)
        steps_left = self.rows[-1]["steps"] - self.rows[-1]["step"]
        waited = time.monotonic() - self.last_step
        return max(0.0, steps_left * seconds_per_step - waited)

    def passes(self) -> str:
        """Say how far the step under way is; "" if no pass of it has ended."""
        try:
            row = json.loads((self.folder / PASSES).read_text(encoding="utf-8"))
            step = row["step"]
            line = f"step {step}: pass {row['passes']} of {row['of']}"
        except (OSError, ValueError, KeyError):
            return ""
        done = self.rows[-1]["step"] if self.rows else 0
        return line if step > done else ""

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
            "time": time.time(),
        }
        try:
            write_json(self.folder / PROGRESS, record)
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
