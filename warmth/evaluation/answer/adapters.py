"""Adapters at a dose, or between two, as one ordinary adapter folder: for engines that can only
load such.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from warmth.digest import cache_folder, digest, path_digest
from warmth.errors import UserError
from warmth.store import read_json

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def check_file(folder: Path) -> None:
    """Check that a LoRA adapter's file is whole, before anything heavy is loaded.

    Reads the header alone: a safetensors file begins with the header's length (8 bytes) and the
    header, a JSON object that says where each tensor lies.

    Raises:
        UserError: the folder has no safetensors file, it is cut off, or it holds no low-rank
        factors.
    """
    if not (folder / CONFIG).exists():
        return  # a whole model, of recipe.method=full
    file = folder / WEIGHTS
    if not file.is_file():
        raise UserError(f"{folder} holds no {WEIGHTS}; only safetensors are read")
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, file.stat().st_size)))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = max(entry["data_offsets"][1] for entry in tensors.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} is damaged: its header cannot be read; train this arm again with rerun=all"
        ) from error
    if file.stat().st_size != 8 + length + end:
        raise UserError(f"{file} is cut off or too long; train this arm again with rerun=all")
    if not any(".lora_A." in name for name in tensors):
        raise UserError(
            f"{file} holds no low-rank factors (names with .lora_A.): it would adapt nothing"
        )


def check_placed(tuned: Any, name: str, folder: Path) -> None:
    """Check that a loaded adapter is the file's: every tensor in its place, none missing, every
    number finite.

    Args:
        tuned: the PEFT model.
        name: the adapter's name in it.
        folder: where the adapter was read.

    Raises:
        UserError: the adapter would adapt nothing, or only a part.
    """
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    placed = get_peft_model_state_dict(tuned, adapter_name=name)
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        stored = set(file.keys())
    strange = sorted(stored - placed.keys())
    missing = sorted(placed.keys() - stored)
    if strange or missing:
        example = strange[0] if strange else missing[0]
        raise UserError(
            f"{folder / WEIGHTS} does not fit this model: {len(strange)} tensors have no place in "
            f"it, "
            f"{len(missing)} of its own are missing; for example {example}"
        )
    broken = [key for key, tensor in placed.items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(
            f"{folder / WEIGHTS} holds numbers that are not finite, in {broken[0]}; train this "
            f"arm again"
        )


def blend(adapters: Sequence[tuple[Path, float]]) -> Path:
    """Return a folder whose adapter adds the weighted sum of these, exactly: their low-rank factors
    stand side by side.

    Scales and weights go into the second factor, so the sum has alpha = rank and no scale of its
    own.

    Raises:
        UserError: a folder holds no LoRA adapter, or the adapters act on different layers.
    """
    if len(adapters) == 1 and adapters[0][1] == 1.0:
        return adapters[0][0]
    determining = [[path_digest(path), weight] for path, weight in adapters]
    folder = cache_folder() / "adapters" / digest(determining)
    if (folder / CONFIG).exists():
        return folder
    from safetensors.torch import load_file, save_file
    from torch import Tensor, cat

    config = _config(adapters[0][0])
    rank = 0
    factors: dict[str, list[Tensor]] = {}
    for number, (path, weight) in enumerate(adapters):
        own_config = _config(path)
        scale = weight * own_config["lora_alpha"] / own_config["r"]
        rank += own_config["r"]
        weights = load_file(path / WEIGHTS)
        if number and weights.keys() != factors.keys():
            raise UserError(
                f"{adapters[0][0]} and {adapters[-1][0]} adapt different layers: there is nothing "
                f"between them"
            )
        for name, factor in weights.items():
            is_first_factor = ".lora_A." in name
            factors.setdefault(name, []).append(factor if is_first_factor else scale * factor)
    summed: dict[str, Tensor] = {}
    for name, tensors in factors.items():
        summed[name] = cat(tensors, dim=0 if ".lora_A." in name else 1)
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    partial.mkdir(parents=True, exist_ok=True)
    save_file(summed, partial / WEIGHTS)
    (partial / CONFIG).write_text(json.dumps({**config, "r": rank, "lora_alpha": rank}))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def whole_model(adapters: Sequence[tuple[Path, float]]) -> Path | None:
    """Find the checkpoint that is a whole model (recipe.method=full) rather than an adapter; None
    if all are adapters.

    Raises:
        UserError: it is to be scaled, or to be added to another.
    """
    for folder, weight in adapters:
        if (folder / "config.json").exists() and not (folder / CONFIG).exists():
            if len(adapters) > 1 or weight != 1.0:
                raise UserError(
                    f"a dose scales an adapter; {folder} is a whole model (recipe.method=full)"
                )
            return folder
    return None


def rank_of(adapters: Sequence[tuple[Path, float]]) -> int:
    """Count the rank of the adapter that `blend` makes of these: theirs add up. 0 if there is
    none.
    """
    total = 0
    for folder, _ in adapters:
        config = read_json(folder / CONFIG)
        total += max([int(config["r"]), *config.get("rank_pattern", {}).values()])
    return total


def _config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / CONFIG)
    if config.get("peft_type") != "LORA" or config.get("use_rslora") or config.get("use_dora"):
        raise UserError(
            f"{folder} is no plain LoRA adapter; its dose cannot be had with this engine"
        )
    return config
