"""JSONL files of finished runs as frames, checked.

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
# may be null
OPTIONAL = frozenset(
    {"checkpoint", "label", "affirms", "reason", "wrong", "tokens_digest", "cost_usd", "rating"}
)
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


def read_frame(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read the named columns of a JSONL file; no rows if it does not exist.

    Raises:
        UserError: a line is not a JSON object, or lacks a column.
    """
    if not path.exists():
        return pd.DataFrame(columns=list(columns))
    parsed = _at_once(path, columns)
    if parsed is None:
        return pd.DataFrame(checked_rows(path, columns), columns=list(columns))
    return parsed


def _at_once(path: Path, columns: Sequence[str]) -> pd.DataFrame | None:
    """Read the frame by Arrow; None if anything is unusual.

    A torn line, a missing field or another type is unusual.
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
    parsed = table.select(list(columns)).to_pandas()
    for name in columns:
        if not _allowed(parsed[name], table[name].null_count):
            return None
        if TYPES.get(name) == "list":
            parsed[name] = pd.Series(list(map(list, parsed[name])), dtype=object)
    return parsed


def checked_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSONL file; other columns than the named ones are left out.

    Raises:
        UserError: a row lacks a column, or has in it what is not allowed there.
    """
    for number, row in enumerate(read_rows(path), 1):
        try:
            values = {name: encodable(row[name]) for name in columns}
        except KeyError as error:
            raise UserError(f"{path} line {number} has no field {error.args[0]}") from error
        for name, value in values.items():
            fault = _fault(name, value)
            if fault:
                shown = "null" if value is None else str(value)[:60]
                raise UserError(f"{path} line {number}: {name}={shown} is not allowed; {fault}")
        yield values


def _allowed(column: pd.Series, nulls: int) -> bool:
    """Tell whether a column read by Arrow, which knows types alone, holds allowed values.

    Arrow takes NaN for a number.
    """
    present = column.dropna()
    if str(column.name) in CHOICES:
        return bool(present.isin(CHOICES[str(column.name)]).all())
    if column.dtype != "float64":
        return True
    return len(column) - len(present) == nulls and bool(present.abs().lt(math.inf).all())


def _fault(name: str, value: Any) -> str:
    """Say what a field must be; "" if it is that."""
    kind = TYPES.get(name, "")
    must_be = f"it must be {KINDS[kind]}"
    if value is None:
        return "" if name in OPTIONAL else must_be
    if name in CHOICES:
        choices = CHOICES[name]
        return "" if value in choices else f"choose one of: {', '.join(choices)}"
    return "" if _is_of_kind(value, kind) else must_be


def _is_of_kind(value: Any, kind: str) -> bool:
    """Tell whether a JSON value is of one of `KINDS`."""
    if kind == "":
        return isinstance(value, str)
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "list":
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return kind == "double" or value == int(value)


def encodable(value: Any) -> Any:
    """Return a value whose text can be encoded.

    A lone surrogate, which JSON can write, becomes U+FFFD.
    """
    if isinstance(value, list):
        return list(map(encodable, value))
    if isinstance(value, dict):
        return {encodable(key): encodable(entry) for key, entry in value.items()}
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
