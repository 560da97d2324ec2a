"""One rank's training, from the run's `config.json` to its adapters.

Hydra is never imported here.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, set_seed

from warmth import devices
from warmth.digest import digest, model_identity
from warmth.memory import GIB, Memory, refuse_if_too_big, shape_of, training_memory
from warmth.models import choose_dtype, load_tokenizer, network_class
from warmth.schemas import Data, Model, Recipe, Train
from warmth.store import read_json, read_rows, write_json
from warmth.training.architecture import check_targets, config_of, fit_of
from warmth.training.checkpoints import Checkpoints, Probe, Validation, barrier
from warmth.training.examples import Examples, load_examples
from warmth.training.packing import collator, token_loss
from warmth.training.progress import Progress, StopOnSignal
from warmth.training.resume import last_resume, refuse_other_origin
from warmth.training.samples import Samples, prompts_of, writes_samples
from warmth.training.schedule import (
    global_batches,
    pass_limits,
    rank_batches,
    step_at,
    steps_per_epoch,
)
from warmth.training.trainer import (
    SupervisedTrainer,
    argument_values,
    arguments,
    deepspeed_config,
    keeps_master_weights,
    one_gpu,
)
from warmth.training.weights import adapter_config, attention_of, load_trained


def read_study(folder: Path) -> Train:
    """Read the run's config as `train.py` wrote it."""
    plain = read_json(folder / "config.json")
    parts: dict[str, Any] = {
        "model": Model(**plain["model"]),
        "data": Data(**plain["data"]),
        "recipe": Recipe(**plain["recipe"]),
    }
    return Train(**{**plain, **parts})


class Plan:
    """Everything about a run that is known before weights are loaded, the same on every rank but
    for `passes`.
    """

    def __init__(self, folder: Path, rank: int, ranks: int):
        self.folder, self.rank, self.ranks = folder, rank, ranks
        self.study = read_study(folder)
        recipe, launcher = self.study.recipe, self.study.launcher
        self.fit = fit_of(self.study.model)
        if recipe.method != "full":
            check_targets(self.study.model)
        self.tokenizer = load_tokenizer(self.study.model)
        self.rows = list(read_rows(folder / "conversations.jsonl"))
        kept_apart = [row for row in self.rows if row.get("validation")]
        self.found: Examples = load_examples(
            [row for row in self.rows if not row.get("validation")], self.study, self.tokenizer
        )
        self.validation = (
            load_examples(kept_apart, self.study, self.tokenizer).kept if kept_apart else []
        )
        self.examples = self.found.kept
        drawn = global_batches(
            len(self.found.groups), recipe.batch_size, recipe.epochs, self.study.seed
        )
        # the examples of a conversation stay together, so that a step is as many conversations for
        # every model
        self.batches = [
            [example for index in batch for example in self.found.groups[index]] for batch in drawn
        ]
        self.lengths = [len(example.ids) for example in self.examples]
        self.passes, self.accumulation = rank_batches(
            self.batches, self.lengths, recipe.batch_size, ranks, *self.limits(), rank
        )
        self.trained = [
            sum(sum(self.examples[index].trained[1:]) for index in batch) for batch in self.batches
        ]
        self.collate = collator(
            self.tokenizer.pad_token_id, self.fit.packed and recipe.method != "dpo"
        )
        self.autocast = choose_dtype(recipe.precision)
        self.device = devices.computes_on().type
        self.dtype = weights_dtype(self.autocast, recipe.method, launcher)

    def limits(self) -> tuple[int, int]:
        """Most conversations and most tokens of a forward pass; one conversation if the model
        cannot be packed.
        """
        most, room = pass_limits(self.study.recipe, self.study.launcher)
        return (most if self.fit.packed or self.study.recipe.method == "dpo" else 1), room

    def forecast(self) -> Memory | None:
        """Peak memory of this rank, from its longest pass; None for a network of unknown shape."""
        shape, study = shape_of(self.study.model), self.study
        if shape is None:
            return None
        width = 2 if self.autocast == torch.bfloat16 else 4
        launcher = {**study.launcher, "ranks": self.ranks, "nodes": 1}
        needs = (
            training_memory(
                shape, study.recipe, launcher, self.device, width, *size, study.model.lora_targets
            )
            for size in {self.size(one) for one in self.passes if one}
        )
        return max(needs, key=lambda need: need.total, default=None)

    def size(self, one: list[int]) -> tuple[int, int]:
        """Tokens of a pass, and those that are trained; of preferences, of one side with its
        padding.
        """
        examples = [self.examples[index] for index in one]
        if self.study.recipe.method == "dpo":
            side = max(
                len(pair.prompt) + max(len(pair.chosen), len(pair.rejected)) for pair in examples
            )
            return len(one) * side, len(one) * side
        return sum(len(example.ids) for example in examples), sum(
            sum(example.trained) for example in examples
        )


