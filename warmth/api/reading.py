"""What a server's reply means: text, structured value, or a failure with a name.

No verdict is read from prose.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from warmth.api.calls import Call, Failure, Usage, schema_text
from warmth.api.form import LEVELS, CallForm
from warmth.api.money import estimate, prompt_tokens
from warmth.errors import one_line
from warmth.output import Output, output_of_message, output_of_text
from warmth.types import Message

QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "exceeded_quota", "quota_exceeded")
REFUSED_BY_LOAD = (429, 503, 529)  # the server asks for fewer calls
SENT_AGAIN = (408, 409, 425, 429)  # and every 5xx
# A failure that may pass, and server_error for the other statuses.
PASSING_STATUS: Mapping[int, Failure] = {408: "timeout", 429: "rate_limited"}
STOPPING_STATUS: Mapping[int, Failure] = {403: "bad_request"}  # which may be about one prompt
ABOUT_THE_FORM = (400, 413, 415, 422, 501)  # what the call looks like is refused, not who calls
SHOWN = 300  # characters of a server's message
MOST_TOKENS = 10**9  # of one call; a larger count is a mistake

# A server's words about content: one prompt is flagged, not the whole command.
FILTER_CODES = (
    "content_filter",
    "content_policy_violation",
    "moderation_blocked",
    "data_inspection_failed",
    "responsibleaipolicyviolation",
    "content_filtered",
    "safety",
)
ABOUT_CONTENT = re.compile(
    r"moderat|flagged|content[ _-]?(?:management )?(?:filter|polic)"
    r"|inappropriate|unsafe|harmful|sensitive content|safety (?:system|polic|filter|guard)"
    r"|usage polic|violat\w* .{0,40}polic|prohibited content|data_inspection",
    re.IGNORECASE,
)
TOO_LONG_CODES = (
    "context_length_exceeded",
    "string_above_max_length",
    "context_window_exceeded",
    "prompt_too_long",
)
LENGTH_PHRASES = (
    r"(?:context|sequence|prompt|input)[ _-]?(?:length|window|size|tokens?)\b"
    r".{0,80}(?:exceed|too|longer|larger|limit|maximum|is \d)",
    r"maximum (?:context|sequence|prompt|input|model)[ _-]?(?:length|window|size)",
    r"max_(?:model|seq|input|prompt)\w*_len\w*",
    r"(?:prompt|inputs?|messages?|conversation|request)\b"
    r".{0,60}(?:too (?:long|large|many tokens)|longer than|exceeds?\b)",
    r"tokens?\b.{0,60}(?:too (?:long|large|many)|longer than|larger than|greater than|exceed\w*"
    r"|above|beyond|over) .{0,60}(?:context|window|model|limit|maximum)",
    r"exceed\w* .{0,40}(?:context|token limit)",
    r"too many (?:input |prompt )?tokens",
    r"reduce the length",
    r"range of input length",
    r"\binputs?\W{0,2} tokens \+",
)
ABOUT_LENGTH = re.compile("|".join(LENGTH_PHRASES), re.IGNORECASE)
REFUSING_PHRASES = (
    r"unsupported",
    r"n[o']t (?:be )?(?:support|allow|permit|accept|available|compatible|set|used)",
    r"can ?not be (?:set|specified|used)",
    r"only the default",
    r"unknown|unexpected|unrecogni[sz]ed",
    r"deprecated|incompatible|no longer|cannot both",
    r"extra (?:inputs|fields)",
)
NOT_TAKEN = re.compile("|".join(REFUSING_PHRASES), re.IGNORECASE)
ABOUT_A_SCHEMA = re.compile(
    r"grammar|schema|json|guided|structured|response_format|xgrammar|outlines|regex|constrain",
    re.IGNORECASE,
)
ABOUT_PARAMETERS = re.compile(r"parameter|response_format|support|schema|structured", re.IGNORECASE)

TELL = "\n\nReply with one JSON object and nothing else, valid under this JSON schema:\n"
REPAIR = (
    "That is not valid under the schema ({error}). "
    "Reply with the corrected JSON object and nothing else."
)
FENCED = re.compile(r"```[ \t]*[\w-]*[ \t]*\r?\n?(.*?)```", re.DOTALL)
END_TOKENS = re.compile(
    r"(?:<\|[a-z0-9_]+\|>|</s>|<eos>|<end_of_turn>|<｜[^｜\n]{1,40}｜>|\[/?INST\])+", re.IGNORECASE
)
INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\xa0"


class RepeatedKey(ValueError):
    """A JSON object has one key twice, so it says two things."""


@dataclass(frozen=True)
class Outcome:
    """One attempt, read."""

    # done, again (send the same once more), stop (nothing further can succeed) or lower (change the
    # form)
    kind: str
    failure: Failure = ""
    text: str = ""
    finish: str = ""
    usage: Usage = field(default_factory=Usage)
    detail: str = ""
    model: str = ""
    parsed: BaseModel | None = None
    thinking: str = ""
    raw_finish: str = ""
    change: str = ""  # of kind lower: `schema`, `max_tokens`, or the parameter to leave out
    is_paid: bool = False  # the server answered with HTTP 200
    odd_usage: bool = False  # it counted what cannot be; `usage` is then estimated


def body_of(call: Call, model: str, form: CallForm) -> dict[str, Any]:
    """Build the JSON body of a chat completion.

    Args:
        call: what is asked.
        model: the name the server knows the model by.
        form: how this server takes calls.
    """
    messages = [{"role": message.role, "content": message.content} for message in call.messages]
    body: dict[str, Any] = {"model": model, "messages": messages, "temperature": call.temperature}
    body[form.limit_name] = call.max_tokens
    if call.top_p != 1.0:
        body["top_p"] = call.top_p
    if call.seed is not None:
        body["seed"] = call.seed
    for name in form.left_out:
        body.pop(name, None)
    body |= call.extra
    if call.schema is None:
        return body
    if form.level.startswith("schema"):
        # what the library's own `parse` sends
        from openai.lib._pydantic import to_strict_json_schema

        shape = {
            "name": call.schema.__name__,
            "strict": True,
            "schema": to_strict_json_schema(call.schema),
        }
        body["response_format"] = {"type": "json_schema", "json_schema": shape}
    elif form.level.startswith("object"):
        body["response_format"] = {"type": "json_object"}
    if form.level.endswith("told"):
        messages[-1]["content"] += TELL + schema_text(call.schema)
    return body


def repair_of(call: Call, text: str, error: str) -> Call:
    """Make the call that shows the model its invalid reply and asks once more."""
    more = (Message("assistant", text[:8000]), Message("user", REPAIR.format(error=error)))
    return replace(call, messages=(*call.messages, *more))


def probe_of(call: Call) -> Call:
    """Make the shortest call of the same form.

    If it is refused too, the form is to blame and not the prompt.
    """
    return replace(call, messages=(Message("user", "Hi"),))


def read_reply(status: int, raw: bytes, call: Call) -> Outcome:
    """Read an HTTP reply to a chat completion; usage is there whenever the server counted."""
    try:
        body = json.loads(raw.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        body = None
    if status != 200:
        return _error(status, body, raw, call)
    if not isinstance(body, dict):
        return Outcome(
            "again", "server_error", detail="the body is not a JSON object", is_paid=True
        )
    if body.get("error") and not body.get("choices"):  # some gateways report errors with status 200
        code = field_of(body["error"], "code")
        if not isinstance(code, int) or not 400 <= code < 600:
            code = 500
        failed = _error(code, body, raw, call)
        usage, is_odd = _usage(body.get("usage"), call, Output(""))
        return replace(failed, usage=usage, odd_usage=is_odd, is_paid=True)
    return read_body(body, call)


def read_body(body: Mapping[str, Any], call: Call) -> Outcome:
    """Read a chat completion object, its schema checked."""
    output = Output("", finish="unknown")
    choice: Any = None
    try:
        choice = body["choices"][0]
        output = output_of_message(choice["message"], choice.get("finish_reason"))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError):
        if not field_of(choice, "error"):
            choice = None
    usage, is_odd = _usage(body.get("usage"), call, output)
    seen = Outcome(
        "done",
        text=output.text,
        finish=output.finish,
        usage=usage,
        model=str(body.get("model") or ""),
        thinking=output.thinking,
        raw_finish=output.raw_finish,
        is_paid=True,
        odd_usage=is_odd,
    )
    if choice is None:
        return replace(
            seen, kind="again", failure="server_error", detail="the body is not a chat completion"
        )
    if choice.get("error"):
        return _broken_choice(seen, choice["error"])
    if output.finish == "error":
        detail = f"the server ended the reply with finish_reason={output.raw_finish}"
        return replace(seen, kind="again", failure="server_error", detail=detail)
    if output.finish == "unknown":
        named = output.raw_finish or choice.get("finish_reason")
        detail = f"finish_reason={one_line(Exception(str(named)))[:60]} is none that is known"
        return replace(seen, failure="unknown_finish", detail=detail)
    if output.finish == "filtered":
        return replace(seen, failure="filtered", detail=f"finish_reason={output.raw_finish}")
    if output.refusal:
        return replace(seen, failure="refused", text=output.refusal)
    if output.finish == "length":
        return replace(seen, failure="cut_off")
    if call.schema is not None and not output.text.strip():
        return _verdict_apart(seen, call)
    if not output.text.strip():
        return replace(seen, failure="empty")
    return fit_schema(seen, call)


def _broken_choice(seen: Outcome, error: Any) -> Outcome:
    """Read a choice that carries an error: its text is a part of an answer at best."""
    message = field_of(error, "message") or error
    detail = one_line(Exception(str(message or "no message")))[:SHOWN]
    if ABOUT_CONTENT.search(detail):
        return replace(seen, failure="filtered", detail=detail)
    return replace(seen, kind="again", failure="server_error", finish="error", detail=detail)


def _verdict_apart(seen: Outcome, call: Call) -> Outcome:
    """Read a reply without text to a call with a schema.

    A server that expects thinking first puts a reply that begins with its JSON into the field for
    thinking. It is read from there if it is the JSON object and nothing else.
    """
    moved = fit_schema(replace(seen, text=seen.thinking, thinking=""), call)
    if seen.thinking.lstrip().startswith("{") and not moved.failure:
        return moved
    return replace(seen, failure="empty")


def fit_schema(outcome: Outcome, call: Call) -> Outcome:
    """Validate an outcome's text by the call's schema: the whole text, or nothing."""
    if call.schema is None:
        return outcome
    try:
        return replace(outcome, parsed=parse_reply(outcome.text, call.schema))
    except ValidationError as error:
        mistake = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(map(str, mistake["loc"]))
        return replace(
            outcome, failure="bad_json", detail=f"{path}: {mistake['msg']}".removeprefix(": ")
        )
    except (ValueError, RecursionError) as error:
        return replace(outcome, failure="bad_json", detail=one_line(error)[:SHOWN])


def parse_reply(text: str, schema: type[BaseModel]) -> BaseModel:
    """Read one JSON object as a schema.

    Raises:
        ValueError: the text is anything else, or an object in it has one key twice.
    """
    bare = undressed(text)
    json.loads(bare, object_pairs_hook=_unique)
    return schema.model_validate_json(bare)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object whose keys differ."""
    value: dict[str, Any] = {}
    for key, item in pairs:
        if key in value:
            raise RepeatedKey(f"the key {key!r} stands in it twice")
        value[key] = item
    return value


