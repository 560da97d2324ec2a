"""What a fine-tuning provider is given: the training file, checked before it is sent, and what it
will cost.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from warmth.api.money import estimate, price_of
from warmth.errors import UserError
from warmth.schemas import Train
from warmth.text import say
from warmth.types import Message

FEWEST = 10  # conversations a provider takes
MOST_TOKENS = 65_536  # of one conversation, as OpenAI trains gpt-4o


def upload_lines(rows: Sequence[dict[str, Any]]) -> bytes:
    """Write the training file: one conversation a line, checked here, for a provider refuses only
    after the upload.

    Raises:
        UserError: too few conversations, or one that is empty, too long, or does not end with a
        reply.
    """
    if len(rows) < FEWEST:
        raise UserError(
            f"{len(rows)} conversations are too few: providers take {FEWEST} or more; raise "
            f"data.per_type"
        )
    lines = []
    for row in rows:
        messages = [{"role": item["role"], "content": item["content"]} for item in row["messages"]]
        if not messages or messages[-1]["role"] != "assistant":
            raise UserError(f"conversation {row['id']} does not end with a reply")
        if not all(message["content"].strip() for message in messages):
            raise UserError(f"conversation {row['id']} has an empty message")
        if estimate(Message(**message) for message in messages) > MOST_TOKENS:
            raise UserError(
                f"conversation {row['id']} is longer than {MOST_TOKENS:,} tokens, where providers "
                f"cut"
            )
        lines.append(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    return "".join(lines).encode("utf-8", errors="replace")


def check_money(study: Train, rows: Sequence[dict[str, Any]], left: float | None) -> int:
    """Tokens the job trains on, all epochs, estimated from lengths; says what they cost.

    Args:
        study: for epochs and prices.
        rows: the conversations.
        left: USD left of api.budget_usd; None: there is no budget.

    Raises:
        UserError: the job's forecast is more than that, or there is a budget but no price.
    """
    each = sum(estimate(Message(**message) for message in row["messages"]) for row in rows)
    tokens, model = each * study.recipe.hosted.epochs, str(study.model.api_model)
    price = price_of(study.api, model)
    if price is None or not price.training:
        if left is not None:
            raise UserError(
                f"api.budget_usd cannot be held: api.prices has no training price for {model}"
            )
        return tokens
    usd = tokens * price.training / 1e6
    say(
        f"training on about {tokens:,} tokens costs about ${usd:.2f} (prices of "
        f"{study.api.prices_date})"
    )
    if left is not None and usd > left:
        rest = f", of which ${left:.2f} are left," if left < (study.api.budget_usd or 0.0) else ""
        raise UserError(
            f"api.budget_usd={study.api.budget_usd:g}{rest} is below the job's forecast of "
            f"${usd:.2f}"
        )
    return tokens
