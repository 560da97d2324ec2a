"""Known accuracy is data: one file, made by one script, and never older than the rules."""

from __future__ import annotations

import json
import sys

import pytest
from test_rules import shared

from warmth import accuracy
from warmth.evaluation.grade.graders import OFFLINE
from warmth.paths import ROOT


def test_the_file_is_what_the_script_makes_of_today_s_rules(monkeypatch):
    """`python bench/accuracy.py` writes it again after a rule has changed."""
    for name in (
        "labels/evouna_triviaqa.jsonl",
        "labels/xstest_refusals.jsonl",
        "released/sample_qwen32b",
    ):
        shared(name)
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import accuracy as script

    monkeypatch.setattr(script, "DRAWS", 40)  # intervals are not compared
    kept = json.loads(accuracy.FILE.read_text(encoding="utf-8"))["rows"]
    made = list(script.measured(ROOT.parent / "shared"))
    sys.modules.pop("accuracy", None)
    for row in (*kept, *made):
        del row["low"], row["high"]
    assert kept == made


def test_every_rule_has_a_known_accuracy_and_says_how_far_it_agrees():
    assert {row.grader for row in accuracy.known_accuracies()} == set(OFFLINE)
    for row in accuracy.known_accuracies():
        assert row.low <= row.agreement <= row.high and row.scored <= row.answers
    assert accuracy.of("alias", "triviaqa")[0].answers == max(
        row.answers for row in accuracy.of("alias", "triviaqa")
    )
    assert accuracy.agreement_words("alias", ["triviaqa"]).startswith("agrees with people on 9")
    assert " to " in accuracy.agreement_words("alias", ["seed_trivia", "seed_disinfo"])
    assert accuracy.agreement_words("mine", ["triviaqa"]) == "agreement with people not known here"


@pytest.mark.parametrize(
    ("first", "second", "bias"),
    [
        ((True, True), (False, False), 0.0),
        ((True, True), (False, True), 100.0),
        ((False, True), (True, True), -100.0),
    ],
)
def test_a_bias_is_the_difference_by_the_grader_less_that_by_people(
    monkeypatch, first, second, bias
):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import accuracy as script

    sys.modules.pop("accuracy", None)
    assert script.biases([script.Row("q", "a", *first), script.Row("q", "b", *second)]) == [bias]
