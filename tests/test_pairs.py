"""Sweeps that are no full grid: what is left out, and what some points get besides."""

import pytest

from warmth.errors import UserError
from warmth.sweep.pairs import Pairs, condition_of

POINTS = [
    [f"model={model}", f"recipe={recipe}"]
    for model in ("a", "b", "c")
    for recipe in ("none", "cold")
]


def test_points_are_left_out_and_others_get_more():
    pairs = Pairs(
        (condition_of("recipe=cold model=a,b", "leave_out"),),
        ((condition_of("model=c", "also"), ("engine=e",)),),
    )
    stay = pairs.of(POINTS)
    assert [point[:2] for point in stay] == [POINTS[0], POINTS[2], POINTS[4], POINTS[5]]
    assert [point[2:] for point in stay] == [[], [], ["engine=e"], ["engine=e"]]


def test_what_is_given_already_is_not_overwritten():
    pairs = Pairs(also=((condition_of("model=a", "also"), ("engine=e",)),))
    assert pairs.of([["model=a", "engine=mine"]]) == [["model=a", "engine=mine"]]


def test_the_last_value_of_a_key_counts():
    pairs = Pairs((condition_of("model=a", "leave_out"),))
    assert pairs.of([["model=a", "model=b"]]) == [["model=a", "model=b"]]


def test_nothing_left_and_a_rule_without_a_value_are_refused():
    with pytest.raises(UserError, match="no job is left"):
        Pairs((condition_of("model=a,b,c", "leave_out"),)).of(POINTS)
    with pytest.raises(UserError, match="hydra.sweeper.leave_out: model is not key=value"):
        condition_of("model", "leave_out")
