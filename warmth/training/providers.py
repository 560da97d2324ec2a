"""Forms in which providers tune models: OpenAI's and Together's.

Gateways and Azure speak OpenAI's form too; Together's is for open models. Both are spoken through
the `openai` client, which holds the key, the retries and the proxies; what a provider says of
files, jobs and events becomes the same few facts here. Together's form is that of its public
reference (docs.together.ai, autumn 2026: files/upload, fine-tunes); there the recipe's own LoRA
values count, and the last model alone is served.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from warmth.schemas import Train

if TYPE_CHECKING:
    import openai

MOST = 10_000  # files, jobs or events of an account that are looked through
SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "linear"}  # ours → Together's
STATES = {  # Together's → ours; any other goes on
    "pending": "queued",
    "queued": "queued",
    "cancelled": "cancelled",
    "completed": "succeeded",
    "error": "failed",
    "user_error": "failed",
    "paused": "paused",
}


@dataclass(frozen=True)
class Tuning:
    """One job at a provider."""

    id: str
    # queued, running, paused, succeeded, failed or cancelled, or what else the provider calls it
    status: str
    base: str  # the model that is tuned
    model: str | None  # what came of it
    run: str  # digest of the run that it was made for; "" if that is not ours
    code: str = ""  # of its failure
    message: str = ""
    tokens: int = 0  # trained on


@dataclass(frozen=True)
class Event:
    """Something that happened in a job."""

    id: str
    at: Any  # orders events; a number or an ISO date
    message: str
    step: int | None = None  # of a loss
    loss: float | None = None


@dataclass(frozen=True)
class TunedModel:
    """A model that a job left on its way."""

    model: str
    step: int


class Provider(Protocol):
    """What a provider's form offers; each method may be repeated if the connection breaks."""

    def files(self) -> Iterator[tuple[str, str, int]]:
        """Yield id, name and bytes of the training files there are."""
        ...

    def upload(self, name: str, lines: bytes) -> str:
        """Upload a training file and return its id."""
        ...

    def jobs(self) -> Iterator[Tuning]:
        """Yield the account's jobs, the newest first."""
        ...

    def create(self, study: Train, file: str, run: str, name: str) -> Tuning:
        """Create a job for a run, named by its digest and folder."""
        ...

    def look(self, job: str) -> Tuning:
        """Return a job as it is now."""
        ...

    def events(self, job: str) -> list[Event]:
        """Return what happened in a job so far, in any order."""
        ...

    def checkpoints(self, job: str) -> list[TunedModel]:
        """Return the models that a job left on its way and that can be asked."""
        ...

    def cancel(self, job: str) -> Tuning:
        """End a job."""
        ...


class OpenAIForm:
    """`fine_tuning.jobs` of OpenAI, Azure and gateways.

    The run's digest stands in the job's metadata.
    """

    def __init__(self, client: openai.OpenAI):
        self._client = client

    def files(self) -> Iterator[tuple[str, str, int]]:
        """Yield id, name and bytes of the training files there are."""
        for file in islice(self._client.files.list(purpose="fine-tune"), MOST):
            yield file.id, file.filename, file.bytes

    def upload(self, name: str, lines: bytes) -> str:
        """Upload a training file and return its id."""
        return self._client.files.create(file=(name, lines), purpose="fine-tune").id

    def jobs(self) -> Iterator[Tuning]:
        """Yield the account's jobs, the newest first."""
        yield from map(self._tuning, islice(self._client.fine_tuning.jobs.list(limit=100), 1000))

    def create(self, study: Train, file: str, run: str, name: str) -> Tuning:
        """Create a job for a run, named by its digest and folder."""
        recipe = study.recipe
        values = {
            "n_epochs": recipe.hosted.epochs,
            "batch_size": recipe.batch_size,
            "learning_rate_multiplier": recipe.hosted.rate_multiplier,
        }
        created = self._client.fine_tuning.jobs.create(
            model=str(study.model.api_model),
            training_file=file,
            suffix=f"warmth-{recipe.name}"[:18].replace("_", "-"),
            seed=study.seed,
            metadata={"warmth": run, "run": name[:512]},
            method={"type": "supervised", "supervised": {"hyperparameters": values}},  # ty: ignore
        )
        return self._tuning(created)

    def look(self, job: str) -> Tuning:
        """Return a job as it is now."""
        return self._tuning(self._client.fine_tuning.jobs.retrieve(job))

    def events(self, job: str) -> list[Event]:
        """Return what happened in a job so far, in any order."""
        listed = islice(self._client.fine_tuning.jobs.list_events(job, limit=100), 100_000)
        return list(map(self._event, listed))

    @staticmethod
    def _event(raw: Any) -> Event:
        data = raw.data if isinstance(raw.data, dict) else {}
        loss = data.get("train_loss")
        if raw.type != "metrics" or not isinstance(loss, int | float):
            return Event(raw.id, raw.created_at, raw.message)
        return Event(raw.id, raw.created_at, raw.message, int(data["step"]), loss)

    def checkpoints(self, job: str) -> list[TunedModel]:
        """Return the models that a job left on its way and that can be asked."""
        models = []
        for checkpoint in self._client.fine_tuning.jobs.checkpoints.list(job):
            model = checkpoint.fine_tuned_model_checkpoint
            models.append(TunedModel(model, checkpoint.step_number))
        return models

    def cancel(self, job: str) -> Tuning:
        """End a job."""
        return self._tuning(self._client.fine_tuning.jobs.cancel(job))

    @staticmethod
    def _tuning(raw: Any) -> Tuning:
        error = raw.error
        return Tuning(
            id=raw.id,
            status=raw.status,
            base=raw.model,
            model=raw.fine_tuned_model,
            run=(raw.metadata or {}).get("warmth", ""),
            code=(error.code if error else "") or "",
            message=(error.message if error else "") or "",
            tokens=raw.trained_tokens or 0,
        )