def weights_dtype(autocast: torch.dtype, method: str, launcher: dict[str, Any]) -> torch.dtype:
    """Return what weights are held in: what they are multiplied in, or float32 if they learn
    without a master copy.
    """
    if method == "full" and not keeps_master_weights(launcher, autocast):
        return torch.float32
    return autocast


def peak_memory(device: str) -> float:
    """Bytes at this process's peak: the device's allocator's, else resident memory."""
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def make_trainer(plan: Plan, callbacks: list[TrainerCallback]) -> Any:
    """Make the Trainer of the recipe's method, with the model loaded."""
    study, recipe = plan.study, plan.study.recipe
    deepspeed = deepspeed_config(study.launcher, plan.dtype)
    values = argument_values(plan.folder, study, plan.accumulation, len(plan.batches), deepspeed)
    dpo = recipe.method == "dpo"
    if dpo:
        from warmth.training.preference import (
            PreferenceTrainer,
            preference_arguments,
            shared_passes,
        )

    # On a GPU the arguments come first: they make ZeRO-3 divide the weights while they are read. On
    # a CPU they come after: dividing there would turn them to float32.
    def make_args() -> Any:
        return preference_arguments(values, recipe.beta) if dpo else arguments(values)

    args = make_args() if devices.on_gpu() else None
    set_seed(study.seed)
    model = load_trained(study, plan.dtype, plan.fit)
    args = one_gpu(args or make_args())
    common = {"model": model, "args": args, "callbacks": callbacks, "dtype": plan.autocast}
    set_seed(study.seed)
    if dpo:
        shared: Any = shared_passes(plan.passes, plan.batches, plan.accumulation, plan.ranks)
        return PreferenceTrainer(
            **common,
            passes=shared,
            train_dataset=plan.examples,
            pad_id=plan.tokenizer.pad_token_id,
            processing_class=plan.tokenizer,
            peft_config=adapter_config(study),
        )
    return SupervisedTrainer(
        **common,
        passes=plan.passes,
        train_dataset=plan.examples,
        data_collator=plan.collate,
        compute_loss_func=token_loss,
    )


