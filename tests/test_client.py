"""The client against a real server on the loopback: every call ends once, as a result or by the
name of its failure.
"""

from dataclasses import replace

import pytest
from api_fixture import QUICK, VERDICT, Verdict, ask, call, questions
from fakes import ModelServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from virtual_clock import Limited, run

from warmth.api import Client, Server
from warmth.api.transport import Attempt
from warmth.errors import UserError


@pytest.mark.parametrize(
    ("fault", "failure"),
    [("filtered_prompt", "filtered"), ("400", "bad_request"),
     ("too_long", "too_long"), ("500", "server_error"), ("malformed", "server_error"),
     ("not_a_completion", "server_error"), ("drop", "dropped"), ("429", "rate_limited"), ("408", "timeout")],
)  # fmt: skip
def test_a_failure_has_a_name_and_is_not_stored(tmp_path, fault, failure):
    with ModelServer(script=lambda text, n: fault if text == "bad" else None) as server:
        (reply, good), _ = ask(server, tmp_path, [call("bad"), call("good")])
        assert (reply.failure, good.failure) == (failure, "")
        received = server.received["bad"]
        assert ask(server, tmp_path, [call("bad"), call("good")])[0][1].cached
    assert server.received["bad"] > received and server.received["good"] == 1


@pytest.mark.parametrize(
    ("fault", "failure", "text"),
    [("refusal", "refused", "I cannot help with that."), ("cut", "cut_off", "reply to bad"),
     ("empty", "empty", ""), ("filtered", "filtered", "reply to bad")],
)  # fmt: skip
def test_a_complete_reply_is_paid_and_kept_however_it_ended(tmp_path, fault, failure, text):
    with ModelServer(script=lambda text, n: fault) as server:
        (first,), _ = ask(server, tmp_path, [call("bad")])
        (again,), _ = ask(server, tmp_path, [call("bad")])
    assert (first.failure, again.failure, again.cached) == (failure, failure, True)
    assert again.text == text and server.received["bad"] == 1


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


def test_a_refused_call_waits_as_long_as_the_server_wishes(tmp_path):
    refusal = Attempt(429, b'{"error": {"message": "too many"}}', {"retry-after-ms": "100"})
    transport = Limited(first=[refusal, refusal])
    (reply,), counts, _ = run(transport, [call("a")], QUICK, tmp_path)
    assert not reply.failure and counts["refusals"] == 2
    assert all(
        later - earlier >= 0.1
        for earlier, later in zip(transport.moments, transport.moments[1:], strict=False)
    )


def test_no_more_calls_are_under_way_than_the_config_allows(tmp_path):
    transport = Limited(latency=0.05)
    run(transport, questions(60), replace(QUICK, in_flight=5), tmp_path)
    assert transport.peak == 5


@pytest.mark.parametrize("headers", [True, False])
def test_all_calls_get_through_a_limit_and_few_are_refused(tmp_path, headers):
    transport = Limited(rate=40, headers=headers)
    replies, counts, seconds = run(
        transport, questions(400), replace(QUICK, in_flight=16), tmp_path
    )
    assert {reply.failure for reply in replies} == {""} and set(transport.answered.values()) == {1}
    # learning the rate costs up to two windows of refusals in the first second, however many calls
    # follow
    assert counts["attempts"] == 400 + transport.refused and transport.refused <= 2 * 16
    assert seconds <= 1.25 * 400 / 40


def test_a_budget_of_calls_a_minute_is_kept(tmp_path):
    transport = Limited(latency=0.01)
    settings = replace(QUICK, requests_per_minute=120.0)
    run(transport, questions(300), settings, tmp_path)
    assert all(
        sum(start <= moment < start + 60 for moment in transport.moments) <= 120
        for start in transport.moments
    )


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
    with (
        ModelServer(script=lambda text, n: fault) as server,
        pytest.raises(UserError, match=words) as error,
    ):
        ask(server, tmp_path, questions(500))
    assert "\n" not in str(error.value) and sum(server.received.values()) <= 2 * QUICK.in_flight + 1


def test_a_server_nobody_can_reach_stops_everything_in_one_line(tmp_path):
    nowhere = Server("http://127.0.0.1:9/v1", "judge")
    with (
        pytest.raises(UserError, match="127.0.0.1:9/v1 cannot be reached"),
        Client(nowhere, tmp_path, QUICK) as client,
    ):
        list(client.complete(questions(100)))


def test_a_reader_that_stops_early_leaves_no_claim_behind(tmp_path):
    with (
        ModelServer(latency=0.02) as server,
        Client(Server(server.url, "judge"), tmp_path, QUICK) as client,
    ):
        next(iter(client.complete(questions(100))))
        assert len(list(client.complete(questions(100)))) == 100


NAMES = {
    "bad_json",
    "refused",
    "cut_off",
    "filtered",
    "empty",
    "too_long",
    "bad_request",
    "timeout",
    "dropped",
    "rate_limited",
    "server_error",
    "budget",
}
FLEETING = ["429", "408", "500", "503", "409", "drop", "malformed", "not_a_completion"]
LASTING = ["empty", "cut", "filtered", "400", "too_long", "refusal", "bad_json"]
fault_lists = st.lists(
    st.lists(st.sampled_from([None, *FLEETING, *LASTING]), max_size=5), min_size=1, max_size=25
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(plan=fault_lists, structured=st.booleans())
def test_every_call_ends_once_as_a_result_or_a_named_failure(tmp_path_factory, plan, structured):
    folder = tmp_path_factory.mktemp("store")
    calls = [
        call(f"question {number}", schema=Verdict if structured else None)
        for number in range(len(plan))
    ]

    def fault(text, n):
        number = text.split()[1] if text.startswith("question") else None
        faults = plan[int(number)] if number and number.isdigit() else []
        return faults[n] if n < len(faults) else None

    with ModelServer(script=fault, answer=lambda body: VERDICT) as server:
        replies, _ = ask(server, folder, calls, replace(QUICK, backoff_s=0.001))
        again, _ = ask(server, folder, calls, replace(QUICK, backoff_s=0.001))
    assert [reply.index for reply in replies] == list(range(len(plan)))
    for reply, second in zip(replies, again, strict=True):
        good = (
            (reply.parsed == Verdict(label="correct", sure=True))
            if structured
            else bool(reply.text)
        )
        assert good if not reply.failure else reply.failure in NAMES
        assert second.cached == (calls[reply.index].keeps(reply.failure) and bool(reply.finish))
