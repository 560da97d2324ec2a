"""The arm that stands for its recipe, and numbers in names sorted as numbers."""

from __future__ import annotations

import pytest

from warmth.analysis.reported import arm_order, focal, reported


def test_arms_come_by_recipe_then_by_their_numbers():
    arms = ["original", "untransformed", "warm, strength 0.5, epoch 10", "warm, dose -0.5", "warm, dose 0.25, epoch 2"]
    arms += ["warm, epoch 0.5", "warm, epoch 2", "warm, epoch 10", "warm_honest", "of one's own, epoch 1e-05"]
    assert sorted(set(arms), key=arm_order) == arms


@pytest.mark.parametrize(
    ("arms", "stands"),
    [
        (["warm, epoch 2", "warm, epoch 10", "warm, epoch 0.5"], "warm, epoch 2"),
        (["warm, epoch 10", "warm, epoch 3"], "warm, epoch 10"),  # the one to report was not asked
        (["warm", "warm, dose 0.5", "warm, dose 2", "warm, strength 0.25"], "warm"),
        (["warm, strength 0.25, epoch 2", "warm, epoch 10"], "warm, epoch 10"),
        (["warm, dose 0.5", "warm, dose 2"], "warm, dose 2"),
    ],
)
def test_an_arm_stands_for_its_recipe_by_strength_dose_and_the_checkpoint_to_report(arms, stands):
    chosen = reported(["original", "system_warm", *arms], {"warm": {2.0}})
    assert chosen == {"original": "original", "warm": stands, "system_warm": "system_warm"}
    assert focal(chosen) == stands


def test_without_warm_the_page_asks_about_the_last_manner_and_with_original_alone_about_none():
    assert focal(reported(["original", "cold", "untransformed"], {})) == "cold"
    assert focal(reported(["original"], {})) is None
