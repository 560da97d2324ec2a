"""Texts of a file, as `warmth score` takes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from warmth.errors import UserError
from warmth.store import read_rows


def text_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a file of texts.

    Raises:
        UserError: the file is missing or empty, or a row has no `id` or no text (file, line and field are named).
    """
    if not path.is_file():
        raise UserError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    number = 0
    for number, row in enumerate(read_rows(path), 1):
        if "id" not in row:
            raise UserError(f"{path} line {number} has no field id")
        if not isinstance(row.get("text"), str):
            raise UserError(f"{path} line {number}: field text must be a string")
        yield row
    if number == 0:
        raise UserError(f"{path} holds no rows")
