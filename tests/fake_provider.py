"""The part of the loopback server that keeps files, runs batches and fine-tunes, by the published
schemas.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from aiohttp import web

ERRORS = {  # of a batch's line: HTTP status and code
    "400": (400, "invalid_request"),
    "401": (401, "invalid_api_key"),
    "quota": (429, "insufficient_quota"),
    "filtered_prompt": (400, "content_filter"),
    "too_long": (400, "context_length_exceeded"),
}


class Provider:
    """Files, batches and fine-tuning jobs of one server, in memory; `fakes.ModelServer` says what
    they mean.
    """

    answered: Counter[str]
    completion: Callable[..., dict[str, Any]]
    _error: Callable[[str], web.Response]

    def __init__(self, batch_script: Callable[[str, int], str | None], job_script: str, polls: int):
        self.batch_script, self.job_script, self.polls = batch_script, job_script, polls
        self.batched: Counter[str] = Counter()  # times each line was handed in
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.batch_ends = "completed"  # or "cancelled"
        self._ids = itertools.count(1)

    def routes(self) -> list[web.RouteDef]:
        """Everything but chat completions."""
        return [
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
            item
            for item in self.files.values()
            if item["purpose"] == request.query.get("purpose", item["purpose"])
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
            "id": name,
            "object": "batch",
            "endpoint": body["endpoint"],
            "input_file_id": body["input_file_id"],
            "completion_window": body["completion_window"],
            "status": "validating",
            "created_at": int(time.time()),
            "metadata": body.get("metadata"),
            "output_file_id": None,
            "error_file_id": None,
            "errors": None,
            "looks": 0,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
        }
        return web.json_response(self.batches[name])

    async def _list_batches(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": list(self.batches.values())[::-1], "has_more": False}
        )

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
            shell = {
                "id": f"batch_req_{next(self._ids)}",
                "custom_id": row["custom_id"],
                "error": None,
            }
            if fault == "expire":
                expired = True
                bad.append(
                    {
                        **shell,
                        "response": None,
                        "error": {"code": "batch_expired", "message": "expired"},
                    }
                )
            elif fault == "lost":
                continue
            elif fault == "garbled":
                bad.append("not a row")
            elif fault == "error" or str(fault) in ERRORS:
                status, code = ERRORS.get(str(fault), (500, "server_error"))
                error = {
                    "error": {
                        "message": f"the line failed: {code}",
                        "type": "some_error",
                        "code": code,
                    }
                }
                bad.append(
                    {**shell, "response": {"status_code": status, "request_id": "r", "body": error}}
                )
            else:
                self.answered[text] += 1
                body = self.completion(row["body"], fault if fault != "twice" else None)
                done = {**shell, "response": {"status_code": 200, "request_id": "r", "body": body}}
                good += [done, done] if fault == "twice" else [done]
        for key, rows in (("output_file_id", good[::-1]), ("error_file_id", bad)):
            if rows:
                batch[key] = f"file-{next(self._ids)}"
                lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
                self.contents[batch[key]] = "".join(f"{line}\n" for line in lines).encode()
        batch["request_counts"] = {
            "total": len(good) + len(bad),
            "completed": len(good),
            "failed": len(bad),
        }
        batch["status"] = "expired" if expired else self.batch_ends

    # Fine-tuning jobs

    async def _create_job(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.job_script == "not_eligible":
            error = {
                "message": "Your organization may not create fine-tuning jobs",
                "type": "invalid_request_error",
            }
            return web.json_response({"error": error}, status=403)
        if self.job_script == "quota":
            return self._error("quota")
        name = f"ftjob-{next(self._ids)}"
        self.jobs[name] = {
            "id": name,
            "object": "fine_tuning.job",
            "model": body["model"],
            "created_at": int(time.time()),
            "finished_at": None,
            "fine_tuned_model": None,
            "organization_id": "org-x",
            "result_files": [],
            "seed": body["seed"],
            "status": "validating_files",
            "trained_tokens": None,
            "validation_file": None,
            "training_file": body["training_file"],
            "error": None,
            "metadata": body.get("metadata"),
            "method": body["method"],
            "hyperparameters": body["method"]["supervised"]["hyperparameters"],
            "suffix": body.get("suffix"),
            "looks": 0,
        }
        return web.json_response(self.jobs[name])

    async def _list_jobs(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": list(self.jobs.values())[::-1], "has_more": False}
        )

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
        rows = [
            {
                "object": "fine_tuning.job.event",
                "id": f"ftevent-{job['id']}-0",
                "created_at": 1,
                "level": "info",
                "message": "Created fine-tuning job",
                "type": "message",
                "data": {},
            }
        ]
        for step in range(1, self._steps(job) * job["hyperparameters"]["n_epochs"] + 1):
            data = {"step": step, "train_loss": 2.0 / step, "train_mean_token_accuracy": 0.5}
            rows.append(
                {
                    "object": "fine_tuning.job.event",
                    "id": f"ftevent-{job['id']}-{step}",
                    "created_at": 1 + step,
                    # fmt: skip
                    "level": "info",
                    "message": f"Step {step}",
                    "type": "metrics",
                    "data": data,
                }
            )
        return web.json_response({"object": "list", "data": rows[::-1], "has_more": False})

    async def _checkpoints(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["id"]]
        per_epoch, epochs = self._steps(job), job["hyperparameters"]["n_epochs"]
        rows = []
        for epoch in range(max(1, epochs - 2), epochs + 1):
            last = epoch == epochs
            name = (
                job["fine_tuned_model"]
                if last
                else f"{job['fine_tuned_model']}:ckpt-step-{per_epoch * epoch}"
            )
            rows.append(
                {
                    "object": "fine_tuning.job.checkpoint",
                    "id": f"ftckpt-{epoch}",
                    "created_at": epoch,
                    "fine_tuned_model_checkpoint": name,
                    "fine_tuning_job_id": job["id"],
                    # fmt: skip
                    "step_number": per_epoch * epoch,
                    "metrics": {"train_loss": 1.0 / epoch},
                }
            )
        return web.json_response({"object": "list", "data": rows[::-1], "has_more": False})
