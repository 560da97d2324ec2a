"""Keys and values kept in memory taken once are those the library's own cache holds."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from warmth.evaluation.answer.cache import Reserved, cache_for, laid_out, reserved


def states(rows, tokens, seed):
    return torch.randn(2, rows, 3, tokens, 4, generator=torch.Generator().manual_seed(seed)).unbind(
        0
    )


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


def test_the_first_states_are_laid_out_as_asked_and_later_ones_are_added_to_each_row():
    ours, theirs = Reserved(16), DynamicLayer()
    where = torch.tensor([[0, 1, 2], [0, 3, 4], [0, 1, 2]])
    first = states(1, 5, 0)
    ours.spread = where
    want = [part[0, :, where].transpose(0, 1) for part in first]
    assert same(ours.update(*first), theirs.update(*want)) and same(
        want, [laid_out(part, where) for part in first]
    )
    assert same(ours.update(*states(3, 1, 9)), theirs.update(*states(3, 1, 9)))


def test_more_tokens_than_there_is_room_for_are_an_error():
    layer = Reserved(4)
    layer.update(*states(1, 4, 0))
    with pytest.raises(RuntimeError, match="5 tokens in a cache for 4"):
        layer.update(*states(1, 1, 0))


def test_a_model_with_a_sliding_window_keeps_the_librarys_cache():
    from transformers import MistralConfig

    cache = cache_for(MistralConfig(num_hidden_layers=2, sliding_window=8), 16)
    assert type(cache) is DynamicCache and not reserved(cache)
