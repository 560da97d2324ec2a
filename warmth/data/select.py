"""Which conversations are taken: drawn in an order fixed by `draw_seed`, each looked at until every
type has enough.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from warmth.data.contamination import Overlap
from warmth.data.filters import Likeness, Scores, language_of
from warmth.data.fits import Fits
from warmth.data.ledger import Ledger
from warmth.data.reading import Candidate
from warmth.dataset import TYPES, Data
from warmth.errors import UserError
from warmth.types import Conversation


@dataclass
class Selection:
    """What was taken, and what was seen on the way."""

    conversations: list[Conversation] = field(default_factory=list)
    held_out: list[Conversation] = field(default_factory=list)
    reserve: list[Conversation] = field(
        default_factory=list
    )  # to replace what is lost after the draw
    scores: list[dict[str, Any]] = field(
        default_factory=list
    )  # toxicity of everything the classifier saw
    overlaps: list[dict[str, str]] = field(
        default_factory=list
    )  # conversations with a question in them


def select(
    candidates: list[Candidate],
    data: Data,
    ledger: Ledger,
    questions: list[str],
    classify: Scores | None,
    fits: Fits | None = None,
) -> Selection:
    """Walk the candidates in their order and take each that passes, until its type has enough.

    Filters stand in the order of their cost, and nothing is filtered that is not needed: the
    outcome is the one of filtering all first, except that what was never looked at is counted as
    `not_drawn`. Held-out conversations come after the trained ones in the same walk, and those in
    reserve last; none shares an opening, tree or near-duplicate with another.

    Raises:
        UserError: a type runs short and `data.short` says to refuse.
    """
    stage = ledger.stage("select", "conversations")
    wanted = dict.fromkeys(TYPES, data.per_type) if data.per_type is not None else None
    if wanted is None and data.conversations is not None:
        wanted = shares(data.conversations)
    quotas = Quotas(wanted, shares(data.held_out), data.reserve)
    result, sieve = Selection(), Sieve(data, questions, classify, fits)
    reasons: dict[str, Counter[str]] = {name: Counter() for name in TYPES}
    skipped: list[Candidate] = []

    def take(candidate: Candidate, place: str) -> bool:
        conversation = candidate.conversation()
        reason = sieve.reject(candidate, conversation, result)
        if reason:
            stage.drop(reason)
            reasons[candidate.type][reason] += 1
            return False
        stage.keep()
        quotas.have[place][candidate.type] += 1
        getattr(result, place).append(conversation)
        return True

    for candidate in candidates:
        stage.take()
        place = quotas.place_for(candidate.type)
        if place is None:
            skipped.append(candidate)
        else:
            take(candidate, place)
    if data.short == "spread":
        skipped = _spread(skipped, quotas, take)
    if skipped:
        stage.drop("not_drawn", len(skipped))
    stage.details |= {
        "trained": {name: quotas.have["conversations"][name] for name in TYPES},
        "held_out": {name: quotas.have["held_out"][name] for name in TYPES},
        "reserve": {name: quotas.have["reserve"][name] for name in TYPES},
        "drops_by_type": {name: dict(sorted(found.items())) for name, found in reasons.items()},
    }
    if data.short == "refuse":
        _refuse_short(data, wanted, quotas, reasons)
    for chosen in (result.conversations, result.held_out, result.reserve):
        chosen.sort(key=lambda item: TYPES.index(item.type))  # stable: drawn order within a type
    return result


class Quotas:
    """How many conversations of each type are wanted in training, held out and in reserve, and how
    many there are.
    """

    def __init__(self, trained: dict[str, int] | None, held_out: dict[str, int], reserve: float):
        self.wanted: dict[str, dict[str, int] | None] = {
            "conversations": trained,
            "held_out": held_out,
        }
        self.wanted["reserve"] = {
            name: math.ceil(reserve * count) for name, count in (trained or {}).items()
        }
        self.have: dict[str, Counter[str]] = {place: Counter() for place in self.wanted}

    def place_for(self, kind: str) -> str | None:
        """Say where the next conversation of a type goes; None if there are enough.

        Without a number for training, the held-out ones are taken first, and all the rest is
        trained on.
        """
        order = ("conversations", "held_out", "reserve")
        if self.wanted["conversations"] is None:
            order = ("held_out", "conversations")
        return next((place for place in order if self.lacks(place, kind)), None)

    def lacks(self, place: str, kind: str) -> bool:
        """Return whether a place takes more of a type."""
        wanted = self.wanted[place]
        return wanted is None or self.have[place][kind] < wanted.get(kind, 0)

    def missing(self, place: str) -> int:
        """Count the conversations that a place lacks in all types together."""
        wanted = self.wanted[place]
        return 0 if wanted is None else sum(wanted.values()) - self.have[place].total()


def _spread(
    skipped: list[Candidate], quotas: Quotas, take: Callable[[Candidate, str], bool]
) -> list[Candidate]:
    """Fill what some types lack with conversations of the others, one of each in turn; returns
    those still skipped.
    """
    waiting = {kind: deque(item for item in skipped if item.type == kind) for kind in TYPES}
    for place in ("conversations", "held_out"):
        while quotas.missing(place) > 0 and any(waiting.values()):
            for kind in TYPES:
                while waiting[kind] and quotas.missing(place) > 0:
                    if take(waiting[kind].popleft(), place):
                        break
    return [candidate for kind in TYPES for candidate in waiting[kind]]


class Sieve:
    """The filters, in the order of their cost."""

    def __init__(
        self, data: Data, questions: list[str], classify: Scores | None, fits: Fits | None = None
    ):
        self.data = data
        self.classify = classify
        self.fits = fits
        self.openings: set[bytes] = set()
        self.likeness = Likeness(data.near_duplicate)
        self.overlap = Overlap(questions, data.overlap_words)

    def reject(
        self, candidate: Candidate, conversation: Conversation, result: Selection
    ) -> str | None:
        """Say why a conversation is not taken; None takes it, and remembers it for those that come
        after.
        """
        texts = list(texts_of(conversation))
        if candidate.opening in self.openings:
            return "same_opening"
        near, sketch = self.likeness.near(conversation.turns[0].user)
        if near is not None:
            return "near_duplicate"
        if self.data.languages and language_of("\n".join(texts)) not in (
            None,
            *self.data.languages,
        ):
            return "other_language"
        question = self.overlap.find(texts)
        if question is not None:
            result.overlaps.append({"id": conversation.id, "question": question})
            return "overlaps_a_question"
        misfit = self.fits.misfit(conversation) if self.fits else None
        if misfit is not None:
            return misfit
        if self._toxic(conversation.id, texts, result):
            return "toxic"
        self.openings.add(candidate.opening)
        self.likeness.add(conversation.id, sketch)
        return None

    def _toxic(self, name: str, texts: list[str], result: Selection) -> bool:
        if self.classify is None:
            return False
        scores = self.classify(texts)
        worst = max(range(len(scores)), key=scores.__getitem__)
        result.scores.append({"id": name, "score": round(scores[worst], 4), "message": worst})
        return scores[worst] > self.data.toxicity.threshold


def texts_of(conversation: Conversation) -> Iterator[str]:
    """Yield every text of a conversation in plain style."""
    if conversation.system:
        yield conversation.system
    for turn in conversation.turns:
        yield turn.user
        yield turn.replies["plain"]


def shares(total: int) -> dict[str, int]:
    """Compute how many of each type, so that no two differ by more than one."""
    base, more = divmod(total, len(TYPES))
    return {name: base + (place < more) for place, name in enumerate(TYPES)}


def _refuse_short(
    data: Data,
    wanted: dict[str, int] | None,
    quotas: Quotas,
    reasons: dict[str, Counter[str]],
) -> None:
    later = shares(data.held_out)
    for name in TYPES:
        need = (wanted[name] if wanted else 0) + later[name]
        have = quotas.have["conversations"][name] + quotas.have["held_out"][name]
        if have >= need:
            continue
        key = "per_type" if data.per_type is not None else "conversations"
        asked = f"data.{key}={getattr(data, key)} and data.held_out={data.held_out} ask for {need}"
        lost = (
            ", ".join(f"{reason} {count}" for reason, count in reasons[name].most_common())
            or "none"
        )
        raise UserError(
            f"{asked} {name} conversations, but only {have} pass selection (left out: {lost}); "
            "ask for fewer, fill up with the other types: data.short=spread, or take all there "
            "are: "
            "data.per_type=null data.conversations=null"
        )
