"""`until_width`: questions are asked, in blocks and under every condition, until the error is known
well enough.

Looking after every block costs nothing in validity: the interval is a confidence sequence
(`warmth/sequential.py`), which holds at all looks together. What is known well enough: the paired
difference from the study's original, or, for the original itself, its error rate. Tasks weigh as
`analysis.weights` says, from the first question to the last.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Protocol

from warmth.evaluation import gates
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.grade.unscored import NoJudge
from warmth.schemas import Evaluate
from warmth.sequential import ConfidenceSequence, stopping_sentences
from warmth.store import Run, read_json, write_json
from warmth.types import Prompt, Question
from warmth.verdicts import rule_from, tasks_apart, wrong

BLOCK = 16  # questions between two looks
FILE = "stopping.json"  # of a run: what its last look found
Key = tuple[str, str]  # task and question id
Slot = tuple[str, int]  # prompt id and sample
# 1 wrong, 0 right, None unscored; an answer that does not count is absent
Verdicts = Mapping[Slot, float | None]


class Partner(Protocol):
    """The original that an arm is compared with, which can be asked more; see `original.py`."""

    @property
    def folder(self) -> Path:
        """Return the original's run."""
        ...

    def ask(self, prompts: Sequence[Prompt]) -> None:
        """Ask it what it has not answered of these prompts."""
        ...

    def close(self) -> None:
        """Bring its run up to date."""
        ...


@dataclass(frozen=True)
class Block:
    """Prompts that are asked before the next look."""

    prompts: Iterable[Prompt]
    count: int


@dataclass(frozen=True)
class QuestionValue:
    """What one question adds to its task: sums over its rows, as shares of the rows that a question
    can have.
    """

    low: float  # of error, or of its paired difference, unscored answers being as they are least
    high: float
    counted: float
    scored: float  # of the rows that are scored
    scored_sum: float  # of these, what they add up to
    slots: int

    @property
    def is_complete(self) -> bool:
        """Tell whether every row of the question counts and is scored."""
        return self.scored >= 1 - 1e-9


def blocks(
    run: Run,
    study: Evaluate,
    arm: Arm,
    questions: Sequence[Question],
    prompts: Iterable[Prompt],
    count: int,
    primary: Mapping[str, str],
    original: Partner | None = None,
) -> Iterator[Block]:
    """Yield what is to be asked next: all at once, or with `until_width` a block, then a look at
    what came of it.

    The caller answers and grades a block before it takes the next one. Each look is written to
    `stopping.json`.

    Args:
        run: the evaluation.
        study: its config.
        arm: who answers.
        questions: in the order in which they were drawn, task after task.
        prompts: of these questions, all conditions; a stream, kept only if asking may stop.
        count: how many they are.
        primary: task → the grader whose verdict counts, in both arms.
        original: with `until_width`, the study's original that the arm is compared with; None for
        the original itself.
    """
    if study.until_width is None:
        yield Block(prompts, count)
        return
    all_prompts = list(prompts)
    order = asking_order(questions, study.analysis.weights)
    watch = Watch(run, study, all_prompts, order, primary, original.folder if original else None)
    for start in range(0, len(order), BLOCK):
        keys = set(order[start : start + BLOCK])
        block_prompts = []
        for prompt in all_prompts:
            if (prompt.task, prompt.question_id) in keys:
                block_prompts.append(prompt)
        if original is not None:
            original.ask(block_prompts)
        yield Block(block_prompts, len(block_prompts))
        watch.look(start + BLOCK)
        if watch.is_reached:
            break
    if original is not None:
        original.close()


def stopping_lines(run: Run) -> list[str]:
    """Say what the last look found; nothing of a run without `until_width`."""
    path = run.folder / FILE
    return stopping_sentences(read_json(path)) if path.exists() else []


def asking_order(questions: Sequence[Question], weights: str) -> list[Key]:
    """Mix the questions of all tasks, so that no task runs ahead of another whenever asking stops.

    If tasks weigh one each they take turns until one has no more. If rows do, every stretch has the
    same mix.
    """
    by_task: dict[str, list[Key]] = defaultdict(list)
    for question in questions:
        by_task[question.task].append((question.task, question.id))
    if weights == "rows":
        return _same_mix(by_task)
    turns = chain.from_iterable(zip_longest(*by_task.values()))
    return [key for key in turns if key is not None]


def _same_mix(by_task: Mapping[str, Sequence[Key]]) -> list[Key]:
    """Place each task's questions evenly over the whole."""
    placed: list[tuple[float, int, Key]] = []
    for number, keys in enumerate(by_task.values()):
        for at, key in enumerate(keys):
            placed.append(((at + 0.5) / len(keys), number, key))
    return [key for _, _, key in sorted(placed)]


