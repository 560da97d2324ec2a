import math

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from warmth.analysis.statistics import effects, families
from warmth.analysis.statistics.families import Family, adjust, crossed_mean, odds_ratio, tost
from warmth.errors import UserError


def table(*p):
    return pd.DataFrame({"family": ["context"] * len(p), "arm": "warm", "p": p})


def test_holm_and_benjamini_hochberg_as_worked_by_hand():
    made = adjust(table(0.01, 0.04, 0.03), Family("contexts", {"family": ["context"]}))
    assert made["p_holm"].tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert made["p_bh"].tolist() == pytest.approx([0.03, 0.04, 0.04])


def test_corrections_equal_statsmodels():
    p = np.random.default_rng(0).random(40) ** 3
    made = adjust(table(*p), Family("contexts", {"arm": ["warm"]}))
    for column, method in (("p_holm", "holm"), ("p_bh", "fdr_bh")):
        assert made[column].to_numpy() == pytest.approx(
            multipletests(p, method=method)[1], abs=1e-12
        )


def test_only_the_declared_members_are_corrected_and_what_was_not_tested_does_not_count():
    rows = pd.concat([table(0.01, math.nan), table(0.02).assign(family="task")], ignore_index=True)
    made = adjust(rows, Family("contexts", {"family": ["context"], "arm": ["warm"]}))
    assert made["p_holm"].iloc[0] == 0.01 and made["p_holm"].iloc[1:].isna().all()
    assert made["correction_family"].tolist() == ["contexts", "contexts", ""]


def test_a_family_that_cannot_be_is_one_line():
    with pytest.raises(UserError, match="family f: colour is not a column"):
        adjust(table(0.1), Family("f", {"colour": ["red"]}))
    with pytest.raises(UserError, match="family f has no comparison with a p-value"):
        adjust(table(0.1), Family("f", {"arm": ["cold"]}))


def test_the_odds_ratio_of_pairs_has_an_exact_interval():
    # Clopper and Pearson for 9 of 10: 0.55498 to 0.99747; p/(1-p) of either end
    assert odds_ratio(9, 1) == pytest.approx((9, 0.55498 / 0.44502, 0.99747 / 0.00253), rel=1e-3)
    assert odds_ratio(3, 0)[0] == odds_ratio(3, 0)[2] == math.inf
    assert all(math.isnan(value) for value in odds_ratio(0, 0))


def test_a_small_difference_with_a_small_error_is_equivalent_and_with_a_large_one_undecided():
    assert tost(0.002, 0.005, 100, 0.02).verdict == "equivalent"
    assert tost(0.002, 0.05, 100, 0.02).verdict == "undecided"
    assert tost(0.05, 0.005, 100, 0.02).verdict == "different"
    assert tost(0.012, 0.004, 100, 0.02).verdict == "both"


def test_equivalence_is_the_ninety_percent_interval_inside_the_margin():
    # t(20; 0.95) = 1.724718: the interval 0.01 ± 0.017247·… ends exactly at the margin
    error = 0.01 / 1.7247182
    edge = tost(0.01, error, 20, 0.02)
    assert edge.high == pytest.approx(0.02, abs=1e-8) and edge.p == pytest.approx(0.05, abs=1e-6)


def test_equivalence_is_exploratory_unless_it_was_planned():
    assert tost(0, 0.001, 10, 0.02).label == "exploratory"
    assert tost(0, 0.001, 10, 0.02, preregistered=True).label == "pre-registered"
    with pytest.raises(UserError, match="analysis.margin_points=0"):
        tost(0, 0.001, 10, 0)
    assert tost(0.0, math.nan, 3, 0.02).verdict == "undecided"


def test_the_error_behind_an_interval_is_got_back():
    values = np.array([1.0, 0, 0, 1, 1, 0, 0, 0])
    mean = effects.clustered_mean(values, np.arange(8))
    assert families.standard_error(mean) == pytest.approx(values.std(ddof=1) / math.sqrt(8))


def test_seeds_that_disagree_widen_the_interval_for_the_recipe_alone():
    question, seed = np.indices((50, 4))
    draw = np.random.default_rng(0).normal(0, 0.3, (50, 1)) + np.random.default_rng(1).normal(
        0, 0.1, (50, 4)
    )
    calm = crossed_mean((draw + 0.1).ravel(), question.ravel(), seed.ravel())
    moved = crossed_mean((draw + [[0.0, 0.05, 0.15, 0.2]]).ravel(), question.ravel(), seed.ravel())
    assert moved["value"] == pytest.approx(calm["value"])
    assert moved["high_recipe"] - moved["low_recipe"] > 1.5 * (moved["high"] - moved["low"])
    assert calm["high_recipe"] - calm["low_recipe"] == pytest.approx(
        calm["high"] - calm["low"], rel=0.05
    )


def test_samples_of_one_question_and_seed_are_no_new_seeds():
    question, seed = np.indices((50, 4))
    values = np.random.default_rng(0).normal(0, 0.3, (50, 4)).ravel()
    once = crossed_mean(values, question.ravel(), seed.ravel())
    thrice = crossed_mean(
        np.repeat(values, 3), np.repeat(question.ravel(), 3), np.repeat(seed.ravel(), 3)
    )
    for key in ("low", "high", "low_recipe", "high_recipe"):
        assert thrice[key] == pytest.approx(once[key])


def test_seeds_that_do_not_vary_have_no_interval():
    made = crossed_mean(np.tile([1.0, 0.0, 0.0], 10), np.repeat(np.arange(10), 3), np.zeros(30))
    assert math.isnan(made["low"]) and math.isnan(made["high"])


def test_one_seed_says_nothing_about_another():
    made = crossed_mean(np.array([1.0, 0, 1, 0]), np.arange(4), np.zeros(4))
    assert math.isnan(made["low_recipe"]) and made["low"] < 0.5 < made["high"]


def test_odds_ratios_are_given_where_each_question_occurs_once():
    rows = pd.DataFrame(
        {
            "arm_only_wrong": [6, 6, 3],
            "reference_only_wrong": [2, 2, 0],
            "mcnemar_p": [0.3, math.nan, 0.2],
        }
    )
    made = families.with_odds(rows)
    assert made["odds_ratio"].iloc[0] == 3 and math.isnan(made["odds_ratio"].iloc[1])
    assert (
        made["odds_high"].iloc[2] == math.inf
        and made["odds_low"].iloc[0] < 3 < made["odds_high"].iloc[0]
    )
