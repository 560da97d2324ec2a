"""An event loop whose clock jumps to the next timer: hours of waiting take no time, and a busy
machine changes nothing.

`Limited` stands in for the connection to a server that allows so many calls a second, or so many at
once.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, deque

from warmth.api import Server
from warmth.api.live import Live
from warmth.api.money import Money
from warmth.api.reply_cache import ReplyCache
from warmth.api.transport import Attempt

REPLY = {"choices": [{"message": {"content": "Iron."}, "finish_reason": "stop"}], "usage": {}}
NETWORK_S = 0.01


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that never sleeps: where it would wait for a timer, its clock is set to that timer."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        look = self._selector.select

        def select(timeout=None):
            events = look(0)
            if not events and timeout is not None:
                self.now += timeout
            return events if events or timeout is not None else look(None)

        self._selector.select = select

    def time(self):
        return self.now


class Limited:
    """A server that takes `rate` calls in any second and `slots` at once; the others get HTTP 429.

    Args:
        rate: calls a second.
        slots: calls at once.
        latency: seconds that a call takes.
        headers: whether it tells its limit, and what is left of it.
        first: replies given before all others, whatever the limit.
    """

    def __init__(self, rate=10**9, slots=10**9, latency=0.2, headers=False, first=()):
        self.rate, self.slots, self.latency, self.headers = rate, slots, latency, headers
        self.first = deque(first)
        self.moments = []  # when each call came
        self.granted = deque()
        self.live = self.peak = self.refused = 0
        self.answered = Counter()

    async def served(self, model):
        return ""

    async def send(self, body, idempotency_key):
        await asyncio.sleep(NETWORK_S)
        now = asyncio.get_running_loop().time()
        self.moments.append(now)
        if self.first:
            return self.first.popleft()
        while self.granted and now - self.granted[0] >= 1.0:
            self.granted.popleft()
        if len(self.granted) >= self.rate or self.live >= self.slots:
            self.refused += 1
            return Attempt(429, b'{"error": {"message": "too many"}}', self.told())
        self.granted.append(now)
        self.live += 1
        self.peak = max(self.peak, self.live)
        await asyncio.sleep(self.latency)
        self.live -= 1
        self.answered[body["messages"][-1]["content"]] += 1
        return Attempt(200, json.dumps(REPLY).encode(), self.told())

    def told(self):
        """The limit as headers."""
        if not self.headers:
            return {}
        left = self.rate - len(self.granted)
        return {
            "x-ratelimit-limit-requests": str(self.rate),
            "x-ratelimit-remaining-requests": str(left),
            "x-ratelimit-reset-requests": f"{1000 * (self.rate - left) / self.rate:.0f}ms",
        }


def run(transport, calls, settings, folder):
    """Answers calls over a connection on a virtual clock.

    Returns:
        The replies in the order of the calls, what the client counted, and the seconds that passed
        on the clock.
    """
    random.seed(0)
    loop, counts, replies = VirtualLoop(), Counter(), []
    server = Server("http://model.example/v1", "judge")

    async def room():
        return None

    async def work():
        live = Live(server, settings, cache, Money(settings, server.model), counts, transport)
        await live.run(calls, replies.append, room)

    cache = ReplyCache(folder)
    try:
        loop.run_until_complete(work())
    finally:
        cache.close()
        loop.close()
    return sorted(replies, key=lambda reply: reply.index), counts, loop.now
