"""A model server on the loopback that follows the published schemas and misbehaves on request.

Chat completions, files, batches and fine-tuning jobs of the OpenAI API, enough of each to test a client against a real
connection: latency, rate limits with headers, errors, dropped sockets, malformed JSON, schemas ignored, refusals.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from aiohttp import web

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


class ModelServer:
    """One server, in a thread of its own. Use as a context manager; `url` is its base URL.

    Args:
        latency: seconds each completion takes.
        script: the fault of the n-th attempt (from 0) at a call, known by the text of its last message as sent.
        answer: a completion's text, from the request body.
        rate: completions a second in any window of one second; beyond it comes 429.
        headers: whether rate limits are told in `x-ratelimit-*` and `retry-after`.
        schemas: "kept", "ignored" (replies in prose until the schema stands in the message) or "refused" (HTTP 400).
        batch_script: fault of the n-th time a batch line is handed in: "expire", "error", "twice" or None.
        job_script: "succeeded", or the error code the job fails with.
    """

    def __init__(
        self,
        latency: float = 0.0,
        script: Callable[[str, int], Fault] = lambda text, n: None,
        answer: Callable[[dict[str, Any]], str] = lambda body: f"reply to {body['messages'][-1]['content'][:40]}",
        rate: int | None = None,
        headers: bool = False,
        schemas: str = "kept",
        batch_script: Callable[[str, int], Fault] = lambda text, n: None,
        job_script: str = "succeeded",
        polls: int = 2,
    ):
        self.latency, self.script, self.answer, self.rate, self.headers = latency, script, answer, rate, headers
        self.schemas, self.batch_script, self.job_script, self.polls = schemas, batch_script, job_script, polls
        self.received: Counter[str] = Counter()  # attempts at each call
        self.answered: Counter[str] = Counter()  # good replies handed out, each of them paid for
        self.batched: Counter[str] = Counter()
        self.bodies: deque[dict[str, Any]] = deque(maxlen=2000)
        self.seen_headers: deque[dict[str, str]] = deque(maxlen=200)
        self.refused = self.live = self.peak = 0
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self._ids, self._granted = itertools.count(1), deque()
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
        app = web.Application(client_max_size=2**28)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/files", self._upload),
                web.get("/v1/files", self._list_files),
                web.get("/v1/files/{id}", self._file),
                web.get("/v1/files/{id}/content", self._content),
                web.post("/v1/batches", self._create_batch),
                web.get("/v1/batches", self._list_batches),
                web.get("/v1/batches/{id}", self._batch),
                web.post("/v1/fine_tuning/jobs", self._create_job),
                web.get("/v1/fine_tuning/jobs", self._list_jobs),
                web.get("/v1/fine_tuning/jobs/{id}", self._job),
                web.post("/v1/fine_tuning/jobs/{id}/cancel", self._cancel_job),
                web.get("/v1/fine_tuning/jobs/{id}/events", self._events),
                web.get("/v1/fine_tuning/jobs/{id}/checkpoints", self._checkpoints),
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

    async def _reply(self, request: web.Request, body: dict[str, Any], text: str, fault: Fault) -> web.StreamResponse:
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
            return web.Response(text='{"id": "chatcmpl-1", "choices": [{"mess', content_type="application/json")
        if fault == "not_a_completion":
            return web.json_response({"object": "chat.completion"})
        if self.schemas == "refused" and body.get("response_format", {}).get("type") == "json_schema":
            error = {"message": "response_format of type json_schema is not supported", "type": "invalid_request_error"}
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
        structured = body.get("response_format", {}).get("type") == "json_schema" and self.schemas == "kept"
        text = self.answer(body)
        if fault == "bad_json" or (body.get("response_format") and not structured and not told):
            text = f"Sure! I would say {text}"
        finish = {"cut": "length", "filtered": "content_filter"}.get(str(fault), "stop")
        message = {"role": "assistant", "content": "" if fault == "empty" else text, "refusal": None}
        if fault == "refusal":
            message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
        return {
            "id": f"chatcmpl-{next(self._ids)}", "object": "chat.completion", "created": int(time.time()),
            "model": body["model"], "system_fingerprint": "fake",
            "choices": [{"index": 0, "finish_reason": finish, "logprobs": None, "message": message}],
            "usage": {**usage, "total_tokens": sum(usage.values()), "prompt_tokens_details": {"cached_tokens": 0}},
        }  # fmt: skip

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
        headers = {"retry-after-ms": "100", **self._limits()} if fault == "429" and self.headers else {}
        return web.json_response({"error": error}, status=status, headers=headers)

    # Files

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        field = form["file"]
        assert isinstance(field, web.FileField)
        data = field.file.read()
        name = f"file-{next(self._ids)}"
        self.contents[name] = data
        self.files[name] = {
            "id": name, "object": "file", "bytes": len(data), "created_at": int(time.time()),
            "filename": field.filename, "purpose": form["purpose"], "status": "processed",
        }  # fmt: skip
        return web.json_response(self.files[name])

    async def _list_files(self, request: web.Request) -> web.Response:
        found = [
            item for item in self.files.values() if item["purpose"] == request.query.get("purpose", item["purpose"])
        ]
        return web.json_response({"object": "list", "data": found[::-1], "has_more": False})

    async def _file(self, request: web.Request) -> web.Response:
        found = self.files.get(request.match_info["id"])
        return web.json_response(found) if found else self._error("404")

    async def _content(self, request: web.Request) -> web.Response:
        return web.Response(body=self.contents[request.match_info["id"]])

    # Batches

    async def _create_batch(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = f"batch_{next(self._ids)}"
        self.batches[name] = {
            "id": name, "object": "batch", "endpoint": body["endpoint"], "input_file_id": body["input_file_id"],
            "completion_window": body["completion_window"], "status": "validating", "created_at": int(time.time()),
            "metadata": body.get("metadata"), "output_file_id": None, "error_file_id": None, "errors": None, "looks": 0,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
        }  # fmt: skip
        return web.json_response(self.batches[name])

    async def _list_batches(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": list(self.batches.values())[::-1], "has_more": False})

    async def _batch(self, request: web.Request) -> web.Response:
        batch = self.batches[request.match_info["id"]]
        batch["looks"] += 1
        if batch["status"] == "validating":
            batch["status"] = "in_progress"
        elif batch["status"] == "in_progress" and batch["looks"] >= self.polls:
            self._finish(batch)
        return web.json_response(batch)

    def _finish(self, batch: dict[str, Any]) -> None:
        good, bad = [], []
        expired = False
        for line in self.contents[batch["input_file_id"]].decode().splitlines():
            row = json.loads(line)
            text = row["body"]["messages"][-1]["content"]
            fault = self.batch_script(text, self.batched[text])
            self.batched[text] += 1
            shell = {"id": f"batch_req_{next(self._ids)}", "custom_id": row["custom_id"], "error": None}
            if fault == "expire":
                expired = True
                bad.append({**shell, "response": None, "error": {"code": "batch_expired", "message": "expired"}})
            elif fault == "error":
                error = {"error": {"message": "internal", "type": "server_error"}}
                bad.append({**shell, "response": {"status_code": 500, "request_id": "r", "body": error}})
            else:
                self.answered[text] += 1
                body = self.completion(row["body"], fault if fault != "twice" else None)
                done = {**shell, "response": {"status_code": 200, "request_id": "r", "body": body}}
                good += [done, done] if fault == "twice" else [done]
        for key, rows in (("output_file_id", good[::-1]), ("error_file_id", bad)):
            if rows:
                batch[key] = f"file-{next(self._ids)}"
                self.contents[batch[key]] = "".join(json.dumps(row) + "\n" for row in rows).encode()
        batch["request_counts"] = {"total": len(good) + len(bad), "completed": len(good), "failed": len(bad)}
        batch["status"] = "expired" if expired else "completed"

    # Fine-tuning jobs

    async def _create_job(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.job_script == "not_eligible":
            error = {"message": "Your organization may not create fine-tuning jobs", "type": "invalid_request_error"}
            return web.json_response({"error": error}, status=403)
        if self.job_script == "quota":
            return self._error("quota")
        name = f"ftjob-{next(self._ids)}"
        self.jobs[name] = {
            "id": name, "object": "fine_tuning.job", "model": body["model"], "created_at": int(time.time()),
            "finished_at": None, "fine_tuned_model": None, "organization_id": "org-x", "result_files": [],
            "seed": body["seed"], "status": "validating_files", "trained_tokens": None, "validation_file": None,
            "training_file": body["training_file"], "error": None, "metadata": body.get("metadata"),
            "method": body["method"], "hyperparameters": body["method"]["supervised"]["hyperparameters"],
            "suffix": body.get("suffix"), "looks": 0,
        }  # fmt: skip
        return web.json_response(self.jobs[name])

    async def _list_jobs(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": list(self.jobs.values())[::-1], "has_more": False})

    async def _job(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["id"]]
        job["looks"] += 1
        if job["looks"] >= self.polls and job["status"] in ("validating_files", "running"):
            if self.job_script == "succeeded":
                job["status"], job["fine_tuned_model"] = (
                    "succeeded",
                    f"ft:{job['model']}:org:{job['suffix']}:{job['id'][6:]}",
                )
                job["trained_tokens"] = 1000
            else:
                message = f"The job failed ({self.job_script})"
                job["status"], job["error"] = (
                    "failed",
                    {"code": self.job_script, "message": message, "param": "training_file"},
                )
        elif job["status"] == "validating_files":
            job["status"] = "running"
        return web.json_response(job)

    async def _cancel_job(self, request: web.Request) -> web.Response:
        self.jobs[request.match_info["id"]]["status"] = "cancelled"
        return web.json_response(self.jobs[request.match_info["id"]])

    def _steps(self, job: dict[str, Any]) -> int:
        lines = self.contents[job["training_file"]].count(b"\n")
        return -(-lines // job["hyperparameters"]["batch_size"])

    async def _events(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["id"]]
        rows = [{"object": "fine_tuning.job.event", "id": f"ftevent-{job['id']}-0", "created_at": 1, "level": "info",
                 "message": "Created fine-tuning job", "type": "message", "data": {}}]  # fmt: skip
        for step in range(1, self._steps(job) * job["hyperparameters"]["n_epochs"] + 1):
            data = {"step": step, "train_loss": 2.0 / step, "train_mean_token_accuracy": 0.5}
            rows.append({"object": "fine_tuning.job.event", "id": f"ftevent-{job['id']}-{step}", "created_at": 1 + step,
                         "level": "info", "message": f"Step {step}", "type": "metrics", "data": data})  # fmt: skip
        return web.json_response({"object": "list", "data": rows[::-1], "has_more": False})

    async def _checkpoints(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["id"]]
        per_epoch, epochs = self._steps(job), job["hyperparameters"]["n_epochs"]
        rows = []
        for epoch in range(max(1, epochs - 2), epochs + 1):
            last = epoch == epochs
            name = job["fine_tuned_model"] if last else f"{job['fine_tuned_model']}:ckpt-step-{per_epoch * epoch}"
            rows.append({"object": "fine_tuning.job.checkpoint", "id": f"ftckpt-{epoch}", "created_at": epoch,
                         "fine_tuned_model_checkpoint": name, "fine_tuning_job_id": job["id"],
                         "step_number": per_epoch * epoch, "metrics": {"train_loss": 1.0 / epoch}})  # fmt: skip
        return web.json_response({"object": "list", "data": rows[::-1], "has_more": False})
