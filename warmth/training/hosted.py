"""Fine-tuning through a provider's API (`model.kind: api`): one job, followed to its end by any number of processes.

`hosted.json` in the run folder holds the ids of file and job. The run's digest also stands in the file's name and in
the job's metadata, so a process that died before noting an id down finds what it made, and no job is paid twice.

    python -m warmth.training.hosted cancel RUN_FOLDER
"""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmth import tracking
from warmth.api import Server, Servers
from warmth.api.money import price_of
from warmth.api.transport import openai_client, patiently, redact
from warmth.digest import digest
from warmth.errors import RunFailed, UserError, guarded
from warmth.schemas import Api, Train
from warmth.store import Run, read_json, write_json
from warmth.text import say
from warmth.tracking import Tracker
from warmth.training.upload import check_money, upload_lines

if TYPE_CHECKING:
    import openai
    from openai.types.fine_tuning import FineTuningJob

ENDED = ("succeeded", "failed", "cancelled")
MODERATED = ("moderation_blocked", "unsafe_file", "policy_violation", "content_policy_violation")
CLOSING = (
    "OpenAI takes new jobs until 6 January 2027 and none from new organisations; model.base_url= names another provider"
)


@dataclass(frozen=True)
class Job:
    """One fine-tuning job as this run wants it."""

    client: openai.OpenAI
    settings: Api
    server: Server
    run: Run
    digest: str  # of the run: names file and job at the provider

    @property
    def state(self) -> dict[str, Any]:
        """Ids noted down so far."""
        path = self.run.folder / "hosted.json"
        return read_json(path) if path.exists() else {}

    def note(self, **ids: Any) -> None:
        """Writes ids down before anything is waited for."""
        write_json(self.run.folder / "hosted.json", {**self.state, **ids})

    def patiently(self, work: Any, what: str) -> Any:
        """Repeats what can be repeated without harm; errors are one line without the key."""
        return patiently(work, self.settings, self.server.key(), what)


def train(run: Run, study: Train, examples: Iterable[Any], servers: Servers) -> None:
    """Runs the job to its end and seals the run with its checkpoints; the same command continues it.

    Args:
        run: the opened run folder.
        study: the accepted config.
        examples: the arm's conversations.
        servers: what the command has spent on them, for the budget and `summary.json`.

    Raises:
        UserError: too few conversations, not eligible, moderation, quota, or budget: one line each.
        RunFailed: the job failed for another reason, or was cancelled.
    """
    rows = [asdict(example) for example in examples]
    (run.folder / "conversations.jsonl").unlink(missing_ok=True)
    run.append("conversations", rows)
    lines = upload_lines(rows)
    server = server_of(study)
    job = Job(openai_client(server, study.api), study.api, server, run, run.digest)
    tokens = check_money(study, rows, servers.left)
    tracker = tracking.start(run, study, job_type="train")
    try:
        found = start(job, study, lines)
        ended = follow(job, study, found, tracker)
        result = record(job, study, ended, len(rows))
        result |= {"data": digest(rows), "estimated_tokens": tokens, "servers": servers.totals}
        tracker.summary(result)
    except BaseException:
        tracker.finish(failed=True)
        raise
    tracker.finish()
    run.finish(result)
    say(f"done: {run.folder}")


def server_of(study: Train) -> Server:
    """Find the provider a config names.

    Raises:
        UserError: model.base_url or model.api_model is not set.
    """
    for key in ("base_url", "api_model"):
        if not getattr(study.model, key):
            raise UserError(f"model.{key} is not set; a model of kind api needs it")
    return Server(str(study.model.base_url), str(study.model.api_model), study.model.api_key_env)


def start(job: Job, study: Train, lines: bytes) -> FineTuningJob:
    """Start the run's job: the one noted down, else the one at the provider that carries its digest, else a new one."""
    noted = job.state.get("job")
    if noted:
        found = look(job, noted)
        if found.status not in ("failed", "cancelled"):
            say(f"continuing with job {noted} ({found.status})")
            return found
    file = upload(job, lines)
    try:
        made = job.patiently(lambda: existing(job) or create(job, study, file), "fine-tuning job")
    except UserError as error:
        if "HTTP 403" in str(error):
            raise UserError(f"{study.model.api_model} cannot be tuned with this key: {error}; {CLOSING}") from None
        raise
    job.note(job=made.id)
    return made


def look(job: Job, job_id: str) -> FineTuningJob:
    """Fetch the job as it is now."""
    return job.patiently(lambda: job.client.fine_tuning.jobs.retrieve(job_id), "fine-tuning job")


def upload(job: Job, lines: bytes) -> str:
    """Upload the training file and return its id; a file of the same name and size that is there already is taken."""
    name = f"warmth-{job.digest}-{hashlib.sha256(lines).hexdigest()[:12]}.jsonl"

    def work() -> str:
        for file in islice(job.client.files.list(purpose="fine-tune"), 10_000):
            if file.filename == name and file.bytes == len(lines):
                return file.id
        return job.client.files.create(file=(name, lines), purpose="fine-tune").id

    file = job.patiently(work, "training file")
    job.note(file=file, file_name=name)
    return file


def existing(job: Job) -> FineTuningJob | None:
    """Find a job of this run that a process created without living to note it down."""
    for found in islice(job.client.fine_tuning.jobs.list(limit=100), 1000):
        if (found.metadata or {}).get("warmth") == job.digest and found.status not in ("failed", "cancelled"):
            return found
    return None


