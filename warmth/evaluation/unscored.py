"""Answers that no rule can score, and the name of the reason."""

from __future__ import annotations

from warmth.evaluation.assertions import refuses
from warmth.evaluation.matching import marked
from warmth.types import Answer, Grade


def unreadable(answer: Answer, grader: str) -> Grade | None:
    """The grade of an answer that holds nothing to read."""
    if answer.finish in ("filtered", "error"):
        named = "filtered" if answer.finish == "filtered" else "server_error"
        return Grade(answer.answer_id, grader, None, reason=answer.failure or named)
    return None if any(map(str.isalnum, answer.text)) else Grade(answer.answer_id, grader, None, reason="empty")


def undecided(answer: Answer, grader: str) -> Grade:
    """The grade of an answer that settles on nothing."""
    if refuses(marked(answer.text)):
        return Grade(answer.answer_id, grader, "refused")
    return Grade(answer.answer_id, grader, None, reason="cut_off" if answer.finish == "length" else "ambiguous")