def undressed(text: str) -> str:
    """Remove what models and servers put around JSON.

    That is: thinking, a code fence, a byte order mark, end tokens.
    """
    text = output_of_text(text).text
    before = ""
    while text != before:
        before = text
        text = text.strip().strip(INVISIBLE)
        text = _without_end_tokens(text)
        fenced = FENCED.fullmatch(text)
        if fenced and "```" not in fenced[1]:
            text = fenced[1]
    return text


def _without_end_tokens(text: str) -> str:
    """Remove end tokens before and behind a text."""
    beginning = END_TOKENS.match(text)
    if beginning:
        text = text[beginning.end() :]
    spans = [match.span() for match in END_TOKENS.finditer(text)]
    if spans and spans[-1][1] == len(text):
        text = text[: spans[-1][0]]
    return text


def _usage(counts: Any, call: Call, output: Output) -> tuple[Usage, bool]:
    """Read what a server counted. Counts that cannot be are replaced by an estimate.

    Returns:
        The usage, and whether it is such an estimate.
    """
    if not isinstance(counts, Mapping):
        return Usage(), False
    cached = field_of(counts.get("prompt_tokens_details"), "cached_tokens")
    try:
        usage = Usage(
            _count(counts.get("prompt_tokens")), _count(cached), _completion_tokens(counts)
        )
    except (ValueError, TypeError, OverflowError):
        usage = None
    if usage is not None and usage.cached_tokens <= usage.prompt_tokens:
        return usage, False
    estimated = estimate([Message("assistant", output.text), Message("assistant", output.thinking)])
    return Usage(prompt_tokens(call), 0, estimated), True


