"""What an interrupted run continues from: weights and optimiser state by name, for any ranks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from warmth.errors import UserError
from warmth.store import read_json, write_json

COMPLETE = "complete"  # written into a resume checkpoint once every rank has saved its part
STATE = "learnt.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq")


# what has to be the same when a run continues: key of `origin.json` → its name
ORIGIN = {
    "base": "base model",
    "revision": "revision of the base model",
    "data": "conversations",
}


def last_resume(folder: Path) -> str | None:
    """Find the newest resume checkpoint that is whole."""
    checkpoints = [path.parent for path in (folder / "resume").glob(f"checkpoint-*/{COMPLETE}")]
    newest = max(checkpoints, key=lambda path: int(path.name.split("-")[1]), default=None)
    return str(newest) if newest else None


def refuse_other_origin(folder: Path, origin: dict[str, Any], writes: bool) -> None:
    """Note down what a run is trained from and on; a run that continues must find the same.

    Raises:
        UserError: the base model or the conversations are others than those the run began with.
    """
    path = folder / "resume" / "origin.json"
    if path.exists():
        begun = read_json(path)
        for key, subject in ORIGIN.items():
            if begun.get(key) != origin[key]:
                raise UserError(
                    f"{folder.name} began with another {subject} "
                    f"({begun.get(key)}, now {origin[key]}); "
                    f"to start again remove {folder / 'resume'}"
                )
    elif writes:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, origin)


def learnt(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and weight of all that learns, in a fixed order."""
    inner = getattr(model, "module", model)
    for name, weight in inner.named_parameters():
        if weight.requires_grad:
            yield name, weight


def gathered(weights: list[Any], writer: int | None = None) -> Any:
    """Gather all of each weight on every rank, if ZeRO-3 holds only a part there.

    Changes that the rank `writer` makes inside are passed on to the others.
    """
    if weights and hasattr(weights[0], "ds_id"):
        import deepspeed

        return deepspeed.zero.GatheredParameters(weights, modifier_rank=writer)
    return contextlib.nullcontext()


def master(weight: Any) -> Tensor:
    """Return a weight that learns, whole and exact: DeepSpeed's float32 value if there is one.

    Under ZeRO 1 to 3 in bfloat16 the weight itself is a rounded copy. Every rank calls it.
    """
    if not (hasattr(weight, "_z3_optimizer") or hasattr(weight, "_hp_mapping")):
        return weight
    from deepspeed.utils import safe_get_full_fp32_param

    return safe_get_full_fp32_param(weight)


def save_state(model: Any, optimizer: Any, folder: Path, writes: bool) -> None:
    """Write weights, both moments and the step count of all that learns, in float32.

    Every rank calls it.
    """
    state: dict[str, Tensor] = {}
    zero = zero_optimizer(model)
    # Set after the first step of its first group, when later groups have no moments yet.
    if hasattr(zero, "_hp_optimizer_states_linked"):
        zero._hp_optimizer_states_linked = False
        zero._lazy_init_hp_params_optimizer_state()
    for name, weight in learnt(model):
        values = read_values(model, optimizer, weight)
        if not writes:
            continue
        for kind, value in values.items():
            state[f"{kind}/{name}"] = value.detach().to("cpu", torch.float32).clone()
    if writes:
        state["step"] = torch.tensor(float(optimiser_step(model, optimizer)))
        save_file(state, folder / STATE)


def load_state(model: Any, optimizer: Any, folder: Path) -> None:
    """Put a saved state in place, whatever ranks and ZeRO stage wrote it. Every rank calls it."""
    state = load_file(folder / STATE)
    create_moments(model, optimizer, float(state["step"]))
    for name, weight in learnt(model):
        values = {kind: state[f"{kind}/{name}"] for kind in ("weight", *MOMENTS)}
        write_values(model, optimizer, weight, values)


def zero_optimizer(model: Any) -> Any:
    """Return DeepSpeed's ZeRO optimizer around PyTorch's.

    None if weights and moments are whole on each rank.
    """
    inner = getattr(model, "optimizer", None)
    return inner if hasattr(inner, "optimizer") and hasattr(model, "module") else None


def flat_parts(zero: Any) -> list[Any]:
    """List the float32 vectors that this rank's part of all weights lies in."""
    partitions = getattr(zero, "fp32_partitioned_groups_flat", None)
    return list(partitions or zero.single_partition_of_fp32_groups)


def torch_optimizer(model: Any, optimizer: Any) -> Any:
    """Return PyTorch's optimizer under all wrappers."""
    zero = zero_optimizer(model)
    inner = optimizer if zero is None else zero.optimizer
    while not isinstance(inner, torch.optim.Optimizer) or hasattr(inner, "optimizer"):
        inner = inner.optimizer
    return inner


def optimiser_step(model: Any, optimizer: Any) -> float:
    """Read how many steps the optimiser has taken."""
    entries = torch_optimizer(model, optimizer).state.values()
    return max((float(entry["step"]) for entry in entries), default=0.0)


def create_moments(model: Any, optimizer: Any, step: float) -> None:
    """Make the optimiser's entries, which it would make in its first step."""
    zero = zero_optimizer(model)
    inner = torch_optimizer(model, optimizer)
    if zero is None:
        holders = [weight for _, weight in learnt(model)]
    else:
        holders = flat_parts(zero)
    for holder in holders:
        entry = {"step": torch.tensor(step)}
        for kind in MOMENTS:
            entry[kind] = torch.zeros_like(holder.data, dtype=torch.float32)
        inner.state[holder] = entry
    if hasattr(zero, "_lazy_init_hp_params_optimizer_state"):
        zero._lazy_init_hp_params_optimizer_state()


def read_values(model: Any, optimizer: Any, weight: Any) -> dict[str, Tensor]:
    """Read a weight and its two moments, whole."""
    if zero_optimizer(model) is None:
        entry = torch_optimizer(model, optimizer).state[weight]
        return {"weight": weight, **{kind: entry[kind] for kind in MOMENTS}}
    from deepspeed.utils import safe_get_full_optimizer_state

    values = {"weight": master(weight)}
    for kind in MOMENTS:
        values[kind] = safe_get_full_optimizer_state(weight, kind)
    return values


def write_values(model: Any, optimizer: Any, weight: Any, values: dict[str, Tensor]) -> None:
    """Put a weight and its moments where its owner keeps them."""
    zero = zero_optimizer(model)
    if zero is None:
        entry = torch_optimizer(model, optimizer).state[weight]
        for kind in MOMENTS:
            entry[kind].copy_(values[kind].reshape(entry[kind].shape))
    elif hasattr(weight, "ds_id"):
        for kind in (None, *MOMENTS):
            partition, _ = zero._get_fp32_opt_state_partition(
                weight, release_swap_buffers=False, optim_state_key=kind
            )
            flat = values[kind or "weight"].flatten()
            start = partition.numel() * zero._get_param_partition_rank(weight)
            stop = start + partition.numel()
            # The end of the weight may not fill the last rank's part.
            padded = F.pad(flat, (0, max(0, stop - flat.numel())))
            partition.data.copy_(padded[start:stop])
    else:
        for kind in (None, *MOMENTS):
            weight.set_full_hp_param(values[kind or "weight"].to(weight.device), kind)
    with gathered([weight], writer=0), torch.no_grad():
        weight.data.copy_(values["weight"].reshape(weight.shape))
