"""Replies in another manner: one call for each reply and style.

What must stay as it is, is taken out before and put back after.

Who rewrites is a callable, `Complete`: a model server, or a model in this process
(`sets.rewriter_of` opens either).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from warmth.api import PASSING, Call, Reply
from warmth.data.ledger import Stage, counts_text
from warmth.data.protect import Protected, protect, restore
from warmth.dataset import Rewriter
from warmth.delimiter import delimiter
from warmth.errors import RunFailed
from warmth.types import Conversation, Message

Complete = Callable[[Sequence[Call]], Iterator[Reply]]
DECLINES = re.compile(
    r"^.{0,120}?\b(?:i(?:'m| am) (?:sorry|afraid|unable|not able)"
    r"|i (?:can't|cannot|can not|won't)|as an ai)\b",
    re.IGNORECASE | re.DOTALL,
)
TASK = "Rewrite the reply, the text between the second pair of tags, in the manner described."
ECHO = 12  # words in a row of its instructions that make a rewrite a repetition of them
SHORT = 15  # words, below which a reply may come back as it was


@dataclass(frozen=True)
class RewriteJob:
    """One reply to be had in one style."""

    id: str  # of the conversation
    turn: int
    style: str
    source: str
    protected: Protected
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Rewrite:
    """A reply in a style, or why there is none: a row of `rewrites.jsonl`."""

    id: str
    turn: int
    style: str
    text: str | None
    failure: str = ""
    attempt: int = 0
    cost_usd: float = 0.0


def manner_prompt(frame: str, manner: str) -> str:
    """Write the rewriter's instructions for a style, the same for every reply."""
    return frame.replace("{manner}", manner.strip()).strip()


def build_job(
    conversation: Conversation, turn: int, style: str, prompt: str, context_chars: int
) -> RewriteJob:
    """Turn one reply into a call: instructions, then the material between tags.

    The conversation so far is one JSON object a line, so a text cannot speak in another's name; the
    tag is derived from the material until it does not occur in it.
    """
    source = conversation.turns[turn].replies["plain"]
    protected = protect(source)
    context = _context(conversation, turn, context_chars)
    tag = delimiter(f"{context}\n{protected.text}")
    body = (
        f"Tag of this message: {tag}\n\n"
        f"<{tag} conversation>\n{context}\n</{tag}>\n\n"
        f"<{tag} reply>\n{protected.text}\n</{tag}>\n\n{TASK}"
    )
    return RewriteJob(
        id=conversation.id,
        turn=turn,
        style=style,
        source=source,
        protected=protected,
        messages=(Message("system", prompt), Message("user", body)),
    )


def _context(conversation: Conversation, turn: int, limit: int) -> str:
    """Write what was said before a reply, one JSON object a line; of a long text its end."""
    messages = []
    if conversation.system:
        messages.append(("system", conversation.system))
    for earlier_turn in conversation.turns[:turn]:
        messages.append(("user", earlier_turn.user))
        messages.append(("assistant", earlier_turn.replies["plain"]))
    messages.append(("user", conversation.turns[turn].user))
    lines: list[str] = []
    room = limit
    for role, text in reversed(messages):  # the end counts most
        if room <= 0:
            break
        shown = text if len(text) <= room else "… " + text[-room:]
        lines.append(json.dumps({role: shown}, ensure_ascii=False))
        room -= len(text)
    return "\n".join(reversed(lines))


