"""What a server can do, learnt from its replies once and remembered beside the store."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from warmth.api.calls import Server
from warmth.api.form import DROPPABLE, LEVELS, LIMIT_NAMES, CallForm
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
        self._file = folder / "servers.json"
        self._name = f"{server.family} {server.model}"
        self._url = server.url
        self._model = server.model
        self.form = CallForm()
        self.known = False
        row = self._row()
        if row.get("level") not in LEVELS or row.get("limit_name") not in LIMIT_NAMES:
            return
        names = row.get("left_out") or ()
        left_out = tuple(name for name in DROPPABLE if name in names)
        self.form = CallForm(row["level"], row["limit_name"], left_out)
        self.known = bool(row.get("known"))

    def accept(self, form: CallForm, sentence: str) -> None:
        """Remember a form in which a call succeeded after another was refused.

        What is done without is said once.

        Args:
            form: the one that succeeded.
            sentence: why the server refused the form before, without secrets.
        """
        learnt = self.form.both(form)
        if learnt == self.form:
            return
        new_names = [name for name in learnt.left_out if name not in self.form.left_out]
        self.form = learnt
        self._save()
        if new_names:
            print(
                f"{self._model} does not take {' and '.join(new_names)}, so it is asked without: "
                f"{sentence}",
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
        """Compare what stands behind a model's name with what answered before under that name.

        Args:
            served: what the server says stands behind the name; "" if it does not say.

        Raises:
            UserError: another model answered to this name, and its replies are in the store.
        """
        known = str(self._row().get("served") or "")
        if served and known and served != known:
            raise UserError(
                f"{self._url} serves {served} under the name {self._model}, but the replies stored "
                f"under that name in {self._file.parent} are from {known}; give the models "
                "different names, or choose another output="
            )
        if served and not known:
            self._save(served=served)

    def _row(self) -> dict[str, Any]:
        """Read what is remembered of this server and model; empty if nothing is."""
        row = self._all().get(self._name)
        return row if isinstance(row, dict) else {}

    def _all(self) -> dict[str, Any]:
        try:
            records = read_json(self._file)
        except UserError:
            return {}  # nothing learnt yet; what is lost is learnt again
        return records if isinstance(records, dict) else {}

    def _save(self, **more: Any) -> None:
        form = {
            "level": self.form.level,
            "limit_name": self.form.limit_name,
            "left_out": list(self.form.left_out),
        }
        row = {**self._row(), **form, "known": self.known, **more}
        write_json(self._file, {**self._all(), self._name: row})
