"""`until_width`: questions are asked, in blocks and under every condition, until the error is known well enough.

Looking after every block costs nothing in validity: the interval is a confidence sequence (`warmth/sequential.py`),
which holds at all looks together. What is known well enough: the paired difference from the study's original, or, for
the original itself, its error rate. Tasks weigh as `analysis.weights` says, from the first question to the last.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Protocol

from warmth.evaluation import gates
from warmth.evaluation.arms import Arm
from warmth.evaluation.unscored import NoJudge
from warmth.schemas import Evaluate
from warmth.sequential import ConfidenceSequence, sentences
from warmth.store import Run, read_json, write_json
from warmth.types import Prompt, Question
from warmth.verdicts import rule_from, tasks_apart, wrong

BLOCK = 16  # questions between two looks
FILE = "stopping.json"  # of a run: what its last look found
Key = tuple[str, str]  # task and question id
Slot = tuple[str, int]  # prompt id and sample
Verdicts = Mapping[Slot, float | None]  # 1 wrong, 0 right, None unscored; an answer that does not count is absent


class Partner(Protocol):
    """The original that an arm is compared with, which can be asked more; see `original.py`."""

    @property
    def folder(self) -> Path:
        """The original's run."""
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
    """What one question adds to its task: sums over its rows, as shares of the rows that a question can have."""

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
    """Yield what is to be asked next: all at once, or with `until_width` a block, then a look at what came of it.

    The caller answers and grades a block before it takes the next one. Each look is written to `stopping.json`.

    Args:
        run: the evaluation.
        study: its config.
        arm: who answers.
        questions: in the order in which they were drawn, task after task.
        prompts: of these questions, all conditions; a stream, kept only if asking may stop.
        count: how many they are.
        primary: task → the grader whose verdict counts, in both arms.
        original: with `until_width`, the study's original that the arm is compared with; None for the original itself.
    """
    if study.until_width is None:
        yield Block(prompts, count)
        return
    every = list(prompts)
    order = asking_order(questions, study.analysis.weights)
    watch = Watch(run, study, every, order, primary, original.folder if original else None)
    for start in range(0, len(order), BLOCK):
        keys = set(order[start : start + BLOCK])
        chosen = [prompt for prompt in every if (prompt.task, prompt.question_id) in keys]
        if original is not None:
            original.ask(chosen)
        yield Block(chosen, len(chosen))
        watch.look(start + BLOCK)
        if watch.is_reached:
            break
    if original is not None:
        original.close()


def lines(run: Run) -> list[str]:
    """Say what the last look found; nothing of a run without `until_width`."""
    path = run.folder / FILE
    return sentences(read_json(path)) if path.exists() else []


def asking_order(questions: Sequence[Question], weights: str) -> list[Key]:
    """Mix the questions of all tasks, so that no task runs ahead of another whenever asking stops.

    If tasks weigh one each they take turns until one has no more. If rows do, every stretch has the same mix.
    """
    by_task: dict[str, list[Key]] = defaultdict(list)
    for question in questions:
        by_task[question.task].append((question.task, question.id))
    if weights == "rows":
        return _same_mix(by_task)
    return [key for turn in zip_longest(*by_task.values()) for key in turn if key is not None]


def _same_mix(by_task: Mapping[str, Sequence[Key]]) -> list[Key]:
    """Place each task's questions evenly over the whole."""
    placed: list[tuple[float, int, Key]] = []
    for number, keys in enumerate(by_task.values()):
        placed += [((at + 0.5) / len(keys), number, key) for at, key in enumerate(keys)]
    return [key for _, _, key in sorted(placed)]


