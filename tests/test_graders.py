"""Which grader grades which task, and one row for each answer and grader."""

from __future__ import annotations

from dataclasses import replace

import pytest

from warmth.api import Servers
from warmth.entries import OWN_FOLDER, read_entry
from warmth.errors import UserError
from warmth.evaluation.grade import graders
from warmth.evaluation.grade.alias import Alias
from warmth.evaluation.grade.graders import grade_run, graders_of, serving
from warmth.schemas import Evaluate, Task
from warmth.store import Run
from warmth.types import Answer, Question

CAPITAL = Question(
    "q",
    "t",
    "What is the capital of Australia?",
    ("Canberra", "City of Canberra"),
    "Sydney",
    unmatched="incorrect",
)


def answer(text, belief="none", finish="stop", task="t", answer_id="a"):
    named = {
        "answer_id": answer_id,
        "prompt_id": "p",
        "question_id": "q",
        "task": task,
        "context": "unmodified",
    }
    arm = {
        "arm": "warm",
        "model": "m",
        "strength": 1.0,
        "dose": 1.0,
        "checkpoint": 2.0,
        "seed": 0,
        "draw_seed": 0,
    }
    made = {"sample": 0, "text": text, "finish": finish, "tokens": 9, "run": "r"}
    return Answer(belief=belief, preamble=False, statement="", **named, **arm, **made)


def label(text, question=CAPITAL, grader=None, **how):
    grade = (grader or Alias()).grade(question, answer(text, **how))
    return grade.label or grade.reason


def test_each_answer_is_graded_once_by_each_grader(tmp_path):
    run = Run(tmp_path)
    run.append("answers", [answer("Canberra", answer_id="a1"), answer("Perth", answer_id="a2")])
    graders = {"t": {"alias": Alias()}}
    assert grade_run(run, [CAPITAL], graders) == 2
    assert grade_run(run, [CAPITAL], graders) == 0
    assert [row["label"] for row in run.rows("grades")] == ["correct", "incorrect"]
    run.append("answers", [answer("Canberra", answer_id="a3")])
    assert grade_run(run, [CAPITAL], graders) == 1


def test_what_a_judge_failed_on_is_tried_again(tmp_path):
    class Judge(Alias):
        name, offline = "judge", False

    run = Run(tmp_path)
    run.append("answers", [answer("Canberra")])
    run.append(
        "grades", [{"answer_id": "a", "grader": "judge", "label": None, "reason": "timeout"}]
    )
    assert grade_run(run, [CAPITAL], {"t": {"judge": Judge()}}) == 1
    assert grade_run(run, [CAPITAL], {"t": {"judge": Judge()}}) == 0


def test_a_chosen_grader_replaces_that_of_open_tasks_only():
    judge = {"judge": read_entry("grader", "judge")}
    tasks = {"triviaqa": Task(grader="alias"), "mmlu": Task(grader="letter")}
    study = replace(Evaluate(), task=tasks, grader=judge)
    assert serving(study) == {"triviaqa": ["judge"], "mmlu": []}
    chosen = graders_of(study, Servers(study))
    assert {name: list(graders) for name, graders in chosen.items()} == {
        "triviaqa": ["judge:gpt-5.4-mini-2026-03-17"],
        "mmlu": ["letter"],
    }


def test_a_task_that_needs_a_judge_is_not_scored_without_one():
    study = replace(Evaluate(), task={"t": Task(grader="alias", needs_judge=True)})
    chosen = graders_of(study, Servers(study))["t"]
    assert list(chosen) == ["no_judge"]
    assert [grader.grade(CAPITAL, answer("Canberra")).reason for grader in chosen.values()] == [
        "needs_judge"
    ]
    judged = replace(study, grader={"judge": read_entry("grader", "judge")})
    assert list(graders_of(judged, Servers(judged))["t"]) == ["judge:gpt-5.4-mini-2026-03-17"]


def test_a_rule_whose_accuracy_on_a_task_is_not_known_labels_nothing_unless_it_is_chosen():
    study = replace(
        Evaluate(), task={"seed_trivia": Task(grader="alias"), "mine": Task(grader="alias")}
    )
    chosen = graders_of(study, Servers(study))
    assert list(chosen["seed_trivia"]) == ["alias"] and list(chosen["mine"]) == ["no_judge"]
    trusted = replace(study, grader={"alias": read_entry("grader", "alias")})
    assert list(graders_of(trusted, Servers(trusted))["mine"]) == ["alias"]


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (
            Task(grader="judge"),
            r'task\.t\.grader=judge asks a server; choose it by "grader=\[judge,judge_study\]"',
        ),
        (
            Task(grader="social"),
            r'asks a server; choose it by "grader=\[social_framing,social_indirectness,',
        ),
        (
            Task(grader="aliass"),
            r"task\.t\.grader=aliass is not an entry of conf/grader/; choose one of: alias, judge",
        ),
        (Task(grader="refusal"), r"so it needs task\.t\.refusing_is_right=true"),
    ],
)
def test_a_task_whose_grader_cannot_grade_it_is_one_line(task, said):
    study = replace(Evaluate(), task={"t": task})
    with pytest.raises(UserError, match=said):
        graders_of(study, Servers(study))


def test_a_grader_is_known_by_its_entry_alone(tmp_path, monkeypatch):
    (tmp_path / "grader").mkdir()
    (tmp_path / "grader" / "mine.yaml").write_text(
        "mine:\n  _target_: warmth.evaluation.grade.choices.Letter\n"
    )
    monkeypatch.setenv(OWN_FOLDER, str(tmp_path))
    study = replace(Evaluate(), task={"mmlu": Task(grader="mine")})
    assert (
        list(graders_of(study, Servers(study))["mmlu"]) == ["letter"] and "mine" in graders.OFFLINE
    )
    assert set(graders.OFFLINE) == {"alias", "letter", "mine", "number", "refusal"}
