"""From a source to whole conversations, held compressed: parts joined, odd ones dropped by name,
types given.
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

from warmth.data.cleaning import Odd, messages_of, shape
from warmth.data.ledger import Ledger, Stage
from warmth.data.streaming import Broken, records
from warmth.dataset import Data, TypeRule
from warmth.errors import UserError, one_line
from warmth.types import Conversation, Message, Turn

NUMBERED = re.compile(r"(.+)_(\d+)")


@dataclass(frozen=True)
class Part:
    """A row: a conversation or a part of one."""

    id: str
    number: int
    starts_with_reply: bool
    opening: bytes  # digest of its first message
    packed: bytes


@dataclass(frozen=True)
class Candidate:
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
        system, turns = json.loads(zlib.decompress(self.packed))
        return Conversation(
            self.id, self.type, tuple(Turn(user, {"plain": reply}) for user, reply in turns), system
        )


def read(data: Data, ledger: Ledger) -> list[Candidate]:
    """Read every usable conversation of a source, in the order in which they are drawn.

    Raises:
        UserError: no such source, or a row that cannot be read while `data.broken` is stop.
    """
    rows = ledger.stage("read", "rows")
    groups: dict[str, list[Part]] = defaultdict(list)
    seen: set[str] = set()
    for part, base in _parts(raw_rows(data), data, rows):
        if part.id in seen:
            rows.drop("repeated_id")
            continue
        seen.add(part.id)
        rows.keep()
        groups[base].append(part)
    if rows.taken and not rows.kept:
        named = ", ".join(f"{reason} {count}" for reason, count in rows.drops.most_common())
        raise UserError(
            f"{data.path or data.hub_id}: none of {rows.taken} rows can be trained on ({named})"
        )
    del seen
    whole = ledger.stage("join", "rows")
    # one conversation at a time is unpacked, and the parts it was made of are let go
    joined = (item for base in list(groups) for item in _join(base, groups.pop(base), data, whole))
    typed = ledger.stage("shape", "conversations")
    rules = compile_rules(data.types)
    found = [candidate for item in joined if (candidate := _candidate(*item, data, rules, typed))]
    typed.details["types"] = {name: sum(item.type == name for item in found) for name in data.types}
    return sorted(found, key=lambda item: item.rank)


def raw_rows(data: Data) -> Iterator[Any]:
    """Yield the rows of a source as they are; `Broken` in place of one that cannot be read."""
    if data.source == "hf":
        yield from _hub_rows(data)
        return
    path = Path(data.path) if data.path else _hub_file(data)
    for value in records(path, data.columns.turns):
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


def _hub_rows(data: Data) -> Iterator[Any]:
    import datasets

    kinds = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
    try:
        if data.path and Path(data.path).suffix in kinds:
            kind = kinds[Path(data.path).suffix]
            rows = datasets.load_dataset(kind, data_files=data.path, split="train", streaming=True)
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


def _parts(rows: Iterable[Any], data: Data, stage: Stage) -> Iterator[tuple[Part, str]]:
    """Usable rows, each with the name of the group its id puts it in."""
    own = re.compile(data.parts) if data.parts else None
    cleaned: Counter[str] = Counter()  # texts that each rule of cleaning changed
    stage.details["cleaned"] = cleaned
    for position, row in enumerate(rows, 1):
        stage.take()
        if isinstance(row, Broken):
            stage.drop(row.reason)
            continue
        try:
            messages = messages_of(row, data.columns, cleaned)
        except Odd as error:
            stage.drop(str(error))
            continue
        given = next(
            (row[key] for key in (data.columns.id, "prompt_id") if row.get(key) is not None), None
        )
        name = (
            str(given)
            if isinstance(given, str | int) and str(given).strip()
            else f"row-{position:07d}"
        )
        match = (own and own.fullmatch(name)) or NUMBERED.fullmatch(name)
        spoken = [message for message in messages if message.role != "system"]
        start = spoken[0] if spoken else messages[0]
        pairs = [[message.role, message.content] for message in messages]
        base, number = (match[1], int(match[2])) if match else (name, 0)
        yield (
            Part(name, number, start.role == "assistant", _digest(start.content), _pack(pairs)),
            base,
        )


def _join(
    base: str, parts: list[Part], data: Data, stage: Stage
) -> list[tuple[str, list[Message], bytes]]:
    """Make one conversation of the parts of one, and leave alone rows that are merely numbered.

    Rows of one group are parts if their ids have the form `data.parts`, or if one of them begins
    with a reply and so cannot stand alone. A part's number is the place of its first message in the
    conversation, and a part may repeat the end of the one before. Where numbers are no such places
    they count the parts, unless two parts begin alike: these are branches of one tree.
    """
    stage.take(len(parts))
    parts = sorted(parts, key=lambda part: part.number)
    named = bool(data.parts) and re.fullmatch(data.parts, parts[0].id) is not None
    continued = len(parts) > 1 and any(part.starts_with_reply for part in parts[1:])
    if not data.parts or not (named or continued):
        stage.keep(len(parts))
        return [(part.id, _unpack(part), part.opening) for part in parts]
    if len(parts) > 1:
        stage.details["split_conversations"] = stage.details.get("split_conversations", 0) + 1
    messages, used, fault = _by_place(parts)
    if fault and [part.number for part in parts] == list(range(len(parts))):
        if len({part.opening for part in parts}) < len(parts):
            stage.keep(len(parts))
            return [(part.id, _unpack(part), part.opening) for part in parts]
        messages = [message for part in parts for message in _unpack(part)]
        used, fault = len(parts), ""
    if not used:
        stage.drop(fault, len(parts))
        return []
    if used < len(parts):
        stage.drop(fault, len(parts) - used)
    elif used > 1:
        stage.details["joined_whole"] = stage.details.get("joined_whole", 0) + 1
    if used > 1:
        stage.drop("joined_to_first_part", used - 1)
    stage.keep()
    later = [message for message in messages[1:] if message.role != "system"]
    return [(base if len(parts) > 1 else parts[0].id, [messages[0], *later], parts[0].opening)]


def _by_place(parts: list[Part]) -> tuple[list[Message], int, str]:
    """Lay parts end to end by the places that their numbers are.

    Returns:
        the messages, how many parts they are made of, and why the next one is not among them ("" if
        all are).
    """
    if parts[0].number != 0:
        return [], 0, "first_part_missing"
    messages = _unpack(parts[0])
    for place, part in enumerate(parts[1:], 1):
        more = _unpack(part)
        repeated = len(messages) - part.number
        if repeated < 0:
            return messages, place, "part_missing_before"
        if not _same(messages[part.number :], more):
            return messages, place, "part_differs_from_the_one_before"
        messages += more[repeated:]
    return messages, len(parts), ""


def _same(left: list[Message], right: list[Message]) -> bool:
    """Tell whether two lists of messages agree as far as both go, spacing and punctuation aside."""
    return all(
        first.role == second.role and _digest(first.content) == _digest(second.content)
        for first, second in zip(left, right, strict=False)
    )


def _candidate(
    name: str, messages: list[Message], opening: bytes, data: Data, rules: list[Rule], stage: Stage
) -> Candidate | None:
    stage.take()
    try:
        system, turns, cut = shape(messages)
    except Odd as error:
        stage.drop(str(error))
        return None
    stage.keep()
    if cut:
        stage.details["last_message_without_reply_cut"] = (
            stage.details.get("last_message_without_reply_cut", 0) + 1
        )
    if len(turns) > data.max_turns:
        stage.details["turns_cut"] = stage.details.get("turns_cut", 0) + 1
    rank = hashlib.sha256(f"{data.draw_seed}:{name}".encode()).digest()
    kind = type_of(*turns[0], rules)
    return Candidate(name, kind, rank, opening, _pack([system, turns[: data.max_turns]]))


Rule = tuple[str, re.Pattern[str] | None, re.Pattern[str] | None]


def compile_rules(types: dict[str, TypeRule]) -> list[Rule]:
    """Compile the expressions of each type, in their order."""
    return [(name, _compiled(rule.user), _compiled(rule.reply)) for name, rule in types.items()]


def _compiled(text: str | None) -> re.Pattern[str] | None:
    return re.compile(text, re.DOTALL) if text else None


def type_of(user: str, reply: str, rules: list[Rule]) -> str:
    """Find the first type whose rule fits a first exchange; a type without expressions takes
    whatever comes to it.
    """
    user, reply = user.lower().replace("’", "'"), reply.lower().replace("’", "'")
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


def _unpack(part: Part) -> list[Message]:
    return [Message(role, text) for role, text in json.loads(zlib.decompress(part.packed))]
