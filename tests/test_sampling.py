"""Sampling: random numbers known in advance, tokens drawn from the softmax, the same whatever the
batch.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from warmth.evaluation.answer import sampling
from warmth.evaluation.answer.sampling import (
    BLOCK,
    CPU_ROWS,
    Sampler,
    draw_from_nucleus,
    index_of_largest,
    invert,
    philox,
    uniform,
)

CPU = torch.device("cpu")
# Known answers of Philox4x32-10 in the authors' library Random123 (its kat_vectors): counter, key,
# words.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("counter, key, words", KNOWN)
def test_the_generator_gives_its_authors_known_answers(counter, key, words):
    found = philox(
        tuple(torch.tensor([word]) for word in counter), tuple(torch.tensor([word]) for word in key)
    )
    assert tuple(int(word) for word in found) == words


def test_a_number_depends_on_its_seed_and_position_alone():
    both = uniform([3, 2**40 + 3], 9, CPU)
    assert torch.equal(both[1:], uniform([2**40 + 3], 9, CPU)) and torch.equal(
        both[:, :4], uniform([3, 2**40 + 3], 4, CPU)
    )
    assert len(set(both.flatten().tolist())) == 18
    first, second = 0x6627E8D5, 0xE169C58D  # of counter 0 and key 0
    assert uniform([0], 1, CPU).item() == ((first >> 5) * 2**26 + (second >> 6)) / 2**53


def test_numbers_are_uniform_over_seeds_and_over_positions():
    for numbers in (uniform(range(20_000), 1, CPU), uniform([7], 20_000, CPU)):
        counts = torch.histc(numbers.float(), bins=20, min=0.0, max=1.0)
        assert (
            float(((counts - 1000) ** 2 / 1000).sum()) < 43.8
        )  # the 99.9th percentile of chi-square with 19 degrees
    neighbours = uniform(range(20_000), 2, CPU)
    assert abs(float(torch.corrcoef(neighbours.T)[0, 1])) < 0.03


@pytest.mark.parametrize("vocabulary", [3, BLOCK, BLOCK + 1, 3 * BLOCK - 7])
def test_drawing_inverts_the_cumulative_probability(vocabulary):
    torch.manual_seed(vocabulary)
    probabilities = torch.randn(40, vocabulary).mul(3).softmax(-1)
    probabilities[:, ::2] = 0.0
    draws = torch.rand(40, dtype=torch.float64)
    draws[0], draws[1] = 0.0, 1.0 - 2.0**-53
    sums = probabilities.double().cumsum(-1)
    wanted = [
        int((line <= share * line[-1]).sum())
        for line, share in zip(sums, draws.tolist(), strict=True)
    ]
    found = invert(probabilities, draws)
    assert found.tolist() == wanted
    assert (probabilities.gather(1, found[:, None]) > 0).all()


def test_sampling_draws_from_the_softmax_at_its_temperature():
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    sampler = Sampler(0.5, 1.0, seeds=(11,))
    draws = sampler.draws(1, 4000, CPU)[0]
    drawn = sampler.choose(logits.expand(4000, -1), draws)
    share = torch.bincount(drawn, minlength=3) / 4000
    assert torch.allclose(share, (logits[0] / 0.5).softmax(-1), atol=0.03)


def test_a_draw_is_the_same_whoever_is_in_the_batch():
    torch.manual_seed(0)
    rows = 2 * CPU_ROWS + 3
    logits = torch.randn(rows, 1000)
    for top_p in (1.0, 0.9):
        sampler = Sampler(0.8, top_p, seeds=tuple(range(rows)))
        draws = sampler.draws(rows, 2, CPU)[:, 1]
        together = sampler.choose(logits, draws)
        alone = [sampler.choose(logits[row : row + 1], draws[row : row + 1]) for row in range(rows)]
        assert together.tolist() == [int(token) for token in alone]
        order = torch.randperm(rows)
        assert torch.equal(sampler.choose(logits[order], draws[order]), together[order])


def nucleus(row, top_p):
    """The places of a row's nucleus, by a loop: ties with the last one belong to it."""
    held, last = 0.0, 0.0
    for value in sorted(row, reverse=True):
        if held >= top_p:
            break
        held, last = held + value, value
    return [place for place, value in enumerate(row) if value >= last]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
    st.floats(0.05, 0.99),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=8),
)
def test_a_draw_from_the_nucleus_is_one_from_all_tokens_with_the_others_at_zero(
    weights, top_p, draws
):
    row = torch.tensor(weights, dtype=torch.float32) / sum(weights)
    inside = torch.zeros(len(row), dtype=torch.bool)
    inside[nucleus(row.tolist(), top_p)] = True
    numbers = torch.tensor(draws, dtype=torch.float64)
    expected = invert(row.where(inside, 0.0).expand(len(draws), -1), numbers)
    assert (
        draw_from_nucleus(row.expand(len(draws), -1), top_p, numbers).tolist() == expected.tolist()
    )


@pytest.mark.parametrize("sizes", [(2,), (4, 16), (300, 500)])
def test_a_nucleus_beyond_the_tokens_looked_at_first_is_found_as_well(monkeypatch, sizes):
    torch.manual_seed(0)
    sharp, flat = torch.randn(40, 600).mul(4).softmax(-1), torch.randn(40, 600).mul(0.1).softmax(-1)
    tied = torch.full((1, 600), 1 / 600)
    probabilities, draws = torch.cat([sharp, flat, tied]), torch.rand(81, dtype=torch.float64)
    monkeypatch.setattr(sampling, "NUCLEUS", ())
    whole = draw_from_nucleus(probabilities, 0.8, draws)
    monkeypatch.setattr(sampling, "NUCLEUS", sizes)
    assert torch.equal(draw_from_nucleus(probabilities, 0.8, draws), whole)
    assert whole[80] == int(draws[80] * 600)  # all tokens tie, so all belong to the nucleus


def test_a_drawn_token_is_in_the_nucleus():
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log().expand(2000, -1)
    sampler = Sampler(1.0, 0.6, seeds=(5,))
    drawn = sampler.choose(logits, sampler.draws(1, 2000, CPU)[0])
    assert set(drawn.tolist()) == {0, 1}
    assert float((drawn == 0).float().mean()) == pytest.approx(0.5 / 0.8, abs=0.04)


@given(st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=1, max_size=4))
def test_the_largest_is_the_first_of_the_largest(rows):
    logits = torch.tensor(rows, dtype=torch.bfloat16)
    assert index_of_largest(logits).tolist() == [row.index(max(row)) for row in rows]
    greedy = Sampler(0.0, 1.0, seeds=())
    assert torch.equal(
        greedy.choose(logits, greedy.draws(len(rows), 1, CPU)[:, 0]), index_of_largest(logits)
    )
