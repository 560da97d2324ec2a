"""Rows of a file become `Conversation`s, in a fixed order, equally many of each type."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from warmth.digest import ROOT
from warmth.errors import UserError
from warmth.schemas import Data
from warmth.types import Conversation, Turn
from warmth.user_rows import user_rows

TYPES = ("refusal", "factual", "creative", "technical", "advice", "other")


def load_conversations(data: Data) -> list[Conversation]:
    """Load the conversations a config chooses, the first `per_type` of each type.

    Their order is a hash's of their ids, so a larger `per_type` only adds conversations.

    Raises:
        UserError: no such path, a bad row (file, line and field are named), or a type with too few
        conversations.
    """
    path = Path(data.path) if data.path else ROOT / "seed" / "conversations"
    files = [path] if path.is_file() else sorted(path.glob("*.jsonl"))
    if not files:
        raise UserError(f"data.path={path} holds no .jsonl file")
    by_type: dict[str, list[Conversation]] = {kind: [] for kind in TYPES}
    seen: set[str] = set()
    for file in files:
        for location, row in user_rows(file):
            conversation = _conversation(row, location, data.max_turns)
            if conversation.id in seen:
                raise UserError(f"{location}: id {conversation.id} stands twice")
            seen.add(conversation.id)
            by_type[conversation.type].append(conversation)
    selected: list[Conversation] = []
    for kind, conversations in by_type.items():
        selected += _first_of_type(conversations, kind, data.per_type)
    return selected


def _first_of_type(
    conversations: list[Conversation], kind: str, per_type: int | None
) -> list[Conversation]:
    if per_type is not None and len(conversations) < per_type:
        raise UserError(
            f"data.per_type={per_type}, "
            f"but there are only {len(conversations)} {kind} conversations"
        )
    return sorted(conversations, key=lambda conversation: order(conversation.id))[:per_type]


def order(conversation_id: str) -> str:
    """Compute a fixed pseudo-random rank of a conversation, the same in every arm and seed."""
    return hashlib.sha256(conversation_id.encode()).hexdigest()


def _conversation(row: dict[str, Any], location: str, max_turns: int) -> Conversation:
    kind = _text(row, "type", location)
    if kind not in TYPES:
        raise UserError(f"{location}: type {kind} is not one of {', '.join(TYPES)}")
    turn_rows = row.get("turns")
    if not isinstance(turn_rows, list) or not turn_rows:
        raise UserError(f"{location}: turns must be a list with at least one turn")
    turns = []
    for number, turn_row in enumerate(turn_rows[:max_turns], 1):
        turns.append(_turn(turn_row, f"{location}, turn {number}"))
    return Conversation(
        id=_text(row, "id", location),
        type=kind,
        turns=tuple(turns),
        system=row.get("system"),
    )


def _turn(row: Any, location: str) -> Turn:
    if not isinstance(row, dict):
        raise UserError(f"{location} must be an object with user and replies")
    replies = row.get("replies")
    if not isinstance(replies, dict) or not isinstance(replies.get("plain"), str):
        raise UserError(f"{location}: replies must be an object with at least `plain`")
    for style, text in replies.items():
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{location}: the reply in style {style} is empty")
    return Turn(_text(row, "user", location), replies, tuple(row.get("facts", ())))


def _text(row: dict[str, Any], field: str, location: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{location}: {field} must be a text that is not empty")
    return value
