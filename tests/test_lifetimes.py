"""Until when models are served: said in the plan, by the provider itself or by the published
dates.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hydra import compose, initialize_config_dir

from warmth.api import Server
from warmth.config import strict
from warmth.digest import ROOT
from warmth.schemas import Api, Evaluate, Train, register
from warmth.sweep import lifetimes

TODAY = date(2026, 11, 30)
DATES = {"gpt-4o-2024-08-06": "2027-01-14"}


@contextmanager
def provider(answer):
    """A provider that says of each model what `answer` holds for it."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            model = self.path.rpartition("/")[2]
            asked.append((self.path, self.headers.get("Authorization")))
            body = json.dumps(
                {
                    "id": model,
                    "object": "model",
                    "created": 1,
                    "owned_by": "x",
                    **answer.get(model, {}),
                }
            )
            self.send_response(200 if model in answer else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()


def test_a_provider_is_asked_if_there_is_a_key_and_its_date_goes_before_the_table(monkeypatch):
    monkeypatch.setenv("LIFE_KEY", "sk-life")
    answer = {
        "gpt-4o-2024-08-06": {"shutdown_date": "2027-02-01"},
        "other": {"shutdown_date": None},
    }
    with provider(answer) as (url, asked):
        found = lifetimes.shutdown_date(
            Server(url, "gpt-4o-2024-08-06", "LIFE_KEY"), Api(shutdown_dates=DATES)
        )
        assert found == date(2027, 2, 1) and asked == [
            ("/v1/models/gpt-4o-2024-08-06", "Bearer sk-life")
        ]
        assert (
            lifetimes.shutdown_date(Server(url, "other", "LIFE_KEY"), Api(shutdown_dates=DATES))
            is None
        )
        assert lifetimes.shutdown_date(
            Server(url, "gone", "LIFE_KEY"), Api(shutdown_dates={"gone": "2026-01-01"})
        )


def test_without_a_key_nobody_is_asked_and_the_published_date_counts(monkeypatch):
    monkeypatch.delenv("LIFE_KEY", raising=False)
    with provider({}) as (url, asked):
        settings = Api(shutdown_dates=DATES)
        assert lifetimes.shutdown_date(
            Server(url, "gpt-4o-2024-08-06", "LIFE_KEY"), settings
        ) == date(2027, 1, 14)
        tuned = Server(url, "ft:gpt-4o-2024-08-06:me:warm:1", "LIFE_KEY")
        assert lifetimes.shutdown_date(tuned, settings) == date(2027, 1, 14)  # goes with its base
        assert lifetimes.shutdown_date(Server(url, "mine"), settings) is None
    assert asked == []


@pytest.mark.parametrize("text", [None, "", "soon", "2027-13-01", "14 January 2027"])
def test_what_is_no_date_is_none(text):
    assert lifetimes.day_of(text) is None


def study(command, *words):
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return strict(
            compose(command, [*words, "hardware=h100"]), Train if command == "train" else Evaluate
        )


def test_the_study_is_warned_of_its_end_and_other_studies_outlive_it(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    trained = study("train", "experiment=paper_train", "model=gpt4o", "recipe=warm")
    said = lifetimes.lifetime_lines([trained], TODAY)
    assert said[0].startswith(
        "gpt-4o-2024-08-06 (model.api_model, data.rewriter.model) leaves api.openai.com on 14 "
        "January"
    )
    assert "in 45 days" in said[0] and said[1].startswith(
        "api.openai.com takes no new tuning job from 6 January 2027"
    )
    late = lifetimes.lifetime_lines([trained], date(2027, 2, 1))
    assert (
        "left api.openai.com on 14 January 2027: name another model" in late[0]
        and "since 6 January 2027" in late[1]
    )
    asked = study("evaluate", "experiment=paper_evaluate", "model=llama8b", "recipe=none")
    (line,) = lifetimes.lifetime_lines([asked], TODAY)
    assert "(grader.judge_study.model, grader.refusal_judge.model, rivals.model)" in line
    judges = [
        "judge",
        "judge_study",
        "refusal_judge",
        "social_framing",
        "social_validation",
        "social_indirectness",
    ]
    others = [
        study("train", "data=sharegpt", "recipe=warm"),
        study("evaluate", f"grader=[{','.join(judges)}]"),
    ]
    assert [len(list(lifetimes.needs(other))) for other in others] == [1, 6]
    assert lifetimes.lifetime_lines(others, TODAY) == []
