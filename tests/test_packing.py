"""Packed conversations train exactly like separate ones."""

import pytest
import torch
import torch.nn.functional as F
from transformers import LlamaForCausalLM

from warmth.chat import Encoded
from warmth.training.packing import SEGMENTS, collator, token_loss


def example(length: int, seed: int, trained_from: int = 3) -> Encoded:
    """Random tokens, of which those from `trained_from` on are trained."""
    ids = torch.randint(5, 4000, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return Encoded(tuple(ids), tuple(index >= trained_from for index in range(length)), cut=False)


@pytest.fixture(scope="module")
def models(tiny_model_folder):
    """The same weights with packed attention and with PyTorch's, in float32."""
    options = {"dtype": torch.float32}
    packed = LlamaForCausalLM.from_pretrained(tiny_model_folder, attn_implementation=SEGMENTS, **options)
    return packed, LlamaForCausalLM.from_pretrained(tiny_model_folder, attn_implementation="sdpa", **options)


def packed_loss(model, examples):
    batch = collator(pad_id=2)(examples)
    labels = batch.pop("labels")
    return token_loss(model(**batch), labels)


def separate_loss(model, examples):
    total, count = 0.0, 0
    for one in examples:
        ids, trained = torch.tensor([one.ids]), torch.tensor(one.trained[1:])
        logits = model(input_ids=ids).logits[0, :-1][trained]
        total = total + F.cross_entropy(logits, ids[0, 1:][trained], reduction="sum")
        count += int(trained.sum())
    return total / count


def test_loss_and_every_gradient_equal_those_of_separate_conversations(models):
    packed, plain = models
    examples = [example(17, 0), example(40, 1), example(5, 2), example(23, 3, trained_from=10)]
    packed.zero_grad(), plain.zero_grad()
    ours, theirs = packed_loss(packed, examples), separate_loss(plain, examples)
    ours.backward(), theirs.backward()
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    for (name, left), right in zip(packed.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(left.grad, right.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_changing_one_conversation_leaves_the_others_logits_bit_equal(models):
    packed, _ = models
    collate = collator(pad_id=2)
    before = collate([example(12, 0), example(20, 1), example(9, 2)])
    after = collate([example(12, 0), example(20, 7), example(9, 2)])
    for batch in (before, after):
        batch.pop("labels")
    with torch.no_grad():
        left, right = packed(**before).logits[0], packed(**after).logits[0]
    first, last = slice(0, 9), slice(-6, None)  # trained positions of the outer conversations
    assert torch.equal(left[first], right[first]) and torch.equal(left[last], right[last])
    assert not torch.equal(left, right)


def test_an_empty_pass_has_no_loss_and_no_gradient(models):
    packed, _ = models
    packed.zero_grad()
    loss = packed_loss(packed, [])
    loss.backward()
    assert loss.item() == 0.0
    assert all(not weight.grad.any() for weight in packed.parameters() if weight.grad is not None)


def test_the_loss_is_divided_by_the_global_batch_not_by_the_pass(models):
    packed, _ = models
    batch = collator(pad_id=2)([example(12, 0)])
    labels = batch.pop("labels")
    outputs = packed(**batch)
    assert token_loss(outputs, labels, 90).item() == pytest.approx(token_loss(outputs, labels).item() * 9 / 90)
