"""A rule that a judge completed counts only if both agree on the answers that both labelled."""

from __future__ import annotations

import pytest
from study_fixture import write_study

from warmth.analysis import checked_rules
from warmth.analysis.report.sections.checked import by_rule_and_judge
from warmth.analysis.rows import load
from warmth.store import Run, read_json, write_json


def completed(folder, wrong_of_judge):
    """Turn a study's grades by alias into those of a rule and a judge, who disagrees on one in so many answers."""
    for done in list(folder.rglob("grades.jsonl")):
        run = Run(done.parent)
        rows = []
        for number, row in enumerate(run.rows("grades")):
            rows.append(row | {"grader": "alias+judge:x", "reason": "" if row["label"] else row["reason"]})
            if row["label"] and number % 5 == 0:
                other = "incorrect" if row["label"] == "correct" else "correct"
                label = other if wrong_of_judge and number % wrong_of_judge == 0 else row["label"]
                rows.append(row | {"grader": "judge:x", "label": label, "reason": "So it is."})
        done.unlink()
        run.append("grades", rows)
        summary = read_json(done.parent / "summary.json")
        names = {row["task"]: ["alias+judge:x"] for row in run.rows("answers")}
        write_json(done.parent / "summary.json", summary | {"graders": names})
        rules = done.parent / "rules.json"
        if rules.exists():
            write_json(rules, {"alias+judge:x": "r"})
    return folder


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path, arms=("original", "warm"), training=False)


def test_a_rule_that_the_judge_confirms_counts_and_both_stand_side_by_side(study):
    rows = load([completed(study, 0)])
    assert len(rows.checked) and rows.checked["by_rule"].eq(rows.checked["by_judge"]).all()
    assert rows.answers["label"].notna().any() and not any("is not scored" in note for note in rows.warnings)
    table = by_rule_and_judge(rows.checked).set_index("arm")
    assert table["agreement"].eq(1.0).all() and table["rule_rate"].equals(table["judge_rate"])
    assert table.loc["warm", "judge_difference"] == pytest.approx(
        table["judge_rate"]["warm"] - table["judge_rate"]["original"]
    )
    assert table["judge_difference"].isna()["original"]


def test_a_rule_that_the_judge_often_contradicts_is_used_in_no_arm(study):
    rows = load([completed(study, 25)])  # one in five of the checked
    left_out = [note for note in rows.warnings if "is not scored: alias and judge:x agree on" in note]
    assert left_out and "less than 95 %; grade again with grader.judge.when=always" in left_out[0]
    tasks = {note.split()[0] for note in left_out}
    assert rows.answers.loc[rows.answers["task"].isin(tasks), "label"].isna().all()


def test_without_a_completed_rule_nothing_is_checked(study):
    rows = load([study])
    assert rows.checked.empty and checked_rules.leave_out(rows.answers, rows.checked) == []
