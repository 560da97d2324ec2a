"""The client against a real server on the loopback: nothing is paid twice, lost, or left without a name."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
from fakes import CANARY, FAULTS, ModelServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from warmth.api import Call, Client, Server
from warmth.api.money import Money, price_of
from warmth.api.pace import Pace, retry_after, seconds
from warmth.api.paid import Paid
from warmth.errors import UserError
from warmth.schemas import Api, Price
from warmth.types import Message

QUICK = Api(backoff_s=0.01, attempts=4, timeout_s=5.0)
PRICED = replace(QUICK, prices={"judge": Price(input=1.0, cached_input=0.5, output=10.0)}, prices_date="2026-11")


class Verdict(BaseModel):
    label: str
    sure: bool


VERDICT = '{"label": "correct", "sure": true}'


def call(text, **parts):
    return Call(**{"messages": (Message("user", text),), "temperature": 0.0, "max_tokens": 16, **parts})


def questions(count):
    return [call(f"question {number}") for number in range(count)]


def ask(server, folder, calls, settings=QUICK, **parts):
    with Client(Server(server.url, "judge", **parts), folder, settings) as client:
        replies = sorted(client.complete(calls), key=lambda reply: reply.index)
        return replies, client.totals()


# Never pay twice


def test_a_call_that_was_answered_is_never_sent_again(tmp_path):
    with ModelServer() as server:
        first, _ = ask(server, tmp_path, questions(50))
        second, totals = ask(server, tmp_path, questions(60))
    assert [reply.text for reply in first] == [f"reply to question {number}" for number in range(50)]
    assert [reply.cached for reply in second] == [True] * 50 + [False] * 10
    assert [reply.text for reply in second[:50]] == [reply.text for reply in first]
    assert set(server.answered.values()) == {1} and totals["attempts"] == 10


def test_equal_calls_are_paid_once_and_samples_each():
    server = Server("http://127.0.0.1:1/v1", "judge")
    assert call("a").key(server) == call("a").key(server)
    changes = [
        {"temperature": 0.5},
        {"max_tokens": 17},
        {"schema": Verdict},
        {"top_p": 0.9},
        {"seed": 1},
        {"sample": 1},
    ]
    others = [call("a", **change).key(server) for change in changes] + [call("b").key(server)]
    others += [call("a").key(replace(server, model="x")), call("a").key(replace(server, identity="adapter"))]
    assert len({*others, call("a").key(server)}) == len(changes) + 4


def test_a_server_is_known_without_its_port_or_region():
    assert Server("http://127.0.0.1:8000/v1", "m").family == Server("http://127.0.0.1:9000/v1", "m").family
    assert Server("https://eu.api.openai.com/v1", "m").family == "api.openai.com"


def test_equal_calls_under_way_share_one_attempt(tmp_path):
    with ModelServer(latency=0.05) as server:
        replies, _ = ask(server, tmp_path, [call("same")] * 20, PRICED)
    assert [reply.index for reply in replies] == list(range(20))
    assert server.received == {"same": 1}
    assert sum(reply.cost_usd > 0 for reply in replies) == 1


def test_two_clients_at_once_on_one_store_send_each_call_once(tmp_path):
    with ModelServer(latency=0.02) as server:
        threads = [threading.Thread(target=ask, args=(server, tmp_path, questions(150))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.answered) == 150 and set(server.answered.values()) == {1}


SCRIPT = """
    import sys
    from pathlib import Path
    from warmth.api import Call, Client, Server
    from warmth.schemas import Api, Batch
    from warmth.types import Message
    url, folder, count, mode = sys.argv[1:]
    settings = Api(mode=mode, in_flight=16, backoff_s=0.01, batch=Batch(requests=40, poll_s=0.05))
    calls = (Call((Message("user", f"question {n}"),), 0.0, 16) for n in range(int(count)))
    with Client(Server(url, "judge"), Path(folder), settings) as client:
        print(sum(not reply.failure for reply in client.complete(calls)))
