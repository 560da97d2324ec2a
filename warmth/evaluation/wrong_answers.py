"""A plausible wrong answer for a question that comes without one: the right answer of another question like it."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence

from warmth.evaluation.spelling import spell_name
from warmth.types import Question

ASKS = re.compile(
    r"\b(who|whose|whom|when|where|why|how (?:many|much|long|old|far|tall)|how|which|what)\b(?: (\w+))?", re.IGNORECASE
)
MONTH = re.compile(
    r"\b(?:january|february|march|april|may|june|july|august|september|october|november|december)\b", re.IGNORECASE
)
NOT_A_NOUN = re.compile(r"is|are|was|were|did|does|do|has|had|have|can|could|would|will|the|a|an|in|of")


def asks(text: str) -> tuple[str, str]:
    """What a question asks for: its question word, and the noun after which or what; "" where there is none."""
    found = ASKS.search(text)
    if found is None:
        return "", ""
    word, noun = found[1].lower(), (found[2] or "").lower()
    return word, noun if word in ("which", "what") and not NOT_A_NOUN.fullmatch(noun) else ""


def shape(answer: str) -> str:
    """The form of an answer: number, year, date, or how many words of which kind."""
    words = answer.split()
    if re.fullmatch(r"1\d{3}|20\d{2}", answer.strip()):
        return "year"
    if re.fullmatch(r"[\d.]+", spell_name(answer)):
        return "number"
    if MONTH.search(answer) and any(char.isdigit() for char in answer):
        return "date"
    if any(char.isdigit() for char in answer):
        return "words with a number"
    capital = all(word[:1].isupper() or word.lower() in ("the", "of", "and", "a", "de", "von", "van") for word in words)
    count = "one" if len(words) == 1 else "two" if len(words) == 2 else "several"
    return f"{count} {'capitalised' if capital else 'plain'}"


class WrongAnswers:
    """Draws from the answers of a whole file: what a question gets does not depend on which others are asked."""

    def __init__(self, questions: Sequence[Question], draw_seed: int):
        self._draw_seed = draw_seed
        self._pools: dict[tuple[str, ...], list[Question]] = defaultdict(list)
        for question in sorted(questions, key=lambda question: question.id):
            for key in self._keys(question):
                self._pools[key].append(question)

    @staticmethod
    def _keys(question: Question) -> list[tuple[str, ...]]:
        """Pools a question belongs to, the most alike first."""
        word, noun = asks(question.text)
        form = shape(question.answers[0])
        return [*([(word, noun, form)] if noun else []), (word, form), (form,), ()]

    def draw(self, question: Question) -> str | None:
        """Another question's answer, right under no alias of this one and not named in it; None when there is none."""
        for key in self._keys(question):
            pool = self._pools[key]
            start = random.Random(f"{self._draw_seed} {question.id}").randrange(len(pool))
            for other in (*pool[start:], *pool[:start]):
                if other.id != question.id and not overlaps(other.answers[0], question):
                    return other.answers[0]
        return None


def overlaps(candidate: str, question: Question) -> bool:
    """Whether a candidate is, contains or is contained in an accepted answer, or stands in the question itself."""
    wrong = f" {spell_name(candidate)} "
    if wrong.strip() == "" or wrong in f" {spell_name(question.text)} ":
        return True
    rights = [f" {spell_name(alias)} " for alias in question.answers]
    return any(wrong in right or (right.strip() and right in wrong) for right in rights)
