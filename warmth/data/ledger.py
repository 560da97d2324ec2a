"""What went where: every row that enters a stage leaves it or is dropped for a named reason."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from warmth.errors import RunFailed

EVERY_S = 5.0  # seconds between two lines of progress


def counts_text(counts: Counter[str], most: int | None = None) -> str:
    """Write counts in one line, largest first: `toxic 12, empty_reply 3`."""
    return ", ".join(f"{name} {count}" for name, count in counts.most_common(most))


@dataclass
class Stage:
    """One stage's rows: `taken` in, `kept` out, the rest dropped by reason."""

    name: str
    unit: str
    taken: int = 0
    kept: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    details: dict[str, Any] = field(default_factory=dict)  # further counts that need not add up
    _said: float = field(default_factory=time.monotonic)

    def take(self, count: int = 1) -> None:
        """Count rows that came in; says so now and then."""
        self.taken += count
        now = time.monotonic()
        if now - self._said >= EVERY_S:
            self._said = now
            print(f"data: {self.name}, {self.taken:,} {self.unit}", file=sys.stderr, flush=True)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count rows that end here."""
        self.drops[reason] += count

    def keep(self, count: int = 1) -> None:
        """Count rows that go on."""
        self.kept += count

    def note(self, detail: str) -> None:
        """Count one more of a detail, which need not add up with the others."""
        self.details[detail] = self.details.get(detail, 0) + 1

    def row(self) -> dict[str, Any]:
        """Return the stage as plain values: a row of `counts.json`."""
        row = {
            "stage": self.name,
            "unit": self.unit,
            "in": self.taken,
            "out": self.kept,
            "drops": dict(sorted(self.drops.items())),
        }
        for name, value in self.details.items():
            row[name] = dict(value) if isinstance(value, Counter) else value
        return row


class Ledger:
    """The stages of one data set, in order: what `counts.json` holds."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def stage(self, name: str, unit: str) -> Stage:
        """Open a stage; the one before it has to add up by now."""
        self.stages.append(Stage(name, unit))
        return self.stages[-1]

    def counts(self) -> list[dict[str, Any]]:
        """Return the stages as plain values.

        Raises:
            RunFailed: rows in are not rows out plus rows dropped (a bug, never a matter of the
            data).
        """
        for stage in self.stages:
            if stage.taken != stage.kept + stage.drops.total():
                raise RunFailed(
                    f"counts do not add up in {stage.name}: {stage.taken} in, {stage.kept} out, "
                    f"{dict(stage.drops)}"
                )
        return [stage.row() for stage in self.stages]
