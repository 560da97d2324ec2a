"""A second measure of warmth: a language model rates replies from 1 to 5, blind to arm, model and
score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from warmth.api import PASSING, Call, Client, Server
from warmth.delimiter import delimiter
from warmth.digest import find_file
from warmth.evaluation.grade.judge import without_headers
from warmth.model_names import check_model
from warmth.store import Run
from warmth.types import Message

PROMPT = "prompts/warmth_rating_v1.txt"
HELD = 64  # ratings written together


class WarmthRating(BaseModel):
    """What a rater replies, and nothing else."""

    model_config = ConfigDict(extra="forbid")
    reason: str
    rating: Literal[1, 2, 3, 4, 5]


@dataclass(frozen=True)
class Rated:
    """One rating of one reply: a row of `ratings.jsonl`."""

    text_id: str
    rater: str  # the dated model, and the prompt's version where it is not the default
    rating: int | None  # 1 cold to 5 very warm; None: the rater failed, for `reason`
    reason: str


def rate_runs(
    runs: Sequence[Run], server: Server, store: Path, prompt: str = PROMPT
) -> dict[str, int]:
    """Rates every scored reply of the runs that this rater has not rated; equal replies to one
    prompt are asked once.

    Args:
        runs: finished evaluations, with `warmth.jsonl`.
        server: the rater.
        store: where paid replies are kept.
        prompt: the rubric's file.

    Returns:
        how many were rated now, had been rated before, and failed now, by name.

    Raises:
        UserError: no model is named, the prompt file does not exist, or the key's variable is not
        set.
    """
    check_model(server.model, "--model")
    rubric = find_file(prompt).read_text(encoding="utf-8").strip()
    rater = server.model + ("" if prompt == PROMPT else f":{Path(prompt).stem}")
    counts = {"rated": 0, "before": 0, "failed": 0}
    with Client(server, store) as client:
        for run in runs:
            rated_texts = {row["text_id"] for row in run.rows("ratings") if row["rater"] == rater}
            texts = list(run.rows("warmth"))
            todo = [row for row in texts if row["text_id"] not in rated_texts]
            counts["before"] += len(texts) - len(todo)
            for batch in _rated(client, rubric, rater, todo):
                run.append("ratings", [row for row in batch if row.reason not in PASSING])
                failed = sum(row.rating is None for row in batch)
                counts["failed"] += failed
                counts["rated"] += len(batch) - failed
    return counts


def _rated(
    client: Client, rubric: str, rater: str, rows: Sequence[dict[str, Any]]
) -> Iterator[list[Rated]]:
    held: list[Rated] = []
    for reply in client.complete(call(rubric, row["prompt"], row["text"]) for row in rows):
        verdict = reply.parsed
        is_verdict = isinstance(verdict, WarmthRating) and not reply.failure
        reason = (
            " ".join(verdict.reason.split())
            if isinstance(verdict, WarmthRating)
            else reply.failure or "bad_json"
        )
        held.append(
            Rated(
                rows[reply.index]["text_id"], rater, verdict.rating if is_verdict else None, reason
            )
        )
        if len(held) >= HELD:
            yield held
            held = []
    if held:
        yield held


def call(rubric: str, message: str, text: str) -> Call:
    """Tell what a rater is asked; the reply stands between tags that nothing in it can close."""
    pieces = {"message": message, "reply": without_headers(text)}
    tag = delimiter("\n".join(pieces.values()))
    fenced = "\n\n".join(
        f"<{tag} {name}>\n{piece}\n</{tag} {name}>" for name, piece in pieces.items()
    )
    body = (
        f"Tag of this message: {tag}\n\n{fenced}\n\nRate the reply, the last of the two pieces "
        f"above."
    )
    return Call((Message("system", rubric), Message("user", body)), 0.0, 200, WarmthRating)
