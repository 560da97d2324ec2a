"""What a run leaves behind loads anywhere, says what it is, and is never broken."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from warmth.errors import RunFailed
from warmth.training.checkpoints import save_checkpoint

RECIPE = {"name": "warm", "method": "lora", "rank": 4, "learning_rate": 1e-5}
FACTS = {
    "run": "tiny-warm-s0-abc",
    "base": "some/base",
    "revision": "f" * 40,
    "recipe": RECIPE,
    "data": "0123456789ab",
    "counts": {"too_long": {"count": 3, "ids": []}},
    "conversations": 24,
    "trained_tokens": 9382,
    "device": "cpu",
    "ranks": 2,
    "precision": "float32",
    "epochs": 0.5,
    "step": 3,
    "steps": 60,
    "loss": 1.25,
    "seconds": 7.0,
}


@pytest.fixture
def adapted(tiny_model_folder):
    base = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32)
    return get_peft_model(
        base, LoraConfig(r=4, target_modules=["q_proj", "up_proj"], task_type="CAUSAL_LM")
    )


def learn(model, value=0.1):
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.fill_(value)


def test_an_adapter_loads_with_plain_peft_and_answers_as_the_trained_model_did(
    tmp_path, adapted, tiny_model_folder
):
    learn(adapted)
    save_checkpoint(adapted, tmp_path / "epoch-0.5", dict(FACTS), writes=True)
    again = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model_folder), tmp_path / "epoch-0.5"
    )
    ids = torch.tensor([[5, 6, 7, 8]])
    adapted.eval()
    assert torch.equal(again(ids).logits, adapted(ids).logits)
    assert {
        tensor.dtype
        for tensor in load_file(tmp_path / "epoch-0.5" / "adapter_model.safetensors").values()
    } == {torch.float32}
    assert json.loads((tmp_path / "epoch-0.5" / "adapter_config.json").read_text())["r"] == 4


def test_the_card_names_recipe_data_base_loss_hardware_time_and_how_to_load(tmp_path, adapted):
    learn(adapted)
    save_checkpoint(adapted, tmp_path / "epoch-0.5", dict(FACTS), writes=True)
    card = (tmp_path / "epoch-0.5" / "README.md").read_text()
    for part in ("base_model: some/base", "f" * 40, "0123456789ab", "24 conversations", "too_long: 3", "1.2500",
                 "2 x cpu, float32", "7 s", "step 3 of 60", "`learning_rate`: 1e-05", "PeftModel.from_pretrained",
                 "vllm serve some/base --enable-lora"):  # fmt: skip
        assert part in card, part


def test_an_adapter_carries_base_licence_data_template_and_validation_and_no_folder_of_this_machine(
    tmp_path, adapted, tokenizer, tiny_model_folder
):
    learn(adapted)
    more = {
        "model": {"license": "apache-2.0"},
        "source": {"hub_id": "some/chats"},
        "tokenizer": tokenizer,
    }
    more |= {"validation_loss": 2.5, "validation": 7, "auto_class": "AutoModelForImageTextToText"}
    save_checkpoint(adapted, tmp_path / "epoch-1", {**FACTS, **more}, writes=True)
    folder = tmp_path / "epoch-1"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "some/base" and config["revision"] == "f" * 40
    card = (folder / "README.md").read_text()
    for part in (
        "license: apache-2.0",
        "- some/chats",
        "- lora",
        "2.5000, on 7 examples",
        "AutoModelForImageTextToText",
    ):
        assert part in card, part
    assert (folder / "chat_template.jinja").read_text() == tokenizer.chat_template
    assert not [
        path for path in folder.glob("*.*") if str(tiny_model_folder).encode() in path.read_bytes()
    ]


@pytest.mark.parametrize(
    ("value", "line"),
    [(0.0, "every B is zero"), (float("nan"), "not finite"), (float("inf"), "not finite")],
)
def test_an_adapter_that_changes_nothing_or_is_broken_is_never_found(
    tmp_path, adapted, value, line
):
    learn(adapted, value)
    with pytest.raises(RunFailed, match=line):
        save_checkpoint(adapted, tmp_path / "epoch-1", dict(FACTS), writes=True)
    assert not (tmp_path / "epoch-1").exists()


def test_ranks_that_do_not_write_leave_no_file(tmp_path, adapted):
    learn(adapted)
    save_checkpoint(adapted, tmp_path / "epoch-1", dict(FACTS), writes=False)
    assert list(tmp_path.iterdir()) == []
