"""Replies as the store keeps them: rows to and from replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from warmth.api.calls import Call, Reply, Server, Usage
from warmth.api.reading import Outcome, parse_reply
from warmth.api.transport import hide, redact

COLUMNS = ("key", "text", "thinking", "finish", "raw_finish", "failure", "detail", "usage", "model")


def reply_from(
    outcome: Outcome,
    call: Call,
    secret: str,
    index: int,
    key: str,
    usage: Usage,
    usd: float,
    cached: bool = False,
) -> Reply:
    """Make a reply of an outcome.

    The server's key is removed from every field, so that no row or file can hold it.

    Args:
        outcome: how the call ended.
        call: what was asked; its schema is read again if the key stood in the text.
        secret: the server's key.
        index: position of the call.
        key: the call's own key in the store.
        usage: tokens that were paid for.
        usd: what they cost.
        cached: whether the reply was in the store.
    """
    text = hide(outcome.text, secret)
    parsed = outcome.parsed
    if parsed is not None and call.schema is not None and text != outcome.text:
        parsed = parse_reply(text, call.schema)
    return Reply(
        index=index,
        key=key,
        text=text,
        parsed=parsed,
        finish=outcome.finish,
        failure=outcome.failure,
        usage=usage,
        cost_usd=usd,
        cached=cached,
        detail=redact(outcome.detail, secret),
        model=hide(outcome.model, secret),
        thinking=hide(outcome.thinking, secret),
        raw_finish=hide(outcome.raw_finish, secret),
    )


def reply_row(reply: Reply, server: Server) -> dict[str, Any]:
    """Write a paid reply as a row; the call itself is not kept, its key stands for it."""
    return {
        "text": reply.text,
        "thinking": reply.thinking,
        "finish": reply.finish,
        "raw_finish": reply.raw_finish,
        "failure": reply.failure,
        "detail": reply.detail,
        "usage": [
            reply.usage.prompt_tokens,
            reply.usage.cached_tokens,
            reply.usage.completion_tokens,
        ],
        "usd": reply.cost_usd,
        "model": reply.model,
        "asked": server.model,
        "server": server.family,
    }


def reply_of(row: Mapping[str, Any], index: int, call: Call) -> Reply | None:
    """Read a stored row as the reply to a call.

    None if it lacks a column, or does not fit the call's schema.
    """
    if any(name not in row for name in COLUMNS):
        return None
    parsed = None
    if call.schema is not None and not row["failure"]:
        try:
            parsed = parse_reply(row["text"], call.schema)
        except ValueError:
            return None
    return Reply(
        index=index,
        key=row["key"],
        text=row["text"],
        parsed=parsed,
        finish=row["finish"],
        failure=row["failure"],
        detail=row["detail"],
        usage=Usage(*row["usage"]),
        cached=True,
        model=row["model"],
        thinking=row["thinking"],
        raw_finish=row["raw_finish"],
    )
