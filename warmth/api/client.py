"""The client: takes calls, answers from the store what is there, sends the rest."""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from warmth.api.calls import Call, CallForecast, Reply, Server, Usage
from warmth.api.capability import Capability
from warmth.api.money import Money, prompt_tokens
from warmth.api.reply_cache import ReplyCache
from warmth.errors import UserError
from warmth.schemas import Api

HAND_OVER_S = 0.01  # longest a reply waits for others to be handed over with
AHEAD = 2048  # replies that may wait for a slow reader before sending pauses


class Client:
    """Every call to one model on one server: cached, slowed down, budgeted, structured.

    Use as a context manager.

    Args:
        server: the model and where it is.
        store: folder of paid replies, shared by any number of runs and processes
        (`<output>/replies` by convention).
        settings: `study.api`: mode, calls under way, budgets, timeouts, prices.

    Raises:
        UserError: the key's variable is not set, the folder cannot be written, or a budget has no
        price to go by.
    """

    def __init__(self, server: Server, store: Path, settings: Api | None = None):
        from warmth.api.inspect_transport import is_by_inspect
        from warmth.api.transport import openai_client

        self.server = server
        self.settings = settings or Api()
        server.key()  # now rather than after an hour of preparation
        self._openai: Any = None
        if not is_by_inspect(server):
            self._openai = openai_client(server, self.settings)
        elif self.settings.mode == "batch":
            raise UserError("api.mode=batch is not had through Inspect; choose api=live")
        self._money = Money(self.settings, server.model)
        self._cache = ReplyCache(store)
        self._counts: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._live: Any = None
        self._transport: Any = None

    def complete(self, calls: Iterable[Call]) -> Iterator[Reply]:
        """Yield replies in order of completion, one for each call; `reply.index` says which.

        `calls` is read as room becomes free, so a generator of any length needs little memory. A
        call that fails ends as a `Reply` with `failure`, and the others go on. A reader that stops
        early gives up the calls under way.

        Raises:
            UserError: nothing further can succeed: the key, the model's name or the account's quota
            is refused.
        """
        answer = self._batched if self.settings.mode == "batch" else self._streamed
        for reply in answer(calls):
            self._counts["calls"] += 1
            self._counts["cached"] += reply.cached
            if reply.failure:
                self._failures[reply.failure] += 1
            yield reply
        if self._failures["budget"]:
            print(
                f"api.budget_usd={self._money.budget:g} is used up "
                f"(${self._money.spent:.2f} spent): {self._failures['budget']} calls are left, "
                f"at most ${self._money.left_out:.2f} more",
                file=sys.stderr,
            )

    def _batched(self, calls: Iterable[Call]) -> Iterator[Reply]:
        from warmth.api.batch import Batches

        batches = Batches(
            self.server, self.settings, self._cache, self._money, self._counts, self._openai
        )
        yield from batches.run(calls)

    def _streamed(self, calls: Iterable[Call]) -> Iterator[Reply]:
        loop, live = self._start()
        box: queue.SimpleQueue[list[Reply] | None] = queue.SimpleQueue()
        ready: list[Reply] = []
        behind = asyncio.Event()
        emitted = 0
        taken = 0

        def emit(reply: Reply) -> None:
            nonlocal emitted
            emitted += 1
            # Handed over in handfuls: waking the reader for each reply costs more than the reply.
            if not ready:
                loop.call_later(HAND_OVER_S, hand_over)
            ready.append(reply)

        def hand_over() -> None:
            if ready:
                box.put(ready.copy())
                ready.clear()

        async def room() -> None:
            while emitted - taken > AHEAD:
                behind.clear()
                if emitted - taken > AHEAD:
                    await behind.wait()

        async def answer_all() -> None:
            try:
                await live.run(calls, emit, room)
            finally:
                hand_over()
                # Not in a callback of the future: a cancel fires that before the work has ended.
                box.put(None)

        future = asyncio.run_coroutine_threadsafe(answer_all(), loop)
        try:
            while (replies := box.get()) is not None:
                for reply in replies:
                    yield reply
                    taken += 1
                if not behind.is_set() and emitted - taken <= AHEAD // 2:
                    loop.call_soon_threadsafe(behind.set)
            future.result()
        finally:
            if not future.done():
                future.cancel()
                try:
                    # Claims are given back before anyone may ask again.
                    while box.get(timeout=10) is not None:
                        pass
                except queue.Empty:  # cancelled before it began
                    pass

    def _start(self) -> tuple[asyncio.AbstractEventLoop, Any]:
        """Start the event loop in a thread of its own.

        So connections stay open between two calls of `complete`.
        """
        if self._loop is None:
            from warmth.api.inspect_transport import InspectTransport, is_by_inspect
            from warmth.api.live import Live
            from warmth.api.transport import Transport

            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="warmth-api", daemon=True
            )
            self._thread.start()
            if is_by_inspect(self.server):
                self._transport = InspectTransport(self.server, self.settings)
            else:
                self._transport = Transport(self.server, self.settings, self._openai)
            self._wait(self._transport.open())

            async def live() -> Live:
                return Live(
                    self.server,
                    self.settings,
                    self._cache,
                    self._money,
                    self._counts,
                    self._transport,
                )

            self._live = self._wait(live())
        return self._loop, self._live

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def forecast(self, calls: Iterable[Call]) -> CallForecast:
        """Estimate the tokens and money that `complete` would need; nothing is sent."""
        self._cache.refresh()
        total = 0
        cached = 0
        prompts = 0
        replies = 0
        seen: set[str] = set()
        for call in calls:
            key = call.key(self.server)
            total += 1
            if key in seen or self._cache.get(key) is not None:
                cached += 1
                continue
            seen.add(key)
            prompts += prompt_tokens(call)
            replies += call.max_tokens
        usd = self._money.cost(Usage(prompts, 0, replies)) if self._money.price else None
        return CallForecast(total, cached, prompts, replies, usd)

    def totals(self) -> dict[str, Any]:
        """Sum up what this client did so far, for `summary.json`, the logger and progress lines."""
        usage = self._money.usage
        has_price = self._money.price is not None
        form = Capability(self._cache.folder, self.server).form
        return {
            "server": self.server.family,
            "model": self.server.model,
            "mode": self.settings.mode,
            "calls": self._counts["calls"],
            "cached": self._counts["cached"],
            "attempts": self._counts["attempts"],
            "refusals": self._counts["refusals"],
            "repairs": self._counts["repairs"],
            "timeouts": self._counts["timeout"],  # these may have been billed without a reply
            "failures": dict(self._failures),
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens,
            "usd": round(self._money.spent, 6) if has_price else None,
            "left_usd": round(self._money.left_out, 6),
            "left_out": list(form.left_out),  # parameters that the model does not take
            "prices_date": self.settings.prices_date if has_price else "",
        }

    def close(self) -> None:
        """End the connections; calls under way are given up."""
        if self._loop is not None and self._thread is not None:
            self._wait(self._transport.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = None
        self._cache.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
