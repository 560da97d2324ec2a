"""An early look: the error rate so far, beside the progress of answering."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from warmth.evaluation.grade.graders import Grader
from warmth.schemas import Evaluate
from warmth.types import Answer, Question
from warmth.verdicts import rule_from, tasks_apart, wrong


class RunningError:
    """Labels answers as they come, by each task's first grader where that works offline; nothing is
    written.

    Counted as in `summary.json`, of benchmarks only where nothing else is asked.
    """

    def __init__(
        self,
        questions: Iterable[Question],
        graders: Mapping[str, Mapping[str, Grader]],
        study: Evaluate,
    ):
        self._asked = {(question.task, question.id): question for question in questions}
        self._tasks = study.task
        self._rule = rule_from(study.analysis)
        left_out = tasks_apart({name: task.benchmark for name, task in study.task.items()})
        self._graders: dict[str, Grader] = {}
        for task, task_graders in graders.items():
            primary = next(iter(task_graders.values()))
            if primary.offline and task not in left_out:
                self._graders[task] = primary
        self.errors = self.scored = 0

    def __call__(self, answers: Sequence[Answer]) -> str:
        """Take new answers and return the error so far with its standard error, "" where none is
        scored.
        """
        for answer in answers:
            grader = self._graders.get(answer.task)
            if grader is None:
                continue
            label = grader.grade(self._asked[answer.task, answer.question_id], answer).label
            value = wrong(
                label, answer.text, self._rule, self._tasks[answer.task].refusing_is_right
            )
            if value is not None:
                self.scored += 1
                self.errors += int(value)
        if not self.scored:
            return ""
        rate = self.errors / self.scored
        spread = (rate * (1 - rate) / self.scored) ** 0.5
        return f"{100 * rate:.1f} ± {100 * spread:.1f} % wrong"
