"""Checks of a model before its weights are loaded: layers to adapt, its forward pass in training.

The pass is compared with the model's own on a small copy made from its config.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import nn
from transformers import AutoConfig
from transformers.pytorch_utils import Conv1D

from warmth.chat import Encoded
from warmth.digest import cache_folder, digest
from warmth.errors import UserError, one_line
from warmth.models import locate, network_class
from warmth.schemas import Model
from warmth.store import read_json, write_json
from warmth.training import packing
from warmth.training.packing import SEGMENTS, collator

TOLERANCE = 1e-3  # nats by which a log-probability may differ in float32
# nats by which a text may change the next one's; a recurrent layer with random weights soon forgets
LEAK = 2e-5
# modules that no text reaches, and that get no adapter
NO_TEXT = r".*(vision|multi_modal|audio|image).*"
HEADS = ("num_attention_heads", "n_head", "n_heads")
ALL_LINEAR = "all-linear"  # PEFT's word for every linear layer but the last
LENGTHS = (30, 23)  # tokens of the texts it is tried on
WINDOW = 8  # tokens of a window or chunk in the small copy: fewer than the texts have
VOCABULARY = 200
# Sizes in the small copy, by the names that configs of transformers give them. What a config does
# not have stays away.
SIZES: dict[str, int] = {
    "hidden_size": 64,
    "n_embd": 64,
    "d_model": 64,
    "dim": 64,
    "intermediate_size": 96,
    "ffn_hidden_size": 96,
    "ffn_dim": 96,
    "n_inner": 96,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "shared_intermediate_size": 32,
    "intermediate_size_mlp": 96,
    "num_attention_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "num_heads": 4,
    "head_dim": 16,
    "d_kv": 16,
    "global_head_dim": 16,
    "swa_head_dim": 16,
    "num_local_experts": 4,
    "num_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_topk": 2,
    "top_k_experts": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 32,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 16,
    "qk_head_dim": 32,
    "v_head_dim": 16,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 16,
    "mamba_expand": 2,
    "mamba_d_ssm": 128,
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "n_groups": 1,
    "ssm_state_size": 16,
    "state_size": 16,
    "conv_kernel": 4,
    "time_step_rank": 4,
    "mamba_dt_rank": 4,
    "lru_width": 64,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 16,
    "sliding_window": WINDOW,
    "attention_chunk_size": WINDOW,
    "attention_window_size": WINDOW,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "expert_layer_period": 2,
    "expert_layer_offset": 1,
    "rotary_dim": 8,
    "attention_head_dim": 32,
    "attention_hidden_size": 128,
    "block_ff_dim": 96,
    "block_dim": 64,
    "conv_dim": 64,
    "num_kv_shared_layers": 0,
}
KEY_HEADS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "num_global_key_value_heads")
CHANCE = ("dropout", "pdrop", "jitter")  # what makes two passes of one text differ
SMALL_HEADS = 4
SMALL_KEY_HEADS = 2
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
TYPES = ("layer_types", "layers_block_type", "block_types", "_block_types", "mlp_layer_types")


@dataclass(frozen=True)
class PackingFit:
    """How a model is trained here."""

    # the attention it is trained with: `segments`, else the model's own, `sdpa` or `eager`
    attention: str
    # the model's own attention for trainers that pad: `sdpa` where it is right, else `eager`
    own_attention: str
    difference: float  # largest difference of a log-probability from the model's own, in nats
    reason: str = ""  # why it is not packed; "" if it is

    @property
    def packed(self) -> bool:
        """Tell whether several conversations may share a forward pass."""
        return self.attention == SEGMENTS


def fit_of(model: Model) -> PackingFit:
    """Try a model's packed pass against its own attention on a small copy.

    The outcome is remembered by the content of the model's config.

    Raises:
        UserError: no attention here gives the model's own forward pass.
    """
    config = config_of(model)
    name = digest([config.to_dict(), version("transformers"), version("torch"), _source_digest()])
    memory = cache_folder() / "architectures" / f"{name}.json"
    memory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{memory}.lock"):  # all ranks ask at once
        if not memory.exists():
            write_json(memory, asdict(try_config(config)))
    fit = PackingFit(**read_json(memory))
    if not fit.attention:
        raise UserError(f"model={model.name} cannot be trained here: {fit.reason}")
    return fit


def config_of(model: Model) -> Any:
    """Read a model's config, from its folder or the hub.

    Raises:
        UserError: it cannot be had, or names a kind of network that transformers does not know.
    """
    source, extra = locate(model)
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False, **extra)
    except (OSError, ValueError) as error:
        raise UserError(
            f"model={model.name}: no config at {source}: {one_line(error)[:200]}"
        ) from error


def _source_digest() -> str:
    """Return a digest of the code that a verdict depends on."""
    paths = (Path(packing.__file__), Path(inspect.getfile(fit_of)))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def small_copy(config: Any) -> Any:
    """Make a narrow config of the same kind, with two layers of each type and short windows."""
    values = copy.deepcopy(config).to_dict()
    _shrink(values)
    return type(config).from_dict(values)


def _shrink(values: dict[str, Any]) -> None:
    """Make the sizes of a config small, in place; those of its text and picture parts too."""
    for nested in values.values():
        if isinstance(nested, dict) and "model_type" in nested:
            _shrink(nested)
    _shrink_key_heads(values)
    _shrink_layers(values)
    for name, size in SIZES.items():
        if isinstance(values.get(name), int) and not isinstance(values[name], bool):
            values[name] = size
    if "head_dim" in values and values["head_dim"] is None:
        values["head_dim"] = SIZES["head_dim"]
    _shrink_token_ids(values)
    for name, value in values.items():
        if isinstance(value, float) and any(sign in name for sign in CHANCE):
            values[name] = 0.0
    _shrink_rotations(values)
    values.pop("quantization_config", None)  # a quantised original has the same network
    values.pop("dtype", None)


def _shrink_key_heads(values: dict[str, Any]) -> None:
    """Keep whether key heads are shared: as many as heads, or half as many."""
    heads = _first_set(values, HEADS)
    for name in KEY_HEADS:
        if isinstance(values.get(name), int):
            values[name] = SMALL_HEADS if values[name] == heads else SMALL_KEY_HEADS


def _first_set(values: dict[str, Any], names: Sequence[str]) -> Any:
    """Return the first of the named values that is neither missing, None nor 0."""
    for name in names:
        if values.get(name):
            return values[name]
    return None


def _shrink_token_ids(values: dict[str, Any]) -> None:
    """Move begin, end, padding and other tokens into the small vocabulary."""
    for name, value in values.items():
        if value is None:
            continue
        if name.endswith("token_index"):
            values[name] = VOCABULARY - 1
        elif name.startswith("eos") and name.endswith("token_id"):
            values[name] = 2
        elif name.startswith("bos") and name.endswith("token_id"):
            values[name] = 1
        elif name.endswith("token_id"):
            values[name] = 0


def _shrink_layers(values: dict[str, Any]) -> None:
    """Keep the first two layers of each type, in their order."""
    count = next((values[name] for name in LAYERS if isinstance(values.get(name), int)), 0)
    small_layers = _small_layers(values, count)
    for name, value in list(values.items()):
        if isinstance(value, list) and count and len(value) == count:  # one entry for each layer
            values[name] = [value[layer] for layer in small_layers]
    for name in LAYERS:
        if isinstance(values.get(name), int):
            values[name] = len(small_layers)


def _small_layers(values: dict[str, Any], count: int) -> list[int]:
    """Choose the layers, out of `count`, that stand for all in the small copy."""
    type_lists = [values[name] for name in TYPES if isinstance(values.get(name), list)]
    if type_lists and type_lists[0]:
        layers = []
        seen: Counter[tuple[Any, ...]] = Counter()
        for layer, types in enumerate(zip(*type_lists, strict=False)):
            seen[types] += 1
            if seen[types] <= 2:
                layers.append(layer)
        return layers
    if values.get("attn_layer_period"):
        return list(range(4))  # every second one is of attention in the small copy
    if values.get("layer_types", 0) is None or "sliding_window_pattern" in values:
        return list(range(min(count, 2 * int(values.get("sliding_window_pattern") or 1))))
    return list(range(min(2, count)))


def _shrink_rotations(values: dict[str, Any]) -> None:
    """Cut factors that stand for each rotated pair of a head's numbers to the small heads.

    Phi-3's long rotations have such factors.
    """
    head = values.get("head_dim") or SIZES["hidden_size"] // SMALL_HEADS
    for name in ("rope_scaling", "rope_parameters"):
        entries = values.get(name)
        if not isinstance(entries, dict):
            continue
        nested = [entry for entry in entries.values() if isinstance(entry, dict)]
        for entry in nested or [entries]:
            share = entry.get("partial_rotary_factor") or values.get("partial_rotary_factor") or 1.0
            pairs = int(head * share) // 2
            for key in ("short_factor", "long_factor"):
                if isinstance(entry.get(key), list):
                    entry[key] = entry[key][:pairs]


def small_network(config: Any) -> Any:
    """Build a small copy in float32, with random weights that are always the same.

    Its attention is the plain one of transformers.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small = small_copy(config)
        network = network_class(small).from_config(
            small, attn_implementation="eager", dtype=torch.float32, trust_remote_code=False
        )
        with torch.no_grad():
            for name, weight in network.named_parameters():
                if "sink" in name:
                    weight.fill_(1.0)
                elif weight.dim() > 1:
                    weight.normal_(0, 0.15)
    return network.train()  # as it is trained; the copy has no dropout


