"""Where a model's weights come from, and how they are loaded: embedded package, local folder or
hub.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import timeit
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from warmth import devices
from warmth.digest import EMBEDDED_FILE, cache_folder, digest, embedded_file, find_file, path_digest
from warmth.errors import UserError, one_line
from warmth.hub import fetch, hub_line, is_refusal
from warmth.schemas import Model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def locate(model: Model, weights: bool = True) -> tuple[str, dict[str, Any]]:
    """Say what to hand to `from_pretrained`: a folder or hub id, and the revision; a folder need
    not hold `weights`.

    Raises:
        UserError: a local folder without config, tokenizer or safetensors weights; a model that
        only an API serves.
    """
    if model.path:
        return str(_checked_folder(Path(model.path), weights)), {}
    if model.kind == "embedded":
        return str(embedded_folder()), {}
    if model.kind == "api" or not model.hub_id:
        raise UserError(
            f"model={model.name} is served by an API; it cannot be loaded in this process"
        )
    return model.hub_id, {"revision": model.revision} if model.revision else {}


def _checked_folder(folder: Path, weights: bool) -> Path:
    if not folder.is_dir():
        raise UserError(f"model.path={folder} is not a folder")
    if weights and not (folder / "config.json").exists():
        raise UserError(f"model.path={folder} holds no config.json")
    if not any(
        (folder / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")
    ):
        raise UserError(
            f"model.path={folder} holds no tokenizer (tokenizer.json, tokenizer.model or "
            f"vocab.json)"
        )
    if weights and not any((folder / name).exists() for name in WEIGHTS):
        raise UserError(
            f"model.path={folder} holds no safetensors weights ({' or '.join(WEIGHTS)})"
        )
    return folder


def embedded_folder() -> Path:
    """SmolLM2-135M-Instruct (Q4_1, dequantised to float32) as an ordinary model folder, converted
    once and cached.
    """
    source = embedded_file()
    target = cache_folder() / "models" / f"smollm2-{path_digest(source)}"
    if (target / "done").exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(target) + ".lock"):
        if not (target / "done").exists():
            _convert(source, target)
    return target


def _convert(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=EMBEDDED_FILE)
    # dequantize=True: otherwise the unpacked model stays flagged as quantised and cannot be saved
    weights = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=EMBEDDED_FILE,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    weights.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    (partial / "done").touch()
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def hub_file(model: Model, name: str) -> Path:
    """Find one file of a hub model: in the local cache, else fetched from the hub.

    Raises:
        UserError: the file could not be had; the line names it and the model.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(str(model.hub_id), name, revision=model.revision))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        if is_refusal(error) or is_refusal(error.__cause__):
            raise UserError(hub_line(model, error)) from error
        where = f"{model.hub_id}@{model.revision}" if model.revision else str(model.hub_id)
        raise UserError(
            f"model={where}: {name} is not in the local cache and could not be fetched "
            f"({one_line(error)[:160]})"
        ) from error


def are_weights_there(model: Model) -> bool:
    """Tell whether a model's weights are on this machine, or its hub can be asked for them; nothing
    is fetched.

    Raises:
        UserError: a local folder without config, tokenizer or weights; a model that only an API
        serves.
    """
    source, extra = locate(model)
    if model.path or model.kind == "embedded":
        return True
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    revision = extra.get("revision")
    if any(
        isinstance(try_to_load_from_cache(source, name, revision=revision), str) for name in WEIGHTS
    ):
        return True
    try:
        return any(HfApi().file_exists(source, name, revision=revision) for name in WEIGHTS)
    except (HfHubHTTPError, OSError, ValueError, RuntimeError):  # offline, gated, or no such model
        return False


