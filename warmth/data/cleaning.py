"""One row of somebody's data set becomes messages: speakers' names, markup, and what makes a
conversation odd.
"""

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
    **dict.fromkeys(
        ("gpt", "chatgpt", "assistant", "bing", "bard", "model"), cast("Role", "assistant")
    ),
    **dict.fromkeys(("system", "developer"), cast("Role", "system")),
}
TOOLS = (
    "tool",
    "function",
    "environment",
    "ipython",
    "observation",
    "function_call",
    "tool_call",
    "tool_response",
)
LINE = re.compile(r"[^\n]*\n|[^\n]+")
FENCE = re.compile(
    r"^[ \t]*(```+|~~~+)[^`\n]*$", re.MULTILINE
)  # a line that opens or closes a block of code
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff]")
# What the page around a chat left in the text when it was copied. Rules see lines outside of code
# alone.
BUTTON = re.compile(
    r"^[ \t]*(?:Copy code|Copied!|Regenerate response|Copy\d+ chars / \d+ words)[ \t]*$\n?",
    re.MULTILINE,
)
# which of several versions of a message is shown, in its last line
COUNTER = re.compile(r"(?:\A|\n)[ \t]*(?P<at>[1-9]\d?) / (?P<all>[1-9]\d?)\s*\Z")
FENCE_LABEL = re.compile(
    r"^([ \t]*```[ \t]*)([\w+#-]*?)[ \t]*Copy code[ \t]*\n?"
)  # ```pythonCopy code
EXPORTED = re.compile(r"<(?:div|p|ul|ol|pre|h[1-6])\b[^>]*>.*</\w+>\s*$", re.DOTALL | re.IGNORECASE)
PAGE_TAGS = {  # tags that a chat's page shows replies with; any other was written by somebody
    "div",
    "p",
    "br",
    "hr",
    "ul",
    "ol",
    "li",
    "pre",
    "code",
    "span",
    "strong",
    "b",
    "em",
    "i",
    "del",
    "blockquote",
    "a",
    "svg",
    "button",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "sup",
    "sub",
}
TAG = re.compile(r"<\s*([a-zA-Z][\w-]*)\b([^>]*)>")
ASKED_HTML = re.compile(
    r"\b(?:x?html5?|css|svg|xml|markup|web ?(?:page|site)s?|tags?|jsx|vue|bootstrap)\b|<\w",
    re.IGNORECASE,
)


class Odd(Exception):
    """A row that is no conversation to train on; the message is the reason in `counts.json`."""


def messages_of(row: Any, columns: Columns, cleaned: Counter[str] | None = None) -> list[Message]:
    """Read the messages of a row, cleaned, as they stand: nothing is said yet about their order.

    Rows have the configured columns, or one of the forms that other trainers read: OpenAI's
    messages, ShareGPT's conversations, Alpaca's instruction, input and output, a prompt with its
    completion, UltraChat's list of texts. `cleaned` counts the texts that each rule changed.

    Raises:
        Odd: not_an_object, no_turns, bad_turn, unknown_speaker, empty_reply, empty_message,
            wrong_encoding; of other trainers' rows not_text (a picture, a sound), tool_call,
            weight_0 (a reply that is not to be trained), preference_pair, raw_text.
    """
    if not isinstance(row, dict):
        raise Odd("not_an_object")
    found: list[Message] = []
    for speaker, text in _turns(row, columns):
        asked = found[-1].content if found else ""
        found.append(_message(speaker, text, asked, cleaned))
    return found


def _turns(row: dict[str, Any], columns: Columns) -> list[tuple[str, str]]:
    """Find speakers and texts in a row of any form that is known.

    Raises:
        Odd: the row has none of these forms, or holds what cannot be trained on.
    """
    for key in (columns.turns, "messages", "conversations"):
        if row.get(key):
            turns = row[key]
            if not isinstance(turns, Sequence) or isinstance(turns, str):
                raise Odd("no_turns")
            return [_turn(turn, columns) for turn in turns]
    if (
        isinstance(row.get("data"), list)
        and row["data"]
        and all(isinstance(text, str) for text in row["data"])
    ):
        return [(("user", "assistant")[place % 2], text) for place, text in enumerate(row["data"])]
    if "chosen" in row and "rejected" in row:
        raise Odd("preference_pair")
    for asked, replied in (
        ("instruction", "output"),
        ("prompt", "completion"),
        ("prompt", "response"),
    ):
        if isinstance(row.get(asked), str) and isinstance(row.get(replied), str):
            return _exchange(row, asked, replied)
    raise Odd("raw_text" if isinstance(row.get("text"), str) else "no_turns")


def _exchange(row: dict[str, Any], asked: str, replied: str) -> list[tuple[str, str]]:
    """Read a row of one exchange, with a system text and an input beside the instruction if it has
    them.
    """
    question = row[asked]
    if isinstance(row.get("input"), str) and row["input"].strip():
        question = f"{question}\n\n{row['input']}"
    turns = [("user", question), ("assistant", row[replied])]
    if isinstance(row.get("system"), str) and row["system"].strip():
        turns.insert(0, ("system", row["system"]))
    return turns


