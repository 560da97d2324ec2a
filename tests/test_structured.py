"""Structured replies: validated whatever a server promised, repaired once, never read from
prose.
"""

import pytest
from api_fixture import PRICED, VERDICT, Verdict, ask, call
from fakes import ModelServer


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
    assert replies[0].cost_usd == pytest.approx(
        totals["usd"] / 2, rel=0.2
    )  # both attempts are in the price


@pytest.mark.parametrize(
    ("fault", "failure"), [("refusal", "refused"), ("cut", "cut_off"), ("filtered", "filtered")]
)
def test_a_structured_call_that_gets_no_verdict_says_why(tmp_path, fault, failure):
    with ModelServer(answer=lambda body: VERDICT, script=lambda text, n: fault) as server:
        (reply,), _ = ask(server, tmp_path, [call("a", schema=Verdict)])
    assert (reply.failure, reply.parsed) == (failure, None)


def test_no_verdict_is_read_from_prose(tmp_path):
    with ModelServer(answer=lambda body: f"I would say {VERDICT} because it is right") as server:
        (reply,), _ = ask(server, tmp_path, [call("a", schema=Verdict)])
    assert (reply.failure, reply.parsed) == ("bad_json", None)
