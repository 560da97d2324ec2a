"""A rule completed by a judge (`grader.judge.when=unscored`): who decides what, and the sample that
checks the rule.

The rule labels what it can. The judge labels what the rule leaves open, and what it has decided on
a tenth of the prompts. These are the same in every arm, so that the judge's own difference between
two arms is a paired one. On that tenth the rule's label counts; the judge's stands beside it, under
the judge's own name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, ClassVar

from warmth.digest import digest
from warmth.evaluation.grade.unscored import unreadable
from warmth.types import Answer, Grade, Question

SAMPLE = 10  # one in so many prompts


@dataclass(frozen=True)
class Completed:
    """A rule whose open answers a judge labels."""

    rule: Any
    judge: Any  # bound
    offline: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Name both: "alias+judge:gpt-4o-2024-08-06"."""
        return f"{self.rule.name}+{self.judge.name}"

    @property
    def serves(self) -> str:
        """Return the kind of task that both can grade."""
        return self.rule.serves

    @property
    def served_model(self) -> str | None:
        """Return the model of the server that the judge asks."""
        return self.judge.served_model

    @property
    def rules(self) -> str:
        """Digest what a label depends on."""
        return digest([self.rule.rules, self.judge.rules])

    def grade(self, question: Question, answer: Answer) -> Grade:
        """Label one answer."""
        grades = chain.from_iterable(self.grade_all([(question, answer)]))
        return next(grade for grade in grades if grade.grader == self.name)

    def grade_all(self, items: Sequence[tuple[Question, Answer]]) -> Iterator[list[Grade]]:
        """Label many answers: first what the rule decides, then what the judge says, under both
        names.
        """
        decided: list[Grade] = []
        asked: list[tuple[Question, Answer]] = []
        open_ones: set[str] = set()
        for question, answer in items:
            grade = self.rule.grade(question, answer)
            is_open = grade.label is None and unreadable(answer, self.name) is None
            if is_open:
                open_ones.add(answer.answer_id)
            else:
                decided.append(replace(grade, grader=self.name))
            if is_open or (grade.label is not None and in_sample(answer)):
                asked.append((question, answer))
        yield decided
        if not asked:
            return
        for grades in self.judge.grade_all(asked):
            labelled = []
            for grade in grades:
                if grade.answer_id in open_ones:
                    labelled.append(replace(grade, grader=self.name))
            yield [*grades, *labelled]


def in_sample(answer: Answer) -> bool:
    """Say whether an answer is among those on which the judge checks the rule: by its prompt,
    whichever the arm.
    """
    return int(digest(["check", answer.prompt_id, answer.sample])[:8], 16) % SAMPLE == 0
