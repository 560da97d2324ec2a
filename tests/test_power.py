import numpy as np
import pytest

from warmth.analysis.statistics import power
from warmth.analysis.statistics.power import PowerDesign
from warmth.errors import UserError


def test_power_of_the_studys_tasks_as_worked_by_hand():
    # 0.05·√(500/0.1975) - t(499) 1.9647 → 0.709; Disinfo: 0.054·√(125/0.117084) - t(124) 1.9793 =
    # -0.215 → 0.415
    assert power.power_of_test(PowerDesign(0.05, 0.20), 500) == pytest.approx(0.709, abs=1e-3)
    assert power.power_of_test(PowerDesign(0.054, 0.12), 125) == pytest.approx(0.415, abs=1e-3)


def test_questions_needed_reach_the_power_and_one_less_does_not():
    plan = PowerDesign(0.05, 0.20)
    needed = power.questions_needed(plan)
    assert (
        needed == 623
    )  # (1.96379 + 0.84220)² · 0.1975 / 0.0025 = 622.01 on t(622); 620.07 on the normal distribution
    assert power.power_of_test(plan, needed) >= 0.8 > power.power_of_test(plan, needed - 1)


def test_copies_of_a_question_bring_nothing_and_independent_rows_bring_all():
    assert PowerDesign(0.05, 0.2, rows=9, correlation=1.0).variance == pytest.approx(
        PowerDesign(0.05, 0.2).variance
    )
    assert PowerDesign(0.05, 0.2, rows=9).variance == pytest.approx(
        PowerDesign(0.05, 0.2).variance / 9
    )


def test_the_simulation_draws_the_correlation_and_the_mean_it_was_asked_for():
    plan = PowerDesign(0.06, 0.25, rows=6, correlation=0.4)
    drawn = power.draw_differences(plan, 40_000, 1, np.random.default_rng(0))[0]
    assert drawn.mean() == pytest.approx(0.06, abs=0.006)
    assert drawn.var() == pytest.approx(plan.variance, rel=0.03)


def test_simulation_and_formula_agree_and_the_null_is_rejected_rarely():
    plan = PowerDesign(0.05, 0.2, rows=4, correlation=0.3)
    found = power.power_summary(plan, None, 0.8, simulated=True)
    assert found["power_simulated"] == pytest.approx(found["power"], abs=0.04)
    assert found["size_simulated"] < 0.065


def test_the_smallest_effect_is_the_inverse_of_the_needed_questions():
    effect = power.smallest_effect(623, 0.2)
    assert effect == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize("correlation", [0.97, 0.99, 0.9999, 1.0])
def test_rows_that_are_nearly_copies_are_drawn_as_such(correlation):
    plan = PowerDesign(0.05, 0.2, rows=10, correlation=correlation)
    drawn = power.draw_differences(plan, 40_000, 1, np.random.default_rng(0))[0]
    assert drawn.mean() == pytest.approx(0.05, abs=0.008)
    assert drawn.var() == pytest.approx(plan.variance, rel=0.04)
    assert power.simulate(plan, power.questions_needed(plan)) == pytest.approx(0.8, abs=0.03)


def test_few_questions_are_not_promised_more_than_the_t_test_gives():
    plan = PowerDesign(0.2, 0.4)
    for questions in (20, 40):
        assert power.power_of_test(plan, questions) == pytest.approx(
            power.simulate(plan, questions, 8000), abs=0.03
        )
    assert (
        power.questions_needed(PowerDesign(0.5, 0.6)) == 14
    )  # 11 with normal quantiles, of which a simulation shows 66 %


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (
            {"effect": 0.3, "discordant": 0.2},
            "30 points needs at least as many discordant pairs, not 20 %",
        ),
        (
            {"effect": 0.0, "discordant": 0.2},
            "effect=0 is out of range; allowed: points within ±100, not 0",
        ),
        (
            {"effect": 0.1, "discordant": 0.2, "correlation": 2.0},
            "correlation=2 is out of range; allowed: 0 to 1",
        ),
        (
            {"effect": 0.1, "discordant": 0.2, "rows": 0},
            "rows=0 is out of range; allowed: 1 or more",
        ),
    ],
)
def test_a_study_that_cannot_be_is_one_line(numbers, words):
    with pytest.raises(UserError, match=words):
        PowerDesign(**numbers)


def test_an_effect_too_small_to_plan_for_is_said_to_be():
    with pytest.raises(UserError, match="questions would be needed"):
        power.questions_needed(PowerDesign(0.0001, 0.2))
    with pytest.raises(UserError, match="questions=1 is too few"):
        power.power_summary(PowerDesign(0.1, 0.2), 1, 0.8, simulated=False)
