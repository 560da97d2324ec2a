"""The letter grader: multiple choice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from warmth.evaluation.assertions import stance
from warmth.evaluation.by_rules import ByRules
from warmth.evaluation.matching import CLAUSE, marked, normalise
from warmth.evaluation.unscored import undecided, unreadable
from warmth.types import Answer, Grade, Question

BLANKS = re.compile(r"[ \t]+")
ONE = r"(?<![\w-])\(?[A-J]\b\)?"  # no part of "RNA"
# "B", "A or B", "(A), (B) and (C)"; "B and C is wrong" names B alone
SEVERAL = rf"{ONE}(?:(?:, ?{ONE})*,? ?(?:or|and|/|&) ?(?:(?i:option|choice|answer) )?{ONE}(?! (?:is|are|was)\b))?"
CHOSEN = rf"{SEVERAL}(?! +(?!(?:because|since|as|but)\b)[a-z])"  # not "A good question", nor "B cells"
NOT = r"(?:\b(?:[Nn]ot|[Nn]either|[Nn]or|[Rr]ather than|[Ii]nstead of)|[Cc]annot|n't)"
DOUBT = r"(?:be|is|it|either|the|answer|option|choice|letter|sure|know|think|believe|that|if|whether)"
DENIED = re.compile(
    rf"(?:,? (?:and|but))? ?{NOT} (?:{DOUBT} ){{0,5}}{SEVERAL}"
    rf"|{ONE} (?:is|are|was)(?:n't| not(?! only)| (?:\w+ )?(?:wrong|incorrect|false))\b"
)
DECLARED = re.compile(
    rf"(?i:answer|option|choice)(?: \w+){{0,3}}?(?: (?:is|be)\b| ?:)(?:,? \w+){{0,2}}?:?\s*({CHOSEN})"
    rf"|\b(?:(?:[Ii]t(?:'s| is| must be))(?:,? but| rather)*|choose|pick|select)(?: option)? ({CHOSEN})"
    rf"|({ONE}) (?:is|seems|would be) (?:the )?(?:\w+ )?(?:correct|right|answer)\b"
    rf"|\\boxed\{{(?:\\text\{{)?({CHOSEN})"
)
NAMED = re.compile(rf"(?i:answer|option|choice)(?: \w+){{0,3}}? ({CHOSEN})")
FIRST = re.compile(rf"^\W*(?:(?:but|so) )?(?:({CHOSEN})(?:\W|$)(?!\s*[a-z])|({ONE})[.):])")


@dataclass(frozen=True)
class Letter(ByRules):
    """Multiple choice: the letter the answer settles on, or the one option whose text it gives."""

    name: ClassVar[str] = "letter"
    serves: ClassVar[str] = "letter"

    def grade(self, question: Question, answer: Answer) -> Grade:
        """Compares the letter with the right one; several different letters are ambiguous."""
        unread = unreadable(answer, self.name)
        if unread:
            return unread
        letters = settled(unlettered(answer.text, question.options)) & set(question.options)
        letters = letters or stated(answer.text, question.options)
        if len(letters) == 1:
            return Grade(answer.answer_id, self.name, "correct" if letters == {question.answers[0]} else "incorrect")
        return undecided(answer, self.name)


def unlettered(text: str, options: Mapping[str, str]) -> str:
    """An answer without the texts of options that hold a letter of their own: "Vitamin C", "both A and B"."""
    named = [option.strip(" .") for option in options.values()]
    lettered = [name for name in named if letters_of([name]) and not re.fullmatch(ONE, name)]
    if not lettered:
        return text
    words = "|".join(r"\s+".join(map(re.escape, name.split())) for name in sorted(lettered, key=len, reverse=True))
    # by a word: no letter after it begins the answer
    return re.sub(rf"(?<!\w)(?:{words})(?!\w)", "_", text, flags=re.IGNORECASE)


def settled(text: str) -> set[str]:
    """The letters an answer declares, else those it calls an option, else the one it begins with; none it denies."""
    text = BLANKS.sub(" ", text.replace("*", "").replace("’", "'"))
    text = BLANKS.sub(" ", DENIED.sub("", text))
    for pattern in (DECLARED, NAMED, FIRST):
        found = {letter for one in pattern.finditer(text) for letter in letters_of(filter(None, one.groups()))}
        if found:
            return found
    return set()


def letters_of(pieces: Iterable[str]) -> set[str]:
    """The capital letters that stand alone in some pieces of text."""
    return {letter for piece in pieces for letter in re.findall(r"\b[A-J]\b", piece)}


def stated(text: str, options: Mapping[str, str]) -> set[str]:
    """The letters of the options whose text an answer gives and neither denies nor reports as what others think."""
    texts: dict[str, set[str]] = {}
    for letter, option in options.items():
        texts.setdefault(normalise(option), set()).add(letter)  # "11" and "-11" are one name
    texts.pop("", None)
    if not texts:
        return set()
    longest = sorted(texts, key=len, reverse=True)  # "dark blue" is not "blue"
    words = "|".join(rf" (?:\{CLAUSE} )*".join(map(re.escape, name.split())) for name in longest)
    said = marked(text)
    return {
        letter
        for one in re.finditer(rf" (?:{words})(?= )", said)
        if stance(said, one.start() + 1, one.end(), alone=False) not in ("denied", "mentioned")
        for letter in texts[one[0][1:].replace(f"{CLAUSE} ", "")]
    }
