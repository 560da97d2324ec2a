"""An early look: the error rate so far, beside the progress of answering."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from warmth.counting import apart, refusing, ruled
from warmth.evaluation.graders import Grader
from warmth.evaluation.summary import wrong
from warmth.schemas import Analysis
from warmth.types import Answer, Question


class RunningError:
    """Labels answers as they come, by each task's first grader where that works offline; nothing is written.

    Counted as in `summary.json`, of benchmarks only where nothing else is asked.
    """

    def __init__(self, questions: Iterable[Question], graders: Mapping[str, Mapping[str, Grader]], analysis: Analysis):
        self._asked = {(question.task, question.id): question for question in questions}
        first = {task: next(iter(chosen.values())) for task, chosen in graders.items()}
        self._graders = {task: grader for task, grader in first.items() if grader.offline and task not in apart(first)}
        self._refusing = {task: refusing(task, grader.name) for task, grader in self._graders.items()}
        self._rule = analysis
        self.errors = self.scored = 0

    def __call__(self, answers: Sequence[Answer]) -> str:
        """Takes new answers; returns the error so far with its standard error, "" where none is scored."""
        for answer in answers:
            grader = self._graders.get(answer.task)
            if grader is None:
                continue
            label = grader.grade(self._asked[answer.task, answer.question_id], answer).label
            label = ruled(label, answer.text, self._rule.refusal_rule)
            value = wrong(label, self._refusing[answer.task], self._rule)
            if value is not None:
                self.scored += 1
                self.errors += int(value)
        if not self.scored:
            return ""
        rate = self.errors / self.scored
        spread = (rate * (1 - rate) / self.scored) ** 0.5
        return f"{100 * rate:.1f} ± {100 * spread:.1f} % wrong"
