"""A judge asked for what the rule leaves open, and for a tenth of the rest; and one whose accuracy
nobody knows.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_graders import CAPITAL, answer

from warmth.api import Servers
from warmth.entries import read_entry
from warmth.errors import UserError
from warmth.evaluation.grade.alias import Alias
from warmth.evaluation.grade.completing import SAMPLE, Completed, in_sample
from warmth.evaluation.grade.graders import grade_run, graders_of
from warmth.schemas import Evaluate, Task
from warmth.store import Run
from warmth.types import Grade

TASK = "seed_trivia"  # on which the accuracy of alias is known
OPEN = replace(CAPITAL, unmatched=None)


class FakeJudge:
    """Calls everything hedged, and remembers what it was asked."""

    name, rules, served_model, offline = "judge:fake", "r", "fake", False

    def __init__(self):
        self.asked = []

    def grade_all(self, items):
        self.asked += [given.answer_id for _, given in items]
        yield [Grade(given.answer_id, self.name, "hedged") for _, given in items]


def study(**changes):
    entry = read_entry("grader", "judge") | {"base_url": "http://x", "api_key_env": None} | changes
    return replace(Evaluate(), task={TASK: Task(grader="alias")}, grader={"judge": entry})


def test_the_judge_labels_what_the_rule_leaves_open_and_a_tenth_of_the_rest():
    judge = FakeJudge()
    decided = {
        f"decided{number}": answer("Canberra", answer_id=f"decided{number}")
        for number in range(300)
    }
    decided = {
        name: replace(one, prompt_id=f"p{number}")
        for number, (name, one) in enumerate(decided.items())
    }
    items = [(OPEN, one) for one in decided.values()]
    items += [(OPEN, answer("It is Perth.", answer_id=f"open{number}")) for number in range(20)]
    items += [(OPEN, answer("?!", answer_id="empty"))]
    grades = [grade for made in Completed(Alias(), judge).grade_all(items) for grade in made]
    primary = {grade.answer_id: grade for grade in grades if grade.grader == "alias+judge:fake"}
    assert len(primary) == len(items)
    assert {primary[f"open{number}"].label for number in range(20)} == {"hedged"}
    assert {primary[f"decided{number}"].label for number in range(300)} == {"correct"}
    assert (primary["empty"].label, primary["empty"].reason) == (None, "empty")
    checked = {name for name in judge.asked if name.startswith("decided")}
    assert checked == {name for name, one in decided.items() if in_sample(one)}
    assert 0.5 < len(checked) / (300 / SAMPLE) < 1.6 and len(judge.asked) == len(checked) + 20
    assert {grade.answer_id for grade in grades if grade.grader == "judge:fake"} == set(judge.asked)


def test_the_judge_checks_the_rule_on_the_same_prompts_in_every_arm():
    for number in range(50):
        one = replace(answer("Canberra", answer_id=f"a{number}"), prompt_id=f"p{number}")
        assert in_sample(one) == in_sample(
            replace(one, answer_id=f"b{number}", arm="original", text="Sydney")
        )


def test_one_answer_is_labelled_like_many_and_a_run_holds_one_primary_row_each(tmp_path):
    grader = Completed(Alias(), FakeJudge())
    assert grader.grade(OPEN, answer("Canberra")).label == "correct"
    assert grader.grade(OPEN, answer("It is Perth.")).label == "hedged"
    run = Run(tmp_path)
    run.append(
        "answers", [answer("Canberra", answer_id="a1"), answer("It is Perth.", answer_id="a2")]
    )
    assert grade_run(run, [OPEN], {"t": {grader.name: grader}}) >= 2
    assert grade_run(run, [OPEN], {"t": {grader.name: grader}}) == 0


def test_when_unscored_puts_the_task_s_rule_before_the_judge_unless_the_task_needs_one():
    completed = study(when="unscored")
    assert list(graders_of(completed, Servers(completed))[TASK]) == [
        "alias+judge:gpt-5.4-mini-2026-03-17"
    ]
    needing = replace(completed, task={TASK: Task(grader="alias", needs_judge=True)})
    assert list(graders_of(needing, Servers(needing))[TASK]) == ["judge:gpt-5.4-mini-2026-03-17"]
    always = study()
    assert list(graders_of(always, Servers(always))[TASK]) == ["judge:gpt-5.4-mini-2026-03-17"]


@pytest.mark.parametrize(("needs_judge", "first"), [(False, "alias"), (True, "no_judge")])
def test_a_judge_in_this_process_whose_accuracy_nobody_knows_makes_no_headline(
    needs_judge, first, capsys
):
    local = study(base_url=None, model="smollm2")
    local = replace(local, task={TASK: Task(grader="alias", needs_judge=needs_judge)})
    assert list(graders_of(local, Servers(local))[TASK]) == [first, "judge:smollm2"]
    assert (
        "judge:smollm2 has no known accuracy, so it makes no headline of seed_trivia"
        in capsys.readouterr().err
    )


def test_another_when_is_one_line():
    other = study(when="sometimes")
    with pytest.raises(
        UserError,
        match="grader.judge.when=sometimes is not allowed; choose one of: always, unscored",
    ):
        graders_of(other, Servers(other))
