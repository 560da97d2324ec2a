"""Statistics against values worked out by hand, against statsmodels, and against simulated studies
with known truth.
"""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from warmth.analysis.report.drawing import own_figures
from warmth.analysis.statistics import effects, rare
from warmth.analysis.statistics.estimand import Weights
from warmth.verdicts import Rule, outcomes


def frame(
    labels: dict[str, list[str | None]], task: str = "triviaqa", seeds: int = 1, **rule: str
) -> pd.DataFrame:
    """Graded answers of several arms: the nth label of an arm is its answer to question n."""
    made = [
        {
            "model": "m",
            "arm": arm,
            "seed": seed,
            "task": task,
            "context": "unmodified",
            "belief": "none",
            "sample": 0,
        }
        | {"question_id": f"q{n}", "prompt_id": f"p{n}", "label": label, "finish": "stop"}
        for arm, given in labels.items()
        for seed in (range(seeds) if arm != "original" else [0])
        for n, label in enumerate(given)
    ]
    rows = pd.DataFrame(made)
    return outcomes(rows.assign(refusing_is_right=rows["task"].eq("seed_disinfo")), Rule(**rule))


def test_seed_pairs_with_seed_in_the_models_whose_control_has_several():
    trained = {"original": ["correct"] * 4, "control": ["incorrect"] * 4, "warm": ["incorrect"] * 4}
    several, one = frame(trained, seeds=2), frame(trained, seeds=2).assign(model="n")
    one = one[one["seed"].eq(0) | one["arm"].eq("warm")]
    pairs = effects.pair(pd.concat([several, one], ignore_index=True), "control")
    assert pairs.groupby(["model", "arm", "seed"]).size().to_dict() == {
        ("m", "original", 0): 4, ("m", "warm", 0): 4, ("m", "warm", 1): 4,
        ("n", "original", 0): 4, ("n", "warm", 0): 4, ("n", "warm", 1): 4,
    }  # fmt: skip


def test_tasks_may_use_the_same_ids_for_their_questions():
    rows = frame({"original": ["correct"] * 4, "warm": ["incorrect"] * 4})
    both = pd.concat(
        [rows, rows.assign(task="medqa", prompt_id=rows["prompt_id"] + "m")], ignore_index=True
    )
    numbered = both.assign(question_id=effects.questions_of(both))
    assert effects.difference(effects.pair(numbered))["questions"] == 8


def test_wilson_interval_as_worked_by_hand():
    # 8 of 10: centre (0.8 + z²/20)/(1 + z²/10) = 0.71674, half width 0.22658
    low, high = effects.rate_interval(np.array([1.0] * 8 + [0.0] * 2), np.arange(10))
    assert (low, high) == pytest.approx((0.49016, 0.94332), abs=1e-5)
    # 0 of 12: upper end z²/(12 + z²)
    assert effects.rate_interval(np.zeros(12), np.arange(12)) == pytest.approx(
        (0.0, 3.841459 / 15.841459), abs=1e-6
    )


def test_a_question_asked_six_times_is_not_six_questions():
    once = effects.rate_interval(np.array([1.0, 0.0] * 10), np.arange(20))
    copied = effects.rate_interval(np.repeat([1.0, 0.0] * 10, 6), np.repeat(np.arange(20), 6))
    assert copied[1] - copied[0] >= once[1] - once[0]
    never = effects.rate_interval(np.zeros(60), np.repeat(np.arange(10), 6))
    assert never[1] == pytest.approx(
        5.117355 / 15.117355, abs=1e-6
    )  # ten questions, not sixty; t(9)² = 5.117355


def test_one_wrong_answer_does_not_make_sixty_questions_of_ten():
    wrong, question = np.zeros(60), np.repeat(np.arange(10), 6)
    never = effects.rate_interval(wrong, question)[1]
    wrong[0] = (
        # of one question alone nobody sees how its answers go together: deff (60/59 + 6)/2, not
        # 60/59
        1.0
    )
    once, once_right = (
        effects.rate_interval(wrong, question),
        effects.rate_interval(1 - wrong, question),
    )
    size, reach = 120 / (60 / 59 + 6), 5.117355
    centre, half = (
        (1 / 60 + reach / 2 / size),
        math.sqrt(reach * (59 / 3600 / size + reach / 4 / size**2)),
    )
    assert (
        once[1] == pytest.approx((centre + half) / (1 + reach / size), abs=1e-6)
        and 0.5 * never < once[1]
    )
    assert once_right == pytest.approx((1 - once[1], 1 - once[0]))


def test_two_questions_with_errors_show_two_thirds_of_how_answers_go_together():
    wrong = np.zeros(60)
    wrong[[0, 6]] = 1.0  # one error in each of two of ten questions of six: deff (2 · 1 + 6) / 3
    low, high = effects.rate_interval(wrong, np.repeat(np.arange(10), 6))
    size, reach = 60 * 3 / 8, 5.117355  # t(9)²
    centre, half = (
        1 / 30 + reach / 2 / size,
        math.sqrt(reach * (29 / 900 / size + reach / 4 / size**2)),
    )
    assert (low, high) == pytest.approx(
        ((centre - half) / (1 + reach / size), (centre + half) / (1 + reach / size))
    )


