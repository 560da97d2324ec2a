"""One rank's training, from the run's `config.json` to its adapters.

Hydra is never imported here.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from dataclasses import asdict
from itertools import chain
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
from warmth.training.checkpoints import Checkpoints, Probe, ValidationLoss, barrier
from warmth.training.examples import load_examples
from warmth.training.packing import collator, token_loss
from warmth.training.progress import MetricsWriter, StopOnSignal
from warmth.training.resume import last_resume, refuse_other_origin
from warmth.training.samples import Samples, sample_prompts, writes_samples
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

# what of `facts_of` the summary of a run holds
SUMMARISED = (
    "conversations",
    "examples",
    "replies",
    "trained_tokens",
    "ranks",
    "precision",
    "device",
    "attention",
    "revision",
    "data",
)


def read_study(folder: Path) -> Train:
    """Read the run's config as `train.py` wrote it."""
    values = read_json(folder / "config.json")
    values["model"] = Model(**values["model"])
    values["data"] = Data(**values["data"])
    values["recipe"] = Recipe(**values["recipe"])
    return Train(**values)


class TrainingSetup:
    """What is known about a run before weights are loaded; only `passes` differ between ranks."""

    def __init__(self, folder: Path, rank: int, ranks: int):
        self.folder = folder
        self.rank = rank
        self.ranks = ranks
        self.study = read_study(folder)
        recipe = self.study.recipe
        self.is_dpo = recipe.method == "dpo"
        self.fit = fit_of(self.study.model)
        if recipe.method != "full":
            check_targets(self.study.model)
        self.tokenizer = load_tokenizer(self.study.model)
        self.rows = list(read_rows(folder / "conversations.jsonl"))
        trained_rows: list[dict[str, Any]] = []
        validation_rows: list[dict[str, Any]] = []
        for row in self.rows:
            if row.get("validation"):
                validation_rows.append(row)
            else:
                trained_rows.append(row)
        self.training_set = load_examples(trained_rows, self.study, self.tokenizer)
        self.validation: list[Any] = []
        if validation_rows:
            self.validation = load_examples(validation_rows, self.study, self.tokenizer).examples
        self.examples = self.training_set.examples
        self.conversations = len(self.training_set.groups)
        self.lengths = [len(example.ids) for example in self.examples]
        self.batches = self._batches()
        most, room = self.limits()
        self.passes, self.accumulation = rank_batches(
            self.batches, self.lengths, recipe.batch_size, ranks, most, room, rank
        )
        self.trained = [self._trained_tokens(batch) for batch in self.batches]
        self.collate = collator(self.tokenizer.pad_token_id, self.fit.packed and not self.is_dpo)
        self.autocast = choose_dtype(recipe.precision)
        self.device = devices.computes_on().type
        self.dtype = weights_dtype(self.autocast, recipe.method, self.study.launcher)

    def _batches(self) -> list[list[int]]:
        """List the examples of each optimiser step, over all ranks.

        The examples of a conversation stay together, so that a step is as many conversations for
        every model.
        """
        recipe = self.study.recipe
        batches = []
        for batch in global_batches(
            self.conversations, recipe.batch_size, recipe.epochs, self.study.seed
        ):
            groups = [self.training_set.groups[conversation] for conversation in batch]
            batches.append(list(chain.from_iterable(groups)))
        return batches

    def _trained_tokens(self, batch: list[int]) -> int:
        """Count the tokens that a step learns from; nothing predicts an example's first."""
        return sum(sum(self.examples[index].trained[1:]) for index in batch)

    def limits(self) -> tuple[int, int]:
        """Return the most conversations and the most tokens of a forward pass.

        A model that cannot be packed gets one conversation a pass.
        """
        most, room = pass_limits(self.study.recipe, self.study.launcher)
        if not (self.fit.packed or self.is_dpo):
            most = 1
        return most, room

    def forecast(self) -> Memory | None:
        """Forecast this rank's peak memory, from its longest pass.

        None for a network of unknown shape.
        """
        study = self.study
        shape = shape_of(study.model)
        if shape is None:
            return None
        width = 2 if self.autocast == torch.bfloat16 else 4
        launcher = {**study.launcher, "ranks": self.ranks, "nodes": 1}
        needs = []
        for tokens, trained in {self.size(indices) for indices in self.passes if indices}:
            need = training_memory(
                shape,
                study.recipe,
                launcher,
                device=self.device,
                width=width,
                tokens=tokens,
                trained=trained,
                targets=study.model.lora_targets,
            )
            needs.append(need)
        return max(needs, key=lambda need: need.total, default=None)

    def size(self, indices: list[int]) -> tuple[int, int]:
        """Count the tokens of a pass, and those that are trained.

        Of preferences, both are the tokens of one side with its padding.
        """
        examples = [self.examples[index] for index in indices]
        if self.is_dpo:
            longest = max(pair.longest_side for pair in examples)
            return len(examples) * longest, len(examples) * longest
        tokens = sum(len(example.ids) for example in examples)
        trained = sum(sum(example.trained) for example in examples)
        return tokens, trained


