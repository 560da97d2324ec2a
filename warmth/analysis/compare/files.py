"""Opening what a tool wrote: packed or not, in UTF-8 or what its first bytes say, and one line if
it is damaged.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from warmth.errors import UserError

GZIP = b"\x1f\x8b"
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    """Read a text file whole, unpacked if it is gzip.

    Raises:
        UserError: it cannot be read, is a damaged archive, or is in no encoding that its bytes
        tell.
    """
    try:
        content = path.read_bytes()
        if content.startswith(GZIP):
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is a damaged gzip file: {error}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not in UTF-8 (byte {error.start + 1:,} is {content[error.start]:#04x}); "
            f"save it as UTF-8"
        ) from error


def read_json_file(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: as `read_text`, or it is no JSON.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str | bytes, place: str) -> Any:
    """Parse JSON.

    Raises:
        UserError: it is none; the line names the place.
    """
    try:
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise UserError(f"{place} is not in UTF-8") from error
    except ValueError as error:
        raise UserError(f"{place} is no JSON: {error}") from error
    except RecursionError as error:
        raise UserError(f"{place} is nested too deeply") from error


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file with one JSON object on each line.

    Raises:
        UserError: as `read_text`, or a line is no JSON object; the message names the line.
    """
    for number, text in enumerate(read_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        row = parse_json(text, f"{path} line {number}")
        if not isinstance(row, dict):
            raise UserError(f"{path} line {number} is no JSON object")
        yield row
