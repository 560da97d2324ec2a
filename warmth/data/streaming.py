"""Rows of large JSON and JSONL files, one at a time: 600 MB need a few megabytes of memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from warmth.errors import UserError

CHUNK = 4_000_000  # characters read at once
LONGEST = 64_000_000  # characters of one row, above which the file is taken to be broken
NEXT_ROW = re.compile(r"\}\s*,\s*(?=\{)")  # where reading may go on behind a broken row
NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what Python makes of bytes that are no UTF-8
DECODER = json.JSONDecoder(strict=False)  # raw line breaks inside texts are tolerated


@dataclass(frozen=True)
class Broken:
    """A row that cannot be read: why (a reason of `counts.json`), and one line about it."""

    reason: str  # broken_json, truncated_file or wrong_encoding
    line: str


def stream_records(path: Path, key: str) -> Iterator[Any]:
    """Yield the rows of a JSON array or of JSON lines; a `Broken` for what cannot be read.

    Args:
        path: the file, UTF-8 with or without a byte-order mark.
        key: a field every row has, by which the next row is found behind a broken one.

    Raises:
        UserError: no such file, or neither of both forms.
    """
    if not path.exists():
        raise UserError(f"data.path={path} does not exist")
    if not path.is_file():
        raise UserError(f"data.path={path} is not a file")
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as stream:
        head = stream.read(CHUNK)
        start = head.lstrip()[:1]
        if start == "[":
            yield from _array(stream, head, path, key)
        elif start == "{":
            stream.seek(0)
            yield from _lines(stream, path)
        elif NOT_UTF8.match(start) or "\0" in head[:64]:
            raise UserError(f"{path} is not UTF-8 text (UTF-16 or a compressed file?)")
        else:
            raise UserError(f"{path} is neither a JSON array nor JSON lines")


def _lines(stream: TextIO, path: Path) -> Iterator[Any]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            value = _decode(line.removeprefix("\ufeff"), 0, whole=True)[0]
        except json.JSONDecodeError as error:
            if line.endswith("\n"):
                yield Broken("broken_json", f"{path} line {number} is not JSON: {error.msg}")
            else:
                yield Broken("truncated_file", f"{path} is cut off in line {number}")
            continue
        if NOT_UTF8.search(line):
            yield Broken("wrong_encoding", f"{path} line {number} is not UTF-8")
        else:
            yield value


def _array(stream: TextIO, buffer: str, path: Path, key: str) -> Iterator[Any]:
    """Decode value after value from a sliding buffer; what lies before `at` is done with."""
    at = buffer.index("[") + 1
    count = 0
    dropped = 0  # characters that have left the buffer
    while True:
        while buffer[at : at + 1].isspace() or buffer.startswith(",", at):
            at += 1
        if buffer.startswith("]", at):
            return
        try:
            if at == len(buffer):
                raise json.JSONDecodeError("Expecting value", buffer, at)
            value, end = _decode(buffer, at)
        except json.JSONDecodeError as error:
            if _may_go_on(error, buffer, at):
                more = stream.read(max(CHUNK, len(buffer) - at))
                if not more:
                    yield Broken("truncated_file", f"{path} is cut off after {count} whole rows")
                    return
                dropped += at
                buffer = buffer[at:] + more
                at = 0
                continue
            yield Broken(
                "broken_json",
                f"{path} is not JSON after row {count}: {error.msg} at {dropped + error.pos}",
            )
            buffer, at = _next_row(stream, buffer, error.pos, key)
            continue
        count += 1
        if not buffer.isascii() and NOT_UTF8.search(buffer, at, end):
            yield Broken("wrong_encoding", f"{path} row {count} is not UTF-8")
        else:
            yield value
        at = end


def _decode(text: str, at: int, whole: bool = False) -> tuple[Any, int]:
    """Read the value at a place of a text, and where it ends; `whole`: nothing may follow.

    Raises:
        JSONDecodeError: whatever the mistake is.
    """
    try:
        if whole:
            return DECODER.decode(text), len(text)
        return DECODER.raw_decode(text, at)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise json.JSONDecodeError("nested too deeply", text, at) from error
    except ValueError as error:  # Python's limit on digits
        raise json.JSONDecodeError("a number is too long", text, at) from error


def _may_go_on(error: json.JSONDecodeError, buffer: str, at: int) -> bool:
    """Tell whether the buffer merely ends inside a value, rather than holds a mistake."""
    at_end = error.pos >= len(buffer) - 10 or error.msg.startswith("Unterminated string")
    return at_end and len(buffer) - at < LONGEST


def _next_row(stream: TextIO, buffer: str, at: int, key: str) -> tuple[str, int]:
    """Find where the next row with the field `key` begins.

    Returns:
        the buffer and the place in it; an end of the array if there is no such row.
    """
    while True:
        for match in NEXT_ROW.finditer(buffer, at):
            try:
                value, _ = _decode(buffer, match.end())
            except json.JSONDecodeError:
                continue
            if isinstance(value, dict) and key in value:
                return buffer, match.end()
        more = stream.read(CHUNK)
        if not more:
            return "]", 0
        # The buffer's tail is looked at again: a row may have begun there.
        buffer = buffer[max(at, len(buffer) - CHUNK) :] + more
        at = 0
