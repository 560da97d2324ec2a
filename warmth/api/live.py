"""Calls sent one by one: claimed, paced, repeated where that helps, read, paid, stored."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from warmth.api.calls import KEPT, Call, Reply, Server, Usage, reply_of, row_of
from warmth.api.capability import Capability
from warmth.api.money import Money, prompt_tokens
from warmth.api.pace import Pace, Sent
from warmth.api.paid import Paid
from warmth.api.reading import REFUSED_BY_LOAD, Outcome, body_of, read, repair_of
from warmth.api.wire import Attempt, Wire, hide, redact
from warmth.errors import UserError
from warmth.schemas import Api

OTHERS_S = 0.2  # between two looks at a call that another process is sending
SYNC_S = 1.0  # what a power cut may cost; a kill costs nothing
LONGEST_BACKOFF_S = 30.0


class Live:
    """Answers calls over one server's connections; lives in one event loop.

    Raises:
        UserError: from `run`, when nothing further can succeed. What was under way then has ended and is stored.
    """

    def __init__(self, server: Server, settings: Api, paid: Paid, money: Money, counts: Counter[str], wire: Wire):
        self._server, self._settings, self._paid, self._money = server, settings, paid, money
        self._wire, self._counts, self._key = wire, counts, server.key()
        self._pace = Pace(
            settings.in_flight,
            settings.requests_per_minute,
            settings.tokens_per_minute,
            settings.retry_after_max_s,
            settings.backoff_s,
        )
        self._capability = Capability(paid.folder, server)
        self._probe = asyncio.Lock()
        self._settled = asyncio.Event()  # a reservation of money was given back
        self._stop: Exception | None = None
        self._stopped = asyncio.Event()

    async def run(
        self, calls: Iterable[Call], emit: Callable[[Reply], None], room: Callable[[], Awaitable[None]]
    ) -> None:
        """Answers every call by exactly one `emit`; `room` waits while the reader is behind."""
        twins: dict[str, list[int]] = {}  # calls equal to one under way
        tasks: set[asyncio.Task[None]] = set()
        places = asyncio.Semaphore(2 * self._settings.in_flight)  # those that wait between attempts hold one too
        self._stop, syncing = None, asyncio.create_task(self._sync())
        self._stopped.clear()
        self._paid.refresh()
        try:
            for index, call in enumerate(calls):
                if self._stop is not None:
                    break
                await room()
                key = call.key(self._server)
                if key in twins:
                    twins[key].append(index)
                elif (reply := self._cached(key, index, call)) is not None:
                    emit(reply)
                    if index % 64 == 0:
                        await asyncio.sleep(0)  # replies of calls under way are read even in a long stretch of these
                else:
                    await places.acquire()
                    twins[key] = []
                    task = asyncio.create_task(self._finish(index, call, key, twins, emit))
                    tasks.add(task)
                    task.add_done_callback(lambda done: (tasks.discard(done), places.release()))
            while tasks:
                await asyncio.wait(tasks)
        finally:
            for task in (*tasks, syncing):
                task.cancel()
            await asyncio.gather(*tasks, syncing, return_exceptions=True)
            self._paid.sync()
        if self._stop is not None:
            raise self._stop

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(SYNC_S)
            await asyncio.to_thread(self._paid.sync)

    def _cached(self, key: str, index: int, call: Call) -> Reply | None:
        row = self._paid.get(key)
        return reply_of(row, index, call) if row is not None else None

    async def _finish(
        self, index: int, call: Call, key: str, twins: dict[str, list[int]], emit: Callable[[Reply], None]
    ) -> None:
        try:
            reply = await self._settle(index, call, key)
        except Exception as error:  # also a bug ends the command, rather than hang it
            self._stop = self._stop or error
            self._stopped.set()
            self._settled.set()
            return
        emit(reply)
        for twin in twins.pop(key):
            emit(replace(reply, index=twin, usage=Usage(), cost_usd=0.0, cached=not reply.failure))

    async def _settle(self, index: int, call: Call, key: str) -> Reply:
        """The reply to a call nobody else is sending: theirs, once it is there, or one's own."""
        while not self._paid.claim(key):
            await self._pause(OTHERS_S)
            self._paid.refresh()
            if (reply := self._cached(key, index, call)) is not None:
                return reply
        try:
            self._paid.refresh()  # it may have come between the look and the claim
            if (reply := self._cached(key, index, call)) is not None:
                return reply
            if call.schema is None or self._capability.known:
                return await self._ask(index, call, key)
            async with self._probe:  # one call finds out what the server can do, the others wait for it
                if not self._capability.known:
                    return await self._ask(index, call, key)
            return await self._ask(index, call, key)
        finally:
            self._paid.release(key)

    async def _ask(self, index: int, call: Call, key: str) -> Reply:
        worst = self._money.at_most(call)
        if not await self._affordable(worst):
            self._money.left_out += worst
            return Reply(index, key, "", None, "", "budget", detail=f"api.budget_usd={self._money.budget:g} is used up")
        self._money.reserved += worst
        try:
            outcome = await self._persist(call, key)
            if outcome.failure == "bad_json":
                outcome = await self._repair(call, key, outcome)
        finally:
            self._money.reserved -= worst
            self._settled.set()
        text, detail = hide(outcome.text, self._key), redact(outcome.detail, self._key)
        reply = Reply(
            index, key, text, outcome.parsed, outcome.finish, outcome.failure, outcome.usage,
            self._money.pay(outcome.usage), False, detail, outcome.model,
        )  # fmt: skip
        if reply.failure in KEPT:
            self._paid.put(key, row_of(reply, self._server))
        return reply

    async def _affordable(self, worst: float) -> bool:
        """Waits while calls under way may yet turn out cheaper than their bound."""
        while not self._money.fits(worst):
            if self._money.reserved <= 1e-12:
                return False
            self._settled.clear()
            await self._settled.wait()
            self._raise_stop()
        return True

    async def _repair(self, call: Call, key: str, bad: Outcome) -> Outcome:
        """One more try that shows the model its reply; both are paid."""
        again = repair_of(call, bad.text, bad.detail)
        worst = self._money.at_most(again)
        if not self._money.fits(worst):
            return bad
        self._counts["repairs"] += 1
        self._money.reserved += worst
        try:
            good = await self._persist(again, f"{key}-repair")
        finally:
            self._money.reserved -= worst
        total = replace(good, usage=bad.usage + good.usage)
        return total if good.text or good.failure in ("refused", "filtered") else replace(bad, usage=total.usage)

    async def _persist(self, call: Call, key: str) -> Outcome:
        """Sends a call until it has an outcome, or the attempts are used up and its failure has a name.

        Raises:
            UserError: nothing further can succeed.
        """
        tokens = prompt_tokens(call) + call.max_tokens
        failed = answered = 0
        while True:
            level, limit_name, mark = self._capability.level, self._capability.limit_name, self._counts["replies"]
            body = body_of(call, self._server.model, level, limit_name)
            attempt, sent = await self._send(body, f"{key}-{answered}", tokens)
            outcome, wait = self._judge(attempt, sent, call, tokens)
            if outcome.kind == "done":
                if call.schema is not None and outcome.failure in ("", "bad_json"):
                    self._capability.learn(level, fitted=not outcome.failure)
                return outcome
            answered += attempt.status > 0  # an attempt that was answered is over: the next is another to the server
            if outcome.kind == "lower":
                if not self._capability.lower(level, limit_name, outcome.detail):
                    return replace(outcome, kind="done")
                continue
            # A refusal counts only where the server served nobody meanwhile: else it is a queue, and the queue moves.
            failed += not (outcome.failure == "rate_limited" and self._counts["replies"] > mark)
            if failed >= self._settings.attempts or attempt.headers.get("x-should-retry") == "false":
                if not attempt.connected and not self._counts["replies"]:
                    raise UserError(f"{self._server.url} cannot be reached: {outcome.detail}")
                return replace(outcome, kind="done")
            self._counts["retries"] += 1
            await self._pause(wait or self._backoff(failed))

    async def _send(self, body: dict[str, Any], idempotency_key: str, tokens: int) -> tuple[Attempt, Sent]:
        self._raise_stop()
        sent = await self._pace.enter(tokens)
        try:
            self._raise_stop()
            self._counts["attempts"] += 1
            return await self._wire.send(body, idempotency_key), sent
        finally:
            self._pace.leave()

    def _judge(self, attempt: Attempt, sent: Sent, call: Call, tokens: int) -> tuple[Outcome, float]:
        """An attempt as an outcome, told to the pace; and the seconds the server wants us to wait.

        Raises:
            UserError: the key, the model or the quota is refused.
        """
        if not attempt.status:
            self._counts[attempt.failure] += 1
            return Outcome("again", attempt.failure, detail=attempt.detail), 0.0
        outcome = read(attempt.status, attempt.raw, call)
        if outcome.kind == "stop":
            raise UserError(redact(self._refusal(attempt.status, outcome.detail), self._key))
        wait = 0.0
        if attempt.status in REFUSED_BY_LOAD:
            self._counts["refusals"] += 1
            wait = self._pace.refused(sent, attempt.headers)
            wait += random.uniform(0.0, 0.1 * wait + 0.05) if wait else 0.0
        elif attempt.status == 200 and outcome.kind == "done":
            self._counts["replies"] += 1
            used = outcome.usage.prompt_tokens + outcome.usage.completion_tokens
            self._pace.accepted(sent, tokens, used or tokens, attempt.headers)
        return outcome, wait

    def _refusal(self, status: int, detail: str) -> str:
        url, model = self._server.url, self._server.model
        if status == 401:
            return f"{url} does not accept the key in {self._server.api_key_env or 'no variable'}: {detail}"
        if status in (403, 404):
            return f"{url} does not serve {model} to this key: {detail}"
        if 300 <= status < 400:
            return f"{url} points elsewhere; give the address it leads to: {detail}"
        return f"the quota at {url} is used up: {detail}"

    def _backoff(self, failed: int) -> float:
        longest = min(self._settings.backoff_s * 2.0 ** max(failed - 1, 0), LONGEST_BACKOFF_S)
        return longest * random.uniform(0.5, 1.5)

    async def _pause(self, wait: float) -> None:
        """Sleeps, but not past the moment when all is over."""
        try:
            await asyncio.wait_for(self._stopped.wait(), wait)
        except TimeoutError:
            return
        self._raise_stop()

    def _raise_stop(self) -> None:
        if self._stop is not None:
            raise self._stop
