"""Packed conversations train exactly like separate ones."""

import pytest
import torch
import torch.nn.functional as F
from transformers import LlamaForCausalLM

from warmth.chat import Encoded
from warmth.training.packing import (
    BLOCK,
    SEGMENTS,
    SummedCrossEntropy,
    collator,
    short_attention,
    token_loss,
)
from warmth.training.schedule import rank_batches


def example(length: int, seed: int, trained_from: int = 3) -> Encoded:
    """Random tokens, of which those from `trained_from` on are trained."""
    ids = torch.randint(5, 4000, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return Encoded(tuple(ids), tuple(index >= trained_from for index in range(length)), cut=False)


@pytest.fixture(scope="module")
def models(tiny_model_folder):
    """The same weights with packed attention and with PyTorch's, in float32."""
    options = {"dtype": torch.float32}
    packed = LlamaForCausalLM.from_pretrained(
        tiny_model_folder, attn_implementation=SEGMENTS, **options
    )
    return packed, LlamaForCausalLM.from_pretrained(
        tiny_model_folder, attn_implementation="sdpa", **options
    )


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
    assert token_loss(outputs, labels, 90).item() == pytest.approx(
        token_loss(outputs, labels).item() * 9 / 90
    )


@pytest.mark.parametrize("rows", [0, 1, 16, 41])
def test_the_summed_cross_entropy_and_its_gradient_are_pytorchs(rows):
    logits = (
        torch.randn(rows, 300, generator=torch.Generator().manual_seed(1)) * 8
    ).requires_grad_()
    targets = torch.randint(0, 300, (rows,), generator=torch.Generator().manual_seed(2))
    ours = SummedCrossEntropy.apply(logits, targets) / 7
    (gradient,) = torch.autograd.grad(ours, logits)
    theirs = F.cross_entropy(logits, targets, reduction="sum") / 7
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(
        gradient, torch.autograd.grad(theirs, logits)[0], atol=1e-7, rtol=1e-5
    )


@pytest.mark.parametrize("length", [1, 7, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_short_attention_in_bfloat16_is_about_as_exact_as_pytorchs(length):
    draws = torch.Generator().manual_seed(length)
    exact = [
        torch.randn(1, heads, length, 64, generator=draws).requires_grad_() for heads in (6, 2, 2)
    ]
    outer = torch.randn(1, 6, length, 64, generator=draws)
    want = F.scaled_dot_product_attention(*exact, is_causal=True, scale=0.125, enable_gqa=True)
    want = [want, *torch.autograd.grad(want, exact, outer)]

    def errors(attention):
        halves = [tensor.detach().bfloat16().requires_grad_() for tensor in exact]
        with torch.autocast("cpu", torch.bfloat16):
            got = attention(*halves)
        got = [got, *torch.autograd.grad(got, halves, outer.bfloat16())]
        return [
            (left.float() - right).square().mean().sqrt().item()
            for left, right in zip(got, want, strict=True)
        ]

    ours = errors(lambda *tensors: short_attention(*tensors, 0.125))
    theirs = errors(
        lambda *t: F.scaled_dot_product_attention(*t, is_causal=True, scale=0.125, enable_gqa=True)
    )
    assert all(left <= 1.2 * right + 1e-6 for left, right in zip(ours, theirs, strict=True)), (
        ours,
        theirs,
    )


def test_a_packed_conversation_in_bfloat16_learns_as_alone(tiny_model_folder):
    model = LlamaForCausalLM.from_pretrained(
        tiny_model_folder, attn_implementation=SEGMENTS, dtype=torch.bfloat16
    )
    long, short = example(600, 0), example(150, 1)  # beside short_attention's reach, and within it
    together = packed_loss(model, [long, short]).item()
    apart = [packed_loss(model, [one]).item() * sum(one.trained) for one in (long, short)]
    assert together == pytest.approx(
        sum(apart) / (sum(long.trained) + sum(short.trained)), abs=2e-3
    )


def test_a_pass_never_waits_for_the_device_to_tell_a_length(tiny_model_folder):
    """Fake tensors have no values: an operation that hands one to the host raises, as it would stop
    a GPU's queue.
    """
    from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

    batch = collator(pad_id=2)([example(12, 0), example(20, 1)])
    batch.pop("labels")
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model = LlamaForCausalLM.from_pretrained(
            tiny_model_folder, attn_implementation=SEGMENTS, dtype=torch.float32
        )
        faked = {
            key: mode.from_tensor(value) if torch.is_tensor(value) else value
            for key, value in batch.items()
        }
        logits = model(**faked, use_cache=False).logits
        logits.sum().backward()
        assert logits.shape[1] == len(batch["logits_to_keep"])
        faked.pop("segment_lengths")
        with pytest.raises(DataDependentOutputException):
            model(**faked, use_cache=False)


@pytest.mark.parametrize("room", [40, 64, 1000])
def test_how_many_tokens_share_a_pass_changes_no_gradient_of_a_step(models, room):
    packed, _ = models
    examples = [example(length, seed) for seed, length in enumerate((17, 40, 9, 23, 31, 12))]
    trained = sum(sum(one.trained[1:]) for one in examples)

    def gradients(room):
        lengths = [len(one.ids) for one in examples]
        passes, _ = rank_batches([list(range(6))], lengths, 6, 1, 16, room, 0)
        packed.zero_grad()
        for indices in passes:
            batch = collator(pad_id=2)([examples[index] for index in indices])
            labels = batch.pop("labels")
            token_loss(packed(**batch), labels, trained).backward()
        return len(passes), [weight.grad.clone() for weight in packed.parameters()]

    number, ours = gradients(room)
    alone, theirs = gradients(1)
    assert number < alone == 6
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right, atol=1e-6, rtol=1e-4)
