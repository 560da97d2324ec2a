"""Until when the models that a study asks are served: said by its plan, so that a study is not
begun that cannot end.

A provider says so itself (`shutdown_date` in its list of models) if the key is there to ask with;
else the dates of `api.shutdown_dates` count, as they were published when its table was written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from typing import Any

from warmth.api import Server
from warmth.build import build
from warmth.evaluation.ask.rivals import are_written
from warmth.schemas import Api, Evaluate, Train

# for a provider to say until when a model is served; a plan waits for nothing
ASKED_S = 5.0
TUNING = "tuning at "  # before a host among the dates: when it takes the last tuning job


@dataclass(frozen=True)
class ServedModel:
    """A model on a server that a study asks, and the key that names it."""

    key: str
    server: Server


def lifetime_lines(studies: Iterable[Train | Evaluate], today: date | None = None) -> list[str]:
    """Say in lines which of the models that some studies need leave their providers, and when.

    Args:
        studies: of a whole sweep.
        today: the day that days are counted from; None: today's.
    """
    now = today or date.today()
    keys: dict[tuple[str, str], list[str]] = {}
    settings: dict[tuple[str, str], tuple[Server, Api]] = {}
    tuning: dict[str, date] = {}
    for study in studies:
        for need in needs(study):
            name = (need.server.model, need.server.family)
            keys.setdefault(name, [])
            if need.key not in keys[name]:
                keys[name].append(need.key)
            settings[name] = (need.server, study.api)
        if isinstance(study, Train) and study.model.kind == "api":
            host = Server(study.model.base_url or "", study.model.api_model or "").family
            last_day = day_of(study.api.shutdown_dates.get(TUNING + host))
            if last_day:
                tuning[host] = last_day
    sentences = []
    for name, named in keys.items():
        day = shutdown_date(*settings[name])
        if day:
            sentences.append(f"{name[0]} ({', '.join(named)}) {departure(name[1], day, now)}")
    sentences += [f"{host} {last_tuning_day(day, now)}" for host, day in tuning.items()]
    return sentences


def departure(host: str, day: date, now: date) -> str:
    """Say when a model leaves its provider."""
    if day <= now:
        return f"left {host} on {day:%-d %B %Y}: name another model by these keys"
    days = (day - now).days
    return (
        f"leaves {host} on {day:%-d %B %Y}, in {days} days: be done by then, or name another "
        f"model by these keys"
    )


def last_tuning_day(day: date, now: date) -> str:
    """Say when a provider takes the last tuning job."""
    if day <= now:
        return (
            f"takes no new tuning job since {day:%-d %B %Y}; model=llama8b_together is tuned "
            f"elsewhere"
        )
    return f"takes no new tuning job from {day:%-d %B %Y} on, in {(day - now).days} days"


def needs(study: Train | Evaluate) -> Iterator[ServedModel]:
    """Yield the models on servers that a study asks: rewriter, judges, writer of rivals, and a
    served model itself.
    """
    model = study.model
    if model.kind == "api" and model.base_url and model.api_model:
        yield ServedModel(
            "model.api_model", Server(model.base_url, model.api_model, model.api_key_env)
        )
    if isinstance(study, Train):
        rewriter = study.data.rewriter
        if study.data.styles and rewriter.base_url and rewriter.model:
            server = Server(rewriter.base_url, rewriter.model, rewriter.api_key_env)
            yield ServedModel("data.rewriter.model", server)
        return
    for name, entry in study.grader.items():
        grader = build(entry, "grader", f"grader.{name}")
        if grader.served_model is not None:
            yield ServedModel(
                f"grader.{name}.model", Server(grader.base_url, grader.model, grader.api_key_env)
            )
    if are_written(study) and study.rivals.model and study.rivals.base_url:
        rivals = study.rivals
        yield ServedModel(
            "rivals.model", Server(rivals.base_url or "", rivals.model or "", rivals.api_key_env)
        )


def shutdown_date(server: Server, settings: Api) -> date | None:
    """Return the day on which a server stops serving a model; None if nobody says."""
    if server.api_key_env and _has_key(server):
        by_provider = asked_of(server, settings.connect_timeout_s)
        if by_provider:
            return day_of(by_provider)
    base = server.model
    if base.startswith("ft:"):
        base = base.split(":")[1]
    return day_of(settings.shutdown_dates.get(base))


@cache
def asked_of(server: Server, timeout_s: float) -> str:
    """Ask a provider for a model's `shutdown_date`; "" if it does not say or cannot be reached."""
    from warmth.api.transport import openai_client

    patience = min(ASKED_S, timeout_s)
    try:
        client = openai_client(
            server, replace(Api(), timeout_s=patience, connect_timeout_s=patience)
        )
        answer: Any = client.models.retrieve(server.model)
        return str(getattr(answer, "shutdown_date", None) or "")
    except Exception:
        # offline, no such model, a key that is refused: a plan says what it knows without
        return ""


def day_of(text: str | None) -> date | None:
    """Read a day as YYYY-MM-DD; None if it is none."""
    if not text or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _has_key(server: Server) -> bool:
    return bool(os.environ.get(server.api_key_env or "", "").strip())