def _turn(turn: Any, columns: Columns) -> tuple[str, str]:
    """Read who says what in a turn.

    Raises:
        Odd: bad_turn, tool_call, weight_0 or not_text.
    """
    if not isinstance(turn, dict):
        raise Odd("bad_turn")
    speaker = next((turn[key] for key in (columns.speaker, "role", "from") if key in turn), None)
    content = next((turn[key] for key in (columns.text, "content", "value") if key in turn), None)
    calls = any(
        turn.get(key)
        for key in ("tool_calls", "function_call", "function_calls", "functions", "tool_call_id")
    )
    if calls or (isinstance(speaker, str) and speaker.strip().lower() in TOOLS):
        raise Odd("tool_call")
    if isinstance(content, list):
        content = _joined(content)
    if not isinstance(speaker, str) or not isinstance(content, str):
        raise Odd("bad_turn")
    if turn.get("weight") == 0 and SPEAKERS.get(speaker.strip().lower()) == "assistant":
        raise Odd("weight_0")
    return speaker, content


def _joined(parts: list[Any]) -> str:
    """Join the texts of a content in parts.

    Raises:
        Odd: a part is no text.
    """
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            raise Odd("not_text")
        texts.append(text)
    return "".join(texts)


def _message(speaker: str, text: str, asked: str, cleaned: Counter[str] | None) -> Message:
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
        role: whose it is. Only replies are turned from HTML into Markdown: a user who pastes HTML
        means it.
        asked: the message before it; a reply to a question about HTML is no exported page.
        cleaned: counts each rule that changed the text, by name.
    """
    changes: Counter[str] = Counter() if cleaned is None else cleaned
    text = _changed(text, text.replace("\r\n", "\n").replace("\r", "\n"), "line ends", changes)
    if role == "assistant" and _is_exported(text, asked):
        text = _changed(text, markdown(text), "HTML of a page", changes)
    parts = [
        (part if is_code else _clean_prose(part, changes), is_code)
        for part, is_code in _by_code(text, changes)
    ]
    filled = [(part, is_code) for part, is_code in parts if part.strip()] or [("", False)]
    before, (last, is_code) = filled[:-1], filled[-1]
    counter = None if is_code else COUNTER.search(last)
    if (
        counter
        and (before or counter.start() > 0)
        and _is_counter(int(counter["at"]), int(counter["all"]), role)
    ):
        last = _changed(last, last[: counter.start()], "page counter", changes)
    return "".join([*(part for part, _ in before), last]).strip()


def _is_counter(at: int, count: int, role: Role) -> bool:
    """Tell whether "2 / 3" counts versions of a message; in a reply, which may end in a fraction,
    the last alone.
    """
    return at == count if role == "assistant" else at <= count


def _changed(before: str, after: str, rule: str, changes: Counter[str]) -> str:
    if before != after:
        changes[rule] += 1
    return after


def _by_code(text: str, changes: Counter[str]) -> Iterator[tuple[str, bool]]:
    """Divide a text into prose and blocks of code, fences included; an open block reaches to the
    end.
    """
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
    """Tell whether a reply is a fragment of a chat's page: it has such tags, and nobody asked for
    HTML.
    """
    start = text.lstrip()
    if start[:1] != "<" or not EXPORTED.match(start) or ASKED_HTML.search(asked):
        return False
    tags = TAG.findall(re.sub(r"(?s)<pre\b.*?</pre>", "", start))
    known = all(name.lower() in PAGE_TAGS for name, _ in tags)
    styled = any(
        re.search(r"\b(?:style|id|onclick|action)\s*=", attributes) for _, attributes in tags
    )
    return known and not styled


def shape(messages: Sequence[Message]) -> tuple[str | None, list[tuple[str, str]], int]:
    """Split a conversation: its system message, its (user, reply) turns, how many last messages had
    no reply.

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
    turns = [
        (left.content, right.content) for left, right in zip(rest[::2], rest[1::2], strict=False)
    ]
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
        """Note what opens."""
        if tag in ("p", "div", "table", "tr", "blockquote"):
            self.parts.append("\n\n" if tag != "tr" else "\n")
        elif tag == "br":
            self.parts.append("\n")
        elif tag in ("ul", "ol"):
            self.lists.append(1 if tag == "ol" else None)
            self.parts.append("\n")
        elif tag == "li":
            number = self.lists[-1] if self.lists else None
            self.parts.append(
                "\n" + "  " * (len(self.lists) - 1) + (f"{number}. " if number else "- ")
            )
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
        """Note what closes."""
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
        self.parts.append(
            data if self.in_code else re.sub(r"\s*\n\s*", " ", data) if data.strip() else ""
        )
