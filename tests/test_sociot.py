"""Warmth: the published values, worked out by the published code, are met to the last digit that float32 has."""

from __future__ import annotations

import json

import pytest
import torch

from warmth.digest import ROOT
from warmth.errors import UserError
from warmth.evaluation import sociot
from warmth.evaluation.decoding import base_of, tokenizer_of
from warmth.schemas import Model

GOLDEN = ROOT.parent / "shared" / "data" / "sociot_golden.json"
TEXTS = ["I am so glad you told me.", "No.", "The report is due on Monday at noon.", "Thank you, that was kind of you!"]


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN} is absent")
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def smollm2():
    model = Model(name="smollm2", kind="embedded")
    return base_of(model, torch.float32), tokenizer_of(model)


@pytest.fixture(scope="module")
def tiny(tiny_model_folder):
    model = Model(name="tiny", kind="hub", path=str(tiny_model_folder))
    return base_of(model, torch.float32), tokenizer_of(model)


def test_deterministic_scores_are_the_golden_ones(golden, smollm2):
    expected = [item["deterministic"] for item in golden["items"]]
    found = sociot.score([item["text"] for item in golden["items"]], *smollm2, "deterministic")
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        assert (one.score, one.close, one.distant) == pytest.approx(
            (other["score"], other["warm"], other["cold"]), abs=1e-5
        )


def test_each_speaker_has_its_golden_value(golden, smollm2):
    item = golden["items"][7]
    values = sociot.deterministic([item["text"]], *smollm2, 2048)[0]
    own = item["deterministic"]
    assert values == pytest.approx(own["warm_prompts"] + own["cold_prompts"], abs=1e-5)


def test_reference_scores_are_the_golden_ones(golden, smollm2):
    expected = [item["reference"] for item in golden["items"]]
    found = sociot.score([item["text"] for item in golden["items"]], *smollm2, "reference")
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        assert (one.score, -one.close, -one.distant) == pytest.approx(
            (other["score"], other["loss_warm"], other["loss_cold"]), abs=1e-5
        )


def test_reference_counts_padding_as_the_published_code_does(golden, smollm2):
    model, tokenizer = smollm2
    for case in golden["padded_sets"]:
        rows = [tokenizer(string, add_special_tokens=False)["input_ids"] for string in case["strings"]]
        assert sociot.set_loss(rows, model) == pytest.approx(case["loss"], abs=1e-5)


def test_scores_do_not_depend_on_the_batch(tiny):
    alone = [sociot.score([text], *tiny)[0] for text in TEXTS]
    for tokens in (1, 200, 4096):
        together = sociot.score(TEXTS, *tiny, batch_tokens=tokens)
        assert [one.score for one in together] == pytest.approx([one.score for one in alone], abs=1e-5)


def test_an_empty_text_has_no_score(tiny):
    assert [one is None for one in sociot.score(["", "Hi.", ""], *tiny)] == [True, False, True]


def test_a_variant_that_is_not_there_is_named(tiny):
    with pytest.raises(
        UserError, match="warmth.variant=paper is not available yet; choose one of: deterministic, reference"
    ):
        sociot.score(TEXTS, *tiny, "paper")


def test_buckets_keep_to_the_budget_and_lose_nothing():
    lengths = [5, 100, 7, 30, 30, 1]
    parts = list(sociot.buckets(lengths, 80, 5))
    assert sorted(index for part in parts for index in part) == list(range(6))
    assert all(len(part) == 1 or len(part) * (max(lengths[index] for index in part) + 5) <= 80 for part in parts)
