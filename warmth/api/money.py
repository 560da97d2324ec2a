"""Tokens and money: estimates before a call, the price after it, and the budget between."""

from __future__ import annotations

from collections.abc import Iterable

from warmth.api.calls import Call, Usage, schema_text
from warmth.errors import UserError
from warmth.schemas import Api, Price
from warmth.types import Message

BYTES_PER_TOKEN = 3.5  # of UTF-8 text; English has more, so estimates are rather too high
TOKENS_PER_MESSAGE = 4


def estimate(messages: Iterable[Message], extra: str = "") -> int:
    """Estimate the prompt tokens of a call from the length of its messages, without a tokenizer."""
    texts = [message.content for message in messages] + [extra]
    size = sum(len(text.encode("utf-8", errors="replace")) for text in texts)
    return int(size / BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE * len(texts)


def prompt_tokens(call: Call) -> int:
    """Estimate the prompt tokens of a call, its schema included."""
    return estimate(call.messages, schema_text(call.schema) if call.schema else "")


def price_of(settings: Api, model: str) -> Price | None:
    """Find a model's price.

    A tuned model (`ft:<base>:<organisation>:…`) has the price of `ft:<base>`.
    """
    if model.startswith("ft:"):
        model = ":".join(model.split(":")[:2])
    return settings.prices.get(model)


class Money:
    """The running total of one client and its budget.

    Raises:
        UserError: there is a budget, but no price to hold it with.
    """

    def __init__(self, settings: Api, model: str):
        self.price = price_of(settings, model)
        self.budget = settings.budget_usd
        if self.budget is not None and self.price is None:
            raise UserError(
                f"api.budget_usd={self.budget:g} cannot be held: "
                f"api.prices has no price for {model}"
            )
        self.share = 1.0  # of the price: batches are cheaper
        if self.price is not None and settings.mode == "batch":
            self.share = self.price.batch_share
        self.spent = 0.0  # USD
        self.reserved = 0.0  # USD that calls under way may cost at most
        self.left_out = 0.0  # USD that calls kept back by the budget might have cost
        self.usage = Usage()

    def at_most(self, call: Call) -> float:
        """Bound a call's price in USD: its estimated prompt and a reply of full length."""
        return self.cost(Usage(prompt_tokens(call), 0, call.max_tokens))

    def cost(self, usage: Usage) -> float:
        """Compute the price of these tokens in USD; 0 if the model has no price."""
        if self.price is None:
            return 0.0
        fresh = usage.prompt_tokens - usage.cached_tokens
        price = fresh * self.price.input + usage.cached_tokens * self.price.cached_input
        return self.share * (price + usage.completion_tokens * self.price.output) / 1e6

    def fits(self, usd: float) -> bool:
        """Tell whether so much more stays within the budget.

        Calls under way count at their most.
        """
        return self.budget is None or self.spent + self.reserved + usd <= self.budget + 1e-12

    def pay(self, usage: Usage) -> float:
        """Book a reply; return its price in USD."""
        usd = self.cost(usage)
        self.spent += usd
        self.usage += usage
        return usd
