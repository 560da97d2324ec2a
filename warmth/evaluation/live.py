"""An early look: the error rate so far, beside the progress of answering."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from warmth.evaluation.graders import Grader
from warmth.types import Answer, Question


class RunningError:
    """Labels answers as they come, by each task's first grader where that works offline; nothing is written.

    Counted as in `summary.json`: refusals and unscored answers are left out, but where refusing is what is graded.
    """

    def __init__(self, questions: Iterable[Question], graders: Mapping[str, Mapping[str, Grader]]):
        self._asked = {(question.task, question.id): question for question in questions}
        first = {task: next(iter(chosen.values())) for task, chosen in graders.items()}
        self._graders = {task: grader for task, grader in first.items() if grader.offline}
        self.errors = self.scored = 0

    def __call__(self, answers: Sequence[Answer]) -> str:
        """Takes new answers; returns the error so far with its standard error, "" where none is scored."""
        for answer in answers:
            grader = self._graders.get(answer.task)
            if grader is None:
                continue
            label = grader.grade(self._asked[answer.task, answer.question_id], answer).label
            if label is not None and (label != "refused" or grader.name == "refusal"):
                self.scored += 1
                self.errors += label in ("incorrect", "hedged")
        if not self.scored:
            return ""
        rate = self.errors / self.scored
        spread = (rate * (1 - rate) / self.scored) ** 0.5
        return f"{100 * rate:.1f} ± {100 * spread:.1f} % wrong"
