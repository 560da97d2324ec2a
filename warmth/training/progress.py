"""What a run tells while it trains, and how it ends early.

Rows of metrics, bounds on the loss, a stop on SIGTERM.
"""

from __future__ import annotations

import json
import math
import signal
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from warmth.errors import RunFailed
from warmth.store import read_rows, write_json
from warmth.training.follow import PASSES

# times the loss of the first steps: no recipe of this project comes back from there
EXPLODED = 10.0
FIRST = 5  # steps whose mean is "the loss of the first steps"


class MetricsWriter(TrainerCallback):
    """Writes `metrics.jsonl` (rank 0), which the parent shows and hands to the tracker."""

    def __init__(self, folder: Path, tokens: list[int], per_epoch: int):
        self.path = folder / "metrics.jsonl"
        self.tokens = tokens
        self.per_epoch = per_epoch
        self.losses: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin to count the passes of a step."""
        self.passes = 0

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note how far a step is, which takes minutes on a large model.

        Only the parent's lines need it.
        """
        self.passes += 1
        row = {
            "step": state.global_step + 1,
            "passes": self.passes,
            "of": args.gradient_accumulation_steps,
        }
        try:
            write_json(self.path.with_name(PASSES), row)
        except OSError:
            pass  # a full disk ends the run where something is lost, not here

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Drop the rows after the checkpoint: a resumed run repeats their steps."""
        self.clock = time.perf_counter()
        rows = [row for row in read_rows(self.path) if row["step"] <= state.global_step]
        self.losses = [row["loss"] for row in rows]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        partial.replace(self.path)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Write one row for each optimiser step."""
        if not logs or "loss" not in logs:
            return
        now = time.perf_counter()
        step = state.global_step
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
        if "validation_loss" in logs:  # at a checkpoint
            row["validation_loss"] = float(logs["validation_loss"])
        for name, value in logs.items():
            if name.startswith("rewards/"):
                row[name.replace("/", "_")] = float(value)
        self.clock = now
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        self.losses.append(row["loss"])
        refuse_explosion(self.losses, step)


def refuse_explosion(losses: list[float], step: int) -> None:
    """End a run whose loss left all bounds.

    Raises:
        RunFailed: the loss is not finite, or far above that of the first steps.
    """
    remedy = "lower recipe.learning_rate, or recipe.precision=float32"
    loss = losses[-1]
    if not math.isfinite(loss):
        raise RunFailed(f"the loss is {loss} at step {step}: {remedy}")
    first_losses = losses[:FIRST]
    first_mean = sum(first_losses) / len(first_losses)
    if len(losses) > FIRST and loss > EXPLODED * max(first_mean, 0.1):
        raise RunFailed(
            f"the loss exploded: {loss:.3g} at step {step}, {first_mean:.3g} in the first: {remedy}"
        )


class StopOnSignal(TrainerCallback):
    """On SIGTERM, saves after the pass under way and ends, on every rank.

    So a job told to leave loses less than a step. A step may take minutes, and schedulers wait for
    half of one. What is saved is the last whole step, with the random numbers that the next began
    with.
    """

    def __init__(self) -> None:
        self.asked = False
        self.stopped = False
        self.saved = 0  # step of the newest save
        self.random: tuple[torch.Tensor, list[torch.Tensor]] | None = None
        signal.signal(signal.SIGTERM, self.ask)

    def ask(self, *_: Any) -> None:
        """Handle the signal."""
        self.asked = True

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note the save that a continued run starts from."""
        self.saved = state.global_step

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Remember the newest save."""
        self.saved = state.global_step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Remember the random states: passes of a step that is given up have drawn from them."""
        cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        self.random = (torch.get_rng_state(), cuda_states)

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave between two passes of a step, if told to."""
        if self.agreed(args):
            if self.random is not None:
                cpu_state, cuda_states = self.random
                torch.set_rng_state(cpu_state)
                torch.cuda.set_rng_state_all(cuda_states)
            self.leave(control, saves=state.global_step > self.saved)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Leave between two steps, if told to."""
        if self.agreed(args) and state.global_step < state.max_steps:
            self.leave(control, saves=True)

    def agreed(self, args: Any) -> bool:
        """Tell whether any rank was told to end: they hear the signal at different moments."""
        asked = torch.tensor(float(self.asked), device=args.device)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
        return bool(asked.item())

    def leave(self, control: Any, saves: bool) -> None:
        """Tell the Trainer to end."""
        self.stopped = True
        control.should_training_stop = True
        control.should_save = saves
