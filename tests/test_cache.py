"""Keys and values kept in memory taken once are those the library's own cache holds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache, LlamaConfig
from transformers.cache_utils import DynamicLayer

from warmth.evaluation.cache import Reserved, cache_for, index_of_largest, shared_beginning, widen


def states(rows, tokens, seed):
    return torch.randn(2, rows, 3, tokens, 4, generator=torch.Generator().manual_seed(seed)).unbind(0)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_reserved_layer_holds_what_the_librarys_grows_to():
    ours, theirs = Reserved(16), DynamicLayer()
    for seed, tokens in enumerate((5, 1, 1, 4)):
        assert same(ours.update(*states(2, tokens, seed)), theirs.update(*states(2, tokens, seed)))
        assert ours.get_seq_length() == theirs.get_seq_length()
    kept = torch.tensor([1])
    ours.batch_select_indices(kept)
    theirs.batch_select_indices(kept)
    assert same(ours.update(*states(1, 1, 9)), theirs.update(*states(1, 1, 9)))


def test_one_row_becomes_many_equal_ones():
    cache = cache_for(LlamaConfig(num_hidden_layers=1), 8)
    first = cache.update(*states(1, 3, 0), layer_idx=0)
    widen(cache, 4)
    assert same(cache.layers[0]._show(), [part.expand(4, -1, -1, -1) for part in first])


def test_more_tokens_than_there_is_room_for_are_an_error():
    layer = Reserved(4)
    layer.update(*states(1, 4, 0))
    with pytest.raises(RuntimeError, match="5 tokens in a cache for 4"):
        layer.update(*states(1, 1, 0))


def test_a_model_with_a_sliding_window_keeps_the_librarys_cache():
    from transformers import MistralConfig

    assert type(cache_for(MistralConfig(num_hidden_layers=2, sliding_window=8), 16)) is DynamicCache


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5))
def test_the_shared_beginning_is_shared_by_all_longest_and_leaves_each_row_a_token(rows):
    length = shared_beginning(rows)
    assert all(row[:length] == rows[0][:length] and len(row) > length for row in rows)
    longer = length + 1
    assert any(len(row) <= longer for row in rows) or len({tuple(row[:longer]) for row in rows}) > 1


@given(st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=1, max_size=4))
def test_the_largest_is_the_first_of_the_largest(rows):
    found = index_of_largest(torch.tensor(rows, dtype=torch.bfloat16))
    assert found.tolist() == [row.index(max(row)) for row in rows]
