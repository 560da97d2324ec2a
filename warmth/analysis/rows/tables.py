"""Tables for people outside the page: CSV files for spreadsheets, and the headline in a
terminal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from warmth.analysis import wording
from warmth.text import sheet_cell, write_sheet

neutral = sheet_cell  # the cells of a report's CSV files


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame for people, safe for a spreadsheet; empty if a value is unknown."""
    write_sheet(path, list(frame.columns), frame.itertuples(index=False))


def columns(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The named columns, those that are missing empty."""
    return frame.reindex(columns=list(names))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame as JSON rows; NaN and infinity become null."""
    rows = frame.to_dict("records")
    return [
        {str(key): value if _finite(value) else None for key, value in row.items()} for row in rows
    ]


def _finite(value: Any) -> bool:
    return wording.known(value) and not (isinstance(value, float) and math.isinf(value))