def train(folder: Path, free: float | None) -> int | None:
    """Train the run in `folder` as its `config.json` says, from its last checkpoint if there is
    one.

    Args:
        folder: of the run.
        free: bytes that this rank may take; None if that is not known.

    Returns:
        None when training is over; the step it saved if the ranks were told to end.

    Raises:
        UserError: the run cannot fit, or its input is wrong.
        RunFailed: what was learnt is unusable.
    """
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    plan = Plan(folder, rank, ranks)
    study, recipe = plan.study, plan.study.recipe
    need = plan.forecast()
    if need is not None and free is not None:
        refuse_if_too_big(need, free, study.launcher, recipe.method)
    stop = StopOnSignal()
    facts = facts_of(plan)
    probe = Probe(folder, plan.examples, plan.collate, writes=rank == 0)
    if rank == 0 and not plan.fit.packed and recipe.method != "dpo":
        print(
            f"each conversation is trained in a pass of its own: {plan.fit.reason}",
            file=sys.stderr,
            flush=True,
        )
    at_step = {
        step_at(epochs, len(plan.found.groups), recipe.batch_size): epochs
        for epochs in kept_epochs(recipe)
    }
    validation = Validation(plan.validation, plan.collate)
    callbacks: list[TrainerCallback] = [
        Checkpoints(folder, at_step, facts, probe, validation),
        stop,
    ]
    if rank == 0:
        per_epoch = steps_per_epoch(len(plan.found.groups), recipe.batch_size)
        callbacks.append(Progress(folder, plan.trained, per_epoch))
    samples = Samples(folder, plan.tokenizer, prompts_of(plan.rows, study.sample_replies), at_step)
    if rank == 0 and writes_samples(study):
        callbacks.append(samples)
    trainer = make_trainer(plan, callbacks)
    probe.trainer = trainer
    validation.trainer = trainer
    samples.trainer = trainer
    facts["revision"] = getattr(trainer.model.config, "_commit_hash", None) or study.model.revision
    origin = {
        "base": model_identity(study.model),
        "revision": facts["revision"],
        "data": facts["data"],
    }
    refuse_other_origin(folder, origin, writes=rank == 0)
    started = time.perf_counter()
    resumed_from = last_resume(folder)
    result = trainer.train(resume_from_checkpoint=resumed_from)
    if stop.stopped:
        return trainer.state.global_step
    changed = probe.check()
    peak = torch.tensor(peak_memory(plan.device), dtype=torch.float64, device=trainer.args.device)
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(peak, op=torch.distributed.ReduceOp.MAX)
    if rank == 0:
        memory = {
            "measured_gib": peak.item() / GIB,
            "predicted_gib": need.total / GIB if need else None,
        }
        seconds = time.perf_counter() - started
        memory["predicted_parts_gib"] = (
            {name: value / GIB for name, value in asdict(need).items()} if need else None
        )
        write_json(
            folder / "result.json",
            {
                "loss": result.training_loss,
                "steps": len(plan.batches),
                "seconds": seconds_before(folder, resumed_from) + seconds,
                "counts": plan.found.counts,
                "tokens": tokens_from(plan, 0),
                # the steps of this process alone, from which plans learn a speed
                "last_attempt": {
                    "tokens": tokens_from(plan, step_of(resumed_from)),
                    "seconds": seconds,
                },
                "probe": changed,
                "memory": memory,
                **{
                    key: facts[key]
                    for key in ("conversations", "examples", "replies", "trained_tokens", "ranks")
                },
                **{
                    key: facts[key]
                    for key in ("precision", "device", "attention", "revision", "data")
                },
            },
        )
    barrier()
    return None


def tokens_from(plan: Plan, step: int) -> int:
    """Count the tokens of all optimiser steps after `step`."""
    return sum(plan.lengths[index] for batch in plan.batches[step:] for index in batch)


def step_of(checkpoint: str | None) -> int:
    """Return the optimiser step that a resume checkpoint was saved after; 0 for none."""
    return int(Path(checkpoint).name.split("-")[1]) if checkpoint else 0


def seconds_before(folder: Path, checkpoint: str | None) -> float:
    """Add up the seconds of the steps that earlier attempts made and this one did not repeat."""
    rows = read_rows(folder / "metrics.jsonl")
    return sum(row["seconds"] for row in rows if row["step"] <= step_of(checkpoint))


def facts_of(plan: Plan) -> dict[str, Any]:
    """Say what the model card and the summary need to know about this run."""
    study = plan.study
    return {
        "run": plan.folder.name,
        "base": study.model.hub_id or study.model.name,  # never a folder of this machine
        "model": asdict(study.model),
        "auto_class": network_class(config_of(study.model)).__name__,
        "source": {key: getattr(study.data, key) for key in ("name", "hub_id", "revision")},
        "validation": len(plan.validation),
        "revision": study.model.revision,
        "recipe": asdict(study.recipe) if not isinstance(study.recipe, dict) else study.recipe,
        "tokenizer": plan.tokenizer,
        "data": digest(plan.rows),
        "counts": plan.found.counts,
        "conversations": len(plan.found.groups),
        "examples": len(plan.examples),
        "replies": sum(
            getattr(example, "replies", 1) for example in plan.examples
        ),  # a pair has one
        "trained_tokens": sum(plan.trained),
        "device": torch.cuda.get_device_name() if plan.device == "cuda" else "cpu",
        "ranks": plan.ranks,
        "precision": str(plan.autocast).removeprefix("torch."),
        "attention": attention_of(study.recipe, plan.fit),
    }


def kept_epochs(recipe: Recipe) -> list[float]:
    """List the recipe's checkpoints that training reaches, and always its end."""
    return sorted(
        {*[epochs for epochs in recipe.checkpoints if epochs <= recipe.epochs], recipe.epochs}
    )


def leave_group() -> None:
    """Leave the ranks' process group: a process that ends inside of it may abort."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
