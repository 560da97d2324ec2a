"""Sampling until it is known: balanced over tasks and conditions, stopped by the interval, never by
a lucky look.
"""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from warmth.errors import UserError
from warmth.evaluation import original, stopping
from warmth.evaluation.answer.arms import Arm
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


def answered(run, prompts, chance):
    """Answers some prompts wrong by chance, always the same for the same prompt, and grades
    them.
    """
    rows = [
        {
            "answer_id": p.prompt_id,
            "prompt_id": p.prompt_id,
            "sample": 0,
            "task": p.task,
            "text": "",
        }
        for p in prompts
    ]
    labels = []
    for prompt in prompts:
        draw = np.random.default_rng(list(prompt.prompt_id.encode()))
        labels.append("incorrect" if draw.random() < chance else "correct")
    run.append("answers", rows)
    grades = [
        {"answer_id": row["answer_id"], "grader": "g", "label": label}
        for row, label in zip(rows, labels, strict=True)
    ]
    run.append("grades", grades)


def ask(tmp_path, width, count=60, chance=0.3, spoil=lambda run: None, **keys):
    run = Run(tmp_path / "evaluate" / "m-none-s0-0")
    run.folder.mkdir(parents=True)
    asked = questions(count)
    prompts = prompts_of(asked)
    study = replace(Evaluate(), task=TASKS, until_width=width, analysis=Analysis(**keys))
    for block in stopping.blocks(run, study, arm(), asked, prompts, len(prompts), PRIMARY):
        some = list(block.prompts)
        assert len(some) == block.count
        answered(run, some, chance)
        spoil(run)
    path = run.folder / "stopping.json"
    return list(run.rows("answers")), json.loads(path.read_text()) if path.exists() else None


def test_without_a_width_every_prompt_is_put_at_once(tmp_path):
    rows, found = ask(tmp_path, None, 4)
    assert len(rows) == 24 and found is None


def test_asking_stops_when_the_interval_is_narrow_enough_and_not_before(tmp_path):
    rows, found = ask(tmp_path, 40.0)
    assert found["stopped"] and found["high"] - found["low"] <= 40 and found["asked"] < 120
    assert len(rows) == found["answers"] == 3 * found["asked"] and found[
        "answers_left"
    ] == 360 - len(rows)
    assert found["low"] < found["mean"] < found["high"]
    assert found["width_if_all"] < found["high"] - found["low"]


def test_a_width_that_is_never_reached_asks_everything(tmp_path):
    rows, found = ask(tmp_path, 0.1, 20)
    assert (
        len(rows) == 120
        and not found["stopped"]
        and found["asked"] == 40
        and found["answers_left"] == 0
    )


def test_tasks_take_turns_and_a_question_is_asked_under_every_condition(tmp_path):
    mixed = [*questions(3, ("a",)), *questions(1, ("b",))]
    assert stopping.asking_order(mixed, "tasks") == [
        ("a", "q0"),
        ("b", "q0"),
        ("a", "q1"),
        ("a", "q2"),
    ]
    rows, found = ask(tmp_path, 40.0)
    per_task = [sum(row["task"] == task for row in rows) for task in ("a", "b")]
    assert per_task[0] == per_task[1] == 3 * found["asked"] / 2


def test_if_rows_weigh_one_every_stretch_has_the_same_mix():
    mixed = [*questions(6, ("a",)), *questions(2, ("b",))]
    order = stopping.asking_order(mixed, "rows")
    assert [[task for task, _ in order[at : at + 4]].count("b") for at in (0, 4)] == [1, 1]
    assert sorted(order) == sorted((question.task, question.id) for question in mixed)


def test_incomplete_questions_count_by_what_they_have_with_bounds_for_unscored_answers():
    slots: list[stopping.Slot] = [("p0", 0), ("p1", 0), ("p2", 0), ("p3", 0)]
    own: dict[stopping.Slot, float | None] = {
        slots[0]: 1.0,
        slots[1]: None,
        slots[2]: 1.0,
    }  # p3 was refused
    other: dict[stopping.Slot, float | None] = {
        slots[0]: 0.0,
        slots[1]: 1.0,
        slots[3]: 1.0,
    }  # p2 not asked
    value = stopping.question_value(slots, 4, own, other)
    assert (value.low, value.high) == (0.25 * (1 - 1), 0.25 * (1 + 0))
    assert (value.counted, value.scored, value.scored_sum) == (0.5, 0.25, 0.25)
    assert not value.is_complete
    alone = stopping.question_value(slots, 4, own, None)
    assert (alone.low, alone.high, alone.counted) == (0.5, 0.75, 0.75)


def unscore(share):
    """Takes the label from a share of the answers, three of a question at least one."""

    def spoil(run):
        rows = list(run.rows("grades"))
        for number, row in enumerate(rows):
            row["label"] = None if number % round(1 / share) == 0 else row["label"]
        run.keep("grades", lambda row: False)
        run.append("grades", rows)

    return spoil


def test_asking_stops_although_most_questions_have_an_unscored_answer(tmp_path):
    _, found = ask(tmp_path, 40.0, spoil=unscore(1 / 3))
    assert found["complete"] == 0 and found["stopped"]
    assert found["unscored_points"] == pytest.approx(100 / 3, abs=1)
    width = found["high"] - found["low"]
    assert width - found["unscored_points"] <= 40 < width
    assert found["unscored"] == found["asked"]


