"""Short replies while a model is trained: written at checkpoints, and the model is left as it
was.
"""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from transformers import AutoModelForCausalLM

from warmth.store import append_rows, read_rows
from warmth.training.packing import SEGMENTS
from warmth.training.samples import Samples, sample_prompts, writes_samples

WANDB = {"wandb": {"_target_": "warmth.tracking.Wandb"}}


@pytest.fixture
def model(tiny_model_folder):
    loaded = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    loaded.config._attn_implementation = (
        SEGMENTS  # the attention of packed rows, which reads no single prompt
    )
    return loaded.train()


def samples(folder, tokenizer):
    found = Samples(folder, tokenizer, ["Hello?", "Why is the sky blue?"], {4: 0.5, 8: 1.0})
    found.trainer = SimpleNamespace(autocast=nullcontext)
    return found


def test_replies_are_written_before_training_and_at_checkpoints_alone(model, tokenizer, tmp_path):
    found = samples(tmp_path, tokenizer)
    found.on_train_begin(None, SimpleNamespace(global_step=0), None, model=model)
    for step, logs in (
        (3, {"loss": 1.0}),
        (4, {"loss": 1.0}),
        (8, {"loss": 1.0}),
        (8, {"train_runtime": 1.0}),
    ):
        found.on_log(None, SimpleNamespace(global_step=step), None, model=model, logs=logs)
    rows = list(read_rows(tmp_path / "samples.jsonl"))
    assert [(row["step"], row["epoch"]) for row in rows] == [(0, 0.0)] * 2 + [(4, 0.5)] * 2 + [
        (8, 1.0)
    ] * 2
    assert {row["prompt"] for row in rows} == {"Hello?", "Why is the sky blue?"}
    assert rows[0]["reply"] == rows[2]["reply"]  # greedy, and nothing was learnt


def test_the_model_is_left_training_with_its_own_attention(model, tokenizer, tmp_path):
    samples(tmp_path, tokenizer).write(model, 1, 0.1)
    assert model.training and model.config._attn_implementation == SEGMENTS


def test_a_run_that_continues_keeps_the_replies_up_to_its_save(model, tokenizer, tmp_path):
    append_rows(tmp_path / "samples.jsonl", [{"step": 0}, {"step": 4}, {"step": 8}])
    samples(tmp_path, tokenizer).on_train_begin(
        None, SimpleNamespace(global_step=4), None, model=model
    )
    assert [row["step"] for row in read_rows(tmp_path / "samples.jsonl")] == [0, 4]


@pytest.mark.parametrize(
    ("logger", "launcher", "count", "written"),
    [
        (WANDB, {}, 2, True),
        (WANDB, {"zero_stage": 2}, 2, True),
        (WANDB, {"zero_stage": 3}, 2, False),  # no rank has the whole model
        ({"none": {}}, {}, 2, False),  # nobody would look
        (WANDB, {}, 0, False),
    ],
)
def test_they_are_written_if_somebody_looks_and_a_rank_has_the_whole_model(
    logger, launcher, count, written
):
    assert (
        writes_samples(SimpleNamespace(logger=logger, launcher=launcher, sample_replies=count))
        is written
    )


def test_prompts_are_the_sets_first_user_words_each_once():
    def row(role, text):
        return {"messages": [{"role": role, "content": text}]}

    assert sample_prompts(
        [row("user", "a"), row("system", "s"), row("user", "a"), row("user", "b")], 2
    ) == ["a", "b"]
