"""The arm that stands for its recipe, and numbers in names sorted as numbers."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from warmth.analysis.rows.arm_names import (
    arm_order,
    as_recipes,
    checkpoint_notes,
    focal,
    name_arms,
    plain_checkpoints,
    recipes_left_out,
    reported,
)


def test_arms_come_by_recipe_then_by_their_numbers():
    arms = [
        "original",
        "untransformed",
        "warm, strength 0.5, epoch 10",
        "warm, dose -0.5",
        "warm, dose 0.25, epoch 2",
    ]
    arms += [
        "warm, epoch 0.5",
        "warm, epoch 2",
        "warm, epoch 10",
        "warm_honest",
        "of one's own, epoch 1e-05",
    ]
    assert sorted(set(arms), key=arm_order) == arms


@pytest.mark.parametrize(
    ("arms", "stands"),
    [
        (
            ["warm", "warm, epoch 10", "warm, dose 0.5", "warm, dose 2", "warm, strength 0.25"],
            "warm",
        ),
        (["warm, strength 0.25", "warm, epoch 10"], "warm, epoch 10"),
        (["warm, strength 0.25, epoch 2", "warm, epoch 10"], "warm, epoch 10"),
        (["warm, dose 0.5", "warm, dose 2"], "warm, dose 2"),
    ],
)
def test_an_arm_stands_for_its_recipe_by_strength_dose_and_the_checkpoint_to_report(arms, stands):
    chosen = reported(["original", "system_warm", *arms])
    assert chosen == {"original": "original", "warm": stands, "system_warm": "system_warm"}
    assert focal(chosen) == stands


def arms_of(asked, told):
    """The arms and notes of checkpoints asked of models, where their runs say which one to
    report.
    """
    rows = [(model, "warm", float(strength), 1.0, epoch) for model, strength, epoch in asked]
    answers = pd.DataFrame(rows, columns=["model", "recipe", "strength", "dose", "checkpoint"])
    runs = [
        SimpleNamespace(model=m, arm="warm", config={"recipe": {"report_checkpoint": at}})
        for m, at in told.items()
    ]
    plain = plain_checkpoints(answers, runs)
    name_arms([answers], plain)
    return list(answers["arm"]), checkpoint_notes(answers, plain) + recipes_left_out(answers)


def test_the_plain_name_is_that_of_each_models_checkpoint_to_report():
    arms, notes = arms_of(
        [("a", 1, 1.0), ("b", 1, 2.0), ("b", 1, 3.0), ("b", 0.5, 2.0)], {"a": 2, "b": 2}
    )
    assert arms == ["warm", "warm", "warm, epoch 3", "warm, strength 0.5"]
    assert notes == ["At epoch 1 of a, epoch 2 of b: warm."]
    arms, notes = arms_of(
        [("a", 1, 3.0), ("a", 1, 10.0)], {"a": 2}
    )  # the one to report was not asked
    assert arms == ["warm, epoch 3", "warm"] and notes == ["At epoch 10: warm."]
    assert arms_of([("a", 1, 2.0), ("b", 1, 2.0)], {}) == (["warm", "warm"], [])


def test_a_model_without_the_arm_that_stands_for_its_recipe_is_named():
    arms, notes = arms_of([("a", 0.5, 2.0), ("b", 1, 2.0)], {})
    assert notes == [
        "a: warm was asked as warm, strength 0.5 alone, so what is said of warm leaves it out."
    ]


def test_the_studys_arms_are_those_that_stand_for_their_recipes():
    arms = ["original", "warm, dose 0.5", "warm, dose 2"]
    answers = pd.DataFrame({"arm": arms})
    assert as_recipes(answers, reported(arms))["arm"].to_dict() == {0: "original", 2: "warm"}


def test_without_warm_the_page_asks_about_the_first_recipe_and_with_original_alone_about_none():
    assert focal(reported(["original", "cold", "untransformed"])) == "untransformed"
    assert focal(reported(["original", "cold", "warm", "untransformed"])) == "warm"
    assert focal(reported(["original"])) is None
