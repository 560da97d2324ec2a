"""The margin and the plan an analysis follows: from the runs, or as told; never two at once."""

from __future__ import annotations

import json

import pytest
from study_fixture import write_study

from warmth.analysis import preregistration, report
from warmth.errors import UserError

PLAN = """
hypotheses: [{name: H1, arm: warm, direction: more}, {name: H2, arm: cold, reference: untransformed, direction: less}]
estimand: paired difference in error rate
margin_points: 5
questions: 48
beliefs: [none, wrong_asserted]
"""


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "study", training=False)


def change(study, arm, **keys):
    (path,) = study.rglob(f"smollm2-{arm}-*/config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_the_margin_comes_from_the_runs_unless_it_is_told(study):
    for arm in ("none", "untransformed", "cold", "warm"):
        change(study, arm, analysis={"margin_points": 3.0})
    assert report.build([study]).settings.margin_points == 3.0
    assert report.build([study], margin_points=4.0).settings.margin_points == 4.0


def test_runs_that_differ_in_the_margin_are_refused_with_the_way_out(study):
    change(study, "warm", analysis={"margin_points": 3.0})
    with pytest.raises(UserError, match=r"differ in analysis.margin_points \(2, 3\); choose one with --margin-points"):
        report.build([study])


def test_a_margin_that_is_none_is_refused(study):
    with pytest.raises(UserError, match="--margin-points=0 must be above 0"):
        report.build([study], margin_points=0.0)


def test_a_plan_kept_in_the_runs_is_tested_and_its_departures_are_listed(study, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    for folder in study.glob("demo/evaluate/*"):
        (folder / "answers.jsonl").rename(folder / "kept")
        preregistration.attach(str(path), folder)
        (folder / "kept").rename(folder / "answers.jsonl")
    made = report.build([study], margin_points=5.0)
    assert made.settings.preregistered and made.supplement.claims is not None
    assert list(made.supplement.claims["verdict"]) == ["supported", "not supported"]
    assert made.supplement.deviations == ("beliefs: there but not planned: user_right",)
    text = report.write(made, tmp_path / "out").read_text(encoding="utf-8")
    assert 'id="plan"' in text and "user_right" in text and made.settings.seal in text


def test_answers_older_than_the_plan_are_refused(study, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    folder = next(study.glob("demo/evaluate/*"))
    with pytest.raises(UserError, match="holds answers that are older than the pre-registration"):
        preregistration.attach(str(path), folder)
    assert not preregistration.attached_path(folder).exists()


def test_a_plan_that_was_never_frozen_is_refused(study, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    with pytest.raises(UserError, match="was not frozen before the answers"):
        report.build([study], preregister=path)
