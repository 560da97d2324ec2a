"""Pre-registered hypotheses and equivalence: claimed only where the plan's own test says so."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from warmth.analysis.statistics import claims, effects
from warmth.analysis.statistics.comparison_families import families_of, with_corrections
from warmth.analysis.statistics.preregistration import Hypothesis, Preregistration
from warmth.verdicts import Rule, outcomes


def answers(rise, questions=400):
    draw = np.random.default_rng(0)
    base = (draw.random(questions) < 0.3).astype(float)
    other = np.maximum(base, draw.random(questions) < rise).astype(float)
    parts = [
        pd.DataFrame(
            {"arm": arm, "wrong": wrong, "question_id": [f"q{n}" for n in range(questions)]}
        )
        for arm, wrong in (("original", base), ("warm", other))
    ]
    frame = pd.concat(parts, ignore_index=True).assign(
        model="m", task="t", context="unmodified", belief="none", seed=0
    )
    fixed = dict.fromkeys(("wrong_dropped", "wrong_strict", "wrong_lenient"), frame["wrong"])
    return frame.assign(sample=0, prompt_id=frame["question_id"], **fixed)


def plan(*hypotheses, **more):
    return Preregistration(hypotheses, "paired difference", **more)


def test_a_directed_claim_needs_both_the_test_and_the_sign():
    claim = (Hypothesis("H1", "warm", direction="more"), Hypothesis("H2", "warm", direction="less"))
    table = claims.tested(plan(*claim), answers(0.2), 2.0)
    assert list(table["verdict"]) == ["supported", "not supported"]
    assert (table["p_corrected"] >= table["p_used"]).all()


def test_no_effect_is_claimed_by_equivalence_not_by_a_large_p():
    claim = Hypothesis("H0", "warm", direction="equivalent")
    few = claims.tested(plan(claim), answers(0.01, 40), 2.0)
    many = claims.tested(plan(claim), answers(0.003, 4000), 2.0)
    assert list(few["verdict"]) != ["supported"] and list(many["verdict"]) == ["supported"]


def test_refusals_are_counted_as_planned_whatever_the_rule_of_the_report():
    told = answers(0.2)
    refused = told["arm"].eq("warm") & told["question_id"].isin([f"q{n}" for n in range(10)])
    label = told["wrong"].map({0.0: "correct", 1.0: "incorrect"}).mask(refused, "refused")
    told = outcomes(told.assign(label=label, finish="stop"), Rule(refused="wrong"))
    claim = Hypothesis("H1", "warm")
    ways = ("dropped", "wrong", "right")
    tables = {way: claims.tested(plan(claim, refusals=way), told, 2.0).iloc[0] for way in ways}
    assert [tables[way]["pairs"] for way in ways] == [390, 400, 400]
    assert tables["wrong"]["difference"] - tables["right"]["difference"] == pytest.approx(10 / 400)


def test_equivalence_is_held_to_the_margin_of_the_plan():
    claim, told = Hypothesis("H0", "warm", direction="equivalent"), answers(0.2)
    assert list(claims.tested(plan(claim, margin_points=2.0), told, 50.0)["verdict"]) == [
        "not supported"
    ]
    assert list(claims.tested(plan(claim), told, 50.0)["verdict"]) == ["supported"]


def test_a_hypothesis_without_answers_is_not_tested():
    for told in (
        plan(Hypothesis("H1", "cold")),
        plan(Hypothesis("H1", "warm"), tasks=("another",)),
    ):
        assert list(claims.tested(told, answers(0.1), 2.0)["verdict"]) == ["not tested"]


def test_a_hypothesis_that_cannot_be_tested_stays_in_the_family():
    told = answers(0.2, 60)
    alone = claims.tested(plan(Hypothesis("H1", "warm")), told, 2.0)
    both = claims.tested(plan(Hypothesis("H1", "warm"), Hypothesis("H2", "cold")), told, 2.0)
    assert 0 < alone["p_corrected"][0] < 0.5
    assert both["p_corrected"][0] == pytest.approx(2 * alone["p_corrected"][0])
    assert both["verdict"][1] == "not tested" and both["p_corrected"].isna()[1]
    of_models = claims.tested(plan(Hypothesis("H1", "warm"), models=("m", "n")), told, 2.0)
    assert of_models.set_index("model").loc["m", "p_corrected"] == pytest.approx(
        2 * alone["p_corrected"][0]
    )


def test_a_planned_comparison_that_cannot_be_tested_stays_in_its_family():
    frame = pd.DataFrame(
        {"family": "context", "context": ["sad", "low", "high"], "p": [0.01, 0.02, np.nan]}
    )
    planned_family = plan(Hypothesis("H1", "warm"), family={"family": ("context",)})
    table = with_corrections(frame, families_of(planned_family))
    assert table["p_holm"].tolist()[:2] == pytest.approx([0.03, 0.04]) and table["p_holm"].isna()[2]


def test_arms_that_share_no_scored_prompt_are_not_tested():
    told = answers(0.2)
    told.loc[told["arm"].eq("warm"), "prompt_id"] += " b"
    claim = Hypothesis("H1", "warm")
    assert list(claims.tested(plan(claim), told, 2.0)["verdict"]) == ["not tested"]
    both = pd.concat([told, answers(0.2).assign(model="n")])
    table = claims.tested(plan(claim), both, 2.0).set_index("model")
    assert table["verdict"].to_dict() == {"m": "not tested", "n": "supported"}


def test_a_margin_chosen_afterwards_is_called_exploratory():
    differences = effects.paired_differences(effects.pair(answers(0.2)), ["overall"])
    before, after = (
        claims.equivalences(differences, planned)["equivalence"][0] for planned in (True, False)
    )
    assert before == "different (pre-registered)" and after == "different (exploratory)"


def test_benchmarks_count_only_in_a_plan_that_names_them():
    benchmark = answers(0.0).assign(
        task="mmlu", prompt_id=lambda rows: rows["prompt_id"] + " b", benchmark=True
    )
    both = pd.concat([answers(0.2).assign(benchmark=False), benchmark])
    claim = Hypothesis("H1", "warm", direction="more")
    pairs = {
        tasks: claims.tested(plan(claim, tasks=tasks), both, 2.0)["pairs"][0]
        for tasks in ((), ("t", "mmlu"))
    }
    assert pairs == {(): 400, ("t", "mmlu"): 800}
