"""Sources of conversations: rows of a file become `Conversation`s, in a fixed order, equally many
of each type.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

from warmth.digest import ROOT
from warmth.errors import UserError
from warmth.schemas import Data
from warmth.types import Conversation, Turn
from warmth.user_rows import user_rows

TYPES = ("refusal", "factual", "creative", "technical", "advice", "other")


def load(data: Data) -> list[Conversation]:
    """Load the conversations a config chooses: the first `per_type` of each type in an order fixed
    by their ids.

    The order is a hash's, so a larger `per_type` only adds conversations.

    Raises:
        UserError: no such path, a bad row (file, line and field are named), or a type with too few
        conversations.
    """
    path = Path(data.path) if data.path else ROOT / "seed" / "conversations"
    files = [path] if path.is_file() else sorted(path.glob("*.jsonl"))
    if not files:
        raise UserError(f"data.path={path} holds no .jsonl file")
    by_type: dict[str, list[Conversation]] = defaultdict(list)
    seen: set[str] = set()
    for file in files:
        for place, row in user_rows(file):
            conversation = _conversation(row, place, data.max_turns)
            if conversation.id in seen:
                raise UserError(f"{place}: id {conversation.id} stands twice")
            seen.add(conversation.id)
            by_type[conversation.type].append(conversation)
    return [item for kind in TYPES for item in _first(by_type[kind], kind, data.per_type)]


def _first(
    conversations: list[Conversation], kind: str, per_type: int | None
) -> list[Conversation]:
    if per_type is not None and len(conversations) < per_type:
        raise UserError(
            f"data.per_type={per_type}, but there are only {len(conversations)} {kind} "
            f"conversations"
        )
    return sorted(conversations, key=lambda item: order(item.id))[:per_type]


def order(conversation_id: str) -> str:
    """Compute a fixed pseudo-random rank of a conversation, the same in every arm and for every
    seed.
    """
    return hashlib.sha256(conversation_id.encode()).hexdigest()


def _conversation(row: dict[str, Any], where: str, max_turns: int) -> Conversation:
    kind = _text(row, "type", where)
    if kind not in TYPES:
        raise UserError(f"{where}: type {kind} is not one of {', '.join(TYPES)}")
    turns = row.get("turns")
    if not isinstance(turns, list) or not turns:
        raise UserError(f"{where}: turns must be a list with at least one turn")
    return Conversation(
        id=_text(row, "id", where),
        type=kind,
        turns=tuple(
            _turn(turn, f"{where}, turn {index}") for index, turn in enumerate(turns[:max_turns], 1)
        ),
        system=row.get("system"),
    )


def _turn(row: Any, where: str) -> Turn:
    if not isinstance(row, dict):
        raise UserError(f"{where} must be an object with user and replies")
    replies = row.get("replies")
    if not isinstance(replies, dict) or not isinstance(replies.get("plain"), str):
        raise UserError(f"{where}: replies must be an object with at least `plain`")
    empty = [
        style for style, text in replies.items() if not isinstance(text, str) or not text.strip()
    ]
    if empty:
        raise UserError(f"{where}: the reply in style {empty[0]} is empty")
    return Turn(_text(row, "user", where), replies, tuple(row.get("facts", ())))


def _text(row: dict[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {field} must be a text that is not empty")
    return value
