"""Fine-tuning through a provider's API (`model.kind: api`): one job, followed to its end.

Any number of processes may follow it, one after the other.

`hosted.json` in the run folder holds the ids of file and job. The run's digest also stands in the
file's name and in the job's metadata, so a process that died before noting an id down finds what it
made, and no job is paid twice.

    python -m warmth.training.hosted cancel RUN_FOLDER
"""

from __future__ import annotations

import hashlib
import math
import re
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
from warmth.training.providers import FORMS, Provider, TunedModel, Tuning
from warmth.training.upload import check_money, upload_lines

ENDED = ("succeeded", "failed", "cancelled")
UNUSABLE = ("failed", "cancelled")  # jobs that a new one replaces
MODERATED = ("moderation_blocked", "unsafe_file", "policy_violation", "content_policy_violation")
CLOSING = (
    "OpenAI takes new jobs until 6 January 2027 and none from new organisations; model.base_url= "
    "names another provider, model=llama8b_together one of open models"
)
IDLE = "OpenAI takes no new job from an organisation that used no tuned model in the last 60 days"
REFUSED = re.compile(r"HTTP (?:400|403|404)\b")
# what such an error speaks of; 403 needs no words
CLOSED = re.compile(r"fine[- ]?tun|training", re.IGNORECASE)
# What a 400 says where tuning is closed, rather than a value wrong.
OVER = re.compile(
    r"\b(?:not available|no longer|closed|disabled|not (?:allowed|eligible|permitted)|deprecat)"
)
SIXTY_DAYS = re.compile(r"\b60[ -]days?\b", re.IGNORECASE)


@dataclass(frozen=True)
class HostedJob:
    """One fine-tuning job as this run wants it."""

    provider: Provider
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
        """Write ids down before anything is waited for."""
        write_json(self.run.folder / "hosted.json", {**self.state, **ids})

    def patiently(self, work: Any, what: str) -> Any:
        """Repeat what can be repeated without harm; errors are one line without the key."""
        return patiently(work, self.settings, self.server.key(), what)