def weights_dtype(autocast: torch.dtype, method: str, launcher: dict[str, Any]) -> torch.dtype:
    """Return the precision of weights: that of products, or float32.

    Weights are float32 if they learn without a master copy.
    """
    if method == "full" and not keeps_master_weights(launcher, autocast):
        return torch.float32
    return autocast


def peak_memory(kind: str, device: torch.device) -> float:
    """Measure the most bytes that any rank took.

    Args:
        kind: cuda: the allocator's bytes count; else resident memory.
        device: on which ranks meet.
    """
    if kind == "cuda":
        bytes_here = float(torch.cuda.max_memory_allocated())
    else:
        bytes_here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    peak = torch.tensor(bytes_here, dtype=torch.float64, device=device)
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(peak, op=torch.distributed.ReduceOp.MAX)
    return peak.item()


def make_trainer(setup: TrainingSetup, callbacks: list[TrainerCallback]) -> Any:
    """Make the Trainer of the recipe's method, with the model loaded."""
    study = setup.study
    # On a GPU the arguments come first: they make ZeRO-3 divide the weights while they are read. On
    # a CPU they come after: dividing there would turn them to float32.
    args = make_arguments(setup) if devices.on_gpu() else None
    set_seed(study.seed)
    model = load_trained(study, setup.dtype, setup.fit)
    args = one_gpu(args or make_arguments(setup))
    set_seed(study.seed)
    if not setup.is_dpo:
        return SupervisedTrainer(
            model=model,
            args=args,
            callbacks=callbacks,
            dtype=setup.autocast,
            passes=setup.passes,
            train_dataset=setup.examples,
            data_collator=setup.collate,
            compute_loss_func=token_loss,
        )
    from warmth.training.preference import PreferenceTrainer, shared_passes

    passes: Any = shared_passes(setup.passes, setup.batches, setup.accumulation, setup.ranks)
    return PreferenceTrainer(
        model=model,
        args=args,
        callbacks=callbacks,
        dtype=setup.autocast,
        passes=passes,
        train_dataset=setup.examples,
        pad_id=setup.tokenizer.pad_token_id,
        processing_class=setup.tokenizer,
        peft_config=adapter_config(study),
    )


def make_arguments(setup: TrainingSetup) -> Any:
    """Write the recipe in the words of the Trainer, or of TRL's for preferences."""
    study = setup.study
    deepspeed = deepspeed_config(study.launcher, setup.dtype)
    values = argument_values(setup.folder, study, setup.accumulation, len(setup.batches), deepspeed)
    if not setup.is_dpo:
        return arguments(values)
    from warmth.training.preference import preference_arguments

    return preference_arguments(values, study.recipe.beta)


def train_rank(folder: Path, free: float | None) -> int | None:
    """Train the run in `folder` as its `config.json` says, from its last checkpoint if it has one.

    Args:
        folder: of the run.
        free: bytes that this rank may take; None if that is not known.

    Returns:
        None when training is over; the step it saved if the ranks were told to end.

    Raises:
        UserError: the run cannot fit, or its input is wrong.
        RunFailed: what was learnt is unusable.
    """
    rank = int(os.environ.get("RANK", 0))
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    setup = TrainingSetup(folder, rank, ranks)
    study = setup.study
    need = setup.forecast()
    if need is not None and free is not None:
        refuse_if_too_big(need, free, study.launcher, study.recipe.method)
    if rank == 0 and not setup.fit.packed and not setup.is_dpo:
        reason = setup.fit.reason
        line = f"each conversation is trained in a pass of its own: {reason}"
        print(line, file=sys.stderr, flush=True)
    callbacks = Callbacks(setup)
    trainer = make_trainer(setup, callbacks.in_order())
    callbacks.attach(trainer)
    facts = callbacks.facts
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
    if callbacks.stop.stopped:
        return trainer.state.global_step
    changed = callbacks.probe.check()
    memory = memory_summary(peak_memory(setup.device, trainer.args.device), need)
    if rank == 0:
        seconds = time.perf_counter() - started
        summary = {
            "loss": result.training_loss,
            "steps": len(setup.batches),
            "seconds": seconds_before(folder, resumed_from) + seconds,
            "counts": setup.training_set.counts,
            "tokens": tokens_from(setup, 0),
            # the steps of this process alone, from which plans learn a speed
            "last_attempt": {
                "tokens": tokens_from(setup, step_of(resumed_from)),
                "seconds": seconds,
            },
            "probe": changed,
            "memory": memory,
        }
        for key in SUMMARISED:
            summary[key] = facts[key]
        write_json(folder / "result.json", summary)
    barrier()
    return None


