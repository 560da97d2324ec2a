"""The model servers of one command: its clients share one store of replies and one budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from warmth.api.calls import Call, CallForecast, Reply, Server
from warmth.api.client import Client
from warmth.schemas import Evaluate, Train
from warmth.text import say

T = TypeVar("T")
EVERY_S = 30.0  # between two lines about money


class Servers:
    """Opens clients one after the other; what one has spent is no longer there for the next.

    Args:
        study: gives `api`, how servers are called, and `output`, under which paid replies are kept.
    """

    def __init__(self, study: Train | Evaluate):
        self.settings = study.api
        self._store = Path(study.output) / "replies"
        self._expected: list[Server] = []
        self.spent = 0.0  # USD
        self.totals: list[dict[str, Any]] = []  # what each client did, for `summary.json`

    @property
    def left(self) -> float | None:
        """Return the USD that are left of the budget; None: there is none."""
        if self.settings.budget_usd is None:
            return None
        return max(0.0, self.settings.budget_usd - self.spent)

    def expect(self, server: Server) -> None:
        """Announce a server that will be called."""
        self._expected.append(server)

    def check(self) -> None:
        """Check, before any work is done, how all expected servers are reached.

        Keys, proxies and certificates are checked.

        Raises:
            UserError: a key's variable is not set, or what the environment says of proxies or
            certificates is wrong.
        """
        from warmth.api.transport import certificates, proxy_of

        for server in self._expected:
            server.key()
            proxy_of(server.url)
            certificates(server.url)

    @contextmanager
    def client(self, server: Server) -> Generator[Client]:
        """Open a client with what is left of the command's budget.

        Raises:
            UserError: there is a budget and the server's model has no price.
        """
        with Client(server, self._store, replace(self.settings, budget_usd=self.left)) as client:
            try:
                yield client
            finally:
                totals = client.totals()
                self.spent += totals["usd"] or 0.0
                self.totals.append(totals)

    def ask(self, server: Server, make: Callable[[T], Call], items: Sequence[T]) -> Iterator[Reply]:
        """Yield replies in order of completion; `reply.index` is the item's.

        What the calls may cost is said first, and what they did at the end.

        Args:
            server: who is asked.
            make: an item's call. It is made when its turn comes, so that many items need little
            memory.
            items: what is asked about.
        """
        with self.client(server) as client:
            forecast = client.forecast(map(make, items))
            is_sending = forecast.calls > forecast.cached
            if is_sending:
                say(f"{server.model}: {forecast_line(forecast, self.settings.prices_date)}")
            reported_at = time.monotonic()
            for done, reply in enumerate(client.complete(map(make, items)), 1):
                if time.monotonic() - reported_at > EVERY_S:
                    reported_at = time.monotonic()
                    say(
                        f"{server.model}: {done:,} of {forecast.calls:,} replies, "
                        f"{spent_line(client.totals())}"
                    )
                yield reply
            if is_sending:
                say(f"{server.model}: {spent_line(client.totals())}")


def forecast_line(forecast: CallForecast, prices_date: str) -> str:
    """Say what is about to be asked and what it costs at most."""
    stored = f" ({forecast.cached:,} are stored)" if forecast.cached else ""
    tokens = (
        f"about {forecast.prompt_tokens:,} tokens, replies of at most "
        f"{forecast.completion_tokens:,}"
    )
    money = "no price is known"
    if forecast.usd is not None:
        money = f"at most ${forecast.usd:,.2f} (prices of {prices_date})"
    return f"{forecast.calls - forecast.cached:,} calls{stored}, {tokens}: {money}"


def spent_line(totals: dict[str, Any]) -> str:
    """Say what a client has used so far."""
    tokens = f"{totals['prompt_tokens']:,} + {totals['completion_tokens']:,} tokens"
    if totals["usd"] is None:
        return tokens
    return f"{tokens}, ${totals['usd']:,.4f} spent"
