"""A model server on the loopback that follows the published schemas and misbehaves on request.

Chat completions here, files, batches and fine-tuning jobs in `fake_provider.py`; enough of each to
test a client against a real connection: latency, rate limits with headers, errors, dropped sockets,
malformed JSON, refusals.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from aiohttp import web
from fake_provider import Provider

CANARY = "sk-canary-5ec4e7c0ffee5ec4e7c0ffee"
Fault = str | None  # see FAULTS, or None for a good reply
FAULTS = {  # fault → HTTP status, code or type, and message of those that end as a plain error
    "400": (400, None, "this call is wrong"),
    "401": (401, "invalid_api_key", f"Incorrect API key provided: {CANARY}"),
    "403": (403, None, f"no access for {CANARY}"),
    "404": (404, "model_not_found", "The model does not exist"),
    "408": (408, None, f"too slow for {CANARY}"),
    "409": (409, None, "conflict"),
    "429": (429, "rate_limit_exceeded", f"Rate limit reached for {CANARY}"),
    "quota": (429, "insufficient_quota", f"You exceeded your current quota, {CANARY}"),
    "500": (500, None, f"internal error with {CANARY}"),
    "503": (503, None, "overloaded"),
    "too_long": (400, "context_length_exceeded", "This model's maximum context length is 8"),
    "filtered_prompt": (400, "content_filter", "The prompt was filtered"),
}


class ModelServer(Provider):
    """One server, in a thread of its own. Use as a context manager; `url` is its base URL.

    Args:
        latency: seconds each completion takes.
        script: the fault of the n-th attempt (from 0) at a call, known by the text of its last
        message as sent.
        answer: a completion's text, from the request body.
        rate: completions a second in any window of one second; beyond it comes 429.
        headers: whether rate limits are told in `x-ratelimit-*` and `retry-after`.
        schemas: "kept", "ignored" (replies in prose until the schema stands in the message) or
        "refused" (HTTP 400).
        batch_script: fault of the n-th time a batch line is handed in: "expire", "error", "twice",
            "garbled", "lost", some of FAULTS, a fault of completions, or None.
        job_script: "succeeded", or the error code the job fails with.
    """

    def __init__(
        self,
        latency: float = 0.0,
        script: Callable[[str, int], Fault] = lambda text, n: None,
        answer: Callable[[dict[str, Any]], str] = lambda body: (
            f"reply to {body['messages'][-1]['content'][:40]}"
        ),
        rate: int | None = None,
        headers: bool = False,
        schemas: str = "kept",
        batch_script: Callable[[str, int], Fault] = lambda text, n: None,
        job_script: str = "succeeded",
        polls: int = 2,
    ):
        self.latency, self.script, self.answer, self.rate, self.headers = (
            latency,
            script,
            answer,
            rate,
            headers,
        )
        super().__init__(batch_script, job_script, polls)
        self.schemas = schemas
        self.received: Counter[str] = Counter()  # attempts at each call
        self.answered: Counter[str] = Counter()  # good replies handed out, each of them paid for
        self.bodies: deque[dict[str, Any]] = deque(maxlen=2000)
        self.seen_headers: deque[dict[str, str]] = deque(maxlen=200)
        self.refused = self.live = self.peak = self.requests = 0
        self.queries: deque[dict[str, str]] = deque(maxlen=200)
        self.served: dict[str, str] = {}  # name → what stands behind it, as `/models` tells
        self.moved_to = ""  # another server's URL, to which everything is redirected
        self._granted: deque[float] = deque()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> ModelServer:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=2**28, middlewares=[self._count])
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._chat),
                web.get("/v1/models", self._models),
                *self.routes(),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    @web.middleware
    async def _count(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests += 1
        self.queries.append(dict(request.query))
        if self.moved_to:
            raise web.HTTPTemporaryRedirect(f"{self.moved_to}{request.path.removeprefix('/v1')}")
        return await handler(request)

    async def _models(self, request: web.Request) -> web.StreamResponse:
        listed = [
            {"id": name, "object": "model", "root": root} for name, root in self.served.items()
        ]
        return web.json_response({"object": "list", "data": listed})

    # Chat completions

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        text = body["messages"][-1]["content"]
        nth = self.received[text]
        self.received[text] += 1
        self.bodies.append(body)
        self.seen_headers.append(dict(request.headers))
        if self.rate is not None and not self._grant():
            self.refused += 1
            return self._error("429")
        self.live += 1
        self.peak = max(self.peak, self.live)
        try:
            return await self._reply(request, body, text, self.script(text, nth))
        finally:
            self.live -= 1

    async def _reply(
        self, request: web.Request, body: dict[str, Any], text: str, fault: Fault
    ) -> web.StreamResponse:
        await asyncio.sleep(self.latency)
        if fault in FAULTS:
            return self._error(fault)
        if fault == "timeout":
            await asyncio.sleep(30)
        if fault == "drop":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault == "malformed":
            return web.Response(
                text='{"id": "chatcmpl-1", "choices": [{"mess', content_type="application/json"
            )
        if fault == "not_a_completion":
            return web.json_response({"object": "chat.completion"})
        if (
            self.schemas == "refused"
            and body.get("response_format", {}).get("type") == "json_schema"
        ):
            error = {
                "message": "response_format of type json_schema is not supported",
                "type": "invalid_request_error",
            }
            return web.json_response({"error": error}, status=400)
        self.answered[text] += 1
        reply = self.completion(body, fault)
        if fault == "slow":  # the body dribbles in
            return await self._dribble(request, json.dumps(reply).encode())
        return web.json_response(reply, headers=self._limits())

    async def _dribble(self, request: web.Request, data: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for byte in range(0, len(data), 16):
            await response.write(data[byte : byte + 16])
            await asyncio.sleep(0.05)
        return response

    def completion(self, body: dict[str, Any], fault: Fault = None) -> dict[str, Any]:
        """A chat completion object; counts tokens as words."""
        prompt = " ".join(message["content"] for message in body["messages"])
        told = "JSON" in prompt
        structured = (
            body.get("response_format", {}).get("type") == "json_schema" and self.schemas == "kept"
        )
        text = self.answer(body)
        if fault == "bad_json" or (body.get("response_format") and not structured and not told):
            text = f"Sure! I would say {text}"
        finish = {"cut": "length", "filtered": "content_filter"}.get(str(fault), "stop")
        message = {
            "role": "assistant",
            "content": "" if fault == "empty" else text,
            "refusal": None,
        }
        if fault == "refusal":
            message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
        return {
            "id": f"chatcmpl-{next(self._ids)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body["model"],
            "system_fingerprint": "fake",
            "choices": [
                {"index": 0, "finish_reason": finish, "logprobs": None, "message": message}
            ],
            "usage": {
                **usage,
                "total_tokens": sum(usage.values()),
                "prompt_tokens_details": {"cached_tokens": 0},
            },
        }

    def _grant(self) -> bool:
        now = time.monotonic()
        while self._granted and now - self._granted[0] >= 1.0:
            self._granted.popleft()
        if len(self._granted) >= self.rate:
            return False
        self._granted.append(now)
        return True

    def _limits(self) -> dict[str, str]:
        if not self.headers or self.rate is None:
            return {}
        left = self.rate - len(self._granted)
        return {
            "x-ratelimit-limit-requests": str(self.rate),
            "x-ratelimit-remaining-requests": str(left),
            "x-ratelimit-reset-requests": f"{1000 * (self.rate - left) / self.rate:.0f}ms",
        }

    def _error(self, fault: str) -> web.Response:
        status, code, message = FAULTS[fault]
        error = {"message": message, "type": "some_error", "param": None, "code": code}
        headers = (
            {"retry-after-ms": "100", **self._limits()} if fault == "429" and self.headers else {}
        )
        return web.json_response({"error": error}, status=status, headers=headers)
