import json
import re

import pandas as pd
import pytest

from warmth.analysis.statistics import effects, preregistration
from warmth.digest import digest
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
    rows = [
        (a, f"q{n}", c)
        for a in ("original", "warm")
        for n in range(2)
        for c in ("unmodified", "sad")
    ]
    frame = pd.DataFrame(rows, columns=["arm", "question_id", "context"])
    return frame.assign(task="triviaqa", belief="none", model="m", seed=0, grader="judge").assign(
        **changes
    )


def test_a_plan_followed_departs_in_nothing(path):
    preregistration.freeze(path)
    plan, seal = preregistration.thaw(path)
    assert len(seal.digest) == 12
    assert preregistration.deviations(plan, answers(), 2.0, "holm") == []


def test_the_smallest_plan_can_be_frozen_and_read_again(path):
    path.write_text("hypotheses: [{name: H1, arm: warm}]\nestimand: overall difference\n")
    seal = preregistration.freeze(path)
    plan, again = preregistration.thaw(path)
    assert (
        again.digest == seal
        and plan == preregistration.read_plan(path)
        and plan.margin_points is None
    )
    assert not preregistration.deviations(plan, answers(), 2.0, "holm")


def test_every_departure_is_a_line(path):
    plan = preregistration.read_plan(path)
    lines = preregistration.deviations(
        plan, answers(task="medqa", seed=[0, 1] * 4), 3.0, "bh", "wrong"
    )
    assert lines == [
        "tasks: planned but not there: triviaqa",
        "tasks: there but not planned: medqa",
        "training seeds: 1 planned, 2 there",
        "refusals: dropped in the hypotheses alone, as planned, wrong in other tables",
        "margin: 2 points in the hypotheses alone, as planned, 3 in other tables",
        "correction: holm planned, bh used",
    ]
    fewer = answers().loc[lambda table: table["question_id"].eq("q0") & table["arm"].eq("original")]
    assert "hypothesis H1: no answers of warm" in preregistration.deviations(
        plan, fewer, 2.0, "holm"
    )
    assert "questions: 2 planned, 1 asked" in preregistration.deviations(plan, fewer, 2.0, "holm")


def test_questions_are_counted_in_the_planned_tasks(path):
    plan = preregistration.read_plan(path)
    more = pd.concat([answers(question_id="q0"), answers(task="medqa")])
    lines = preregistration.deviations(plan, more, 2.0, "holm")
    assert lines == ["tasks: there but not planned: medqa", "questions: 2 planned, 1 asked"]


def test_what_is_excluded_as_planned_is_no_departure_but_for_the_tables_that_hold_it(path):
    path.write_text(
        PLAN.replace("tasks: [triviaqa]", "tasks: triviaqa")
        + "exclusions: {task: medqa, finish: length}\n"
    )
    plan = preregistration.read_plan(path)
    rows = pd.concat([answers(), answers(task="medqa")], ignore_index=True).assign(finish="stop")
    rows.loc[0, "finish"] = "length"
    assert (
        preregistration.excluded_answers(plan, rows).tolist() == [True] + [False] * 7 + [True] * 8
    )
    assert preregistration.deviations(plan, rows, 2.0, "holm") == [
        "exclusions: 9 answers are left out of the hypotheses alone, not of other tables"
    ]


def test_a_family_of_arms_that_never_answered_is_a_departure(path):
    path.write_text(PLAN.replace("{family: [context]}", "{family: [context], arm: [warm, cold]}"))
    plan = preregistration.read_plan(path)
    assert preregistration.deviations(plan, answers(), 2.0, "holm") == [
        "family: planned but not there: arm cold"
    ]


def test_a_plan_frozen_before_a_key_existed_stays_what_it_was(path):
    preregistration.freeze(path)
    target = preregistration.frozen_path(path)
    body = json.loads(target.read_text())
    del body["plan"]["exclusions"]
    body["digest"] = digest(body["plan"])
    body["seal"] = preregistration.stamp_of(body["digest"], body["time"], body["commit"])
    target.write_text(json.dumps(body))
    assert preregistration.freeze(path) == body["digest"] == preregistration.thaw(path)[1].digest


def test_groupings_of_a_family_are_those_of_the_differences():
    assert tuple(effects.FAMILIES) == preregistration.GROUPINGS


def test_a_frozen_plan_cannot_be_changed(path):
    seal = preregistration.freeze(path)
    assert preregistration.freeze(path) == seal
    path.write_text(PLAN.replace("margin_points: 2", "margin_points: 5"))
    with pytest.raises(UserError, match=f"was frozen as {seal} and has changed"):
        preregistration.freeze(path)
    assert (
        preregistration.thaw(path)[0].margin_points == 2
    )  # what was frozen counts, not what the file says now


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
        (PLAN.replace("questions: 2", "questions: two"), "questions=two is not a whole number"),
        (PLAN.replace("seeds: 1", "seeds: 1.5"), "seeds=1.5 is not a whole number"),
        (PLAN.replace("points: 2", "points: 0"), "margin_points=0 must be a number above 0"),
        (PLAN.replace("points: 2", "points: .inf"), "margin_points=inf must be a number above 0"),
        (PLAN.replace("points: 2", "points: .nan"), "margin_points=nan must be a number above 0"),
        (PLAN.replace("points: 2", "points: true"), "margin_points=True must be a number above 0"),
        (
            PLAN.replace("family: [context]", "colour: [red]"),
            "family: unknown column colour; allowed: family, model, arm",
        ),
        (
            PLAN.replace("[context]", "[contexts]", 1),
            "family=contexts is not allowed; choose from: overall, task",
        ),
        (
            PLAN.replace("{family: [context]}", "overall"),
            "family=overall must name columns with their values",
        ),
        (
            PLAN + "exclusions: {label: [refused]}\n",
            "exclusions: unknown column label; allowed: model, task, context",
        ),
        ("hypotheses: [{nme: x}]\nestimand: y\n", "nme"),
        ("a: [", "is not YAML"),
        ("- 1\n", "holds no keys"),
    ],
)
def test_a_plan_that_cannot_be_read_is_one_line(path, text, words):
    path.write_text(text)
    with pytest.raises(UserError, match=words.replace("[", r"\[")):
        preregistration.read_plan(path)


def test_a_plan_never_frozen_is_no_plan(path):
    with pytest.raises(UserError, match="was not frozen before the answers"):
        preregistration.thaw(path)


@pytest.mark.parametrize(
    ("hypotheses", "message"),
    [
        ("[{name: H1, arm: null}]", "hypothesis 1: arm=None must be one name"),
        ("[{name: H1, arm: [warm]}]", "must be one name"),
        (
            "[{name: H1, arm: warm}, {name: H1, arm: cold}]",
            "hypothesis 2: name=H1 is another hypothesis's too",
        ),
        ("{H1: {name: H1, arm: warm}}", "must be a list"),
        ("[warm]", "hypothesis 1=warm must name its keys"),
        ("[{name: H1}]", "hypothesis 1 must state arm"),
        ("[{name: H1, arms: warm}]", "unknown key arms; allowed: name, arm, reference, direction"),
        ("[{name: H1, arm: warm, direction: up}]", "direction=up is not allowed"),
    ],
)
def test_hypotheses_that_cannot_be_told_apart_or_read_are_refused(path, hypotheses, message):
    path.write_text(f"hypotheses: {hypotheses}\nestimand: overall difference\n")
    with pytest.raises(UserError, match=re.escape(message)):
        preregistration.freeze(path)
    assert not preregistration.frozen_path(path).exists()
