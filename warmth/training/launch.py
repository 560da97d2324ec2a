"""Launchers: how the ranks of one training run are started, and the run sealed when they are done."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from warmth.build import build
from warmth.errors import UserError
from warmth.schemas import Train
from warmth.store import Run, read_json, write_json
from warmth.training.prepare import drop_stale_locks, extensions_folder
from warmth.training.ranks import environment, say, watch


@dataclass(frozen=True)
class Local:
    """One process without DeepSpeed."""

    group: ClassVar[str] = "launcher"
    per_device: int = 16
    save_steps: int = 20
    checkpointing: bool = False
    stalled_s: float = 1800.0

    def __post_init__(self) -> None:
        """Checks ranges."""
        positive(self)

    @property
    def joins(self) -> bool:
        """Whether another machine keeps the run folder: never, with one process."""
        return False

    def train(self, run: Run, study: Train, examples: Iterable[Any]) -> None:
        """Runs the training to its end, or from where it was interrupted."""
        start(run, study, examples, [sys.executable, "-m", "warmth.training.sft", str(run.folder)], 1, 1)


@dataclass(frozen=True)
class DeepSpeed:
    """Several processes on this machine under DeepSpeed, started by torchrun."""

    group: ClassVar[str] = "launcher"
    zero_stage: int = 2
    ranks: int = 2
    per_device: int = 16
    save_steps: int = 20
    offload: bool = False
    checkpointing: bool = False
    stalled_s: float = 1800.0
    nodes: int = 1
    node: int = 0
    rendezvous: str | None = None

    def __post_init__(self) -> None:
        """Checks ranges."""
        positive(self)
        if self.zero_stage not in range(4):
            raise UserError(f"launcher.zero_stage={self.zero_stage} must be 0, 1, 2 or 3")
        if not 0 <= self.node < self.nodes:
            raise UserError(f"launcher.node={self.node} must lie in 0 to launcher.nodes - 1 = {self.nodes - 1}")
        if self.rendezvous is not None and not re.fullmatch(r"[\w.:\[\]-]+:\d+", self.rendezvous, re.ASCII):
            raise UserError(f"launcher.rendezvous={self.rendezvous} must be HOST:PORT of machine 0")

    @property
    def joins(self) -> bool:
        """Whether another machine keeps the run folder."""
        return self.node > 0

    def train(self, run: Run, study: Train, examples: Iterable[Any]) -> None:
        """Runs the training to its end, or from where it was interrupted."""
        drop_stale_locks(extensions_folder())
        start(run, study, examples, self.command(run), self.ranks, self.ranks * self.nodes)

    def command(self, run: Run) -> list[str]:
        """What starts this machine's ranks: torchrun.

        Raises:
            UserError: several machines, and nobody said where they meet (on Slurm the job says it).
        """
        meeting = ["--standalone"]
        if self.nodes > 1:
            if self.rendezvous is None:
                raise UserError(f"launcher.nodes={self.nodes} needs launcher.rendezvous=HOST:PORT of machine 0")
            host, _, port = self.rendezvous.rpartition(":")
            meeting = ["--nnodes", str(self.nodes), "--node-rank", str(self.node)]
            meeting += ["--master-addr", host, "--master-port", port]
        torchrun = [sys.executable, "-m", "torch.distributed.run", *meeting, "--nproc-per-node", str(self.ranks)]
        return [*torchrun, "-m", "warmth.training.sft", str(run.folder.resolve())]

    def join(self, run: Run, study: Train) -> None:
        """This machine's ranks of a run that machine 0 keeps; they wait for it at the rendezvous."""
        say(f"node {self.node} of {self.nodes}: joining {run.name} at {self.rendezvous}")
        watch(run, self.command(run), environment(self.ranks), None, study.launcher["stalled_s"])


def positive(launcher: Any) -> None:
    """Checks the numbers every launcher has.

    Raises:
        UserError: one is not above zero.
    """
    for key in ("ranks", "per_device", "save_steps", "stalled_s", "nodes"):
        if getattr(launcher, key, 1) < 1:
            raise UserError(f"launcher.{key}={getattr(launcher, key)} must be above 0")


def start(run: Run, study: Train, examples: Iterable[Any], command: list[str], here: int, ranks: int) -> None:
    """Writes what the ranks read, starts those of this machine, watches them, and seals the run.

    Raises:
        RunFailed: a rank died; the message is its last line, `status.json` holds the last twenty.
        UserError: a rank refused its input.
    """
    if study.recipe.batch_size % ranks:
        raise UserError(f"recipe.batch_size={study.recipe.batch_size} cannot be divided among launcher.ranks={ranks}")
    (run.folder / "conversations.jsonl").unlink(missing_ok=True)
    run.append("conversations", [asdict(example) for example in examples])
    drop_partial(run.folder)
    tracker = build(study.logger, "logger").start(run, study, job_type="train")
    try:
        watch(run, command, environment(here), tracker, study.launcher["stalled_s"])
        result = read_json(run.folder / "result.json")
        tracker.summary(result)
        for folder in sorted((run.folder / "checkpoints").glob("epoch-*")):
            tracker.artifact(f"{run.name}-{folder.name}", "adapter", folder, {"data": result["data"]})
    except BaseException:
        tracker.finish(failed=True)
        raise
    tracker.finish()
    shutil.rmtree(run.folder / "resume", ignore_errors=True)
    (run.folder / "result.json").unlink()
    provenance = read_json(run.folder / "provenance.json")
    seen = ("ranks", "precision", "device", "attention", "revision", "data", "memory")
    write_json(run.folder / "provenance.json", {**provenance, **{key: result[key] for key in seen}})
    run.finish(result)
    say(f"done: {run.folder}")


def drop_partial(folder: Path) -> None:
    """Removes checkpoints that a kill left half-written; they never had a checkpoint's name."""
    for path in (folder / "checkpoints").glob("*.partial"):
        shutil.rmtree(path, ignore_errors=True)
