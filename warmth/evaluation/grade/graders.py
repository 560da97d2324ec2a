"""Grading: which graders a task has, and one row for each answer and grader, made once."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from warmth import accuracy
from warmth.api import Servers
from warmth.build import build, class_of
from warmth.entries import entry_files, read_entry
from warmth.errors import UserError
from warmth.evaluation.grade.completing import Completed
from warmth.evaluation.grade.unscored import NoJudge, unreadable
from warmth.evaluation.progress import Meter
from warmth.schemas import Evaluate, Task
from warmth.store import Run, read_json, write_json
from warmth.types import Answer, Grade, Question

CHUNK = 2000  # grades written at once
# Reasons that will not pass: there is nothing to grade, or the judge declined, which the store
# answers as any reply.
FINAL = ("empty", "judge_refused")
RULES = "rules.json"  # of a run: a digest of the rules behind each grader's rows


class Grader(Protocol):
    """What every grader offers; `offline` graders always say the same, so their verdicts are never
    asked for again.
    """

    offline: ClassVar[bool]
    # The kind of task it can grade: open, letter, number, refusal, social or one of its own
    serves: ClassVar[str]

    @property
    def name(self) -> str:
        """Tell what its rows call it."""
        ...

    @property
    def rules(self) -> str:
        """Return a digest of what its verdicts depend on, beside its name."""
        ...

    @property
    def served_model(self) -> str | None:
        """Return the model of the server it asks; None if it asks no server."""
        ...

    def grade(self, question: Question, answer: Answer) -> Grade:
        """Return the verdict on one answer."""
        ...


@runtime_checkable
class Asking(Protocol):
    """A grader that asks a server, about many answers at once."""

    def grade_all(self, items: Sequence[tuple[Question, Answer]]) -> Iterator[list[Grade]]:
        """Return the verdicts, some at a time, in no order."""
        ...


def grader_classes() -> dict[str, type[Any]]:
    """Find the class of every entry of the group `grader`, a user's own among them.

    Raises:
        UserError: an entry names no class of a grader.
    """
    return _classes(tuple(entry_files("grader").items()))


@cache
def _classes(files: tuple[tuple[str, Path], ...]) -> dict[str, type[Any]]:
    classes = {}
    for name, _ in files:
        classes[name] = class_of(read_entry("grader", name), "grader", f"grader.{name}")
    return classes


def offline_graders() -> dict[str, type[Any]]:
    """Find the graders that ask no server, by the name of their entry."""
    return {name: grader for name, grader in grader_classes().items() if grader.offline}


def __getattr__(name: str) -> Any:
    """Offer `OFFLINE`, entry → class of every grader that asks no server: read from conf/, not kept
    here.
    """
    if name == "OFFLINE":
        return offline_graders()
    raise AttributeError(name)


def kind_of_task(name: str, task: Task) -> str:
    """Tell the kind of a task: what the grader it names serves, or that kind itself (`social`).

    `grader=` replaces the task's grader by those chosen graders that serve its kind.

    Raises:
        UserError: `task.<name>.grader` is neither an entry of conf/grader/ nor a kind that an entry
        serves.
    """
    classes = grader_classes()
    if task.grader in classes:
        return classes[task.grader].serves
    kinds = {grader.serves for grader in classes.values()}
    if task.grader in kinds:
        return task.grader
    raise UserError(
        f"task.{name}.grader={task.grader} is not an entry of conf/grader/; choose one of: "
        f"{', '.join(classes)}"
    )


def serving(study: Evaluate) -> dict[str, list[str]]:
    """Tell which of the chosen graders (`grader=`) grade each task; an empty list: the task's own
    grader does.
    """
    built = {}
    for name, entry in study.grader.items():
        built[name] = build(entry, "grader", f"grader.{name}")
    result = {}
    for name, task in study.task.items():
        kind = kind_of_task(name, task)
        result[name] = [key for key, grader in built.items() if grader.serves == kind]
    return result


def graders_of(study: Evaluate, servers: Servers) -> dict[str, dict[str, Grader]]:
    """Return the graders of each task by the name in their rows, the primary one first.

    Raises:
        UserError: a task names a grader that asks a server and was not chosen, or one of refusals
            without saying that refusing is right.
    """
    judges: dict[str, Any] = {}
    for name, entry in study.grader.items():
        grader = build(entry, "grader", f"grader.{name}")
        judges[name] = grader if grader.offline else grader.bind(name, servers)
    graders = {}
    for name, entries in serving(study).items():
        task = study.task[name]
        if kind_of_task(name, task) == "refusal" and not task.refusing_is_right:
            raise UserError(
                f"task.{name}.grader={task.grader} asks whether an answer declines, so it needs "
                f"task.{name}.refusing_is_right=true"
            )
        own_rule = None
        if not entries or _has_own_rule(task):
            own_rule = _own_grader(name, task)
        listed = [_completed(own_rule, judges[entry]) for entry in entries] or [own_rule]
        if _makes_no_headline(listed[0], name):
            print(
                f"{listed[0].name} has no known accuracy, so it makes no headline of {name}",
                file=sys.stderr,
            )
            listed = [own_rule or NoJudge(), *listed]
        graders[name] = {grader.name: grader for grader in listed}
    return graders


def _has_own_rule(task: Task) -> bool:
    """Say whether the grader that a task names is a rule."""
    return task.grader in offline_graders()


def _completed(own: Grader | None, grader: Any) -> Any:
    """Return a judge as it is, or behind the task's own rule if it is asked only for what the rule
    leaves open.
    """
    if (
        grader.offline
        or own is None
        or isinstance(own, NoJudge)
        or grader.settings.when == "always"
    ):
        return grader
    return Completed(own, grader)


def _makes_no_headline(grader: Any, task: str) -> bool:
    """Say whether a grader is a judge in this process whose accuracy nobody knows."""
    if (
        grader.offline
        or grader.serves not in ("open", "refusal")
        or grader.served_model is not None
    ):
        return False
    return not accuracy.of(grader.name, task)


def primary(graders: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return the grader of each task whose verdict counts: the first of its own."""
    return {task: next(iter(names)) for task, names in graders.items()}


