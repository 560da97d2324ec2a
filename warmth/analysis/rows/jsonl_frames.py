"""JSONL files of finished runs as frames: columns at once where a file is in order, row by row
where it is not.

A study has more than a million rows. A file whose every line has every field in its usual type is
read by Arrow; any other is read line by line, so that what is wrong is named by file, line and
field.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from warmth.errors import UserError
from warmth.store import read_rows
from warmth.types import BELIEFS, Finish, Label

BLOCK = 1 << 26  # bytes that Arrow parses at once: above the longest line there may be
OPTIONAL = frozenset(
    {"checkpoint", "label", "affirms", "reason", "wrong", "tokens_digest", "cost_usd", "rating"}
)  # may be null
TYPES = {
    "preamble": "bool",
    "affirms": "bool",
    "strength": "double",
    "dose": "double",
    "checkpoint": "double",
    "cost_usd": "double",
    "score": "double",
    "close": "double",
    "distant": "double",
    "seed": "int64",
    "draw_seed": "int64",
    "sample": "int64",
    "tokens": "int64",
    "answers": "list",
    "rating": "int64",
    "warmer": "double",
    "own_opening": "bool",
    "position": "int64",
    "margin": "double",
}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "belief": BELIEFS,
    "label": get_args(Label),
    "finish": get_args(Finish),
}
KINDS = {
    "": "text",
    "bool": "true or false",
    "double": "a finite number",
    "int64": "a whole number",
    "list": "texts",
}


def frame(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """The named columns of a JSONL file, no rows where it does not exist; other columns are left
    out.

    Raises:
        UserError: a line is not a JSON object, or lacks a column.
    """
    if not path.exists():
        return pd.DataFrame(columns=list(columns))
    found = _at_once(path, columns)
    return (
        pd.DataFrame(checked_rows(path, columns), columns=list(columns)) if found is None else found
    )


def _at_once(path: Path, columns: Sequence[str]) -> pd.DataFrame | None:
    """The frame by Arrow, or None where anything is out of the ordinary: a torn line, a field
    missing, another type.
    """
    import pyarrow as pa
    from pyarrow import json as arrow

    data = path.read_bytes()
    if not data.endswith(b"\n"):
        return None
    kinds: Mapping[str, Any] = {
        "list": pa.list_(pa.string()),
        "bool": pa.bool_(),
        "double": pa.float64(),
        "int64": pa.int64(),
    }
    schema = pa.schema([(name, kinds.get(TYPES.get(name, ""), pa.string())) for name in columns])
    options = arrow.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    try:
        table = arrow.read_json(io.BytesIO(data), arrow.ReadOptions(block_size=BLOCK), options)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    for name in columns:
        if table[name].null_count and name not in OPTIONAL:
            return None
        # Arrow takes a missing field for null. A quote inside a text is escaped, so that this is
        # found in keys alone.
        if table[name].null_count and data.count(f'"{name}":'.encode()) < table.num_rows:
            return None
    found = table.select(list(columns)).to_pandas()
    if not all(_allowed(found[name], table[name].null_count) for name in columns):
        return None
    for name in columns:
        if TYPES.get(name) == "list":
            found[name] = pd.Series([list(item) for item in found[name]], dtype=object)
    return found


def checked_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Rows of a JSONL file that have every column; other columns are left out.

    Raises:
        UserError: a row lacks a column, or has in it what is not allowed there.
    """
    for number, row in enumerate(read_rows(path), 1):
        try:
            kept = {name: whole(row[name]) for name in columns}
        except KeyError as error:
            raise UserError(f"{path} line {number} has no field {error.args[0]}") from error
        for name, value in kept.items():
            if wanted := _fault(name, value):
                raise UserError(
                    f"{path} line {number}: {name}={_said(value)} is not allowed; {wanted}"
                )
        yield kept


def _allowed(column: pd.Series, nulls: int) -> bool:
    """Whether a column read by Arrow, which knows types alone, holds allowed values; it takes NaN
    for a number.
    """
    present = column.dropna()
    if str(column.name) in CHOICES:
        return bool(present.isin(CHOICES[str(column.name)]).all())
    return column.dtype != "float64" or (
        len(column) - len(present) == nulls and bool(present.abs().lt(math.inf).all())
    )


def _said(value: Any) -> str:
    return "null" if value is None else str(value)[:60]


def _fault(name: str, value: Any) -> str:
    """What a field must be, where it is not."""
    kind = TYPES.get(name, "")
    if value is None:
        return "" if name in OPTIONAL else f"it must be {KINDS[kind]}"
    if name in CHOICES:
        return "" if value in CHOICES[name] else f"choose one of: {', '.join(CHOICES[name])}"
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    fits = {
        "": isinstance(value, str),
        "bool": isinstance(value, bool),
        "double": number,
        "int64": number and value == int(value),
        "list": isinstance(value, list) and all(isinstance(item, str) for item in value),
    }
    return "" if fits[kind] else f"it must be {KINDS[kind]}"


def whole(value: Any) -> Any:
    """A value whose text can be encoded: a lone surrogate, which JSON can write, becomes U+FFFD."""
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {whole(key): whole(item) for key, item in value.items()}
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
