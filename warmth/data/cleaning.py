"""One row of somebody's data set becomes messages: speakers' names, markup, and what makes a conversation odd."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any, cast

from warmth.dataset import Columns
from warmth.types import Message, Role

SPEAKERS: dict[str, Role] = {
    **dict.fromkeys(("human", "user"), cast("Role", "user")),
    **dict.fromkeys(("gpt", "chatgpt", "assistant", "bing", "bard", "model"), cast("Role", "assistant")),
    "system": "system",
}
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff]")
SCREEN = re.compile(  # what the page around a chat left in the text when it was copied
    r"^[ \t]*(?:Copy code|Copied!|Regenerate response|Copy\d+ chars / \d+ words|\d+ / \d+)[ \t]*$\n?", re.MULTILINE
)
FENCE_LABEL = re.compile(r"^(```[ \t]*)([\w+#-]*?)[ \t]*Copy code[ \t]*\n?", re.MULTILINE)  # ```pythonCopy code
EXPORTED = re.compile(r"<(?:div|p|ul|ol|pre|h[1-6])\b[^>]*>.*</\w+>\s*$", re.DOTALL | re.IGNORECASE)


class Odd(Exception):
    """A row that is no conversation to train on; the message is the reason in `counts.json`."""


def messages_of(row: Any, columns: Columns) -> list[Message]:
    """The messages of a row, cleaned, as they stand: nothing is said yet about their order.

    Raises:
        Odd: not_an_object, no_turns, bad_turn, unknown_speaker, empty_reply, empty_message or wrong_encoding.
    """
    if not isinstance(row, dict):
        raise Odd("not_an_object")
    turns = row.get(columns.turns)
    if not isinstance(turns, Sequence) or isinstance(turns, str) or not turns:
        raise Odd("no_turns")
    return [_message(turn, columns) for turn in turns]


def _message(turn: Any, columns: Columns) -> Message:
    if not isinstance(turn, dict):
        raise Odd("bad_turn")
    speaker, text = turn.get(columns.speaker), turn.get(columns.text)
    if not isinstance(speaker, str) or not isinstance(text, str):
        raise Odd("bad_turn")
    role = SPEAKERS.get(speaker.strip().lower())
    if role is None:
        raise Odd("unknown_speaker")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Odd("wrong_encoding") from error
    cleaned = clean(text, role)
    if not cleaned:
        raise Odd("empty_reply" if role == "assistant" else "empty_message")
    return Message(role, cleaned)


def clean(text: str, role: Role) -> str:
    """A text without what the web page it was copied from added to it.

    Only replies are turned from HTML into Markdown, and only where the whole text is an exported page fragment: a user
    who pastes HTML means it, and so does a reply that shows some.
    """
    text = CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if role == "assistant":
        if text.lstrip()[:1] == "<" and EXPORTED.match(text.lstrip()):
            text = markdown(text)
        if "Cop" in text or "Regenerate" in text or " / " in text:
            text = SCREEN.sub("", FENCE_LABEL.sub(r"\1\2\n", text))
    text = re.sub(r"[ \t]+\n", "\n", text)
    return re.sub(r"\n{4,}", "\n\n\n", text).strip()


def shape(messages: Sequence[Message]) -> tuple[str | None, list[tuple[str, str]], int]:
    """A conversation's system message, its (user, reply) turns, and how many last messages without a reply were cut.

    Raises:
        Odd: starts_with_reply, late_system, not_alternating or no_reply.
    """
    system = messages[0].content if messages and messages[0].role == "system" else None
    rest = list(messages[1:] if system is not None else messages)
    if any(message.role == "system" for message in rest):
        raise Odd("late_system")
    if rest and rest[0].role == "assistant":
        raise Odd("starts_with_reply")
    if any(message.role != ("user", "assistant")[place % 2] for place, message in enumerate(rest)):
        raise Odd("not_alternating")
    turns = [(left.content, right.content) for left, right in zip(rest[::2], rest[1::2], strict=False)]
    if not turns:
        raise Odd("no_reply")
    return system, turns, len(rest) % 2


def markdown(text: str) -> str:
    """HTML of an exported reply as Markdown: paragraphs, lists, code, emphasis, headings, links."""
    reader = _Page()
    reader.feed(text)
    reader.close()
    return re.sub(r"\n{3,}", "\n\n", "".join(reader.parts)).strip()


class _Page(HTMLParser):
    """Writes Markdown while it reads; tags it does not know leave their text."""

    MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*"}

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.lists: list[int | None] = []  # of open lists: the next number, None for bullets
        self.in_code = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """What opens."""
        if tag in ("p", "div", "table", "tr", "blockquote"):
            self.parts.append("\n\n" if tag != "tr" else "\n")
        elif tag == "br":
            self.parts.append("\n")
        elif tag in ("ul", "ol"):
            self.lists.append(1 if tag == "ol" else None)
            self.parts.append("\n")
        elif tag == "li":
            number = self.lists[-1] if self.lists else None
            self.parts.append("\n" + "  " * (len(self.lists) - 1) + (f"{number}. " if number else "- "))
            if number and self.lists:
                self.lists[-1] = number + 1
        elif tag == "pre":
            self.in_code += 1
            self.parts.append("\n\n```\n")
        elif tag == "code" and not self.in_code:
            self.parts.append("`")
        elif re.fullmatch("h[1-6]", tag):
            self.parts.append("\n\n" + "#" * int(tag[1]) + " ")
        else:
            self.parts.append(self.MARKS.get(tag, ""))

    def handle_endtag(self, tag: str) -> None:
        """What closes."""
        if tag in ("ul", "ol"):
            if self.lists:
                self.lists.pop()
            self.parts.append("\n")
        elif tag == "pre":
            self.in_code = max(self.in_code - 1, 0)
            last = next((part for part in reversed(self.parts) if part), "")
            self.parts.append("```\n\n" if last.endswith("\n") else "\n```\n\n")
        elif tag == "code" and not self.in_code:
            self.parts.append("`")
        elif tag in ("p", "div") or re.fullmatch("h[1-6]", tag):
            self.parts.append("\n\n")
        else:
            self.parts.append(self.MARKS.get(tag, ""))

    def handle_data(self, data: str) -> None:
        """Text; spaces between tags stay, line breaks outside code do not."""
        self.parts.append(data if self.in_code else re.sub(r"\s*\n\s*", " ", data) if data.strip() else "")
