"""What a run folder says about how its run ended: seconds, attempts, dollars, key figures, the line of a failure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warmth.errors import UserError
from warmth.store import Run, read_json
from warmth.sweep.states import State
from warmth.tracking import headline


def outcome_of(folder: Path, state: State) -> dict[str, Any]:
    """Read what a run folder says about its outcome.

    Returns:
        `seconds` and `attempts` over all attempts, `usd`, `figures` and `message`; None or empty where not known.
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
    usd = [row.get("usd") or 0.0 for row in outcome.get("servers", [])]
    return {
        "seconds": seconds,
        "attempts": status.get("attempts"),
        "usd": round(sum(usd), 4) if usd else None,
        "figures": figures(outcome),
        "message": state.message or (f"on {state.host}" if state.name == "running" else ""),
    }


def figures(outcome: Mapping[str, Any]) -> dict[str, float]:
    """The key figures of a run's `summary.json`, named as in the report: loss; error rate and warmth."""
    found: dict[str, float] = {}
    if isinstance(outcome.get("loss"), float):
        found["loss"] = round(outcome["loss"], 4)
    if (wrong := headline(outcome).get("error_percent")) is not None:
        found["error_percent"] = round(wrong, 1)
    warmth = (outcome.get("warmth") or {}).get("mean") if isinstance(outcome.get("warmth"), Mapping) else None
    if warmth is not None:
        found["warmth"] = round(warmth, 4)
    return found


def duration(seconds: float | None) -> str:
    """Write seconds as people read them: `3:12`, `1:02:03`, `3d 04h`."""
    if seconds is None:
        return ""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02d}h"
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