def texts() -> list[Encoded]:
    """Draw the texts a model is tried on: random tokens, all but the first ten trained."""
    draws = torch.Generator().manual_seed(0)
    examples = []
    for length in LENGTHS:
        ids = torch.randint(3, VOCABULARY, (length,), generator=draws).tolist()
        trained = [False] * 10 + [True] * (length - 10)
        examples.append(Encoded(tuple(ids), tuple(trained), cut=False))
    return examples


@torch.no_grad()
def try_config(config: Any) -> PackingFit:
    """Find the first way of training that gives a model's own log-probabilities.

    Tried in this order: conversations packed with this project's attention; one conversation a pass
    with PyTorch's attention; the same with the plain one. `attention` is empty if none does.
    """
    examples = texts()
    try:
        network = small_network(config)
        expected = torch.cat([_model_scores(network, example) for example in examples])
    except Exception as error:
        # Configs are of hundreds of kinds. Whatever does not shrink is not known to be right.
        return _no_fit(f"no small copy of {config.model_type} can be made: {one_line(error)[:150]}")
    differences: dict[str, float] = {}
    faults: dict[str, str] = {}
    for attention in (SEGMENTS, "sdpa", "eager"):
        try:
            network.set_attn_implementation(attention)
            scores = _training_scores(network, examples, packed=attention == SEGMENTS)
            leak = _leak(network, *examples) if attention == SEGMENTS else 0.0
        except Exception as error:
            # The network does not take this attention, or does not know one of its arguments.
            faults[attention] = one_line(error)[:100]
            continue
        difference = (scores - expected).abs().max().item()
        if difference <= TOLERANCE and leak <= LEAK:
            differences[attention] = difference
        else:
            faults[attention] = f"log-probabilities {max(difference, leak):.2g} nats from its own"
    own_attention = next((name for name in ("sdpa", "eager") if name in differences), "")
    if not own_attention:
        return _no_fit(f"no forward pass here equals its own ({'; '.join(faults.values())})")
    attention = SEGMENTS if SEGMENTS in differences else own_attention
    return PackingFit(attention, own_attention, differences[attention], faults.get(SEGMENTS, ""))


