"""Inspect's logs, `.eval` (a ZIP file of JSON) and `.json`, read without Inspect.

An item is a sample's id, its epoch the log's; a score whose value is a dictionary is a metric for
each key. What is right is a letter (C, P, I, N), a number or a truth value; NaN is Inspect's mark
of an unscored sample. Format: https://inspect.aisi.org.uk/eval-logs.html
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from warmth.analysis.compare.clusters import cluster_of
from warmth.analysis.compare.files import parse_json, read_json_file
from warmth.analysis.compare.scores import (
    UNIT,
    Evaluation,
    Item,
    collect,
    content_of,
    first_words,
    shown,
)
from warmth.analysis.wording import amount
from warmth.errors import UserError

HEADERS = ("header.json", "_journal/start.json")  # the second: of a log that was not finished
SUMMARIES = "summaries.json"
SAMPLES = "samples/"
ZSTANDARD = 93  # the ZIP method that Inspect writes
CUT = "..."  # at the end of what a summary shortened
SHORT = 1_000  # characters from which it shortens


def read_inspect_log(path: Path, source: str, cluster: str | None) -> Evaluation:
    """Read one log.

    Args:
        path: of the file.
        source: the path as the user wrote it, for messages.
        cluster: see `clusters.cluster_of`.

    Raises:
        UserError: it cannot be read, is no log, or has no samples or scores.
    """
    if zipfile.is_zipfile(path):
        archive, header = _open_archive(path)
        samples = _archived_samples(archive)
    elif path.suffix == ".eval":
        raise UserError(f"{path} is a damaged Inspect log: no ZIP file")
    else:
        log = read_json_file(path)
        if not is_log(log):
            raise UserError(f"{path} is no Inspect log: it has no `eval` and `samples`")
        header = log
        samples = iter(log.get("samples") or [])
    about = header.get("eval") or {}
    task = str(about.get("task") or "")
    items = [_item(sample, task, cluster) for sample in samples]
    if not items:
        raise UserError(f"{path} holds no samples")
    system = str(about.get("model") or path.stem)
    return collect(system, source, items, _notes(header, items, source))


def _notes(header: Mapping[str, Any], items: Sequence[Item], source: str) -> list[str]:
    """Say what a reader should know of a log: that it is not complete, that scores are N."""
    notes = []
    status = header.get("status", "success")
    if status != "success":
        notes.append(f"{shown(source)} is not complete (status {shown(status)})")
    without_answer = 0
    for sample in items:
        without_answer += list(sample.scores.values()).count("N")
    if without_answer:
        count = amount(without_answer, "score")
        notes.append(f"{shown(source)}: {count} N (no answer), counted as 0, as in Inspect")
    return notes


def read_whole(path: Path) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """Read a log with its samples whole, messages and output too.

    Returns:
        the header, and the samples.

    Raises:
        UserError: it is damaged.
    """
    if not zipfile.is_zipfile(path):
        log = read_json_file(path)
        return log, iter(log.get("samples") or [])
    archive, header = _open_archive(path)
    return header, map(archive.json, archive.samples())


def is_log(content: Any) -> bool:
    """Say whether parsed JSON is an Inspect log."""
    return (
        isinstance(content, dict) and isinstance(content.get("eval"), dict) and "samples" in content
    )


def _item(sample: Any, task: str, cluster: str | None) -> Item:
    if not isinstance(sample, dict):
        raise UserError(f"task {shown(task)}: a sample is no JSON object")
    question = content_text(sample.get("input"))
    return Item(
        task=task,
        item="" if sample.get("id") is None else str(sample["id"]),
        epoch=str(sample.get("epoch") or UNIT),
        cluster=cluster_of(sample.get("metadata"), cluster),
        content=content_of(
            question=question,
            choices=sample.get("choices"),
            target=listed_values(sample.get("target")),
        ),
        words=first_words(question),
        scores=dict(_scores(sample.get("scores"))),
    )


def _scores(scores: Any) -> Iterator[tuple[str, Any]]:
    """Yield each metric with its value; none for a sample that an error ended."""
    if not isinstance(scores, Mapping):
        return
    for scorer, score in scores.items():
        value = score.get("value") if isinstance(score, Mapping) else score
        if isinstance(value, Mapping):
            for key, number in value.items():
                yield f"{scorer}/{key}", number
        else:
            yield str(scorer), value


def content_text(question: Any) -> str:
    """Give what a sample asks as text; of chat messages role and text, since their ids are drawn
    anew in each run.
    """
    if not isinstance(question, list):
        return "" if question is None else str(question)
    lines = []
    for message in question:
        if isinstance(message, Mapping):
            lines.append(f"{message.get('role', '')}: {_text(message.get('content'))}")
        else:
            lines.append(str(message))
    return "\n".join(lines)


def _text(content: Any) -> str:
    """Give the text of a message's content; of a picture or a sound its reference."""
    if not isinstance(content, list):
        return str(content)
    lines = []
    for block in content:
        if isinstance(block, Mapping):
            kind = str(block.get("type", ""))
            lines.append(str(block.get(kind, block.get("text", ""))))
        else:
            lines.append(str(block))
    return "\n".join(lines)


