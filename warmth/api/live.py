"""Calls sent one by one: claimed, slowed down, repeated if that helps, read, paid, stored."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from warmth.api.calls import Call, Reply, Server, Usage
from warmth.api.capability import Capability
from warmth.api.form import CallForm
from warmth.api.money import Money, prompt_tokens
from warmth.api.rate_limiter import RateLimiter, Sent
from warmth.api.reading import REFUSED_BY_LOAD, Outcome, body_of, probe_of, read_reply, repair_of
from warmth.api.reply_cache import ReplyCache
from warmth.api.rows import reply_from, reply_of, reply_row
from warmth.api.transport import Attempt, Transport, hide, redact
from warmth.errors import UserError
from warmth.schemas import Api

OTHERS_S = 0.2  # seconds between two looks at a call that another process is sending
SYNC_S = 1.0  # seconds of replies that a power cut may cost; a kill costs nothing
LONGEST_BACKOFF_S = 30.0
REFUSALS_OF_A_CALL = ("bad_request", "too_long")
# attempts in each further way of asking, after a server failed on a schema without saying why
LAST_TRIES = 2


class Live:
    """Answers calls over one server's connections; lives in one event loop.

    Raises:
        UserError: from `run`, when nothing further can succeed. What was under way then has ended
        and is stored.
    """

    def __init__(
        self,
        server: Server,
        settings: Api,
        cache: ReplyCache,
        money: Money,
        counts: Counter[str],
        transport: Transport,
    ):
        self._server = server
        self._settings = settings
        self._cache = cache
        self._money = money
        self._counts = counts
        self._transport = transport
        self._key = server.key()
        self._limiter = RateLimiter(
            settings.in_flight,
            settings.requests_per_minute,
            settings.tokens_per_minute,
            settings.retry_after_max_s,
            settings.backoff_s,
            clock=asyncio.get_running_loop().time,
        )
        self._capability = Capability(cache.folder, server)
        self._probe = asyncio.Lock()
        self._form_probe = asyncio.Lock()
        self._forms: dict[tuple[Any, ...], bool] = {}  # form of a call → does the server take it?
        self._recognised = False
        self._settled = asyncio.Event()  # a reservation of money was given back
        self._stop: Exception | None = None
        self._stopped = asyncio.Event()

    async def run(
        self,
        calls: Iterable[Call],
        emit: Callable[[Reply], None],
        room: Callable[[], Awaitable[None]],
    ) -> None:
        """Answer every call by exactly one `emit`; `room` waits while the reader is behind."""
        twins: dict[str, list[int]] = {}  # calls equal to one under way
        tasks: set[asyncio.Task[None]] = set()
        # Calls that wait between attempts hold a permit too.
        permits = asyncio.Semaphore(2 * self._settings.in_flight)

        def forget(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            permits.release()

        self._stop = None
        self._stopped.clear()
        syncing = asyncio.create_task(self._sync())
        self._cache.refresh()
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
                        # Replies of calls under way are read even in a long stretch of these.
                        await asyncio.sleep(0)
                else:
                    await permits.acquire()
                    twins[key] = []
                    task = asyncio.create_task(self._finish(index, call, key, twins, emit))
                    tasks.add(task)
                    task.add_done_callback(forget)
            while tasks:
                await asyncio.wait(tasks)
        finally:
            for task in (*tasks, syncing):
                task.cancel()
            await asyncio.gather(*tasks, syncing, return_exceptions=True)
            self._cache.sync()
        if self._stop is not None:
            raise self._stop

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(SYNC_S)
            await asyncio.to_thread(self._cache.sync)

    def _cached(self, key: str, index: int, call: Call) -> Reply | None:
        row = self._cache.get(key)
        return None if row is None else reply_of(row, index, call)

    async def _finish(
        self,
        index: int,
        call: Call,
        key: str,
        twins: dict[str, list[int]],
        emit: Callable[[Reply], None],
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
        """Return the reply to a call that nobody else is sending.

        If somebody is, theirs is waited for.
        """
        while not self._cache.claim(key):
            await self._pause(OTHERS_S)
            self._cache.refresh()
            if (reply := self._cached(key, index, call)) is not None:
                return reply
        try:
            self._cache.refresh()  # it may have come between the look and the claim
            if (reply := self._cached(key, index, call)) is not None:
                return reply
            if call.schema is None or self._capability.known:
                return await self._ask(index, call, key)
            # One call finds out what the server can do, the others wait for it.
            async with self._probe:
                if not self._capability.known:
                    return await self._ask(index, call, key)
            return await self._ask(index, call, key)
        finally:
            self._cache.release(key)

    async def _ask(self, index: int, call: Call, key: str) -> Reply:
        """Send a call that is paid for here, within the budget, and store its reply."""
        worst = self._money.at_most(call)
        if not await self._affordable(worst):
            self._money.left_out += worst
            detail = f"api.budget_usd={self._money.budget:g} is used up"
            return Reply(index, key, "", None, "", "budget", detail=detail)
        self._money.reserved += worst
        try:
            await self._recognise()
            outcome = await self._persist(call, key)
            if outcome.failure == "bad_json":
                outcome = await self._repair(call, key, outcome)
        finally:
            self._money.reserved -= worst
            self._settled.set()
        usd = self._money.pay(outcome.usage)
        reply = reply_from(outcome, call, self._key, index, key, outcome.usage, usd)
        if call.keeps(reply.failure) and outcome.is_paid:
            self._cache.put(key, reply_row(reply, self._server))
        return reply

    async def _recognise(self) -> None:
        """Ask a server of one's own, before the first call, which model stands behind the name.

        Raises:
            UserError: another one answered to that name before.
        """
        if self._server.identity or not self._server.is_private:
            return
        async with self._form_probe:
            if not self._recognised:
                self._capability.recognise(await self._transport.served(self._server.model))
            self._recognised = True

    async def _affordable(self, worst: float) -> bool:
        """Tell whether a price fits; wait while calls under way may turn out cheaper."""
        while not self._money.fits(worst):
            if self._money.reserved <= 1e-12:
                return False
            self._settled.clear()
            await self._settled.wait()
            self._raise_stop()
        return True

    async def _repair(self, call: Call, key: str, bad: Outcome) -> Outcome:
        """Try once more and show the model its reply; both are paid."""
        again = repair_of(call, bad.text, bad.detail)
        worst = self._money.at_most(again)
        if not self._money.fits(worst):
            return bad
        self._counts["repairs"] += 1
        self._money.reserved += worst
        try:
            repaired = await self._persist(again, f"{key}-repair")
        finally:
            self._money.reserved -= worst
        usage = bad.usage + repaired.usage
        if repaired.text or repaired.failure in ("refused", "filtered"):
            return replace(repaired, usage=usage)
        return replace(bad, usage=usage)

    async def _persist(self, call: Call, key: str) -> Outcome:
        """Send a call until it has an outcome, or a named failure when the attempts are used up.

        Returns:
            The last attempt's outcome, with the usage of all attempts that were answered.

        Raises:
            UserError: nothing further can succeed.
        """
        tokens = prompt_tokens(call) + call.max_tokens
        failed = 0
        answered = 0
        used = Usage()
        form = self._capability.form
        sentence = ""
        while True:
            mark = self._counts["replies"]
            body = body_of(call, self._server.model, form)
            attempt, sent = await self._send(body, f"{key}-{answered}", tokens)
            outcome, wait = self._judge(attempt, sent, call, tokens)
            used += outcome.usage
            outcome = replace(outcome, usage=used)
            # An attempt that was answered is over: the next is another one to the server.
            answered += attempt.status > 0
            if outcome.kind == "stop":
                return await self._stopped_or_refused(attempt.status, outcome, call, form)
            if outcome.kind == "done" and outcome.is_paid:
                self._accept(call, key, outcome, form, sentence)
                return outcome
            is_new = call.schema is not None and not self._capability.known
            is_broken = is_new and attempt.status == 500 and failed + 1 >= self._settings.attempts
            if outcome.kind == "lower" or is_broken:
                lowered = form.changed(outcome.change or "schema")
                if lowered is not None:
                    sentence = redact(outcome.detail, self._key)
                    form = lowered
                    failed = min(failed, max(0, self._settings.attempts - LAST_TRIES))
                    continue
            if outcome.kind in ("done", "lower"):
                return await self._refused(replace(outcome, kind="done"), call, form)
            if outcome.is_paid:
                self._keep_failed(key, outcome)
            # A refusal counts only if the server served nobody meanwhile: else it is a queue that
            # moves.
            failed += not (outcome.failure == "rate_limited" and self._counts["replies"] > mark)
            gives_up = attempt.headers.get("x-should-retry") == "false"
            if gives_up or failed >= self._settings.attempts:
                if not attempt.connected and not self._counts["replies"]:
                    raise UserError(f"{self._server.url} cannot be reached: {outcome.detail}")
                return replace(outcome, kind="done")
            self._counts["retries"] += 1
            await self._pause(wait or self._backoff(failed))

    def _accept(
        self, call: Call, key: str, outcome: Outcome, form: CallForm, sentence: str
    ) -> None:
        """Learn from an answered call that the server takes its form."""
        self._forms[parameters_of(call, form)] = True
        self._capability.accept(form, sentence)
        if call.schema is not None and outcome.failure in ("", "bad_json"):
            self._capability.learn(form.level, fitted=not outcome.failure)
        if not call.keeps(outcome.failure):
            self._keep_failed(key, outcome)

    def _keep_failed(self, key: str, outcome: Outcome) -> None:
        """Note a reply that was paid for but is no answer."""
        row = {
            "key": key,
            "asked": self._server.model,
            "text": hide(outcome.text, self._key),
            "thinking": hide(outcome.thinking, self._key),
            "raw_finish": outcome.raw_finish,
            "failure": outcome.failure,
            "detail": redact(outcome.detail, self._key),
        }
        self._cache.note_failed(row)

    async def _stopped_or_refused(
        self, status: int, outcome: Outcome, call: Call, form: CallForm
    ) -> Outcome:
        """Tell a refusal of this prompt from one of every call.

        Raises:
            UserError: the key, the model or the quota is refused.
        """
        if status == 403 and (self._counts["replies"] or await self._takes(call, form)):
            return replace(outcome, kind="done", failure="bad_request")
        raise UserError(redact(self._refusal(status, outcome.detail), self._key))

    async def _refused(self, outcome: Outcome, call: Call, form: CallForm) -> Outcome:
        """Let a refused call fail by name, if the server takes a call of the same form.

        Raises:
            UserError: it refuses every such call, and says why.
        """
        if outcome.failure in REFUSALS_OF_A_CALL and not await self._takes(call, form):
            message = redact(outcome.detail, self._key)
            raise UserError(
                f"{self._server.url} refuses every call to {self._server.model}: {message}"
            )
        return outcome

    async def _takes(self, call: Call, form: CallForm) -> bool:
        """Tell whether the server answers a call of one word with the same parameters.

        Asked once for each form.
        """
        parameters = parameters_of(call, form)
        async with self._form_probe:
            if parameters not in self._forms:
                probe = probe_of(call)
                body = body_of(probe, self._server.model, form)
                attempt, sent = await self._send(body, "", prompt_tokens(probe) + probe.max_tokens)
                outcome, _ = self._judge(attempt, sent, probe, 0)
                self._money.pay(outcome.usage)
                is_refused = (
                    outcome.kind in ("stop", "lower") or outcome.failure in REFUSALS_OF_A_CALL
                )
                self._forms[parameters] = not is_refused
            return self._forms[parameters]

    async def _send(
        self, body: dict[str, Any], idempotency_key: str, tokens: int
    ) -> tuple[Attempt, Sent]:
        self._raise_stop()
        sent = await self._limiter.enter(tokens)
        try:
            self._raise_stop()
            self._counts["attempts"] += 1
            return await self._transport.send(body, idempotency_key), sent
        finally:
            self._limiter.leave()

    def _judge(
        self, attempt: Attempt, sent: Sent, call: Call, tokens: int
    ) -> tuple[Outcome, float]:
        """Read an attempt and tell the rate limiter.

        Returns:
            the outcome, and the seconds the server wants us to wait.
        """
        if not attempt.status:
            self._counts[attempt.failure] += 1
            kind = "again" if attempt.may_pass else "done"
            return Outcome(kind, attempt.failure, detail=attempt.detail), 0.0
        outcome = read_reply(attempt.status, attempt.raw, call)
        if outcome.odd_usage:
            self._say_odd_usage()
        wait = 0.0
        if attempt.status in REFUSED_BY_LOAD:
            self._counts["refusals"] += 1
            wait = self._limiter.refused(sent, attempt.headers)
            if wait:
                wait += random.uniform(0.0, 0.1 * wait + 0.05)
        elif attempt.status == 200 and outcome.kind == "done":
            self._counts["replies"] += 1
            used = outcome.usage.prompt_tokens + outcome.usage.completion_tokens
            self._limiter.accepted(sent, tokens, used or tokens, attempt.headers)
        return outcome, wait

    def _say_odd_usage(self) -> None:
        """Say once that the server counts what cannot be."""
        self._counts["odd_usage"] += 1
        if self._counts["odd_usage"] == 1:
            fault = "counts tokens that cannot be; they are estimated from the length of the texts"
            print(f"{self._server.url} {fault}", file=sys.stderr)

    def _refusal(self, status: int, detail: str) -> str:
        """Say what a status means that stops everything, and what to do about it."""
        url = self._server.url
        has_version = "/v1" in url
        if status == 401:
            variable = self._server.api_key_env or "no variable"
            return f"{url} does not accept the key in {variable}: {detail}"
        if status in (403, 404):
            hint = ""
            if status == 404 and not has_version:
                hint = "; did you leave out /v1 at the end of its address?"
            return f"{url} does not serve {self._server.model} to this key: {detail}{hint}"
        if status == 405:
            hint = "" if has_version else ", most often behind /v1"
            return (
                f"{url} takes no chat completions: {detail}; its address ends where "
                f"/chat/completions begins{hint}"
            )
        if 300 <= status < 400:
            return f"{url} points elsewhere; give the address it leads to: {detail}"
        return f"the quota at {url} is used up: {detail}"

    def _backoff(self, failed: int) -> float:
        longest = min(self._settings.backoff_s * 2.0 ** max(failed - 1, 0), LONGEST_BACKOFF_S)
        return longest * random.uniform(0.5, 1.5)

    async def _pause(self, wait: float) -> None:
        """Sleep, but not past the moment when all is over."""
        try:
            await asyncio.wait_for(self._stopped.wait(), wait)
        except TimeoutError:
            return
        self._raise_stop()

    def _raise_stop(self) -> None:
        if self._stop is not None:
            raise self._stop


def parameters_of(call: Call, form: CallForm) -> tuple[Any, ...]:
    """Name what a server may refuse whatever is asked: all but the messages and the draw."""
    schema_name = None if call.schema is None else call.schema.__name__
    return (
        call.temperature,
        call.top_p,
        call.seed is None,
        call.max_tokens,
        schema_name,
        str(call.extra),
        form,
    )