def load_tokenizer(
    model: Model, chat: bool = True, weights: bool = True
) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer, with the configured chat template if there is one.

    Args:
        model: with `tokenizer` if it is not its own.
        chat: it must have a chat template.
        weights: a local folder must hold the model's weights too.

    Raises:
        UserError: no tokenizer is found, or it has no chat template though it is to `chat`; a
        scorer need not.
    """
    from transformers import AutoTokenizer

    source, extra = (model.tokenizer, {}) if model.tokenizer else locate(model, weights)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **extra)
    except (OSError, ValueError) as error:
        raise UserError(
            f"model={model.name}: no tokenizer at {source}: {one_line(error)[:200]}"
        ) from error
    if model.chat_template:
        tokenizer.chat_template = find_file(model.chat_template).read_text(encoding="utf-8")
    if chat and not tokenizer.chat_template:
        raise UserError(
            f"model={model.name}: the tokenizer has no chat template; set model.chat_template=FILE"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(model: Model, dtype: torch.dtype, **options: Any) -> PreTrainedModel:
    """Load a model's weights in one dtype, on the CPU unless `options` say otherwise.

    Raises:
        UserError: the weights cannot be found or reached.
    """
    from transformers import AutoConfig

    source, extra = locate(model)
    fetch(model)
    keep_memory()
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **extra)
        return network_class(config).from_pretrained(
            source,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            **extra,
            **whole_numbers(config),
            **options,
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"model={model.name}: weights at {source} cannot be loaded: {one_line(error)[:200]}"
        ) from error


def network_class(config: Any) -> Any:
    """Return the class of transformers that loads a network which writes text; pictures it may read
    are left unused.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    if (
        type(config) not in AutoModelForCausalLM._model_mapping
        and type(config) in AutoModelForImageTextToText._model_mapping
    ):
        return AutoModelForImageTextToText
    return AutoModelForCausalLM


def whole_numbers(config: Any) -> dict[str, Any]:
    """Return options of `from_pretrained` that unpack weights in 4-bit floats (gpt-oss), which
    cannot learn.
    """
    published = getattr(config, "quantization_config", None) or {}
    method = (
        published.get("quant_method")
        if isinstance(published, dict)
        else getattr(published, "quant_method", None)
    )
    if method != "mxfp4":
        return {}
    from transformers import Mxfp4Config

    return {"quantization_config": Mxfp4Config(dequantize=True)}


def count_parameters(model: Model) -> int:
    """Count a model's parameters from its configuration alone; no weights are read.

    Raises:
        UserError: the configuration cannot be found or reached.
    """
    import torch
    from transformers import AutoConfig

    source, extra = locate(model)
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **extra)
    except (OSError, ValueError) as error:
        raise UserError(
            f"model={model.name}: no configuration at {source}: {one_line(error)[:200]}"
        ) from error
    with torch.device("meta"):
        return network_class(config).from_config(config, trust_remote_code=False).num_parameters()


def choose_dtype(precision: str | None) -> torch.dtype:
    """Choose a dtype by name; `auto` or None is bfloat16 if this device multiplies it faster than
    float32.
    """
    import torch

    if precision not in (None, "auto"):
        return getattr(torch, precision)
    if devices.pretended():
        return torch.bfloat16
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if _bfloat16_pays() else torch.float32


def _bfloat16_pays() -> bool:
    """Tell whether this CPU multiplies bfloat16 clearly faster than float32: measured once, then
    remembered.

    The instruction set does not tell: of two processors with avx512_bf16, one was 4 times faster
    than in float32 and one half as fast. A cached verdict keeps every run of one machine in one
    precision.
    """
    import torch

    memory = _bfloat16_verdict(torch.__version__)
    if not memory.exists():
        times = {dtype: multiply_seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
        memory.write_text(str(times[torch.float32] > 1.3 * times[torch.bfloat16]))
    return memory.read_text() == "True"


def remembered_bfloat16() -> bool | None:
    """Return what `auto` follows on this CPU, without importing torch; None before it was
    measured.
    """
    memory = _bfloat16_verdict(version("torch"))
    return memory.read_text() == "True" if memory.exists() else None


def _bfloat16_verdict(torch_version: str) -> Path:
    cpu = [line for line in _cpu_info() if line.startswith(("model name", "flags"))][:2]
    return cache_folder() / f"bfloat16-{digest([cpu, torch_version])}"


def _cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else [platform.processor()]


def multiply_seconds(dtype: torch.dtype) -> float:
    """Measure the best time of two products of 1024 × 1024 matrices, in seconds."""
    import torch

    left = torch.ones(1024, 1024, dtype=dtype)
    right = torch.ones(1024, 1024, dtype=dtype)
    return min(timeit.repeat(lambda: left @ right, number=2, repeat=7))


def keep_memory() -> None:
    """Tell glibc to keep freed memory for the next tensor of the same size instead of handing it
    back to the kernel.

    A training step allocates the same hundreds of megabytes again and again; on virtual machines
    the page faults cost as much as the arithmetic (a step of SmolLM2 took 1.3 to 2 times as long
    without this). Elsewhere it does nothing.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap too
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: and stay there