def listed_values(target: Any) -> list[str]:
    """Give what is right as a list, which one text and a list of one text both are."""
    if target is None or target == "":
        return []
    if isinstance(target, list):
        return [str(value) for value in target]
    return [str(target)]


# --- the archive ---


def _open_archive(path: Path) -> tuple[Archive, dict[str, Any]]:
    """Open an `.eval` file; returns it with its header.

    Raises:
        UserError: it is damaged, or holds no header.
    """
    try:
        archive = Archive(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is a damaged Inspect log: {error}") from error
    name = next((name for name in HEADERS if name in archive.entries), None)
    if name is None:
        raise UserError(f"{path} is no Inspect log: it has no {HEADERS[0]}")
    header = archive.json(name)
    if not isinstance(header, dict):
        raise UserError(f"{path}/{name} is no JSON object")
    if name != HEADERS[0]:
        header = {**header, "status": "started"}
    return archive, header


def _archived_samples(archive: Archive) -> Iterator[dict[str, Any]]:
    """Yield the samples.

    Their summaries stand together in one small entry and hold all that is needed, unless something
    in one was cut: that sample is read itself, as are all if a summary is missing.
    """
    names = archive.samples()
    summaries = archive.json(SUMMARIES) if SUMMARIES in archive.entries else []
    if not isinstance(summaries, list) or len(summaries) != len(names):
        for name in names:
            yield archive.json(name)
        return
    for summary in summaries:
        name = f"{SAMPLES}{summary.get('id')}_epoch_{summary.get('epoch')}.json"
        if is_cut(summary) and name in archive.entries:
            yield archive.json(name)
        else:
            yield summary


def is_cut(summary: Mapping[str, Any]) -> bool:
    """Say whether a summary shortened what was asked or what is right."""
    question = summary.get("input")
    if isinstance(question, list):
        return True
    texts = [content_text(question), *listed_values(summary.get("target"))]
    return any(text.endswith(CUT) or len(text) >= SHORT for text in texts)


class Archive:
    """The entries of a ZIP file, also those packed by Zstandard, which Python unpacks by itself
    from 3.14 on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            self.entries = {entry.filename: entry for entry in archive.infolist()}

    def samples(self) -> list[str]:
        """List the names of the samples' entries."""
        names = []
        for name in self.entries:
            if name.startswith(SAMPLES) and name.endswith(".json"):
                names.append(name)
        return names

    def json(self, name: str) -> Any:
        """Read an entry as JSON.

        Raises:
            UserError: it is damaged or no JSON.
        """
        return parse_json(self.read(name), f"{self.path}/{name}")

    def read(self, name: str) -> bytes:
        """Unpack an entry and check its length and checksum.

        Raises:
            UserError: it is damaged, or packed in a way that is not known.
        """
        entry = self.entries[name]
        # a local header: 26 bytes, then the lengths of the name and of the extra field that stand
        # before the data
        lengths_at = entry.header_offset + 26
        name_length = int.from_bytes(self.content[lengths_at : lengths_at + 2], "little")
        extra_length = int.from_bytes(self.content[lengths_at + 2 : lengths_at + 4], "little")
        start = lengths_at + 4 + name_length + extra_length
        packed = self.content[start : start + entry.compress_size]
        try:
            content = _unpack(packed, entry.compress_type)
        except (ValueError, zlib.error) as error:
            raise UserError(f"{self.path} is a damaged Inspect log: {name}: {error}") from error
        if len(content) != entry.file_size or zlib.crc32(content) != entry.CRC:
            raise UserError(f"{self.path} is a damaged Inspect log: {name} is not what was packed")
        return content


def _unpack(packed: bytes, method: int) -> bytes:
    """Unpack the data of an entry.

    Raises:
        ValueError: it is damaged, or the method is not known.
        zlib.error: it is damaged.
    """
    if method == zipfile.ZIP_STORED:
        return packed
    if method == zipfile.ZIP_DEFLATED:
        return zlib.decompress(packed, -zlib.MAX_WBITS)
    if method != ZSTANDARD:
        raise ValueError(f"packed by method {method}, which is not known")
    import zstandard

    content = bytearray()
    try:
        while packed:  # an entry of more than 200 MB has several frames
            frame = zstandard.ZstdDecompressor().decompressobj()
            content += frame.decompress(packed)
            packed = frame.unused_data
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    return bytes(content)
