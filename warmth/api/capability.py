"""What a server can do, learnt from its replies once and remembered beside the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from warmth.api.calls import Server
from warmth.api.reading import LEVELS
from warmth.errors import UserError
from warmth.store import read_json, write_json


class Capability:
    """How a schema and the reply's length are put to one server.

    A server may refuse a schema (HTTP 400) or ignore it without a word. So the first structured call goes out alone:
    refused, the next level is tried; answered without JSON, the schema is also told in the message from then on.
    """

    def __init__(self, folder: Path, server: Server):
        self._file, self._name = folder / "servers.json", f"{server.family} {server.model}"
        self.level, self.limit_name, self.known = LEVELS[0], "max_tokens", False
        seen = self._all().get(self._name)
        if isinstance(seen, dict) and seen.get("level") in LEVELS:
            self.level, self.known = seen["level"], bool(seen.get("known", True))
            self.limit_name = str(seen.get("limit_name", self.limit_name))

    def lower(self, level: str, limit_name: str, detail: str) -> bool:
        """The server refused a call's form; True if there is another form to try."""
        if (level, limit_name) != (self.level, self.limit_name):
            return True  # another call has lowered it meanwhile
        if "max_completion_tokens" in detail and limit_name == "max_tokens":
            self.limit_name = "max_completion_tokens"
        elif level == LEVELS[-1]:
            return False
        else:
            self.level = {"schema": "object_told", "schema_told": "object_told"}.get(level, LEVELS[-1])
        self._save()
        return True

    def learn(self, level: str, fitted: bool) -> None:
        """A structured reply came at this level: did it fit the schema?"""
        if self.known:
            return
        self.known = True
        if not fitted and level == LEVELS[0] and level == self.level:
            self.level = "schema_told"
        self._save()

    def _all(self) -> dict[str, Any]:
        try:
            found = read_json(self._file)
        except UserError:
            return {}  # nothing learnt yet; what is lost is learnt again
        return found if isinstance(found, dict) else {}

    def _save(self) -> None:
        mine = {"level": self.level, "limit_name": self.limit_name, "known": self.known}
        write_json(self._file, {**self._all(), self._name: mine})