class TogetherForm:
    """`fine-tunes` of Together. The run's digest ends the name of the model that comes of a job."""

    def __init__(self, client: openai.OpenAI):
        self._client = client

    def files(self) -> Iterator[tuple[str, str, int]]:
        """Yield id, name and bytes of the training files there are."""
        for file in islice(self._get("/files").get("data") or [], MOST):
            yield str(file["id"]), str(file.get("filename", "")), int(file.get("bytes") or 0)

    def upload(self, name: str, lines: bytes) -> str:
        """Upload a training file and return its id."""
        answer: Any = self._client.post(
            "/files/upload",
            cast_to=object,
            body={"purpose": "fine-tune", "file_name": name, "file_type": "jsonl"},
            files=[("file", (name, lines))],
            options={"headers": {"Content-Type": "multipart/form-data"}},
        )
        return str(answer["id"])

    def jobs(self) -> Iterator[Tuning]:
        """Yield the account's jobs, the newest first."""
        listed = self._get("/fine-tunes").get("data") or []
        newest_first = sorted(listed, key=lambda raw: str(raw.get("created_at")), reverse=True)
        yield from map(self._tuning, islice(newest_first, MOST))

    def create(self, study: Train, file: str, run: str, name: str) -> Tuning:
        """Create a job for a run, named by its digest and folder."""
        recipe = study.recipe
        lowest_rate = 1.0 if recipe.schedule == "constant" else 0.0  # 1: a line that does not fall
        body = {
            "model": study.model.api_model,
            "training_file": file,
            "n_epochs": recipe.hosted.epochs,
            "n_checkpoints": 1,
            "batch_size": recipe.batch_size,
            "learning_rate": recipe.learning_rate,
            "lr_scheduler": {
                "lr_scheduler_type": SCHEDULES[recipe.schedule],
                "lr_scheduler_args": {"min_lr_ratio": lowest_rate},
            },
            "warmup_ratio": recipe.warmup_ratio,
            "max_grad_norm": recipe.max_grad_norm,
            "weight_decay": recipe.weight_decay,
            "suffix": f"warmth-{run}",
            "training_method": {"method": "sft", "train_on_inputs": recipe.loss_on == "all"},
            "training_type": {
                "type": "Lora",
                "lora_r": recipe.rank,
                "lora_alpha": recipe.alpha,
                "lora_dropout": recipe.dropout,
                "lora_trainable_modules": "all-linear",
            },
        }
        return self._tuning(self._client.post("/fine-tunes", cast_to=object, body=body))

    def look(self, job: str) -> Tuning:
        """Return a job as it is now."""
        return self._tuning(self._get(f"/fine-tunes/{job}"))

    def events(self, job: str) -> list[Event]:
        """Return what happened in a job so far, in any order; its form tells no losses."""
        events = []
        for index, event in enumerate(self._get(f"/fine-tunes/{job}/events").get("data") or []):
            created_at = str(event.get("created_at"))
            name = str(event.get("hash") or f"{created_at} {event.get('type')} {index}")
            events.append(Event(name, created_at, str(event.get("message", ""))))
        return events

    def checkpoints(self, job: str) -> list[TunedModel]:
        """Return nothing: checkpoints can be fetched, but only the last model is served."""
        return []

    def cancel(self, job: str) -> Tuning:
        """End a job."""
        return self._tuning(self._client.post(f"/fine-tunes/{job}/cancel", cast_to=object))

    def _get(self, path: str) -> Mapping[str, Any]:
        raw: Any = self._client.get(path, cast_to=object)
        return raw if isinstance(raw, Mapping) else {"data": raw}

    @staticmethod
    def _tuning(raw: Any) -> Tuning:
        name = str(raw.get("model_output_name") or raw.get("output_name") or "")
        suffix = str(raw.get("suffix") or name)
        run = ""
        if "warmth-" in suffix:
            run = suffix.rpartition("warmth-")[2].partition("-")[0]
        status = str(raw.get("status", ""))
        error = ""
        for event in raw.get("events") or []:
            if "error" in str(event.get("type")).lower():
                error = str(event.get("message", ""))
        return Tuning(
            id=str(raw["id"]),
            status=STATES.get(status, status),
            base=str(raw.get("model", "")),
            model=name or None,
            run=run,
            code=status if status in ("error", "user_error") else "",
            message=error,
            tokens=int(raw.get("token_count") or 0),
        )


FORMS: dict[str, type[OpenAIForm] | type[TogetherForm]] = {
    "openai": OpenAIForm,
    "together": TogetherForm,
}
