"""The order of conversations does not depend on how many ranks there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmth.errors import UserError
from warmth.training.schedule import (
    best_fit,
    evenly,
    global_batches,
    rank_batches,
    step_at,
    steps_per_epoch,
)


def test_two_epochs_of_the_study_are_about_204_steps():
    assert len(global_batches(1617, 16, 2, seed=0)) == 204


def test_each_epoch_sees_every_conversation_once_in_another_order():
    batches = global_batches(10, 4, 2, seed=0)
    first, second = sum(batches[:3], []), sum(batches[3:], [])
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_a_fraction_of_an_epoch_is_a_prefix_of_the_whole():
    assert (
        global_batches(100, 8, 0.5, seed=3)
        == global_batches(100, 8, 2, seed=3)[: step_at(0.5, 100, 8)]
    )


@given(
    st.integers(1, 60),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(91, 400),
    st.integers(1, 3),
)
def test_ranks_share_each_step_without_loss_or_overlap(examples, per_rank, most, room, ranks):
    batch_size = per_rank * ranks
    lengths = [(index * 37) % 91 + 1 for index in range(examples)]
    batches = global_batches(examples, batch_size, 2, seed=1)
    shares = [
        rank_batches(batches, lengths, batch_size, ranks, most, room, rank) for rank in range(ranks)
    ]
    accumulation = shares[0][1]
    for step, batch in enumerate(batches):
        window = slice(step * accumulation, (step + 1) * accumulation)
        seen = [index for passes, _ in shares for one in passes[window] for index in one]
        assert sorted(seen) == sorted(batch)
    assert all(len(one) <= most for passes, _ in shares for one in passes)
    assert all(
        sum(lengths[index] for index in one) <= room for passes, _ in shares for one in passes
    )
    assert len({len(passes) for passes, _ in shares}) == 1


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(UserError, match=r"batch_size=16.*ranks=3"):
        rank_batches([[0]], [1], 16, 3, 4, 100, 0)


def test_conversations_are_packed_into_the_fewest_passes_that_hold_them():
    lengths = [700, 600, 500, 420, 400, 320, 300, 100]  # 3,340 tokens: four rows of 1,024 at least
    assert [
        sum(lengths[index] for index in row) for row in best_fit([*range(8)], lengths, 8, 1024)
    ] == [
        1020,
        1020,
        1000,
        300,
    ]
    passes, accumulation = rank_batches([[*range(8)]], lengths, 8, 1, 8, 1024, 0)
    assert accumulation == 4
    assert max(sum(lengths[index] for index in one) for one in passes) <= 1024
    assert (
        min(sum(lengths[index] for index in one) for one in passes) > 700
    )  # the last row's load is evened out


def test_where_even_rows_do_not_fit_the_tight_ones_stay():
    lengths = [
        600,
        500,
        400,
        300,
        200,
    ]  # emptiest first leaves 200 without room; 600 + 400 and 500 + 300 + 200 fit
    assert evenly([*range(5)], lengths, 8, 1000, 2) is None
    passes, accumulation = rank_batches([[*range(5)]], lengths, 5, 1, 8, 1000, 0)
    assert accumulation == 2 and sorted(map(sorted, passes)) == [[0, 2], [1, 3, 4]]


def test_the_last_batch_of_an_epoch_may_be_smaller():
    assert steps_per_epoch(17, 8) == 3
    assert [len(batch) for batch in global_batches(17, 8, 1, seed=0)] == [8, 8, 1]
