"""The one door to OpenAI-compatible servers: calls are cached, paced, budgeted, and end as results or named failures.

with Client(Server(url, model, "OPENAI_API_KEY"), Path(study.output) / "replies", study.api) as client:
for reply in client.complete(calls):
...
"""

from warmth.api.calls import Call, Failure, Forecast, Reply, Server, Usage
from warmth.api.client import Client

__all__ = ["Call", "Client", "Failure", "Forecast", "Reply", "Server", "Usage"]
