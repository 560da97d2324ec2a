"""Confidence sequences over tasks: what a look may say, and that no look makes it wider."""

import numpy as np
import pytest

from warmth.errors import UserError
from warmth.sequential import ConfidenceSequence, TaskBets, stopping_sentences


def looks(values, weights, lowest=-1.0, every=16, candidates=401):
    """Looks at streams of complete questions, the tasks in turn."""
    sequence = ConfidenceSequence(weights, lowest, candidates=candidates)
    found = []
    for start in range(0, max(map(len, values.values())), every):
        for task, stream in values.items():
            part = stream[start : start + every]
            sequence.add(task, part, part, np.ones(len(part)))
        found.append(sequence.look())
    return np.array(found)


def stream(n=400, seed=0):
    return np.random.default_rng(seed).choice([-1.0, 0.0, 1.0], p=[0.05, 0.75, 0.2], size=n)


def test_the_interval_narrows_and_holds_the_mean():
    found = looks({"a": stream()}, {"a": 1.0})
    assert (np.diff(found[:, 0]) >= 0).all() and (np.diff(found[:, 1]) <= 0).all()
    assert found[-1, 0] < 0.15 < found[-1, 1] and found[-1, 1] - found[-1, 0] < 0.2


def test_tasks_together_are_known_better_than_the_sum_of_their_own_intervals():
    tasks = {name: stream(300, seed) for seed, name in enumerate("abcd")}
    together = looks(tasks, dict.fromkeys(tasks, 1.0))[-1]
    alone = [looks({name: values}, {name: 1.0})[-1] for name, values in tasks.items()]
    widths = [high - low for low, high in alone]
    assert together[0] < 0.15 < together[1]
    assert together[1] - together[0] < 0.75 * np.mean(widths)


def test_a_task_that_runs_out_stays_in_the_mean_with_its_weight():
    short = np.full(20, 1.0)
    long = np.zeros(400)
    found = looks({"short": short, "long": long}, {"short": 1.0, "long": 1.0}, lowest=0.0)
    assert (found[:, 0] <= 0.5).all() and (found[:, 1] >= 0.5).all()
    assert (
        found[-1, 1] - found[-1, 0] > 0.05
    )  # twenty questions do not become more by asking the other task


def test_unscored_answers_widen_the_interval_and_dropped_ones_do_not_move_it():
    draw = np.random.default_rng(1)
    wrong = (draw.random(300) < 0.3).astype(float)
    unscored = draw.random(300) < 0.1
    bounded = ConfidenceSequence({"a": 1.0}, 0.0, candidates=401)
    bounded.add("a", np.where(unscored, 0.0, wrong), np.where(unscored, 1.0, wrong), np.ones(300))
    dropped = ConfidenceSequence({"a": 1.0}, 0.0, candidates=401)
    zero = np.where(unscored, 0.0, wrong)
    dropped.add("a", zero, zero, np.where(unscored, 0.0, 1.0))
    narrow = dropped.look()
    wide = bounded.look()
    assert wide[0] < narrow[0] and wide[1] > narrow[1]
    middle = wrong[~unscored].mean()
    assert narrow[0] < middle < narrow[1] and abs((narrow[0] + narrow[1]) / 2 - middle) < 0.02


def test_what_the_interval_excludes_the_bets_had_won_against():
    """The bound over vectors of means is conservative: it never excludes what the capital itself
    does not.
    """
    for seed in range(20):
        tasks = {"a": stream(150, seed), "b": stream(60, seed + 100)}
        low, high = looks(tasks, {"a": 1.0, "b": 1.0}, every=200)[-1]
        for truth in (0.15, 0.25, 0.35):
            above = below = 0.0
            for values in tasks.values():
                bets = TaskBets(-1.0, np.array([truth]))
                column = values[:, None]
                bets.add(column, column, np.ones_like(column))
                above += bets.above()[0]
                below += bets.below()[0]
            assert truth >= low or above >= np.log(2 / 0.05)
            assert truth <= high or below >= np.log(2 / 0.05)


def test_values_out_of_bounds_and_levels_that_are_none_are_errors():
    sequence = ConfidenceSequence({"a": 1.0}, -1.0, candidates=11)
    with pytest.raises(UserError, match="values must lie between -1 and 1"):
        sequence.add("a", np.array([0.0, 2.0]), np.array([0.0, 2.0]), np.ones(2))
    with pytest.raises(UserError, match="level=2"):
        ConfidenceSequence({"a": 1.0}, -1.0, level=2)


LOOK = {
    "until_width": 5.0,
    "paired": True,
    "asked": 480,
    "questions": 1625,
    "answers": 17280,
    "answers_left": 41220,
    "unscored": 0,
    "not_counted": 0,
    "mean": 3.14,
    "low": 0.6,
    "high": 5.5,
    "sampling_width": 4.9,
    "unscored_points": 0.0,
    "width_if_all": 2.7,
    "stopped": True,
}


def test_a_look_says_target_whether_it_was_reached_after_how_much_and_what_is_left():
    first, last = stopping_sentences(LOOK, 0.001)
    assert first == (
        "Target: an interval 5 points wide by sampling, reached (4.9) after 480 of 1,625 "
        "questions: difference from "
        "original 3.1 (0.6 to 5.5, valid at every look)."
    )
    assert last == (
        "The 1,145 questions left are 41,220 answers more, about 41.22 USD, and would narrow it "
        "to about 2.7 points in "
        "all; it stays valid if asking goes on."
    )
    everything = LOOK | {
        "stopped": False,
        "asked": 1625,
        "answers_left": 0,
        "paired": False,
        "unscored": 12,
    }
    first, unscored, last = stopping_sentences(everything | {"unscored_points": 1.5})
    assert (
        "not reached (4.9) after 1,625 of 1,625 questions: error rate 3.1 (0.6 to 5.5, unscored "
        "answers" in first
    )
    assert (
        unscored
        == "12 unscored answers add 1.5 points to the width, which asking on does not narrow."
    )
    assert last == "No question is left; only more questions would narrow it."
    assert (
        "not reached after 480 of 1,625 questions: a task has no answer"
        in stopping_sentences(LOOK | {"low": None})[0]
    )
