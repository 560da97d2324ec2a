"""Answers that hold nothing to read: the same for every grader."""

from __future__ import annotations

from warmth.types import Answer, Grade


def unreadable(answer: Answer, grader: str) -> Grade | None:
    """Return the grade of an answer that holds nothing to read, None for any other."""
    if answer.finish == "filtered":
        return Grade(answer.answer_id, grader, None, reason=answer.failure or "filtered")
    if answer.finish == "error":
        return Grade(answer.answer_id, grader, None, reason=answer.failure or "server_error")
    if not any(map(str.isalnum, answer.text)):
        return Grade(answer.answer_id, grader, None, reason="empty")
    return None
