"""One row of somebody's data set becomes messages.

Speakers get their role, markup of web pages goes, and a row that is no conversation gets a reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from itertools import cycle
from typing import Any

from warmth.dataset import Columns
from warmth.types import Message, Role

SPEAKERS: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "system": "system",
    "developer": "system",
}
TOOL_SPEAKERS = """tool function environment ipython observation function_call tool_call
tool_response"""
TOOLS = frozenset(TOOL_SPEAKERS.split())
TOOL_KEYS = ("tool_calls", "function_call", "function_calls", "functions", "tool_call_id")
EXCHANGES = (("instruction", "output"), ("prompt", "completion"), ("prompt", "response"))
ALTERNATING: tuple[Role, Role] = ("user", "assistant")
LINE = re.compile(r"[^\n]*\n|[^\n]+")
# a line that opens or closes a block of code
FENCE = re.compile(r"^[ \t]*(```+|~~~+)[^`\n]*$", re.MULTILINE)
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff]")
# A button of the page around a chat, copied with its text. Rules see lines outside of code alone.
BUTTON = re.compile(
    r"^[ \t]*(?:Copy code|Copied!|Regenerate response|Copy\d+ chars / \d+ words)[ \t]*$\n?",
    re.MULTILINE,
)
# which of several versions of a message is shown, in its last line
COUNTER = re.compile(r"(?:\A|\n)[ \t]*(?P<at>[1-9]\d?) / (?P<all>[1-9]\d?)\s*\Z")
# ```pythonCopy code
FENCE_LABEL = re.compile(r"^([ \t]*```[ \t]*)([\w+#-]*?)[ \t]*Copy code[ \t]*\n?")
EXPORTED = re.compile(r"<(?:div|p|ul|ol|pre|h[1-6])\b[^>]*>.*</\w+>\s*$", re.DOTALL | re.IGNORECASE)
# tags that a chat's page shows replies with; any other was written by somebody
TAG_NAMES = """div p br hr ul ol li pre code span strong b em i del blockquote a svg button table
thead tbody tr th td h1 h2 h3 h4 h5 h6 sup sub"""
PAGE_TAGS = frozenset(TAG_NAMES.split())
TAG = re.compile(r"<\s*([a-zA-Z][\w-]*)\b([^>]*)>")
PREFORMATTED = re.compile(r"(?s)<pre\b.*?</pre>")
WRITTEN_ATTRIBUTE = re.compile(r"\b(?:style|id|onclick|action)\s*=")  # no chat's page has them
ASKED_HTML = re.compile(
    r"\b(?:x?html5?|css|svg|xml|markup|web ?(?:page|site)s?|tags?|jsx|vue|bootstrap)\b|<\w",
    re.IGNORECASE,
)


class Odd(Exception):
    """A row that is no conversation to train on; the message is the reason in `counts.json`."""


def cleaned_messages(
    row: Any, columns: Columns, cleaned: Counter[str] | None = None
) -> list[Message]:
    """Read the messages of a row, cleaned, in the order in which they stand.

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
    messages: list[Message] = []
    for speaker, text in _turns(row, columns):
        asked_before = messages[-1].content if messages else ""
        messages.append(_message(speaker, text, asked_before, cleaned))
    return messages


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
    texts = row.get("data")
    if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
        return list(zip(cycle(ALTERNATING), texts, strict=False))
    if "chosen" in row and "rejected" in row:
        raise Odd("preference_pair")
    for question_key, reply_key in EXCHANGES:
        if isinstance(row.get(question_key), str) and isinstance(row.get(reply_key), str):
            return _exchange(row, question_key, reply_key)
    if isinstance(row.get("text"), str):
        raise Odd("raw_text")
    raise Odd("no_turns")


def _exchange(row: dict[str, Any], question_key: str, reply_key: str) -> list[tuple[str, str]]:
    """Read a row of one exchange, with its system text and input if it has them."""
    question = row[question_key]
    if isinstance(row.get("input"), str) and row["input"].strip():
        question = f"{question}\n\n{row['input']}"
    turns = [("user", question), ("assistant", row[reply_key])]
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
    speaker = _first_value(turn, (columns.speaker, "role", "from"))
    content = _first_value(turn, (columns.text, "content", "value"))
    speaker_name = speaker.strip().lower() if isinstance(speaker, str) else ""
    if speaker_name in TOOLS or any(turn.get(key) for key in TOOL_KEYS):
        raise Odd("tool_call")
    if isinstance(content, list):
        content = _joined(content)
    if not isinstance(speaker, str) or not isinstance(content, str):
        raise Odd("bad_turn")
    if turn.get("weight") == 0 and SPEAKERS.get(speaker_name) == "assistant":
        raise Odd("weight_0")
    return speaker, content


