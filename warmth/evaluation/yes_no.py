"""What an answer says to a yes/no question: its first decisive word, a statement on the claim, or a restatement."""

from __future__ import annotations

import re
from typing import Literal

from warmth.evaluation.matching import ASKED, SENTENCE
from warmth.evaluation.restating import NEGATION, SHARED, gist, stems_of

Verdict = Literal["yes", "no", "both", "unclear", "silent"]

# "Answer to your question is that …" says nothing yet.
LEAD = re.compile(r"^ (?:\| )*answer(?: to (?:this|that|your) question)? is(?: \|)?(?: that)?(?= )")
START = re.compile(
    r"^ (?:(?:well|oh|ah|hmm|so|actually|in fact|unfortunately|my answer is|i would say|i think) (?:\| )?)*(?:\| )*"
    r"(?:(?P<no>no(?! one| longer| matter| problem| worries| doubt)|nope|false|incorrect|wrong"
    r"|not (?:really|exactly|quite|at all|true|necessarily)|(?:absolutely|definitely|certainly|of course) not)"
    r"|(?P<yes>yes|yeah|yep|true|correct|absolutely|definitely|certainly|indeed))\b"
)
_CLAIM = "that|this|it|statement|claim|proposition|idea|belief|answer|assertion|notion"
_ADVERB = "actually|indeed|generally|completely|absolutely|entirely|simply|widely|quite|definitely|just|common|popular"
_WORD = "true|correct|accurate|right|yes|fact|false|incorrect|inaccurate|wrong|untrue|no(?! \\w)|myth|misconception"
TRUTH = re.compile(
    rf" (?<!while )(?<!although )(?<!though )(?<!if )(?<!whether )(?:{_CLAIM})"
    r"(?: (?:\S+ ){0,14}?)(?:is|are|was) (?:\| )?"
    rf"(?P<not>not )?(?:(?:{_ADVERB}) )*(?P<not2>not )?"
    rf"(?P<word>{_WORD})\b"
)
TRUTH_SIGNS = ("true", "correct", "accurate", " right", " yes", " fact", "false", "wrong", " no ", " myth", "misconcep")
TRUTH_WORD = re.compile(rf" (?:{_WORD})\b")
FALSE_WORDS = frozenset(("false", "incorrect", "inaccurate", "wrong", "untrue", "no", "myth", "misconception"))
MIXED = re.compile(
    r" (?:partly|partially|both|half) (?:true|right|correct|yes)\b| true and false\b| yes and no\b"
    r"| it depends\b| to some extent\b"
)
MIXED_SIGNS = (" part", " both ", " half ", "true and false", "yes and no", "it depends", "to some extent")
DISTANCE = re.compile(
    r" (?:if|whether|idea|belief|claim|notion|some|many|people|often|theory|may|might|could|question|statement|but"
    r"|although|while)\b"
)


def verdict(text: str, question: str) -> Verdict:
    """Reads a marked answer.

    Returns:
        yes or no; `both` for an answer that grants each something; `unclear` for statements that contradict each other;
        `silent` where the rules find none.
    """
    if any(map(text.__contains__, MIXED_SIGNS)) and MIXED.search(text):
        return "both"
    said = {*_first_word(text), *_statements(text)}
    if not said:
        said = _restated(text, question)
    if len(said) == 1:
        return "yes" if "yes" in said else "no"
    return "unclear" if said else "silent"


def _first_word(text: str) -> set[str]:
    for sentence in text.split(SENTENCE, 2)[:2]:
        found = START.match(LEAD.sub("", f" {sentence.strip()} "))
        if found:
            return {"no"} if found["no"] else {"yes"}
    return set()


def _statements(text: str) -> set[str]:
    """Truth values given to "that", "the statement", "the idea that …", in sentences that are no questions."""
    said: set[str] = set()
    for sentence in text.split(SENTENCE) if any(map(text.__contains__, TRUTH_SIGNS)) else ():
        if sentence.rstrip().endswith(ASKED) or not TRUTH_WORD.search(sentence):
            continue
        for found in TRUTH.finditer(f" {sentence.strip()} "):
            false = (found["word"] in FALSE_WORDS) != bool(found["not"] or found["not2"])
            said.add("no" if false else "yes")
    return said


def _restated(text: str, question: str) -> set[str]:
    """The polarity of sentences that repeat the question's words; nothing where the question itself is negated."""
    asked, said = gist(question), set()
    for sentence in text.split(SENTENCE) if asked.words and not asked.negated else ():
        if asked.focus not in sentence:
            continue
        sentence = LEAD.sub("", f" {sentence.strip()} ")
        own = stems_of(sentence)
        if asked.focus in own and asked.share(own) >= SHARED and ASKED not in own and not DISTANCE.search(sentence):
            said.add("no" if NEGATION.search(sentence) else "yes")
    return said
