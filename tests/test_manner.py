"""Manner apart from fine-tuning, seeds and lengths: numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from warmth.analysis.report.sections.contrasts import contrast_rows
from warmth.analysis.report.sections.length import lengths
from warmth.analysis.report.sections.seeds import seed_rows
from warmth.analysis.statistics import effects


def answers(seeds=(0,), rise=0.0, questions=40):
    draw = np.random.default_rng(3)
    rows = []
    for n in range(questions):
        for context in ("unmodified", "sad"):
            for arm, extra in (
                ("original", 0.0),
                ("untransformed", 0.1),
                ("warm", 0.1 + rise * (context == "sad")),
            ):
                for seed in seeds if arm != "original" else (0,):
                    wrong = float(draw.random() < 0.3 + extra)
                    rows.append((arm, seed, f"q{n}", context, wrong, 10 + 5 * (arm == "warm")))
    frame = pd.DataFrame(rows, columns=["arm", "seed", "question_id", "context", "wrong", "length"])
    frame["prompt_id"] = frame["question_id"] + frame["context"]
    return frame.assign(model="m", task="t", belief="none", sample=0)


def test_a_contrast_is_the_difference_of_two_differences_against_every_reference():
    frame = answers(rise=0.4)
    pairs = {name: effects.pair(frame, name) for name in ("original", "untransformed")}
    table = contrast_rows(pairs)
    row = table[table["arm"].eq("warm") & table["reference"].eq("untransformed")].iloc[0]
    own = pairs["untransformed"]
    means = own[own["arm"].eq("warm")].groupby("context")["difference"].mean()
    assert row["value"] == "sad" and row["difference"] == pytest.approx(
        means["sad"] - means["unmodified"]
    )
    assert row["low"] < row["difference"] < row["high"] and row["p"] <= row["p_holm"]


def test_every_two_arms_are_contrasted_once_so_that_none_counts_twice_in_the_family():
    frame = pd.concat(
        [answers(), answers().query("arm == 'warm'").assign(arm="untransformed, epoch 3")]
    )
    table = contrast_rows(
        {name: effects.pair(frame, name) for name in ("original", "untransformed")}
    )
    found = [tuple(row) for row in table[["arm", "reference"]].to_numpy()]
    controls = [("untransformed", "original"), ("untransformed, epoch 3", "original")]
    assert found == [*controls, ("warm", "original"), ("warm", "untransformed")]


def test_a_design_without_a_base_has_no_contrast():
    frame = answers()
    assert contrast_rows({"original": effects.pair(frame[frame["context"].eq("sad")])}).empty


def test_one_seed_has_no_interval_for_another_and_several_have_a_wider_one():
    assert seed_rows(effects.pair(answers())).empty
    several = seed_rows(effects.pair(answers(seeds=(0, 1, 2))))
    row = several[several["arm"].eq("warm")].iloc[0]
    assert row["seeds"] == 3
    assert row["high_recipe"] - row["low_recipe"] >= row["high"] - row["low"] - 1e-12


def test_lengths_are_paired_with_the_originals():
    table = lengths(answers()).set_index("arm")
    assert table.loc["warm", "length"] == 15 and table.loc["warm", "difference"] == 5
    assert np.isnan(table.loc["original", "difference"])
    assert list(table.index) == ["original", "untransformed", "warm"]
