"""Fine-tuning through a provider's API (`model.kind: api`): one job, followed to its end by any
number of processes.

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
from warmth.training.providers import FORMS, Provider, Tuning
from warmth.training.upload import check_money, upload_lines

ENDED = ("succeeded", "failed", "cancelled")
MODERATED = ("moderation_blocked", "unsafe_file", "policy_violation", "content_policy_violation")
CLOSING = (
    "OpenAI takes new jobs until 6 January 2027 and none from new organisations; model.base_url= "
    "names another "
    "provider, model=llama8b_together one of open models"
)
IDLE = "OpenAI takes no new job from an organisation that used no tuned model in the last 60 days"
REFUSED = re.compile(r"HTTP (?:400|403|404)\b")
CLOSED = re.compile(
    r"fine[- ]?tun|training", re.IGNORECASE
)  # what such an error speaks of; 403 needs no words
# What a 400 says where tuning is closed, rather than a value wrong.
OVER = re.compile(
    r"\b(?:not available|no longer|closed|disabled|not (?:allowed|eligible|permitted)|deprecat)"
)
SIXTY_DAYS = re.compile(r"\b60[ -]days?\b", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
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
        """Writes ids down before anything is waited for."""
        write_json(self.run.folder / "hosted.json", {**self.state, **ids})

    def patiently(self, work: Any, what: str) -> Any:
        """Repeats what can be repeated without harm; errors are one line without the key."""
        return patiently(work, self.settings, self.server.key(), what)


def train(run: Run, study: Train, examples: Iterable[Any], servers: Servers) -> None:
    """Runs the job to its end and seals the run with its checkpoints; the same command continues
    it.

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
    server = server_of(study)
    job = Job(
        provider_of(study.model.tuning, server, study.api), study.api, server, run, run.digest
    )
    tokens = check_money(study, trained, servers.left)
    tracker = tracking.start(run, study, job_type="train")
    try:
        found = start(job, study, lines)
        ended = follow(job, study, found, tracker)
        result = record(job, study, ended, len(trained))
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


def provider_of(form: str, server: Server, settings: Api) -> Provider:
    """Return the form in which a provider is asked, with a client that holds the key."""
    return FORMS[form](openai_client(server, settings))


def start(job: Job, study: Train, lines: bytes) -> Tuning:
    """Start the run's job: the one noted down, else the one at the provider that carries its
    digest, else a new one.
    """
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
        raise not_tunable(str(study.model.api_model), str(error)) or error from None
    job.note(job=made.id)
    return made


def not_tunable(model: str, line: str) -> UserError | None:
    """Return what a refusal of a job means where the account or the model may not be tuned; None
    for other errors.
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


def look(job: Job, job_id: str) -> Tuning:
    """The job as it is now."""
    return job.patiently(lambda: job.provider.look(job_id), "fine-tuning job")


def upload(job: Job, lines: bytes) -> str:
    """The training file's id; a file of the same name and size that is there already is taken."""
    name = f"warmth-{job.digest}-{hashlib.sha256(lines).hexdigest()[:12]}.jsonl"

    def work() -> str:
        for file, file_name, size in job.provider.files():
            if file_name == name and size == len(lines):
                return file
        return job.provider.upload(name, lines)

    file = job.patiently(work, "training file")
    job.note(file=file, file_name=name)
    return file


def existing(job: Job) -> Tuning | None:
    """A job of this run that a process created without living to note it down."""
    for found in job.provider.jobs():
        if found.run == job.digest and found.status not in ("failed", "cancelled"):
            return found
    return None


def create(job: Job, study: Train, file: str) -> Tuning:
    """Creates the job.

    Called again only after `existing` has looked: a reply that got lost is not a second job.
    """
    return job.provider.create(study, file, job.digest, job.run.name)


def follow(job: Job, study: Train, found: Tuning, tracker: Tracker) -> Tuning:
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
            if found.status == "paused":
                raise UserError(
                    f"job {found.id} is paused at the provider; resume it there, and the same "
                    f"command goes on with it"
                )
            time.sleep(study.api.batch.poll_s)
            found = look(job, found.id)
    except KeyboardInterrupt:
        say(
            f"job {found.id} goes on; to end it: python -m warmth.training.hosted cancel "
            f"{job.run.folder}"
        )
        raise
    if found.status == "succeeded":
        return found
    code = found.code
    said = redact(found.message or "no reason given", job.server.key())
    if found.status == "cancelled":
        raise RunFailed(f"job {found.id} was cancelled; the same command creates a new one")
    if code in MODERATED:
        raise UserError(
            f"the provider's moderation refused the training file of job {found.id}: {said}"
        )
    if "quota" in code or "billing" in code:
        raise UserError(f"the provider's quota is used up, job {found.id}: {said}")
    if code == "invalid_training_file":
        raise UserError(f"the provider refused the training file of job {found.id}: {said}")
    raise RunFailed(f"job {found.id} failed ({code or 'no code'}): {said}")


def show_events(job: Job, job_id: str, seen: set[str], tracker: Tracker) -> None:
    """Prints new messages and feeds losses to the tracker and to `metrics.jsonl`, in the order they
    happened.
    """
    read = job.patiently(lambda: job.provider.events(job_id), "events")
    fresh = sorted((event for event in read if event.id not in seen), key=lambda event: event.at)
    rows = []
    for event in fresh:
        seen.add(event.id)
        if event.step is not None and event.loss is not None:
            tracker.log({"train/loss": event.loss}, step=event.step)
            rows.append({"step": event.step, "loss": event.loss})
        else:
            say(f"  {redact(event.message, job.server.key())}")
    known = {row["step"] for row in job.run.rows("metrics")}
    job.run.append("metrics", [row for row in rows if row["step"] not in known])


def record(job: Job, study: Train, ended: Tuning, conversations: int) -> dict[str, Any]:
    """Writes a `checkpoints/epoch-N/hosted.json` for each model the job left, and returns the run's
    summary.

    An epoch is the job's steps by the steps of one; the end of training is always a checkpoint.
    """
    listed = job.patiently(lambda: job.provider.kept(ended.id), "checkpoints")
    epochs = study.recipe.hosted.epochs
    per_epoch = math.ceil(conversations / study.recipe.batch_size)
    models = {round(2 * item.step / per_epoch) / 2: item for item in listed}
    found = {epoch: (item.model, item.step) for epoch, item in models.items() if epoch > 0}
    found[float(epochs)] = (str(ended.model), per_epoch * epochs)
    for epoch, (model, step) in found.items():
        folder = job.run.folder / "checkpoints" / f"epoch-{epoch:g}"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(
            folder / "hosted.json",
            {"model": model, "step": step, "job": ended.id, "base": ended.base},
        )
    names = {f"{epoch:g}": model for epoch, (model, _) in sorted(found.items())}
    tokens = ended.tokens
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
    settings = Api()
    provider = provider_of(model.get("tuning", "openai"), server, settings)
    ended = patiently(lambda: provider.cancel(state["job"]), settings, server.key(), "cancel")
    say(f"job {ended.id} is {ended.status}")


if __name__ == "__main__":
    main()
