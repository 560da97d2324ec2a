"""Together's fine-tuning API on loopback, built from its public reference
(docs.together.ai/reference, autumn 2026).
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

from aiohttp import web

REQUIRED = ("model", "training_file")


class TogetherServer:
    """One server in a thread of its own; `url` is its base URL, `script` what becomes of jobs."""

    def __init__(self, script: str = "completed", polls: int = 2):
        self.script, self.polls = script, polls
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.keys: set[str] = set()
        self._ids = itertools.count(1)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()

    def __enter__(self) -> TogetherServer:
        threading.Thread(target=self._serve, daemon=True).start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._started.set()
        self._loop.run_forever()

    async def _start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.add_routes(
            [
                web.post("/v1/files/upload", self._upload),
                web.get("/v1/files", self._list_files),
                web.post("/v1/fine-tunes", self._create),
                web.get("/v1/fine-tunes", self._list),
                web.get("/v1/fine-tunes/{id}", self._look),
                web.get("/v1/fine-tunes/{id}/events", self._events),
                web.post("/v1/fine-tunes/{id}/cancel", self._cancel),
            ]
        )
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"

    async def _upload(self, request: web.Request) -> web.Response:
        self.keys.add(request.headers.get("Authorization", ""))
        form = await request.post()
        if form.get("purpose") != "fine-tune" or not form.get("file_name"):
            return web.json_response(
                {"error": {"message": "purpose and file_name are required"}}, status=400
            )
        content = form["file"].file.read()
        name = f"file-{next(self._ids)}"
        self.files[name] = {
            "id": name, "object": "file", "created_at": 1715021438, "filename": form["file_name"],
            "bytes": len(content),
            "purpose": "fine-tune", "Processed": True, "FileType": form.get("file_type", "jsonl"),
            "LineCount": content.count(b"\n"),
        }  # fmt: skip
        self.contents[name] = content
        return web.json_response(self.files[name])

    async def _list_files(self, request: web.Request) -> web.Response:
        return web.json_response({"data": list(self.files.values())})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        if any(not body.get(name) for name in REQUIRED) or body["training_file"] not in self.files:
            return web.json_response(
                {"error": {"message": "training_file is not known"}}, status=400
            )
        name = f"ft-{next(self._ids):08d}"
        created = {
            "created_at": f"2026-11-30T10:00:{len(self.jobs):02d}Z",
            "status": "pending",
            "events": [],
        }
        output = f"me/{body['model'].split('/')[-1]}-{body['suffix']}-{name[3:]}"
        self.jobs[name] = {
            **body,
            "id": name,
            **created,
            "model_output_name": output,
            "token_count": 0,
            "looks": 0,
        }
        return web.json_response(self.jobs[name])

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"data": list(self.jobs.values())})

    async def _look(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["id"]]
        job["looks"] += 1
        if job["status"] in ("pending", "running"):
            is_over = job["looks"] >= self.polls
            job["status"] = self.script if is_over else "running"
            if is_over and self.script == "completed":
                job["token_count"] = 850_000
            if is_over and self.script == "error":
                job["events"] = [
                    {
                        "type": "job_error",
                        "message": "Out of memory",
                        "created_at": "2026-11-30T10:10:00Z",
                    }
                ]
        return web.json_response(job)

    async def _events(self, request: web.Request) -> web.Response:
        row = {
            "object": "fine-tune-event",
            "created_at": "2026-11-30T10:00:01Z",
            "message": "Fine tune request created",
        }
        return web.json_response({"data": [{**row, "type": "job_pending", "level": None}]})

    async def _cancel(self, request: web.Request) -> web.Response:
        self.jobs[request.match_info["id"]]["status"] = "cancelled"
        return web.json_response(self.jobs[request.match_info["id"]])
