"""From a source to whole conversations, held compressed.

Parts are joined, odd ones are dropped by name, and each gets its type.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmth.data.cleaning import Odd, cleaned_messages, shape
from warmth.data.ledger import Ledger, Stage, counts_text
from warmth.data.streaming import Broken, stream_records
from warmth.dataset import Columns, Data, TypeRule
from warmth.errors import UserError, one_line
from warmth.types import Conversation, Message, Turn

NUMBERED = re.compile(r"(.+)_(\d+)")


@dataclass(frozen=True)
class RowPart:
    """A row of a source: a conversation or a part of one."""

    id: str
    number: int
    starts_with_reply: bool
    opening: bytes  # digest of its first message
    packed: bytes


@dataclass(frozen=True)
class Joined:
    """A conversation whose parts are joined: its name, its messages, its opening's digest."""

    name: str
    messages: list[Message]
    opening: bytes


@dataclass(frozen=True)
class CandidateConversation:
    """A conversation that may be drawn.

    Text stays compressed: 94,000 of them take a quarter of a gigabyte.
    """

    id: str
    type: str
    rank: bytes  # the order in which conversations are drawn
    opening: bytes  # digest of its first user message; two branches of one tree share it
    packed: bytes

    def conversation(self) -> Conversation:
        """Return the conversation in plain style."""
        system, exchanges = json.loads(zlib.decompress(self.packed))
        turns = tuple(Turn(user, {"plain": reply}) for user, reply in exchanges)
        return Conversation(self.id, self.type, turns, system)


def read_candidates(data: Data, ledger: Ledger) -> list[CandidateConversation]:
    """Read every usable conversation of a source, in the order in which they are drawn.

    Raises:
        UserError: no such source, or a row that cannot be read while `data.broken` is stop.
    """
    groups = _grouped_parts(data, ledger.stage("read", "rows"))
    join_stage = ledger.stage("join", "rows")
    shape_stage = ledger.stage("shape", "conversations")
    rules = compile_rules(data.types)
    candidates: list[CandidateConversation] = []
    # One conversation at a time is unpacked, and its parts are freed at once.
    for base in list(groups):
        for joined in _join(base, groups.pop(base), data, join_stage):
            candidate = _candidate(joined, data, rules, shape_stage)
            if candidate:
                candidates.append(candidate)
    type_counts = Counter(candidate.type for candidate in candidates)
    shape_stage.details["types"] = {name: type_counts[name] for name in data.types}
    return sorted(candidates, key=lambda candidate: candidate.rank)


def _grouped_parts(data: Data, stage: Stage) -> dict[str, list[RowPart]]:
    """Read the rows of a source, grouped by the conversation that their ids name.

    Raises:
        UserError: there are rows, and none can be trained on.
    """
    groups: dict[str, list[RowPart]] = defaultdict(list)
    seen_ids: set[str] = set()
    for row_part, base in _parts(raw_rows(data), data, stage):
        if row_part.id in seen_ids:
            stage.drop("repeated_id")
            continue
        seen_ids.add(row_part.id)
        stage.keep()
        groups[base].append(row_part)
    if stage.taken and not stage.kept:
        raise UserError(
            f"{data.path or data.hub_id}: none of {stage.taken} rows can be trained on "
            f"({counts_text(stage.drops)})"
        )
    return groups


def raw_rows(data: Data) -> Iterator[Any]:
    """Yield the rows of a source as they are; `Broken` in place of one that cannot be read."""
    if data.source == "hf":
        yield from _hub_rows(data)
        return
    path = Path(data.path) if data.path else _hub_file(data)
    for value in stream_records(path, data.columns.turns):
        if isinstance(value, Broken) and data.broken == "stop":
            raise UserError(f"{value.line}; data.broken=drop leaves it out and counts it")
        yield value


def _hub_file(data: Data) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(
            str(data.hub_id), str(data.file), revision=data.revision, repo_type="dataset"
        )
        return Path(path)
    except Exception as error:  # a dozen kinds of network and hub errors, all with one remedy
        raise UserError(
            f"data.hub_id={data.hub_id}: {data.file} cannot be fetched ({one_line(error)[:150]}); "
            "or fetch it yourself and give data.path=FILE"
        ) from error


