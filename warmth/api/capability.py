"""What a server can do, learnt from its replies once and remembered beside the store."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from warmth.api.calls import Server
from warmth.api.form import DROPPABLE, LEVELS, LIMIT_NAMES, Form
from warmth.errors import UserError
from warmth.store import read_json, write_json


class Capability:
    """The form in which one server takes calls to one model.

    A server may refuse a schema (with an error) or ignore it without a word. So the first
    structured call goes out alone: refused, the next level is tried; answered without JSON, the
    schema is also told in the message from then on. A form counts as learnt only once a call has
    succeeded in it.
    """

    def __init__(self, folder: Path, server: Server):
        self._file, self._name = folder / "servers.json", f"{server.family} {server.model}"
        self._url, self._model = server.url, server.model
        self.form, self.known = Form(), False
        seen = self._mine()
        if seen.get("level") not in LEVELS or seen.get("limit_name") not in LIMIT_NAMES:
            return
        left_out = seen.get("left_out") or ()
        self.form = Form(
            seen["level"], seen["limit_name"], tuple(name for name in DROPPABLE if name in left_out)
        )
        self.known = bool(seen.get("known"))

    def accept(self, form: Form, sentence: str) -> None:
        """Remember a form in which a call succeeded after another was refused; say once what is
        done without.

        Args:
            form: the one that succeeded.
            sentence: why the server refused the form before, without secrets.
        """
        learnt = self.form.both(form)
        if learnt == self.form:
            return
        new = [name for name in learnt.left_out if name not in self.form.left_out]
        self.form = learnt
        self._save()
        if new:
            names = " and ".join(new)
            print(
                f"{self._model} does not take {names}, so it is asked without: {sentence}",
                file=sys.stderr,
            )

    def learn(self, level: str, fitted: bool) -> None:
        """Take note of the first structured reply: did it fit the schema at this level?"""
        if self.known:
            return
        self.known = True
        if not fitted and level == LEVELS[0] and level == self.form.level:
            self.form = replace(self.form, level="schema_told")
        self._save()

    def recognise(self, served: str) -> None:
        """Compare what a server of one's own has behind the model's name with what answered before
        under that name.

        Args:
            served: what the server says stands behind the name; "" if it does not say.

        Raises:
            UserError: another model answered to this name, and its replies are in the store.
        """
        known = str(self._mine().get("served") or "")
        if served and known and served != known:
            raise UserError(
                f"{self._url} serves {served} under the name {self._model}, but the replies "
                f"stored under that name in "
                f"{self._file.parent} are from {known}; give the models different names, or "
                f"choose another output="
            )
        if served and not known:
            self._save(served=served)

    def _all(self) -> dict[str, Any]:
        try:
            records = read_json(self._file)
        except UserError:
            return {}  # nothing learnt yet; what is lost is learnt again
        return records if isinstance(records, dict) else {}

    def _mine(self) -> dict[str, Any]:
        """Read what is remembered of this server and model; empty if nothing is."""
        row = self._all().get(self._name)
        return row if isinstance(row, dict) else {}

    def _save(self, **more: Any) -> None:
        form = {
            "level": self.form.level,
            "limit_name": self.form.limit_name,
            "left_out": list(self.form.left_out),
        }
        row = {**self._mine(), **form, "known": self.known, **more}
        write_json(self._file, {**self._all(), self._name: row})
