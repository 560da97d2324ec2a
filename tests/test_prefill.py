"""Prompts read together, what they share once, give the logits and the cache of each read alone."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaForCausalLM, MistralConfig, MistralForCausalLM

from warmth.evaluation.answer.prefill import GROUP, STRIP, UNLIKE, PrefillBatch, plan_of, tree_of

SHORT_ROWS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def model(tiny_model_folder):
    return LlamaForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32).eval()


def prompts(count: int) -> list[list[int]]:
    """Rows that share beginnings of several lengths; one is the beginning of another, one occurs
    twice.
    """
    draw = random.Random(count)
    system, stems = (
        [5, 6, 7],
        [[draw.randrange(9, 900) for _ in range(draw.randrange(3, 40))] for _ in range(3)],
    )
    rows = [
        system + draw.choice(stems) + [draw.randrange(9, 900) for _ in range(draw.randrange(1, 12))]
        for _ in range(count)
    ]
    return [*rows, rows[0], rows[0][:-1]]


@given(SHORT_ROWS)
def test_a_tree_has_one_node_for_each_beginning_and_every_row_finds_its_own(rows):
    tree = tree_of(rows)
    assert len(tree.tokens) == len({tuple(row[: at + 1]) for row in rows for at in range(len(row))})
    for row, path in zip(rows, tree.paths, strict=True):
        assert [tree.tokens[node] for node in path] == row
        assert [tree.depths[node] for node in path] == list(range(len(row)))
    assert sum(tree.own) == len(tree.tokens)


@given(SHORT_ROWS)
def test_every_node_is_computed_by_a_row_that_has_it(rows):
    tree = tree_of(rows)
    plan = plan_of(tree, torch.device("cpu"))
    computed = torch.cat([group.queries for group in plan.groups])
    assert computed[plan.take].tolist() == list(range(len(tree.tokens)))


def alone(model, row, tokens):
    """Logits after a prompt and after each further token of it, read at once."""
    return model(torch.tensor([row + tokens])).logits[0, len(row) - 1 :]


def together(model, rows, tokens, keep):
    """Logits after the prompts and after each token; before the last one, only some rows are
    kept.
    """
    batch = PrefillBatch(model, rows, 0, len(rows[0]) + len(tokens))
    made = [batch.read()]
    for place, token in enumerate(tokens):
        if place == len(tokens) - 1:
            batch.keep(keep)
        made.append(batch.step(torch.full((len(batch.rows),), token)))
    return made


def check(model, rows):
    """Every row's logits are its own, before and after most rows have left."""
    rows, tokens = sorted(rows, key=len, reverse=True), [11, 12, 13]
    keep = sorted({0, len(rows) // 2, len(rows) - 1})
    with torch.inference_mode():
        made = together(model, rows, tokens, keep)
        for place, row in enumerate(rows):
            want = alone(model, row, tokens)
            for step, logits in enumerate(made[:-1]):
                torch.testing.assert_close(logits[place], want[step], atol=1e-5, rtol=1e-5)
            if place in keep:
                torch.testing.assert_close(
                    made[-1][keep.index(place)], want[-1], atol=1e-5, rtol=1e-5
                )


@pytest.mark.parametrize("count", [1, 5, 2 * GROUP + 3, 2 * STRIP + 5])
def test_logits_are_those_of_each_prompt_alone(model, count):
    check(model, prompts(count))
    assert model.config._attn_implementation == "sdpa"  # the model is left as it was


def test_a_model_with_a_sliding_window_reads_padded_rows_alike():
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=1000,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=16,
        attn_implementation="sdpa",
    )
    check(MistralForCausalLM(config).eval(), prompts(5))


def test_a_long_beginning_is_read_in_a_call_of_its_own(model):
    draw = random.Random(0)
    rubric = [draw.randrange(9, 900) for _ in range(2 * UNLIKE)]
    rows = [rubric + [draw.randrange(9, 900) for _ in range(5)] for _ in range(4)]
    plan = plan_of(tree_of(rows), torch.device("cpu"))
    assert [len(group.rows) for group in plan.groups] == [1, 3]
    check(model, rows)
