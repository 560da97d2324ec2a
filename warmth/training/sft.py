"""What each rank of a training run executes: `python -m warmth.training.sft RUN`. Hydra is never imported here."""

from __future__ import annotations

import ctypes
import json
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.utils import is_flash_attn_2_available

from warmth.chat import Encoded, encode
from warmth.errors import RunFailed, UserError
from warmth.models import choose_dtype, load_model, load_tokenizer
from warmth.schemas import Data, Model, Recipe, Train
from warmth.store import read_json, read_rows, write_json
from warmth.training.packing import SEGMENTS, collator, token_loss
from warmth.training.schedule import global_batches, rank_batches, step_at, steps_per_epoch
from warmth.types import Message

COMPLETE = "complete"  # written into a resume checkpoint once every rank has saved its part


def read_study(folder: Path) -> Train:
    """The run's config as `train.py` wrote it."""
    plain = read_json(folder / "config.json")
    parts: dict[str, Any] = {
        "model": Model(**plain["model"]),
        "data": Data(**plain["data"]),
        "recipe": Recipe(**plain["recipe"]),
    }
    return Train(**{**plain, **parts})


class SupervisedTrainer(Trainer):
    """Trainer with this run's own order of conversations, and autocast that is the same under every launcher."""

    def __init__(self, *args: Any, passes: list[list[int]], autocast: torch.dtype, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._passes, self._autocast = passes, autocast

    def get_train_dataloader(self) -> DataLoader:
        """Every forward pass of this rank, for the whole run; not sharded again."""
        return DataLoader(self.train_dataset, batch_sampler=self._passes, collate_fn=self.data_collator)  # type: ignore[arg-type]

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's, under autocast (DeepSpeed switches the Trainer's own off)."""
        device = self.args.device.type
        with torch.autocast(device, dtype=self._autocast, enabled=self._autocast != torch.float32):
            return super().compute_loss(model, inputs, *args, **kwargs)


class Progress(TrainerCallback):
    """Rows of `metrics.jsonl` (rank 0), from which the parent draws its progress bar and feeds the tracker."""

    def __init__(self, folder: Path, tokens: list[int], per_epoch: int):
        self.path, self.tokens, self.per_epoch = folder / "metrics.jsonl", tokens, per_epoch

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A resumed run repeats the steps after its checkpoint, so their rows go."""
        self.clock = time.perf_counter()
        kept = [row for row in read_rows(self.path) if row["step"] <= state.global_step]
        self.path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """One row for each optimiser step."""
        if not logs or "loss" not in logs:
            return
        now, step = time.perf_counter(), state.global_step
        row = {
            "step": step,
            "steps": state.max_steps,
            "epoch": step / self.per_epoch,
            "loss": float(logs["loss"]),
            "grad_norm": float(logs.get("grad_norm", math.nan)),
            "learning_rate": float(logs.get("learning_rate", math.nan)),
            "trained_tokens": self.tokens[step - 1],
            "seconds": now - self.clock,
        }
        self.clock = now
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        if not math.isfinite(row["loss"]):
            raise RunFailed(
                f"the loss is {row['loss']} at step {step}: lower recipe.learning_rate, or recipe.precision=float32"
            )


