"""How fast calls go: simulated servers that allow so many a second, or at once, and headers that
say so.
"""

import pytest

from warmth.api.rate_limiter import RateLimiter, retry_after, seconds


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def simulate(limiter, clock, limit=10**9, slots=10**9, latency=0.2, until=60.0):
    """A client that always has a call to send, against a server that takes `limit` a second and
    `slots` at once.

    Returns:
        Calls served and calls refused.
    """
    granted, under_way, served, refused = [], [], 0, 0
    while clock.now < until:
        for due, sent, good in [item for item in under_way if item[0] <= clock.now]:
            under_way.remove((due, sent, good))
            limiter.leave()
            served, refused = served + good, refused + (not good)
            if good:
                limiter.accepted(sent, 100, 100, {})
            else:
                limiter.refused(sent, {})
        while limiter.delay(100) == 0.0:
            sent = limiter.take(100)
            granted = [moment for moment in granted if moment > clock.now - 1.0]
            good = len(granted) < limit and sum(taken for *_, taken in under_way) < slots
            granted += [clock.now] * good
            under_way.append((clock.now + (latency if good else 0.01), sent, good))
        clock.now += 0.001
    for _ in under_way:
        limiter.leave()
    return served, refused


@pytest.mark.parametrize(("limit", "most_refused"), [(5, 0.1), (50, 0.05), (200, 0.05)])
def test_the_pace_finds_what_a_server_allows(limit, most_refused):
    clock = Clock()
    served, refused = simulate(RateLimiter(64, clock=clock), clock, limit=limit)
    assert served / 60 >= 0.9 * limit
    assert refused / (served + refused) < most_refused


@pytest.mark.parametrize(("slots", "latency"), [(4, 1.0), (8, 0.2), (16, 5.0), (32, 0.2)])
def test_the_pace_finds_how_many_calls_at_once_a_server_bears(slots, latency):
    clock = Clock()
    served, refused = simulate(RateLimiter(64, clock=clock), clock, slots=slots, latency=latency)
    assert served / 60 >= 0.75 * slots / latency
    assert refused / (served + refused) < 0.1


def test_a_server_that_refuses_everybody_is_left_alone():
    clock = Clock()
    served, refused = simulate(RateLimiter(64, clock=clock), clock, limit=0, until=120.0)
    assert served == 0 and refused < 50


def test_a_server_that_recovers_is_used_again():
    clock = Clock()
    limiter = RateLimiter(64, clock=clock)
    simulate(limiter, clock, slots=4, until=30.0)
    assert limiter.window <= 5
    served, _ = simulate(limiter, clock, slots=64, until=90.0)
    assert limiter.window == 64 and served / 60 > 0.5 * 64 / 0.2


def test_a_budget_of_requests_holds_in_any_minute():
    clock, sent = Clock(), []
    limiter = RateLimiter(64, requests_per_minute=120.0, tokens_per_minute=1e9, clock=clock)
    while clock.now < 180:
        while limiter.delay(10) == 0.0:
            sent.append(limiter.take(10).moment)
            limiter.leave()
        clock.now += 0.05
    assert all(sum(start <= moment < start + 60 for moment in sent) <= 120 for start in sent)
    assert len(sent) >= 320


def test_a_budget_of_tokens_is_kept_on_average():
    clock, spent = Clock(), 0
    limiter = RateLimiter(64, tokens_per_minute=6000.0, clock=clock)
    while clock.now < 120:
        while limiter.delay(100) == 0.0:
            sent = limiter.take(100)
            limiter.accepted(sent, 100, 200, {})  # they turn out twice as long as thought
            limiter.leave()
            spent += 200
        clock.now += 0.05
    assert 0.8 * 12000 <= spent <= 1.05 * 12000


def test_headers_that_say_nothing_is_left_hold_calls_back_before_a_refusal():
    clock = Clock()
    limiter = RateLimiter(64, clock=clock)
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
    }
    limiter.accepted(limiter.take(1), 1, 1, headers)
    assert 0.9 <= limiter.delay(1) <= 1.1


def test_durations_are_read_as_servers_write_them():
    assert [seconds(text) for text in ("6m0s", "120ms", "1h2m3.5s", "2", "", None, "soon")] == [
        360,
        0.12,
        3723.5,
        2,
        0,
        0,
        0,
    ]
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after({"retry-after": "1.5"}) == 1.5
    assert retry_after({"retry-after": "nonsense"}) == 0.0
