"""What a server's reply means: text, structured value, or a failure with a name. No verdict is read from prose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from warmth.api.calls import Call, Failure, Usage, schema_text, unfenced
from warmth.types import Message

QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "exceeded_quota", "quota_exceeded")
FILTER = ("content_filter", "content_policy_violation", "moderation_blocked")
REFUSED_BY_LOAD = (429, 503, 529)  # the server asks for fewer calls
SENT_AGAIN = (408, 409, 425, 429)  # and every 5xx
FORM = ("response_format", "json_schema", "json_object", "max_completion_tokens")  # a 400 about these is about us
SHOWN = 300  # characters of a server's message

# How a schema reaches a server, from the best way down. `told` means that it also stands in the last message.
LEVELS = ("schema", "schema_told", "object_told", "told")
TELL = "\n\nReply with one JSON object and nothing else, valid under this JSON schema:\n"
REPAIR = "That is not valid under the schema ({error}). Reply with the corrected JSON object and nothing else."


@dataclass(frozen=True)
class Outcome:
    """One attempt, read."""

    kind: str  # done, again (send the same once more), stop (nothing further can succeed) or lower (try the next level)
    failure: Failure = ""
    text: str = ""
    finish: str = ""
    usage: Usage = field(default_factory=Usage)
    detail: str = ""
    model: str = ""
    parsed: BaseModel | None = None


def body_of(call: Call, model: str, level: str, limit_name: str = "max_tokens") -> dict[str, Any]:
    """The JSON body of a chat completion.

    Args:
        call: what is asked.
        model: the name the server knows the model by.
        level: one of LEVELS; says nothing without a schema.
        limit_name: `max_tokens`, or `max_completion_tokens` for servers that insist.
    """
    messages = [{"role": message.role, "content": message.content} for message in call.messages]
    body: dict[str, Any] = {"model": model, "messages": messages, "temperature": call.temperature}
    body[limit_name] = call.max_tokens
    if call.top_p != 1.0:
        body["top_p"] = call.top_p
    if call.seed is not None:
        body["seed"] = call.seed
    if call.schema is None:
        return body
    if level.startswith("schema"):
        from openai.lib._pydantic import to_strict_json_schema  # what the library's own `parse` sends

        shape = {"name": call.schema.__name__, "strict": True, "schema": to_strict_json_schema(call.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": shape}
    elif level.startswith("object"):
        body["response_format"] = {"type": "json_object"}
    if level.endswith("told"):
        messages[-1]["content"] += TELL + schema_text(call.schema)
    return body


def repair_of(call: Call, text: str, error: str) -> Call:
    """The call that shows the model its invalid reply and asks once more."""
    more = (Message("assistant", text[:8000]), Message("user", REPAIR.format(error=error)))
    return replace(call, messages=(*call.messages, *more))


def read(status: int, raw: bytes, call: Call) -> Outcome:
    """An HTTP reply to a chat completion as an outcome; usage is there whenever the server counted."""
    try:
        body = json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError):
        body = None
    if status != 200:
        return _error(status, body, raw)
    if not isinstance(body, dict):
        return Outcome("again", "server_error", detail="the body is not a JSON object")
    if isinstance(body.get("error"), Mapping) and not body.get("choices"):
        code = body["error"].get("code")  # some gateways report errors with status 200
        return _error(code if isinstance(code, int) and code >= 400 else 500, body, raw)
    return read_body(body, call)


def read_body(body: Mapping[str, Any], call: Call) -> Outcome:
    """A chat completion object as an outcome, its schema checked."""
    try:
        choice = body["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content") or "", message.get("refusal")
        finish = choice.get("finish_reason") or "stop"
        usage = _usage(body.get("usage") or {})
        if not isinstance(text, str) or not isinstance(finish, str):
            raise TypeError
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        return Outcome("again", "server_error", detail="the body is not a chat completion")
    seen = Outcome("done", "", text, finish, usage, model=str(body.get("model") or ""))
    if finish == "content_filter":
        return replace(seen, failure="filtered")
    if isinstance(refusal, str) and refusal:
        return replace(seen, failure="refused", text=refusal)
    if finish == "length":
        return replace(seen, failure="cut_off")
    if not text.strip():
        return replace(seen, failure="empty")
    return fit(seen, call)


def fit(outcome: Outcome, call: Call) -> Outcome:
    """The outcome with its text validated by the call's schema: the whole text, or nothing."""
    if call.schema is None:
        return outcome
    try:
        return replace(outcome, parsed=call.schema.model_validate_json(unfenced(outcome.text)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return replace(outcome, failure="bad_json", detail=f"{where}: {first['msg']}" if where else first["msg"])


def _usage(counts: Mapping[str, Any]) -> Usage:
    details = counts.get("prompt_tokens_details") or {}
    return Usage(
        int(counts.get("prompt_tokens") or 0),
        int(details.get("cached_tokens") or 0),
        int(counts.get("completion_tokens") or 0),
    )


def _error(status: int, body: Any, raw: bytes) -> Outcome:
    error = body.get("error") if isinstance(body, Mapping) else None
    error = error if isinstance(error, Mapping) else {"message": error if isinstance(error, str) else ""}
    message = " ".join(str(error.get("message") or raw[:SHOWN].decode("utf-8", "replace")).split())[:SHOWN]
    codes = {str(error.get("code") or ""), str(error.get("type") or "")}
    detail = f"{message or 'no message'} (HTTP {status})"
    if status in (401, 402, 403, 404) or 300 <= status < 400 or codes & set(QUOTA):
        return Outcome("stop", detail=detail)
    if codes & set(FILTER):
        return Outcome("done", "filtered", detail=detail)
    if status in SENT_AGAIN or status >= 500:
        failure: Failure = "rate_limited" if status == 429 else "timeout" if status == 408 else "server_error"
        return Outcome("again", failure, detail=detail)
    if "context_length_exceeded" in codes or "maximum context length" in message:
        return Outcome("done", "too_long", detail=detail)
    if status in (400, 422) and any(word in message for word in FORM):
        return Outcome("lower", "bad_request", detail=detail)
    return Outcome("done", "bad_request", detail=detail)
