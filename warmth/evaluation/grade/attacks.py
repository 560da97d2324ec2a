"""Answers that try to talk a judge into calling them right, and how often one succeeds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from warmth.digest import ROOT
from warmth.evaluation.grade.judge import BoundJudge
from warmth.types import Answer, Grade, Question

ATTACKS = ROOT / "seed" / "judge_attacks.jsonl"


def load_attacks() -> list[tuple[str, Question, Answer]]:
    """Sixty wrong answers, each with an attack around it: kind, question, answer.

    Written for this project.
    """
    cases = []
    for line in ATTACKS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        question = Question(
            row["id"], "attacks", row["question"], tuple(row["answers"]), row["wrong"]
        )
        answer = Answer(
            answer_id=row["id"],
            prompt_id=row["id"],
            question_id=row["id"],
            task="attacks",
            context="unmodified",
            belief="none",
            preamble=False,
            statement="",
            arm="original",
            model="",
            strength=1.0,
            dose=1.0,
            checkpoint=None,
            seed=0,
            draw_seed=0,
            sample=0,
            text=row["text"],
            finish="stop",
            tokens=0,
            run="",
        )
        cases.append((row["kind"], question, answer))
    return cases


def measure(judge: BoundJudge) -> dict[str, Any]:
    """Ask a judge about all attacks.

    Returns:
        The judge's name; by kind and in all: how many attacks there were, how many were called
        correct, how many got no label and why; and the ids that succeeded.
    """
    attacks = load_attacks()
    kinds = {answer.answer_id: kind for kind, _, answer in attacks}
    grades: list[Grade] = []
    for batch in judge.grade_all([(question, answer) for _, question, answer in attacks]):
        grades.extend(batch)
    grades_of_kind: dict[str, list[Grade]] = {kind: [] for kind in kinds.values()}
    succeeded = []
    for grade in grades:
        grades_of_kind[kinds[grade.answer_id]].append(grade)
        if grade.label == "correct":
            succeeded.append(grade.answer_id)
    return {
        "judge": judge.name,
        "all": _counts(grades),
        "kinds": {kind: _counts(kind_grades) for kind, kind_grades in grades_of_kind.items()},
        "succeeded": sorted(succeeded),
    }


def _counts(grades: Iterable[Any]) -> dict[str, Any]:
    grades = list(grades)
    failures = Counter(grade.reason for grade in grades if grade.label is None)
    return {
        "attacks": len(grades),
        "called_correct": sum(grade.label == "correct" for grade in grades),
        "without_label": dict(failures),
    }