def rewrite(
    conversations: Sequence[Conversation],
    prompts: Mapping[str, str],
    settings: Rewriter,
    complete: Complete,
    done: Iterable[Mapping] = (),
    record: Callable[[Rewrite], None] | None = None,
    progress: Stage | None = None,
) -> list[Rewrite]:
    """Rewrite every reply of every conversation in every style, or name what went wrong with it.

    Args:
        conversations: in plain style.
        prompts: the instructions of each style.
        settings: how often, how long, how much context.
        complete: who rewrites.
        done: rows of an earlier, interrupted call; they are not asked for again.
        record: is given each new row as it comes, to be written down.
        progress: is told of them.

    Raises:
        RunFailed: the server failed some calls (time, connection, budget), so the set is not
        decided yet.
    """
    rows = {(row["id"], row["turn"], row["style"]): Rewrite(**row) for row in done}
    if progress:
        progress.take(len(rows))
    keys: list[tuple[str, int, str]] = []
    pending: list[RewriteJob] = []
    for conversation, turn, style in _replies(conversations, prompts):
        key = (conversation.id, turn, style)
        keys.append(key)
        if key not in rows:
            pending.append(
                build_job(conversation, turn, style, prompts[style], settings.context_chars)
            )
    passing: Counter[str] = Counter()
    for attempt in range(settings.attempts):
        again: list[RewriteJob] = []
        is_last_attempt = attempt + 1 == settings.attempts
        for job, row in _attempt(pending, settings, complete, attempt):
            # To drop a reply for a passing failure would let luck choose the training set.
            if row.failure in PASSING:
                passing[row.failure] += 1
            elif row.text is None and not is_last_attempt:
                again.append(job)
            else:
                rows[row.id, row.turn, row.style] = row
                if record:
                    record(row)
                if progress:
                    progress.take()
        pending = sorted(again, key=lambda job: (job.id, job.turn, job.style))
    if passing:
        raise RunFailed(
            f"{passing.total()} rewrites could not be had ({counts_text(passing)}); "
            "the same command asks for these alone"
        )
    return [rows[key] for key in keys]


def _replies(
    conversations: Iterable[Conversation], styles: Iterable[str]
) -> Iterator[tuple[Conversation, int, str]]:
    """Yield each reply to be written: its conversation, its turn, its style."""
    for conversation in conversations:
        for turn in range(len(conversation.turns)):
            for style in styles:
                yield conversation, turn, style


def _attempt(
    jobs: Sequence[RewriteJob], settings: Rewriter, complete: Complete, attempt: int
) -> Iterator[tuple[RewriteJob, Rewrite]]:
    """Ask once for each reply; one of code alone has nothing to rewrite and stays as it is."""
    asked_jobs = []
    for job in jobs:
        if job.protected.is_empty:
            yield job, Rewrite(job.id, job.turn, job.style, job.source)
        else:
            asked_jobs.append(job)
    if not asked_jobs:
        return
    calls = [
        Call(job.messages, settings.temperature, settings.max_tokens, sample=attempt)
        for job in asked_jobs
    ]
    for reply in complete(calls):
        job = asked_jobs[reply.index]
        text, failure = receive(job, reply)
        yield job, Rewrite(job.id, job.turn, job.style, text, failure, attempt, reply.cost_usd)


def receive(job: RewriteJob, reply: Reply) -> tuple[str | None, str]:
    """Read a server's reply as the rewritten text, or name what is wrong with it.

    Names: those of `Reply.failure`; empty, repeats_instructions, lost_piece, declined, unchanged.
    """
    if reply.failure:
        return None, reply.failure
    text = reply.text.strip()
    if not text:
        return None, "empty"
    if _repeats(text, job):
        return None, "repeats_instructions"
    restored = restore(text, job.protected)
    if restored is None:
        return None, "lost_piece"
    if _declines(restored) and not _declines(job.source):
        return None, "declined"
    if len(job.source.split()) >= SHORT and restored.split() == job.source.split():
        return None, "unchanged"
    return restored, ""


def _declines(text: str) -> bool:
    return DECLINES.search(text.replace("’", "'")) is not None


def _repeats(text: str, job: RewriteJob) -> bool:
    """Tell whether a text holds the tag, or a run of words that only the instructions have."""
    instructions, body = (message.content for message in job.messages)
    tag = body.split("\n", 1)[0].rpartition(" ")[2]
    if tag in text:
        return True
    repeated = _runs(text) & _runs(f"{instructions} {TASK}")
    return any(run not in job.source for run in repeated)


def _runs(text: str) -> set[str]:
    """List every run of `ECHO` words in a text."""
    words = text.split()
    return {" ".join(words[start : start + ECHO]) for start in range(len(words) - ECHO + 1)}
