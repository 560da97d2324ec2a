"""What a run took beside its forecast: a row in `<output>/measured.jsonl`, from which the next plan
learns.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from warmth.errors import UserError
from warmth.hardware import MEASURED, device_named
from warmth.schemas import Evaluate, Train
from warmth.store import Run, read_json
from warmth.sweep.plan import OPERATIONS, RunForecast, family_of

_seen: list[str] = []  # runs of this process; the peak of its memory belongs to the first alone


def record_speed(study: Train | Evaluate, folder: Path, forecast: RunForecast) -> None:
    """Add a row for a run that this command finished. Nothing here may fail a run.

    Args:
        study: its config.
        folder: its run folder.
        forecast: made before it started.
    """
    if forecast.state == "done" or not Run(folder).done or not forecast.devices:
        return
    try:
        outcome = read_json(folder / "summary.json")
        if isinstance(study, Train):
            tokens, seconds = _trained(outcome)
        else:
            tokens, seconds = _answered(outcome)
        if tokens and seconds:
            _append(
                Path(study.output) / MEASURED,
                _row(study, folder, forecast, outcome, tokens, seconds),
            )
    except (OSError, UserError, KeyError, TypeError, ValueError) as error:
        print(f"what {folder.name} took is not recorded: {error}", file=sys.stderr)
    finally:
        _seen.append(folder.name)


def _row(
    study: Train | Evaluate,
    folder: Path,
    forecast: RunForecast,
    outcome: Any,
    tokens: int,
    seconds: float,
) -> dict[str, Any]:
    devices = forecast.devices
    if forecast.device.is_cpu:
        devices = 1  # ranks share its cores
    predicted_seconds = None
    if forecast.hours is not None:
        predicted_seconds = round(forecast.hours * 3600, 1)
    operations = OPERATIONS[forecast.work.kind] * forecast.parameters * 1e9 * tokens
    return {
        "time": time.time(),
        "run": folder.name,
        "device": device_named(str(outcome.get("device", forecast.device.name))),
        "work": forecast.work.kind,
        "engine": family_of(study),
        "model": study.model.name,
        "parameters": forecast.parameters,
        "devices": forecast.devices,
        "tokens": tokens,
        "predicted_tokens": forecast.work.tokens,
        "seconds": seconds,
        "predicted_seconds": predicted_seconds,
        "tflops": operations / seconds / 1e12 / devices,
        "memory_gib": _peak_gib(study, outcome),
        "predicted_memory_gib": forecast.memory_gib,
        "uncorrected_memory_gib": forecast.counted_gib,
    }


def _trained(outcome: dict[str, Any]) -> tuple[int, float]:
    """Return tokens and seconds of the same steps: those of the last attempt, if the training was
    interrupted.
    """
    attempt = outcome.get("last_attempt") or outcome
    return int(attempt["tokens"]), float(attempt["seconds"])


def _answered(outcome: dict[str, Any]) -> tuple[int, float]:
    """Return tokens read and written for the answers that this command generated, and its seconds
    for them.
    """
    speed = outcome["answers"]
    return int(speed["tokens"]), float(speed["seconds"])


def _peak_gib(study: Train | Evaluate, outcome: dict[str, Any]) -> float | None:
    """Return the peak memory of one rank in GiB: as the ranks measured it, else of this command's
    only process on a processor.
    """
    if outcome.get("memory"):
        return float(outcome["memory"]["measured_gib"])
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and isinstance(study, Evaluate):
        return torch.cuda.max_memory_allocated() / 1024**3
    if _seen or outcome.get("device", "cpu") != "cpu":
        return None
    who = resource.RUSAGE_SELF
    if isinstance(study, Train):
        who = resource.RUSAGE_CHILDREN
    return resource.getrusage(who).ru_maxrss / 1024**2


def _append(path: Path, row: dict[str, Any]) -> None:
    """Append one line, in one write, so that jobs at the same time do not mix theirs."""
    data = (json.dumps(row) + "\n").encode()
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)