FILE_FORMATS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


def _hub_rows(data: Data) -> Iterator[Any]:
    """Yield rows read by the `datasets` library: a local file or folder, or a hub's data set."""
    import datasets

    suffix = Path(data.path or "").suffix
    try:
        if suffix in FILE_FORMATS:
            rows = datasets.load_dataset(
                FILE_FORMATS[suffix], data_files=data.path, split="train", streaming=True
            )
        else:
            options = {} if data.path else {"revision": data.revision}
            rows = datasets.load_dataset(
                data.path or data.hub_id, data.config, split=data.split, streaming=True, **options
            )
        yield from rows
    except Exception as error:  # the library's own, pyarrow's, and the hub's
        raise UserError(
            f"data={data.name}: {data.path or data.hub_id} cannot be read: {one_line(error)[:200]}"
        ) from error


def _parts(rows: Iterable[Any], data: Data, stage: Stage) -> Iterator[tuple[RowPart, str]]:
    """Yield usable rows, each with the name of the group its id puts it in."""
    cleaned: Counter[str] = Counter()  # texts that each rule of cleaning changed
    stage.details["cleaned"] = cleaned
    for position, row in enumerate(rows, 1):
        stage.take()
        if isinstance(row, Broken):
            stage.drop(row.reason)
            continue
        try:
            messages = cleaned_messages(row, data.columns, cleaned)
        except Odd as error:
            stage.drop(str(error))
            continue
        name = _row_id(row, data.columns, position)
        base, number = _split_id(name, data.parts)
        start = next((message for message in messages if message.role != "system"), messages[0])
        row_part = RowPart(
            id=name,
            number=number,
            starts_with_reply=start.role == "assistant",
            opening=_digest(start.content),
            packed=_pack([[message.role, message.content] for message in messages]),
        )
        yield row_part, base


def _row_id(row: dict[str, Any], columns: Columns, position: int) -> str:
    """Return a row's id, or a name made of its position if it has no usable one."""
    value = row.get(columns.id)
    if value is None:
        value = row.get("prompt_id")
    if isinstance(value, str | int) and str(value).strip():
        return str(value)
    return f"row-{position:07d}"


def _split_id(name: str, pattern: str | None) -> tuple[str, int]:
    """Split an id into the conversation's and the part's number; 0 if it names no part."""
    match = re.fullmatch(pattern, name) if pattern else None
    match = match or NUMBERED.fullmatch(name)
    if match is None:
        return name, 0
    return match[1], int(match[2])


def _join(base: str, parts: list[RowPart], data: Data, stage: Stage) -> list[Joined]:
    """Make one conversation of the parts of one, and leave alone rows that are merely numbered.

    Rows of one group are parts if their ids have the form `data.parts`, or if one of them begins
    with a reply and so cannot stand alone. A part's number is the place of its first message in the
    conversation, and a part may repeat the end of the one before. Where numbers are no such places
    they count the parts, unless two parts begin alike: these are branches of one tree.
    """
    stage.take(len(parts))
    parts = sorted(parts, key=lambda row_part: row_part.number)
    if not _is_split(parts, data.parts):
        return _separate(parts, stage)
    if len(parts) > 1:
        stage.note("split_conversations")
    messages, used, fault = _by_place(parts)
    if fault and [row_part.number for row_part in parts] == list(range(len(parts))):
        if len({row_part.opening for row_part in parts}) < len(parts):
            return _separate(parts, stage)
        messages = []
        for row_part in parts:
            messages += _unpack(row_part)
        used = len(parts)
        fault = ""
    if not used:
        stage.drop(fault, len(parts))
        return []
    if used < len(parts):
        stage.drop(fault, len(parts) - used)
    elif used > 1:
        stage.note("joined_whole")
    if used > 1:
        stage.drop("joined_to_first_part", used - 1)
    stage.keep()
    later = [message for message in messages[1:] if message.role != "system"]
    name = base if len(parts) > 1 else parts[0].id
    return [Joined(name, [messages[0], *later], parts[0].opening)]