def _first_value(turn: dict[str, Any], keys: Sequence[str]) -> Any:
    """Return the value of the first key that a turn has; None if it has none of them."""
    for key in keys:
        if key in turn:
            return turn[key]
    return None


def _joined(content: list[Any]) -> str:
    """Join the texts of a content that comes in pieces.

    Raises:
        Odd: a piece is no text.
    """
    texts = []
    for piece in content:
        text = piece.get("text") if isinstance(piece, dict) else piece
        if not isinstance(text, str):
            raise Odd("not_text")
        texts.append(text)
    return "".join(texts)


def _message(speaker: str, text: str, asked_before: str, cleaned: Counter[str] | None) -> Message:
    role = SPEAKERS.get(speaker.strip().lower())
    if role is None:
        raise Odd("unknown_speaker")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Odd("wrong_encoding") from error
    content = clean(text, role, asked_before, cleaned)
    if not content:
        raise Odd("empty_reply" if role == "assistant" else "empty_message")
    return Message(role, content)


def clean(
    text: str, role: Role, asked_before: str = "", cleaned: Counter[str] | None = None
) -> str:
    """Take out of a text what the web page it was copied from added to it; code stays as it is.

    Args:
        text: the message.
        role: whose it is. Only replies are turned from HTML into Markdown: a user who pastes HTML
        means it.
        asked_before: the message before it; a reply to a question about HTML is no exported page.
        cleaned: counts each rule that changed the text, by name.
    """
    changes: Counter[str] = Counter() if cleaned is None else cleaned
    text = _changed(text, text.replace("\r\n", "\n").replace("\r", "\n"), "line ends", changes)
    if role == "assistant" and _is_exported(text, asked_before):
        text = _changed(text, markdown(text), "HTML of a page", changes)
    blocks: list[str] = []
    ends_in_code = False
    for block, is_code in _by_code(text, changes):
        if not is_code:
            block = _clean_prose(block, changes)
        if block.strip():
            blocks.append(block)
            ends_in_code = is_code
    if blocks and not ends_in_code:
        end = _without_counter(blocks[-1], role, is_whole=len(blocks) == 1)
        blocks[-1] = _changed(blocks[-1], end, "page counter", changes)
    return "".join(blocks).strip()


def _without_counter(text: str, role: Role, is_whole: bool) -> str:
    """Cut "2 / 3" off the end of a message, if it counts the versions of that message.

    A text that is nothing else stays. In a reply, which may end in a fraction, the last version
    alone is taken for a counter.
    """
    match = COUNTER.search(text)
    if match is None or (is_whole and match.start() == 0):
        return text
    version = int(match["at"])
    versions = int(match["all"])
    is_counter = version == versions if role == "assistant" else version <= versions
    return text[: match.start()] if is_counter else text


def _changed(before: str, after: str, rule: str, changes: Counter[str]) -> str:
    if before != after:
        changes[rule] += 1
    return after


def _by_code(text: str, changes: Counter[str]) -> Iterator[tuple[str, bool]]:
    """Divide a text into prose and blocks of code, each with whether it is code.

    Fences belong to the code; a block that is never closed reaches to the end.
    """
    lines: list[str] = []
    fence = ""
    for line in LINE.findall(text):
        match = FENCE.match(line)
        if match and not fence:
            yield "".join(lines), False
            label = FENCE_LABEL.sub(r"\1\2\n", line)
            lines = [_changed(line, label, "label of a block", changes)]
            fence = match[1]
        elif match and line.strip() == fence[0] * max(len(fence), len(match[1])):
            yield "".join([*lines, line]), True
            lines = []
            fence = ""
        else:
            lines.append(line)
    yield "".join(lines), bool(fence)


def _clean_prose(text: str, changes: Counter[str]) -> str:
    text = _changed(text, CONTROL.sub("", text), "control characters", changes)
    text = _changed(text, BUTTON.sub("", text), "button", changes)
    text = _changed(text, re.sub(r"[ \t]+\n", "\n", text), "spaces at a line's end", changes)
    return _changed(text, re.sub(r"\n{4,}", "\n\n\n", text), "empty lines", changes)


