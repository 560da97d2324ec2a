"""What a model said, in one form: what its reader sees, what it thought before, and how it ended.

Engines, judges, raters and rewriters all read replies here, whatever server or library they come
from. Thinking is kept beside the text and is never graded, scored for warmth, or shown to a judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Ending = Literal["stop", "length", "filtered", "error", "unknown"]

# Names that servers give to the end of a reply, in lower case, with `_` between words and without
# Gemini's prefix.
_STOPS = (
    "stop eos eos_token end endoftext end_turn end_of_turn stop_sequence stop_token "
    "complete completed done finish finished normal"
)
_LENGTHS = (
    "length max_length max_tokens max_new_tokens max_output_tokens max_completion_tokens "
    "model_length context_length context_length_exceeded context_window "
    "model_context_window_exceeded token_limit length_limit limit error_limit "
    "truncated incomplete"
)
_FILTERS = (
    "content_filter content_filtered filter filtered content_policy moderation flagged safety "
    "image_safety recitation blocklist prohibited_content spii sensitive unsafe refusal "
    "guardrail_intervened error_toxic blocked violation"
)
_ERRORS = (
    "error abort aborted cancel cancelled canceled user_cancel failed failure timeout "
    "server_error engine_error network_error internal_error insufficient_system_resource "
    "overloaded malformed_response unexpected"
)
ENDINGS: Mapping[str, Ending] = {
    **dict.fromkeys(_STOPS.split(), "stop"),
    **dict.fromkeys(_LENGTHS.split(), "length"),
    **dict.fromkeys(_FILTERS.split(), "filtered"),
    **dict.fromkeys(_ERRORS.split(), "error"),
}
FINISH_PREFIX = re.compile(r"^finish_?reason[._]")

_KINDS = "think|thinking|thoughts?|reasoning|reflection|scratchpad|analysis|cot"
# <think>, <seed:think>, <longcat_think>, [THINK], ◁think▷, and tokens of single model families
OPENING = (
    rf"<(?:[\w-]{{1,20}}[:_])?(?:{_KINDS})(?:\s[^<>]{{0,80}})?>|\[(?:THINK|THINKING)\]|◁think▷"
    r"|<\|(?:think|thinking|begin_of_thought|start_thinking|inner_prefix)\|>|<\|channel>thought\b|<unused94>(?:thought\b)?"
)
CLOSING = (
    rf"</(?:[\w-]{{1,20}}[:_])?(?:{_KINDS})\s?>|\[/(?:THINK|THINKING)\]|◁/think▷"
    r"|<\|(?:/think|/thinking|end_of_thought|end_thinking|inner_suffix)\|>|<channel\|>|<unused95>"
)
TAG = re.compile(rf"(?P<opening>{OPENING})|(?P<closing>{CLOSING})", re.IGNORECASE)
QUOTES = {("`", "`"), ('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’")}
# What some models put around the answer that follows their thinking.
_ANSWER_TAGS = "answer|response|final_answer|final|solution|output"
WRAPPED = re.compile(rf"\s*<({_ANSWER_TAGS})>(.*?)(?:</\1>\s*)?", re.IGNORECASE | re.DOTALL)
WRAPPED_BY_TOKENS = re.compile(
    r"\s*<\|(?:start_response|start_text|begin_of_solution)\|>(.*?)(?:<\|(?:end_response|end_text|end_of_solution)\|>\s*)?",
    re.IGNORECASE | re.DOTALL,
)
# gpt-oss:
# <|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…<|return|>
CHANNEL = "<|channel|>"
MESSAGE = "<|message|>"
CHANNEL_END = re.compile(r"<\|(?:end|return|call|start)\|>")
# The same after a tokenizer has dropped its special tokens.
BARE_CHANNELS = re.compile(r"analysis(?P<thinking>(?=\S).*?)assistantfinal(?P<text>.*)", re.DOTALL)
BARE_CHANNEL_OPEN = re.compile(r"analysis(?=[A-Z]).*", re.DOTALL)
IN_WORDS = re.compile(
    r"\s*Here(?:'s| is) my thought process:(?P<thinking>.*?)(?:Here(?:'s| is) my "
    r"response:(?P<text>.*))?",
    re.DOTALL,
)
BARE_BEGINNINGS = ("analysis", "Here")
TAG_SIGNS = "<[◁"  # a text without these holds no tag, and most texts have none
TEXT_PARTS = ("text", "output_text")
THINKING_FIELDS = (  # the first that holds a text counts: servers repeat it under two names
    "reasoning_content",
    "reasoning",
    "thinking",
    "reasoning_text",
    "thinking_content",
    "reasoning_details",
)


@dataclass(frozen=True)
class Output:
    """One reply of a model."""

    text: str  # what its reader sees
    thinking: str = ""  # what it wrote before or between, set apart
    finish: Ending = "stop"
    raw_finish: str = ""  # the server's own word for it
    refusal: str = ""  # the field in which some servers put that the model declines


def ending(raw: Any) -> Ending:
    """Name the kind of a server's finish reason.

    Anything that is not listed is `unknown`, never taken for a stop.
    """
    if not isinstance(raw, str):
        return "unknown"
    name = re.sub(r"[\s-]+", "_", raw.strip().casefold())
    return ENDINGS.get(FINISH_PREFIX.sub("", name), "unknown")


def output_of_text(text: str, finish: str = "stop", thinking: str = "") -> Output:
    """Read a reply that is one text, thinking included.

    Args:
        text: as it was generated.
        finish: the server's finish reason; engines in this process say stop or length.
        thinking: what the server has set apart already.

    Returns:
        The output. A block of thinking that never ends is a reply that was cut off, whatever the
        server says.
    """
    visible, inside, is_open = set_apart(text)
    kind = ending(finish)
    if is_open and kind == "stop":
        kind = "length"
    return Output(visible, paragraphs([thinking, inside]), kind, finish)


def output_of_message(message: Mapping[str, Any], finish: Any) -> Output:
    """Read the `message` of a chat completion, whichever fields and parts the server uses.

    Raises:
        ValueError: its content is neither text, nor a list of parts, nor nothing.
    """
    text, thinking, refusal = read_parts(message.get("content"))
    fields = [plain_text(message.get(name)) for name in THINKING_FIELDS]
    reasoning = next(filter(None, fields), "")
    thinking = "\n\n".join(filter(None, (reasoning, thinking)))
    if not isinstance(finish, str):
        finish = ""
    output = output_of_text(text, finish, thinking)
    declined = message.get("refusal")
    if isinstance(declined, str) and declined:
        refusal = declined
    return replace(output, refusal=refusal)


def read_parts(content: Any) -> tuple[str, str, str]:
    """Join content in parts: its text, its thinking, and what it declines with.

    Raises:
        ValueError: it is neither text, nor a list of parts, nor nothing.
    """
    if content is None:
        return "", "", ""
    if isinstance(content, str):
        return content, "", ""
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        raise ValueError("the content is neither text nor a list of parts")
    texts: list[str] = []
    thoughts: list[str] = []
    refusals: list[str] = []
    for block in content:
        if isinstance(block, str):
            texts.append(block)
            continue
        if not isinstance(block, Mapping):
            raise ValueError("a part of the content is neither text nor an object")
        kind = str(block.get("type", "text"))
        if kind in TEXT_PARTS:
            texts.append(exact_text(block.get("text")))
        elif "think" in kind or "reason" in kind:
            thoughts.append(plain_text(block))
        elif kind == "refusal":
            refusals.append(plain_text(block.get("refusal")))
    return "".join(texts), "\n\n".join(filter(None, thoughts)), "".join(refusals)


def exact_text(value: Any) -> str:
    """Read the text of a part as it is: the spaces at its ends belong to the whole."""
    if isinstance(value, str):
        return value
    return plain_text(value)


def plain_text(value: Any) -> str:
    """Find the text in a field that may hold a text, an object around it, or a list of either."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Mapping):
        names = ("text", "thinking", "reasoning", "summary", "content")
        return next((text for name in names if (text := plain_text(value.get(name)))), "")
    if isinstance(value, list):
        return "\n".join(filter(None, map(plain_text, value)))
    return ""


