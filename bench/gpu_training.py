"""Training parts of `bench/gpu.py`: bf16 stages with save and resume, speed of an 8B shape, memory
and its forecast.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from gpu import Setting
from hydra import compose, initialize_config_dir

from warmth.chat import Encoded
from warmth.config import strict
from warmth.digest import ROOT
from warmth.memory import GIB, ModelShape, shape_of, training_memory
from warmth.models import load_tokenizer
from warmth.schemas import Model, Train, register
from warmth.store import read_rows
from warmth.training.architecture import fit_of
from warmth.training.lora import shorten
from warmth.training.packing import SEGMENTS, collator, token_loss
from warmth.training.weights import load_trained

PEAK = {
    "H100": 989e12,
    "H200": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
}  # dense bfloat16 operations a second
CONVERSATION = 600  # tokens; the study's have some 620
TINY = ModelShape(
    layers=2, width=64, heads=4, key_heads=2, head_size=16, inner=128, vocabulary=512, tied=True
)
MISSED = 1e-3  # largest difference of a loss between stages


def study_of(*overrides: str) -> Train:
    """Compose a training as `train.py` does."""
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return strict(compose("train", ["logger=none", "recipe=warm", *overrides]), Train)


def config_of(shape: ModelShape) -> Any:
    """Return the Llama of a shape."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        head_dim=shape.head_size,
        max_position_embeddings=8192,
        tie_word_embeddings=shape.tied,
    )


def shape_for(setting: Setting, layers: int | None = None) -> ModelShape:
    """Return the shape of Llama 3.1 8B, with fewer layers if so asked; a tiny one for tests."""
    if setting.tiny:
        return TINY
    shape = shape_of(study_of("model=llama8b", "launcher=local").model)
    assert shape is not None
    return shape if layers is None else replace(shape, layers=layers)


def random_model(shape: ModelShape, device: str) -> Any:
    """Make a Llama with random weights in bfloat16 on the device, without a copy in main memory."""
    from transformers import LlamaForCausalLM

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return LlamaForCausalLM._from_config(config_of(shape), attn_implementation=SEGMENTS)
    finally:
        torch.set_default_dtype(before)


