"""A rule that a judge completed counts only if both agree on the answers that both labelled."""

from __future__ import annotations

import pytest
from study_fixture import write_study

from warmth.analysis.report.sections.checked import by_rule_and_judge
from warmth.analysis.rows import checked_rules
from warmth.analysis.rows.frames import load_rows
from warmth.store import Run, read_json, write_json


def completed(folder, wrong_of_judge, open_ones=()):
    """Turn a study's grades by alias into those of a rule and a judge, who labels every fifth
    prompt, too.

    Args:
        folder: the study.
        wrong_of_judge: the judge contradicts the rule on one in so many answers; 0: never.
        open_ones: arms in which the rule leaves every tenth answer open, so that the judge's label
        counts: wrong.
    """
    for done in list(folder.rglob("grades.jsonl")):
        run = Run(done.parent)
        rows = []
        arm = next(run.rows("answers"))["arm"]
        for number, row in enumerate(run.rows("grades")):
            if arm in open_ones and row["label"] and number % 10 == 0:
                opened = row | {"label": "incorrect", "reason": "It is another."}
                rows += [opened | {"grader": "alias+judge:x"}, opened | {"grader": "judge:x"}]
                continue
            rows.append(
                row | {"grader": "alias+judge:x", "reason": "" if row["label"] else row["reason"]}
            )
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
    rows = load_rows([completed(study, 0)])
    assert len(rows.checked) and rows.checked["by_rule"].eq(rows.checked["by_judge"]).all()
    assert rows.answers["label"].notna().any() and not any(
        "is not scored" in note for note in rows.warnings
    )
    table = by_rule_and_judge(rows.checked).set_index("arm")
    assert table["agreement"].eq(1.0).all() and table["judge_difference"].isna()["original"]
    assert table.loc["warm", "judge_difference"] == table.loc["warm", "both_difference"]
    assert (
        table.loc["warm", "judge_low"]
        < table.loc["warm", "judge_difference"]
        < table.loc["warm", "judge_high"]
    )


def test_the_difference_by_the_judge_alone_is_paired_by_prompt(study):
    """What the rule left open in one arm has a pair, too, for the judge labelled it."""
    rows = load_rows([completed(study, 0, open_ones=("warm",))])
    table = by_rule_and_judge(rows.checked).set_index("arm")
    labels = rows.checked.pivot(index="prompt_id", columns="arm", values="by_judge").dropna()
    wrong = labels.ne("correct").astype(float)
    assert table.loc["warm", "judge_difference"] == pytest.approx(
        (wrong["warm"] - wrong["original"]).mean()
    )
    assert table.loc["warm", "pairs"] == len(labels) > table.loc["warm", "decided"]


def test_a_rule_that_the_judge_often_contradicts_is_used_in_no_arm(study):
    rows = load_rows([completed(study, 25)])  # one in five of the checked
    left_out = [
        note for note in rows.warnings if "is not scored: alias and judge:x agree on" in note
    ]
    assert left_out and "less than 95 %; grade again with grader.judge.when=always" in left_out[0]
    tasks = {note.split()[0] for note in left_out}
    assert rows.answers.loc[rows.answers["task"].isin(tasks), "label"].isna().all()


def test_without_a_completed_rule_nothing_is_checked(study):
    rows = load_rows([study])
    assert rows.checked.empty and checked_rules.leave_out(rows.answers, rows.checked) == []