class Callbacks:
    """What happens beside the steps of a run: saving, checking, stopping, showing."""

    def __init__(self, setup: TrainingSetup):
        folder = setup.folder
        study = setup.study
        batch_size = study.recipe.batch_size
        epochs_at_step = {}  # optimiser step → the epochs whose checkpoint is saved after it
        for epochs in checkpoint_epochs(study.recipe):
            epochs_at_step[step_at(epochs, setup.conversations, batch_size)] = epochs
        self.writes = setup.rank == 0
        self.facts = facts_for_card(setup)
        self.stop = StopOnSignal()
        self.probe = Probe(folder, setup.examples, setup.collate, self.writes)
        self.validation = ValidationLoss(setup.validation, setup.collate)
        self.checkpoints = Checkpoints(
            folder, epochs_at_step, self.facts, self.probe, self.validation
        )
        per_epoch = steps_per_epoch(setup.conversations, batch_size)
        self.progress = MetricsWriter(folder, setup.trained, per_epoch)
        prompts = sample_prompts(setup.rows, study.sample_replies)
        self.samples = Samples(folder, setup.tokenizer, prompts, epochs_at_step)
        self.writes_samples = self.writes and writes_samples(study)

    def in_order(self) -> list[TrainerCallback]:
        """List what this rank's Trainer calls; `Progress` reads what `Checkpoints` logs."""
        callbacks: list[TrainerCallback] = [self.checkpoints, self.stop]
        if self.writes:
            callbacks.append(self.progress)
        if self.writes_samples:
            callbacks.append(self.samples)
        return callbacks

    def attach(self, trainer: Any) -> None:
        """Give the Trainer to those that compute with its model."""
        self.probe.trainer = trainer
        self.validation.trainer = trainer
        self.samples.trainer = trainer


def memory_summary(peak: float, need: Memory | None) -> dict[str, Any]:
    """Set the measured peak (bytes) beside the forecast, both in GiB."""
    summary: dict[str, Any] = {
        "measured_gib": peak / GIB,
        "predicted_gib": None,
        "predicted_parts_gib": None,
    }
    if need is not None:
        summary["predicted_gib"] = need.total / GIB
        summary["predicted_parts_gib"] = {name: value / GIB for name, value in asdict(need).items()}
    return summary


def tokens_from(setup: TrainingSetup, step: int) -> int:
    """Count the tokens of all optimiser steps after `step`."""
    return sum(setup.lengths[index] for batch in setup.batches[step:] for index in batch)


def step_of(checkpoint: str | None) -> int:
    """Return the optimiser step that a resume checkpoint was saved after; 0 for none."""
    if checkpoint is None:
        return 0
    return int(Path(checkpoint).name.split("-")[1])


def seconds_before(folder: Path, checkpoint: str | None) -> float:
    """Add up the seconds of the steps that earlier attempts made and this one did not repeat."""
    rows = read_rows(folder / "metrics.jsonl")
    return sum(row["seconds"] for row in rows if row["step"] <= step_of(checkpoint))


def facts_for_card(setup: TrainingSetup) -> dict[str, Any]:
    """Say what the model card and the summary need to know about this run."""
    study = setup.study
    recipe = study.recipe
    return {
        "run": setup.folder.name,
        "base": study.model.hub_id or study.model.name,  # never a folder of this machine
        "model": asdict(study.model),
        "auto_class": network_class(config_of(study.model)).__name__,
        "source": {
            "name": study.data.name,
            "hub_id": study.data.hub_id,
            "revision": study.data.revision,
        },
        "validation": len(setup.validation),
        "revision": study.model.revision,
        "recipe": recipe if isinstance(recipe, dict) else asdict(recipe),
        "tokenizer": setup.tokenizer,
        "data": digest(setup.rows),
        "counts": setup.training_set.counts,
        "conversations": setup.conversations,
        "examples": len(setup.examples),
        # a pair has one
        "replies": sum(getattr(example, "replies", 1) for example in setup.examples),
        "trained_tokens": sum(setup.trained),
        "device": torch.cuda.get_device_name() if setup.device == "cuda" else "cpu",
        "ranks": setup.ranks,
        "precision": str(setup.autocast).removeprefix("torch."),
        "attention": attention_of(recipe, setup.fit),
    }


def checkpoint_epochs(recipe: Recipe) -> list[float]:
    """List the recipe's checkpoints that training reaches, and always its end."""
    reached = {epochs for epochs in recipe.checkpoints if epochs <= recipe.epochs}
    return sorted(reached | {recipe.epochs})


def leave_group() -> None:
    """Leave the ranks' process group: a process that ends inside of it may abort."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
