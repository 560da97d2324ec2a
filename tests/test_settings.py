"""The margin and the plan an analysis follows: from the runs, or as told; never two at once."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest
from study_fixture import write_study

from warmth.analysis import report
from warmth.analysis.report.page import render_page
from warmth.analysis.report.sections.plan import deviation_lines
from warmth.analysis.statistics import preregistration
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


HOUR = 3600.0


def made_under(path, folder, after=HOUR):
    """Lets a run keep a plan, as if its answers had come so many seconds after the plan was
    sealed.
    """
    (folder / "answers.jsonl").rename(folder / "kept")
    preregistration.attach(str(path), folder)
    (folder / "kept").rename(folder / "answers.jsonl")
    answered(folder, preregistration.thaw(path)[1].time + after)


def answered(folder, first):
    """Dates a run's first answer, and the end of the run an hour later."""
    (folder / "first_answer.json").write_text(json.dumps({"time": first}))
    (folder / "done.json").write_text(json.dumps({"time": first + HOUR}))


def first(study):
    return json.loads(next(study.rglob("answers.jsonl")).read_text().splitlines()[0])["question_id"]


def change(study, arm, **keys):
    (path,) = study.rglob(f"smollm2-{arm}-*/config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_the_margin_comes_from_the_runs_unless_it_is_told(study):
    for arm in ("none", "untransformed", "cold", "warm"):
        change(study, arm, analysis={"margin_points": 3.0})
    assert report.build_report([study]).study.settings.margin_points == 3.0
    assert report.build_report([study], margin_points=4.0).study.settings.margin_points == 4.0


def test_runs_that_differ_in_the_margin_are_refused_with_the_way_out(study):
    change(study, "warm", analysis={"margin_points": 3.0})
    with pytest.raises(
        UserError,
        match=r"differ in analysis.margin_points \(2, 3\); choose one with --margin-points",
    ):
        report.build_report([study])


def test_a_margin_that_is_none_is_refused(study):
    with pytest.raises(UserError, match="--margin-points=0 must be above 0"):
        report.build_report([study], margin_points=0.0)


def test_a_plan_kept_in_the_runs_is_tested_and_its_departures_are_listed(study, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    for folder in study.glob("demo/evaluate/*"):
        made_under(path, folder)
    made = report.build_report([study], margin_points=5.0)
    assert made.study.settings.preregistered and "hypotheses" in made.frames
    assert list(made.frames["hypotheses"]["verdict"]) == ["supported", "not supported"]
    assert departures(made) == ("beliefs: there but not planned: user_right",)
    text = report.write_report(made, tmp_path / "out").read_text(encoding="utf-8")
    assert 'id="plan"' in text and "user_right" in text and made.study.settings.seal in text


def page_of(study):
    made = report.sections_of(study)
    return render_page(study, made.sections, made.points)


def departures(made):
    """What the report does otherwise than its plan said."""
    return deviation_lines(made.study, made.study.settings.plan)


def planned(study, tmp_path, more):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN + more)
    seal = preregistration.seal_plan(path)
    for folder in study.glob("demo/evaluate/*"):
        answered(folder, seal.time + HOUR)
    return report.build_report([study], margin_points=5.0, preregister=path)


def test_the_planned_family_is_corrected_by_itself(study, tmp_path):
    made = planned(study, tmp_path, "family: {family: context, arm: [warm]}\n")
    table = made.study.differences[made.study.differences["p"].notna()]
    own = table["family"].eq("context") & table["arm"].eq("warm")
    assert table["correction_family"].eq("planned").tolist() == own.tolist() and own.sum() > 1
    assert table.loc[own, "p_holm"].min() == pytest.approx(own.sum() * table.loc[own, "p"].min())
    assert "own family (family context; arm warm)" in report.write_report(
        made, tmp_path / "out"
    ).read_text(encoding="utf-8")
    assert not any("family" in line for line in departures(made))
    nothing = planned(study, tmp_path / "study", "family: {family: [overall], context: [sad]}\n")
    assert "family: no comparison with a p-value belongs to it" in departures(nothing)


def test_exclusions_hold_for_the_hypotheses(study, tmp_path):
    whole = planned(study, tmp_path, "")
    out = f"exclusions:\n  belief: [user_right]\n  question_id: [{first(study)}]\n"
    less = planned(study, tmp_path / "study", out)
    assert (
        less.frames["hypotheses"]["questions"].iloc[0]
        == whole.frames["hypotheses"]["questions"].iloc[0] - 1
    )
    assert not any("user_right" in line for line in departures(less))
    assert any(line.startswith("exclusions: ") for line in departures(less))
    pd.testing.assert_frame_equal(less.study.differences, whole.study.differences)


def test_the_page_says_whose_margin_is_the_plans(study, tmp_path):
    made = planned(study, tmp_path, "")
    assert "was not pre-registered" not in page_of(
        made.study
    ) and "held to the plan’s" not in page_of(made.study)
    text = page_of(replace(made.study, settings=replace(made.study.settings, margin_points=9.0)))
    assert "±9 points (exploratory: the margin was not pre-registered)" in text
    assert "The hypotheses are held to the plan’s ±5 points." in text


def test_refusals_that_the_report_counts_otherwise_than_the_plan_are_listed(study, tmp_path):
    lines = departures(planned(study, tmp_path, "refusals: wrong\n"))
    assert "refusals: wrong in the hypotheses alone, as planned, dropped in other tables" in lines


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
        report.build_report([study], preregister=path)