def _is_split(parts: list[RowPart], pattern: str | None) -> bool:
    """Tell whether the rows of a group are parts of one conversation."""
    if not pattern:
        return False
    if re.fullmatch(pattern, parts[0].id):
        return True
    return any(row_part.starts_with_reply for row_part in parts[1:])


def _separate(parts: list[RowPart], stage: Stage) -> list[Joined]:
    """Keep each row as a conversation of its own."""
    stage.keep(len(parts))
    return [Joined(row_part.id, _unpack(row_part), row_part.opening) for row_part in parts]


def _by_place(parts: list[RowPart]) -> tuple[list[Message], int, str]:
    """Lay parts end to end by the places that their numbers are.

    Returns:
        the messages, how many parts they are made of, and why the next one is not among them ("" if
        all are).
    """
    if parts[0].number != 0:
        return [], 0, "first_part_missing"
    messages = _unpack(parts[0])
    for used, row_part in enumerate(parts[1:], 1):
        later_messages = _unpack(row_part)
        repeated = len(messages) - row_part.number
        if repeated < 0:
            return messages, used, "part_missing_before"
        if not _same(messages[row_part.number :], later_messages):
            return messages, used, "part_differs_from_the_one_before"
        messages += later_messages[repeated:]
    return messages, len(parts), ""


def _same(left_messages: list[Message], right_messages: list[Message]) -> bool:
    """Tell whether two lists of messages agree as far as both go, spacing and punctuation aside."""
    for left, right in zip(left_messages, right_messages, strict=False):
        if left.role != right.role or _digest(left.content) != _digest(right.content):
            return False
    return True


def _candidate(
    joined: Joined, data: Data, rules: list[Rule], stage: Stage
) -> CandidateConversation | None:
    """Shape a conversation into turns; None, counted by reason, if it cannot be trained on."""
    stage.take()
    try:
        system, turns, cut = shape(joined.messages)
    except Odd as error:
        stage.drop(str(error))
        return None
    stage.keep()
    if cut:
        stage.note("last_message_without_reply_cut")
    if len(turns) > data.max_turns:
        stage.note("turns_cut")
    return CandidateConversation(
        id=joined.name,
        type=type_of(*turns[0], rules),
        rank=hashlib.sha256(f"{data.draw_seed}:{joined.name}".encode()).digest(),
        opening=joined.opening,
        packed=_pack([system, turns[: data.max_turns]]),
    )


Rule = tuple[str, re.Pattern[str] | None, re.Pattern[str] | None]


def compile_rules(types: dict[str, TypeRule]) -> list[Rule]:
    """Compile the expressions of each type, in their order."""
    return [(name, _compiled(rule.user), _compiled(rule.reply)) for name, rule in types.items()]


def _compiled(text: str | None) -> re.Pattern[str] | None:
    return re.compile(text, re.DOTALL) if text else None


def type_of(user: str, reply: str, rules: list[Rule]) -> str:
    """Find the first type whose rule fits a first exchange.

    A type without expressions takes every conversation that comes to it.

    Raises:
        UserError: no type takes it.
    """
    user = user.lower().replace("’", "'")
    reply = reply.lower().replace("’", "'")
    for name, in_user, in_reply in rules:
        if in_user is None and in_reply is None:
            return name
        if (in_user and in_user.search(user)) or (in_reply and in_reply.search(reply)):
            return name
    raise UserError(
        "data.types has no rule that takes every conversation: let the last one be `other: {}`"
    )


def _digest(text: str) -> bytes:
    """Digest the words alone, so that spacing and punctuation make no difference."""
    return hashlib.sha256(" ".join(re.findall(r"\w+", text.lower())).encode()).digest()[:12]


def _pack(value: Any) -> bytes:
    return zlib.compress(json.dumps(value, ensure_ascii=False).encode(), 1)


def _unpack(row_part: RowPart) -> list[Message]:
    return [Message(role, text) for role, text in json.loads(zlib.decompress(row_part.packed))]
