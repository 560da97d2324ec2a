"""What the tests of `warmth.api` share: calls, settings in a hurry, and a client that asks once."""

from dataclasses import replace

from pydantic import BaseModel

from warmth.api import Call, Client, Server
from warmth.schemas import Api, Price
from warmth.types import Message

QUICK = Api(backoff_s=0.01, attempts=4, timeout_s=5.0)
PRICED = replace(
    QUICK, prices={"judge": Price(input=1.0, cached_input=0.5, output=10.0)}, prices_date="2026-11"
)
VERDICT = '{"label": "correct", "sure": true}'


class Verdict(BaseModel):
    label: str
    sure: bool


def call(text, **parts):
    return Call(
        **{"messages": (Message("user", text),), "temperature": 0.0, "max_tokens": 16, **parts}
    )


def questions(count):
    return [call(f"question {number}") for number in range(count)]


def ask(server, folder, calls, settings=QUICK, model="judge", **parts):
    """Replies in order, and what the client did."""
    with Client(Server(server.url, model, **parts), folder, settings) as client:
        replies = sorted(client.complete(calls), key=lambda reply: reply.index)
        return replies, client.totals()


def batched(**more):
    quick = replace(QUICK.batch, requests=40, poll_s=0.02)
    return replace(PRICED, mode="batch", batch=replace(quick, **more))
