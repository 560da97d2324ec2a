"""How a model on a server is told to think: an effort, a budget, or what its server takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from warmth.errors import UserError

# fields of a request's body that `engine.extra_body` must leave alone: other keys say what they are
OURS = (
    "model",
    "messages",
    "n",
    "stream",
    "temperature",
    "top_p",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "response_format",
    "reasoning_effort",
    "reasoning",
)


def check_extra(reasoning: Any, extra_body: Mapping[str, Any] | None, key: str) -> None:
    """Check how a model is told to think, and the further fields of its calls.

    Raises:
        UserError: `reasoning` is neither an effort nor a budget, or `extra_body` sets what another
        key says.
    """
    is_effort = isinstance(reasoning, str) and re.fullmatch(r"[a-z_]+", reasoning) is not None
    is_budget = isinstance(reasoning, int) and not isinstance(reasoning, bool) and reasoning >= 0
    if reasoning is not None and not is_effort and not is_budget:
        raise UserError(
            f"{key}.reasoning={reasoning} must be an effort, such as low, "
            "or a budget of tokens from 0"
        )
    taken = [name for name in extra_body or {} if name in OURS]
    if taken:
        raise UserError(
            f"{key}.extra_body.{taken[0]} is set by another key; leave it out of extra_body"
        )


def thinking_budget(reasoning: Any) -> int:
    """Return the tokens that a model may think before its answer begins.

    0 if an effort or nothing is set.
    """
    return reasoning if isinstance(reasoning, int) else 0


def extra_fields(reasoning: Any, extra_body: Mapping[str, Any] | None) -> dict[str, Any]:
    """Build the further fields of a call: an effort as for OpenAI, a budget as for OpenRouter."""
    fields: dict[str, Any] = dict(extra_body or {})
    if isinstance(reasoning, str):
        fields["reasoning_effort"] = reasoning
    elif reasoning is not None:
        fields["reasoning"] = {"max_tokens": reasoning}
    return fields