def _no_fit(reason: str) -> PackingFit:
    return PackingFit(attention="", own_attention="", difference=float("inf"), reason=reason)


def _model_scores(network: Any, example: Encoded) -> torch.Tensor:
    """Return log-probabilities of all tokens at each trained place, as the model computes them."""
    logits = network(input_ids=torch.tensor([example.ids]), use_cache=False).logits[0]
    before_trained = [index - 1 for index, flag in enumerate(example.trained) if flag]
    return logits[before_trained].log_softmax(-1)


def _training_scores(network: Any, examples: Sequence[Encoded], packed: bool) -> torch.Tensor:
    """Return the same from the passes that training makes: one of all, or one for each example."""
    if packed:
        return _pass_scores(network, examples, packed=True)
    return torch.cat([_pass_scores(network, [example], packed=False) for example in examples])


def _pass_scores(network: Any, batch: Sequence[Encoded], packed: bool) -> torch.Tensor:
    """Return log-probabilities at the trained places of one training pass.

    Raises:
        ValueError: the network does not give logits at the trained places alone.
    """
    inputs = collator(0, packed)(batch)
    labels: Any = inputs.pop("labels")
    logits = network(**inputs, use_cache=False).logits[0]
    if len(logits) != labels.shape[1] - 1:
        raise ValueError("it gives logits at all places, not at those asked for")
    return logits.log_softmax(-1)


