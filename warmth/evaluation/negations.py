"""The negations of a clause, the only English words (with yes and no) that the rules for open
answers know.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

from warmth.evaluation.spelling import spell

# As `spelling.py` leaves them: n't is "not", cannot "can not".
NEGATIONS = frozenset(
    ("not", "no", "never", "neither", "nor", "none", "nobody", "without", "unlike")
    + ("false", "untrue", "wrong", "incorrect", "myth", "misconception")
)


def count_negations(clause: str, question: str) -> int:
    """Return how many negations a spelled clause has.

    Words that repeat the question deny nothing: in "a bird that cannot fly is …" for "Which bird
    cannot fly?" the question has the negation before the same word.
    """
    words = clause.split()
    if NEGATIONS.isdisjoint(words):
        return 0
    repeated = _negations_of(question)
    count = 0
    for word, following in pairwise([*words, ""]):
        if word in NEGATIONS and (word, following) not in repeated:
            count += 1
    return count


@lru_cache(maxsize=65536)
def _negations_of(question: str) -> frozenset[tuple[str, str]]:
    """Return each negation of a question with the word after it."""
    words = spell(question).words.split()
    return frozenset(pair for pair in pairwise([*words, ""]) if pair[0] in NEGATIONS)
