"""Yes/no questions: what an answer says of the claim that the question asks about.

Three kinds of evidence, the first that settles it counts:

1. A verdict on it: "That is true", "It's a myth", "False!", "The answer is no". "Dreams come true"
   is none.
2. A clause that repeats the claim (two thirds of its longer words, or half if it ends in the last
   one): no if it has a negation ("There is no evidence that bats are blind", "Bats are not blind"),
   else yes. A negation before the claim must touch it ("They are not blind") or be tied to it by
   "that"; "don't worry bats are blind" says nothing, and neither do several negations.
3. A clause that is just "yes" or "no", alone in its sentence but for one or two words ("Yes,
   sweetheart!"), before a clause with one of the question's longer words, or at the end ("The
   answer: no"). "Yes, I hear you" says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from warmth.evaluation.negations import NEGATIONS, count_negations
from warmth.evaluation.spelling import COMMA, LONG, STEM, Spelled, spell, stems
from warmth.types import Question
from warmth.verdicts import Label

VERDICT = re.compile(
    r" (?:\w+ly )?(?:(?:it|that|this|which|claim|statement|idea|belief|answer) )?(?:one )?(?:is "
    r"|was )?"
    r"(?P<negation>not |no )?"
    r"(?:(?:just|so|old|popular|common|total|complete|absolute|quite|very|\w+ly) )*"
    r"(?P<word>true|correct|false|untrue|incorrect|myth|misconception) "
)
DECLARED = re.compile(r" (?:is|answer) (?P<word>yes|no) $")
# "It is a myth that in Arizona, …": the comma ends no clause
ENDS_IN_THAT = re.compile(rf"( (?:{'|'.join(NEGATIONS)})(?: \w+)? that(?: \w+){{0,4}}) {COMMA}")
# How a clause with a verdict ends
VERDICTS = (
    " yes ",
    " no ",
    "true ",
    "correct ",
    " false ",
    " myth ",
    " misconception ",
)
TRUE = frozenset(("true", "correct"))
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
    """Return what an answer says by the first kind of evidence that settles it, both if none
    does.
    """
    all_verdicts = set()
    for evidence in (judged, restated, bare):
        verdicts = set(evidence(text, question))
        if len(verdicts) == 1:
            return verdicts
        all_verdicts |= verdicts
    return all_verdicts


def judged(text: Spelled, question: str) -> Iterator[str]:
    """Yield the verdict of each clause that says of something that it is true or false."""
    for sentence in text.sentences:
        for clause in sentence.split(COMMA):
            if not clause.endswith(VERDICTS):
                continue
            declared = DECLARED.search(clause)
            if declared:
                yield declared["word"]
            verdict = VERDICT.fullmatch(clause)
            if verdict:
                says_true = (verdict["word"] in TRUE) != bool(verdict["negation"])
                yield "yes" if says_true else "no"


def restated(text: Spelled, question: str) -> Iterator[str]:
    """Yield yes or no for each clause that repeats the claim and is no question."""
    claim = claim_of(question)
    if f" {claim.last}" not in text.words:
        return
    for sentence in text.sentences:
        if f" {claim.last}" not in sentence:
            continue
        if " that " in sentence:
            sentence = ENDS_IN_THAT.sub(r"\1", sentence)
        for clause in sentence.split(COMMA):
            if f" {claim.last}" not in clause or " whether " in clause:
                continue  # the second only names the question
            share = len(claim.stems & stems(clause)) / len(claim.stems)
            if share >= 2 / 3 or (share >= 1 / 2 and clause.split()[-1][:STEM] == claim.last):
                verdict = verdict_of(clause, claim, question)
                if verdict:
                    yield verdict


def verdict_of(clause: str, claim: Claim, question: str) -> str | None:
    """Return yes or no for a clause that repeats a claim, None if it is not clear what its
    negations deny.
    """
    negations = count_negations(clause, question)
    if negations == 0:
        return "yes"
    words = clause.split()
    begin = next(index for index, word in enumerate(words) if word[:STEM] in claim.stems)
    # "bats are not blind", "not blind"
    is_within = NEGATIONS.isdisjoint(words[: max(0, begin - 1)])
    is_tied = negations == 1 and "that" in words[: begin + 1]
    return "no" if is_within or is_tied else None


def bare(text: Spelled, question: str) -> Iterator[str]:
    """Yield each yes or no that is a sentence but for few words, or stands before words of the
    question.
    """
    if " yes " not in text.words and " no " not in text.words:
        return
    claim = claim_of(question)
    for sentence in text.sentences:
        if " yes " not in sentence and " no " not in sentence:
            continue
        clauses = sentence.strip(" ,").split(COMMA)
        for index, clause in enumerate(clauses):
            clause = clause.strip()
            if clause not in BARE:
                continue
            after = " ".join(clauses[index + 1 :])
            is_alone = index == 0 and len(after.split()) <= ASIDE
            is_last = index > 0 and not after
            if is_alone or is_last or claim.stems & stems(after):
                yield BARE[clause]