def conversations(tokens: int, vocabulary: int) -> list[Encoded]:
    """Make conversations of random tokens that fill a pass; half of each is trained."""
    sizes = [CONVERSATION] * (tokens // CONVERSATION)
    if tokens % CONVERSATION > 1:
        sizes.append(tokens % CONVERSATION)
    generator = torch.Generator().manual_seed(0)
    rows = []
    for size in sizes:
        ids = torch.randint(0, vocabulary, (size,), generator=generator).tolist()
        rows.append(Encoded(ids, [place >= size // 2 for place in range(size)], cut=False))
    return rows


def on_device(batch: dict[str, Any], device: str) -> dict[str, Any]:
    """Move a pass's tensors."""
    return {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }


def one_step(model: Any, batch: dict[str, Any], optimizer: torch.optim.Optimizer) -> float:
    """Take one optimiser step on one pass, as a rank does; returns the loss per token in nats."""
    labels = batch["labels"]
    given = {name: value for name, value in batch.items() if name != "labels"}
    with torch.autocast(labels.device.type, dtype=torch.bfloat16):
        loss = token_loss(model(**given, use_cache=False), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def wait(device: str) -> None:
    """Wait until the device has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


def train_command(setting: Setting, name: str, *overrides: str) -> list[str]:
    """Return the command line of a short training of the embedded model, or of a tiny one in
    tests.
    """
    model = [f"model.path={tiny_folder(setting)}"] if setting.tiny else []
    size = (
        ["data.per_type=2", "recipe.batch_size=4"]
        if setting.tiny
        else ["data.per_type=8", "recipe.batch_size=8"]
    )
    fixed = [
        "logger=none",
        "recipe=warm",
        "recipe.dropout=0",
        "recipe.learning_rate=1e-3",
        "recipe.precision=bfloat16",
    ]
    fixed += ["recipe.checkpoints=[]", "recipe.epochs=4", f"output={setting.folder / name}"]
    return [sys.executable, str(ROOT / "train.py"), *fixed, *size, *model, *overrides]


def tiny_folder(setting: Setting) -> Path:
    """Write a tiny random model with the embedded model's tokenizer; returns its folder."""
    from transformers import LlamaForCausalLM

    folder = setting.folder / "tiny"
    if not folder.exists():
        tokenizer = load_tokenizer(Model(name="smollm2", kind="embedded"))
        torch.manual_seed(0)
        LlamaForCausalLM(config_of(replace(TINY, vocabulary=len(tokenizer)))).save_pretrained(
            folder
        )
        tokenizer.save_pretrained(folder)
    return folder


def losses_of(folder: Path) -> list[float]:
    """Read the losses of the run in a folder, so far."""
    return [
        row["loss"]
        for path in folder.glob("default/train/*/metrics.jsonl")
        for row in read_rows(path)
    ]


def interrupted(command: Sequence[str], folder: Path) -> list[float]:
    """Train, tell the run to end in its middle, and continue it; returns all losses.

    Raises:
        RuntimeError: a command failed; the message is its last line.
    """
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while first.poll() is None and len(losses_of(folder)) < 3:
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    words = first.communicate(timeout=120)[1]
    if first.returncode not in (0, 130, 143):
        raise RuntimeError(words.strip().splitlines()[-1])
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return losses_of(folder)


def stages(setting: Setting) -> dict[str, Any]:
    """Train under each ZeRO stage on one rank in bfloat16, saved and resumed; compare losses with
    `launcher=local`.
    """
    names = (
        ("local", "deepspeed_zero2")
        if setting.tiny
        else ("local", *(f"deepspeed_zero{n}" for n in (0, 2, 3)))
    )
    curves = {}
    for name in names:
        ranks = [] if name == "local" else ["launcher.ranks=1"]
        command = train_command(setting, name, f"launcher={name}", *ranks)
        curves[name] = interrupted(command, setting.folder / name)
    apart = {
        name: max(map(abs, differences(curves["local"], curve))) for name, curve in curves.items()
    }
    row = {
        "steps": len(curves["local"]),
        "largest_loss_difference": apart,
        "last_loss": curves["local"][-1],
    }
    return {**row, "ok": max(apart.values()) < MISSED}


def differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Subtract two curves of equal length, step by step."""
    return [a - b for a, b in zip(first, second, strict=True)]


def passes(setting: Setting) -> dict[str, Any]:
    """Measure trained and read tokens a second of an 8B shape, and the share of the peak, by the
    size of a pass.
    """
    shape = shape_for(setting)
    from peft import LoraConfig, get_peft_model

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(
        random_model(shape, setting.device),
        LoraConfig(r=8, lora_alpha=16, target_modules=targets, task_type="CAUSAL_LM"),
    )
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    shorten(model)
    learnt = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=1e-5)
    peak = peak_operations(setting.device)
    rows = []
    for tokens in (60, 120) if setting.tiny else (600, 1024, 4096, 8192):
        batch = on_device(collator(0)(conversations(tokens, shape.vocabulary)), setting.device)
        checkpointing = not setting.tiny and tokens > 4096 and free_gib() < 100
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        for _ in range(2):
            one_step(model, batch, optimizer)
        wait(setting.device)
        repeats = 1 if setting.tiny else max(3, 16384 // tokens)
        started = time.perf_counter()
        for _ in range(repeats):
            one_step(model, batch, optimizer)
        wait(setting.device)
        rate = repeats * tokens / (time.perf_counter() - started)
        rows.append({"tokens": tokens, "tokens_per_s": round(rate), "checkpointing": checkpointing})
        # the base needs no gradient of its own: 4 operations a parameter and token; peers count 6
        if peak:
            rows[-1] |= {
                "mfu_4n": rate * 4 * shape.parameters / peak,
                "mfu_6n": rate * 6 * shape.parameters / peak,
            }
    return {"parameters": shape.parameters, "passes": rows}


def free_gib() -> float:
    """Return the memory of the GPU in GiB."""
    return torch.cuda.mem_get_info()[1] / GIB if torch.cuda.is_available() else 0.0


def peak_operations(device: str) -> float | None:
    """Return the operations a second the device could do at most in bfloat16; None if that is not
    known.
    """
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    return next((peak for kind, peak in PEAK.items() if kind in name), None)


VARIANTS: dict[str, tuple[str, ...]] = {
    "bfloat16": (),
    "checkpointing": ("launcher.checkpointing=true",),
    "liger": (),
    "8bit": ("recipe.quantise=8bit",),
    "4bit": ("recipe.quantise=4bit",),
}


def memory(setting: Setting) -> dict[str, Any]:
    """Measure the peak memory of a step on eight layers of an 8B shape, beside the forecast, in
    each variant.
    """
    from transformers import LlamaForCausalLM

    shape = shape_for(setting, layers=8)
    folder = setting.folder / "base"
    if setting.tiny:
        LlamaForCausalLM(config_of(shape)).save_pretrained(folder)
    else:
        random_model(shape, setting.device).save_pretrained(folder)
    tokenizer = load_tokenizer(Model(name="smollm2", kind="embedded"))
    tokenizer.save_pretrained(folder)
    by_variant: dict[str, Any] = {}
    for name, overrides in VARIANTS.items():
        reason = missing(setting, name)
        if reason:
            by_variant[name] = {"skipped": reason}
        else:
            by_variant[name] = variant(setting, folder, shape, name, overrides)
    return {"layers": shape.layers, "variants": by_variant}


def missing(setting: Setting, name: str) -> str:
    """Say why a variant cannot be measured here; "" if it can."""
    package = {"liger": "liger_kernel", "8bit": "bitsandbytes", "4bit": "bitsandbytes"}.get(name)
    if package is None:
        return ""
    if setting.device == "cpu":
        return "needs a GPU"
    return "" if find_spec(package) else "make setup-gpu"


def variant(
    setting: Setting, folder: Path, shape: ModelShape, name: str, overrides: Sequence[str]
) -> dict[str, float | None]:
    """Take two steps in one variant; compare its peak with the forecast, both without what the
    process holds.
    """
    study = study_of(
        f"model.path={folder}", "launcher=local", "recipe.precision=bfloat16", *overrides
    )
    if setting.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    model = load_trained(study, torch.bfloat16, fit_of(study.model)).to(setting.device)
    if name == "liger":
        from liger_kernel.transformers import apply_liger_kernel_to_llama

        kernels = {"cross_entropy": False, "fused_linear_cross_entropy": False}
        apply_liger_kernel_to_llama(model=model.get_base_model(), **kernels)
    if study.launcher["checkpointing"]:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    tokens = 120 if setting.tiny else 1024
    batch = on_device(collator(0)(conversations(tokens, shape.vocabulary)), setting.device)
    optimizer = torch.optim.AdamW(
        [weight for weight in model.parameters() if weight.requires_grad], lr=1e-5
    )
    for _ in range(2):
        one_step(model, batch, optimizer)
    wait(setting.device)
    need = training_memory(
        shape,
        study.recipe,
        study.launcher,
        setting.device,
        2,
        tokens,
        int(batch["logits_to_keep"].numel()),
    )
    measured = torch.cuda.max_memory_allocated() / GIB if setting.device == "cuda" else None
    return {"measured_gib": measured, "predicted_gib": (need.total - need.base) / GIB}


PARTS = {"stages": stages, "passes": passes, "memory": memory}
