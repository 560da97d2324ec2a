"""How fast calls are sent: as many as the server bears, learnt from its headers and refusals.

Calls under way begin few and become one more with each reply, up to the cap. A call refused while
more were under way than the server ever bore says that so many at once are too many: one fewer
then, and one more again only after a good while. A call refused among no more than that says that
calls come too fast: calls a second, free until then, follow a cubic curve (RFC 9438): a tenth below
the rate the server was granting, back in five seconds, a rest there, and only then more. Refusals
in a row make everybody wait. The user's own budgets and the server's headers are buckets beside
that.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

FIRST_WINDOW = 16  # calls under way before anything is known
DROP = 0.1  # share of the granted rate given up at a refusal
REST_S = 5.0  # seconds from a refusal until the granted rate is tried again
SLACK_S = 0.1  # sends delayed by a busy event loop may be made up for within this time
FEW = 5  # calls from which a rate is measured
# times as many replies as there may be calls under way, before more are tried after a refusal
PATIENCE = 10
# refusals without a reply between them, after which nobody sends until the server's wish is over
STREAK = 3


@dataclass
class Bucket:
    """An allowance that refills: `level` of at most `capacity` units, `rate` more each second."""

    rate: float
    capacity: float
    level: float
    at: float

    def refill(self, now: float) -> None:
        """Bring the level up to date."""
        self.level = min(self.capacity, self.level + (now - self.at) * self.rate)
        self.at = now

    def wait(self, cost: float, now: float) -> float:
        """Compute the seconds until a call of this cost may go.

        A call that never fits goes when the bucket is full.
        """
        self.refill(now)
        missing = min(cost, self.capacity) - self.level
        return missing / self.rate if missing > 1e-9 else 0.0


class Sent(NamedTuple):
    """A call that was let through."""

    moment: float  # seconds on the rate limiter's clock
    under_way: int  # calls under way then, this one included


def per_minute(amount: float | None, now: float) -> Bucket | None:
    """Make a bucket that never lets more than `amount` through in any minute."""
    if amount is None:
        return None
    burst = max(1.0, amount / 20)
    return Bucket(rate=max(amount - burst, amount / 2) / 60, capacity=burst, level=burst, at=now)


class RateLimiter:
    """Gate through which every call to one server passes; used from one event loop.

    Args:
        in_flight: most calls under way.
        requests_per_minute: the user's own bound, or None.
        tokens_per_minute: the same for tokens.
        retry_after_max_s: longest wait a server may ask for, in seconds.
        backoff_s: first wait when a server serves nobody and names no time, in seconds; then
        doubled.
    """

    def __init__(
        self,
        in_flight: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        retry_after_max_s: float = 120.0,
        backoff_s: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._clock = clock
        now = clock()
        self.cap = in_flight
        self.longest = retry_after_max_s
        self.backoff = backoff_s
        self.window = min(in_flight, FIRST_WINDOW)
        self.in_flight = 0
        self.refusals = 0
        self._budgets = {
            "requests": per_minute(requests_per_minute, now),
            "tokens": per_minute(tokens_per_minute, now),
        }
        self._told: dict[str, Bucket] = {}  # the server's own buckets, as its headers show them
        self._borne = 0  # most calls under way that the server served
        # calls by which the window grows next; 0: by one with each reply, nothing was refused yet
        self._step = 0
        self._calm = 0  # replies since the window last changed
        self._granted: float | None = None  # calls a second at the last refusal; None: no refusal
        self._refused_at = now
        self._next = now  # earliest time of the next call, once a rate is known
        self._paused_until = now
        self._streak = 0
        self._sends: deque[Sent] = deque(maxlen=1024)  # the latest calls, without those refused
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    async def enter(self, tokens: float) -> Sent:
        """Wait until a call of so many tokens may be sent, and count it as under way."""
        async with self._turn:  # first come, first served: a large call is not overtaken for ever
            while True:
                delay = self.delay(tokens)
                if delay == 0.0:
                    break
                self._changed.clear()
                timeout = None if delay == float("inf") else delay
                try:
                    await asyncio.wait_for(self._changed.wait(), timeout)
                except TimeoutError:
                    pass
        return self.take(tokens)

    def take(self, tokens: float) -> Sent:
        """Count a call as sent now."""
        now = self._clock()
        self.in_flight += 1
        sent = Sent(now, self.in_flight)
        self._sends.append(sent)
        for kind, bucket in self._buckets():
            bucket.level -= tokens if kind == "tokens" else 1.0
        rate = self.rate(now)
        if rate is not None:
            self._next = max(self._next, now - SLACK_S) + 1.0 / rate
        return sent

    def leave(self) -> None:
        """Count a call as no longer under way."""
        self.in_flight -= 1
        self._changed.set()

    def delay(self, tokens: float) -> float:
        """Compute the seconds until a call may be sent; infinite while the window is full."""
        if self.in_flight >= self.window:
            return float("inf")
        now = self._clock()
        longest = max(0.0, self._paused_until - now)
        for kind, bucket in self._buckets():
            cost = tokens if kind == "tokens" else 1.0
            longest = max(longest, bucket.wait(cost, now))
        if self._granted is not None:
            longest = max(longest, self._next - now)
        return longest

    def _buckets(self) -> list[tuple[str, Bucket]]:
        budgets = [(kind, bucket) for kind, bucket in self._budgets.items() if bucket is not None]
        return budgets + list(self._told.items())

    def rate(self, now: float) -> float | None:
        """Compute the calls a second allowed now; None: any number."""
        if self._granted is None:
            return None
        periods = (now - self._refused_at - REST_S) / REST_S
        return max(self._granted * (1.0 + DROP * periods**3), 0.01)

    def accepted(self, sent: Sent, tokens: float, used: float, headers: Mapping[str, str]) -> None:
        """Learn from a reply: more calls may be under way, and its headers say what is left."""
        now = self._clock()
        self._streak = 0
        self._borne = max(self._borne, sent.under_way)
        self._grow()
        for kind, bucket in self._budgets.items():
            if kind == "tokens" and bucket is not None:
                bucket.level -= used - tokens
        self._listen(headers, now)
        self._changed.set()

    def _grow(self) -> None:
        """Let more calls be under way, if the server bore the present number for long enough."""
        self._calm += 1
        if self._step and self._calm < PATIENCE * self.window:
            return
        self.window = min(self.cap, self.window + (self._step or 1))
        self._step *= 2  # a server that recovered is found out in good time
        self._calm = 0

    def refused(self, sent: Sent, headers: Mapping[str, str]) -> float:
        """Learn from a 429 or its like.

        Returns:
            the seconds this call has to wait, 0 if the server names none.
        """
        now = self._clock()
        self.refusals += 1
        wait = min(retry_after(headers), self.longest)
        self._listen(headers, now)
        if sent in self._sends:
            self._sends.remove(sent)
        if sent.under_way > max(1, min(self._borne, self.window)):
            self._shrink(sent.under_way)
        else:
            self._slow_down(sent, wait, now)
        return wait

    def _shrink(self, under_way: int) -> None:
        """Let one fewer call be under way than when a call was refused."""
        self.window = max(1, min(self.window, under_way - 1))
        self._step = 1
        self._calm = 0
        self._borne = min(self._borne, self.window)

    def _slow_down(self, sent: Sent, wait: float, now: float) -> None:
        """Send fewer calls a second, and none for a while after several refusals in a row."""
        granted = self._goodput(sent.moment)
        if sent.moment < self._refused_at:  # before the last drop: no news, but a better measure
            rates = [rate for rate in (granted, self._granted) if rate]
            self._granted = min(rates, default=None)
            return
        self._granted = granted or self._granted
        self._refused_at = now
        self._next = now + 1.0 / (self.rate(now) or 1e9)
        self._streak += 1
        if self._streak >= STREAK:
            pause = wait or min(self.backoff * 2.0 ** (self._streak - STREAK), 30.0)
            self._paused_until = max(self._paused_until, now + pause)

    def _goodput(self, until: float) -> float | None:
        """Measure the calls a second that the server took of those sent before a moment.

        The last second counts, or longer if it took few. None if it took too few to tell; waits
        between attempts then have to do.
        """
        for window in (1.0, 10.0, 60.0):
            count = sum(until - window < sent.moment <= until for sent in self._sends)
            if count >= FEW:
                return count / window
        return None

    def _listen(self, headers: Mapping[str, str], now: float) -> None:
        """Learn from headers what the server lets through, and how much of it is left."""
        for kind in ("requests", "tokens"):
            limit = _number(headers.get(f"x-ratelimit-limit-{kind}"))
            remaining = _number(headers.get(f"x-ratelimit-remaining-{kind}"))
            if limit is None or remaining is None or limit <= 0:
                continue
            until_full = seconds(headers.get(f"x-ratelimit-reset-{kind}"))
            rate = limit / 60
            if until_full > 0 and remaining < limit:
                rate = (limit - remaining) / until_full
            bucket = self._told.setdefault(kind, Bucket(rate, limit, remaining, now))
            bucket.refill(now)
            bucket.rate = max(rate, limit / 86400)
            bucket.capacity = limit
            # Calls on their way are in our level already, so ours may be lower but not higher.
            bucket.level = min(bucket.level, remaining)


def retry_after(headers: Mapping[str, str]) -> float:
    """Read the seconds the server asks to wait; 0 if it asks for none.

    They stand in `retry-after-ms`, or in `retry-after` as seconds or as a date.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    text = headers.get("retry-after", "")
    value = _number(text)
    if value is not None:
        return max(0.0, value)
    if not text:
        return 0.0
    try:
        from email.utils import parsedate_to_datetime

        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds(text: str | None) -> float:
    """Read a duration as servers write it; 0 if it cannot be read.

    Forms: `6m0s`, `120ms`, `1h2m3.5s`, or a number of seconds.
    """
    if not text:
        return 0.0
    value = _number(text)
    if value is not None:
        return max(0.0, value)
    total = 0.0
    for amount, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", text):
        total += float(amount) * UNIT_SECONDS[unit]
    return total


def _number(text: str | None) -> float | None:
    """Read a finite number; None if the text is none."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