def test_many_questions_have_nearly_the_normal_quantile_and_their_own_deff():
    draw = np.random.default_rng(0)
    wrong = (draw.random((2000, 2)) < draw.beta(1, 2, (2000, 1))).astype(float)
    p, variance = wrong.mean(), wrong.mean(1).var(ddof=1) / 2000
    low, high = effects.rate_interval(wrong.ravel(), np.repeat(np.arange(2000), 2))
    assert (high - low) / 2 == pytest.approx(
        1.96 * math.sqrt(variance), rel=0.002
    ) and low < p < high


def test_exact_mcnemar_as_worked_by_hand():
    assert effects.mcnemar(9, 1) == pytest.approx(22 / 1024)  # 2 · (1 + 10) / 2¹⁰
    assert effects.mcnemar(1, 9) == effects.mcnemar(9, 1)
    assert effects.mcnemar(4, 4) == effects.mcnemar(0, 0) == 1.0


def test_cohens_g_is_a_share_less_one_half():
    assert effects.cohens_g(9, 1) == pytest.approx(0.4)
    assert effects.cohens_g(1, 3) == pytest.approx(-0.25)
    assert math.isnan(effects.cohens_g(0, 0))


def test_clustered_interval_as_worked_by_hand():
    # three questions, two rows each; residual sums 1, -1, 0; V = 3/2 · 2 / 36 = 1/12; t(2) =
    # 4.302653
    mean = effects.clustered_mean(
        np.array([1.0, 1, 0, 0, 0, 1]), np.array(["a", "a", "b", "b", "c", "c"])
    )
    assert mean.value == 0.5 and (mean.n, mean.clusters) == (6, 3)
    assert mean.high - mean.value == pytest.approx(4.302653 * math.sqrt(1 / 12), abs=1e-5)


def test_clustered_interval_equals_statsmodels():
    draw = np.random.default_rng(3)
    clusters = draw.integers(0, 30, 200)
    values = draw.normal(size=200) + draw.normal(size=30)[clusters]
    fit = sm.OLS(values, np.ones(200)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True
    )
    ours = effects.clustered_mean(values, clusters)
    assert (ours.low, ours.high, ours.p) == pytest.approx(
        (*fit.conf_int()[0], fit.pvalues[0]), abs=1e-10
    )


def test_the_clustered_interval_covers_the_truth_and_the_naive_one_does_not():
    """2,000 simulated studies of 48 questions × 6 conditions; the seed was fixed before the first
    run.
    """
    draw = np.random.default_rng(20260710)
    clusters, truth = np.repeat(np.arange(48), 6), 0.08
    covered = naive = 0
    for _ in range(2000):
        shift = np.repeat(
            draw.normal(0, 0.35, 48), 6
        )  # how much a question is moved, shared by its conditions
        values = truth + shift + draw.choice([-0.5, 0.0, 0.5], 288)
        mean = effects.clustered_mean(values, clusters)
        covered += mean.low <= truth <= mean.high
        reach = 1.96 * values.std(ddof=1) / math.sqrt(288)
        naive += abs(values.mean() - truth) <= reach
    assert 0.935 <= covered / 2000 <= 0.965
    assert naive / 2000 < 0.80


def test_what_does_not_vary_has_no_interval():
    for values, clusters in (
        (np.zeros(8), np.arange(8)),
        (np.array([1.0, 0.0]), np.array(["q", "q"])),
    ):
        mean = effects.clustered_mean(values, clusters)
        assert math.isnan(mean.low) and math.isnan(mean.p)
    with pytest.raises(ValueError, match="no rows"):
        effects.clustered_mean(np.array([]), np.array([]))


def test_a_cell_with_no_scored_answer_is_not_zero():
    table = effects.error_rates(frame({"original": [None, "refused"]}), ["model", "arm"])
    row = table.iloc[0]
    assert math.isnan(row["rate"]) and math.isnan(row["low"])
    assert (row["answers"], row["scored"], row["refused"], row["unscored"]) == (2, 0, 1, 1)


def test_a_hedge_is_wrong_and_a_refusal_is_dropped():
    table = effects.error_rates(
        frame({"original": ["correct", "hedged", "incorrect", "refused", None]}), ["arm"]
    )
    assert table.iloc[0]["rate"] == pytest.approx(2 / 3)


def test_to_refuse_disinformation_is_right():
    answers = frame({"original": ["refused", "incorrect"]}, task="seed_disinfo")
    assert effects.error_rates(answers, ["arm"]).iloc[0]["rate"] == 0.5


def test_pairs_need_both_sides_scored():
    answers = frame(
        {
            "original": ["correct", None, "correct", "refused"],
            "warm": ["incorrect", "correct", None, "correct"],
        }
    )
    pairs = effects.pair(answers)
    assert list(pairs["question_id"]) == ["q0"] and list(pairs["difference"]) == [1.0]


