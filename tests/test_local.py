"""A model in this process rewrites: its replies are its own whatever shares their batch, and none
is made twice.
"""

import json
import shutil

import pytest
from hydra import compose, initialize_config_dir

from warmth.api import Call
from warmth.config import strict
from warmth.data import local, sets
from warmth.data.local import LocalRewriter
from warmth.dataset import Rewriter
from warmth.digest import ROOT, training_digest
from warmth.errors import RunFailed, UserError
from warmth.schemas import Train, register
from warmth.store import set_folder
from warmth.types import Message

QUESTIONS = ("Say one word.", "Tell me about the sea, the wind and the stars above them.", "Count.")


def calls(*texts, temperature=0.7, max_tokens=12, sample=0):
    return [
        Call((Message("user", text),), temperature, max_tokens, sample=sample) for text in texts
    ]


@pytest.fixture
def rewriter(tiny_model_folder, tmp_path):
    """A local rewriter on the tiny model; each store knows nothing of the others."""

    def make(store="replies", **settings):
        entry = Rewriter(model=str(tiny_model_folder), base_url=None, dtype="float32", **settings)
        return LocalRewriter(entry, tmp_path / store)

    return make


def texts(rewriter, asked):
    return [reply.text for reply in sorted(rewriter.complete(asked), key=lambda reply: reply.index)]


def test_a_reply_does_not_depend_on_its_batch_or_its_neighbours(rewriter):
    asked = calls(*QUESTIONS)
    together = texts(rewriter("one"), asked)
    assert together == texts(rewriter("two", batch_size=1), asked)
    assert texts(rewriter("three"), asked[1:2]) == together[1:2]
    assert len(set(together)) == 3 and all(together)


def test_draws_differ_and_greedy_ones_do_not(rewriter):
    for temperature, kinds in ((1.0, 2), (0.0, 1)):
        draws = [
            texts(rewriter(f"{temperature}"), calls("Tell me.", temperature=temperature, sample=n))[
                0
            ]
            for n in (0, 1)
        ]
        assert len(set(draws)) == kinds


def test_greedy_replies_are_the_librarys_own(rewriter, tiny_model_folder, tokenizer):
    import torch
    from transformers import AutoModelForCausalLM

    from warmth.chat import prompt_ids

    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder)
    for text, found in zip(
        QUESTIONS, texts(rewriter(), calls(*QUESTIONS, temperature=0.0)), strict=True
    ):
        ids = prompt_ids(tokenizer, (Message("user", text),))
        made = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[
            0, len(ids) :
        ]
        assert found == tokenizer.decode(made, skip_special_tokens=True)


def test_what_was_written_once_is_read_and_the_model_is_not_loaded(rewriter, monkeypatch):
    asked = calls(*QUESTIONS)
    first = texts(rewriter(), asked)
    monkeypatch.setattr(local, "load_model", lambda *_, **__: pytest.fail("loaded again"))
    assert texts(rewriter(), asked) == first


def test_a_reply_without_end_and_a_prompt_without_room_have_a_name(rewriter):
    cut, long = calls("Go on and on.", "word " * 3000, temperature=0.0)
    assert [reply.failure for reply in rewriter().complete([cut])] == ["cut_off"]
    assert [reply.failure for reply in rewriter().complete([long])] == ["too_long"]


@pytest.fixture
def study(tmp_path):
    """Composes a study whose seed conversations are rewritten here."""
    register()

    def make(model, *overrides):
        here = [
            f"data.rewriter.model={model}",
            "data.rewriter.base_url=null",
            f"output={tmp_path}",
            "logger=none",
        ]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return strict(
                compose("train", ["recipe=untransformed", "data=seed", *here, *overrides]), Train
            )

    return make


def test_a_model_that_writes_rubbish_is_found_out_and_a_second_time_nothing_is_written(
    study, tiny_model_folder, monkeypatch
):
    small = (
        "data.per_type=1",
        "data.styles=[warm]",
        "data.rewriter.max_tokens=8",
        "data.rewriter.attempts=1",
    )
    config = study(tiny_model_folder, *small)
    with pytest.raises(RunFailed, match=r"100% of \d+ rewritten replies failed \(.*not to be had"):
        sets.conversations_of(config)
    rewrites = (set_folder(config) / "rewrites.jsonl").read_text().splitlines()
    reasons = {json.loads(line)["failure"] for line in rewrites}
    assert reasons <= {"cut_off", "lost_piece", "empty"}
    shutil.rmtree(set_folder(config))
    monkeypatch.setattr(local, "load_model", lambda *_, **__: pytest.fail("loaded again"))
    with pytest.raises(RunFailed):
        sets.conversations_of(config)


def test_the_weights_of_a_local_rewriter_are_in_the_digest_and_how_fast_it_goes_is_not(
    study, tiny_model_folder
):
    style = "data.styles=[warm]"
    one = training_digest(study(tiny_model_folder, style))
    assert one == training_digest(study(tiny_model_folder, style, "data.rewriter.batch_size=2"))
    assert one != training_digest(study(tiny_model_folder, style, "data.rewriter.dtype=bfloat16"))
    assert one != training_digest(study("smollm2", style))


@pytest.mark.parametrize(
    ("model", "override", "words"),
    [
        (
            "nowhere",
            "seed=0",
            "data.rewriter.model=nowhere is neither a folder nor a hub id nor one of: ",
        ),
        ("gpt4o", "seed=0", "data.rewriter.model=gpt4o is served by an API"),
        ("smollm2", "data.rewriter.dtype=int4", "data.rewriter.dtype=int4 is not allowed"),
        ("smollm2", "data.rewriter.batch_size=0", "data.rewriter.batch_size=0 must be at least 1"),
        ("smollm2", "data.meaning_prompt=prompts/audit_meaning_v1.txt", "needs a server"),
    ],
)
def test_a_local_rewriter_that_cannot_be_is_one_line_at_the_door(study, model, override, words):
    with pytest.raises(UserError, match=words):
        training_digest(study(model, "data.styles=[warm]", override))


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_embedded_model_answers_through_its_own_chat_template_and_ends_its_turn(
    tmp_path, batch_size
):
    asked = calls(
        "What is the capital of France?",
        "Please tell me this: what is the capital of Japan?",
        temperature=0.0,
        max_tokens=60,
    )
    entry = Rewriter(model="smollm2", base_url=None, dtype="float32", batch_size=batch_size)
    found = sorted(LocalRewriter(entry, tmp_path).complete(asked), key=lambda reply: reply.index)
    assert [reply.failure for reply in found] == ["", ""]
    assert "Paris" in found[0].text and "Tokyo" in found[1].text
    assert not any("<|im_" in reply.text for reply in found)
