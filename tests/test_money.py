"""Prices, forecasts and the budget."""

from dataclasses import replace

import pytest
from api_fixture import PRICED, QUICK, ask, questions
from fakes import ModelServer

from warmth.api import Client, Server, Usage
from warmth.api.money import Money, price_of
from warmth.errors import UserError
from warmth.schemas import Api, Price


def test_a_reply_costs_what_its_tokens_cost(tmp_path):
    with ModelServer() as server:  # "question 0" is two words, "reply to question 0" four
        (reply,), totals = ask(server, tmp_path, questions(1), PRICED)
        (again,), _ = ask(server, tmp_path, questions(1), PRICED)
    assert reply.cost_usd == pytest.approx((2 * 1.0 + 4 * 10.0) / 1e6)
    assert totals["usd"] == pytest.approx(reply.cost_usd, abs=1e-6) and again.cost_usd == 0.0


def test_cached_tokens_batches_and_tuned_models_have_prices_of_their_own():
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
        assert (
            f"api.budget_usd=0.005 is used up ($0.00 spent): {len(left)} calls are left"
            in capsys.readouterr().err
        )
        more, _ = ask(server, tmp_path, questions(300), PRICED)
    assert {reply.failure for reply in more} == {""} and set(server.answered.values()) == {1}


def test_a_budget_without_a_price_is_refused(tmp_path):
    with pytest.raises(UserError, match="api.prices has no price for judge"):
        Client(Server("http://127.0.0.1:9/v1", "judge"), tmp_path, replace(QUICK, budget_usd=1.0))
