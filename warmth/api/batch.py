"""Calls handed in as batches: half the price, within a day, continued by the next process.

Under `<store>/batches` each batch has its lines (`<name>.jsonl`) and its state (`<name>.json`),
written before every wait. Its name stands in the batch's metadata at the provider, so a process
that died between creating a batch and noting it down is no reason to create, and pay, a second one.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from warmth.api.batch_client import ENDPOINT, BatchClient
from warmth.api.calls import Call, Reply, Server, Usage
from warmth.api.capability import Capability
from warmth.api.form import LEVELS, CallForm
from warmth.api.money import Money
from warmth.api.reading import Outcome, body_of, read_reply, repair_of
from warmth.api.reply_cache import ReplyCache
from warmth.api.rows import reply_from, reply_of, reply_row
from warmth.api.transport import redact
from warmth.errors import UserError
from warmth.schemas import Api
from warmth.store import read_json, write_json

if TYPE_CHECKING:
    import openai

ENDED = ("completed", "expired", "cancelled", "failed")
# errors of a batch that may be handed in again later
FULL = ("token_limit_exceeded", "too_many_batches")


class Batches:
    """Answers calls through a server's batch interface; used from one thread."""

    def __init__(
        self,
        server: Server,
        settings: Api,
        cache: ReplyCache,
        money: Money,
        counts: Counter[str],
        client: openai.OpenAI,
    ):
        self._server = server
        self._settings = settings
        self._cache = cache
        self._money = money
        self._counts = counts
        self._provider = BatchClient(server, settings, client)
        self._key = server.key()
        self._folder = cache.folder / "batches"
        self._folder.mkdir(exist_ok=True)
        self._capability = Capability(cache.folder, server)
        self._pending: dict[str, list[tuple[int, Call]]] = {}  # key → calls that wait for it
        # what is handed in for a key whose first reply did not fit its schema
        self._repairs: dict[str, Call] = {}
        self._forms: dict[str, CallForm] = {}  # of keys whose call was refused in its first form
        self._answered = False  # whether the server ever answered a line
        self._bounds: dict[str, float] = {}  # USD reserved for a key
        self._usage: dict[str, Usage] = {}
        self._rounds: Counter[str] = Counter()
        self._under_way: dict[str, set[str]] = {}  # batch → its keys
        self._locks: dict[str, FileLock] = {}
        self._stop = ""  # why nothing further can succeed

    def run(self, calls: Iterable[Call]) -> Iterator[Reply]:
        """Yield each call's reply, batch by batch.

        Raises:
            UserError: the provider refuses a batch whole, somebody cancelled it there, or nothing
            further can succeed.
        """
        self._cache.refresh()
        source = iter(enumerate(calls))
        room = self._settings.batch.requests * self._settings.batch.at_once
        try:
            while True:
                taken = 0
                for index, call in islice(source, max(0, room - len(self._pending))):
                    taken += 1
                    yield from self._take(index, call)
                if not self._pending and not taken:
                    return
                yield from self._hand_in()
                replies = list(self._look())
                yield from replies
                if self._pending and not replies:
                    time.sleep(self._settings.batch.poll_s)
        finally:
            self._cache.sync()
            for lock in self._locks.values():
                lock.release(force=True)

    def _take(self, index: int, call: Call) -> Iterator[Reply]:
        """Yield a call's stored reply, or note the call down as one that waits."""
        key = call.key(self._server)
        row = self._cache.get(key)
        reply = None if row is None else reply_of(row, index, call)
        if reply is not None:
            yield reply
        else:
            self._pending.setdefault(key, []).append((index, call))

    # Handing in

    def _hand_in(self) -> Iterator[Reply]:
        """Put calls that are in no batch into new ones.

        Those in batches of other processes are waited for.
        """
        # Two processes that planned at once would both hand in a call they share.
        with FileLock(self._folder / "plan.lock"):
            self._cache.refresh()
            self._adopt()
            busy: set[str] = set().union(*self._under_way.values())
            lines: list[tuple[str, bytes]] = []
            size = 0
            bounds = self._settings.batch
            for key in [key for key in self._pending if key not in busy]:
                outcome = self._stored(key) or self._reserve(key)
                if outcome is not None:
                    yield from self._settle(key, outcome)
                    continue
                line = self._line(key, self._repairs.get(key, self._first_call(key)))
                if len(lines) == bounds.requests or size + len(line) > bounds.megabytes * 1e6:
                    self._prepare(lines)
                    lines = []
                    size = 0
                lines.append((key, line))
                size += len(line)
            if lines:
                self._prepare(lines)

    def _first_call(self, key: str) -> Call:
        """Return a call that waits for a key; equal calls differ in their position alone."""
        return self._pending[key][0][1]

    def _reserve(self, key: str) -> Outcome | None:
        """Reserve a call's price; return why it is not sent, if the budget does not allow it."""
        if key in self._bounds:
            return None
        usd = self._money.at_most(self._first_call(key))
        if not self._money.fits(usd):
            self._money.left_out += usd
            detail = f"api.budget_usd={self._money.budget:g} is used up"
            return Outcome("done", "budget", detail=detail)
        self._bounds[key] = usd
        self._money.reserved += usd
        return None

    def _line(self, key: str, call: Call) -> bytes:
        body = body_of(call, self._server.model, self._forms.get(key, self._capability.form))
        row = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}
        return json.dumps(row, ensure_ascii=False).encode("utf-8", errors="replace") + b"\n"

    def _prepare(self, lines: list[tuple[str, bytes]]) -> None:
        """Write the lines of a new batch down, and hold its lock."""
        name = uuid.uuid4().hex[:12]
        lock = FileLock(self._folder / f"{name}.lock")
        lock.acquire(blocking=False)
        self._locks[name] = lock
        self._file(name).write_bytes(b"".join(line for _, line in lines))
        state = {
            "state": "prepared",
            "server": self._server.family,
            "model": self._server.model,
        }
        self._save(name, state)
        self._under_way[name] = {key for key, _ in lines}

    def _adopt(self) -> None:
        """Take note of batches that other processes began and that hold calls of ours."""
        for path in sorted(self._folder.glob("*.json")):
            name = path.stem
            state = read_json(path)
            if name in self._under_way or state["state"] == "collected":
                continue
            if state["server"] != self._server.family or state["model"] != self._server.model:
                continue
            if not self._file(name).exists():
                continue
            lines = self._file(name).read_bytes().splitlines()
            keys = {json.loads(line)["custom_id"] for line in lines}
            if keys & self._pending.keys():
                self._under_way[name] = keys

    # Looking after

    def _look(self) -> Iterator[Reply]:
        for name in list(self._under_way):
            lock = self._locks.setdefault(name, FileLock(self._folder / f"{name}.lock"))
            try:
                lock.acquire(blocking=False)
            except Timeout:
                yield from self._watch(name)  # its process is alive and collects it
                continue
            yield from self._advance(name)

    def _watch(self, name: str) -> Iterator[Reply]:
        self._cache.refresh()
        if self._state(name)["state"] == "collected":
            yield from self._close(name, {})

    def _advance(self, name: str) -> Iterator[Reply]:
        """Take one step: upload, create, look, or collect.

        The state is written before anything is waited for.
        """
        state = self._state(name)
        if state["state"] == "collected":  # by another process, while we waited for its lock
            self._cache.refresh()
            yield from self._close(name, {})
            return
        if state["state"] == "prepared":
            file = self._provider.upload(name, self._file(name))
            state = {**state, "state": "uploaded", "file": file}
            self._save(name, state)
        if state["state"] == "uploaded":
            batch_id = self._provider.open(name, state["file"])
            state = {**state, "state": "submitted", "batch": batch_id}
            self._save(name, state)
        batch = self._provider.look(state["batch"])
        if batch.status not in ENDED:
            return
        if batch.status == "failed":
            self._refused(name, state, batch)
            return
        rows = list(self._provider.rows(batch))
        yield from self._close(name, self._outcomes(name, rows, expired=batch.status == "expired"))
        if self._stop:
            raise UserError(redact(f"{self._server.url}: {self._stop}", self._key))
        if batch.status == "cancelled":
            raise UserError(
                f"batch {batch.id} was cancelled at {self._server.url}; "
                "the same command hands in the rest"
            )

    def _refused(self, name: str, state: dict[str, Any], batch: Any) -> None:
        """Hand a batch in again later, if the provider has no room for it now.

        Raises:
            UserError: the provider refuses it for another reason.
        """
        errors = list(batch.errors.data or []) if batch.errors else []
        if any(error.code in FULL for error in errors):
            self._save(name, {**state, "state": "uploaded"})  # its turn comes when others are done
            return
        self._save(name, {**state, "state": "collected"})
        self._file(name).unlink(missing_ok=True)
        message = "no reason given"
        if errors:
            message = redact(errors[0].message or "no reason", self._key)
        raise UserError(f"{self._server.url} refused batch {batch.id}: {message}")

    def _outcomes(self, name: str, rows: list[dict[str, Any]], expired: bool) -> dict[str, Outcome]:
        """Read what became of each line; paid replies are in the store when this returns."""
        outcomes: dict[str, Outcome] = {}
        for row in rows:
            key = row.get("custom_id")
            response = row.get("response")
            if key not in self._under_way[name] or key in outcomes:
                continue  # not asked by us, or delivered twice
            if not isinstance(response, dict):
                failure = "timeout" if expired else "server_error"
                outcomes[key] = Outcome("again", failure, detail=str(row.get("error"))[:300])
                continue
            if key in self._pending:
                call = self._repairs.get(key, self._first_call(key))
            else:
                call = Call((), 0.0, 1)  # nobody here waits for this one
            status = int(response.get("status_code") or 0)
            outcome = read_reply(status, json.dumps(response.get("body")).encode(), call)
            self._learn(key, outcome, call)
            outcomes[key] = self._book(key, outcome, call)
        self._cache.sync()
        self._refuse_all(outcomes)
        return {key: self._stopped_or_refused(outcome) for key, outcome in outcomes.items()}

    def _learn(self, key: str, outcome: Outcome, call: Call) -> None:
        """Remember the form in which the server answered a call."""
        if not outcome.is_paid or outcome.kind != "done":
            return
        form = self._forms.get(key, self._capability.form)
        self._answered = True
        self._capability.accept(form, "the server's words stand in its batch")
        if call.schema is not None and outcome.failure in ("", "bad_json"):
            self._capability.learn(form.level, fitted=not outcome.failure)

    def _refuse_all(self, outcomes: dict[str, Outcome]) -> None:
        """Stop if the server found every line of a batch wrong and answered none.

        The form of the calls is to blame then.
        """
        refused = [
            outcome
            for outcome in outcomes.values()
            if outcome.failure == "bad_request" and outcome.kind == "done"
        ]
        if len(refused) == len(outcomes) > 1 and not self._answered:
            self._stop = f"every line of the batch is refused: {refused[0].detail}"

    def _stopped_or_refused(self, outcome: Outcome) -> Outcome:
        """Take note of what stops everything.

        A refusal of one line concerns that line alone if others were answered.
        """
        if outcome.kind != "stop":
            return outcome
        if outcome.failure == "bad_request" and self._answered:
            return replace(outcome, kind="done")
        # Raised when this batch is closed; else the same command would stop here for ever.
        self._stop = outcome.detail
        return replace(outcome, kind="again", failure="server_error")

    def _book(self, key: str, outcome: Outcome, call: Call) -> Outcome:
        """Count what a reply cost, and store it if it is one to keep."""
        usd = self._money.pay(outcome.usage)
        # A repair is the second reply that is paid.
        self._usage[key] = self._usage.get(key, Usage()) + outcome.usage
        self._counts["attempts"] += 1
        is_kept = outcome.kind == "done" and outcome.is_paid and call.keeps(outcome.failure)
        if is_kept and self._cache.get(key) is None:
            reply = reply_from(outcome, call, self._key, 0, key, outcome.usage, usd)
            self._cache.put(key, reply_row(reply, self._server))
        return outcome

    def _close(self, name: str, outcomes: dict[str, Outcome]) -> Iterator[Reply]:
        """End a batch; what failed for a reason that may pass stays pending for the next one."""
        self._save(name, {**self._state(name), "state": "collected"})
        self._file(name).unlink(missing_ok=True)
        for key in self._under_way.pop(name) & self._pending.keys():
            outcome = outcomes.get(key)
            if outcome is None:  # collected by another process, or left out by the provider
                detail = "the batch returned no line for it"
                outcome = self._stored(key) or Outcome("again", "server_error", detail=detail)
            yield from self._next(key, outcome)
        self._locks.pop(name).release(force=True)
        (self._folder / f"{name}.lock").unlink(missing_ok=True)

    def _next(self, key: str, outcome: Outcome) -> Iterator[Reply]:
        """Decide what follows an outcome: another form, a repair, another round, or the reply."""
        if outcome.kind == "lower":
            lowered = self._forms.get(key, self._capability.form).changed(outcome.change)
            self._rounds[key] += 1
            if lowered is not None and self._rounds[key] <= 2 * len(LEVELS):
                self._forms[key] = lowered
                return
            outcome = replace(outcome, kind="done")
        if outcome.failure == "bad_json" and key not in self._repairs:
            self._counts["repairs"] += 1
            self._repairs[key] = repair_of(self._first_call(key), outcome.text, outcome.detail)
            return
        self._rounds[key] += 1
        if outcome.kind == "again" and self._rounds[key] < self._settings.batch.rounds:
            self._counts["retries"] += 1
            return
        yield from self._settle(key, outcome)

    def _settle(self, key: str, outcome: Outcome) -> Iterator[Reply]:
        """Yield the reply to every call that waits for a key; equal calls are paid once."""
        self._money.reserved -= self._bounds.pop(key, 0.0)
        self._repairs.pop(key, None)
        self._forms.pop(key, None)
        usage = self._usage.pop(key, Usage())
        for index, call in self._pending.pop(key):
            cost = self._money.cost(usage)
            is_stored = not usage.prompt_tokens and call.keeps(outcome.failure)
            yield reply_from(outcome, call, self._key, index, key, usage, cost, is_stored)
            usage = Usage()

    def _stored(self, key: str) -> Outcome | None:
        """Return the outcome that another process was faster to store."""
        row = self._cache.get(key)
        reply = None if row is None else reply_of(row, 0, self._first_call(key))
        if reply is None:
            return None
        return Outcome(
            kind="done",
            failure=reply.failure,
            text=reply.text,
            finish=reply.finish,
            parsed=reply.parsed,
            model=reply.model,
            thinking=reply.thinking,
            raw_finish=reply.raw_finish,
        )

    # State

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"

    def _state(self, name: str) -> dict[str, Any]:
        return read_json(self._folder / f"{name}.json")

    def _save(self, name: str, state: dict[str, Any]) -> None:
        write_json(self._folder / f"{name}.json", state)