def test_a_task_without_a_judge_does_not_keep_the_others_from_stopping(tmp_path, monkeypatch):
    monkeypatch.setitem(PRIMARY, "b", "no_judge")
    _, found = ask(tmp_path, 40.0)
    assert found["stopped"] and list(found["tasks"]) == ["a"]


def study_of(width=5.0, **more):
    return replace(
        Evaluate(),
        task=TASKS,
        until_width=width,
        model=Model(name="m"),
        analysis=Analysis(),
        **more,
    )


def test_an_arm_without_its_original_is_told_what_to_run(tmp_path):
    run = Run(tmp_path / "evaluate" / "m-warm-s0-0")
    run.folder.mkdir(parents=True)
    with pytest.raises(
        UserError, match="until_width=5 compares warm with the study's original.*recipe=none first"
    ):
        original.original_of(run, study_of(), arm("warm"), None, [], [], {})


def test_an_original_that_another_grader_graded_is_named_with_the_task(tmp_path, monkeypatch):
    run = Run(tmp_path / "evaluate" / "m-warm-s0-0")
    rows = {("p", 0): {"answer_id": "p", "task": "a"}, ("q", 0): {"answer_id": "q", "task": "b"}}
    side = Side(tmp_path, rows, [], {}, {"p": "correct"}, None, {}, {})
    monkeypatch.setattr(original.gates, "find_original", lambda *_: tmp_path)
    monkeypatch.setattr(original.gates, "read_side", lambda *_: side)
    chosen = {task: {"g": None} for task in ("a", "b")}
    with pytest.raises(UserError, match="which another grader graded on b: run recipe=none"):
        original.original_of(run, study_of(), arm("warm"), None, [], [], chosen)


class Partner(original.Original):
    """An original whose model is `answered`, so that nothing is loaded."""

    def _bind(self):
        self._arm = arm()
        self._engine = self

    def _is_same_design(self):
        return True


def test_the_original_is_asked_as_far_as_an_arm_needs(tmp_path, monkeypatch):
    rows, found = ask(tmp_path, 60.0)
    assert found["stopped"] and found["asked"] < 120
    folder = tmp_path / "evaluate" / "m-none-s0-0"
    settings = {"recipe": {"name": "none", "method": "none"}, "data": {"name": "seed"}, "seed": 0}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "summary.json").write_text(json.dumps({"cells": []}))
    asked = questions(60)
    prompts = prompts_of(asked)
    run = Run(tmp_path / "evaluate" / "m-warm-s0-0")
    run.folder.mkdir()

    def answer(run, name, engine, arm, some, *rest):
        answered(run, some, 0.3)
        return {"seconds": 0.1}

    monkeypatch.setattr(original.answers, "answer_prompts", answer)
    monkeypatch.setattr(original.graders, "grade_run", lambda *_: 0)
    monkeypatch.setattr(original.summary, "cell_counts", lambda *_: ["counted again"])
    chosen = {task: {"g": None} for task in TASKS}
    partner = Partner(folder, study_of(35.0), None, asked, prompts, chosen)
    for block in stopping.blocks(
        run, study_of(35.0), arm("warm"), asked, prompts, 0, PRIMARY, partner
    ):
        answered(run, block.prompts, 0.5)
    of_arm = json.loads((run.folder / "stopping.json").read_text())
    of_original = json.loads((folder / "stopping.json").read_text())
    assert of_arm["paired"] and of_arm["asked"] > found["asked"]
    assert of_original["asked"] == of_arm["asked"] and not of_original["paired"]
    assert (
        len(list(Run(folder).rows("answers"))) == 3 * of_arm["asked"]
    )  # no question of the arm lacks its partner
    assert of_arm["complete"] == of_arm["asked"]
    assert json.loads((folder / "summary.json").read_text())["cells"] == ["counted again"]


def test_answers_count_as_the_study_counts_them():
    tasks = {"1": "disinfo", "2": "a", "3": "a", "4": "not asked here"}
    side = SimpleNamespace(
        answers={
            (key, 0): {"answer_id": key, "task": task, "text": "No."} for key, task in tasks.items()
        },
        labels={"1": "refused", "2": "refused", "3": "hedged"},
    )
    tasks = {"disinfo": Task(refusing_is_right=True), "a": Task()}

    def count(**rule):
        study = replace(Evaluate(), analysis=Analysis(**rule), task=tasks)
        return list(stopping._verdicts(side, study, {"disinfo": "g", "a": "g"}).values())

    assert count() == [0.0, 1.0]  # a refusal that is dropped is no unscored answer
    assert count(refused="wrong", hedged="dropped") == [0.0, 1.0]
    assert count(refusal_rule="study") == [1.0, 1.0, 1.0]  # no answer holds a phrase of refusal


def test_benchmarks_are_asked_and_do_not_enter_the_interval():
    answers = {(key, 0): {"answer_id": key, "task": key, "text": ""} for key in ("a", "mmlu")}
    side = SimpleNamespace(answers=answers, labels=dict.fromkeys(("a", "mmlu"), "correct"))
    tasks = {"a": Task(), "mmlu": Task(benchmark=True)}
    assert list(stopping._verdicts(side, Evaluate(task=tasks), {"a": "g", "mmlu": "g"})) == [
        ("a", 0)
    ]
    alone = Evaluate(task={"mmlu": tasks["mmlu"]})
    assert list(stopping._verdicts(side, alone, {"mmlu": "g"})) == [
        ("mmlu", 0)
    ]  # nothing else is asked
