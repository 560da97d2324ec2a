"""The correction for a grader's error: known answers by hand, and simulated studies whose truth is
known.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from warmth.analysis.statistics.effects import clustered_mean, pair, paired_differences
from warmth.analysis.statistics.judging import (
    calibrated,
    corrected_differences,
    corrected_rates,
    ppi,
    raw,
    rogan_gladen,
)

SEED, DRAWS = 20261125, 600  # fixed before the first run
ERROR = {"original": 0.20, "warm": 0.30}
JUDGE = {
    "original": (0.90, 0.85),
    "warm": (0.70, 0.95),
}  # sensitivity and specificity: it likes warm answers
QUESTIONS, PROMPTS, LABELS = 250, 4, 100  # labels of each arm and verdict


REFUSED = {
    "original": (0.60, 0.02),
    "warm": (0.05, 0.10),
}  # true refusals graded wrong; wrong answers graded refused


def study(rng, refusals=0.0):
    """Two arms on the same prompts; the grader is differently wrong on them; questions are hard for
    both.

    Some are truly refused, which does not count; what the grader makes of those, and which wrong
    answers it takes for refusals, differs between the arms. Wrong and right are shares of the
    others.
    """
    frames = []
    hard = rng.normal(size=QUESTIONS).repeat(PROMPTS)
    question = np.arange(QUESTIONS).repeat(PROMPTS)
    for arm, rate in ERROR.items():
        score = 0.6 * hard + 0.8 * rng.normal(size=len(hard))
        wrong = (score < np.quantile(rng.normal(size=200_000), rate)).astype(float)
        sensitivity, specificity = JUDGE[arm]
        found = np.where(
            wrong == 1, rng.random(len(wrong)) < sensitivity, rng.random(len(wrong)) > specificity
        )
        found = found.astype(float)
        if refusals:
            refused, (missed, invented) = rng.random(len(wrong)) < refusals, REFUSED[arm]
            taken = (wrong == 1) & (rng.random(len(wrong)) < invented)
            found[refused] = np.where(rng.random(refused.sum()) < missed, 1.0, math.nan)
            found[~refused & taken], wrong[refused] = math.nan, math.nan
        frames.append(
            pd.DataFrame({"arm": arm, "question_id": question, "judged": found, "true": wrong})
        )
    rows = pd.concat(frames, ignore_index=True).assign(
        model="m", sample=0, truth=math.nan, weight=math.nan
    )
    rows["prompt_id"] = np.tile(np.arange(QUESTIONS * PROMPTS), len(ERROR))
    return labelled(rows, rng)


def labelled(rows, rng):
    """Labels drawn in equal numbers from each arm and verdict, with the weights of that design."""
    for _, group in rows.groupby(["arm", rows["judged"].fillna(-1)]):
        drawn = rng.choice(group.index, min(LABELS, len(group)), replace=False)
        rows.loc[drawn, "truth"] = rows.loc[drawn, "true"]
        rows.loc[drawn, "weight"] = len(group) / len(drawn)
    return rows


@pytest.fixture(scope="module", params=[0.0, 0.15], ids=["no refusals", "refusals"])
def simulated(request):
    """Estimates of many studies: value, low and high of each arm's rate, and of the paired
    difference.
    """
    found = []
    for number in range(DRAWS):
        rows = study(np.random.default_rng([SEED, number]), request.param)
        rates, shift = corrected_rates(rows), corrected_differences(rows)
        for frame, what in ((rates, rates["arm"]), (shift, pd.Series(["difference"] * len(shift)))):
            found += zip(
                what, frame["method"], frame["value"], frame["low"], frame["high"], strict=True
            )
    return pd.DataFrame(found, columns=["what", "method", "value", "low", "high"])


TRUTH = {**ERROR, "difference": ERROR["warm"] - ERROR["original"]}


@pytest.mark.slow
@pytest.mark.parametrize("what", sorted(TRUTH))
@pytest.mark.parametrize("method", ["rogan_gladen", "ppi"])
def test_the_correction_is_unbiased_and_its_interval_covers(simulated, what, method):
    rows = simulated[simulated["what"].eq(what) & simulated["method"].eq(method)]
    error = rows["value"].std() / math.sqrt(DRAWS)
    assert abs(rows["value"].mean() - TRUTH[what]) < 3 * error
    covered = ((rows["low"] < TRUTH[what]) & (TRUTH[what] < rows["high"])).mean()
    assert abs(covered - 0.95) < 3 * math.sqrt(0.95 * 0.05 / DRAWS), covered


@pytest.mark.slow
@pytest.mark.parametrize("simulated", [0.0], indirect=True)
def test_uncorrected_the_judge_turns_a_rise_of_ten_points_into_none(simulated):
    rows = simulated[simulated["what"].eq("difference") & simulated["method"].eq("raw")]
    assert abs(rows["value"].mean() - (-0.055)) < 0.005  # 0.3·0.7 + 0.7·0.05 - (0.2·0.9 + 0.8·0.15)
    assert ((rows["low"] < 0.10) & (rows["high"] > 0.10)).mean() < 0.05


def test_weights_ignored_twenty_per_cent_become_three_or_less():
    rows = pd.concat(study(np.random.default_rng([SEED, number])) for number in range(20))
    rows = rows[rows["arm"].eq("original")]
    known = rows[rows["truth"].notna()]
    sensitivity, specificity = (
        known[known["truth"].eq(kind)]["judged"].eq(kind).mean() for kind in (1, 0)
    )
    unweighted = (rows["judged"].mean() + specificity - 1) / (sensitivity + specificity - 1)
    assert rows["true"].mean() == pytest.approx(0.20, abs=0.01) and unweighted < 0.03
    assert rogan_gladen(rows).value == pytest.approx(0.20, abs=0.015)


def answers(judged, truth, weight=1.0, question=None):
    rows = pd.DataFrame(
        {"judged": judged, "truth": truth, "question_id": question or list(range(len(judged)))}
    )
    rows = rows.astype({"judged": float, "truth": float})
    return rows.assign(weight=np.where(rows["truth"].notna(), weight, math.nan))


def test_rogan_and_gladen_by_hand():
    # Of 4 truly wrong 3 are found (Se 3/4), of 6 truly right 4 (Sp 2/3): (5/10 + 2/3 - 1) / (3/4 +
    # 2/3 - 1) = 0.4
    rows = answers([1, 1, 1, 0, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    assert rogan_gladen(rows).value == pytest.approx(0.4) and raw(rows).value == 0.5
    assert ppi(rows).value == pytest.approx(0.4)


def test_where_all_is_labelled_the_interval_is_that_of_the_labels():
    rng = np.random.default_rng(1)
    truth = (rng.random(300) < 0.3).astype(float)
    judged = np.where(rng.random(300) < 0.8, truth, 1 - truth)
    rows = answers(judged, truth, question=list(np.arange(300) // 3))
    mean = clustered_mean(truth, np.arange(300) // 3)
    for estimate in (rogan_gladen(rows), ppi(rows)):
        assert estimate.value == pytest.approx(mean.value)
        assert estimate.interval() == pytest.approx((mean.low, mean.high))


def test_weights_add_up_to_the_verdicts():
    rows = answers([1, 1, 1, 0, 0, 0, 0, 0], [1, None, 0, 0, None, None, None, 0], 7.0)
    weight = calibrated(rows)
    shares = [1.5 / 8, 0, 1.5 / 8, 2.5 / 8, 0, 0, 0, 2.5 / 8]
    assert weight is not None and weight.tolist() == pytest.approx(shares)


def test_a_verdict_nobody_labelled_gives_no_correction_rather_than_a_guess():
    rows = answers([1, 1, 0, 0], [1, 0, None, None])
    assert calibrated(rows) is None and math.isnan(rogan_gladen(rows).value)
    assert all(math.isnan(end) for end in rogan_gladen(rows).interval())


def test_what_people_or_the_grader_drop_does_not_count_by_hand():
    # Graded wrong: 2 wrong, 1 refused. Graded right: 1 wrong, 2 right. Graded refused: 1 wrong, 1
    # refused.
    rows = answers(
        [1, 1, 1, 0, 0, 0, math.nan, math.nan], [1, 1, math.nan, 1, 0, 0, 1, math.nan]
    ).assign(weight=1.0)
    assert raw(rows).value == 0.5
    assert rogan_gladen(rows).value == pytest.approx(4 / 6) and ppi(rows).value == pytest.approx(
        4 / 6
    )
    unlabelled = rows.assign(weight=rows["weight"].where(rows["judged"].notna()))
    assert rogan_gladen(unlabelled).value == pytest.approx(
        3 / 5
    )  # what it dropped and nobody saw stays dropped


def test_several_seeds_of_an_arm_are_paired_as_everywhere_in_the_report():
    rng = np.random.default_rng(3)
    prompts = [f"p{number}" for number in range(40)]
    frames = [pd.DataFrame({"arm": "original", "prompt_id": prompts, "seed": 0})]
    for seed, share in enumerate(
        (1.0, 0.5, 0.4)
    ):  # harder prompts are scored in fewer of the seeds
        frames.append(
            pd.DataFrame({"arm": "warm", "prompt_id": prompts[: int(40 * share)], "seed": seed})
        )
    rows = pd.concat(frames, ignore_index=True).assign(
        model="m", sample=0, truth=math.nan, weight=math.nan
    )
    rows["question_id"] = rows["prompt_id"].str[1:].astype(int) // 2
    chance = 0.2 + 0.5 * rows["prompt_id"].str[1:].astype(int) / 40
    rows["judged"] = (rng.random(len(rows)) < chance).astype(float)
    columns = {"task": "t", "context": "unmodified", "belief": "none"}
    expected = paired_differences(pair(rows.assign(wrong=rows["judged"], **columns)), ["overall"])
    found = corrected_differences(rows).set_index("method").loc["raw"]
    assert found["value"] == pytest.approx(expected["difference"].iloc[0])
