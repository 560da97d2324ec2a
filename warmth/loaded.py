"""The models that stay loaded between the jobs of a process, and the GPUs that each of them lies
on.

Each purpose keeps one: what answers, what scores warmth, what judges. The last one of a purpose is
freed before its next is loaded, and the others are if there is no room beside them. torch is
imported here.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from warmth import devices
from warmth.errors import UserError
from warmth.memory import GIB
from warmth.models import count_parameters, load_model
from warmth.schemas import Model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WHOLE_LAYERS = (
    1.05  # a layer is not cut, so GPUs that share a model cannot be filled to the last byte
)
SLACK = 1.0 * GIB  # of each GPU, left to workspaces and fragments
_models: dict[str, tuple[str, PreTrainedModel]] = {}  # by purpose: which model it is, and the model


def load_once(model: Model, dtype: torch.dtype, purpose: str, room: float = 0.0) -> PreTrainedModel:
    """Return a model ready to read, the one in memory if it is the same.

    Args:
        model: which one.
        dtype: of its weights.
        purpose: such as `answers`; each keeps one model.
        room: bytes that will be needed beside the weights.

    Raises:
        UserError: it cannot be found, or it does not fit the GPUs.
    """
    key = json.dumps([asdict(model), str(dtype)])
    same = [name for name, (loaded_key, _) in _models.items() if loaded_key == key]
    if same:
        return _models[same[0]][1]
    free(purpose)
    if not fits_beside_others(model, dtype, room):
        free()
    where = placement(model, dtype, room)
    _models[purpose] = key, load_quietly(model, dtype, where)
    return _models[purpose][1]


def free(purpose: str | None = None) -> None:
    """Forget the model of a purpose, or all, and give its memory back before anything else is
    loaded.
    """
    purposes = [purpose] if purpose else list(_models)
    for name in purposes:
        _models.pop(name, None)
    gc.collect()  # adapters that came and went leave circles of references
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def load_quietly(model: Model, dtype: torch.dtype, where: dict[str, Any]) -> PreTrainedModel:
    """Load a model without the library's progress bar, which would tear our own progress lines."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    return load_model(model, dtype, **where).eval()


def fits_beside_others(model: Model, dtype: torch.dtype, room: float) -> bool:
    """Say whether a model fits in what the models in memory have left."""
    if not _models:
        return True
    free_bytes = devices.free_bytes()
    if not free_bytes:
        return True  # the system does not tell
    return weight_bytes(model, dtype) + room + SLACK <= max(free_bytes)


def placement(model: Model, dtype: torch.dtype, room: float = 0.0) -> dict[str, Any]:
    """Choose where a model lies: one GPU if it fits there, else as few as hold it. Nothing goes to
    main memory.

    Returns:
        Options for `from_pretrained`; none on a CPU.

    Raises:
        UserError: the weights do not fit all GPUs together.
    """
    if not torch.cuda.is_available():
        return {}
    free_bytes = [max(0.0, free - SLACK) for free in devices.free_bytes()]
    weights = weight_bytes(model, dtype)
    for number, available in enumerate(free_bytes):
        if weights + room <= available:
            return {"device_map": {"": number}}
    if weights > sum(free_bytes):
        raise UserError(
            f"model={model.name} has {weights / GIB:.1f} GiB of weights in "
            f"{str(dtype).removeprefix('torch.')}, but "
            f"{sum(free_bytes) / GIB:.1f} GiB are free on {len(free_bytes)} GPUs; give it more "
            f"GPUs, or a smaller model"
        )
    if len(free_bytes) == 1:
        # the weights fit; a smaller engine.batch_size makes the rest fit
        return {"device_map": {"": 0}}
    number = enough(free_bytes, WHOLE_LAYERS * (weights + room))
    limits = {gpu: int(free_bytes[gpu] - room / number) for gpu in range(number)}
    return {"device_map": "auto", "max_memory": limits}


def enough(free_bytes: Sequence[float], needed: float) -> int:
    """Count the first GPUs that have so many bytes together; all of them if they have not."""
    total = 0.0
    for number, available in enumerate(free_bytes, 1):
        total += available
        if total >= needed:
            return number
    return len(free_bytes)


def weight_bytes(model: Model, dtype: torch.dtype) -> float:
    """Count the bytes of a model's weights, from its configuration alone."""
    return float(count_parameters(model) * dtype.itemsize)
