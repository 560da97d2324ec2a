"""Tables for people outside the page: CSV files for spreadsheets, and the headline in a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from warmth.analysis import wording
from warmth.text import sheet_cell, write_sheet

neutral = sheet_cell  # the cells of a report's CSV files


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame for people, safe for a spreadsheet; empty if a value is unknown."""
    write_sheet(path, list(frame.columns), frame.itertuples(index=False))


def terminal(headline: pd.DataFrame) -> Table:
    """The headline as a table for `rich`: what each arm gets wrong, what has no label, the difference, the warmth.

    Intervals stand below their numbers, and all answers below the unscored, so that it fits 80 columns. Cells are
    `Text`: data is never read as markup.
    """
    several = headline["model"].nunique() > 1
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for column in (["Model"] if several else []) + ["Arm"]:
        table.add_column(column)
    for column in ("Unscored", "Wrong, %", "Difference,\npoints", "Warmth score"):
        table.add_column(column, justify="right")
    for _, row in headline.iterrows():
        cells = [Text(wording.name(row["model"]))] if several else []
        shift = wording.span(row["difference_low"], row["difference_high"], sign=True)
        score = f"{row['score']:.4f}".replace("-", wording.MINUS)
        cells += [Text(wording.name(row["arm"])), over(f"{row['unscored']:,}", f"of {row['answers']:,}")]
        cells.append(over(wording.percent(row["rate"]), wording.span(row["low"], row["high"])))
        cells.append(over(wording.points(row["difference"]) if wording.known(row["difference"]) else "—", shift))
        span = wording.span(row["score_low"], row["score_high"], 1.0, 4)
        cells.append(over(score if wording.known(row["score"]) else "—", span))
        table.add_row(*cells)
    return table


def over(text: str, interval: str) -> Text:
    """A number with its interval, where there is one, dimmed on a line of its own."""
    return Text.assemble(text, "\n", (interval, "dim")) if interval else Text(text)


def columns(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The named columns, those that are missing empty."""
    return frame.reindex(columns=list(names))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame as JSON rows; NaN and infinity become null."""
    rows = frame.to_dict("records")
    return [{str(key): value if _finite(value) else None for key, value in row.items()} for row in rows]


def _finite(value: Any) -> bool:
    return wording.known(value) and not (isinstance(value, float) and math.isinf(value))
