"""Batches: half the price, whatever their lines do, and continued by whichever process comes
next.
"""

import time
from collections import Counter

import pytest
from api_fixture import VERDICT, Verdict, ask, batched, call, questions
from fakes import ModelServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_client import NAMES
from test_reply_cache import start

from warmth.api.calls import KEPT
from warmth.errors import UserError


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
    assert [reply.failure for reply in again] == [reply.failure for reply in replies]
    assert (
        sum(server.answered.values()) == 100
    )  # an empty reply is complete, too: it is not paid again
    assert not server.received


def test_a_line_that_never_succeeds_fails_by_name(tmp_path):
    with ModelServer(
        batch_script=lambda text, n: "expire" if text == "question 3" else None
    ) as server:
        replies, _ = ask(server, tmp_path, questions(5), batched(rounds=2))
    assert [reply.failure for reply in replies] == ["", "", "", "timeout", ""]
    assert server.batched["question 3"] == 2


def test_structured_calls_are_repaired_in_the_next_batch(tmp_path):
    calls = [call(f"question {number}", schema=Verdict) for number in range(6)]
    with ModelServer(
        answer=lambda body: VERDICT,
        batch_script=lambda text, n: "bad_json" if "2" in text else None,
    ) as server:
        replies, totals = ask(server, tmp_path, calls, batched())
    assert (
        {reply.failure for reply in replies} == {""}
        and len(server.batches) == 2
        and totals["repairs"] == 1
    )


def test_a_line_that_is_lost_or_garbled_is_handed_in_again(tmp_path):
    script = {"question 1": "garbled", "question 2": "lost"}
    with ModelServer(batch_script=lambda text, n: script.get(text) if n == 0 else None) as server:
        replies, totals = ask(server, tmp_path, questions(4), batched())
    assert {reply.failure for reply in replies} == {""} and len(server.batches) == 2
    assert server.batched == {"question 0": 1, "question 1": 2, "question 2": 2, "question 3": 1}


@pytest.mark.parametrize("fault", ["quota", "401"])
def test_a_quota_used_up_within_a_batch_keeps_what_was_paid_and_lets_the_same_command_go_on(
    tmp_path, fault
):
    with ModelServer(
        batch_script=lambda text, n: fault if text == "question 2" and n == 0 else None
    ) as server:
        with pytest.raises(UserError, match="the line failed") as told:
            ask(server, tmp_path, questions(4), batched())
        replies, _ = ask(server, tmp_path, questions(4), batched())
    assert "\n" not in str(told.value)
    assert {reply.failure for reply in replies} == {""} and set(server.answered.values()) == {1}


def test_a_batch_that_somebody_cancels_is_one_line_and_the_rest_is_handed_in_by_the_same_command(
    tmp_path,
):
    with ModelServer(
        batch_script=lambda text, n: "lost" if n == 0 and text != "question 0" else None
    ) as server:
        server.batch_ends = "cancelled"
        with pytest.raises(UserError, match="was cancelled at"):
            ask(server, tmp_path, questions(4), batched())
        server.batch_ends = "completed"
        replies, _ = ask(server, tmp_path, questions(4), batched())
    assert {reply.failure for reply in replies} == {""} and set(server.answered.values()) == {1}


line_faults = st.sampled_from(
    [None, "expire", "error", "twice", "garbled", "lost", "empty", "cut", "400", "too_long"]
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(plan=st.lists(st.lists(line_faults, max_size=4), min_size=1, max_size=25))
def test_every_line_ends_once_as_a_result_or_a_named_failure(tmp_path_factory, plan):
    folder = tmp_path_factory.mktemp("store")

    def fault(text, n):
        faults = plan[int(text.split()[1])]
        return faults[n] if n < len(faults) else None

    with ModelServer(batch_script=fault) as server:
        replies, _ = ask(server, folder, questions(len(plan)), batched(requests=7))
        good = {reply.index for reply in replies if reply.failure in KEPT}
        paid = Counter(server.answered)
        again, _ = ask(server, folder, questions(len(plan)), batched(requests=7))
    assert [reply.index for reply in replies] == list(range(len(plan)))
    assert all(
        bool(reply.text) if not reply.failure else reply.failure in NAMES for reply in replies
    )
    assert {reply.index for reply in again if reply.cached} == good
    assert all(
        server.answered[f"question {number}"] == paid[f"question {number}"] for number in good
    )


class Killed(BaseException):
    pass


@pytest.mark.parametrize("where", ["upload", "open", "create", "look", "rows"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_new_process_continues_the_batches_of_a_dead_one(tmp_path, monkeypatch, where, done):
    from warmth.api.batch_client import BatchClient

    real = getattr(BatchClient, where)

    def dead(*args):
        if done:
            real(*args)  # it happened at the provider, but was never noted down
        raise Killed

    with ModelServer() as server:
        with monkeypatch.context() as patch:
            patch.setattr(BatchClient, where, dead)
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
