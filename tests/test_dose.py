import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from warmth.analysis.report.sections.dose import Curve, caption, slope_row
from warmth.analysis.statistics import dose
from warmth.errors import UserError


def answers(rates, questions=200, seed=0):
    """One recipe at doses; a question that is wrong at one dose is wrong at every larger one."""
    hard = np.random.default_rng(seed).random(questions)
    rows = []
    for at, rate in rates.items():
        common = {
            "arm": "original" if at == 0 else f"warm, dose {at:g}",
            "dose": 1.0 if at == 0 else at,
        }
        for number in range(questions):
            wrong = float(hard[number] < rate)
            rows.append(
                {**common, "question_id": f"q{number}", "prompt_id": f"p{number}", "wrong": wrong}
            )
    return pd.DataFrame(rows).assign(model="m", sample=0)


def test_slope_and_error_equal_statsmodels_on_centred_values():
    draw = np.random.default_rng(2)
    at, cell = np.tile([0, 0.5, 1.0], 80), np.repeat(np.arange(80), 3)
    wrong, question = draw.integers(0, 2, 240).astype(float), cell // 4
    x = at - np.tile([0.5], 240)
    y = wrong - np.repeat(wrong.reshape(80, 3).mean(1), 3)
    fit = sm.OLS(y, x).fit(cov_type="cluster", cov_kwds={"groups": question}, use_t=True)
    found = dose.slope(at, wrong, cell, question)
    assert (found.value, found.error, found.p) == pytest.approx(
        (fit.params[0], fit.bse[0], fit.pvalues[0]), abs=1e-10
    )


def test_a_linear_rise_has_its_slope_and_its_crossing():
    found = dose.response(answers({0: 0.2, 0.5: 0.3, 1.0: 0.4}), "dose", margin=0.05)
    assert found.slope.value == pytest.approx(0.2, abs=0.06) and found.slope.low > 0
    assert found.curve["dose"].tolist() == [0, 0.5, 1.0] and found.curve["rise"].iloc[0] == 0
    assert 0 < found.crossing_low <= found.crossing <= found.crossing_high < 1
    assert found.crossing == pytest.approx(0.5 * 0.05 / found.curve["monotone"].iloc[1])


def test_the_test_of_a_line_is_walds_of_statsmodels():
    draw = np.random.default_rng(3)
    levels = np.array([0, 0.25, 0.5, 1.0])
    at, cell = np.tile(levels, 90), np.repeat(np.arange(90), 4)
    question = cell // 3
    wrong = (
        draw.random(360) < 0.2 + 0.5 * at * (1 - at) + draw.normal(0, 0.1, 30)[question]
    ).astype(float)
    dummies = np.stack([at, at == 0.25, at == 0.5], axis=1).astype(float)
    centred = [
        column - np.repeat(column.reshape(90, 4).mean(1), 4) for column in (*dummies.T, wrong)
    ]
    fit = sm.OLS(centred[-1], np.stack(centred[:-1], axis=1)).fit(
        cov_type="cluster", cov_kwds={"groups": question}
    )
    wald = float(
        np.squeeze(fit.wald_test([[0, 1, 0], [0, 0, 1]], use_f=False, scalar=True).statistic)
    )
    found = dose.lack_of_fit(at, wrong, cell, question)
    assert (found.df, found.df_error) == (2, 28)
    assert found.statistic == pytest.approx(wald * 28 / (2 * 29)) and found.p == pytest.approx(
        stats.f.sf(found.statistic, 2, 28)
    )


def test_two_doses_cannot_tell_whether_they_lie_on_a_line():
    found = dose.response(answers({0: 0.2, 1.0: 0.4}), "dose")
    assert math.isnan(found.bends.p) and not found.bends.rejects and found.shape == dose.LINE


def test_an_inverted_u_has_no_slope_but_its_points_and_a_curve_through_them():
    found = dose.response(answers({0: 0.2, 0.5: 0.5, 1.0: 0.24}), "dose", margin=0.1)
    assert found.slope.low > 0  # a line would say that error rises with the dose
    assert found.bends.p < 1e-6 and found.shape == dose.SPLINE
    rise = found.curve["rise"].to_numpy()
    curve = dose.spline(np.array([0, 0.5, 1.0]), rise, np.array([0, 0.5, 1.0]))
    assert curve == pytest.approx(rise) and rise[1] > rise[2] > 0
    assert found.crossing == pytest.approx(0.5 * 0.1 / rise[1])


