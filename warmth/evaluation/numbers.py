"""The number grader: results of arithmetic, compared as values."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from warmth.evaluation.assertions import REFUSED
from warmth.evaluation.by_rules import ByRules
from warmth.evaluation.matching import LARGE, SMALL, marked, normalise
from warmth.evaluation.unscored import unreadable
from warmth.types import Answer, Grade, Question

# "3", "1,200.50", "3/4", "1 3/4", "1 and 3/4", "1.2 thousand"; but no part of "3/4/2020" is a fraction
VALUE = (
    r"(?P<sign>[-−]?)\$?(?:(?P<whole>\d(?:[\d,]*\d)?) (?:and )?(?=\d+/[1-9]))?"
    r"(?P<top>\d(?:[\d,]*\d)?(?:\.\d+)?|\.\d+)(?:(?<!/\d)(?<!/\d\d)/(?P<bottom>[1-9]\d*+)(?!/))?"
    rf"(?: (?P<scale>(?i:{'|'.join(LARGE)}))(?![\w-]))?"
)
DECLARED = re.compile(
    rf"(?:####|\\boxed\{{|\b(?:answer|result)\b(?:\s+\w+){{0,4}}?\s*(?:is|=|:))\s*[*$\\(]*{VALUE}", re.IGNORECASE
)
ANY = re.compile(VALUE)
RESULT = re.compile(rf"[\s*$\\(]*{VALUE}(?P<rest>.*)", re.DOTALL)
STEP = re.compile(r"\s*(?:[-–+−*/×÷^]|(?<![A-Za-z])x|\\times|\\cdot|\\div)[\s$\\{]*(?:\.?\d|\()")
# steps in words, and of quantities: "20 % of 50", "5²", "2 hours 30 minutes"
STEPS = re.compile(rf"{STEP.pattern}|(?:\b(?:of|times|plus|minus|by|and)|^ [a-z]+) \$?\d|^[²³(]")
# Where the clause of a declared value ends: what an aside says has another "=".
ENDED = re.compile(r"\n|[.!?;](?=\s|$)|[,:(] ?(?=[A-Za-z])|\b(?:because|since|as|so|where|which|when|given)\b")
# "1 200" with a space of any width, 1{,}200 and 1\,200
GROUPED = re.compile(r"(?<![\d.,/])[1-9]\d{0,2}(?:(?:[ \u00a0\u2009\u202f]|\{,\}|\\[,;: ])\d{3})+(?!\d|/\d)")

VULGAR = re.compile("[¼-¾⅐-⅞]")  # of one character
LATEX = re.compile(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}")
PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
COUNTS = {"a": 1, "an": 1} | {word: value for word, value in SMALL.items() if value}
# "one half", "two-thirds", "half", "two and a quarter"; not the ordinal "the third", nor a step: "half of 40 = 20"
WORDED = re.compile(
    rf"\b(?:(?P<whole>{'|'.join(COUNTS)}) and )?(?:(?P<count>{'|'.join(COUNTS)})[ -])?(?P<part>{'|'.join(PARTS)})s?\b"
    r"(?![^.\n]*=)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Number(ByRules):
    """Arithmetic: the result that is declared as such, else the last number, compared as a value."""

    name: ClassVar[str] = "number"
    serves: ClassVar[str] = "number"

    def grade(self, question: Question, answer: Answer) -> Grade:
        """Compares the last declared number; an answer cut off before it declared one is not scored."""
        unread = unreadable(answer, self.name)
        if unread:
            return unread
        text = VULGAR.sub(lambda found: f" {unicodedata.normalize('NFKC', found[0])}".replace("⁄", "/"), answer.text)
        text = GROUPED.sub(lambda found: re.sub(r"\D", "", found[0]), LATEX.sub(r"\1/\2", text))
        worded = WORDED.sub(_worded, text)
        declared = list(DECLARED.finditer(worded))
        if not declared and answer.finish == "length":
            return Grade(answer.answer_id, self.name, None, reason="cut_off")
        # words count where they are declared or no digits stand: "half of them" is seldom the result
        numbers = declared or list(ANY.finditer(text))
        if not numbers and REFUSED.search(marked(text)):
            return Grade(answer.answer_id, self.name, "refused")
        numbers = numbers or list(ANY.finditer(worded)) or list(ANY.finditer(normalise(text)))
        last = _result(worded, declared[-1]) if declared else numbers[-1] if numbers else None
        right = last is not None and _value(last) == Fraction(question.answers[0].replace(",", ""))
        return Grade(answer.answer_id, self.name, "correct" if right else "incorrect")


def _worded(found: re.Match[str]) -> str:
    part, count, whole = (found[name] and found[name].lower() for name in ("part", "count", "whole"))
    if count is None and part != "half":
        return found[0]  # "third" alone is an ordinal
    return f"{COUNTS[whole] if whole else ''} {COUNTS[count or 'one']}/{PARTS[part]}".strip()


def _result(text: str, declared: re.Match[str]) -> re.Match[str]:
    """What "the answer is 600 * 2 = 1200" comes to, whose first number is a step; "24 hours = 1 day" is 24."""
    clause = text[declared.end() :]
    end = ENDED.search(clause)
    rest, *sides = clause[: end.start() if end else None].split("=")
    found = declared
    for side in sides:
        if not (STEPS.search(rest) or (found["bottom"] and not rest.strip())):
            break  # a result: what follows says it in another unit, or gives another name its value
        read = RESULT.match(side)
        if read:
            found, rest = read, read["rest"]
    return declared if STEP.match(rest) else found


def _value(found: re.Match[str]) -> Fraction:
    value = Fraction(found["top"].replace(",", "")) / int(found["bottom"] or 1)
    value += int((found["whole"] or "0").replace(",", ""))
    value *= LARGE[found["scale"].lower()] if found["scale"] else 1
    return -value if found["sign"] else value
