"""Which conversations are taken: in an order fixed by `draw_seed`, until every type has enough."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from warmth.data.contamination import Overlap
from warmth.data.filters import Likeness, Scores, language_of
from warmth.data.fits import Fits
from warmth.data.ledger import Ledger, counts_text
from warmth.data.reading import CandidateConversation
from warmth.dataset import TYPES, Data
from warmth.errors import UserError
from warmth.types import Conversation


@dataclass
class Selection:
    """What was taken, and what was seen on the way."""

    conversations: list[Conversation] = field(default_factory=list)
    held_out: list[Conversation] = field(default_factory=list)
    # to replace what is lost after the draw
    reserve: list[Conversation] = field(default_factory=list)
    # toxicity of everything the classifier saw
    scores: list[dict[str, Any]] = field(default_factory=list)
    # conversations with a question in them
    overlaps: list[dict[str, str]] = field(default_factory=list)

    def add(self, use: str, conversation: Conversation) -> None:
        """Add a conversation to one of `USES`."""
        getattr(self, use).append(conversation)


USES = ("conversations", "held_out", "reserve")  # training, measuring warmth, replacing the lost


def select_conversations(
    candidates: list[CandidateConversation],
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
    quotas = Quotas(_trained_quotas(data), type_quotas(data.held_out), data.reserve)
    selection = Selection()
    sieve = Sieve(data, questions, classify, fits)
    reasons: dict[str, Counter[str]] = {kind: Counter() for kind in TYPES}
    skipped: list[CandidateConversation] = []

    def take(candidate: CandidateConversation, use: str) -> bool:
        conversation = candidate.conversation()
        reason = sieve.reject(candidate, conversation, selection)
        if reason:
            stage.drop(reason)
            reasons[candidate.type][reason] += 1
            return False
        stage.keep()
        quotas.have[use][candidate.type] += 1
        selection.add(use, conversation)
        return True

    for candidate in candidates:
        stage.take()
        use = quotas.next_use(candidate.type)
        if use is None:
            skipped.append(candidate)
        else:
            take(candidate, use)
    if data.short == "spread":
        skipped = _spread(skipped, quotas, take)
    if skipped:
        stage.drop("not_drawn", len(skipped))
    stage.details |= {
        "trained": quotas.taken("conversations"),
        "held_out": quotas.taken("held_out"),
        "reserve": quotas.taken("reserve"),
        "drops_by_type": {kind: dict(sorted(counts.items())) for kind, counts in reasons.items()},
    }
    if data.short == "refuse":
        _refuse_short(data, quotas, reasons)
    for use in USES:
        # a stable sort: the drawn order stays within a type
        getattr(selection, use).sort(key=lambda conversation: TYPES.index(conversation.type))
    return selection


def _trained_quotas(data: Data) -> dict[str, int] | None:
    """Compute how many conversations of each type are to be trained on; None if all there are."""
    if data.per_type is not None:
        return dict.fromkeys(TYPES, data.per_type)
    if data.conversations is not None:
        return type_quotas(data.conversations)
    return None


class Quotas:
    """How many conversations of each type each use needs, and how many it has."""

    def __init__(self, trained: dict[str, int] | None, held_out: dict[str, int], reserve: float):
        reserved = {kind: math.ceil(reserve * count) for kind, count in (trained or {}).items()}
        self.needed: dict[str, dict[str, int] | None] = {
            "conversations": trained,
            "held_out": held_out,
            "reserve": reserved,
        }
        self.have: dict[str, Counter[str]] = {use: Counter() for use in USES}

    def next_use(self, kind: str) -> str | None:
        """Say what the next conversation of a type is for; None if there are enough.

        Without a number for training, the held-out ones are taken first, and all others are
        trained on.
        """
        uses = USES
        if self.needed["conversations"] is None:
            uses = ("held_out", "conversations")
        for use in uses:
            if self.lacks(use, kind):
                return use
        return None

    def lacks(self, use: str, kind: str) -> bool:
        """Tell whether a use needs more conversations of a type."""
        needed = self.needed[use]
        return needed is None or self.have[use][kind] < needed.get(kind, 0)

    def missing(self, use: str) -> int:
        """Count the conversations that a use lacks in all types together."""
        needed = self.needed[use]
        if needed is None:
            return 0
        return sum(needed.values()) - self.have[use].total()

    def taken(self, use: str) -> dict[str, int]:
        """Return how many conversations of each type a use has."""
        return {kind: self.have[use][kind] for kind in TYPES}


def _spread(
    skipped: list[CandidateConversation],
    quotas: Quotas,
    take: Callable[[CandidateConversation, str], bool],
) -> list[CandidateConversation]:
    """Fill what some types lack with conversations of the others, one of each in turn.

    Returns:
        those still skipped.
    """
    waiting: dict[str, deque[CandidateConversation]] = {kind: deque() for kind in TYPES}
    for candidate in skipped:
        waiting[candidate.type].append(candidate)
    for use in ("conversations", "held_out"):
        while quotas.missing(use) > 0 and any(waiting.values()):
            for kind in TYPES:
                while waiting[kind] and quotas.missing(use) > 0:
                    if take(waiting[kind].popleft(), use):
                        break
    return list(chain.from_iterable(waiting.values()))


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
        self, candidate: CandidateConversation, conversation: Conversation, selection: Selection
    ) -> str | None:
        """Say why a conversation is not taken; None if it is.

        One that is taken is remembered for those that come after.
        """
        texts = list(texts_of(conversation))
        if candidate.opening in self.openings:
            return "same_opening"
        similar, sketch = self.likeness.near(conversation.turns[0].user)
        if similar is not None:
            return "near_duplicate"
        if self._is_other_language(texts):
            return "other_language"
        question = self.overlap.find(texts)
        if question is not None:
            selection.overlaps.append({"id": conversation.id, "question": question})
            return "overlaps_a_question"
        misfit = self.fits.misfit(conversation) if self.fits else None
        if misfit is not None:
            return misfit
        if self._is_toxic(conversation.id, texts, selection):
            return "toxic"
        self.openings.add(candidate.opening)
        self.likeness.add(conversation.id, sketch)
        return None

    def _is_other_language(self, texts: list[str]) -> bool:
        if not self.data.languages:
            return False
        language = language_of("\n".join(texts))
        return language is not None and language not in self.data.languages

    def _is_toxic(self, name: str, texts: list[str], selection: Selection) -> bool:
        if self.classify is None:
            return False
        scores = self.classify(texts)
        worst = max(range(len(scores)), key=scores.__getitem__)
        selection.scores.append({"id": name, "score": round(scores[worst], 4), "message": worst})
        return scores[worst] > self.data.toxicity.threshold


def texts_of(conversation: Conversation) -> Iterator[str]:
    """Yield every text of a conversation in plain style."""
    if conversation.system:
        yield conversation.system
    for turn in conversation.turns:
        yield turn.user
        yield turn.replies["plain"]


def type_quotas(total: int) -> dict[str, int]:
    """Divide a number among the types, so that no two differ by more than one."""
    base, remainder = divmod(total, len(TYPES))
    return {kind: base + (number < remainder) for number, kind in enumerate(TYPES)}


def _refuse_short(data: Data, quotas: Quotas, reasons: dict[str, Counter[str]]) -> None:
    """Refuse a draw in which a type has fewer conversations than asked for.

    Raises:
        UserError: a type runs short; the line says why its conversations were left out.
    """
    for kind in TYPES:
        needed = 0
        have = 0
        for use in ("conversations", "held_out"):
            needed += (quotas.needed[use] or {}).get(kind, 0)
            have += quotas.have[use][kind]
        if have >= needed:
            continue
        key = "per_type" if data.per_type is not None else "conversations"
        raise UserError(
            f"data.{key}={getattr(data, key)} and data.held_out={data.held_out} ask for {needed} "
            f"{kind} conversations, but only {have} pass selection "
            f"(left out: {counts_text(reasons[kind]) or 'none'}); "
            "ask for fewer, fill up with the other types: data.short=spread, or take all there "
            "are: data.per_type=null data.conversations=null"
        )
