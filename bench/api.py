"""Calls to a model server with 200 ms latency, 64 under way: ours, a raw aiohttp loop, AsyncOpenAI
with a semaphore.

python bench/api.py [--calls 10000] [--rate-calls 2000] [--clients "raw aiohttp" ours]

Each case is a process of its own, against one server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from loopback import LATENCY_S, UNDER_WAY, server
from peers import table

CLIENTS = ["raw aiohttp", "AsyncOpenAI", "ours", "ours, cached"]
PROMPT = (
    "Question: who wrote Hamlet?\nAnswer: I think it was Shakespeare. Number {}.\nIs the "
    "answer right?"
)


def rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def bodies(calls: int):
    for number in range(calls):
        messages = [{"role": "user", "content": PROMPT.format(number)}]
        yield {"model": "judge", "messages": messages, "temperature": 0.0, "max_tokens": 16}


async def loop(calls: int, one) -> None:
    source = bodies(calls)

    async def worker() -> None:
        for body in source:
            await one(body)

    await asyncio.gather(*(worker() for _ in range(UNDER_WAY)))


async def raw(url: str, calls: int) -> None:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(body: dict) -> None:
            async with session.post(f"{url}/chat/completions", json=body) as reply:
                assert (await reply.json())["choices"][0]["message"]["content"]

        await loop(calls, one)


async def plain(url: str, calls: int) -> None:
    from openai import AsyncOpenAI

    client, places = AsyncOpenAI(base_url=url, api_key="none"), asyncio.Semaphore(UNDER_WAY)

    async def one(body: dict) -> None:
        async with places:
            assert (await client.chat.completions.create(**body)).choices[0].message.content

    await asyncio.gather(*(one(body) for body in bodies(calls)))


def ours(url: str, calls: int, folder: str) -> dict:
    from warmth.api import Call, Client, Server
    from warmth.types import Message

    source = (Call((Message("user", PROMPT.format(number)),), 0.0, 16) for number in range(calls))
    with Client(Server(url, "judge"), Path(folder)) as client:
        failed = sum(bool(reply.failure) for reply in client.complete(source))
        return {"failed": failed, "attempts": client.totals()["attempts"]}


def case(name: str, url: str, calls: int, folder: str) -> None:
    """One client in this process; prints its figures as JSON."""
    if name.startswith("ours"):
        import warmth.api.live  # imports are not what is measured  # noqa: F401
    import aiohttp  # noqa: F401
    import openai  # noqa: F401

    before, cpu, started = rss_mib(), time.process_time(), time.perf_counter()
    more = {"failed": 0, "attempts": calls}
    if name.startswith("ours"):
        more = ours(url, calls, folder)
    else:
        asyncio.run((raw if name == "raw aiohttp" else plain)(url, calls))
    seconds = time.perf_counter() - started
    figures = {"client": name, "calls": calls, "s": seconds, "calls_s": calls / seconds}
    figures |= {"cpu_ms_call": 1000 * (time.process_time() - cpu) / calls, "rss_mib_before": before}
    print(
        json.dumps(
            {
                **figures,
                "rss_mib_peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                **more,
            }
        )
    )


def measure(cases: list[tuple[str, int]], rate: int = 0) -> list[dict]:
    """The cases one after another against one server; `rate`: calls it takes in a second, 0 for
    all.
    """
    this, rows = [sys.executable, str(Path(__file__).resolve())], []
    with (
        server("The answer names the right person.", rate) as url,
        tempfile.TemporaryDirectory() as folder,
    ):
        for name, calls in cases:
            done = subprocess.run(
                [*this, "--case", name, url, str(calls), folder], capture_output=True, text=True
            )
            rows.append(
                json.loads(done.stdout)
                if done.returncode == 0
                else {"client": name, "calls": done.stderr[-200:]}
            )
    return rows


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument(
        "--rate-calls", type=int, default=2000, help="0: leave the second table out"
    )
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=CLIENTS)
    parser.add_argument("--case", nargs=4)
    given = parser.parse_args()
    if given.case:
        name, url, calls, folder = given.case
        case(name, url, int(calls), folder)
    else:
        os.environ.setdefault("OPENAI_API_KEY", "none")
        rows = measure([(name, given.calls) for name in given.clients])
        for row in rows:
            row["of_first"] = row["calls_s"] / rows[0]["calls_s"]
        table(
            f"{LATENCY_S:g} s latency, {UNDER_WAY} under way (ideal {UNDER_WAY / LATENCY_S:.0f}/s)",
            rows,
        )
        rows = measure([("ours", given.rate_calls)], rate=50) if given.rate_calls else []
        for row in rows:
            row["of_limit"], row["refused"] = (
                row["calls_s"] / 50,
                1 - given.rate_calls / row["attempts"],
            )
        table("A server that takes 50 calls a second and refuses the rest", rows)


if __name__ == "__main__":
    main()