class Checkpoints(TrainerCallback):
    """Keeps the adapter after the recipe's epochs, and marks resume checkpoints that are whole."""

    def __init__(self, folder: Path, at_step: dict[int, float]):
        self.folder, self.at_step = folder, at_step

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Saves the adapter when its step has come."""
        epochs = self.at_step.get(state.global_step)
        if epochs is not None:
            save_adapter(model, self.folder / "checkpoints" / f"epoch-{epochs:g}", state.is_world_process_zero)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called on every rank after its part is on disk."""
        barrier()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def save_adapter(model: Any, target: Path, writes: bool) -> None:
    """Writes a plain PEFT adapter in float32 safetensors, whole or not at all. Every rank calls it (ZeRO-3 gathers)."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with gathered(weights):
        peft_model = model if isinstance(model, PeftModel) else model.module
        state = {
            name: parameter.detach().to("cpu", torch.float32).clone()
            for name, parameter in peft_model.named_parameters()
            if parameter.requires_grad
        }
    if not writes:
        return
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    peft_model.save_pretrained(partial, state_dict=state)
    check_adapter(partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def gathered(weights: list[Any]) -> Any:
    """All of each weight on every rank, where ZeRO-3 holds only a part."""
    if weights and hasattr(weights[0], "ds_id"):
        import deepspeed

        return deepspeed.zero.GatheredParameters(weights)
    import contextlib

    return contextlib.nullcontext()


def check_adapter(folder: Path) -> None:
    """An adapter that changes nothing or is not finite is never kept.

    Raises:
        RunFailed: there are no weights, one is not finite, or every B is zero (PEFT's initial value).
    """
    weights = load_file(folder / "adapter_model.safetensors")
    if not weights or not all(tensor.numel() for tensor in weights.values()):
        raise RunFailed("the adapter is empty")
    broken = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise RunFailed(f"the adapter is not finite ({broken[0]}): lower recipe.learning_rate")
    if not any(tensor.any() for name, tensor in weights.items() if "lora_B" in name):
        raise RunFailed("the adapter changes nothing (every B is zero): raise recipe.learning_rate or recipe.epochs")


def encode_all(folder: Path, study: Train, tokenizer: Any) -> list[Encoded]:
    """The run's conversations as tokens.

    Raises:
        UserError: naming the conversation that cannot be trained on.
    """
    examples = []
    for row in read_rows(folder / "conversations.jsonl"):
        messages = [Message(**message) for message in row["messages"]]
        try:
            examples.append(
                encode(tokenizer, messages, study.recipe.max_length, study.recipe.loss_on, study.model.end_of_turn)
            )
        except UserError as error:
            raise UserError(f"conversation {row['id']}: {error}") from error
    return examples


def arguments(
    folder: Path, study: Train, accumulation: int, steps: int, deepspeed: dict[str, Any] | None
) -> TrainingArguments:
    """The recipe in the Trainer's words."""
    recipe = study.recipe
    return TrainingArguments(
        output_dir=str(folder / "resume"),
        max_steps=steps,
        gradient_accumulation_steps=accumulation,
        per_device_train_batch_size=1,  # a forward pass is one packed row
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=round(recipe.warmup_ratio * steps),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        optim="adamw_torch",
        seed=study.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=study.launcher["save_steps"],
        save_total_limit=1,
        deepspeed=deepspeed,
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True,
        report_to=[],
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        average_tokens_across_devices=True,
    )


def deepspeed_config(launcher: dict[str, Any], weights: torch.dtype) -> dict[str, Any] | None:
    """DeepSpeed's settings, or None for a launcher without it."""
    if "zero_stage" not in launcher:
        return None
    zero: dict[str, Any] = {"stage": launcher["zero_stage"]}
    if zero["stage"] == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if launcher["offload"]:
        zero["offload_optimizer"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,  # PyTorch's AdamW, the same as without DeepSpeed
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": weights == torch.bfloat16},
        "steps_per_print": 10**9,
    }


def last_resume(folder: Path) -> str | None:
    """The newest resume checkpoint that is whole."""
    found = [path.parent for path in (folder / "resume").glob(f"checkpoint-*/{COMPLETE}")]
    return str(max(found, key=lambda path: int(path.name.split("-")[1]))) if found else None


def train(folder: Path) -> None:
    """Trains the run in `folder` as its `config.json` says, from its last checkpoint if there is one."""
    study, rank, ranks = read_study(folder), int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    recipe = study.recipe
    tokenizer = load_tokenizer(study.model)
    examples = encode_all(folder, study, tokenizer)
    batches = global_batches(len(examples), recipe.batch_size, recipe.epochs, study.seed)
    lengths = [len(example.ids) for example in examples]
    passes, accumulation = rank_batches(batches, lengths, recipe.batch_size, ranks, study.launcher["per_device"], rank)

    autocast = choose_dtype(recipe.precision)
    weights = autocast if torch.cuda.is_available() else torch.float32
    args = arguments(folder, study, accumulation, len(batches), deepspeed_config(study.launcher, weights))
    set_seed(study.seed)
    attention = "flash_attention_2" if torch.cuda.is_available() and is_flash_attn_2_available() else SEGMENTS
    model = load_model(study.model, weights, attn_implementation=attention)
    set_seed(study.seed)  # again: the adapter's first values must not depend on how the base was loaded
    adapter = get_peft_model(
        model,
        LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=recipe.dropout,
            target_modules=list(study.model.lora_targets) or "all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    at_step = {step_at(epochs, len(examples), recipe.batch_size): epochs for epochs in kept_epochs(recipe)}
    trained = [sum(sum(examples[index].trained[1:]) for index in batch) for batch in batches]
    callbacks: list[TrainerCallback] = [Checkpoints(folder, at_step)]
    if rank == 0:
        callbacks.append(Progress(folder, trained, steps_per_epoch(len(examples), recipe.batch_size)))
    trainer = SupervisedTrainer(
        model=adapter,
        args=args,
        train_dataset=examples,
        data_collator=collator(tokenizer.pad_token_id),
        compute_loss_func=token_loss,
        callbacks=callbacks,
        passes=passes,
        autocast=autocast,
    )
    started = time.perf_counter()
    result = trainer.train(resume_from_checkpoint=last_resume(folder))
    if rank == 0:
        write_json(
            folder / "result.json",
            {
                "loss": result.training_loss,
                "steps": len(batches),
                "seconds": time.perf_counter() - started,
                "conversations": len(examples),
                "cut": sum(example.cut for example in examples),
                "trained_tokens": sum(trained),
                "tokens": sum(lengths[index] for batch in batches for index in batch),
                "ranks": ranks,
                "precision": str(autocast).removeprefix("torch."),
                "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
                "attention": attention,
            },
        )
    barrier()


def kept_epochs(recipe: Recipe) -> list[float]:
    """The recipe's checkpoints that training reaches, and always its end."""
    return sorted({*[epochs for epochs in recipe.checkpoints if epochs <= recipe.epochs], recipe.epochs})


def barrier() -> None:
    """Waits for all ranks, where there are several."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def main() -> None:
    """One rank: dies with its parent, ends its process group cleanly."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(
            1, signal.SIGKILL
        )  # PR_SET_PDEATHSIG: no orphan may write into a run another process resumed
    try:
        train(Path(sys.argv[1]))
    except (UserError, RunFailed) as error:
        kind = "user" if isinstance(error, UserError) else "run"
        print(f"warmth-{kind}-error: {error}", file=sys.stderr, flush=True)
        os._exit(2 if kind == "user" else 1)  # a plain exit would wait for ranks that wait for this one
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
