"""What every arm was trained on, and the training loss of every run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from warmth.analysis.report.drawing import figures
from warmth.analysis.report.kernel import ARM, MODEL, Fold, Part, Section, count, table, text
from warmth.analysis.report.study import Study
from warmth.analysis.rows.runs import FinishedRun
from warmth.errors import UserError
from warmth.store import read_json

CAPTION = (
    "What each arm was trained on. Arms of one model are comparable if these numbers are "
    "equal but for the tokens."
)
COLUMNS = ["model", "arm", "seed", "conversations", "replies", "trained_tokens", "left_out", "run"]


def training(study: Study) -> Section | None:
    """Show what the arms were trained on, and draw their losses."""
    losses = figures.losses(study.rows.losses)
    trained = trained_on(study.rows.runs)
    if losses is None and trained.empty:
        return None
    columns = [
        MODEL,
        ARM,
        count("Seed", "seed"),
        count("Conversations", "conversations"),
        count("Replies", "replies"),
        count("Trained tokens", "trained_tokens"),
        text("Cut or left out", "left_out"),
    ]
    parts: list[Part] = []
    frames = {}
    if len(trained):
        parts.append(table("trained-on", CAPTION, columns, trained))
        frames["trained_on"] = trained
    if losses is not None:
        parts.append(Fold("Loss of every run", [losses]))
    return Section(id="training", title="Training", level=3, parts=parts, frames=frames)


def trained_on(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Collect what each finished training run counted.

    Returns:
        model, arm, seed, conversations, replies, trained_tokens, left_out (a text), run; runs of
        providers have none.
    """
    rows: list[dict[str, Any]] = []
    for run in runs:
        summary = _summary(run.folder / "summary.json")
        if run.evaluation or "conversations" not in summary:
            continue
        counts = summary.get("counts") or {}
        left_out = ", ".join(
            f"{reason} {entry['count']}" for reason, entry in sorted(counts.items())
        )
        rows.append(
            {
                "model": run.model,
                "arm": run.arm,
                "seed": run.config.get("seed", 0),
                "conversations": summary["conversations"],
                "replies": summary.get("replies"),
                "trained_tokens": summary.get("trained_tokens"),
                "left_out": left_out or "none",
                "run": run.folder.name,
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _summary(path: Path) -> dict[str, Any]:
    """Read a run's summary; empty if it has none that can be read."""
    try:
        content = read_json(path)
    except (OSError, ValueError, UserError):
        return {}
    return content if isinstance(content, dict) else {}
