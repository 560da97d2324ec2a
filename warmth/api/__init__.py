"""The one door to OpenAI-compatible servers: calls are cached, slowed down and budgeted.

Each ends as a result or as a named failure.

    servers = Servers(study)  # one store and one budget for all calls of a command
    for reply in servers.ask(Server(url, model, "OPENAI_API_KEY"), call_of, items):
        rows[reply.index] = reply.parsed if not reply.failure else reply.failure

`Client` is what stands behind: one model on one server.
"""

from warmth.api.calls import PASSING, Call, CallForecast, Failure, Reply, Server, Usage
from warmth.api.client import Client
from warmth.api.servers import Servers

__all__ = [
    "PASSING",
    "Call",
    "Client",
    "Failure",
    "CallForecast",
    "Reply",
    "Server",
    "Servers",
    "Usage",
]