def train_hosted(run: Run, study: Train, examples: Iterable[Any], servers: Servers) -> None:
    """Run the job to its end and seal the run with its checkpoints.

    The same command continues it.

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
    trained = [row for row in rows if not row["validation"]]
    lines = upload_lines(trained)
    server = tuning_server(study)
    job = HostedJob(
        provider=provider_of(study.model.tuning, server, study.api),
        settings=study.api,
        server=server,
        run=run,
        digest=run.digest,
    )
    tokens = check_money(study, trained, servers.left)
    tracker = tracking.start_trackers(run, study, job_type="train")
    try:
        tuning = start_tuning(job, study, lines)
        tuning = follow_job(job, study, tuning, tracker)
        result = record(job, study, tuning, len(trained))
        result |= {"data": digest(rows), "estimated_tokens": tokens, "servers": servers.totals}
        tracker.summary(result)
    except BaseException:
        tracker.finish(failed=True)
        raise
    tracker.finish()
    run.finish(result)
    say(f"done: {run.folder}")


def tuning_server(study: Train) -> Server:
    """Find the provider a config names.

    Raises:
        UserError: model.base_url or model.api_model is not set.
    """
    for key in ("base_url", "api_model"):
        if not getattr(study.model, key):
            raise UserError(f"model.{key} is not set; a model of kind api needs it")
    return Server(str(study.model.base_url), str(study.model.api_model), study.model.api_key_env)


def provider_of(form: str, server: Server, settings: Api) -> Provider:
    """Return the form in which a provider is asked, with a client that holds the key."""
    return FORMS[form](openai_client(server, settings))


def start_tuning(job: HostedJob, study: Train, lines: bytes) -> Tuning:
    """Find the run's job, or start it.

    Looked for are the job noted down, then one at the provider that carries the run's digest.
    """
    noted = job.state.get("job")
    if noted:
        tuning = current(job, noted)
        if tuning.status not in UNUSABLE:
            say(f"continuing with job {noted} ({tuning.status})")
            return tuning
    file = upload(job, lines)
    try:
        tuning = job.patiently(lambda: existing(job) or create(job, study, file), "fine-tuning job")
    except UserError as error:
        raise not_tunable(str(study.model.api_model), str(error)) or error from None
    job.note(job=tuning.id)
    return tuning


def not_tunable(model: str, line: str) -> UserError | None:
    """Say what a refusal of a job means if the account or the model may not be tuned.

    None for other errors.
    """
    if not REFUSED.search(line):
        return None
    if SIXTY_DAYS.search(line):
        return UserError(f"{model} cannot be tuned with this key: {line}; {IDLE}; {CLOSING}")
    if "HTTP 404" in line:
        return UserError(f"{model} is not there to be tuned, or no longer: {line}; {CLOSING}")
    speaks_of_tuning = CLOSED.search(line.partition("fine-tuning job: ")[2]) is not None
    if "HTTP 403" in line or (speaks_of_tuning and OVER.search(line)):
        return UserError(f"{model} cannot be tuned with this key: {line}; {CLOSING}")
    return None


def current(job: HostedJob, job_id: str) -> Tuning:
    """Ask the provider how the job is now."""
    return job.patiently(lambda: job.provider.look(job_id), "fine-tuning job")


def upload(job: HostedJob, lines: bytes) -> str:
    """Upload the training file, unless one of its name and size is there; return its id."""
    name = f"warmth-{job.digest}-{hashlib.sha256(lines).hexdigest()[:12]}.jsonl"

    def work() -> str:
        for file, file_name, size in job.provider.files():
            if file_name == name and size == len(lines):
                return file
        return job.provider.upload(name, lines)

    file = job.patiently(work, "training file")
    job.note(file=file, file_name=name)
    return file


def existing(job: HostedJob) -> Tuning | None:
    """Find a job of this run that a process created without living to note it down."""
    for tuning in job.provider.jobs():
        if tuning.run == job.digest and tuning.status not in UNUSABLE:
            return tuning
    return None


def create(job: HostedJob, study: Train, file: str) -> Tuning:
    """Create the job.

    Called again only after `existing` has looked: a reply that got lost is not a second job.
    """
    return job.provider.create(study, file, job.digest, job.run.name)


def follow_job(job: HostedJob, study: Train, tuning: Tuning, tracker: Tracker) -> Tuning:
    """Wait for the job's end and show its events.

    Raises:
        UserError, RunFailed: it ended without a model.
    """
    seen: set[str] = set()
    try:
        while True:
            show_events(job, tuning.id, seen, tracker)
            if tuning.status in ENDED:
                break
            if tuning.status == "paused":
                raise UserError(
                    f"job {tuning.id} is paused at the provider; "
                    "resume it there, and the same command goes on with it"
                )
            time.sleep(study.api.batch.poll_s)
            tuning = current(job, tuning.id)
    except KeyboardInterrupt:
        say(
            f"job {tuning.id} goes on; to end it: python -m warmth.training.hosted cancel "
            f"{job.run.folder}"
        )
        raise
    if tuning.status != "succeeded":
        raise failure_of(tuning, job.server.key())
    return tuning


def failure_of(tuning: Tuning, key: str) -> UserError | RunFailed:
    """Say why a job ended without a model; what the provider says loses the key."""
    if tuning.status == "cancelled":
        return RunFailed(f"job {tuning.id} was cancelled; the same command creates a new one")
    code = tuning.code
    message = redact(tuning.message or "no reason given", key)
    if code in MODERATED:
        return UserError(
            f"the provider's moderation refused the training file of job {tuning.id}: {message}"
        )
    if "quota" in code or "billing" in code:
        return UserError(f"the provider's quota is used up, job {tuning.id}: {message}")
    if code == "invalid_training_file":
        return UserError(f"the provider refused the training file of job {tuning.id}: {message}")
    return RunFailed(f"job {tuning.id} failed ({code or 'no code'}): {message}")


def show_events(job: HostedJob, job_id: str, seen: set[str], tracker: Tracker) -> None:
    """Print new messages, and feed losses to the tracker and to `metrics.jsonl`, oldest first."""
    events = job.patiently(lambda: job.provider.events(job_id), "events")
    new_events = [event for event in events if event.id not in seen]
    rows = []
    for event in sorted(new_events, key=lambda event: event.at):
        seen.add(event.id)
        if event.step is not None and event.loss is not None:
            tracker.log({"train/loss": event.loss}, step=event.step)
            rows.append({"step": event.step, "loss": event.loss})
        else:
            say(f"  {redact(event.message, job.server.key())}")
    known = {row["step"] for row in job.run.rows("metrics")}
    job.run.append("metrics", [row for row in rows if row["step"] not in known])


def record(job: HostedJob, study: Train, tuning: Tuning, conversations: int) -> dict[str, Any]:
    """Write `checkpoints/epoch-N/hosted.json` for each model the job left; return the summary.

    An epoch is the job's steps by the steps of one; the end of training is always a checkpoint.
    """
    epochs = study.recipe.hosted.epochs
    per_epoch = math.ceil(conversations / study.recipe.batch_size)
    models: dict[float, TunedModel] = {}
    for tuned in job.patiently(lambda: job.provider.checkpoints(tuning.id), "checkpoints"):
        epoch = round(2 * tuned.step / per_epoch) / 2
        if epoch > 0:
            models[epoch] = tuned
    models[float(epochs)] = TunedModel(str(tuning.model), per_epoch * epochs)
    for epoch, tuned in models.items():
        folder = job.run.folder / "checkpoints" / f"epoch-{epoch:g}"
        folder.mkdir(parents=True, exist_ok=True)
        row = {"model": tuned.model, "step": tuned.step, "job": tuning.id, "base": tuning.base}
        write_json(folder / "hosted.json", row)
    price = price_of(study.api, str(study.model.api_model))
    return {
        "job": tuning.id,
        "checkpoints": {f"{epoch:g}": tuned.model for epoch, tuned in sorted(models.items())},
        "trained_tokens": tuning.tokens,
        "usd": tuning.tokens * price.training / 1e6 if price else None,
        "prices_date": study.api.prices_date,
    }


@guarded
def main() -> None:
    """End the job of a run that was interrupted: `cancel RUN_FOLDER`."""
    if len(sys.argv) != 3 or sys.argv[1] != "cancel":
        raise UserError("use: python -m warmth.training.hosted cancel RUN_FOLDER")
    folder = Path(sys.argv[2])
    model = read_json(folder / "config.json")["model"]
    job_id = read_json(folder / "hosted.json")["job"]
    server = Server(model["base_url"], model["api_model"], model["api_key_env"])
    settings = Api()
    provider = provider_of(model.get("tuning", "openai"), server, settings)
    tuning = patiently(lambda: provider.cancel(job_id), settings, server.key(), "cancel")
    say(f"job {tuning.id} is {tuning.status}")


if __name__ == "__main__":
    main()
