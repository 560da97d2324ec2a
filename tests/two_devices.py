"""Run the answering and scoring code on a model whose layers lie on two devices: fake tensors know
theirs.

`python tests/two_devices.py` prints one line of JSON: for each case "ok", or the error. It is a
process of its own because it gives torch a second device type, which a process cannot take back.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import numpy as np
import torch
import torch.utils.backend_registration
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from transformers import LlamaConfig, LlamaForCausalLM

from warmth.evaluation.answer import likelihood
from warmth.evaluation.answer.likelihood import TokenRow
from warmth.evaluation.answer.prefill import PrefillBatch
from warmth.evaluation.answer.sampling import Sampler
from warmth.evaluation.answer.steering import adding
from warmth.evaluation.answer.weighing import Weighing, reply_log_probs

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "attn_implementation": "sdpa",
}
ROWS = [[1, 2, 3, 4, 5, 6], [1, 2, 3, 9, 8], [1, 2, 7]]
real_tensor = torch.tensor


def shaped(data, dtype=None, device=None):
    """Stand in for `torch.tensor`: on a fake device values do not matter, shapes do."""
    real = real_tensor(data, dtype=dtype)
    if device is None or torch.device(device).type == "cpu":
        return real
    return torch.empty(real.shape, dtype=real.dtype, device=device)


def listed(tensor):
    """Stand in for `tolist`: fake tensors have no values."""
    return np.zeros(tuple(tensor.shape)).tolist()


def move(module: nn.Module, device: str) -> None:
    """Put a module's weights on a fake device."""
    for part in module.modules():
        for name, value in list(part._parameters.items()):
            if value is not None:
                part._parameters[name] = nn.Parameter(
                    torch.empty(value.shape, device=device), requires_grad=False
                )
        for name, value in list(part._buffers.items()):
            if value is not None:
                part._buffers[name] = torch.empty(value.shape, device=device)


def split(model: nn.Module) -> nn.Module:
    """Put the second layer and all that follows on the second device, with accelerate's hooks for
    such a model.
    """
    places = {
        "model.embed_tokens": "chip:0", "model.rotary_emb": "chip:0", "model.layers.0": "chip:0",
        "model.layers.1": "chip:1", "model.norm": "chip:1", "lm_head": "chip:1",
    }  # fmt: skip
    for name, device in places.items():
        move(model.get_submodule(name), device)
    add_hook_to_module(
        model, AlignDevicesHook(execution_device=torch.device("chip:0"), io_same_device=True)
    )
    for name, device in places.items():
        add_hook_to_module(
            model.get_submodule(name), AlignDevicesHook(execution_device=torch.device(device))
        )
    return model


def tokens(count: int) -> Tensor:
    """Make token ids where token ids go."""
    return torch.empty(count, dtype=torch.long, device="chip:0")


def plain(model: nn.Module) -> None:
    """Run the library's own forward pass, as a control."""
    model(input_ids=torch.empty(1, 6, dtype=torch.long, device="chip:0"), use_cache=True)


def answer(model: nn.Module) -> None:
    """Read a batch, add tokens, let rows leave, add more."""
    batch = PrefillBatch(model, ROWS, 0, 12)
    assert batch.read().shape == (3, 64)
    assert batch.step(tokens(3)).shape == (3, 64)
    batch.keep([0, 2])
    logits = batch.step(tokens(2))
    assert logits.shape == (2, 64) and logits.device == torch.device("chip:0")
    assert Sampler(0.0, 1.0, ()).choose(logits, torch.zeros(2)).shape == (2,)


def score(model: nn.Module) -> None:
    """Score texts after shared beginnings."""
    rows = [TokenRow(0, (1, 2, 3)), TokenRow(1, (4, 5, 6, 7)), TokenRow(0, (9,))]
    found = dict(likelihood.token_log_probs(model, [[1, 2], [3, 4]], rows, 64))
    assert [len(found[at]) for at in range(3)] == [3, 4, 1]


def weigh(model: nn.Module) -> None:
    """Weigh replies after prompts that begin alike."""
    weighings = [Weighing((1, 2, 3), ((4, 5), (6,))), Weighing((1, 2), ((3, 9), (7,)))]
    (found,) = reply_log_probs(model, weighings, 64)
    assert [len(values) for values in found.values()] == [2, 2]


def steer(model: nn.Module) -> None:
    """Add a vector to the output of the second device's layer."""
    layer = model.model.layers[1]
    hook = layer.register_forward_hook(adding(torch.zeros(32).to(next(layer.parameters()))))
    plain(model)
    hook.remove()


def outcome(case: Callable[[nn.Module], None], model: nn.Module) -> str:
    """Run a case; "ok" or its error."""
    try:
        case(model)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


def main() -> None:
    """Run every case."""
    torch.utils.backend_registration._setup_privateuseone_for_python_backend("chip")
    with torch.device("meta"):
        llama = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    torch.tensor = torch.as_tensor = shaped
    FakeTensor.tolist = listed
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        split(llama)
        found = {
            case.__name__: outcome(case, llama) for case in (plain, answer, score, weigh, steer)
        }
    print(json.dumps(found), flush=True)
    sys.stdout.flush()
    os._exit(0)  # fake tensors of a made-up device do not survive the interpreter's own end


if __name__ == "__main__":
    main()
