"""A loss that leaves all bounds ends a run with the remedy; SIGTERM is heard by all ranks."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch

from warmth.errors import RunFailed
from warmth.training.follow import followed
from warmth.training.progress import StopOnSignal, refuse_explosion


def test_a_loss_that_is_no_number_ends_the_run():
    with pytest.raises(RunFailed, match=r"the loss is nan at step 3: lower recipe.learning_rate"):
        refuse_explosion([2.0, 2.0, float("nan")], 3)


def test_a_loss_far_above_the_first_ends_the_run_and_an_ordinary_one_does_not():
    calm = [2.0, 1.9, 1.8, 1.7, 1.6]
    refuse_explosion([*calm, 6.0], 6)
    with pytest.raises(RunFailed, match="exploded: 19 at step 6"):
        refuse_explosion([*calm, 19.0], 6)


def test_a_tiny_first_loss_may_grow_to_an_ordinary_one():
    refuse_explosion([0.001] * 5 + [0.9], 6)


def test_sigterm_saves_and_stops_after_the_step_but_not_in_the_last():
    before = signal.getsignal(signal.SIGTERM)
    try:
        stop, args = StopOnSignal(), SimpleNamespace(device="cpu")
        control = SimpleNamespace(should_save=False, should_training_stop=False)
        stop.on_step_end(args, SimpleNamespace(global_step=1, max_steps=9), control)
        assert not control.should_save
        os.kill(os.getpid(), signal.SIGTERM)
        stop.on_step_end(args, SimpleNamespace(global_step=9, max_steps=9), control)
        assert not stop.stopped
        stop.on_step_end(args, SimpleNamespace(global_step=2, max_steps=9), control)
        assert control.should_save and control.should_training_stop and stop.stopped
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sigterm_between_two_passes_saves_the_last_whole_step_once_with_its_random_numbers():
    before = signal.getsignal(signal.SIGTERM)
    try:
        stop, args = StopOnSignal(), SimpleNamespace(device="cpu")
        control, state = (
            SimpleNamespace(should_save=False, should_training_stop=False),
            SimpleNamespace(global_step=4),
        )
        stop.on_save(args, state, control)
        stop.on_step_begin(args, state, control)
        drawn = torch.rand(3)
        stop.on_substep_end(args, state, control)
        assert not control.should_training_stop
        os.kill(os.getpid(), signal.SIGTERM)
        stop.on_substep_end(args, state, control)
        assert (
            control.should_training_stop and stop.stopped and not control.should_save
        )  # it is there already
        assert torch.rand(3).equal(drawn)
        stop.on_substep_end(args, SimpleNamespace(global_step=5), control)
        assert control.should_save
    finally:
        signal.signal(signal.SIGTERM, before)


def test_validation_losses_and_rewards_are_followed_beside_the_loss():
    row = {
        "step": 3,
        "steps": 9,
        "loss": 2.0,
        "grad_norm": 1.0,
        "learning_rate": 1e-4,
        "epoch": 0.5,
        "seconds": 1.0,
    }
    shown = {
        "train/loss": 2.0,
        "train/grad_norm": 1.0,
        "train/learning_rate": 1e-4,
        "train/epoch": 0.5,
    }
    assert followed(row) == shown
    more = followed({**row, "validation_loss": 2.5, "rewards_margins": 0.1})
    assert more == {**shown, "train/validation_loss": 2.5, "train/rewards_margins": 0.1}