def test_a_rise_that_levels_off_has_a_monotone_fit_and_no_slope():
    found = dose.response(answers({0: 0.2, 0.25: 0.5, 1.0: 0.5}), "dose")
    assert found.bends.rejects and found.shape == dose.MONOTONE


@pytest.mark.parametrize("by", ["dose", "checkpoint", "strength"])
def test_the_caption_of_a_bent_curve_says_points_and_no_points_per_unit(by):
    rows = answers({0: 0.2, 0.5: 0.5, 1.0: 0.24}).rename(columns={"dose": by})
    bent = dose.response(rows, by)
    straight = dose.response(answers({0: 0.2, 0.5: 0.3, 1.0: 0.4}).rename(columns={"dose": by}), by)
    curves = [Curve("m", "warm", response, response.curve) for response in (bent, straight)]
    said, line = map(caption, curves)
    assert (
        " per " not in said
        and "so no slope is given (lack of fit of a straight line: p < 0.001)" in said
    )
    assert "points" in said and f"at 0.5 and {100 * bent.curve['rise'].iloc[2]:+.1f} at 1" in said
    assert " points per " in line and "lack of fit of a straight line: p = " in line
    row = slope_row(curves[0])
    assert math.isnan(row["slope"]) and row["lack_of_fit_p"] < 0.001 and row["text"] == said
    assert slope_row(curves[1])["slope"] == pytest.approx(0.2, abs=0.06)


def test_a_dip_is_pooled_away_and_never_below_zero():
    assert dose.monotone(np.array([0, 0.3, 0.1]), np.ones(3)) == pytest.approx([0, 0.2, 0.2])
    assert dose.monotone(np.array([0, -0.1, 0.2]), np.ones(3)).min() == 0


def test_a_margin_that_is_never_reached_lies_at_infinity():
    found = dose.response(answers({0: 0.2, 1.0: 0.2}), "dose", margin=0.02)
    assert found.crossing == found.crossing_high == math.inf


def test_a_slope_that_nothing_bends_has_no_interval_and_a_small_unit_keeps_its_own():
    assert math.isnan(dose.response(answers({0: 0.2, 1.0: 0.2}), "dose").slope.low)
    draw = np.random.default_rng(0)
    at, cell = np.tile([0.0, 1.0], 50), np.repeat(np.arange(50), 2)
    wrong = draw.integers(0, 2, 100).astype(float)
    one, million = (dose.slope(at * unit, wrong, cell, cell) for unit in (1, 1e6))
    assert million.high * 1e6 == pytest.approx(one.high)


def test_the_original_is_dose_zero_whatever_its_column_says():
    rows = answers({0: 0.2, 1.0: 0.4}).assign(
        checkpoint=lambda table: np.where(table["arm"].eq("original"), np.nan, 2.0)
    )
    assert dose.response(rows, "checkpoint").curve["dose"].tolist() == [0, 2.0]


def test_one_dose_is_no_curve():
    with pytest.raises(UserError, match="needs two doses or more; there is 1"):
        dose.response(answers({0: 0.2}), "dose")
    with pytest.raises(UserError, match="dose=colour is not allowed"):
        dose.response(answers({0: 0.2}), "colour")


def pairs():
    rows = [("none", f"q{n}", n % 2) for n in range(6)] + [
        ("wrong_asserted", f"q{n}", 1) for n in range(6)
    ]
    return pd.DataFrame(rows, columns=["belief", "question_id", "difference"])


def test_difference_in_differences_is_the_difference_of_two_means():
    found = dose.difference_in_differences(pairs(), "belief", "wrong_asserted", "none")
    assert found.value == pytest.approx(0.5) and found.clusters == 6
    # by question the contrast is 1, 0, 1, 0, 1, 0: its mean's error is that of six numbers,
    # √(0.3/6); t(5) = 2.570582
    assert found.high - found.value == pytest.approx(2.570582 * math.sqrt(0.3 / 6), rel=1e-6)


def test_a_condition_without_pairs_is_named():
    with pytest.raises(
        UserError, match="belief=user_right has no pairs; there are: none, wrong_asserted"
    ):
        dose.difference_in_differences(pairs(), "belief", "user_right", "none")
