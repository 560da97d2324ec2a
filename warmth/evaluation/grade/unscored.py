"""Answers that are not scored: those that hold nothing to read, and those of a task that needs a
judge and has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from warmth.evaluation.grade.by_rules import ByRules
from warmth.types import Answer, Grade, Question


def unreadable(answer: Answer, grader: str) -> Grade | None:
    """Return the grade of an answer that holds nothing to read, None for any other."""
    if answer.finish == "filtered":
        return Grade(answer.answer_id, grader, None, reason=answer.failure or "filtered")
    if answer.finish == "error":
        return Grade(answer.answer_id, grader, None, reason=answer.failure or "server_error")
    if not any(map(str.isalnum, answer.text)):
        return Grade(answer.answer_id, grader, None, reason="empty")
    return None


@dataclass(frozen=True)
class NoJudge(ByRules):
    """Stands for the judge that a task needs (`needs_judge`) and that nobody chose: no answer gets
    a label.
    """

    name: ClassVar[str] = "no_judge"
    serves: ClassVar[str] = "open"

    def grade(self, question: Question, answer: Answer) -> Grade:
        """Give no label, and the reason."""
        return Grade(answer.answer_id, self.name, None, reason="needs_judge")
