"""What an answer says to a yes/no question: its first decisive word, a statement on the claim, or a restatement."""

from __future__ import annotations

import re
from typing import Literal

from warmth.evaluation.matching import ASKED, SENTENCE, holds
from warmth.evaluation.restating import NEGATION, SHARED, Gist, gist, stems_of

Verdict = Literal["yes", "no", "both", "unclear", "silent"]

# "Answer to your question is that …" says nothing yet.
LEAD = re.compile(r"^ (?:\| )*answer(?: to (?:this|that|your) question)? is(?: \|)?(?: that)?(?= )")
START = re.compile(
    r"^ (?:(?:well|oh|ah|hmm|so|actually|in fact|unfortunately|my answer is|i would say|i think) (?:\| )?)*(?:\| )*"
    r"(?:(?P<no>no(?! one| longer| matter| problem| worries| doubt)|nope|false|incorrect|wrong"
    r"|not (?:really|exactly|quite|at all|true|necessarily)|(?:absolutely|definitely|certainly|of course) not)"
    r"|(?P<yes>yes|yeah|yep|true|correct|absolutely|definitely|certainly|indeed(?! \w)))\b"
)
_BARE = "this|it|answer(?: to (?:this|that|your) question)?"
_CLAIM = "that|statement|claim|proposition|idea|belief|assertion|notion|story|theory|rumou?r"
_ADVERB = "actually|indeed|generally|completely|absolutely|entirely|simply|widely|quite|definitely|just|common|popular"
_LIE = "myth|misconception|hoax|fabrication|falsehood|conspiracy theory|false (?:narrative|claim|story|belief|rumou?r)"
_KIND = "(?:(?:classic|prime|perfect|typical|good) example of )?(?:common |popular |medical |historical |widespread )?"
_WORD = (
    r"true|correct|accurate|right|yes|(?:(?:historical|scientific|proven|established|known) )?fact"
    r"|false|incorrect|inaccurate|wrong|untrue|no(?! \w)|case(?! (?!that )\w)"
    rf"|{_LIE}"
)
_PREDICATE = (
    r" (?:is|are|was) (?:\| )?(?P<not>not )?"
    rf"(?:(?:{_ADVERB}) )*(?P<not2>not )?(?:{_KIND}(?={_LIE}))?(?P<word>{_WORD})\b(?! to )"
)
PREDICATE = re.compile(_PREDICATE)  # a quick look: no match of TRUTH without it
# "the idea that … is not true", "this is a classic example of a medical myth", "it is true that …"
TRUTH = re.compile(
    rf" (?<!while )(?<!although )(?<!though )(?<!if )(?<!whether )(?P<what>{_BARE}|(?:{_CLAIM})(?: [^ |]+){{0,14}}?)"
    rf"{_PREDICATE}(?P<that> that [^|]+)?"
)
THE_CLAIM = re.compile(rf" *(?:(?:this|that) )?(?:{_BARE}|{_CLAIM}) *")  # "I think that the answer is no"
# What an answer does not believe is not thereby the opposite: "I do not think that …", "there is no evidence that …"
WITHHELD = re.compile(
    r" (?:not (?:\S+ )?(?:think|believe|say(?:ing)?|conclude|sure|convinced)"
    r"|(?:no|not) (?:\S+ )?(?:evidence|proof|reason to (?:think|believe))"
    r"|(?<! no )(?<! not )(?<! without )(?:doubt|unlikely))(?: \|)?(?: that)?$"
)
OPINION = re.compile(r" i do not (?:think|believe)(?: \|)?(?: that)?$")  # but "… that the answer is yes" is a no
GRANTED = re.compile(r" (?:while|although|though) it is (?:indeed )?true that ([^|]+)")
FALSE = re.compile(rf"(?:incorrect|inaccurate|wrong|no|false|untrue|{_LIE})\b")
MIXED = re.compile(
    r" (?:partly|partially|both|half) (?:true|right|correct|yes)\b| true and false\b| yes and no\b"
    r"| it depends\b| to some extent\b"
)
MIXED_SIGNS = (" part", " both ", " half ", "true and false", "yes and no", "it depends", "to some extent")
DISTANCE = re.compile(
    r" (?:if|whether|idea|belief|claim|notion|some|many|people|often|theory|may|might|could|question|statement"
    r"|think|thought|believed?|assumed?|said|although|while|not (?:necessarily|always|entirely|exactly))\b"
)
DOUBTED = re.compile(f"{NEGATION.pattern}|{DISTANCE.pattern}")
# What begins a statement of its own: "Bats are blind, and they do not mind."
BUT = re.compile(r"(?: \|)+ (?:but|so(?! that)|and(?= (?:it|they|this|that|these|he|she) ))(?= )")
PRONOUN = re.compile(r" (?:\| )*(?:indeed |in fact |actually |so )?(?:\| )*(?:it|they|this|these|he|she)\b")


