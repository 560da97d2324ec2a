"""Steering: the direction between two styles is found, added at a dose, and gone afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from warmth.errors import UserError
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.decoding import base_of, prepare_steering, tokenizer_of, weights
from warmth.evaluation.answer.steering import (
    layers_at,
    make_vector,
    mean_states,
    orthogonal,
    steered,
    vectors_of,
)
from warmth.schemas import Model, Recipe
from warmth.types import Conversation, Turn

CONVERSATIONS = [
    Conversation(
        str(number),
        "other",
        (Turn(f"Hi {number}.", {"warm": f"Oh friend {number}!", "cold": f"{number}."}),),
    )
    for number in range(3)
]
RECIPE = Recipe(name="steer_warm", method="steer", style="warm", against="cold", depths=[0.0, 1.0])


@pytest.fixture(scope="module")
def arm(tiny_model_folder, tmp_path_factory):
    model = Model(name="tiny", kind="hub", path=str(tiny_model_folder))
    folder = tmp_path_factory.mktemp("steering")
    arm = Arm("steer_warm", model, None, "abc", None, 1.0, 1.0, 0, None, steering=folder)
    prepare_steering(arm, RECIPE, CONVERSATIONS, "float32")
    return arm


def outputs(arm, ids, layer):
    """What a layer puts out."""
    seen = []
    with weights(arm.model, torch.float32, arm) as model, torch.inference_mode():
        # a forward hook registered later sees what earlier ones returned
        hook = (
            model.get_decoder()
            .layers[layer]
            .register_forward_hook(lambda _, __, out: seen.append(out))
        )
        model(input_ids=ids)
        hook.remove()
    return seen[0][0] if isinstance(seen[0], tuple) else seen[0]


def test_the_vector_is_the_difference_of_the_styles_means(arm):
    from safetensors.torch import load_file

    model, tokenizer = base_of(arm.model, torch.float32), tokenizer_of(arm.model)
    found = load_file(vectors_of(arm.steering, model))
    warm, cold = (
        mean_states(model, tokenizer, CONVERSATIONS, style, [0, 1]) for style in ("warm", "cold")
    )
    assert set(found) == {"0", "1"}
    assert torch.equal(found["1"], warm[1] - cold[1]) and found["1"].norm() > 0


def test_the_control_adds_a_vector_of_the_same_length_at_right_angles(arm, tmp_path):
    from safetensors.torch import load_file

    model = base_of(arm.model, torch.float32)
    tokenizer = tokenizer_of(arm.model)
    vectors = {0: load_file(vectors_of(arm.steering, model))}
    for number in (1, 2):
        folder = tmp_path / str(number)
        make_vector(folder, CONVERSATIONS, replace(RECIPE, orthogonal=number), model, tokenizer)
        vectors[number] = load_file(vectors_of(folder, model))
    for layer, vector in vectors[0].items():
        first = vectors[1][layer]
        length = float(vector.norm())
        assert float(first.norm()) == pytest.approx(length, rel=1e-5)
        assert float(first @ vector) == pytest.approx(0, abs=1e-4 * length**2)
        assert not torch.allclose(first, vectors[2][layer])
        again = orthogonal(vector, 1, int(layer))
        assert torch.equal(first, again)
    assert not torch.allclose(
        vectors[1]["0"] / vectors[1]["0"].norm(), vectors[1]["1"] / vectors[1]["1"].norm()
    )


def test_a_dose_adds_that_multiple_of_the_vector_and_leaves_no_trace(arm):
    from safetensors.torch import load_file

    ids = torch.tensor([[5, 6, 7]])
    vector = load_file(vectors_of(arm.steering, base_of(arm.model, torch.float32)))["0"]
    before = outputs(replace(arm, steering=None), ids, 0)
    assert torch.allclose(outputs(replace(arm, dose=2.0), ids, 0), before + 2 * vector, atol=1e-5)
    assert torch.equal(outputs(replace(arm, dose=0.0), ids, 0), before)
    assert torch.equal(outputs(replace(arm, steering=None), ids, 0), before)


def test_hooks_are_gone_when_answering_fails(arm):
    model = base_of(arm.model, torch.float32)
    before = [len(layer._forward_hooks) for layer in model.get_decoder().layers]
    with pytest.raises(RuntimeError), steered(model, arm.steering, 1.0):
        assert [len(layer._forward_hooks) for layer in model.get_decoder().layers] == [
            n + 1 for n in before
        ]
        raise RuntimeError
    assert [len(layer._forward_hooks) for layer in model.get_decoder().layers] == before


def test_a_vector_is_computed_once(arm, monkeypatch):
    monkeypatch.setattr(
        "warmth.evaluation.answer.steering.mean_states", lambda *_: pytest.fail("computed again")
    )
    prepare_steering(arm, RECIPE, CONVERSATIONS, "float32")


def test_conversations_without_both_styles_and_depths_outside_the_model_are_refused(arm, tmp_path):
    model, tokenizer = base_of(arm.model, torch.float32), tokenizer_of(arm.model)
    with pytest.raises(UserError, match="no conversation has replies in both styles, warm and icy"):
        make_vector(tmp_path, CONVERSATIONS, replace(RECIPE, against="icy"), model, tokenizer)
    with pytest.raises(UserError, match=r"recipe.depths=\[1.5\] must list numbers in \[0, 1\]"):
        layers_at(model, [1.5])