def field_of(value: Any, name: str) -> Any:
    """Read a field of what may be an object; None if it is none, or has no such field."""
    return value.get(name) if isinstance(value, Mapping) else None


def _completion_tokens(counts: Mapping[str, Any]) -> int:
    """Read the tokens of a reply.

    Some servers count those of its thinking apart, though they are paid alike.

    Raises:
        ValueError: a count cannot be.
    """
    completion = _count(counts.get("completion_tokens"))
    thinking = _count(field_of(counts.get("completion_tokens_details"), "reasoning_tokens"))
    together = completion + thinking
    if _count(counts.get("total_tokens")) == _count(counts.get("prompt_tokens")) + together:
        return together
    return completion


def _count(value: Any) -> int:
    """Read a number of tokens.

    Raises:
        ValueError: it is negative, infinite, no whole number, or more than any call can have.
    """
    number = float(value or 0)
    if not math.isfinite(number) or not 0 <= number <= MOST_TOKENS or number != int(number):
        raise ValueError(f"{value} is no number of tokens")
    return int(number)


def _error(status: int, body: Any, raw: bytes, call: Call) -> Outcome:
    """Read a reply that is no completion: who is to blame, and whether it may pass."""
    error = _error_object(body)
    sentence = str(
        error.get("message") or error.get("detail") or raw[:SHOWN].decode("utf-8", "replace")
    )
    message = one_line(Exception(sentence))[:SHOWN]
    codes = {str(error.get(name) or "").casefold() for name in ("code", "type", "status")}
    detail = f"{message or 'no message'} (HTTP {status})"
    if codes & set(QUOTA):
        return Outcome("stop", detail=detail)
    if status in (400, 403, 422, 451) and _is_about_content(error, codes, sentence):
        return Outcome("done", "filtered", detail=detail)
    if status == 404 and call.schema is not None and ABOUT_PARAMETERS.search(message):
        return Outcome("lower", "bad_request", detail=detail, change="schema")
    if status in (401, 402, 403, 404, 405) or 300 <= status < 400:
        return Outcome("stop", STOPPING_STATUS.get(status, ""), detail=detail)
    if status in SENT_AGAIN or status >= 500 and status != 501:
        if status in (500, 502) and call.schema is not None and ABOUT_A_SCHEMA.search(message):
            return Outcome("lower", "server_error", detail=detail, change="schema")
        return Outcome("again", PASSING_STATUS.get(status, "server_error"), detail=detail)
    if status == 413 or codes & set(TOO_LONG_CODES) or ABOUT_LENGTH.search(sentence):
        return Outcome("done", "too_long", detail=detail)
    if status in ABOUT_THE_FORM:
        change = _change(str(error.get("param") or ""), sentence, call)
        if change:
            return Outcome("lower", "bad_request", detail=detail, change=change)
    return Outcome("done", "bad_request", detail=detail)


