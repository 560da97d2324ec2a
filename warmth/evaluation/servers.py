"""The model servers of one command: who answers and who judges share one store of replies and one budget."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from warmth.api import Client, Server
from warmth.schemas import Evaluate

# The server's state rather than the reply's: the same command asks for these alone, and nothing is written of them.
PASSING = ("timeout", "dropped", "rate_limited", "server_error", "budget")


class Servers:
    """Opens clients one after the other; what one has spent is no longer there for the next.

    Args:
        study: gives `api`, how servers are called, and `output`, under which paid replies are kept.
    """

    def __init__(self, study: Evaluate):
        self._settings, self._store = study.api, Path(study.output) / "replies"
        self._expected: list[Server] = []
        self._spent = 0.0  # USD
        self.totals: list[dict[str, Any]] = []  # what each client did, for `summary.json`

    def expect(self, server: Server) -> None:
        """Announces a server that will be called."""
        self._expected.append(server)

    def check(self) -> None:
        """Looks for the keys of all expected servers, before any work is done.

        Raises:
            UserError: the variable that holds a key is not set.
        """
        for server in self._expected:
            server.key()

    @contextmanager
    def client(self, server: Server) -> Generator[Client]:
        """A client with what is left of the command's budget.

        Raises:
            UserError: there is a budget and the server's model has no price.
        """
        budget = self._settings.budget_usd
        left = None if budget is None else max(0.0, budget - self._spent)
        with Client(server, self._store, replace(self._settings, budget_usd=left)) as client:
            try:
                yield client
            finally:
                totals = client.totals()
                self._spent += totals["usd"] or 0.0
                self.totals.append(totals)
