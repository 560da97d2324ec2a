"""What was paid for: an append-only file of replies that many processes share, and their claims.

One line holds one reply. A line is written by a single append and begins with a newline of its own,
so that a line torn by a kill never takes its neighbour along. Claims are byte-range locks: the
kernel takes them back from a dead process.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warmth.errors import UserError

HEAD = '{"key": "'  # every line begins so: keys are then found without parsing
DIGITS = 15  # hex digits of a key used as a place in the file of claims and in the index: 60 bits
BLOCK = 1 << 22


class ReplyCache:
    """The replies under one folder. One object for each client; not to be shared among threads.

    Args:
        folder: made if missing; holds `replies.jsonl` and `claims`, an empty file that is only
            locked. Where it cannot be written, what it holds can still be read: only a call that is
            missing fails.

    Raises:
        UserError: the folder cannot be written and holds nothing.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(folder / "replies.jsonl", flags, 0o644)
            self._claims = os.open(folder / "claims", flags, 0o644)
        except OSError as error:
            if not (folder / "replies.jsonl").exists():
                raise UserError(f"{folder} cannot be written: {error.strerror}") from error
            self._file = os.open(folder / "replies.jsonl", os.O_RDONLY | os.O_CLOEXEC)
            self._claims = os.dup(self._file)
        self._places: dict[int, int] = {}  # place of a key → offset of its line
        self._read = 0  # bytes of the file that are in the index
        self._dirty = False

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the row of a key, if this process has seen it.

        `refresh` looks for those of other processes.
        """
        offset = self._places.get(_place(key))
        if offset is None:
            return None
        try:
            row = json.loads(self._line(offset))
        except ValueError:
            return None  # damaged: it is bought again
        if row.get("key") != key:
            return None  # two keys share a place: the one written first is bought again
        return row

    def refresh(self) -> None:
        """Take in what was appended since, by whichever process."""
        end = os.fstat(self._file).st_size
        while self._read < end:
            block = os.pread(self._file, BLOCK, self._read)
            cut = block.rfind(b"\n") + 1
            if not cut:
                if len(block) < BLOCK:
                    # a line still being written, or torn; the next one starts with a newline
                    return
                cut = len(block)
            self._index(block[:cut], self._read)
            self._read += cut

    def _index(self, block: bytes, start: int) -> None:
        """Note where each row of a block begins; the latest row of a key counts."""
        offset = start
        head = HEAD.encode()
        for line in block.split(b"\n"):
            if line.startswith(head) and line.endswith(b"}"):
                try:
                    slot = _place(line[len(head) : len(head) + 32].decode())
                except ValueError:
                    slot = -1  # not a line of ours
                if slot >= 0:
                    self._places[slot] = offset
            offset += len(line) + 1

    def _line(self, offset: int) -> bytes:
        """Read the line that begins at a place of the file."""
        text = b""
        while b"\n" not in text:
            block = os.pread(self._file, 1 << 14, offset + len(text))
            if not block:
                break
            text += block
        return text.partition(b"\n")[0]

    def put(self, key: str, row: Mapping[str, Any]) -> None:
        """Add a reply; it survives a kill of this process at once, and a power cut after `sync`.

        Raises:
            UserError: the disk is full.
        """
        text = json.dumps({"key": key, **row}, ensure_ascii=False)
        line = b"\n" + text.encode("utf-8", errors="backslashreplace") + b"\n"
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise UserError(f"{self.folder} cannot be written: {error.strerror}") from error
        if written < len(line):
            raise UserError(f"no space left on device under {self.folder}")
        self._dirty = True
        # Our append ended here, whatever others have appended since.
        end = os.lseek(self._file, 0, os.SEEK_CUR)
        start = end - len(line)
        self._places[_place(key)] = start + 1
        if self._read == start:
            self._read = end

    def note_failed(self, row: Mapping[str, Any]) -> None:
        """Add a reply that is paid for and no answer to `failed.jsonl`, for a person to read.

        It is never looked up.
        """
        line = json.dumps(dict(row), ensure_ascii=False) + "\n"
        try:
            with (self.folder / "failed.jsonl").open("ab") as stream:
                stream.write(line.encode("utf-8", errors="backslashreplace"))
        except OSError:
            return  # what only helps must not fail a call

    def sync(self) -> None:
        """Make all that was put durable."""
        if self._dirty:
            self._dirty = False
            os.fsync(self._file)

    def claim(self, key: str) -> bool:
        """Take the right to send a call; False while another process (or client) holds it.

        Raises:
            UserError: nothing can be claimed here, so a call might be paid twice: no write access,
            or no locks.
        """
        return self._lock(key, fcntl.F_WRLCK)

    def release(self, key: str) -> None:
        """Give a claim back; a process that ends gives back all of its own."""
        self._lock(key, fcntl.F_UNLCK)

    def _lock(self, key: str, kind: int) -> bool:
        # "Open file description" locks belong to this object: two clients of one process exclude
        # each other too.
        request = struct.pack("hhqqi4x", kind, os.SEEK_SET, _place(key), 1, 0)
        try:
            fcntl.fcntl(self._claims, getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK), request)
        except (BlockingIOError, PermissionError):
            return False
        except OSError as error:
            raise UserError(f"{self.folder} cannot be locked: {error.strerror}") from error
        return True

    def close(self) -> None:
        """Sync and close; claims are given back."""
        self.sync()
        os.close(self._file)
        os.close(self._claims)


def _place(key: str) -> int:
    return int(key[:DIGITS], 16)
