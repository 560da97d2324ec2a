"""What went where: every row that enters a stage leaves it or is dropped for a named reason, and
the sum is checked.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from warmth.errors import RunFailed

EVERY_S = 5.0  # between two lines of progress


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


class Ledger:
    """The stages of one data set, in order: what `counts.json` holds."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def stage(self, name: str, unit: str) -> Stage:
        """Opens a stage; the one before it has to add up by now."""
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
        return [
            {
                "stage": stage.name,
                "unit": stage.unit,
                "in": stage.taken,
                "out": stage.kept,
                "drops": dict(sorted(stage.drops.items())),
                **{
                    name: dict(value) if isinstance(value, Counter) else value
                    for name, value in stage.details.items()
                },
            }
            for stage in self.stages
        ]
