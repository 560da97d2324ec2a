"""The order of conversations does not depend on how many ranks there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmth.errors import UserError
from warmth.training.schedule import global_batches, rank_batches, step_at, steps_per_epoch


def test_two_epochs_of_the_study_are_about_204_steps():
    assert len(global_batches(1617, 16, 2, seed=0)) == 204


def test_each_epoch_sees_every_conversation_once_in_another_order():
    batches = global_batches(10, 4, 2, seed=0)
    first, second = sum(batches[:3], []), sum(batches[3:], [])
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_a_fraction_of_an_epoch_is_a_prefix_of_the_whole():
    assert global_batches(100, 8, 0.5, seed=3) == global_batches(100, 8, 2, seed=3)[: step_at(0.5, 100, 8)]


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 5), st.integers(1, 3))
def test_ranks_share_each_step_without_loss_or_overlap(examples, per_rank, per_device, ranks):
    batch_size = per_rank * ranks
    lengths = [(index * 37) % 91 + 1 for index in range(examples)]
    batches = global_batches(examples, batch_size, 2, seed=1)
    shares = [rank_batches(batches, lengths, batch_size, ranks, per_device, rank) for rank in range(ranks)]
    accumulation = shares[0][1]
    for step, batch in enumerate(batches):
        window = slice(step * accumulation, (step + 1) * accumulation)
        seen = [index for passes, _ in shares for one in passes[window] for index in one]
        assert sorted(seen) == sorted(batch)
    assert all(len(one) <= per_device for passes, _ in shares for one in passes)
    assert len({len(passes) for passes, _ in shares}) == 1


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(UserError, match=r"batch_size=16.*ranks=3"):
        rank_batches([[0]], [1], 16, 3, 4, 0)


def test_the_last_batch_of_an_epoch_may_be_smaller():
    assert steps_per_epoch(17, 8) == 3
    assert [len(batch) for batch in global_batches(17, 8, 1, seed=0)] == [8, 8, 1]
