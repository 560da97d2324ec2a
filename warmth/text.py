"""Text that is not ours made safe for a reader: on a terminal, in a spreadsheet, on a page. One
rule for each place.

Names, answers and files' contents are data: nothing in them may move a cursor, turn the writing
direction, or run as a formula. Escaping for HTML is the template's work (it escapes everything that
is not marked safe).
"""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# Characters that would move the cursor, turn the writing direction, or cannot be encoded at all.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def visible(text: Any, limit: int | None = None) -> str:
    """Show control and direction characters instead of obeying them, and cut the text to `limit`
    characters.

    Returns:
        the text, in which a control character is its picture (U+2400 …) and what has none is
        U+FFFD; line feeds and tabs stay.
    """
    text = str(text)
    if limit is not None and len(text) > limit:
        text = text[: limit - 1].rstrip() + "…"
    return _UNSEEN.sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else "\N{REPLACEMENT CHARACTER}"


def line(text: Any, limit: int | None = None) -> str:
    """Make text visible on one line: runs of white space become one space."""
    return visible(" ".join(str(text).split()), limit)


def sheet_cell(value: Any) -> Any:
    """Make a value safe for a spreadsheet: a text that it would take for a formula gets a leading
    apostrophe.

    Numbers, -0.5 among them, stay numbers; None and NaN become an empty cell.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str):
        return value
    is_formula = value.startswith(_FORMULA) or value.lstrip(" ").startswith(_FORMULA)
    if is_formula:
        return f"'{visible(value)}"
    return visible(value)


def write_sheet(path: Path, columns: Sequence[Any], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file for people: UTF-8 with the mark that spreadsheets need, every cell safe."""
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([sheet_cell(column) for column in columns])
        writer.writerows([sheet_cell(value) for value in row] for row in rows)


def duration(seconds: float) -> str:
    """Write seconds in the units that fit them: `8 s`, `4 min 10 s`, `3 h 05 min`, `2 d 4 h`."""
    all_minutes, second = divmod(max(0, round(seconds)), 60)
    all_hours, minute = divmod(all_minutes, 60)
    days, hour = divmod(all_hours, 24)
    if days:
        return f"{days} d {hour} h"
    if all_hours:
        return f"{all_hours} h {minute:02d} min"
    if minute >= 10:
        return f"{minute} min"
    if minute:
        return f"{minute} min {second:02d} s"
    return f"{second} s"


def print_json(value: Any) -> None:
    """Print JSON for machines on standard output, in ASCII so that no terminal or pipe can stumble
    over it.
    """
    print(json.dumps(value, ensure_ascii=True, allow_nan=False, default=_python_number))


def print_json_rows(rows: Iterable[dict[str, Any]]) -> None:
    """Print `{"rows": [...]}` row by row, so that nothing has to be held in memory; ASCII, as
    `print_json`.
    """
    rows = iter(rows)
    first_row = next(rows)  # an error before it leaves standard output empty
    print('{"rows": [' + json.dumps(first_row, ensure_ascii=True), end="")
    for row in rows:
        print(",\n" + json.dumps(row, ensure_ascii=True), end="")
    print("]}")


def _python_number(value: Any) -> Any:
    """Turn a number of NumPy into one of Python."""
    return value.item()


def say(line: str) -> None:
    """Print one line for the user on standard error, at once; standard output is for results."""
    print(line, file=sys.stderr, flush=True)
