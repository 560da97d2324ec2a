r"""The number grader: results of arithmetic, compared as values.

Four kinds of evidence, the first that there is counts, of it the last number; what stands in
parentheses never does:

1. A declared result: after "####", in "\boxed{}", after "answer" or "result" and "is", "=" or ":".
2. A sentence that is only a number, perhaps with a unit of the question: "42 apples!" The mark of a
   list ("1. She has …") is none.
3. A number right after "is", "has", "=" or ":".
4. The only number.

Several numbers without any of these: no label (`names_both`). No number: no label
(`names_neither`). 1.2k is 1200, and 5 % is 0.05 unless the question speaks of percent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from warmth.evaluation.grade.by_rules import ByRules
from warmth.evaluation.grade.refusals import declines
from warmth.evaluation.grade.unscored import unreadable
from warmth.evaluation.spelling import HEART, PLAIN, spell
from warmth.types import Answer, Grade, Question

FRACTION = re.compile(r"\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}")
BOXED = re.compile(r"\\boxed\s*\{")
MARKUP = re.compile(r"\\[a-z]+|\\[^a-z\s]|[_`$£€{}\"']|\*+(?! ?[\d(])|(?<!\d)(?<!\d )\*+")
ASIDE = re.compile(r"\([^()]*\)")
COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))|(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))")

BLANKS = re.compile(r"[ \t\u00a0]+")

DECLARES = "####"
VALUE = (
    r"(?<![\w.])(?P<value>-?(?:\d+ "
    r")?\d+/[1-9]\d*|-?(?:\d+(?:\.\d+)?|\.\d+)(?:e[+-]?\d+)?)(?![\d/]*\d|\.\d)"
)
DECLARED = re.compile(
    rf"(?:{DECLARES}|\b(?:answer|result)\b(?: \w+){{0,4}}? ?(?:\bis\b|=|:)) *{VALUE}", re.I
)
ALONE = re.compile(
    rf"(?:^|[.!?] +)(?:= *)?{VALUE}(?!\. \S)(?: (?P<unit>\w+))? *(?=$|[^\w\s,;:+*/=×÷^-])",
    re.I | re.M,
)
PREDICATE = re.compile(rf"(?:\b(?:is|has)\b|=|:) *{VALUE}", re.I)
ANY = re.compile(VALUE, re.I)
STEPS = re.compile(r" *[-+*/×÷^=][^.!?\n,]*= *$")
SCALED = re.compile(rf"{VALUE} ?(?P<scale>k|thousand|million|billion)\b", re.I)
SCALES = {"k": 10**3, "thousand": 10**3, "million": 10**6, "billion": 10**9}
PERCENT = re.compile(rf"{VALUE} ?%")
ASKS_PERCENT = re.compile(r"percent|%", re.I)
OPERATOR = re.compile(r" *(?:[+*/×÷^]|- ?\d)")


@dataclass(frozen=True)
class Number(ByRules):
    """Grades arithmetic by the result that an answer declares, or by its only number."""

    name: ClassVar[str] = "number"
    serves: ClassVar[str] = "number"

    def grade(self, question: Question, answer: Answer) -> Grade:
        """Compare the result with the right one."""
        unread = unreadable(answer, self.name)
        if unread:
            return unread
        text = without_markup(answer.text, question.text)
        results = declared(text)
        if not results and answer.finish == "length":
            return Grade(answer.answer_id, self.name, None, reason="cut_off")
        results = results or stated(text, question.text)
        if len(results) == 1:
            right = results == {value_of(question.answers[0].replace(",", ""))}
            return Grade(answer.answer_id, self.name, "correct" if right else "incorrect")
        if not results and declines(spell(answer.text)):
            return Grade(answer.answer_id, self.name, "refused")
        return Grade(
            answer.answer_id, self.name, None, reason="names_both" if results else "names_neither"
        )


def without_markup(text: str, question: str) -> str:
    """Return a text without markup, asides and separators of thousands, its numbers written in
    digits alone.
    """
    text = HEART.sub("", text.translate(PLAIN))
    text = FRACTION.sub(r"\1/\2", text.replace("−", "-").replace("–", "-"))
    text = MARKUP.sub(" ", BOXED.sub(f" {DECLARES} ", text.replace("{,}", ",")))
    text = SCALED.sub(
        lambda number: str(value_of(number["value"]) * SCALES[number["scale"].lower()]),
        COMMA.sub("", text),
    )
    if "%" in text and not ASKS_PERCENT.search(question):
        text = PERCENT.sub(lambda number: str(value_of(number["value"]) / 100), text)
    without_asides = ASIDE.sub(" ", text)
    if ANY.search(without_asides):
        text = without_asides
    return BLANKS.sub(" ", text.replace("(", " ").replace(")", " "))


def declared(text: str) -> set[Fraction]:
    """Return the last result that is declared, nothing if none is."""
    matches = list(DECLARED.finditer(text))
    return {result(text, matches[-1])} if matches else set()


def result(text: str, declaration: re.Match[str]) -> Fraction:
    """Return what a declaration comes to: 42 in "the answer is 6 * 7 = 42"."""
    for number in ANY.finditer(text, declaration.end()):
        if STEPS.fullmatch(text, declaration.end(), number.start()):
            return result(text, number)
    return value_of(declaration["value"])


def stated(text: str, question: str) -> set[Fraction]:
    """Return the number that stands alone or after "is"; else all numbers."""
    clause_numbers = []
    for number in ALONE.finditer(text):
        if not number["unit"] or number["unit"] in question:
            clause_numbers.append(number)
    for numbers in (clause_numbers, PREDICATE.finditer(text)):
        results = [number for number in numbers if not OPERATOR.match(text, number.end())]
        if results:
            return {value_of(results[-1]["value"])}
    return {value_of(match["value"]) for match in ANY.finditer(text)}


def value_of(number: str) -> Fraction:
    """Return the value of a number as it is written: 42, -5, 4.2e1, 3/4, 1 3/4."""
    integer, _, fraction = number.rpartition(" ")
    if not integer:
        return Fraction(fraction)
    sign = -1 if integer.startswith("-") else 1
    return Fraction(integer) + sign * Fraction(fraction)
