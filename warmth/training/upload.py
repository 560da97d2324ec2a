"""The training file that a provider is given, checked before it is sent, and what it will cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from warmth.api.money import estimate, price_of
from warmth.errors import UserError
from warmth.schemas import Train
from warmth.text import say
from warmth.training.examples import messages_of

FEWEST = 10  # conversations a provider takes
MOST_TOKENS = 65_536  # of one conversation, as OpenAI trains gpt-4o


def upload_lines(rows: Sequence[dict[str, Any]]) -> bytes:
    """Write the training file, one conversation a line, and check it before it is sent.

    A provider would refuse it only after the upload.

    Raises:
        UserError: too few conversations, or one that is empty, too long, or does not end with a
        reply.
    """
    if len(rows) < FEWEST:
        raise UserError(
            f"{len(rows)} conversations are too few: "
            f"providers take {FEWEST} or more; raise data.per_type"
        )
    lines = []
    for row in rows:
        messages = messages_of(row)
        if not messages or messages[-1].role != "assistant":
            raise UserError(f"conversation {row['id']} does not end with a reply")
        if not all(message.content.strip() for message in messages):
            raise UserError(f"conversation {row['id']} has an empty message")
        if estimate(messages) > MOST_TOKENS:
            raise UserError(
                f"conversation {row['id']} is longer than {MOST_TOKENS:,} tokens, "
                "where providers cut"
            )
        line = {"messages": [asdict(message) for message in messages]}
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    return "".join(lines).encode("utf-8", errors="replace")


def check_money(study: Train, rows: Sequence[dict[str, Any]], left: float | None) -> int:
    """Estimate the tokens a job trains on in all epochs from lengths, and say what they cost.

    Args:
        study: for epochs and prices.
        rows: the conversations.
        left: USD left of api.budget_usd; None: there is no budget.

    Raises:
        UserError: the job's forecast is more than that, or there is a budget but no price.
    """
    tokens = study.recipe.hosted.epochs * sum(estimate(messages_of(row)) for row in rows)
    model = str(study.model.api_model)
    price = price_of(study.api, model)
    if price is None or not price.training:
        if left is not None:
            raise UserError(
                f"api.budget_usd cannot be held: api.prices has no training price for {model}"
            )
        return tokens
    usd = tokens * price.training / 1e6
    say(
        f"training on about {tokens:,} tokens costs about ${usd:.2f} "
        f"(prices of {study.api.prices_date})"
    )
    if left is not None and usd > left:
        remaining = ""
        if left < (study.api.budget_usd or 0.0):
            remaining = f", of which ${left:.2f} are left,"
        raise UserError(
            f"api.budget_usd={study.api.budget_usd:g}{remaining} is below the job's forecast of "
            f"${usd:.2f}"
        )
    return tokens
