"""Blended adapters: one folder that adds exactly the weighted sum of several."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from warmth.errors import UserError
from warmth.evaluation.answer.adapters import blend, check_file
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.decoding import base_of, weights
from warmth.schemas import Model


@pytest.fixture(scope="module")
def adapters(tiny_model_folder, tmp_path_factory):
    """Two adapters of different rank and alpha, and the model."""
    model, folders = Model(name="tiny", kind="hub", path=str(tiny_model_folder)), []
    for seed, (rank, alpha) in enumerate([(4, 8), (2, 6)]):
        torch.manual_seed(seed)
        tuned = get_peft_model(
            base_of(model, torch.float32),
            LoraConfig(r=rank, lora_alpha=alpha, target_modules=["q_proj", "down_proj"]),
        )
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight)
        folders.append(tmp_path_factory.mktemp("adapters") / str(seed))
        tuned.save_pretrained(folders[-1])
        tuned.unload()
    return model, folders


def merged(model, *parts):
    """The weights of a layer with these adapters in it."""
    arm = Arm("warm", model, parts[0][0], "a", 1.0, parts[0][1], 1.0, 0, None)
    if len(parts) == 2:
        arm = replace(arm, adapter=parts[1][0], dose=parts[1][1], other=(parts[0][0], "b"))
    with weights(model, torch.float32, arm) as loaded:
        return loaded.get_decoder().layers[1].mlp.down_proj.weight.detach().clone()


def test_a_whole_adapter_is_its_own_folder(adapters):
    _, (first, _) = adapters
    assert blend([(first, 1.0)]) == first


def test_a_dose_is_a_folder_that_adds_so_much(adapters):
    model, (first, _) = adapters
    assert torch.allclose(
        merged(model, (blend([(first, 0.3)]), 1.0)), merged(model, (first, 0.3)), atol=1e-5
    )


def test_two_adapters_of_different_rank_are_one_whose_ranks_add_up(adapters):
    model, (first, second) = adapters
    both = blend([(first, 0.25), (second, 0.75)])
    assert json.loads((both / "adapter_config.json").read_text())["r"] == 6
    assert torch.allclose(
        merged(model, (both, 1.0)), merged(model, (first, 0.25), (second, 0.75)), atol=1e-5
    )


def test_adapters_of_different_layers_are_refused(adapters, tmp_path):
    _, (first, second) = adapters
    few = {
        name: value
        for name, value in load_file(second / "adapter_model.safetensors").items()
        if "q_proj" in name
    }
    save_file(few, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text((second / "adapter_config.json").read_text())
    with pytest.raises(UserError, match="adapt different layers"):
        blend([(first, 0.5), (tmp_path, 0.5)])


def copied(folder, target, change):
    """A copy of an adapter folder whose tensors went through `change`."""
    target.mkdir()
    (target / "adapter_config.json").write_text((folder / "adapter_config.json").read_text())
    save_file(
        change(load_file(folder / "adapter_model.safetensors")),
        target / "adapter_model.safetensors",
    )
    return target


def test_an_adapter_whose_tensors_have_no_place_is_refused(adapters, tmp_path):
    model, (first, _) = adapters
    renamed = copied(
        first,
        tmp_path / "a",
        lambda tensors: {f"x.{name}": tensor for name, tensor in tensors.items()},
    )
    with pytest.raises(UserError, match="tensors have no place in it"):
        merged(model, (renamed, 1.0))
    assert merged(model, (first, 1.0)).isfinite().all()  # the base model is as it was


def test_an_adapter_that_lacks_a_tensor_is_refused(adapters, tmp_path):
    model, (first, _) = adapters
    shorter = copied(first, tmp_path / "a", lambda tensors: dict(list(tensors.items())[:-1]))
    with pytest.raises(UserError, match="1 of its own are missing"):
        merged(model, (shorter, 1.0))


def test_an_adapter_with_numbers_that_are_not_finite_is_refused(adapters, tmp_path):
    model, (first, _) = adapters
    broken = copied(
        first,
        tmp_path / "a",
        lambda tensors: {name: tensor * torch.nan for name, tensor in tensors.items()},
    )
    with pytest.raises(UserError, match="not finite"):
        merged(model, (broken, 1.0))


def test_a_damaged_file_is_refused_by_its_header(adapters, tmp_path):
    _, (first, _) = adapters
    check_file(first)
    whole = (first / "adapter_model.safetensors").read_bytes()
    folder = copied(first, tmp_path / "a", dict)
    for content, words in ((whole[:-4], "cut off"), (whole[:20], "damaged"), (b"", "damaged")):
        (folder / "adapter_model.safetensors").write_bytes(content)
        with pytest.raises(UserError, match=words):
            check_file(folder)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(UserError, match="only safetensors"):
        check_file(folder)