@dataclass
class Watch:
    """The looks at one run: what has been taken in, and the interval so far."""

    run: Run
    study: Evaluate
    prompts: Sequence[Prompt]
    order: Sequence[Key]
    primary: Mapping[str, str]
    reference: Path | None = None  # folder of the original that the arm is paired with
    values: dict[Key, QuestionValue] = field(default_factory=dict)
    is_reached: bool = False

    def __post_init__(self) -> None:
        self.slots = self._slots()
        self.tasks = self._tasks()
        self.sizes = {task: self._size(task) for task in self.tasks}
        lowest = 0.0 if self.reference is None else -1.0
        weights = {task: self._weight(task) for task in self.tasks}
        self.sequence = ConfidenceSequence(weights, lowest) if weights else None

    def _slots(self) -> dict[Key, list[Slot]]:
        slots: dict[Key, list[Slot]] = defaultdict(list)
        for prompt in self.prompts:
            row = [(prompt.prompt_id, sample) for sample in range(self.study.samples)]
            slots[prompt.task, prompt.question_id] += row
        return slots

    def _tasks(self) -> list[str]:
        """List the tasks that the answer pools, without those that no grader can score."""
        apart = tasks_apart({name: task.benchmark for name, task in self.study.task.items()})
        asked = dict.fromkeys(task for task, _ in self.order)
        return [
            task for task in asked if task not in apart and task in self.primary and self.primary[task] != NoJudge.name
        ]

    def _size(self, task: str) -> int:
        """Count the rows of the question of a task that has most."""
        return max((len(slots) for key, slots in self.slots.items() if key[0] == task), default=1)

    def _weight(self, task: str) -> float:
        """Weigh a task one, or as the rows it would have if all its questions were asked."""
        if self.study.analysis.weights == "rows":
            return float(sum(len(slots) for key, slots in self.slots.items() if key[0] == task))
        return 1.0

    def look(self, asked: int) -> dict[str, Any]:
        """Take in the questions that were asked since the last look, and write what is known now."""
        import numpy as np

        asked = min(asked, len(self.order))
        own = verdicts_of(self.run, self.study, self.primary)
        other = None
        if self.reference is not None:
            other = verdicts_of(Run(self.reference), self.study, self.primary)
        new: dict[str, list[QuestionValue]] = defaultdict(list)
        for key in self.order[:asked]:
            if key in self.values or key[0] not in self.tasks:
                continue
            self.values[key] = question_value(self.slots[key], self.sizes[key[0]], own, other)
            new[key[0]].append(self.values[key])
        if self.sequence is not None:
            for task, values in new.items():
                columns = [np.array([getattr(value, name) for value in values]) for name in ("low", "high", "counted")]
                self.sequence.add(task, *columns)
        found = self._found(asked)
        self.is_reached = bool(found["stopped"])
        write_json(self.run.folder / FILE, found)
        return found

    def _found(self, asked: int) -> dict[str, Any]:
        """Say what the look found; means, ends and widths in percentage points."""
        width = self.study.until_width
        total = sum(len(self.slots[key]) for key in self.order)
        done = sum(len(self.slots[key]) for key in self.order[:asked])
        complete = sum(value.is_complete for value in self.values.values())
        scored = [value.scored * self.sizes[key[0]] for key, value in self.values.items()]
        counted = [value.counted * self.sizes[key[0]] for key, value in self.values.items()]
        rows = sum(value.slots for value in self.values.values())
        found: dict[str, Any] = {
            "until_width": width,
            "paired": self.reference is not None,
            "asked": asked,
            "questions": len(self.order),
            "answers": done,
            "answers_left": total - done,
            "complete": complete,
            "incomplete": len(self.values) - complete,
            "unscored": round(sum(counted) - sum(scored)),
            "not_counted": round(rows - sum(counted)),
            "weights": self.study.analysis.weights,
            "tasks": {task: self._task(task) for task in self.tasks},
        }
        if self.sequence is None or not self.values:
            unknown = dict.fromkeys(("mean", "low", "high", "sampling_width", "unscored_points", "width_if_all"))
            return found | unknown | {"stopped": False}
        low, high = self.sequence.look()
        mean = self._mean("scored_sum", "scored")
        unscored = self._mean("high", "counted") - self._mean("low", "counted")
        narrowable = (high - low) - unscored
        return found | {
            "mean": _points(mean),
            "low": _points(low),
            "high": _points(high),
            "sampling_width": _points(narrowable),
            "unscored_points": _points(unscored),
            "width_if_all": _points(unscored + narrowable * self._narrowing()),
            "stopped": 100 * narrowable <= (width or 0.0),
        }

    def _task(self, task: str) -> dict[str, int]:
        keys = [key for key in self.order if key[0] == task]
        return {"asked": sum(key in self.values for key in keys), "questions": len(keys)}

    def _of(self, task: str) -> list[QuestionValue]:
        return [value for key, value in self.values.items() if key[0] == task]

    def _mean(self, numerator: str, denominator: str) -> float:
        """Weigh the tasks' ratios; NaN if a task has nothing that counts yet."""
        assert self.sequence is not None
        total = 0.0
        for task, weight in self.sequence.weights.items():
            values = self._of(task)
            below = sum(getattr(value, denominator) for value in values)
            above = sum(getattr(value, numerator) for value in values)
            total += weight * above / below if below else math.nan
        return total

    def _narrowing(self) -> float:
        """Forecast how the width would shrink if all questions were asked: by the square roots of variances."""
        assert self.sequence is not None
        now = 0.0
        then = 0.0
        for task, weight in self.sequence.weights.items():
            values = self._of(task)
            counted = sum(value.counted for value in values)
            if not counted:
                return 1.0
            mean = sum(value.high + value.low for value in values) / 2 / counted
            spread = sum(((value.high + value.low) / 2 - mean * value.counted) ** 2 for value in values)
            share = len(values) / sum(key[0] == task for key in self.order)
            variance = weight**2 * (spread + 0.25) / counted**2  # a task without a spread so far may have one
            now += variance
            then += variance * share
        return math.sqrt(then / now)


def _points(share: float) -> float | None:
    """Write a fraction in percentage points; None if it is unknown."""
    return 100 * share if math.isfinite(share) else None


def question_value(slots: Sequence[Slot], size: int, own: Verdicts, other: Verdicts | None) -> QuestionValue:
    """Sum a question's rows: its errors, or its paired differences from the original.

    A row whose answer does not count in one of the arms is left out, as everywhere; an unscored answer is taken to be
    right in one sum and wrong in the other.

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
        mine = own[slot]
        base = 0.0 if other is None else other[slot]
        counted += 1
        low += (0.0 if mine is None else mine) - (1.0 if base is None else base)
        high += (1.0 if mine is None else mine) - (0.0 if base is None else base)
        if mine is not None and base is not None:
            scored += 1
            scored_sum += mine - base
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
        1.0 for wrong, 0.0 for right, None for an answer that should have a verdict and has none, failures among them.
        Refusals and hedged answers that are dropped by a rule, benchmarks and tasks that need a judge are not there.
    """
    return _verdicts(gates.read_side(run.folder, None, primary), study, primary)


def _verdicts(side: gates.Side, study: Evaluate, primary: Mapping[str, str]) -> dict[Slot, float | None]:
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
