"""The letter grader: multiple choice."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from warmth.evaluation.by_rules import ByRules
from warmth.evaluation.matching import normalise
from warmth.evaluation.unscored import undecided, unreadable
from warmth.types import Answer, Grade, Question


@dataclass(frozen=True)
class Letter(ByRules):
    """Multiple choice: the letter the answer settles on, or the one option whose text it gives."""

    name: ClassVar[str] = "letter"
    serves: ClassVar[str] = "letter"

    SAID: ClassVar[re.Pattern[str]] = re.compile(
        r"(?:answer|option|choice)(?:\s+\w+){0,3}?(?:\s+is|\s*:)?\s*\**\(?([A-J])\b(?!\s+[a-z])|\\boxed\{\(?([A-J])\)?\}"
    )
    FIRST: ClassVar[re.Pattern[str]] = re.compile(r"^\W*([A-J])(?:\W|$)(?!\s*[a-z])|^\W*([A-J])[.):]")

    def grade(self, question: Question, answer: Answer) -> Grade:
        """Compares the letter with the right one; several different letters are ambiguous."""
        unread = unreadable(answer, self.name)
        if unread:
            return unread
        letters = {one or two for one, two in self.SAID.findall(answer.text)} & set(question.options)
        first = self.FIRST.search(answer.text)
        if not letters and first:
            letters = {first[1] or first[2]} & set(question.options)
        if not letters:
            text = f" {normalise(answer.text)} "
            letters = {letter for letter, option in question.options.items() if f" {normalise(option)} " in text}
        if len(letters) == 1:
            return Grade(answer.answer_id, self.name, "correct" if letters == {question.answers[0]} else "incorrect")
        return undecided(answer, self.name)
