"""What is known of each grader's accuracy: its agreement with people, by task and population, read
from one file.

`accuracy.json` is made by `python bench/accuracy.py` from answers of other people's models with
people's labels.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("accuracy.json")


@dataclass(frozen=True)
class Accuracy:
    """How a grader's labels agree with people's on one population of answers; shares and agreement
    in percent.
    """

    grader: str
    task: str
    population: str  # whose answers, and whose labels
    answers: int
    scored: int  # by the grader
    agreement: float  # of the scored
    low: float  # 95 % interval of it, by resampling questions
    high: float
    kappa: float | None  # Cohen's, of the scored; None if all labels are the same
    unscored: float
    # largest difference of two systems' errors by grader minus by people, points; None: one system
    bias: float | None
    pairs: int  # of systems
    # the rules were changed with these rows in view, so that other answers will agree less
    in_sample: bool


@cache
def known_accuracies() -> tuple[Accuracy, ...]:
    """Read all that is known, in the file's order."""
    rows = json.loads(FILE.read_text(encoding="utf-8"))["rows"]
    return tuple(Accuracy(**row) for row in rows)


def of(grader: str, task: str) -> list[Accuracy]:
    """Return what is known of a grader on a task, the largest population first; empty if nothing
    is.
    """
    rows = [row for row in known_accuracies() if row.grader == grader and row.task == task]
    return sorted(rows, key=lambda row: -row.answers)


def agreement_words(grader: str, tasks: Iterable[str]) -> str:
    """Say how far a grader agrees with people on some tasks: "agrees with people on 87 to 98 %".

    Returns:
        the sentence's end, for the largest population of each task; that it is not known, if it is
        known of no task.
    """
    agreements = []
    for task in tasks:
        rows = of(grader, task)
        if rows:
            agreements.append(rows[0].agreement)
    if not agreements:
        return "agreement with people not known here"
    low = round(min(agreements))
    high = round(max(agreements))
    if low == high:
        return f"agrees with people on {low} %"
    return f"agrees with people on {low} to {high} %"