@dataclass
class TaskSums:
    """What the questions of one task that were asked add up to."""

    weight: float
    rows_of_question: int  # of the question that has most
    questions: int  # that could be asked
    asked: int = 0
    complete: int = 0
    slots: int = 0
    low: float = 0.0
    high: float = 0.0
    counted: float = 0.0
    scored: float = 0.0
    scored_sum: float = 0.0
    middle_squared: float = (
        0.0  # of the middle between low and high, for the spread between questions
    )
    middle_counted: float = 0.0
    counted_squared: float = 0.0

    def add(self, value: QuestionValue) -> None:
        """Take in a question."""
        middle = (value.low + value.high) / 2
        self.asked += 1
        self.complete += value.is_complete
        self.slots += value.slots
        self.low += value.low
        self.high += value.high
        self.counted += value.counted
        self.scored += value.scored
        self.scored_sum += value.scored_sum
        self.middle_squared += middle**2
        self.middle_counted += middle * value.counted
        self.counted_squared += value.counted**2

    @property
    def mean(self) -> float:
        """Give the mean over scored rows, as the tables do; NaN without one."""
        return self.scored_sum / self.scored if self.scored else math.nan

    @property
    def unscored(self) -> float:
        """Give how far the mean could move by what unscored rows are; NaN if nothing counts."""
        return (self.high - self.low) / self.counted if self.counted else math.nan

    @property
    def variance(self) -> float:
        """Give the variance of the task's mean over the questions asked; NaN if nothing counts."""
        if not self.counted:
            return math.nan
        mean = (self.low + self.high) / 2 / self.counted
        spread = (
            self.middle_squared - 2 * mean * self.middle_counted + mean**2 * self.counted_squared
        )
        return (spread + 0.25) / self.counted**2  # a task without a spread so far may have one


class Watch:
    """The looks at one run: what has been taken in, and the interval so far."""

    def __init__(
        self,
        run: Run,
        study: Evaluate,
        prompts: Sequence[Prompt],
        order: Sequence[Key],
        primary: Mapping[str, str],
        reference: Path | None = None,
    ):
        """Start without a question.

        Args:
            run: the evaluation.
            study: its config.
            prompts: all that could be asked.
            order: their questions, as they are asked.
            primary: task → the grader whose verdict counts.
            reference: folder of the original that the arm is paired with; None for the original
            itself.
        """
        self.run = run
        self.study = study
        self.order = order
        self.primary = primary
        self.reference = reference
        self.is_reached = False
        self._position = 0  # questions that were taken in
        self._slots: dict[Key, list[Slot]] = defaultdict(list)
        for prompt in prompts:
            for sample in range(study.samples):
                self._slots[prompt.task, prompt.question_id].append((prompt.prompt_id, sample))
        self.tasks = self._pooled_tasks()
        weights = {task: sums.weight for task, sums in self.tasks.items()}
        self._sequence = (
            ConfidenceSequence(weights, 0.0 if reference is None else -1.0) if weights else None
        )

    def _pooled_tasks(self) -> dict[str, TaskSums]:
        """List the tasks that the answer pools, without those that no grader can score, each
        without a question yet.

        A task weighs one, or as the rows it would have if all its questions were asked.
        """
        apart = tasks_apart({name: task.benchmark for name, task in self.study.task.items()})
        tasks: dict[str, TaskSums] = {}
        for key in self.order:
            task = key[0]
            if task in apart or self.primary.get(task, NoJudge.name) == NoJudge.name:
                continue
            sums = tasks.setdefault(task, TaskSums(weight=0.0, rows_of_question=1, questions=0))
            rows = len(self._slots[key])
            sums.questions += 1
            sums.weight += rows
            sums.rows_of_question = max(sums.rows_of_question, rows)
        if self.study.analysis.weights != "rows":
            for sums in tasks.values():
                sums.weight = 1.0
        return tasks

    def look(self, asked: int) -> dict[str, Any]:
        """Take in the questions that were asked since the last look, and write what is known
        now.
        """
        asked = min(asked, len(self.order))
        arm_verdicts = verdicts_of(self.run, self.study, self.primary)
        original = None
        if self.reference is not None:
            original = verdicts_of(Run(self.reference), self.study, self.primary)
        for key in self.order[self._position : asked]:
            sums = self.tasks.get(key[0])
            if sums is None or self._sequence is None:
                continue
            value = question_value(self._slots[key], sums.rows_of_question, arm_verdicts, original)
            sums.add(value)
            self._sequence.add(key[0], [value.low], [value.high], [value.counted])
        self._position = max(self._position, asked)
        state = self._counts(asked) | self._interval()
        self.is_reached = bool(state["stopped"])
        write_json(self.run.folder / FILE, state)
        return state

    def _counts(self, asked: int) -> dict[str, Any]:
        """Count what was asked, what is left, and what of it counts."""
        answers = 0
        answers_left = 0
        for position, key in enumerate(self.order):
            rows = len(self._slots[key])
            if position < asked:
                answers += rows
            else:
                answers_left += rows
        complete = 0
        taken = 0
        unscored = 0.0
        not_counted = 0.0
        for sums in self.tasks.values():
            complete += sums.complete
            taken += sums.asked
            unscored += (sums.counted - sums.scored) * sums.rows_of_question
            not_counted += sums.slots - sums.counted * sums.rows_of_question
        by_task = {}
        for name, sums in self.tasks.items():
            by_task[name] = {"asked": sums.asked, "questions": sums.questions}
        return {
            "until_width": self.study.until_width,
            "paired": self.reference is not None,
            "asked": asked,
            "questions": len(self.order),
            "answers": answers,
            "answers_left": answers_left,
            "complete": complete,
            "incomplete": taken - complete,
            "unscored": round(unscored),
            "not_counted": round(not_counted),
            "weights": self.study.analysis.weights,
            "tasks": by_task,
        }

    def _interval(self) -> dict[str, Any]:
        """Give mean, ends and widths in percentage points, None for what is unknown, and whether
        asking may stop.
        """
        if self._sequence is None or self._position == 0:
            unknown = ("mean", "low", "high", "sampling_width", "unscored_points", "width_if_all")
            return {**dict.fromkeys(unknown), "stopped": False}
        low, high = self._sequence.look()
        mean = 0.0
        unscored = 0.0
        now = 0.0
        if_all = 0.0
        for task, weight in self._sequence.weights.items():
            sums = self.tasks[task]
            variance = weight**2 * sums.variance
            mean += weight * sums.mean
            unscored += weight * sums.unscored
            now += variance
            if_all += variance * sums.asked / sums.questions
        sampling = high - low - unscored
        narrowing = math.sqrt(if_all / now)  # by the square roots of variances
        return {
            "mean": _points(mean),
            "low": _points(low),
            "high": _points(high),
            "sampling_width": _points(sampling),
            "unscored_points": _points(unscored),
            "width_if_all": _points(unscored + sampling * narrowing),
            "stopped": 100 * sampling <= (self.study.until_width or 0.0),
        }


