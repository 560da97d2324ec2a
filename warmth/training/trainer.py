"""transformers' Trainer with this project's order, autocast and resume state; its arguments."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers.trainer
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments
from transformers.trainer import SCHEDULER_NAME

from warmth import devices
from warmth.schemas import Train
from warmth.training.resume import load_state, save_state, torch_optimizer

# Resume state is this project's own (by name, for any number of ranks); DeepSpeed's fits one
# topology only.
transformers.trainer.deepspeed_load_checkpoint = lambda *_, **__: None


class OwnOrder:
    """What every trainer here has in common; mixed in before a Trainer."""

    def __init__(self, *args: Any, passes: list[list[int]], dtype: torch.dtype, **kwargs: Any):
        self._passes = passes
        self._dtype = dtype
        super().__init__(*args, **kwargs)

    def autocast(self) -> Any:
        """Compute in the run's precision under every launcher.

        Nothing is left to cast if DeepSpeed holds all weights in bfloat16. On a GPU it also
        switches an outer autocast off; on a CPU it would leave it on, and tests would see other
        numbers than the GPU.
        """
        args: Any = self.args  # ty: ignore[missing-attribute]
        return torch.autocast(
            args.device.type,
            dtype=self._dtype,
            enabled=self._dtype != torch.float32 and not args.bf16,
        )

    def get_train_dataloader(self) -> DataLoader:
        """Return every forward pass of this rank, for the whole run; not sharded again."""
        conversations = self.train_dataset  # ty: ignore
        collate = self.data_collator  # ty: ignore
        return DataLoader(conversations, batch_sampler=self._passes, collate_fn=collate)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Make the folder only: weights are in the resume state, `Checkpoints` writes adapters."""
        # ty: ignore[missing-attribute]
        os.makedirs(output_dir or self.args.output_dir, exist_ok=True)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        writes = self.args.should_save  # ty: ignore[missing-attribute]
        save_state(self.model_wrapped, self.optimizer, Path(output_dir), writes)  # ty: ignore
        if writes:
            # ty: ignore
            torch.save(self.lr_scheduler.state_dict(), os.path.join(output_dir, SCHEDULER_NAME))

    def _load_from_checkpoint(self, *_: Any, **__: Any) -> None:
        """Do nothing: the resume state, loaded next, holds the weights too."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        # ty: ignore[missing-attribute]
        load_state(self.model_wrapped, self.optimizer, Path(checkpoint))
        scheduler = self.lr_scheduler  # ty: ignore[missing-attribute]
        while hasattr(scheduler, "scheduler"):  # Accelerate's wrapper
            scheduler = scheduler.scheduler
        # Of the saved schedule only how far it was is taken: its groups of weights are those of the
        # launcher that saved it.
        saved = torch.load(os.path.join(checkpoint, SCHEDULER_NAME), weights_only=True)
        scheduler.last_epoch = saved["last_epoch"]
        scheduler._step_count = saved["_step_count"]
        scheduler._last_lr = scheduler.get_lr()
        # The next update takes its rate from the optimiser, where the scheduler puts it only after
        # a step.
        # ty: ignore[missing-attribute]
        groups = torch_optimizer(self.model_wrapped, self.optimizer).param_groups
        for group, rate in zip(groups, scheduler._last_lr, strict=False):
            group["lr"] = rate


class SupervisedTrainer(OwnOrder, Trainer):
    """Supervised fine-tuning on packed rows."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute the Trainer's loss under autocast."""
        with self.autocast():
            return super().compute_loss(model, inputs, *args, **kwargs)


def argument_values(
    folder: Path, study: Train, accumulation: int, steps: int, deepspeed: dict[str, Any] | None
) -> dict[str, Any]:
    """Write the recipe in the Trainer's words."""
    recipe = study.recipe
    launcher = study.launcher
    on_cuda = torch.cuda.is_available()
    values = {
        "output_dir": str(folder / "resume"),
        "max_steps": steps,
        "gradient_accumulation_steps": accumulation,
        "per_device_train_batch_size": 1,  # a forward pass is one packed row
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": round(recipe.warmup_ratio * steps),
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "optim": "adamw_torch",
        "seed": study.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_steps": launcher["save_steps"],
        "save_total_limit": 2,  # the older goes only when the newer is whole
        "deepspeed": deepspeed,
        # DeepSpeed takes this word if its own setting is "auto"
        "bf16": bool(deepspeed) and deepspeed["bf16"]["enabled"] == "auto",
        "ddp_timeout": max(1, int(launcher["stalled_s"])),
        "gradient_checkpointing": launcher["checkpointing"],
        # fused norms, rotations and MLP where the [gpu] extra is installed; the loss stays ours
        "use_liger_kernel": on_cuda and bool(find_spec("liger_kernel")) and recipe.method != "dpo",
        "liger_kernel_config": {"cross_entropy": False, "fused_linear_cross_entropy": False},
        "use_cpu": not on_cuda,
        "disable_tqdm": True,
        "report_to": [],
        "remove_unused_columns": False,
        "dataloader_pin_memory": on_cuda,
        "average_tokens_across_devices": True,
        "gradient_checkpointing_kwargs": None,
    }
    if launcher["checkpointing"]:
        # The reentrant kind finds no gradient behind frozen embeddings. ZeRO-3 with PEFT needs it,
        # and sets it.
        values["gradient_checkpointing_kwargs"] = {"use_reentrant": False}
    return values


def arguments(values: dict[str, Any]) -> TrainingArguments:
    """Make the Trainer's arguments from `argument_values`."""
    return TrainingArguments(**values)


def one_gpu(args: TrainingArguments) -> TrainingArguments:
    """Keep a process on one GPU however many it sees.

    The Trainer would wrap the model in DataParallel, which splits every tensor along its first
    dimension, which tears packed rows apart.
    """
    args._n_gpu = min(args.n_gpu, 1)
    return args


def deepspeed_config(launcher: dict[str, Any], weights: torch.dtype) -> dict[str, Any] | None:
    """Return DeepSpeed's settings, or None for a launcher without it."""
    if "zero_stage" not in launcher:
        return None
    # a bucket that fits the model (its width squared): DeepSpeed's own takes 1 to 2 GB of a GPU
    zero: dict[str, Any] = {"stage": launcher["zero_stage"], "reduce_bucket_size": "auto"}
    if zero["stage"] == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
        if launcher["offload"]:
            zero["offload_param"] = {"device": "cpu"}
    bf16 = "auto" if keeps_master_weights(launcher, weights) else False
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,  # PyTorch's AdamW, the same as without DeepSpeed
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": bf16},
        "steps_per_print": 10**9,
    }


def keeps_master_weights(launcher: Mapping[str, Any], weights: torch.dtype) -> bool:
    """Tell whether DeepSpeed holds all weights in bfloat16, and what learns in float32 besides.

    It does so under ZeRO 1 to 3 on a GPU. Stage 0 divides nothing. There DeepSpeed's optimiser for
    bfloat16 gives no access to its float32 values, so weights that learn stay in float32
    themselves, as without DeepSpeed.
    """
    return launcher.get("zero_stage", 0) > 0 and weights == torch.bfloat16 and devices.on_gpu()