def set_apart(text: str) -> tuple[str, str, bool]:
    """Part a text into what the reader sees and what is thinking.

    Returns:
        The visible text (unchanged where nothing was thought), the thinking, and whether a block
        has no end.
    """
    if CHANNEL in text:
        return _channels(text)
    if not text.lstrip().startswith(BARE_BEGINNINGS) and not any(
        sign in text for sign in TAG_SIGNS
    ):
        return text, "", False
    for pattern in (BARE_CHANNELS, BARE_CHANNEL_OPEN, IN_WORDS):
        match = pattern.fullmatch(text)
        if match:
            groups = match.groupdict()
            visible = groups.get("text")
            thinking = groups.get("thinking") or match[0]
            return (visible or "").strip(), thinking.strip(), visible is None
    return _blocks(text)


def _channels(text: str) -> tuple[str, str, bool]:
    """Part a text by gpt-oss's channels: `final` is for the reader, every other is not."""
    before, *pieces = text.split(CHANNEL)
    thoughts = [CHANNEL_END.split(before)[0]]
    finals: list[str] = []
    for piece in pieces:
        header, _, body = piece.partition(MESSAGE)
        body = CHANNEL_END.split(body)[0]
        is_final = header.split()[:1] == ["final"]
        if is_final:
            finals.append(body)
        else:
            thoughts.append(body)
    return paragraphs(finals), paragraphs(thoughts), not finals


def paragraphs(texts: Iterable[str]) -> str:
    """Join texts as paragraphs; those without a letter are left out."""
    return "\n\n".join(filter(None, map(str.strip, texts)))


def _blocks(text: str) -> tuple[str, str, bool]:
    """Part a text by opening and closing tags.

    A closing tag that nothing opened ends thinking that the chat template had begun. An opening tag
    inside a block is part of it: models repeat the one that stands in their prompt.
    """
    visible: list[str] = []
    thoughts: list[str] = []
    is_open = has_block = False
    start = 0
    for tag in TAG.finditer(text):
        around = (text[tag.start() - 1 : tag.start()], text[tag.end() : tag.end() + 1])
        if around in QUOTES:
            continue
        piece = text[start : tag.start()]
        if tag["opening"]:
            (thoughts if is_open else visible).append(piece)
            is_open = True
        elif is_open:
            thoughts.append(piece)
            is_open = False
        elif (
            has_block and not text[tag.end() :].strip()
        ):  # a closing tag too many, behind the answer
            visible.append(piece)
        else:
            thoughts += [*visible, piece]
            visible = []
        has_block = True
        start = tag.end()
    if not has_block:
        return text, "", False
    (thoughts if is_open else visible).append(text[start:])
    return unwrapped("".join(visible)).strip(), paragraphs(thoughts), is_open


def unwrapped(text: str) -> str:
    """Remove the tags that stand around the whole of an answer."""
    for pattern, group in ((WRAPPED, 2), (WRAPPED_BY_TOKENS, 1)):
        match = pattern.fullmatch(text)
        if match:
            return match[group]
    return text
