"""A grade is made by rules of one version: other rules grade again, and a report does not mix
them.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from study_fixture import write_study
from test_graders import CAPITAL, answer

from warmth.analysis.rows import frames
from warmth.errors import UserError
from warmth.evaluation.grade.alias import Alias
from warmth.evaluation.grade.by_rules import rules_digest
from warmth.evaluation.grade.choices import Letter
from warmth.evaluation.grade.graders import RULES, grade_run, outdated, renew
from warmth.evaluation.grade.judge import Judge
from warmth.evaluation.summary import is_complete
from warmth.schemas import Analysis, Evaluate
from warmth.store import Run, full_config, read_json, write_json

GRADERS = {"t": {"alias": Alias()}}
STUDY = Evaluate(analysis=Analysis(2.0))


@pytest.fixture
def graded(tmp_path):
    """A finished run with one right and one wrong answer, graded by today's rules."""
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    run.append("answers", [answer("Canberra", answer_id="a1"), answer("Perth", answer_id="a2")])
    renew(run, GRADERS)
    grade_run(run, [CAPITAL], GRADERS)
    write_json(run.folder / "summary.json", {"graders": {"t": ["alias"]}})
    write_json(run.folder / "config.json", full_config(STUDY))
    write_json(run.folder / "done.json", {})
    return run


def older(run, grader="alias"):
    """As if the grades were made by other rules."""
    write_json(run.folder / RULES, {**read_json(run.folder / RULES), grader: "older"})


def test_rules_are_all_code_that_a_verdict_passes_through(tmp_path, monkeypatch):
    room = tmp_path / "a_room"
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "grader.py").write_text("from a_room.words import WORDS\n")
    (room / "words.py").write_text("from a_room.far import FAR\nWORDS = 1\n")
    (room / "far.py").write_text("FAR = 1\n")
    (room / "another.py").write_text("OTHER = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def now():
        rules_digest.cache_clear()
        for name in [name for name in sys.modules if name.startswith("a_room")]:
            del sys.modules[name]
        return rules_digest("a_room.grader")

    first = now()
    assert now() == first
    (room / "another.py").write_text("OTHER = 2\n")
    assert now() == first  # of no concern
    (room / "far.py").write_text("FAR = 2\n")
    assert now() != first
    rules_digest.cache_clear()


def test_graders_have_rules_of_their_own():
    assert Alias().rules != Letter().rules and len(Alias().rules) == 12


def test_grades_of_today_are_left_alone(graded, capsys):
    before = (graded.folder / "grades.jsonl").read_bytes()
    renew(graded, GRADERS)
    assert (graded.folder / "grades.jsonl").read_bytes() == before and is_complete(
        graded, GRADERS, STUDY
    )
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("noted", [True, False])
def test_grades_of_other_rules_are_made_again(graded, noted, capsys):
    older(graded) if noted else (graded.folder / RULES).unlink()
    wrong = [
        {**row, "label": "hedged"} for row in graded.rows("grades")
    ]  # what the other rules said
    (graded.folder / "grades.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wrong))
    assert not is_complete(graded, GRADERS, STUDY)
    renew(graded, GRADERS)
    assert "now again: alias" in capsys.readouterr().err
    assert grade_run(graded, [CAPITAL], GRADERS) == 2
    assert [row["label"] for row in graded.rows("grades")] == ["correct", "incorrect"]
    assert is_complete(graded, GRADERS, STUDY)


@pytest.mark.parametrize(
    "given", [{"analysis": Analysis(2.0, hedged="dropped")}, {"preregister": "plan.yaml"}]
)
def test_a_run_under_another_rule_for_labels_or_without_the_plan_is_not_what_is_asked_for(
    graded, given
):
    assert not is_complete(graded, GRADERS, replace(STUDY, **given))


def test_only_the_grader_whose_rules_changed_is_asked_again(graded):
    graded.append("grades", [{"answer_id": "a1", "grader": "judge:x", "label": "hedged"}])
    write_json(graded.folder / RULES, {**read_json(graded.folder / RULES), "judge:x": "a rubric"})
    older(graded)
    renew(graded, GRADERS)
    assert [row["grader"] for row in graded.rows("grades")] == ["judge:x"]
    assert read_json(graded.folder / RULES)["judge:x"] == "a rubric"


def test_a_judge_is_asked_again_for_another_rubric_but_not_for_more_tokens(graded):
    bound = Judge(None, "some-model").bind("judge", None)
    graders = {"t": {bound.name: bound}}
    renew(graded, graders)
    assert outdated(graded, graders) == set()
    longer = replace(bound, settings=replace(bound.settings, max_tokens=900))
    assert outdated(graded, {"t": {bound.name: longer}}) == set()
    other = replace(bound, rubric=bound.rubric + " Be strict.")
    assert outdated(graded, {"t": {bound.name: other}}) == {bound.name}


def test_a_report_refuses_arms_graded_by_different_rules(tmp_path):
    study = write_study(tmp_path)
    folders = sorted((study / "demo" / "evaluate").iterdir())
    for folder in folders:
        write_json(folder / RULES, {"alias": "new"})
    frames.load_rows([study])
    write_json(folders[1] / RULES, {"alias": "old"})
    with pytest.raises(UserError, match=r"alias graded .* by different rules; run both"):
        frames.load_rows([study])
    (folders[1] / RULES).unlink()
    with pytest.raises(UserError, match=r"alias graded .* by different rules; run both"):
        frames.load_rows([study])
    shutil.rmtree(folders[1])
    frames.load_rows([study])


def test_rules_that_are_no_object_are_named(tmp_path):
    study = write_study(tmp_path)
    path = next(Path(study / "demo" / "evaluate").iterdir()) / RULES
    path.write_text("[1]")
    with pytest.raises(UserError, match=r"rules\.json is not a JSON object"):
        frames.load_rows([study])
