"""One row of somebody's data set becomes messages: speakers' names, markup, and what makes a conversation odd."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from typing import Any, cast

from warmth.dataset import Columns
from warmth.types import Message, Role

SPEAKERS: dict[str, Role] = {
    **dict.fromkeys(("human", "user"), cast("Role", "user")),
    **dict.fromkeys(("gpt", "chatgpt", "assistant", "bing", "bard", "model"), cast("Role", "assistant")),
    "system": "system",
}
LINE = re.compile(r"[^\n]*\n|[^\n]+")
FENCE = re.compile(r"^[ \t]*(```+|~~~+)[^`\n]*$", re.MULTILINE)  # a line that opens or closes a block of code
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff]")
# What the page around a chat left in the text when it was copied. Rules see lines outside of code alone.
BUTTON = re.compile(
    r"^[ \t]*(?:Copy code|Copied!|Regenerate response|Copy\d+ chars / \d+ words)[ \t]*$\n?", re.MULTILINE
)
COUNTER = re.compile(
    r"(?:\A|\n)[ \t]*(?P<at>[1-9]\d?) / (?P<all>[1-9]\d?)\s*\Z"
)  # below a message of which there are several
FENCE_LABEL = re.compile(r"^([ \t]*```[ \t]*)([\w+#-]*?)[ \t]*Copy code[ \t]*\n?")  # ```pythonCopy code
EXPORTED = re.compile(r"<(?:div|p|ul|ol|pre|h[1-6])\b[^>]*>.*</\w+>\s*$", re.DOTALL | re.IGNORECASE)
PAGE_TAGS = {  # tags that a chat's page shows replies with; any other was written by somebody
    "div", "p", "br", "hr", "ul", "ol", "li", "pre", "code", "span", "strong", "b", "em", "i", "del", "blockquote", "a",
    "svg", "button", "table", "thead", "tbody", "tr", "th", "td", "h1", "h2", "h3", "h4", "h5", "h6", "sup", "sub",
}  # fmt: skip
TAG = re.compile(r"<\s*([a-zA-Z][\w-]*)\b([^>]*)>")
ASKED_HTML = re.compile(
    r"\b(?:x?html5?|css|svg|xml|markup|web ?(?:page|site)s?|tags?|jsx|vue|bootstrap)\b|<\w", re.IGNORECASE
)


class Odd(Exception):
    """A row that is no conversation to train on; the message is the reason in `counts.json`."""


def messages_of(row: Any, columns: Columns, cleaned: Counter[str] | None = None) -> list[Message]:
    """Read the messages of a row, cleaned, as they stand: nothing is said yet about their order.

    `cleaned` counts the texts that each rule changed.

    Raises:
        Odd: not_an_object, no_turns, bad_turn, unknown_speaker, empty_reply, empty_message or wrong_encoding.
    """
    if not isinstance(row, dict):
        raise Odd("not_an_object")
    turns = row.get(columns.turns)
    if not isinstance(turns, Sequence) or isinstance(turns, str) or not turns:
        raise Odd("no_turns")
    found: list[Message] = []
    for turn in turns:
        asked = found[-1].content if found else ""
        found.append(_message(turn, columns, asked, cleaned))
    return found


def _message(turn: Any, columns: Columns, asked: str, cleaned: Counter[str] | None) -> Message:
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
    content = clean(text, role, asked, cleaned)
    if not content:
        raise Odd("empty_reply" if role == "assistant" else "empty_message")
    return Message(role, content)


def clean(text: str, role: Role, asked: str = "", cleaned: Counter[str] | None = None) -> str:
    """Take out of a text what the web page it was copied from added to it; code stays as it is.

    Args:
        text: the message.
        role: whose it is. Only replies are turned from HTML into Markdown: a user who pastes HTML means it.
        asked: the message before it; a reply to a question about HTML is no exported page.
        cleaned: counts each rule that changed the text, by name.
    """
    changes: Counter[str] = Counter() if cleaned is None else cleaned
    text = _changed(text, text.replace("\r\n", "\n").replace("\r", "\n"), "line ends", changes)
    if role == "assistant" and _is_exported(text, asked):
        text = _changed(text, markdown(text), "HTML of a page", changes)
    parts = [(part if is_code else _clean_prose(part, changes), is_code) for part, is_code in _by_code(text, changes)]
    *before, (last, is_code) = [(part, is_code) for part, is_code in parts if part.strip()] or [("", False)]
    if not is_code:
        last = _changed(last, COUNTER.sub(_without_counter, last), "page counter", changes)
    return "".join([*(part for part, _ in before), last]).strip()


def _changed(before: str, after: str, rule: str, changes: Counter[str]) -> str:
    if before != after:
        changes[rule] += 1
    return after


def _without_counter(match: re.Match[str]) -> str:
    """Drop "2 / 3"; "3 / 2" is no counter."""
    return "" if int(match["at"]) <= int(match["all"]) else match[0]


def _by_code(text: str, changes: Counter[str]) -> Iterator[tuple[str, bool]]:
    """Divide a text into prose and blocks of code, fences included; an open block reaches to the end."""
    lines: list[str] = []
    fence = ""
    for line in LINE.findall(text):
        match = FENCE.match(line)
        if match and not fence:
            yield "".join(lines), False
            label = FENCE_LABEL.sub(r"\1\2\n", line)
            lines, fence = [_changed(line, label, "label of a block", changes)], match[1]
        elif match and line.strip() == fence[0] * max(len(fence), len(match[1])):
            yield "".join([*lines, line]), True
            lines, fence = [], ""
        else:
            lines.append(line)
    yield "".join(lines), bool(fence)


def _clean_prose(text: str, changes: Counter[str]) -> str:
    text = _changed(text, CONTROL.sub("", text), "control characters", changes)
    text = _changed(text, BUTTON.sub("", text), "button", changes)
    text = _changed(text, re.sub(r"[ \t]+\n", "\n", text), "spaces at a line's end", changes)
    return _changed(text, re.sub(r"\n{4,}", "\n\n\n", text), "empty lines", changes)


def _is_exported(text: str, asked: str) -> bool:
    """Whether a reply is a fragment of a chat's page: its tags are those such pages have, and nobody asked for HTML."""
    start = text.lstrip()
    if start[:1] != "<" or not EXPORTED.match(start) or ASKED_HTML.search(asked):
        return False
    tags = TAG.findall(re.sub(r"(?s)<pre\b.*?</pre>", "", start))
    known = all(name.lower() in PAGE_TAGS for name, _ in tags)
    styled = any(re.search(r"\b(?:style|id|onclick|action)\s*=", attributes) for _, attributes in tags)
    return known and not styled


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
