import numpy as np
import pytest

from warmth import sequential
from warmth.errors import UserError


def stream(n=400, seed=0):
    return np.random.default_rng(seed).choice([-1.0, 0.0, 1.0], p=[0.05, 0.75, 0.2], size=n)


def test_the_interval_narrows_and_holds_the_mean():
    found = sequential.confidence_sequence(stream())
    assert (np.diff(found.low) >= 0).all() and (np.diff(found.high) <= 0).all()
    assert found.low[-1] < 0.15 < found.high[-1] and found.high[-1] - found.low[-1] < 0.2
    assert (found.low[0], found.high[0]) == (-1, 1)


def test_grid_and_capital_agree_on_what_is_excluded():
    for seed in range(30):
        values = stream(200, seed)
        for truth in (0.15, 0.45):
            excluded = sequential.ever_excludes(values[None], truth)[0]
            found = sequential.confidence_sequence(values)
            inside = found.low[-1] <= truth <= found.high[-1]
            assert inside or excluded  # the interval is rounded outward, so it never excludes more


def test_the_interval_after_n_questions_does_not_know_what_comes_later():
    whole, part = sequential.confidence_sequence(stream(300)), sequential.confidence_sequence(stream(300)[:120])
    assert np.array_equal(whole.low[:120], part.low) and np.array_equal(whole.high[:120], part.high)


def test_a_width_is_reached_once_and_too_small_a_width_never():
    found = sequential.confidence_sequence(stream())
    at = found.reached(0.3)
    assert found.high[at - 1] - found.low[at - 1] <= 0.3 < found.high[at - 2] - found.low[at - 2]
    assert found.reached(0.001) is None


def test_values_out_of_bounds_are_an_error():
    with pytest.raises(UserError, match="values must lie between -1 and 1"):
        sequential.confidence_sequence(np.array([0.0, 2.0]))
    with pytest.raises(UserError, match="level=2"):
        sequential.confidence_sequence(np.array([0.0]), level=2)