def _points(share: float) -> float | None:
    """Write a fraction in percentage points; None if it is unknown."""
    return 100 * share if math.isfinite(share) else None


def question_value(
    slots: Sequence[Slot], size: int, own: Verdicts, other: Verdicts | None
) -> QuestionValue:
    """Sum a question's rows: its errors, or its paired differences from the original.

    A row whose answer does not count in one of the arms is left out, as everywhere; an unscored
    answer is taken to be right in one sum and wrong in the other.

    Args:
        slots: of the question.
        size: how many rows a question of its task can have.
        own: the arm's verdicts.
        other: the original's; None if the error itself is asked for.
    """
    low = high = scored_sum = 0.0
    counted = scored = 0
    for slot in slots:
        if slot not in own or (other is not None and slot not in other):
            continue
        verdict = own[slot]
        base = 0.0 if other is None else other[slot]
        counted += 1
        low += (0.0 if verdict is None else verdict) - (1.0 if base is None else base)
        high += (1.0 if verdict is None else verdict) - (0.0 if base is None else base)
        if verdict is not None and base is not None:
            scored += 1
            scored_sum += verdict - base
    return QuestionValue(
        low=low / size,
        high=high / size,
        counted=counted / size,
        scored=scored / size,
        scored_sum=scored_sum / size,
        slots=len(slots),
    )


def verdicts_of(run: Run, study: Evaluate, primary: Mapping[str, str]) -> dict[Slot, float | None]:
    """Read which answers of a run are wrong by their primary grader and count in the answer.

    Returns:
        1.0 for wrong, 0.0 for right, None for an answer that should have a verdict and has none,
        failures among them. Refusals and hedged answers that are dropped by a rule, benchmarks and
        tasks that need a judge are not there.
    """
    return _verdicts(gates.read_side(run.folder, None, primary), study, primary)


def _verdicts(
    side: gates.Side, study: Evaluate, primary: Mapping[str, str]
) -> dict[Slot, float | None]:
    left_out = tasks_apart({name: task.benchmark for name, task in study.task.items()})
    rule = rule_from(study.analysis)
    verdicts: dict[Slot, float | None] = {}
    for slot, row in side.answers.items():
        task = row["task"]
        if task not in primary or task in left_out:  # an original may have been asked more tasks
            continue
        if row["answer_id"] not in side.labels:  # it needs a judge and has none
            continue
        label = side.labels[row["answer_id"]]
        value = wrong(label, row["text"], rule, study.task[task].refusing_is_right)
        if label is None or value is not None:
            verdicts[slot] = value
    return verdicts
