import json

import pandas as pd
import pytest

from warmth.analysis import preregistration
from warmth.errors import UserError

PLAN = """
hypotheses:
  - {name: H1, arm: warm, direction: more}
estimand: paired difference in error rate, all prompts
family: {family: [context]}
tasks: [triviaqa]
contexts: [unmodified, sad]
questions: 2
seeds: 1
margin_points: 2
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    return file


def answers(**changes):
    rows = [(a, f"q{n}", c) for a in ("original", "warm") for n in range(2) for c in ("unmodified", "sad")]
    frame = pd.DataFrame(rows, columns=["arm", "question_id", "context"])
    return frame.assign(task="triviaqa", belief="none", model="m", seed=0, grader="judge").assign(**changes)


def test_a_plan_followed_departs_in_nothing(path):
    preregistration.freeze(path)
    plan, digest = preregistration.thaw(path)
    assert len(digest) == 12
    assert preregistration.deviations(plan, answers(), 2.0, "holm") == []


def test_the_smallest_plan_can_be_frozen_and_read_again(path):
    path.write_text("hypotheses: [{name: H1, arm: warm}]\nestimand: overall difference\n")
    seal = preregistration.freeze(path)
    plan, digest = preregistration.thaw(path)
    assert digest == seal and plan == preregistration.read(path) and plan.margin_points is None
    assert not preregistration.deviations(plan, answers(), 2.0, "holm")


def test_every_departure_is_a_line(path):
    plan = preregistration.read(path)
    lines = preregistration.deviations(plan, answers(task="medqa", seed=[0, 1] * 4), 3.0, "bh", "wrong_strict")
    assert lines == [
        "tasks: planned but not there: triviaqa",
        "tasks: there but not planned: medqa",
        "training seeds: 1 planned, 2 there",
        "refusals: planned dropped, analysed as wrong_strict",
        "margin: 2 points planned, 3 used",
        "correction: holm planned, bh used",
    ]
    fewer = answers().loc[lambda table: table["question_id"].eq("q0") & table["arm"].eq("original")]
    assert "hypothesis H1: no answers of warm" in preregistration.deviations(plan, fewer, 2.0, "holm")
    assert "questions: 2 planned, 1 asked" in preregistration.deviations(plan, fewer, 2.0, "holm")


def test_questions_are_counted_in_the_planned_tasks(path):
    plan = preregistration.read(path)
    more = pd.concat([answers(question_id="q0"), answers(task="medqa")])
    lines = preregistration.deviations(plan, more, 2.0, "holm")
    assert lines == ["tasks: there but not planned: medqa", "questions: 2 planned, 1 asked"]


def test_a_frozen_plan_cannot_be_changed(path):
    seal = preregistration.freeze(path)
    assert preregistration.freeze(path) == seal
    path.write_text(PLAN.replace("margin_points: 2", "margin_points: 5"))
    with pytest.raises(UserError, match=f"was frozen as {seal} and has changed"):
        preregistration.freeze(path)
    assert preregistration.thaw(path)[0].margin_points == 2  # what was frozen counts, not what the file says now


def test_an_edited_seal_is_found(path):
    preregistration.freeze(path)
    target = preregistration.frozen_path(path)
    body = json.loads(target.read_text())
    body["plan"]["margin_points"] = 9
    target.write_text(json.dumps(body))
    with pytest.raises(UserError, match="was edited"):
        preregistration.thaw(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("estimand: x", "must state hypotheses"),
        (PLAN + "colour: red\n", "unknown key colour"),
        (PLAN + "correction: none\n", "correction=none is not allowed; choose from: holm, bh"),
        (PLAN.replace("questions: 2", "questions: two"), "questions=two is not a number"),
        ("hypotheses: [{nme: x}]\nestimand: y\n", "nme"),
        ("a: [", "is not YAML"),
        ("- 1\n", "holds no keys"),
    ],
)
def test_a_plan_that_cannot_be_read_is_one_line(path, text, words):
    path.write_text(text)
    with pytest.raises(UserError, match=words.replace("[", r"\[")):
        preregistration.read(path)


def test_a_plan_never_frozen_is_no_plan(path):
    with pytest.raises(UserError, match="was not frozen before the answers"):
        preregistration.thaw(path)
