"""Grading: which graders a task has, and one row for each answer and grader, made once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from warmth.api import Servers
from warmth.build import build
from warmth.errors import UserError
from warmth.evaluation.alias import Alias
from warmth.evaluation.choices import Letter
from warmth.evaluation.numbers import Number
from warmth.evaluation.progress import Meter
from warmth.evaluation.refusals import Refusal
from warmth.evaluation.unscored import unreadable
from warmth.schemas import Evaluate, Task
from warmth.store import Run, read_json, write_json
from warmth.types import Answer, Grade, Question

CHUNK = 2000  # grades written at once
# Reasons that will not pass: there is nothing to grade, or the judge declined, which the store answers as any reply.
FINAL = ("empty", "judge_refused")
RULES = "rules.json"  # of a run: a digest of the rules behind each grader's rows


class Grader(Protocol):
    """What every grader offers; `offline` graders always say the same, so their verdicts are never asked for again."""

    offline: ClassVar[bool]
    serves: ClassVar[str]  # the kind of task it can grade: open, letter, number, refusal or social

    @property
    def name(self) -> str:
        """What its rows call it."""
        ...

    @property
    def rules(self) -> str:
        """A digest of what its verdicts depend on, beside its name."""
        ...

    def grade(self, question: Question, answer: Answer) -> Grade:
        """The verdict on one answer."""
        ...


@runtime_checkable
class Asking(Protocol):
    """A grader that asks a server, about many answers at once."""

    def grade_all(self, items: Sequence[tuple[Question, Answer]]) -> Iterator[list[Grade]]:
        """The verdicts, some at a time, in no order."""
        ...


OFFLINE: dict[str, Callable[[], Grader]] = {"alias": Alias, "letter": Letter, "number": Number, "refusal": Refusal}
# The kind of a task by the grader it names: `grader=` replaces that one by those chosen graders that serve its kind.
KINDS = {"alias": "open", "judge": "open", "letter": "letter", "number": "number", "refusal": "refusal"}
KINDS |= {"refusal_judge": "refusal", "social": "social"}


def graders_of(study: Evaluate, servers: Servers) -> dict[str, dict[str, Grader]]:
    """The graders of each task by the name in their rows, the primary one first.

    Raises:
        UserError: a task names a grader that neither works offline nor was chosen.
    """
    built = {name: build(entry, "grader", f"grader.{name}") for name, entry in study.grader.items()}
    bound = {name: grader if grader.offline else grader.bind(name, servers) for name, grader in built.items()}
    chosen = {name if grader.offline else grader.name: grader for name, grader in bound.items()}
    return {name: _graders(name, task, chosen) for name, task in study.task.items()}


def primary(graders: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """The grader of each task whose verdict counts: the first of its own."""
    return {task: next(iter(names)) for task, names in graders.items()}


def _graders(name: str, task: Task, chosen: Mapping[str, Any]) -> dict[str, Grader]:
    serving = {key: grader for key, grader in chosen.items() if grader.serves == KINDS.get(task.grader, task.grader)}
    if serving:
        return serving
    if task.grader == "social":
        traits = "grader=[social_framing,social_validation,social_indirectness]"
        raise UserError(f"task.{name}.grader=social needs judges; choose them by {traits}")
    if task.grader not in OFFLINE:
        raise UserError(f"task.{name}.grader={task.grader} does not work offline; choose one of: {', '.join(OFFLINE)}")
    return {task.grader: OFFLINE[task.grader]()}


def grade_run(run: Run, questions: Iterable[Question], graders: Mapping[str, Mapping[str, Grader]]) -> int:
    """Appends a row for each answer and grader that has none; what a judge failed on is tried again.

    A judge that fails on an answer as it did before adds no second row.

    Returns:
        How many grades were made now.
    """
    asked = {(question.task, question.id): question for question in questions}
    failed = {(row["answer_id"], row["grader"]): row["reason"] for row in run.rows("grades") if not row["label"]}
    todo: dict[str, list[tuple[Question, Answer]]] = {}
    for answer, name in ungraded(run, graders):
        todo.setdefault(name, []).append((asked[answer.task, answer.question_id], answer))
    with Meter("grades", "grades", sum(map(len, todo.values()))) as meter:
        for name, items in todo.items():
            grader = graders[items[0][0].task][name]
            for grades in grader.grade_all(items) if isinstance(grader, Asking) else _chunks(grader, items):
                new = [row for row in grades if row.label or row.reason != failed.get((row.answer_id, name))]
                run.append("grades", new)
                meter.add(len(grades))
    return meter.total


def outdated(run: Run, graders: Mapping[str, Mapping[str, Grader]]) -> set[str]:
    """Graders whose rules are not those that the run's rows were made by: two arms must not meet two yardsticks.

    What a judge said before its rubric was noted counts as said by today's: asking again costs money.
    """
    known = _rules(run)
    every = {name: grader for chosen in graders.values() for name, grader in chosen.items()}
    return {
        name
        for name, grader in every.items()
        if known.get(name, "" if grader.offline else grader.rules) != grader.rules
    }


def renew(run: Run, graders: Mapping[str, Mapping[str, Grader]]) -> None:
    """Takes away the rows of outdated graders, so that their answers are graded again, and notes the rules of today."""
    old = outdated(run, graders)
    if any(row["grader"] in old for row in run.rows("grades")):
        run.keep("grades", lambda row: row["grader"] not in old)
        print(f"graded by other rules before, and now again: {', '.join(sorted(old))}", file=sys.stderr)
    now = {name: grader.rules for chosen in graders.values() for name, grader in chosen.items()}
    write_json(run.folder / RULES, {**_rules(run), **now})


def _rules(run: Run) -> dict[str, str]:
    path = run.folder / RULES
    return read_json(path) if path.exists() else {}


def ungraded(run: Run, graders: Mapping[str, Mapping[str, Grader]]) -> Iterator[tuple[Answer, str]]:
    """Answers with the graders whose verdict is missing, or was a failure that need not happen again."""
    again = {name for chosen in graders.values() for name, grader in chosen.items() if not grader.offline}
    there: dict[tuple[str, str], bool] = {}  # answer_id and grader → whether the latest row is a verdict
    for row in run.rows("grades"):
        final = bool(row["label"]) or row["reason"] in FINAL or row["grader"] not in again
        there[row["answer_id"], row["grader"]] = final
    for row in run.rows("answers"):
        answer = Answer(**row)
        for name in graders[answer.task]:
            verdict = there.get((answer.answer_id, name))
            if verdict is None or not (verdict or unreadable(answer, name)):
                yield answer, name


def _chunks(grader: Grader, items: Sequence[tuple[Question, Answer]]) -> Iterator[list[Grade]]:
    for start in range(0, len(items), CHUNK):
        yield [grader.grade(question, answer) for question, answer in items[start : start + CHUNK]]
