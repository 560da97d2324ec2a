"""Yes/no questions: what an answer says of the claim that the question asks about.

Three kinds of evidence, the first that settles it counts:

1. A short clause that ends in a word for true or false ("That is true", "It's a myth"), in "is yes" or in "is no".
2. A clause that repeats the claim (two thirds of its longer words, or half if it ends in the last one): no if it has an
   odd number of negations ("There is no evidence that bats are blind"), else yes.
3. A clause that is just "yes" or "no", alone in its sentence but for one or two words ("Yes, sweetheart!"), before a
   clause with one of the question's longer words, or at the end ("The answer: no"). "Yes, I hear you" says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from warmth.evaluation.negations import NEGATIONS, count_negations
from warmth.evaluation.spelling import COMMA, LONG, STEM, Spelled, spell, stems
from warmth.types import Question
from warmth.verdicts import Label

TRUE, FALSE = frozenset(("true", "correct")), frozenset(("false", "untrue", "incorrect", "myth", "misconception"))
SHORT = 6  # words of a clause that gives a verdict on what stands elsewhere
ASIDE = 2  # words beside a "yes" or "no" that is a sentence of its own
BARE = {"yes": "yes", "no": "no", "but yes": "yes", "but no": "no"}


class Claim(NamedTuple):
    """What a yes/no question asks about."""

    stems: frozenset[str]  # of its longer words
    last: str  # the last of them


@lru_cache(maxsize=65536)
def claim_of(question: str) -> Claim:
    """Return the stems of a question's longer words."""
    words = spell(question).words.split()
    longer = [word[:STEM] for word in words if len(word) >= LONG]
    return Claim(frozenset(longer), longer[-1] if longer else "")


def answer_yes_or_no(text: Spelled, question: Question) -> tuple[Label | None, str]:
    """Return the label of an answer to a yes/no question, or the reason why it has none."""
    verdicts = said_of(text, question.proposition or question.text)
    if len(verdicts) == 1:
        return "correct" if verdicts == {question.answers[0].casefold()} else "incorrect", ""
    return None, "names_both" if verdicts else "names_neither"


def said_of(text: Spelled, question: str) -> set[str]:
    """Return what an answer says by the first kind of evidence that settles it, both if none does."""
    all_verdicts = set()
    for evidence in (judged, restated, bare):
        verdicts = set(evidence(text, question))
        if len(verdicts) == 1:
            return verdicts
        all_verdicts |= verdicts
    return all_verdicts


def judged(text: Spelled, question: str) -> Iterator[str]:
    """Yield the verdict of each short clause with a word for true or false."""
    for clause in text.clauses:
        words = clause.split()
        if len(words) > SHORT or words[0] in NEGATIONS:
            continue
        if words[-1] in TRUE or words[-1] in FALSE:
            yield polarity(clause, question)
        elif words[-2:] in (["is", "yes"], ["is", "no"]):
            yield words[-1]


def restated(text: Spelled, question: str) -> Iterator[str]:
    """Yield yes or no for each clause that repeats the claim and is no question."""
    claim = claim_of(question)
    clauses = [clause for sentence in text.sentences for clause in sentence.split(COMMA) if clause.strip()]
    for clause in clauses:
        repeated = claim.stems & stems(clause)
        share = len(repeated) / max(1, len(claim.stems))
        ends_alike = clause.split()[-1][:STEM] == claim.last
        if " whether " in clause:
            continue  # names the question, and answers nothing
        if claim.last in repeated and (share >= 2 / 3 or (share >= 1 / 2 and ends_alike)):
            yield polarity(clause, question)


def bare(text: Spelled, question: str) -> Iterator[str]:
    """Yield each yes or no that is a sentence but for few words, or stands before words of the question."""
    claim = claim_of(question)
    for sentence in text.sentences:
        opening, *following = [clause.strip() for clause in sentence.strip(" ,").split(COMMA)]
        after = " ".join(following)
        if opening in BARE and (len(after.split()) <= ASIDE or claim.stems & stems(after)):
            yield BARE[opening]
        elif following and following[-1] in BARE:
            yield BARE[following[-1]]


def polarity(clause: str, question: str) -> str:
    """Return no for a clause with an odd number of negations, else yes."""
    return "no" if count_negations(clause, question) % 2 else "yes"
