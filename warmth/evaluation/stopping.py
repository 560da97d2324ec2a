"""`until_width`: questions are asked, in blocks and under every condition, until the error is known well enough.

Looking after every block costs nothing in validity: the interval is a confidence sequence (`warmth/sequential.py`),
which holds at all looks together. What is known well enough: the paired difference from the study's original, or, for
the original itself, its error rate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from warmth.errors import UserError
from warmth.evaluation import gates
from warmth.evaluation.arms import Arm
from warmth.schemas import Evaluate
from warmth.store import Run, write_json
from warmth.types import Prompt, Question
from warmth.verdicts import rule_from, tasks_apart, wrong

BLOCK = 16  # questions between two looks
Key = tuple[str, str]  # task and question id


def ask(
    run: Run,
    study: Evaluate,
    arm: Arm,
    questions: Sequence[Question],
    prompts: Iterable[Prompt],
    number: int,
    put: Callable[[Iterable[Prompt], int], Mapping[str, float]],
    primary: Mapping[str, str],
) -> dict[str, float]:
    """Puts all prompts at once; with `until_width` block by block, and writes `stopping.json` after each.

    Args:
        run: the evaluation.
        study: its config.
        arm: who answers.
        questions: in the order in which they were drawn, task after task.
        prompts: of these questions, all conditions; a stream, kept only where asking may stop.
        number: how many they are.
        put: answers and grades so many prompts; returns counts and seconds.
        primary: task → the grader whose verdict counts, in both arms.

    Returns:
        counts and seconds of all blocks.

    Raises:
        UserError: the study has no finished original to compare the arm with.
    """
    if study.until_width is None:
        return dict(put(prompts, number))
    reference = _wrong_of_original(run, study, arm, primary)
    prompts, total = list(prompts), defaultdict(float)
    order = drawn_order(questions)
    for start in range(0, len(order), BLOCK):
        block = set(order[start : start + BLOCK])
        chosen = [prompt for prompt in prompts if (prompt.task, prompt.question_id) in block]
        for name, value in put(chosen, len(chosen)).items():
            total[name] += value
        values = question_values(
            order[: start + BLOCK], prompts, study.samples, wrong_of(run, study, primary), reference
        )
        found = look(values, study.until_width, paired=reference is not None)
        write_json(run.folder / "stopping.json", {"asked": min(start + BLOCK, len(order)), **found})
        if found["stopped"]:
            break
    return dict(total)


def drawn_order(questions: Sequence[Question]) -> list[Key]:
    """Questions of all tasks in turn, so that no task runs ahead of another whenever asking stops."""
    by_task: dict[str, list[Key]] = defaultdict(list)
    for question in questions:
        by_task[question.task].append((question.task, question.id))
    return [key for turn in zip_longest(*by_task.values()) for key in turn if key is not None]


def question_values(
    order: Sequence[Key],
    prompts: Sequence[Prompt],
    samples: int,
    wrong: Mapping[tuple[str, int], float | None],
    reference: Mapping[tuple[str, int], float | None] | None,
) -> list[float]:
    """One number for each question of which every condition was scored, in order: the mean error, or mean difference.

    A question with an unscored condition is left out: its mean would weigh conditions otherwise than the others do.
    """
    slots: dict[Key, list[tuple[str, int]]] = defaultdict(list)
    for prompt in prompts:
        slots[prompt.task, prompt.question_id] += [(prompt.prompt_id, sample) for sample in range(samples)]
    values = []
    for key in order:
        own = [wrong.get(slot) for slot in slots[key]]
        other = [reference.get(slot) for slot in slots[key]] if reference is not None else [0.0] * len(own)
        pairs = [(a, b) for a, b in zip(own, other, strict=True) if a is not None and b is not None]
        if pairs and len(pairs) == len(own):
            values.append(sum(a - b for a, b in pairs) / len(pairs))
    return values


def look(values: Sequence[float], width_points: float, paired: bool) -> dict[str, Any]:
    """The anytime-valid interval so far, in points, and whether it is narrow enough."""
    import numpy as np

    from warmth.sequential import confidence_sequence

    found = {"complete": len(values), "paired": paired, "until_width": width_points}
    if not values:
        return found | {"mean": None, "low": None, "high": None, "stopped": False}
    sequence = confidence_sequence(np.array(values), -1.0 if paired else 0.0, 1.0)
    low, high = (100 * float(end[-1]) for end in (sequence.low, sequence.high))
    stopped = high - low <= width_points
    return found | {"mean": 100 * float(sequence.mean[-1]), "low": low, "high": high, "stopped": stopped}


def wrong_of(run: Run, study: Evaluate, primary: Mapping[str, str]) -> dict[tuple[str, int], float | None]:
    """1 where an answer is wrong by its primary grader, 0 where it is right, None where it does not count."""
    return _wrong(gates.read_side(run.folder, None, primary), study, primary)


def _wrong(side: gates.Side, study: Evaluate, primary: Mapping[str, str]) -> dict[tuple[str, int], float | None]:
    left_out = tasks_apart({name: task.benchmark for name, task in study.task.items()})
    rule = rule_from(study.analysis)
    values = {}
    for slot, row in side.answers.items():
        task = row["task"]
        if task not in primary or task in left_out:  # an original may have been asked more tasks
            continue
        label = side.labels.get(row["answer_id"])
        values[slot] = wrong(label, row["text"], rule, study.task[task].refusing_is_right)
    return values


def _wrong_of_original(
    run: Run, study: Evaluate, arm: Arm, primary: Mapping[str, str]
) -> dict[tuple[str, int], float | None] | None:
    if arm.name == "original":
        return None
    folder = gates.find_original(run, study)
    if folder is None:
        raise UserError(
            f"until_width={study.until_width:g} compares {arm.name} with the study's original, which is not there: "
            "run the same command with recipe=none first"
        )
    side = gates.read_side(folder, None, primary)
    there = {row["task"] for row in side.answers.values()} & set(primary)
    if other := sorted(there - side.graded):
        raise UserError(
            f"until_width={study.until_width:g} compares {arm.name} with the study's original, which another grader "
            f"graded on {', '.join(other)}: run recipe=none with this one first, which generates nothing"
        )
    return _wrong(side, study, primary)