"""


def start(server, folder, count, mode="live"):
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), server.url, str(folder), str(count), mode]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stored(folder):
    lines = (folder / "replies.jsonl").read_bytes().splitlines() if (folder / "replies.jsonl").exists() else []
    return {json.loads(line)["text"] for line in lines if line.startswith(b"{") and line.endswith(b"}")}


def kill_at(server, folder, count, answered):
    """Runs until the server has handed out so many replies, then kills; returns what was stored then."""
    process = start(server, folder, count)
    while sum(server.answered.values()) < answered and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(0.05)  # requests that had left are still answered
    return stored(folder)


def killed_run(folder, count, points, latency):
    with ModelServer(latency=latency) as server:
        for point in points:
            kept, before = kill_at(server, folder, count, point), Counter(server.answered)
            assert len(kept) >= sum(before.values()) - 16 * len(points)
        again = [text for text in before if f"reply to {text}" in kept]
        done = start(server, folder, count)
        assert done.communicate(timeout=60)[0].strip() == str(count)
        assert all(server.answered[text] == before[text] for text in again)
    assert len(server.answered) == count
    assert sum(server.answered.values()) - count <= 16 * len(points)  # no more than was under way at each kill


def test_a_killed_run_sends_again_only_what_was_under_way(tmp_path):
    killed_run(tmp_path, 300, [60, 180], latency=0.02)


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_points_pays_only_for_what_was_under_way(tmp_path):
    points = sorted(random.Random(0).sample(range(20, 1960), 20))
    killed_run(tmp_path, 2000, points, latency=0.03)


def test_a_line_torn_by_a_kill_costs_only_itself(tmp_path):
    paid = Paid(tmp_path)
    paid.put("a" * 32, {"text": "one"})
    with (tmp_path / "replies.jsonl").open("ab") as stream:
        stream.write(b'\n{"key": "' + b"b" * 32 + b'", "text": "to')
    other = Paid(tmp_path)
    other.refresh()
    other.put("c" * 32, {"text": "two"})
    paid.refresh()
    assert [row and row["text"] for row in map(paid.get, ("a" * 32, "b" * 32, "c" * 32))] == ["one", None, "two"]


@pytest.mark.parametrize(
    ("fault", "failure"),
    [("empty", "empty"), ("cut", "cut_off"), ("filtered", "filtered"), ("filtered_prompt", "filtered"),
     ("400", "bad_request"), ("too_long", "too_long"), ("500", "server_error"), ("malformed", "server_error"),
     ("not_a_completion", "server_error"), ("drop", "dropped"), ("429", "rate_limited"), ("408", "timeout")],
)  # fmt: skip
def test_a_failure_has_a_name_and_is_not_stored(tmp_path, fault, failure):
    with ModelServer(script=lambda text, n: fault if text == "bad" else None) as server:
        (reply, good), _ = ask(server, tmp_path, [call("bad"), call("good")])
        assert (reply.failure, good.failure) == (failure, "")
        received = server.received["bad"]
        assert ask(server, tmp_path, [call("bad"), call("good")])[0][1].cached
    assert server.received["bad"] > received and server.received["good"] == 1


def test_a_refusal_is_the_models_reply_and_is_kept(tmp_path):
    with ModelServer(script=lambda text, n: "refusal") as server:
        (first,), _ = ask(server, tmp_path, [call("bad")])
        (again,), _ = ask(server, tmp_path, [call("bad")])
    assert (first.failure, again.failure, again.cached) == ("refused", "refused", True)
    assert again.text == "I cannot help with that."


# Retries and pace


@pytest.mark.parametrize("fault", ["408", "409", "429", "500", "503", "drop", "malformed"])
def test_what_may_pass_is_tried_again(tmp_path, fault):
    with ModelServer(script=lambda text, n: fault if n < 2 else None) as server:
        (reply,), _ = ask(server, tmp_path, [call("a")])
    assert (reply.failure, server.received["a"]) == ("", 3)


def test_a_reply_that_does_not_come_in_time_is_given_up(tmp_path):
    late = replace(QUICK, timeout_s=0.3, attempts=2)
    for fault in ("timeout", "slow"):
        with ModelServer(script=lambda text, n, fault=fault: fault) as server:
            (reply,), totals = ask(server, tmp_path / fault, [call("a")], late)
        assert (reply.failure, totals["timeouts"]) == ("timeout", 2)


def test_an_attempt_without_an_answer_is_repeated_under_the_same_idempotency_key(tmp_path):
    with ModelServer(script=lambda text, n: ["drop", "500", None][n]) as server:
        ask(server, tmp_path, [call("a")])
    first, second, third = (headers["Idempotency-Key"] for headers in server.seen_headers)
    assert first == second != third


@pytest.mark.parametrize(
    ("fault", "words"),
    [("401", "does not accept the key in no variable"), ("403", "does not serve judge"),
     ("404", "does not serve judge"), ("quota", "quota")],
)  # fmt: skip
def test_what_cannot_pass_stops_everything_in_one_line(tmp_path, fault, words):
    with ModelServer(script=lambda text, n: fault) as server, pytest.raises(UserError, match=words) as error:
        ask(server, tmp_path, questions(500))
    assert "\n" not in str(error.value) and sum(server.received.values()) <= 2 * QUICK.in_flight


def test_a_server_nobody_can_reach_stops_everything_in_one_line(tmp_path):
    nowhere = Server("http://127.0.0.1:9/v1", "judge")
    with pytest.raises(UserError, match="127.0.0.1:9/v1 cannot be reached"), Client(nowhere, tmp_path, QUICK) as client:
        list(client.complete(questions(100)))


def test_a_reader_that_stops_early_leaves_no_claim_behind(tmp_path):
    with ModelServer(latency=0.02) as server, Client(Server(server.url, "judge"), tmp_path, QUICK) as client:
        next(iter(client.complete(questions(100))))
        assert len(list(client.complete(questions(100)))) == 100


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def simulate(pace, clock, limit, latency=0.2, until=60.0):
    """A client that always has a call to send, against a server that takes `limit` a second; calls served, refused."""
    granted, under_way, served, refused = [], [], 0, 0
    while clock.now < until:
        for due, sent, good in [item for item in under_way if item[0] <= clock.now]:
            under_way.remove((due, sent, good))
            pace.leave()
            served, refused = served + good, refused + (not good)
            if good:
                pace.accepted(sent, 100, 100, {})
            else:
                pace.refused(sent, {})
        while pace.delay(100) == 0.0:
            sent = pace.take(100)
            granted = [moment for moment in granted if moment > clock.now - 1.0]
            good = len(granted) < limit
            granted += [clock.now] * good
            under_way.append((clock.now + (latency if good else 0.01), sent, good))
        clock.now += 0.001
    return served, refused


@pytest.mark.parametrize(("limit", "most_refused"), [(5, 0.1), (50, 0.05), (200, 0.05)])
def test_the_pace_finds_what_a_server_allows(limit, most_refused):
    clock = Clock()
    served, refused = simulate(Pace(64, clock=clock), clock, limit)
    assert served / 60 >= 0.9 * limit
    assert refused / (served + refused) < most_refused


def test_a_budget_of_requests_holds_in_any_minute():
    clock, sent = Clock(), []
    pace = Pace(64, requests_per_minute=120.0, tokens_per_minute=1e9, clock=clock)
    while clock.now < 180:
        while pace.delay(10) == 0.0:
            sent.append(pace.take(10))
            pace.leave()
        clock.now += 0.05
    assert all(sum(start <= moment < start + 60 for moment in sent) <= 120 for start in sent)
    assert len(sent) >= 320


def test_a_budget_of_tokens_is_kept_on_average():
    clock, spent = Clock(), 0
    pace = Pace(64, tokens_per_minute=6000.0, clock=clock)
    while clock.now < 120:
        while pace.delay(100) == 0.0:
            sent = pace.take(100)
            pace.accepted(sent, 100, 200, {})  # they turn out twice as long as thought
            pace.leave()
            spent += 200
        clock.now += 0.05
    assert 0.8 * 12000 <= spent <= 1.05 * 12000


def test_headers_that_say_nothing_is_left_hold_calls_back_before_a_refusal():
    clock = Clock()
    pace = Pace(64, clock=clock)
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
    }
    pace.accepted(pace.take(1), 1, 1, headers)
    assert 0.9 <= pace.delay(1) <= 1.1


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


# Structured replies


def test_a_schema_is_sent_and_its_reply_is_an_object(tmp_path):
    with ModelServer(answer=lambda body: VERDICT) as server:
        replies, _ = ask(server, tmp_path, [call("a", schema=Verdict)])
        again, _ = ask(server, tmp_path, [call("a", schema=Verdict)])
    assert replies[0].parsed == again[0].parsed == Verdict(label="correct", sure=True)
    sent = server.bodies[0]["response_format"]["json_schema"]
    assert sent["strict"] and sent["schema"]["additionalProperties"] is False


@pytest.mark.parametrize("schemas", ["ignored", "refused"])
def test_a_server_without_schemas_is_found_out_once(tmp_path, schemas):
    calls = [call(f"question {number}", schema=Verdict) for number in range(30)]
    with ModelServer(answer=lambda body: VERDICT, schemas=schemas) as server:
        replies, totals = ask(server, tmp_path, calls)
        assert {reply.failure for reply in replies} == {""}
        assert sum(server.received.values()) == 31  # one call found it out
        ask(server, tmp_path, [call("another", schema=Verdict)])
    assert sum(server.received.values()) == 32
    assert totals["repairs"] == (schemas == "ignored")


def test_a_reply_that_does_not_fit_is_repaired_once_and_then_fails_by_name(tmp_path):
    known = [call("first", schema=Verdict), call("second", schema=Verdict)]
    with ModelServer(answer=lambda body: '{"label": "correct"}') as server:
        replies, totals = ask(server, tmp_path, known, PRICED)
    assert {reply.failure for reply in replies} == {"bad_json"}
    assert totals["repairs"] == 2 and sum(server.answered.values()) == 4
    assert replies[0].cost_usd == pytest.approx(totals["usd"] / 2, rel=0.2)  # both attempts are in the price


@pytest.mark.parametrize(("fault", "failure"), [("refusal", "refused"), ("cut", "cut_off"), ("filtered", "filtered")])
def test_a_structured_call_that_gets_no_verdict_says_why(tmp_path, fault, failure):
    with ModelServer(answer=lambda body: VERDICT, script=lambda text, n: fault) as server:
        (reply,), _ = ask(server, tmp_path, [call("a", schema=Verdict)])
    assert (reply.failure, reply.parsed) == (failure, None)


def test_no_verdict_is_read_from_prose(tmp_path):
    with ModelServer(answer=lambda body: f"I would say {VERDICT} because it is right") as server:
        (reply,), _ = ask(server, tmp_path, [call("a", schema=Verdict)])
    assert (reply.failure, reply.parsed) == ("bad_json", None)


# Money


def test_a_reply_costs_what_its_tokens_cost(tmp_path):
    with ModelServer() as server:  # "question 0" is two words, "reply to question 0" four
        (reply,), totals = ask(server, tmp_path, questions(1), PRICED)
        (again,), _ = ask(server, tmp_path, questions(1), PRICED)
    assert reply.cost_usd == pytest.approx((2 * 1.0 + 4 * 10.0) / 1e6)
    assert totals["usd"] == pytest.approx(reply.cost_usd, abs=1e-6) and again.cost_usd == 0.0


def test_cached_tokens_batches_and_tuned_models_have_prices_of_their_own():
    from warmth.api import Usage

    table = {
        "judge": Price(input=2.0, cached_input=1.0, output=10.0),
        "ft:judge": Price(input=4.0, cached_input=2.0, output=20.0),
    }
    live, batch = Api(prices=table), Api(prices=table, mode="batch")
    usage = Usage(prompt_tokens=1_000_000, cached_tokens=400_000, completion_tokens=100_000)
    assert Money(live, "judge").cost(usage) == pytest.approx(0.6 * 2 + 0.4 * 1 + 0.1 * 10)
    assert Money(batch, "judge").cost(usage) == pytest.approx(Money(live, "judge").cost(usage) / 2)
    assert price_of(live, "ft:judge:org:warm:abc").input == 4.0
    assert Money(live, "other").cost(usage) == 0.0


def test_a_forecast_counts_what_is_not_stored_and_sends_nothing(tmp_path):
    with ModelServer() as server:
        ask(server, tmp_path, questions(10), PRICED)
        with Client(Server(server.url, "judge"), tmp_path, PRICED) as client:
            forecast = client.forecast(questions(30))
        with Client(Server(server.url, "judge"), tmp_path, replace(PRICED, mode="batch")) as client:
            half = client.forecast(questions(30))
    assert (forecast.calls, forecast.cached, forecast.completion_tokens) == (30, 10, 20 * 16)
    assert sum(server.received.values()) == 10
    assert 0 < half.usd == pytest.approx(forecast.usd / 2)


def test_a_budget_stops_new_calls_and_says_what_is_left(tmp_path, capsys):
    budget = replace(PRICED, budget_usd=0.005)
    with ModelServer(latency=0.01) as server:
        replies, totals = ask(server, tmp_path, questions(300), budget)
        assert totals["usd"] <= 0.005
        left = [reply for reply in replies if reply.failure == "budget"]
        assert 0 < len(left) < 300 and sum(server.answered.values()) == 300 - len(left)
        assert f"api.budget_usd=0.005 is used up ($0.00 spent): {len(left)} calls are left" in capsys.readouterr().err
        more, _ = ask(server, tmp_path, questions(300), PRICED)
    assert {reply.failure for reply in more} == {""} and set(server.answered.values()) == {1}


def test_a_budget_without_a_price_is_refused(tmp_path):
    with pytest.raises(UserError, match="api.prices has no price for judge"):
        Client(Server("http://127.0.0.1:9/v1", "judge"), tmp_path, replace(QUICK, budget_usd=1.0))


# Batches


def batched(**more):
    quick = replace(QUICK.batch, requests=40, poll_s=0.02)
    return replace(PRICED, mode="batch", batch=replace(quick, **more))


def test_a_batch_run_ends_like_a_live_one_whatever_its_lines_do(tmp_path):
    script = ["expire", "error", "twice", "empty", None]

    def fault(text, n):
        return script[int(text.split()[1]) % 5] if n == 0 else None

    with ModelServer(batch_script=fault) as server:
        replies, totals = ask(server, tmp_path, questions(100), batched())
        assert [reply.index for reply in replies] == list(range(100))
        assert Counter(reply.failure for reply in replies) == {"": 80, "empty": 20}
        assert totals["usd"] == pytest.approx(sum(reply.cost_usd for reply in replies), abs=1e-5)
        again, _ = ask(server, tmp_path, questions(100), batched())
    assert {reply.failure for reply in again} == {""}
    assert sum(server.answered.values()) == 120  # the empty ones were paid twice, no other was
    assert not server.received


def test_a_line_that_never_succeeds_fails_by_name(tmp_path):
    with ModelServer(batch_script=lambda text, n: "expire" if text == "question 3" else None) as server:
        replies, _ = ask(server, tmp_path, questions(5), batched(rounds=2))
    assert [reply.failure for reply in replies] == ["", "", "", "timeout", ""]
    assert server.batched["question 3"] == 2


def test_structured_calls_are_repaired_in_the_next_batch(tmp_path):
    calls = [call(f"question {number}", schema=Verdict) for number in range(6)]
    with ModelServer(
        answer=lambda body: VERDICT, batch_script=lambda text, n: "bad_json" if "2" in text else None
    ) as server:
        replies, totals = ask(server, tmp_path, calls, batched())
    assert {reply.failure for reply in replies} == {""} and len(server.batches) == 2 and totals["repairs"] == 1


class Killed(BaseException):
    pass


@pytest.mark.parametrize("where", ["upload", "open", "create", "look", "rows"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_new_process_continues_the_batches_of_a_dead_one(tmp_path, monkeypatch, where, done):
    from warmth.api.desk import Desk

    real = getattr(Desk, where)

    def dead(*args):
        if done:
            real(*args)  # it happened at the provider, but was never noted down
        raise Killed

    with ModelServer() as server:
        with monkeypatch.context() as patch:
            patch.setattr(Desk, where, dead)
            with pytest.raises(Killed):
                ask(server, tmp_path, questions(30), batched())
        replies, _ = ask(server, tmp_path, questions(30), batched())
    assert {reply.failure for reply in replies} == {""}
    assert len(server.batches) == 1 and set(server.answered.values()) == {1}


def test_a_killed_batch_process_pays_nothing_twice(tmp_path):
    with ModelServer(polls=20) as server:
        process = start(server, tmp_path, 100, "batch")
        while len(server.batches) < 2 and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.communicate()
        done = start(server, tmp_path, 100, "batch")
        assert done.communicate(timeout=60)[0].strip() == "100"
    assert len(server.batches) == 3 and set(server.answered.values()) == {1}


def test_two_batch_processes_at_once_hand_in_each_call_once(tmp_path):
    with ModelServer(polls=5) as server:
        both = [start(server, tmp_path, 100, "batch") for _ in range(2)]
        assert [process.communicate(timeout=60)[0].strip() for process in both] == ["100", "100"]
    assert len(server.answered) == 100 and set(server.answered.values()) == {1}


# Whatever happens

NAMES = {
    "bad_json", "refused", "cut_off", "filtered", "empty", "too_long", "bad_request", "timeout", "dropped",
    "rate_limited", "server_error", "budget",
}  # fmt: skip
FLEETING = ["429", "500", "503", "409", "drop", "malformed", "not_a_completion"]
LASTING = ["empty", "cut", "filtered", "400", "too_long", "refusal", "bad_json"]
fault_lists = st.lists(st.lists(st.sampled_from([None, *FLEETING, *LASTING]), max_size=5), min_size=1, max_size=25)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=fault_lists, structured=st.booleans())
def test_every_call_ends_once_as_a_result_or_a_named_failure(tmp_path_factory, plan, structured):
    folder = tmp_path_factory.mktemp("store")
    calls = [call(f"question {number}", schema=Verdict if structured else None) for number in range(len(plan))]

    def fault(text, n):
        number = text.split()[1] if text.startswith("question") else None
        faults = plan[int(number)] if number and number.isdigit() else []
        return faults[n] if n < len(faults) else None

    with ModelServer(script=fault, answer=lambda body: VERDICT) as server:
        replies, _ = ask(server, folder, calls, replace(QUICK, backoff_s=0.001))
        again, _ = ask(server, folder, calls, replace(QUICK, backoff_s=0.001))
    assert [reply.index for reply in replies] == list(range(len(plan)))
    for reply, second in zip(replies, again, strict=True):
        good = (reply.parsed == Verdict(label="correct", sure=True)) if structured else bool(reply.text)
        assert good if not reply.failure else reply.failure in NAMES
        assert second.cached == (reply.failure in ("", "refused"))


@pytest.mark.parametrize("mode", ["live", "batch"])
@pytest.mark.parametrize("fault", [*FAULTS, "drop", "timeout", "malformed", "bad_json", "echo"])
def test_the_key_is_nowhere(tmp_path, monkeypatch, capfd, caplog, fault, mode):
    monkeypatch.setenv("CANARY_KEY", CANARY)
    caplog.set_level(logging.DEBUG)
    tight = replace(batched() if mode == "batch" else PRICED, attempts=2, timeout_s=0.5, mode=mode)
    told = []
    echo = {"answer": lambda body: f"your key is {CANARY}"} if fault == "echo" else {}
    script = {"script": lambda text, n: fault, "batch_script": lambda text, n: "error"}
    with ModelServer(**(echo or script)) as server:
        try:
            replies, totals = ask(server, tmp_path, questions(2), tight, api_key_env="CANARY_KEY")
            told += [repr(replies), repr(totals)]
        except UserError as error:
            told += [str(error), repr(error.__cause__), repr(error.__context__)]
        if mode == "live":
            assert server.seen_headers[0]["Authorization"] == f"Bearer {CANARY}"
    out, err = capfd.readouterr()
    assert CANARY not in "".join([out, err, caplog.text, *told])
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


def test_a_missing_key_is_one_line_that_names_the_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(UserError, match="the environment variable NO_SUCH_KEY is not set"):
        Client(Server("http://127.0.0.1:9/v1", "judge", "NO_SUCH_KEY"), tmp_path)


def test_a_certificate_nobody_vouches_for_is_refused(tmp_path):
    import ssl

    from aiohttp import web

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        certificate,
        "-days",
        "1",
    ]
    if subprocess.run([*make, *subject], capture_output=True).returncode:
        pytest.skip("no openssl here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    import asyncio

    loop = asyncio.new_event_loop()
    runner = web.AppRunner(web.Application())
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start())
    threading.Thread(target=loop.run_forever, daemon=True).start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/v1"
    with pytest.raises(UserError, match="(?i)certificate"), Client(Server(url, "judge"), tmp_path, QUICK) as client:
        list(client.complete(questions(1)))
    loop.call_soon_threadsafe(loop.stop)


def test_a_proxy_is_honoured(tmp_path, monkeypatch):
    with ModelServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.delenv("no_proxy", raising=False)
        with Client(Server("http://model.invalid/v1", "judge"), tmp_path, QUICK) as client:
            (reply,) = client.complete(questions(1))
    assert reply.text == "reply to question 0"
    assert os.environ["HTTP_PROXY"]
