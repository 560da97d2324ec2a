"""`launcher=auto`: the launcher of one job, chosen from the model's shape and the GPUs' memory.

The choice changes where and how fast a run is made, never its identity: launchers are no part of
the digest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from warmth import devices
from warmth.bounds import number
from warmth.errors import UserError
from warmth.hardware import Device, device
from warmth.memory import GIB, ModelShape, shape_of, training_memory
from warmth.schemas import Train
from warmth.training.launch import DeepSpeed, Local, entry, most_ranks

FULLEST_PASS = (8192, 4096, 2048)  # tokens of a pass that are tried, if they fit with room to spare
ROOM = 0.9  # share of a GPU's memory that a larger pass may fill by the forecast
MOST_GPUS = 16  # tried where no GPU is here and the fewest that fit are looked for


@dataclass(frozen=True)
class Auto:
    """Chooses `local`, `deepspeed_zero2` or `deepspeed_zero3`.

    Quantised weights and offload are only suggested.
    """

    group: ClassVar[str] = "launcher"
    ranks: int | None = number(None, at_least=1)
    per_device: int = number(16, at_least=1)
    tokens_per_pass: int | None = number(None, at_least=1)
    save_steps: int = number(20, at_least=1)
    checkpointing: bool | None = None
    stalled_s: float = number(1800.0, above=0)

    def resolve(self, study: Train) -> dict[str, Any]:
        """Return the entry of another launcher, whole, for this job.

        Raises:
            UserError: `hardware` is not known.
        """
        hardware = device(study.hardware)
        if study.model.kind == "api" or hardware.is_cpu:
            return self.local(checkpointing=bool(self.checkpointing))
        try:
            shape = shape_of(study.model)
        except UserError:
            # a hub that cannot be reached; the ranks say so, or find the files in the cache
            shape = None
        for gpus in self.numbers(study):
            for candidate in self.candidates(gpus):
                if shape is None or needed_gib(candidate, study, shape) <= hardware.memory_gib:
                    return self.filled(candidate, study, shape, hardware)
        # the most frugal; the forecast says what is missing, and what else can be done
        return candidate

    def numbers(self, study: Train) -> list[int]:
        """List the numbers of GPUs to try: the largest that divides the batch.

        If no GPU is here, all that divide it, from 1 up. A number that the user gave is tried as it
        is: if it does not divide the batch, it is refused by name later.
        """
        if self.ranks:
            return [self.ranks]
        batch_size = study.recipe.batch_size
        usable = most_ranks(len(devices.visible_gpus()), batch_size)
        if usable:
            return [usable]
        return [gpus for gpus in range(1, MOST_GPUS + 1) if batch_size % gpus == 0]

    def candidates(self, gpus: int) -> Iterator[dict[str, Any]]:
        """Yield launchers for so many GPUs, the fastest first."""
        choices = [False, True] if self.checkpointing is None else [self.checkpointing]
        if gpus == 1:
            for checkpointing in choices:
                yield self.local(checkpointing)
            return
        for checkpointing in choices:
            yield self.deepspeed(2, gpus, checkpointing)
        yield self.deepspeed(3, gpus, choices[-1])

    def local(self, checkpointing: bool) -> dict[str, Any]:
        """Return the entry of one process."""
        return entry(Local(**self.shared(), checkpointing=checkpointing))

    def deepspeed(self, stage: int, gpus: int, checkpointing: bool) -> dict[str, Any]:
        """Return the entry of a ZeRO stage."""
        return entry(
            DeepSpeed(**self.shared(), zero_stage=stage, ranks=gpus, checkpointing=checkpointing)
        )

    def shared(self) -> dict[str, Any]:
        """Return the keys that are handed on as they are."""
        names = ("per_device", "tokens_per_pass", "save_steps", "stalled_s")
        return {name: getattr(self, name) for name in names}

    def filled(
        self,
        launcher: dict[str, Any],
        study: Train,
        shape: ModelShape | None,
        hardware: Device,
    ) -> dict[str, Any]:
        """Return a launcher whose passes fill the GPU, if nobody said how many tokens they hold."""
        if self.tokens_per_pass is not None or shape is None:
            return launcher
        room = ROOM * hardware.memory_gib
        for tokens in FULLEST_PASS:  # a rank whose share of a step is smaller takes that
            larger = {**launcher, "tokens_per_pass": tokens}
            if tokens > study.recipe.max_length and needed_gib(larger, study, shape) <= room:
                return larger
        return launcher


def needed_gib(launcher: dict[str, Any], study: Train, shape: ModelShape) -> float:
    """Forecast the memory of one rank whose passes are as full as they may be, in GiB."""
    width = 4 if study.recipe.precision == "float32" else 2
    ranks = launcher.get("ranks") or 1
    share = math.ceil(study.recipe.batch_size / ranks) * study.recipe.max_length  # of a step
    tokens = min(launcher["tokens_per_pass"] or study.recipe.max_length, share)
    need = training_memory(
        shape, study.recipe, launcher, "cuda", width, tokens, targets=study.model.lora_targets
    )
    return need.total / GIB
