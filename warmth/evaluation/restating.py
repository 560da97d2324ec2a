"""Which sentences speak to a question: those that repeat its words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from warmth.evaluation.matching import REMEMBERED, normalise

SHARED = 0.75  # of a question's content words that a restating sentence must hold
SPEAKS = 0.25  # what holds fewer does not speak to the question
NEGATION = re.compile(
    r" (?:not(?! only| just| un(?:common|usual|likely)| impossible| rare\b)|no(?! exception| different| doubt)|never"
    r"|neither|nor|none|without|myth|misconception|false|incorrect|untrue"
    r"|(?<!not )unlikely|hardly|rarely|fictional|fictitious|fabricated|hoax)\b"
)
FILLER = re.compile(
    r"is|are|was|were|be|been|am|do|does|did|has|have|had|can|could|will|would|it|this|that|of|in|on|at|to|for|from|by"
    r"|with|and|or|as|than|true|statement|answer|yes|no|only|ever|really|actually|there|any|what|which|who|whom|whose"
    r"|when|where|why|how|name|much|many"
)
ENDINGS = ("ing", "ed", "es", "s", "e")


@dataclass(frozen=True)
class Gist:
    """What a question is about."""

    words: frozenset[str]  # stems of its content words
    focus: str  # the last of them, often what a yes/no question asks of its subject
    negated: bool

    def share(self, stems: set[str]) -> float:
        """Share of the content words among some stems; 0 where the question has none."""
        return len(self.words & stems) / len(self.words) if self.words else 0.0


@lru_cache(maxsize=65536)
def gist(question: str) -> Gist:
    """The content words of a question."""
    text = f" {normalise(question)} "
    stems = [stem(word) for word in text.split() if not FILLER.fullmatch(word)]
    return Gist(frozenset(stems), stems[-1] if stems else "", NEGATION.search(text) is not None)


class Stems(dict[str, str]):
    """Words with their stems, found when first met."""

    def __missing__(self, word: str) -> str:
        if len(self) >= REMEMBERED:
            self.clear()
        found = self[word] = stem(word)
        return found


STEMS = Stems()


def stem(word: str) -> str:
    """Rough: "causes", "caused" and "cause" are one word. Always a beginning of the word."""
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def stems_of(text: str) -> set[str]:
    """The stems of a marked text's words."""
    return set(map(STEMS.__getitem__, text.split()))