def _is_exported(text: str, asked_before: str) -> bool:
    """Tell whether a reply is a fragment of a chat's page.

    It is, if it has such tags and nobody asked for HTML.
    """
    start = text.lstrip()
    if start[:1] != "<" or not EXPORTED.match(start) or ASKED_HTML.search(asked_before):
        return False
    for name, attributes in TAG.findall(PREFORMATTED.sub("", start)):
        if name.lower() not in PAGE_TAGS or WRITTEN_ATTRIBUTE.search(attributes):
            return False
    return True


def shape(messages: Sequence[Message]) -> tuple[str | None, list[tuple[str, str]], int]:
    """Split a conversation into its system message and its turns.

    Returns:
        the system message, the (user, reply) turns, how many last messages had no reply.

    Raises:
        Odd: starts_with_reply, late_system, not_alternating or no_reply.
    """
    system = None
    spoken = list(messages)
    if spoken and spoken[0].role == "system":
        system = spoken.pop(0).content
    roles = [message.role for message in spoken]
    if "system" in roles:
        raise Odd("late_system")
    if roles[:1] == ["assistant"]:
        raise Odd("starts_with_reply")
    if any(role != due for role, due in zip(roles, cycle(ALTERNATING), strict=False)):
        raise Odd("not_alternating")
    texts = [message.content for message in spoken]
    turns = list(zip(texts[::2], texts[1::2], strict=False))
    if not turns:
        raise Odd("no_reply")
    return system, turns, len(spoken) % 2


def markdown(text: str) -> str:
    """Turn the HTML of an exported reply into Markdown.

    It has paragraphs, lists, code, emphasis, headings and links.
    """
    page = _Page()
    page.feed(text)
    page.close()
    return re.sub(r"\n{3,}", "\n\n", "".join(page.texts)).strip()


class _Page(HTMLParser):
    """Writes Markdown while it reads; tags it does not know leave their text."""

    MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*"}

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[str] = []
        self.lists: list[int | None] = []  # of open lists: the next number, None for bullets
        self.in_code = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Write what a tag stands for where it opens."""
        if tag in ("p", "div", "table", "blockquote"):
            self._write("\n\n")
        elif tag in ("br", "tr"):
            self._write("\n")
        elif tag in ("ul", "ol"):
            self.lists.append(1 if tag == "ol" else None)
            self._write("\n")
        elif tag == "li":
            self._open_item()
        elif tag == "pre":
            self.in_code += 1
            self._write("\n\n```\n")
        elif tag == "code" and not self.in_code:
            self._write("`")
        elif re.fullmatch("h[1-6]", tag):
            self._write("\n\n" + "#" * int(tag[1]) + " ")
        else:
            self._write(self.MARKS.get(tag, ""))

    def _write(self, text: str) -> None:
        """Add a text; a space before a line break goes."""
        if text.startswith("\n") and self.texts[-1:] == [" "]:
            self.texts.pop()
        if text:
            self.texts.append(text)

    def _open_item(self) -> None:
        number = self.lists[-1] if self.lists else None
        mark = "- "
        if number:
            mark = f"{number}. "
            self.lists[-1] = number + 1
        self._write("\n" + "  " * (len(self.lists) - 1) + mark)

    def handle_endtag(self, tag: str) -> None:
        """Write what a tag stands for where it closes."""
        if tag in ("ul", "ol"):
            if self.lists:
                self.lists.pop()
            self._write("\n")
        elif tag == "pre":
            self.in_code = max(self.in_code - 1, 0)
            if self.texts and not self.texts[-1].endswith("\n"):
                self.texts.append("\n")
            self._write("```\n\n")
        elif tag == "code" and not self.in_code:
            self._write("`")
        elif tag in ("p", "div") or re.fullmatch("h[1-6]", tag):
            self._write("\n\n")
        else:
            self._write(self.MARKS.get(tag, ""))

    def handle_data(self, data: str) -> None:
        """Add a text; outside of code, a line break and white space between tags become a space."""
        if self.in_code:
            self.texts.append(data)
        elif data.strip():
            self._write(re.sub(r"\s*\n\s*", " ", data))
        elif self.texts and not self.texts[-1].endswith("\n"):
            self._write(" ")