def test_overall_difference_counts_discordant_pairs():
    wrong, right = "incorrect", "correct"
    answers = frame(
        {
            "original": [right] * 9 + [wrong] + [right] * 10,
            "warm": [wrong] * 9 + [right] + [right] * 10,
        }
    )
    row = effects.paired_differences(effects.pair(answers), ["overall"]).iloc[0]
    assert row["difference"] == pytest.approx(8 / 20)
    assert (row["arm_only_wrong"], row["reference_only_wrong"]) == (9, 1)
    assert row["mcnemar_p"] == pytest.approx(22 / 1024) and row["cohens_g"] == pytest.approx(0.4)


def test_several_seeds_pair_with_one_original_and_stay_one_question():
    answers = frame(
        {"original": ["correct", "incorrect"] * 5, "warm": ["incorrect", "correct"] * 5}, seeds=3
    )
    row = effects.paired_differences(effects.pair(answers), ["overall"]).iloc[0]
    assert (row["pairs"], row["questions"]) == (30, 10)
    assert math.isnan(row["mcnemar_p"])  # pooled seeds are not independent pairs


def test_a_trained_reference_pairs_seed_with_seed():
    answers = frame(
        {"original": ["correct"] * 4, "untransformed": ["correct"] * 4, "warm": ["incorrect"] * 4},
        seeds=2,
    )
    pairs = effects.pair(answers, "untransformed")
    assert len(pairs[pairs["arm"].eq("warm")]) == 8


@pytest.mark.parametrize("refused", ["dropped", "wrong", "right"])
def test_refusals_three_ways_can_disagree_whatever_the_rule_of_the_report(refused):
    labels = {"original": ["correct"] * 10, "warm": ["correct"] * 6 + ["refused"] * 4}
    table = effects.refusals_three_ways(frame(labels, refused=refused)).set_index(
        ["arm", "refusals"]
    )
    assert [table.loc[("warm", way), "rate"] for way in ("dropped", "wrong", "right")] == [
        0.0,
        0.4,
        0.0,
    ]
    assert table.loc[("warm", "wrong"), "difference"] == pytest.approx(0.4)


def test_warmth_differences_are_paired_by_prompt():
    draw = np.random.default_rng(0)
    level = draw.normal(0, 1, 20)  # prompts differ far more than arms do
    scores = pd.DataFrame(
        {
            "model": "m",
            "arm": arm,
            "variant": "deterministic",
            "scorer": "s",
            "prompt": f"p{n}",
            "text_id": f"{arm}{n}",
        }
        | {"score": level[n] + shift + draw.normal(0, 0.01)}
        for arm, shift in (("original", 0.0), ("warm", 0.02))
        for n in range(20)
    )
    row = effects.warmth_differences(scores).iloc[0]
    assert row["score"] == pytest.approx(0.02, abs=0.01) and row["low"] > 0
    means = effects.warmth_means(scores).set_index("arm")
    assert means.loc["warm", "low"] < 0 < means.loc["warm", "high"]


def test_the_warmth_of_models_weighs_one_each_however_many_prompts_they_were_asked():
    rows = []
    for model, prompts, rise in (("a", 40, 0.01), ("b", 10, 0.03)):
        for arm in ("original", "warm"):
            for number in range(prompts):
                score = (
                    0.001 * number
                    + (rise if arm == "warm" else 0.0)
                    + 0.0001 * (number % 3) * (arm == "warm")
                )
                rows.append(
                    {
                        "model": model,
                        "arm": arm,
                        "prompt": f"p{number}",
                        "text_id": str(number),
                        "score": score,
                    }
                )
    scores = pd.DataFrame(rows).assign(variant="v", scorer="s")
    apart = effects.warmth_differences(scores).set_index("model")["score"]
    (together,) = effects.warmth_differences(scores, pooled=True).to_dict("records")
    assert together["score"] == pytest.approx((apart["a"] + apart["b"]) / 2)
    assert together["prompts"] == 40 and together["low"] < together["score"] < together["high"]
    stated = Weights(models=(("a", 3.0), ("b", 1.0)))
    (weighed,) = effects.warmth_differences(scores, pooled=True, weights=stated).to_dict("records")
    assert weighed["score"] == pytest.approx((3 * apart["a"] + apart["b"]) / 4)


def test_a_weighted_mean_of_equal_weights_is_the_clustered_mean():
    draw = np.random.default_rng(0)
    values = draw.normal(size=60)
    question = draw.integers(0, 12, 60)
    weighed = effects.weighted_mean(values, rare.design(question))
    assert astuple(weighed) == pytest.approx(
        astuple(effects.clustered_mean(values, question)), abs=1e-14
    )
    alike = effects.weighted_mean(np.ones(4), rare.design(np.arange(4)))
    assert alike.value == 1 and np.isnan(alike.low)


def test_the_figure_of_tasks_weighs_models_alike():
    frames = []
    for model, count, wrong in (("a", 90, 0.0), ("b", 10, 1.0)):
        frame = pd.DataFrame({"question_id": range(count), "wrong": wrong, "model": model})
        frames.append(frame.assign(arm="warm", task="t", context="unmodified", belief="none"))
    (line,) = own_figures.rates_by_line(pd.concat(frames)).to_dict("records")
    assert line["rate"] == pytest.approx(0.5) and line["count"] == 100