def _error_object(body: Any) -> Mapping[str, Any]:
    """Find the error in a body.

    Servers put it under `error`, into a list, or alone, and some write it as a text.
    """
    if isinstance(body, list) and body:
        return _error_object(body[0])
    if isinstance(body, str):
        return {"message": body}
    if not isinstance(body, Mapping):
        return {}
    return _error_object(body["error"]) if body.get("error") else body


def _is_about_content(error: Mapping[str, Any], codes: set[str], message: str) -> bool:
    """Tell whether an error says that this prompt was flagged."""
    metadata = error.get("metadata")
    if isinstance(metadata, Mapping) and ("flagged_input" in metadata or "reasons" in metadata):
        return True
    inner_code = str(field_of(error.get("innererror"), "code") or "").casefold()
    if inner_code in FILTER_CODES or codes & set(FILTER_CODES):
        return True
    return ABOUT_CONTENT.search(message) is not None


def _change(parameter: str, message: str, call: Call) -> str:
    """Say which part of a call's form is refused; "" if none that can be changed is named."""
    is_sent = {"seed": call.seed is not None, "top_p": call.top_p != 1.0, "temperature": True}
    names = [name for name, sent in is_sent.items() if sent and name not in call.extra]
    if NOT_TAKEN.search(message):
        for name in ("max_tokens", "max_completion_tokens"):
            if parameter == name or re.search(rf"\b{name}\b", message):
                return "max_tokens"
        for name in names:
            if parameter == name or re.search(rf"\b{name}\b", message):
                return name
    return "schema" if call.schema is not None else ""


__all__ = [
    "LEVELS",
    "REFUSED_BY_LOAD",
    "Outcome",
    "body_of",
    "fit_schema",
    "parse_reply",
    "probe_of",
    "read_reply",
    "repair_of",
]
