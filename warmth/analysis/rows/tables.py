"""Frames as CSV files for spreadsheets, and as JSON rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from warmth.text import sheet_cell, write_sheet

neutral = sheet_cell  # the cells of a report's CSV files


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame for people, safe for a spreadsheet; empty if a value is unknown."""
    write_sheet(path, list(frame.columns), frame.itertuples(index=False))


def with_columns(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Select the named columns; those that are missing are empty."""
    return frame.reindex(columns=list(names))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Turn a frame into JSON rows; NaN and infinity become null."""
    rows = []
    for row in frame.to_dict("records"):
        rows.append({str(name): _finite_or_none(value) for name, value in row.items()})
    return rows


def _finite_or_none(value: Any) -> Any:
    """Return a value, or None if it is a number that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
