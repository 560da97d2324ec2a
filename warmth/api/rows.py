"""Replies as the store keeps them: rows to and from replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from warmth.api.calls import Call, Reply, Server, Usage
from warmth.api.reading import parse


def row_of(reply: Reply, server: Server) -> dict[str, Any]:
    """Write a paid reply as a row; the call itself is not kept, its key stands for it."""
    return {
        "text": reply.text,
        "thinking": reply.thinking,
        "finish": reply.finish,
        "raw_finish": reply.raw_finish,
        "failure": reply.failure,
        "detail": reply.detail,
        "usage": [reply.usage.prompt_tokens, reply.usage.cached_tokens, reply.usage.completion_tokens],
        "usd": reply.cost_usd,
        "model": reply.model,
        "asked": server.model,
        "server": server.family,
    }


def reply_of(row: Mapping[str, Any], index: int, call: Call) -> Reply | None:
    """Read a stored row as the reply to a call; None if it does not fit the call's schema."""
    parsed = None
    if call.schema is not None and not row["failure"]:
        try:
            parsed = parse(row["text"], call.schema)
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
