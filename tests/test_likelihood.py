"""Log-probabilities by shared beginnings, slices and buckets are those of one plain pass over each
whole row.
"""

from __future__ import annotations

import random

import pytest
import torch

from warmth.evaluation.answer import likelihood
from warmth.evaluation.answer.decoding import base_of
from warmth.evaluation.answer.likelihood import PAD, TokenRow
from warmth.schemas import Model

STARTS = [[5, 9, 2], [7, 1, 8], [3], [11, 4, 6, 10]]  # of several lengths


@pytest.fixture(scope="module")
def model(tiny_model_folder):
    return base_of(Model(name="tiny", kind="hub", path=str(tiny_model_folder)), torch.float32)


def plainly(model, row):
    """The row alone, in one pass, padding behind it masked."""
    ids = [*STARTS[row.start], *row.body, *[PAD] * row.padded]
    mask = [1] * (len(ids) - row.padded) + [0] * row.padded
    with torch.inference_mode():
        places = torch.arange(len(ids))[None]
        logits = model(
            torch.tensor([ids]), attention_mask=torch.tensor([mask]), position_ids=places
        ).logits[0, :-1]
    gained = logits.float().log_softmax(-1)
    return [float(gained[at - 1, ids[at]]) for at in range(len(STARTS[row.start]), len(ids))]


@pytest.mark.parametrize(
    ("batch_tokens", "slice_tokens"), [(4096, 4096), (40, 4096), (4096, 9), (1, 1)]
)
@pytest.mark.parametrize("padded", [False, True])
def test_every_row_has_the_values_of_a_plain_pass(
    model, monkeypatch, batch_tokens, slice_tokens, padded
):
    monkeypatch.setattr(likelihood, "SLICE_TOKENS", slice_tokens)
    draw = random.Random(0)
    rows = [
        TokenRow(
            draw.randrange(len(STARTS)),
            tuple(draw.choices(range(3, 400), k=draw.randint(1, 23))),
            draw.randint(0, 2) * padded,
        )
        for _ in range(12)
    ]
    found = dict(likelihood.token_log_probs(model, STARTS, rows, batch_tokens))
    assert sorted(found) == list(range(len(rows)))
    for at, row in enumerate(rows):
        assert found[at] == pytest.approx(plainly(model, row), abs=1e-5)


def test_a_beginnings_own_tokens_are_summed_without_its_first(model):
    sums = likelihood.start_log_probs(model, STARTS)
    for number, ids in enumerate(STARTS):
        with torch.inference_mode():
            gained = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        assert sums[number] == pytest.approx(
            sum(float(gained[at - 1, ids[at]]) for at in range(1, len(ids))), abs=1e-5
        )


def test_buckets_keep_to_the_budget_and_lose_nothing():
    lengths = [5, 100, 7, 30, 30, 1]
    parts = list(likelihood.buckets(lengths, 80))
    assert sorted(index for part in parts for index in part) == list(range(6))
    assert all(
        len(part) == 1 or len(part) * max(lengths[index] for index in part) <= 80 for part in parts
    )
