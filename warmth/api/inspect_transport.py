"""The connection to any provider that Inspect knows: one attempt by its `get_model`.

Its output is read as a chat completion.
Everything else is the client's own: what is stored, how fast is asked, what is asked again, what it
may cost. Inspect's own repetitions are off, so that no call is paid twice unseen. Inspect finds its
providers' keys by itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from warmth.api.calls import Server
from warmth.api.transport import Attempt, redact
from warmth.errors import UserError, one_line
from warmth.schemas import Api

SCHEME = "inspect"
INSTALL = "engine=inspect needs Inspect: pip install 'warmth-study[inspect]'"
FINISHES = {
    "stop": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
}


def is_by_inspect(server: Server) -> bool:
    """Tell whether a server is asked through Inspect."""
    return urlsplit(server.base_url).scheme == SCHEME


def refuse_without_inspect() -> None:
    """Check that Inspect is installed.

    Raises:
        UserError: it is not; the line says how to install it.
    """
    if find_spec("inspect_ai") is None:
        raise UserError(INSTALL)


class InspectTransport:
    """Sends chat completions to one model of Inspect's; made and used inside one event loop."""

    def __init__(self, server: Server, settings: Api) -> None:
        self._server = server
        self._settings = settings
        self._model: Any = None

    async def open(self) -> None:
        """Find the model.

        Raises:
            UserError: Inspect is not installed, does not know the provider, or lacks its package or
            key.
        """
        refuse_without_inspect()
        from inspect_ai.model import GenerateConfig, get_model

        try:
            self._model = get_model(
                self._server.model, config=GenerateConfig(max_retries=0), memoize=False
            )
        except Exception as error:  # of any provider's library
            raise UserError(
                f"model={self._server.model} cannot be had through Inspect: {_line(error)}"
            ) from None

    async def close(self) -> None:
        """End the provider's connections."""
        if self._model is not None:
            await self._model.api.aclose()

    async def served(self, model: str) -> str:
        """Return "": a provider does not tell what stands behind a name."""
        return ""

    async def send(self, body: Mapping[str, Any], idempotency_key: str) -> Attempt:
        """Make one attempt.

        A provider's error becomes the status that it gave, or a dropped connection.
        """
        from inspect_ai.model import GenerateConfig

        config = GenerateConfig(
            temperature=body.get("temperature"),
            max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
            top_p=body.get("top_p"),
            seed=body.get("seed"),
            max_retries=0,
            cache=False,
        )
        messages = [chat_message(message) for message in body["messages"]]
        try:
            work = self._model.generate(messages, config=config)
            output = await asyncio.wait_for(work, self._settings.timeout_s)
        except TimeoutError:
            detail = f"no reply within {self._settings.timeout_s:g} s"
            return Attempt(failure="timeout", detail=detail)
        except Exception as error:  # of any provider's library
            return failed_reply(error)
        return Attempt(status=200, raw=json.dumps(completion(output)).encode())


def chat_message(message: Mapping[str, Any]) -> Any:
    """Make Inspect's message of one of ours."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    kinds = {
        "system": ChatMessageSystem,
        "user": ChatMessageUser,
        "assistant": ChatMessageAssistant,
    }
    return kinds[message["role"]](content=message["content"])


def completion(output: Any) -> dict[str, Any]:
    """Write Inspect's output as a chat completion."""
    if output.error or not output.choices:
        return {"error": {"message": output.error or "no reply", "code": 500}}
    choice = output.choices[0]
    message = {"role": "assistant", "content": choice.message.text}
    thinking = thinking_of(choice.message.content)
    if thinking:
        message["reasoning_content"] = thinking
    finish = FINISHES.get(choice.stop_reason, choice.stop_reason)
    body: dict[str, Any] = {
        "model": output.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    if output.usage is not None:
        cached = output.usage.input_tokens_cache_read or 0
        body["usage"] = {
            "prompt_tokens": output.usage.input_tokens + cached,
            "completion_tokens": output.usage.output_tokens,
            "total_tokens": output.usage.input_tokens + cached + output.usage.output_tokens,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
    return body


def thinking_of(content: Any) -> str:
    """Join what a model thought from the blocks of its message; a plain text has none."""
    if isinstance(content, str):
        return ""
    return "\n".join(block.reasoning for block in content if hasattr(block, "reasoning"))


def failed_reply(error: BaseException) -> Attempt:
    """Read a provider's error: its HTTP status if it has one."""
    cause: BaseException | None = error
    while cause is not None:
        status = getattr(cause, "status_code", None)
        if isinstance(status, int) and 400 <= status < 600:
            detail = {"error": {"message": _line(cause), "code": status}}
            return Attempt(status=status, raw=json.dumps(detail).encode())
        cause = cause.__cause__
    return Attempt(failure="dropped", detail=_line(error))


def _line(error: BaseException) -> str:
    return redact(one_line(error), "")[:400]
