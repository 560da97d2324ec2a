"""Rows of a user's own file (JSONL, a JSON array, CSV with a header), each with the place that an
error names.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from warmth.errors import UserError, one_line

Placed = tuple[str, dict[str, Any]]  # "FILE line N" and the row


def user_rows(path: Path, columns: Sequence[str] = ()) -> Iterator[Placed]:
    """Read a file's rows, in order.

    Args:
        path: its suffix, .jsonl, .json or .csv, says the format.
        columns: what a CSV file's header must have.

    Raises:
        UserError: no such file, another format, or a row that cannot be read (file and line are
        named).
    """
    if not path.is_file():
        raise UserError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    readers = {".jsonl": _jsonl_rows, ".json": _json_rows, ".csv": _csv_rows}
    if path.suffix not in readers:
        raise UserError(f"{path}: only {', '.join(readers)} files can be read")
    try:
        for line, row in readers[path.suffix](path):
            if not isinstance(row, dict):
                raise UserError(f"{path} line {line}: not a JSON object")
            if path.suffix == ".csv":
                _check_header(path, row, columns)
            yield f"{path} line {line}", row
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {one_line(error)}") from error
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV file: {one_line(error)}") from error


def text_of(row: Mapping[str, Any], field: str, place: str) -> str:
    """Read a field that must hold a text.

    Raises:
        UserError: it is missing, or holds something else or white space alone (place and field are
        named).
    """
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{place}: field {field} must be a text")
    return value


def choice_of(row: Mapping[str, Any], field: str, place: str, allowed: Iterable[str]) -> str:
    """Read a field that must hold one of a few words, in any case; "" if it is empty.

    Raises:
        UserError: it holds another word (place, field, value and the allowed words are named).
    """
    value = str(row.get(field) or "").strip().lower()
    if value and value not in allowed:
        raise UserError(
            f"{place}: {field}={row[field]} is not allowed; choose one of: {', '.join(allowed)}"
        )
    return value


def _check_header(path: Path, row: Mapping[Any, Any], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in row]
    if missing:
        raise UserError(f"{path} has no column {missing[0]}; it needs {', '.join(columns)}")


def _jsonl_rows(path: Path) -> Iterable[tuple[int, Any]]:
    with path.open(
        encoding="utf-8", newline="\n"
    ) as stream:  # split on \n only: texts hold other Unicode line breaks
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path} line {number}: not JSON ({error.msg})") from error


def _json_rows(path: Path) -> Iterable[tuple[int, Any]]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} line {error.lineno}: not JSON ({error.msg})") from error
    if not isinstance(value, list):
        raise UserError(f"{path}: not a JSON array of rows")
    return enumerate(value, 1)


def _csv_rows(path: Path) -> Iterable[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        for row in reader:
            yield reader.line_num, row
