"""Texts of a file, as `warmth score` takes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from warmth.errors import UserError
from warmth.user_rows import user_rows


def text_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of texts.

    Raises:
        UserError: the file is missing or empty, or a row has no `id` or no text (file, line and
        field are named).
    """
    is_empty = True
    for location, row in user_rows(path):
        if "id" not in row:
            raise UserError(f"{location} has no field id")
        if not isinstance(row.get("text"), str):
            raise UserError(f"{location}: field text must be a string")
        is_empty = False
        yield row
    if is_empty:
        raise UserError(f"{path} holds no rows")
