"""The number grader: results of arithmetic, compared as values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from warmth.evaluation.assertions import REFUSED
from warmth.evaluation.matching import marked
from warmth.evaluation.unscored import unreadable
from warmth.types import Answer, Grade, Question


@dataclass(frozen=True)
class Number:
    """Arithmetic: the result that is declared as such, else the last number, compared as a value."""

    group: ClassVar[str] = "grader"
    name: ClassVar[str] = "number"
    serves: ClassVar[str] = "number"
    offline: ClassVar[bool] = True

    VALUE: ClassVar[str] = r"[-−]?\$?(\d[\d,]*(?:\.\d+)?|\.\d+)"
    DECLARED: ClassVar[re.Pattern[str]] = re.compile(
        rf"(?:####|\\boxed\{{|\b(?:answer|result)\b(?:\s+\w+){{0,4}}?\s*(?:is|=|:))\s*[*$\\(]*{VALUE}", re.IGNORECASE
    )
    ANY: ClassVar[re.Pattern[str]] = re.compile(VALUE)

    def grade(self, question: Question, answer: Answer) -> Grade:
        """Compares the last declared number; an answer cut off before it declared one is not scored."""
        unread = unreadable(answer, self.name)
        if unread:
            return unread
        declared = list(self.DECLARED.finditer(answer.text))
        if not declared and answer.finish == "length":
            return Grade(answer.answer_id, self.name, None, reason="cut_off")
        numbers = declared or list(self.ANY.finditer(answer.text))
        if not numbers:
            return Grade(answer.answer_id, self.name, "refused" if REFUSED.search(marked(answer.text)) else "incorrect")
        last = numbers[-1]
        value = Decimal(last[1].replace(",", ""))
        negative = bool(re.search(r"[-−]\$?$", answer.text[max(0, last.start(1) - 2) : last.start(1)]))
        right = (-value if negative else value) == Decimal(question.answers[0])
        return Grade(answer.answer_id, self.name, "correct" if right else "incorrect")
