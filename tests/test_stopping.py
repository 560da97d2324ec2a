"""Sampling until it is known: balanced over tasks and conditions, stopped by the interval, never by a lucky look."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from warmth.errors import UserError
from warmth.evaluation import stopping
from warmth.evaluation.arms import Arm
from warmth.evaluation.gates import Side
from warmth.schemas import Analysis, Evaluate, Model, Task
from warmth.store import Run
from warmth.types import Prompt, Question

PRIMARY = {"a": "g", "b": "g"}
TASKS = {"a": Task(), "b": Task()}
CONDITIONS = [("unmodified", "none"), ("sad", "none"), ("sad", "wrong_asserted")]


def questions(count, tasks=("a", "b")):
    return [Question(f"q{number}", task, "?", ("x",)) for task in tasks for number in range(count)]


def prompts_of(asked):
    return [
        Prompt(
            f"{question.task}{question.id}{context}{belief}",
            question.id,
            question.task,
            context,
            belief,
            False,
            "",
            (),
            1,
        )
        for question in asked
        for context, belief in CONDITIONS
    ]


def arm(name="original"):
    return Arm(name, Model(name="m", kind="embedded"), None, None, None, 1.0, 1.0, 0, None)


def put_into(run, chance):
    """Answers some prompts wrong by chance, always the same for the same prompt, and grades them."""

    def put(some, number):
        assert len(some) == number
        rows = [
            {"answer_id": p.prompt_id, "prompt_id": p.prompt_id, "sample": 0, "task": p.task, "text": ""} for p in some
        ]
        labels = [
            "incorrect" if np.random.default_rng(list(p.prompt_id.encode())).random() < chance else "correct"
            for p in some
        ]
        run.append("answers", rows)
        grades = [
            {"answer_id": row["answer_id"], "grader": "g", "label": label}
            for row, label in zip(rows, labels, strict=True)
        ]
        run.append("grades", grades)
        return {"generated": len(some), "seconds": 1.0}

    return put


def ask(tmp_path, width, count=60, chance=0.3):
    run = Run(tmp_path / "evaluate" / "m-none-s0-0")
    run.folder.mkdir(parents=True)
    asked = questions(count)
    prompts = prompts_of(asked)
    study = replace(Evaluate(), task=TASKS, until_width=width, analysis=Analysis())
    speed = stopping.ask(run, study, arm(), asked, prompts, len(prompts), put_into(run, chance), PRIMARY)
    path = run.folder / "stopping.json"
    return list(run.rows("answers")), speed, json.loads(path.read_text()) if path.exists() else None


def test_without_a_width_every_prompt_is_put_at_once(tmp_path):
    rows, speed, found = ask(tmp_path, None, 4)
    assert len(rows) == speed["generated"] == 24 and found is None


def test_asking_stops_when_the_interval_is_narrow_enough_and_not_before(tmp_path):
    rows, speed, found = ask(tmp_path, 40.0)
    assert found["stopped"] and found["high"] - found["low"] <= 40 and found["asked"] < 120
    assert len(rows) == speed["generated"] == 3 * found["asked"]
    assert found["low"] < found["mean"] < found["high"]


def test_a_width_that_is_never_reached_asks_everything(tmp_path):
    rows, _, found = ask(tmp_path, 0.1, 20)
    assert len(rows) == 120 and not found["stopped"] and found["asked"] == 40


def test_tasks_take_turns_and_a_question_is_asked_under_every_condition(tmp_path):
    order = stopping.drawn_order([*questions(3, ("a",)), *questions(1, ("b",))])
    assert order == [("a", "q0"), ("b", "q0"), ("a", "q1"), ("a", "q2")]
    rows, _, found = ask(tmp_path, 40.0)
    per_task = [sum(row["task"] == task for row in rows) for task in ("a", "b")]
    assert per_task[0] == per_task[1] == 3 * found["asked"] / 2


def test_a_question_counts_once_every_condition_was_scored_and_paired():
    asked = questions(3, ("a",))
    prompts = prompts_of(asked)
    order = stopping.drawn_order(asked)
    wrong: dict[tuple[str, int], float | None] = {(prompt.prompt_id, 0): 1.0 for prompt in prompts}
    other: dict[tuple[str, int], float | None] = dict.fromkeys(wrong, 0.0)
    wrong[prompts[0].prompt_id, 0] = None  # unscored here
    del other[prompts[3].prompt_id, 0]  # not asked there
    other[prompts[6].prompt_id, 0] = 1.0
    assert stopping.question_values(order, prompts, 1, wrong, other) == [pytest.approx(2 / 3)]


def test_an_arm_without_its_original_is_told_what_to_run(tmp_path):
    run = Run(tmp_path / "evaluate" / "m-warm-s0-0")
    run.folder.mkdir(parents=True)
    study = replace(Evaluate(), task=TASKS, until_width=5.0, model=Model(name="m"), analysis=Analysis())
    with pytest.raises(UserError, match="until_width=5 compares warm with the study's original.*recipe=none first"):
        stopping.ask(run, study, arm("warm"), [], [], [], lambda *_: {}, PRIMARY)


def test_an_original_that_another_grader_graded_is_named_with_the_task(tmp_path, monkeypatch):
    run = Run(tmp_path / "evaluate" / "m-warm-s0-0")
    rows = {("p", 0): {"answer_id": "p", "task": "a"}, ("q", 0): {"answer_id": "q", "task": "b"}}
    side = Side(tmp_path, rows, [], {}, {"p": "correct"}, None)
    monkeypatch.setattr(stopping.gates, "find_original", lambda *_: tmp_path)
    monkeypatch.setattr(stopping.gates, "read_side", lambda *_: side)
    study = replace(Evaluate(), task=TASKS, until_width=5.0, model=Model(name="m"), analysis=Analysis())
    with pytest.raises(UserError, match="which another grader graded on b: run recipe=none"):
        stopping.ask(run, study, arm("warm"), [], [], [], lambda *_: {}, PRIMARY)


def test_answers_count_as_the_study_counts_them():
    tasks = {"1": "disinfo", "2": "a", "3": "a", "4": "not asked here"}
    side = SimpleNamespace(
        answers={(key, 0): {"answer_id": key, "task": task, "text": "No."} for key, task in tasks.items()},
        labels={"1": "refused", "2": "refused", "3": "hedged"},
    )
    tasks = {"disinfo": Task(refusing_is_right=True), "a": Task()}

    def count(**rule):
        study = replace(Evaluate(), analysis=Analysis(**rule), task=tasks)
        return list(stopping._wrong(side, study, {"disinfo": "g", "a": "g"}).values())

    assert count() == [0.0, None, 1.0]
    assert count(refused="wrong", hedged="dropped") == [0.0, 1.0, None]
    assert count(refusal_rule="study") == [1.0, 1.0, 1.0]  # no answer holds a phrase of refusal


def test_benchmarks_are_asked_and_do_not_enter_the_interval():
    answers = {(key, 0): {"answer_id": key, "task": key, "text": ""} for key in ("a", "mmlu")}
    side = SimpleNamespace(answers=answers, labels=dict.fromkeys(("a", "mmlu"), "correct"))
    tasks = {"a": Task(), "mmlu": Task(benchmark=True)}
    assert list(stopping._wrong(side, Evaluate(task=tasks), {"a": "g", "mmlu": "g"})) == [("a", 0)]
    alone = Evaluate(task={"mmlu": tasks["mmlu"]})
    assert list(stopping._wrong(side, alone, {"mmlu": "g"})) == [("mmlu", 0)]  # nothing else is asked
