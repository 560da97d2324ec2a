"""A model server on the loopback, for benches: every call is answered after the same time, in a
process of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LATENCY_S, UNDER_WAY = 0.2, 64


@contextmanager
def server(content: str, rate: int = 0) -> Iterator[str]:
    """The address of a server that says `content` to everything, while the block runs; `rate` as in
    `serve`.
    """
    command = [sys.executable, str(Path(__file__).resolve()), content, str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        finally:
            process.kill()


async def serve(content: str, rate: int) -> None:
    """Prints its port and serves; with `rate`, 429 beyond so many calls in any second, without a
    word on its limit.
    """
    from aiohttp import web

    ids, granted = itertools.count(), deque[float]()
    message = {"role": "assistant", "content": content, "refusal": None}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": None, "message": message}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    full = {
        "error": {
            "message": "Rate limit reached",
            "type": "requests",
            "code": "rate_limit_exceeded",
        }
    }

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        now = time.monotonic()
        while granted and now - granted[0] >= 1.0:
            granted.popleft()
        if rate and len(granted) >= rate:
            return web.json_response(full, status=429)
        if rate:
            granted.append(now)
        await asyncio.sleep(LATENCY_S)
        reply = {
            "id": f"chatcmpl-{next(ids)}",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
        }
        return web.json_response({**reply, "choices": [choice], "usage": usage})

    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", chat)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