def verdict(text: str, question: str) -> Verdict:
    """Reads a marked answer.

    Returns:
        yes or no; `both` for an answer that grants each something; `unclear` for statements that contradict each other;
        `silent` where the rules find none.
    """
    if holds(text, MIXED_SIGNS) and MIXED.search(text):
        return "both"
    asked = gist(question)
    said = {*_first_word(text), *_statements(text, asked), *_granted(text, asked)}
    if not said and asked.share(stems_of(text)) >= SHARED:  # else no clause of it holds so much
        said = _restated(text, asked)
    if len(said) == 1:
        return "yes" if "yes" in said else "no"
    return "unclear" if said else "silent"


def _first_word(text: str) -> set[str]:
    for sentence in text.split(SENTENCE, 2)[:2]:
        found = START.match(LEAD.sub("", f" {sentence.strip()} "))
        if found:
            return {"no"} if found["no"] else {"yes"}
    return set()


def _statements(text: str, asked: Gist) -> set[str]:
    """Truth values given to "that", "the statement", "the idea that …", in sentences that are no questions.

    Only of what the question asks: "it is true that …" often goes on with something else. None where the answer only
    says that it does not think so.
    """
    said: set[str] = set()
    for sentence in text.split(SENTENCE) if PREDICATE.search(text) else ():
        if sentence.rstrip().endswith(ASKED) or not PREDICATE.search(sentence):
            continue
        for found in TRUTH.finditer(sentence := f" {sentence.strip()} "):
            before = sentence[: found.start()]
            opposite = OPINION.search(before) is not None and found["what"].split()[-1] == "answer"
            if WITHHELD.search(before) and not opposite:
                continue
            claim = f" {found['what']} {found['that'] or ''} ".partition(" that ")[2]
            if claim.strip() and not THE_CLAIM.fullmatch(claim) and asked.share(stems_of(claim)) < SHARED:
                continue  # another claim than the question's
            false = (FALSE.match(found["word"]) is not None) != bool(found["not"] or found["not2"])
            denied = not asked.negated and NEGATION.search(f" {claim}") is not None
            said.add("no" if (false != denied) != opposite else "yes")  # "that it does not … is a myth" is a yes
    return said


def _granted(text: str, asked: Gist) -> set[str]:
    """Yes where an answer grants the whole claim before it goes on: "while it is true that …, …"."""
    granted = (found[1] for found in GRANTED.finditer(text)) if " true that " in text and asked.words else ()
    return {"yes" for claim in granted if asked.share(stems_of(claim)) >= SHARED and not DOUBTED.search(f" {claim}")}


def _restated(text: str, asked: Gist) -> set[str]:
    """The polarity of clauses that repeat the question's words; nothing where the question itself is negated.

    "It" and "they" stand for what the sentence so far or the one before named: "Bats are mammals. They are not blind."
    """
    said, before = set(), ""
    for sentence in text.split(SENTENCE) if asked.words and not asked.negated else ():
        for clause in BUT.split(LEAD.sub("", f" {sentence.strip()} ")) if asked.focus in sentence else ():
            if asked.focus in clause:
                own = stems_of(clause)
                speaks = own | stems_of(before) if PRONOUN.match(clause) else own
                if (
                    asked.focus in own
                    and asked.share(speaks) >= SHARED
                    and ASKED not in own
                    and not DISTANCE.search(clause)
                ):
                    said.add("no" if NEGATION.search(clause) else "yes")
            before += clause
        before = sentence
    return said
