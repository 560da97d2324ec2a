"""Intervals of paired differences: exact at the edge, ordinary where errors are common, one thing
with their tests.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from warmth.analysis.statistics import rare


def pairs(arm_only: int, reference_only: int, questions: int, rows: int = 1) -> rare.Evidence:
    """So many pairs of either kind, the first questions holding them, all others right on both
    sides.
    """
    arm, reference = np.zeros(questions * rows), np.zeros(questions * rows)
    arm[:arm_only] = 1
    reference[arm_only : arm_only + reference_only] = 1
    return rare.evidence(arm, reference, rare.design(np.repeat(np.arange(questions), rows)))


def test_no_error_in_500_questions_is_no_difference_beyond_three_quarters_of_a_point():
    found = pairs(0, 0, 500)
    assert rare.interval(found) == pytest.approx((-0.00735, 0.00735), abs=5e-6)
    assert rare.interval(found)[1] == pytest.approx(proportion_confint(0, 500, method="beta")[1])
    assert rare.paired_p_value(found) == 1 and rare.equivalence_p(found, 0.02) == pytest.approx(
        0.98**500
    )


def test_500_answers_of_500_that_turn_wrong_are_different_beyond_doubt():
    found = pairs(500, 0, 500)
    assert rare.paired_p_value(found) == pytest.approx(stats.binomtest(500, 500).pvalue)
    assert rare.interval(found) == (pytest.approx(0.985, abs=5e-4), 1.0)
    assert rare.equivalence_p(found, 0.02) == 1


def test_a_question_without_a_discordant_pair_counts_as_one_answer_however_many_rows_it_has():
    assert rare.interval(pairs(0, 0, 40, rows=9)) == pytest.approx(rare.interval(pairs(0, 0, 40)))


def test_all_of_five_questions_are_too_few_to_claim_anything():
    low, high = rare.interval(pairs(10, 0, 5, rows=2))
    assert low < 0 < high == 1 and rare.paired_p_value(pairs(10, 0, 5, rows=2)) == pytest.approx(
        2 * 0.5**5
    )


def test_a_single_question_has_no_interval():
    found = pairs(3, 0, 1, rows=6)
    assert all(math.isnan(end) for end in rare.interval(found)) and math.isnan(
        rare.paired_p_value(found)
    )


def test_tango_by_an_independent_solution():
    """5 against 1 of 200: the ends solve the score equation of the hypothesised difference at its
    own variance.
    """
    found = pairs(5, 1, 200)
    shrink = float(rare._shrinkage(found.arrays()))
    assert shrink == pytest.approx(
        (6 * found.variance * 200 / (6 / 200 - 0.02**2) + math.sqrt(194 / 200))
        / (6 + math.sqrt(194 / 200))
        * (1 + 0.4 * 6 / 49)
    )
    size, quantile = 200 / shrink, stats.t.ppf(0.975, 199)
    plus, minus = 5 / shrink, 1 / shrink
    for end in rare.interval(found):
        # maximum likelihood of the reference-only share given the difference, by a fine grid
        share = np.linspace(max(0, -end) + 1e-9, (1 - abs(end)) / 2, 400_001)[:-1]
        both = size - plus - minus
        height = (
            plus * np.log(share + end) + minus * np.log(share) + both * np.log1p(-2 * share - end)
        )
        best = share[np.nanargmax(height)]
        score = (plus - minus - size * end) / math.sqrt(size * (2 * best + end - end**2))
        assert abs(score) == pytest.approx(quantile, abs=2e-3)


def test_where_errors_are_common_it_is_the_ordinary_clustered_interval():
    draw = np.random.default_rng(1)
    question = np.repeat(np.arange(60), 4)
    arm, reference = draw.integers(0, 2, (2, 240)).astype(float)
    found = rare.evidence(arm, reference, rare.design(question))
    fitted = sm.OLS(arm - reference, np.ones(240)).fit(
        cov_type="cluster", cov_kwds={"groups": question, "use_correction": True}, use_t=True
    )
    assert not found.few
    assert rare.interval(found) == pytest.approx(tuple(fitted.conf_int()[0]), abs=1e-10)
    assert rare.paired_p_value(found) == pytest.approx(float(fitted.pvalues[0]))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 40),
    st.integers(1, 20),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.003, 0.03, 0.3]),
)
def test_interval_test_and_equivalence_are_one_thing(questions, rows, seed, rate):
    draw = np.random.default_rng(seed)
    arm, reference = (draw.random((2, questions * rows)) < rate).astype(float)
    found = rare.evidence(arm, reference, rare.design(np.repeat(np.arange(questions), rows)))
    low, high = rare.interval(found)
    assert -1 <= low <= found.value <= high <= 1
    for null in (-0.2, 0.0, 0.01):
        p = rare.paired_p_value(found, null)
        assert (p < 0.05) == (not low <= null <= high) or abs(p - 0.05) < 1e-6
    inner_low, inner_high = rare.interval(found, 0.9)
    for margin in (0.02, 0.3):
        p = rare.equivalence_p(found, margin)
        assert (p < 0.05) == (-margin < inner_low and inner_high < margin) or abs(p - 0.05) < 1e-6


def test_many_comparisons_at_once_are_those_one_by_one():
    single = [
        pairs(b, c, 60, m)
        for b, c, m in ((0, 0, 1), (3, 1, 1), (60, 0, 1), (20, 3, 18), (50, 9, 1))
    ]
    stacked = rare.Evidence(
        **{
            name: np.array([getattr(one, name) for one in single])
            for name in single[0].__dataclass_fields__
        }
    )
    low, high = rare.interval(stacked)
    assert np.allclose(
        np.column_stack([low, high]), [rare.interval(one) for one in single], atol=1e-12
    )
    assert np.allclose(
        rare.paired_p_value(stacked), [rare.paired_p_value(one) for one in single], rtol=1e-9
    )
    assert np.allclose(
        rare.equivalence_p(stacked, 0.02), [rare.equivalence_p(one, 0.02) for one in single]
    )


def test_tasks_that_weigh_one_each_give_the_mean_of_their_means_and_their_variances_add():
    draw = np.random.default_rng(2)
    task = np.repeat([0, 1], [400, 60])
    question = np.concatenate([np.arange(400) // 4, np.arange(60) // 3])
    values = draw.integers(-1, 2, 460).astype(float)
    rows = rare.design(
        question, weight=np.repeat([1 / 400, 1 / 60], [400, 60]), cell=task, stratum=task
    )
    parts = [rare.design(question[task == one]) for one in (0, 1)]
    assert rows.questions == 120
    assert rows.mean(values) == pytest.approx(
        (values[task == 0].mean() + values[task == 1].mean()) / 2
    )
    variances = [part.variance(values[task == one]) for one, part in enumerate(parts)]
    assert rows.variance(values) == pytest.approx(sum(variances) / 4)
    assert 19 < rows.df < 118  # nearer to the small task's


def test_a_stratum_of_one_question_is_joined_to_others():
    task = np.array(["a", "a", "b", "c"])
    rows = rare.design(np.arange(4), weight=np.ones(4), cell=task, stratum=task)
    assert len(np.unique(rows.stratum)) == 2 and np.isfinite(rows.df)
    alone = rare.design(np.arange(3), weight=np.ones(3), cell=task[:3], stratum=task[:3])
    assert len(np.unique(alone.stratum)) == 1


def test_rates_of_rows_that_occur_once_have_wilsons_interval():
    wrong = np.repeat([1.0, 0.0], [12, 88])
    assert rare.rate_interval(wrong, np.arange(100)) == pytest.approx(
        proportion_confint(12, 100, method="wilson")
    )
    with pytest.raises(ValueError, match="no scored answers"):
        rare.rate_interval(np.array([]), np.array([]))


def test_changes_that_cancel_have_a_mean_of_exactly_0_however_rows_weigh():
    # two tasks of six pairs each, three better and three worse: the weighted sum rounds to 2.8e-17
    up_and_down = np.tile([1.0, 1.0, 1.0, -1.0, -1.0, -1.0], 2)
    weight = np.full(12, 1 / 6)
    weight[0] = np.nextafter(1 / 6, 0)  # as the weights of unequal tasks are: not one and the same
    pairs = rare.design(np.arange(12), weight=weight, cell=np.repeat([0, 1], 6))
    assert float(pairs.weight @ up_and_down) != 0 and np.ptp(pairs.weight) > 0
    assert pairs.mean(up_and_down) == 0.0
    found = rare.evidence((up_and_down > 0) * 1.0, (up_and_down < 0) * 1.0, pairs)
    assert found.value == 0.0 and rare.paired_p_value(found) == 1.0
    assert pairs.mean(np.eye(12)[0]) == pytest.approx(1 / 12)  # one changed pair is still seen
    assert np.isnan(pairs.mean(np.full(12, np.nan)))