def _leak(network: Any, before: Encoded, example: Encoded) -> float:
    """Measure how far a text's log-probabilities change with the text before it, in nats."""
    reversed_before = Encoded(before.ids[::-1], before.trained, cut=False)
    count = sum(example.trained)
    scores = _pass_scores(network, [before, example], packed=True)[-count:]
    other_scores = _pass_scores(network, [reversed_before, example], packed=True)[-count:]
    return (other_scores - scores).abs().max().item()


def refuse_unknown_targets(network: nn.Module, targets: Iterable[str] | str) -> None:
    """Check that every name of a layer to adapt is one of the network's.

    Raises:
        UserError: naming those that are not there, and the layers that are.
    """
    names = [targets] if isinstance(targets, str) else sorted(targets)
    modules = [name for name, _ in network.named_modules() if not re.fullmatch(NO_TEXT, name)]
    unknown = [name for name in names if name != ALL_LINEAR and not _is_layer(name, modules)]
    if not unknown:
        return
    verb = "is no layer" if len(unknown) == 1 else "are no layers"
    raise UserError(
        f"model.lora_targets: {', '.join(unknown)} {verb} of this network; its linear layers are: "
        f"{', '.join(linear_layers(network))} (or {ALL_LINEAR})"
    )


def _is_layer(name: str, modules: Sequence[str]) -> bool:
    """Tell whether PEFT finds a layer by this name: a module's whole path, or its end."""
    return any(module == name or module.endswith(f".{name}") for module in modules)


def linear_layers(network: nn.Module) -> list[str]:
    """List the names of the layers that an adapter fits, without the one that makes the logits."""
    head = getattr(network, "get_output_embeddings", lambda: None)()
    names = set()
    for name, module in network.named_modules():
        is_linear = isinstance(module, nn.Linear | Conv1D) and module is not head
        if is_linear and not re.fullmatch(NO_TEXT, name):
            names.add(name.rpartition(".")[2])
    return sorted(names)


def check_targets(model: Model) -> None:
    """Check the layers to adapt on a small copy, before real weights are loaded.

    Raises:
        UserError: a name of `model.lora_targets` is none of the network's.
    """
    if model.lora_targets:
        refuse_unknown_targets(small_network(config_of(model)), model.lora_targets)
