"""Tables for people outside the page: CSV files for spreadsheets, and the headline in a terminal."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from warmth.analysis import wording

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def neutral(value: Any) -> Any:
    """A text cell that no spreadsheet takes for a formula; numbers, -0.5 among them, stay numbers."""
    if not isinstance(value, str):
        return "" if not wording.known(value) else value
    text = wording.visible(value)
    return f"'{text}" if value.lstrip(" ").startswith(FORMULA) or value.startswith(FORMULA) else text


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Writes a frame for people: UTF-8 with a mark that spreadsheets need, cells neutralised, empty where unknown."""
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(frame.columns)
        writer.writerows([neutral(value) for value in row] for row in frame.itertuples(index=False))


def terminal(headline: pd.DataFrame) -> Table:
    """The headline as a table for `rich`: what each arm gets wrong, how that differs from original, how warm it reads.

    Cells are `Text`, so data is never read as markup.
    """
    several = headline["model"].nunique() > 1
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (["Model"] if several else []) + ["Arm"]:
        table.add_column(column, no_wrap=True)
    for column in ("Answers", "Wrong %", "Difference, points", "Warmth score", "Warmth difference"):
        table.add_column(column, justify="right")
    for _, row in headline.iterrows():
        cells = [wording.name(row["model"])] if several else []
        cells += [
            wording.name(row["arm"]),
            f"{row['answers']:,}",
            with_span(wording.percent(row["rate"]), row, "low", "high"),
        ]
        if wording.known(row["difference"]):
            cells.append(
                with_span(wording.points(row["difference"]), row, "difference_low", "difference_high", sign=True)
            )
        else:
            cells.append("—")
        for name in ("score", "score_difference"):
            known = wording.known(row[name])
            cells.append(warm_number(row, name) if known else "—")
        table.add_row(*(Text(cell) for cell in cells))
    return table


def with_span(text: str, row: Any, low: str, high: str, sign: bool = False) -> str:
    """A number and, where known, its interval in brackets."""
    interval = wording.span(row[low], row[high], sign=sign)
    return f"{text} [{interval}]" if interval else text


def warm_number(row: Any, name: str) -> str:
    """A warmth score, or a difference of two, with its interval."""
    change = name.endswith("difference")
    text = wording.signed(row[name], 4) if change else f"{row[name]:.4f}".replace("-", wording.MINUS)
    interval = wording.span(row[f"{name}_low"], row[f"{name}_high"], 1.0, 4, sign=change)
    return f"{text} [{interval}]" if interval else text


def columns(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The named columns, those that are missing empty."""
    return frame.reindex(columns=list(names))
