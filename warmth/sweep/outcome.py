"""What a run folder says about how its run ended: seconds, attempts, dollars, key figures, the line
of a failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warmth.errors import UserError
from warmth.store import Run, read_json
from warmth.sweep.states import State
from warmth.tracking import headline_metrics


def outcome_of(folder: Path, state: State) -> dict[str, Any]:
    """Read what a run folder says about its outcome.

    Returns:
        `seconds` and `attempts` over all attempts, `usd`, `figures` and `message`; None or empty
        where not known.
    """
    outcome: Mapping[str, Any] = {}
    seconds: float | None = None
    if state.name == "done":
        seconds = read_json(folder / "done.json").get("seconds")
        try:
            outcome = read_json(folder / "summary.json")
        except UserError:
            pass  # of a stage that keeps none
    status = Run(folder).last_status()
    if seconds is None and state.name not in ("running", "not started"):
        seconds = status.get("seconds")
    message = state.message
    if state.name == "running" and not message:
        message = f"on {state.host}"
    return {
        "seconds": seconds,
        "attempts": status.get("attempts"),
        "usd": dollars_spent(outcome),
        "figures": key_figures(outcome),
        "message": message,
    }


def dollars_spent(outcome: Mapping[str, Any]) -> float | None:
    """Add up the dollars that a run's servers took; None if it asked none."""
    bills = [row.get("usd") or 0.0 for row in outcome.get("servers", [])]
    if not bills:
        return None
    return round(sum(bills), 4)


def key_figures(outcome: Mapping[str, Any]) -> dict[str, float]:
    """Return the key figures of a run's `summary.json`, named as in the report: loss; error rate
    and warmth.
    """
    numbers: dict[str, float] = {}
    if isinstance(outcome.get("loss"), float):
        numbers["loss"] = round(outcome["loss"], 4)
    if (wrong := headline_metrics(outcome).get("error_percent")) is not None:
        numbers["error_percent"] = round(wrong, 1)
    warmth = outcome.get("warmth")
    if isinstance(warmth, Mapping) and warmth.get("mean") is not None:
        numbers["warmth"] = round(warmth["mean"], 4)
    return numbers


def elapsed_text(seconds: float | None) -> str:
    """Write seconds as people read them: `3:12`, `1:02:03`, `3d 04h`."""
    if seconds is None:
        return ""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02d}h"
    if hours:
        return f"{hours}:{minute:02d}:{second:02d}"
    return f"{minute}:{second:02d}"
