"""The short forward pass of adapted layers gives PEFT's numbers, gradients included."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from warmth.chat import Encoded
from warmth.training.lora import shorten
from warmth.training.packing import SEGMENTS, collator, token_loss


@pytest.fixture(scope="module")
def pair(tiny_model_folder):
    """The same adapted model twice, PEFT's own and shortened, with B filled."""

    def build(dropout):
        base = AutoModelForCausalLM.from_pretrained(
            tiny_model_folder, dtype=torch.float32, attn_implementation=SEGMENTS
        )
        config = LoraConfig(
            r=4,
            lora_alpha=8,
            lora_dropout=dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        plain = get_peft_model(base, config)
        generator = torch.Generator().manual_seed(0)
        for name, weight in plain.named_parameters():
            if "lora_B" in name:
                weight.data = torch.randn(weight.shape, generator=generator) * 0.05
        short = copy.deepcopy(plain)
        assert shorten(short) == 14  # 2 layers x 7 projections
        return plain, short

    return build


def learn(model):
    ids = torch.randint(5, 4000, (40,), generator=torch.Generator().manual_seed(1)).tolist()
    examples = [
        Encoded(tuple(ids[:25]), (False,) * 5 + (True,) * 20, False),
        Encoded(tuple(ids), (True,) * 40, False),
    ]
    batch = collator(2)(examples)
    labels = batch.pop("labels")
    model.train()
    torch.manual_seed(0)
    loss = token_loss(model(**batch), labels)
    loss.backward()
    return loss.item(), {
        name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad
    }


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_loss_and_every_gradient_equal_those_of_peft(pair, dropout):
    plain, short = pair(dropout)
    (expected, theirs), (loss, ours) = learn(plain), learn(short)
    assert loss == pytest.approx(expected, abs=1e-5)
    assert ours.keys() == theirs.keys() and len(ours) == 28
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_without_gradients_or_with_the_adapter_off_pefts_own_is_used(pair):
    plain, short = pair(0.0)
    plain.eval(), short.eval()
    ids = {"input_ids": torch.tensor([[5, 6, 7]]), "cu_seq_lens_q": torch.tensor([0, 3])}
    with torch.no_grad():
        assert torch.equal(short(**ids).logits, plain(**ids).logits)
    with short.disable_adapter(), plain.disable_adapter():
        assert torch.equal(short(**ids).logits, plain(**ids).logits)
