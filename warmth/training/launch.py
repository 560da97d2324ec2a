"""Launchers: how the ranks of one training run are started, and the run sealed at their end."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from warmth import tracking
from warmth.bounds import number
from warmth.child_logs import forget_failures
from warmth.devices import child_environment, visible_gpus
from warmth.errors import UserError
from warmth.schemas import Train
from warmth.store import Run, read_json, write_json
from warmth.text import say
from warmth.training.prepare import drop_stale_locks, extensions_folder
from warmth.training.ranks import environment, watch

RANKS_ON_CPU = 2  # of the launchers that start several, if nobody says how many
HOST_AND_PORT = re.compile(r"[\w.:\[\]-]+:\d+", re.ASCII)
# what of a result belongs to its provenance
MEASURED = ("ranks", "precision", "device", "attention", "revision", "data", "memory")


@dataclass(frozen=True)
class Local:
    """One process on one GPU, else on the CPU, without DeepSpeed."""

    group: ClassVar[str] = "launcher"
    per_device: int = number(16, at_least=1)
    tokens_per_pass: int | None = number(None, at_least=1)
    save_steps: int = number(20, at_least=1)
    checkpointing: bool = False
    stalled_s: float = number(1800.0, above=0)

    @property
    def joins(self) -> bool:
        """Tell whether another machine keeps the run folder: never, with one process."""
        return False

    def train(self, run: Run, study: Train, examples: Iterable[Any]) -> None:
        """Run the training to its end, or from where it was interrupted.

        The process sees one GPU however many there are: the Trainer would split a packed row over
        all that it sees.
        """
        command = [sys.executable, "-m", "warmth.training.sft", str(run.folder)]
        env = child_environment(visible_gpus()[:1], environment(1))
        start_ranks(run, study, examples, command, env, ranks=1)


@dataclass(frozen=True)
class Ddp:
    """Several processes with a whole copy of the model each: PyTorch's own data parallelism."""

    group: ClassVar[str] = "launcher"
    ranks: int | None = number(None, at_least=1)
    per_device: int = number(16, at_least=1)
    tokens_per_pass: int | None = number(None, at_least=1)
    save_steps: int = number(20, at_least=1)
    checkpointing: bool = False
    stalled_s: float = number(1800.0, above=0)
    nodes: int = number(1, at_least=1)
    node: int = number(0, at_least=0)
    rendezvous: str | None = None

    def __post_init__(self) -> None:
        """Check what depends on several keys."""
        if not 0 <= self.node < self.nodes:
            raise UserError(
                f"launcher.node={self.node} must lie in 0 to launcher.nodes - 1 = {self.nodes - 1}"
            )
        if self.rendezvous is not None and not HOST_AND_PORT.fullmatch(self.rendezvous):
            raise UserError(f"launcher.rendezvous={self.rendezvous} must be HOST:PORT of machine 0")

    def resolve(self, study: Train) -> dict[str, Any]:
        """Return the entry with its number of ranks: one for each usable GPU, or two on a CPU."""
        ranks = (
            self.ranks or most_ranks(len(visible_gpus()), study.recipe.batch_size) or RANKS_ON_CPU
        )
        return entry(replace(self, ranks=ranks))

    @property
    def joins(self) -> bool:
        """Tell whether another machine keeps the run folder."""
        return self.node > 0

    def train(self, run: Run, study: Train, examples: Iterable[Any]) -> None:
        """Run the training to its end, or from where it was interrupted.

        Raises:
            UserError: there are fewer GPUs than ranks.
        """
        gpus = visible_gpus()
        ranks = self.ranks or 1
        if gpus and ranks > len(gpus):
            raise UserError(
                f"launcher.ranks={ranks} is more than the {len(gpus)} GPUs that may be used here "
                f"({', '.join(gpus)}); launcher=auto takes what there is"
            )
        drop_stale_locks(extensions_folder())
        command = self.command(run)
        start_ranks(run, study, examples, command, environment(ranks), ranks * self.nodes)

    def command(self, run: Run) -> list[str]:
        """Return what starts this machine's ranks: torchrun.

        Raises:
            UserError: several machines, and nobody said where they meet (on Slurm the job says it).
        """
        meeting = ["--standalone"]
        if self.nodes > 1:
            if self.rendezvous is None:
                raise UserError(
                    f"launcher.nodes={self.nodes} needs launcher.rendezvous=HOST:PORT of machine 0"
                )
            host, _, port = self.rendezvous.rpartition(":")
            meeting = ["--nnodes", str(self.nodes), "--node-rank", str(self.node)]
            meeting += ["--master-addr", host, "--master-port", port]
        torchrun = [sys.executable, "-m", "torch.distributed.run", *meeting]
        torchrun += ["--nproc-per-node", str(self.ranks)]
        return [*torchrun, "-m", "warmth.training.sft", str(run.folder.resolve())]

    def join(self, run: Run, study: Train) -> None:
        """Run this machine's ranks of a run that machine 0 keeps.

        They wait for it at the rendezvous.
        """
        say(f"node {self.node} of {self.nodes}: joining {run.name} at {self.rendezvous}")
        watch(
            run,
            self.command(run),
            environment(self.ranks or 1),
            tracker=None,
            stalled_s=study.launcher["stalled_s"],
            node=self.node,
        )


