"""People's choices: shares with clustered intervals, Bradley-Terry strengths, agreement of
raters.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from warmth.analysis.statistics import preferences
from warmth.analysis.statistics.effects import clustered_mean


def chosen(arms, prompts=60, raters=("ann",), seed=0):
    """Choices of each rater in each prompt; `arms`: arm → chance that it is chosen over the
    original.
    """
    draw = np.random.default_rng(seed)
    rows = []
    for arm, chance in arms.items():
        for prompt in range(prompts):
            warmer = 1 if draw.random() < chance else -1
            for number, rater in enumerate(raters):
                said = warmer if number == 0 or draw.random() < 0.9 else 0
                rows.append(("m", arm, "original", f"p{prompt}", said, rater))
    return pd.DataFrame(rows, columns=["model", "arm", "reference", "prompt", "warmer", "rater"])


def test_the_share_of_an_arm_is_clustered_by_prompt_and_equal_is_half():
    frame = chosen({"warm": 0.7}, raters=("ann", "bob"))
    table = preferences.preference_shares(frame).set_index("rater")
    value = (frame["warmer"] + 1) / 2
    mean = clustered_mean(value.to_numpy(), frame["prompt"].to_numpy())
    whole = table.loc[preferences.ALL]
    assert (whole["share"], whole["low"], whole["high"]) == pytest.approx(
        (mean.value, mean.low, mean.high)
    )
    assert (
        whole["choices"] == 120
        and whole["prompts"] == 60
        and whole["equal"] == frame["warmer"].eq(0).sum() > 0
    )
    assert (
        table.loc["ann", "choices"] == 60
        and table.loc["ann", "low"] < 0.7 < table.loc["ann", "high"]
    )
    always = preferences.preference_shares(chosen({"warm": 1.0})).iloc[0]
    assert always["share"] == 1.0 and 0.9 < always["low"] < 1.0 == pytest.approx(always["high"])


def test_strengths_are_bradley_and_terrys_with_the_reference_at_nought():
    frame = chosen({"warm": 0.75, "cold": 0.3}, prompts=200)
    table = preferences.strengths(frame).set_index("arm")
    for arm in ("warm", "cold"):
        won = frame.loc[frame["arm"].eq(arm), "warmer"].eq(1).mean()
        assert table.loc[arm, "strength"] == pytest.approx(math.log(won / (1 - won)), abs=1e-6)
        assert table.loc[arm, "low"] < table.loc[arm, "strength"] < table.loc[arm, "high"]
    assert table.loc["original", "strength"] == 0
    between = pd.DataFrame(
        {"model": "m", "arm": "warm", "reference": "cold", "prompt": "p0", "rater": "ann"}, [0]
    )
    linked = pd.concat([frame, between.assign(warmer=1)])
    design = np.stack(
        [linked["arm"].eq("warm"), linked["arm"].eq("cold") * 1 - linked["reference"].eq("cold")], 1
    )
    fit = sm.GLM(
        (linked["warmer"] + 1) / 2, design.astype(float), family=sm.families.Binomial()
    ).fit()
    again = preferences.strengths(linked).set_index("arm")["strength"]
    assert [again["warm"], again["cold"]] == pytest.approx(list(fit.params), abs=1e-6)


def test_an_arm_that_always_won_has_no_strength_and_the_others_keep_theirs():
    table = preferences.strengths(chosen({"warm": 1.0, "cold": 0.3})).set_index("arm")
    assert math.isnan(table.loc["warm", "strength"]) and table.loc["cold", "high"] < 0.5


def test_raters_agree_as_kappa_and_alpha_say():
    two = preferences.rater_agreement(chosen({"warm": 0.6}, raters=("ann", "bob")))
    assert two["raters"].tolist() == ["ann and bob"] and two["measure"].tolist() == ["kappa"]
    assert 0.3 < two["low"][0] < two["value"][0] < two["same"][0] < 1
    three = preferences.rater_agreement(chosen({"warm": 0.6}, raters=("ann", "bob", "cat")))
    assert (
        three["measure"].tolist() == ["kappa"] * 3 + ["alpha"]
        and three["raters"].iloc[-1] == "all 3"
    )
    assert preferences.rater_agreement(chosen({"warm": 0.6})).empty
