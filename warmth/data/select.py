"""Which conversations are taken: drawn in an order fixed by `draw_seed`, each looked at until every type has enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from warmth.data.contamination import Overlap
from warmth.data.filters import Likeness, Scores, language_of
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
    scores: list[dict[str, Any]] = field(default_factory=list)  # toxicity of everything the classifier saw
    overlaps: list[dict[str, str]] = field(default_factory=list)  # conversations with a question in them


def select(
    candidates: list[Candidate], data: Data, ledger: Ledger, questions: list[str], classify: Scores | None
) -> Selection:
    """Walks the candidates in their order and takes each that passes, until its type has enough.

    Filters stand in the order of their cost, and nothing is filtered that is not needed: the outcome is the one of
    filtering all first, except that what was never looked at is counted as `not_drawn`. Held-out conversations come
    after the trained ones in the same walk, so they share no opening, tree or near-duplicate with them.

    Raises:
        UserError: a type runs short.
    """
    stage = ledger.stage("select", "conversations")
    wanted = dict.fromkeys(TYPES, data.per_type) if data.per_type is not None else None
    if wanted is None and data.conversations is not None:
        wanted = shares(data.conversations)
    later = shares(data.held_out)
    trained, held = Counter[str](), Counter[str]()
    result, sieve = Selection(), Sieve(data, questions, classify)
    reasons: dict[str, Counter[str]] = {name: Counter() for name in TYPES}
    for candidate in candidates:
        stage.take()
        kind = candidate.type
        # without a number for training, the held-out ones are taken first and all the rest is trained on
        is_held = held[kind] < later[kind] and (wanted is None or trained[kind] >= wanted[kind])
        if not is_held and wanted is not None and trained[kind] >= wanted[kind]:
            stage.drop("not_drawn")
            continue
        conversation = candidate.conversation()
        reason = sieve.reject(candidate, conversation, result)
        if reason:
            stage.drop(reason)
            reasons[kind][reason] += 1
            continue
        stage.keep()
        (held if is_held else trained)[kind] += 1
        (result.held_out if is_held else result.conversations).append(conversation)
    stage.details |= {
        "trained": {name: trained[name] for name in TYPES},
        "held_out": {name: held[name] for name in TYPES},
        "drops_by_type": {name: dict(sorted(found.items())) for name, found in reasons.items()},
    }
    _refuse_short(data, wanted, later, trained, held, reasons)
    result.conversations.sort(key=lambda item: TYPES.index(item.type))  # stable: drawn order within a type
    result.held_out.sort(key=lambda item: TYPES.index(item.type))
    return result


class Sieve:
    """The filters, in the order of their cost."""

    def __init__(self, data: Data, questions: list[str], classify: Scores | None):
        self.data, self.classify = data, classify
        self.openings: set[bytes] = set()
        self.likeness = Likeness(data.near_duplicate)
        self.overlap = Overlap(questions, data.overlap_words)

    def reject(self, candidate: Candidate, conversation: Conversation, result: Selection) -> str | None:
        """Why a conversation is not taken; None takes it, and remembers it for those that come after."""
        texts = list(texts_of(conversation))
        if candidate.opening in self.openings:
            return "same_opening"
        near, sketch = self.likeness.near(conversation.turns[0].user)
        if near is not None:
            return "near_duplicate"
        if self.data.languages and language_of("\n".join(texts)) not in (None, *self.data.languages):
            return "other_language"
        question = self.overlap.find(texts)
        if question is not None:
            result.overlaps.append({"id": conversation.id, "question": question})
            return "overlaps_a_question"
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
    """Every text of a conversation in plain style."""
    if conversation.system:
        yield conversation.system
    for turn in conversation.turns:
        yield turn.user
        yield turn.replies["plain"]


def shares(total: int) -> dict[str, int]:
    """How many of each type, so that no two differ by more than one."""
    base, more = divmod(total, len(TYPES))
    return {name: base + (place < more) for place, name in enumerate(TYPES)}


def _refuse_short(
    data: Data,
    wanted: dict[str, int] | None,
    later: dict[str, int],
    trained: Counter[str],
    held: Counter[str],
    reasons: dict[str, Counter[str]],
) -> None:
    for name in TYPES:
        need = (wanted[name] if wanted else 0) + later[name]
        have = trained[name] + held[name]
        if have >= need:
            continue
        key = "per_type" if data.per_type is not None else "conversations"
        asked = f"data.{key}={getattr(data, key)} and data.held_out={data.held_out} ask for {need}"
        lost = ", ".join(f"{reason} {count}" for reason, count in reasons[name].most_common()) or "none"
        raise UserError(
            f"{asked} {name} conversations, but only {have} pass selection (left out: {lost}); "
            "ask for fewer, or take all there are: data.per_type=null data.conversations=null"
        )