@dataclass(frozen=True)
class DeepSpeed(Ddp):
    """Several processes under DeepSpeed; what each holds whole depends on the ZeRO stage."""

    zero_stage: int = number(2, at_least=0, at_most=3)
    offload: bool = False

    def __post_init__(self) -> None:
        """Check what depends on several keys."""
        super().__post_init__()
        if self.offload and self.zero_stage < 3:
            raise UserError(
                "launcher.offload=true keeps divided weights in main memory, but "
                f"launcher.zero_stage={self.zero_stage} divides none; "
                "use launcher=deepspeed_zero3_offload"
            )


def most_ranks(gpus: int, batch_size: int) -> int:
    """Return the largest number of ranks up to `gpus` that the global batch can be divided among.

    0 without a GPU.
    """
    return max((ranks for ranks in range(1, gpus + 1) if batch_size % ranks == 0), default=0)


def entry(launcher: Any) -> dict[str, Any]:
    """Return a launcher as conf/launcher would have it."""
    cls = type(launcher)
    return {"_target_": f"{cls.__module__}.{cls.__qualname__}", **asdict(launcher)}


def start_ranks(
    run: Run,
    study: Train,
    examples: Iterable[Any],
    command: list[str],
    env: dict[str, str],
    ranks: int,
) -> None:
    """Write what the ranks read, start those of this machine, watch them, and seal the run.

    Args:
        run: open.
        study: its config.
        examples: conversations of the arm.
        command: what starts this machine's ranks.
        env: their environment.
        ranks: of all machines together.

    Raises:
        RunFailed: a rank died; the message quotes the one that failed first, `status.json` holds
        its last twenty lines.
        UserError: a rank refused its input.
    """
    if study.recipe.batch_size % ranks:
        raise UserError(
            f"recipe.batch_size={study.recipe.batch_size} cannot be divided among "
            f"launcher.ranks={ranks}"
        )
    (run.folder / "conversations.jsonl").unlink(missing_ok=True)
    run.append("conversations", [asdict(example) for example in examples])
    drop_partial(run.folder)
    tracker = tracking.start_trackers(run, study, job_type="train")
    try:
        forget_failures(run.folder / "logs")
        watch(run, command, {**env, **offline(study)}, tracker, study.launcher["stalled_s"])
        result = read_json(run.folder / "result.json")
        tracker.summary(result)
        for folder in sorted((run.folder / "checkpoints").glob("epoch-*")):
            name = f"{run.name}-{folder.name}"
            tracker.artifact(name, "adapter", folder, {"data": result["data"]})
    except BaseException:
        tracker.finish(failed=True)
        raise
    tracker.finish()
    shutil.rmtree(run.folder / "resume", ignore_errors=True)
    (run.folder / "result.json").unlink()
    provenance = read_json(run.folder / "provenance.json")
    for key in MEASURED:
        provenance[key] = result[key]
    write_json(run.folder / "provenance.json", provenance)
    run.finish(result)
    say(f"done: {run.folder}")


def offline(study: Train) -> dict[str, str]:
    """Return what keeps each rank from asking the hub: its files were fetched before."""
    if study.model.kind != "hub":
        return {}
    return {"HF_HUB_OFFLINE": "1"}


def drop_partial(folder: Path) -> None:
    """Remove checkpoints that a kill left half-written; they never had a checkpoint's name."""
    for path in (folder / "checkpoints").glob("*.partial"):
        shutil.rmtree(path, ignore_errors=True)