def _own_grader(name: str, task: Task) -> Grader:
    """Build the grader that a task names, which must ask no server.

    Returns:
        the grader; the one that labels nothing if the task needs a judge, or if the accuracy of a
        rule of ours on it is not known (`grader=` chooses the rule all the same).

    Raises:
        UserError: it asks one, so it has to be chosen by `grader=`.
    """
    classes = grader_classes()
    if task.grader in classes and classes[task.grader].offline:
        is_ours = classes[task.grader].__module__.startswith("warmth.")
        if task.needs_judge or (is_ours and not accuracy.of(classes[task.grader].name, name)):
            return NoJudge()
        return build(read_entry("grader", task.grader), "grader", f"grader.{task.grader}")
    kind = kind_of_task(name, task)
    judges = [
        entry for entry, grader in classes.items() if grader.serves == kind and not grader.offline
    ]
    raise UserError(
        f"task.{name}.grader={task.grader} asks a server; choose it by "
        f'"grader=[{",".join(judges)}]" or one of these'
    )


def grade_run(
    run: Run, questions: Iterable[Question], graders: Mapping[str, Mapping[str, Grader]]
) -> int:
    """Append a row for each answer and grader that has none; what a judge failed on is tried again.

    A judge that fails on an answer as it did before adds no second row.

    Returns:
        How many grades were made now.
    """
    question_of = {(question.task, question.id): question for question in questions}
    failed: dict[tuple[str, str], str] = {}
    for row in run.rows("grades"):
        if not row["label"]:
            failed[row["answer_id"], row["grader"]] = row["reason"]
    todo: dict[str, list[tuple[Question, Answer]]] = {}
    for answer, name in ungraded(run, graders):
        todo.setdefault(name, []).append((question_of[answer.task, answer.question_id], answer))
    with Meter("grades", "grades", sum(map(len, todo.values())), run.folder) as meter:
        for name, items in todo.items():
            grader = graders[items[0][0].task][name]
            for grades in _grade_in_chunks(grader, items):
                new = []
                for row in grades:
                    if row.label or row.reason != failed.get((row.answer_id, name)):
                        new.append(row)
                run.append("grades", new)
                meter.add(len(grades))
    return meter.total


def outdated(run: Run, graders: Mapping[str, Mapping[str, Grader]]) -> set[str]:
    """Name the graders whose rules are not those that the run's rows were made by."""
    known = _rules(run)
    return {name for name, value in _rules_of(graders).items() if known.get(name) != value}


def renew(run: Run, graders: Mapping[str, Mapping[str, Grader]]) -> None:
    """Take away the rows of outdated graders, so that their answers are graded again, and note the
    rules of today.
    """
    old = outdated(run, graders)
    if any(row["grader"] in old for row in run.rows("grades")):
        run.keep("grades", lambda row: row["grader"] not in old)
        print(
            f"graded by other rules before, and now again: {', '.join(sorted(old))}",
            file=sys.stderr,
        )
    write_json(run.folder / RULES, {**_rules(run), **_rules_of(graders)})


def _rules(run: Run) -> dict[str, str]:
    """Read the rules behind the rows of a run, by grader."""
    path = run.folder / RULES
    return read_json(path) if path.exists() else {}


def _rules_of(graders: Mapping[str, Mapping[str, Grader]]) -> dict[str, str]:
    """Return the rules of today by grader."""
    rules = {}
    for task_graders in graders.values():
        for name, grader in task_graders.items():
            rules[name] = grader.rules
    return rules


def names_that_ask(graders: Mapping[str, Mapping[str, Grader]]) -> set[str]:
    """Return the names of the graders that ask a model."""
    names = set()
    for task_graders in graders.values():
        for name, grader in task_graders.items():
            if not grader.offline:
                names.add(name)
    return names


def ungraded(run: Run, graders: Mapping[str, Mapping[str, Grader]]) -> Iterator[tuple[Answer, str]]:
    """Yield answers with the graders whose verdict is missing, or was a failure that need not
    happen again.
    """
    may_succeed = names_that_ask(graders)
    # answer_id and grader → whether the latest row is a verdict
    is_final: dict[tuple[str, str], bool] = {}
    for row in run.rows("grades"):
        final = bool(row["label"]) or row["reason"] in FINAL or row["grader"] not in may_succeed
        is_final[row["answer_id"], row["grader"]] = final
    for row in run.rows("answers"):
        answer = Answer(**row)
        for name in graders[answer.task]:
            verdict = is_final.get((answer.answer_id, name))
            if verdict is None or not (verdict or unreadable(answer, name)):
                yield answer, name


def _grade_in_chunks(
    grader: Grader, items: Sequence[tuple[Question, Answer]]
) -> Iterator[list[Grade]]:
    """Yield the grades of answers, some at a time."""
    if isinstance(grader, Asking):
        yield from grader.grade_all(items)
        return
    for start in range(0, len(items), CHUNK):
        yield [grader.grade(question, answer) for question, answer in items[start : start + CHUNK]]