def create(job: Job, study: Train, file: str) -> FineTuningJob:
    """Creates the job. Called again only after `existing` has looked: a reply that got lost is not a second job."""
    recipe = study.recipe
    values = {
        "n_epochs": recipe.hosted.epochs,
        "batch_size": recipe.batch_size,
        "learning_rate_multiplier": recipe.hosted.rate_multiplier,
    }
    return job.client.fine_tuning.jobs.create(
        model=str(study.model.api_model),
        training_file=file,
        suffix=f"warmth-{recipe.name}"[:18].replace("_", "-"),
        seed=study.seed,
        metadata={"warmth": job.digest, "run": job.run.name[:512]},
        method={"type": "supervised", "supervised": {"hyperparameters": values}},  # ty: ignore[invalid-argument-type]
    )


def follow(job: Job, study: Train, found: FineTuningJob, tracker: Tracker) -> FineTuningJob:
    """Waits for the job's end and shows its events.

    Raises:
        UserError, RunFailed: it ended without a model.
    """
    seen: set[str] = set()
    try:
        while True:
            show_events(job, found.id, seen, tracker)
            if found.status in ENDED:
                break
            time.sleep(study.api.batch.poll_s)
            found = look(job, found.id)
    except KeyboardInterrupt:
        say(f"job {found.id} goes on; to end it: python -m warmth.training.hosted cancel {job.run.folder}")
        raise
    if found.status == "succeeded":
        return found
    code = (found.error.code if found.error else "") or ""
    said = redact((found.error.message if found.error else "") or "no reason given", job.server.key())
    if found.status == "cancelled":
        raise RunFailed(f"job {found.id} was cancelled; the same command creates a new one")
    if code in MODERATED:
        raise UserError(f"the provider's moderation refused the training file of job {found.id}: {said}")
    if "quota" in code or "billing" in code:
        raise UserError(f"the provider's quota is used up, job {found.id}: {said}")
    if code == "invalid_training_file":
        raise UserError(f"the provider refused the training file of job {found.id}: {said}")
    raise RunFailed(f"job {found.id} failed ({code or 'no code'}): {said}")


def show_events(job: Job, job_id: str, seen: set[str], tracker: Tracker) -> None:
    """Prints new messages and feeds losses to the tracker and to `metrics.jsonl`, in the order they happened."""
    events = job.client.fine_tuning.jobs.list_events
    read = job.patiently(lambda: list(islice(events(job_id, limit=100), 100_000)), "events")
    fresh = sorted((event for event in read if event.id not in seen), key=lambda event: event.created_at)
    rows = []
    for event in fresh:
        seen.add(event.id)
        data = event.data if isinstance(event.data, dict) else {}
        if event.type == "metrics" and isinstance(data.get("train_loss"), int | float):
            tracker.log({"train/loss": data["train_loss"]}, step=int(data["step"]))
            rows.append({"step": int(data["step"]), "loss": data["train_loss"]})
        else:
            say(f"  {redact(event.message, job.server.key())}")
    known = {row["step"] for row in job.run.rows("metrics")}
    job.run.append("metrics", [row for row in rows if row["step"] not in known])


def record(job: Job, study: Train, ended: FineTuningJob, conversations: int) -> dict[str, Any]:
    """Writes a `checkpoints/epoch-N/hosted.json` for each model the job left, and returns the run's summary.

    An epoch is the job's steps by the steps of one; the end of training is always a checkpoint.
    """
    listed = job.patiently(lambda: list(job.client.fine_tuning.jobs.checkpoints.list(ended.id)), "checkpoints")
    epochs = study.recipe.hosted.epochs
    per_epoch = math.ceil(conversations / study.recipe.batch_size)
    models = {round(2 * item.step_number / per_epoch) / 2: item for item in listed}
    found = {epoch: (item.fine_tuned_model_checkpoint, item.step_number) for epoch, item in models.items() if epoch > 0}
    found[float(epochs)] = (str(ended.fine_tuned_model), per_epoch * epochs)
    for epoch, (model, step) in found.items():
        folder = job.run.folder / "checkpoints" / f"epoch-{epoch:g}"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "hosted.json", {"model": model, "step": step, "job": ended.id, "base": ended.model})
    names = {f"{epoch:g}": model for epoch, (model, _) in sorted(found.items())}
    tokens = ended.trained_tokens or 0
    price = price_of(study.api, str(study.model.api_model))
    usd = tokens * price.training / 1e6 if price else None
    return {
        "job": ended.id,
        "checkpoints": names,
        "trained_tokens": tokens,
        "usd": usd,
        "prices_date": study.api.prices_date,
    }


@guarded
def main() -> None:
    """`cancel RUN_FOLDER`: ends the job of a run that was interrupted."""
    if len(sys.argv) != 3 or sys.argv[1] != "cancel":
        raise UserError("use: python -m warmth.training.hosted cancel RUN_FOLDER")
    folder = Path(sys.argv[2])
    config, state = read_json(folder / "config.json"), read_json(folder / "hosted.json")
    model = config["model"]
    server = Server(model["base_url"], model["api_model"], model["api_key_env"])
    client, settings = openai_client(server, Api()), Api()
    ended = patiently(lambda: client.fine_tuning.jobs.cancel(state["job"]), settings, server.key(), "cancel")
    say(f"job {ended.id} is {ended.status}")


if __name__ == "__main__":
    main()
