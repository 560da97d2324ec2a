"""How the ranks of one training run start, are watched, and end."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from warmth.build import build
from warmth.digest import digest
from warmth.errors import RunFailed, UserError, one_line
from warmth.schemas import Train
from warmth.store import Run, read_json, read_rows, write_json
from warmth.training.prepare import drop_stale_locks, extensions_folder

LAST_LINES = 20  # of a failed rank's output, kept in status.json


def say(line: str) -> None:
    """A line for the user, on standard error: standard output is for results."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Local:
    """One process without DeepSpeed."""

    group: ClassVar[str] = "launcher"
    per_device: int = 8
    save_steps: int = 20
    checkpointing: bool = False
    stalled_s: float = 1800.0

    def __post_init__(self) -> None:
        """Checks ranges."""
        positive(self)

    def train(self, run: Run, study: Train, examples: Iterable[Any]) -> None:
        """Runs the training to its end, or from where it was interrupted."""
        start(run, study, examples, [sys.executable, "-m", "warmth.training.sft", str(run.folder)], ranks=1)


@dataclass(frozen=True)
class DeepSpeed:
    """Several processes on this machine under DeepSpeed, started by torchrun."""

    group: ClassVar[str] = "launcher"
    zero_stage: int = 2
    ranks: int = 2
    per_device: int = 4
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

    def train(self, run: Run, study: Train, examples: Iterable[Any]) -> None:
        """Runs the training to its end, or from where it was interrupted."""
        drop_stale_locks(extensions_folder())
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(self.ranks)]
        start(
            run, study, examples, [sys.executable, *torchrun, "-m", "warmth.training.sft", str(run.folder)], self.ranks
        )


def positive(launcher: Any) -> None:
    """Checks the numbers every launcher has.

    Raises:
        UserError: one is not above zero.
    """
    for key in ("ranks", "per_device", "save_steps", "stalled_s", "nodes"):
        if getattr(launcher, key, 1) < 1:
            raise UserError(f"launcher.{key}={getattr(launcher, key)} must be above 0")


def start(run: Run, study: Train, examples: Iterable[Any], command: list[str], ranks: int) -> None:
    """Writes what the ranks read, starts them, watches them, and seals the run.

    Raises:
        RunFailed: a rank died; the message is its last line, `status.json` holds the last twenty.
        UserError: a rank refused its input.
    """
    if study.recipe.batch_size % ranks:
        raise UserError(f"recipe.batch_size={study.recipe.batch_size} cannot be divided among launcher.ranks={ranks}")
    rows = [asdict(example) for example in examples]
    partial = run.folder / "conversations.jsonl"
    partial.unlink(missing_ok=True)
    run.append("conversations", rows)
    tracker = build(study.logger, "logger").start(run, study, job_type="train")
    try:
        watch(run, command, environment(ranks), tracker)
        result = read_json(run.folder / "result.json")
        result["data"] = digest(rows)
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
    seen = {key: result[key] for key in ("ranks", "precision", "device", "attention", "data")}
    write_json(run.folder / "provenance.json", {**provenance, **seen})
    run.finish(result)
    say(f"done: {run.folder}")


def environment(ranks: int) -> dict[str, str]:
    """The ranks' environment: cores divided among them, compiled operators in the cache, no telemetry."""
    threads = max(1, (os.cpu_count() or 1) // ranks)
    defaults = {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait take the cores from other ranks
        "TOKENIZERS_PARALLELISM": "false",
        "TORCH_EXTENSIONS_DIR": str(extensions_folder()),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    env = {**defaults, **os.environ}
    if not Path("/dev/nvidia0").exists():  # asking torch would cost its import
        env.setdefault("DS_ACCELERATOR", "cpu")
    return env


def watch(run: Run, command: list[str], env: dict[str, str], tracker: Any) -> None:
    """Runs the ranks with a progress bar until they end; on an interrupt or error none is left behind."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=env,
        start_new_session=True,
        preexec_fn=die_with_parent if sys.platform == "linux" else None,
    )
    lines: deque[str] = deque(maxlen=200)
    reader = threading.Thread(target=lambda: lines.extend(line.rstrip() for line in process.stdout or ()), daemon=True)
    reader.start()
    try:
        follow(run, process, tracker)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    reader.join(timeout=5)
    if process.returncode:
        fail(run, list(lines), process.returncode)


def die_with_parent() -> None:
    """Runs in the child before it starts: a killed `train.py` takes its ranks along and frees the folder."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def follow(run: Run, process: subprocess.Popen[str], tracker: Any) -> None:
    """Draws progress and feeds the tracker from `metrics.jsonl` until the process ends."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        say(f"training {run.name}")
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(run.name, total=None, note="loading")
        seen = 0
        while True:
            ended = process.poll() is not None
            rows = list(read_rows(run.folder / "metrics.jsonl"))
            for row in rows[seen:]:
                tracker.log(
                    {key: row[key] for key in ("loss", "grad_norm", "learning_rate", "epoch")}, step=row["step"]
                )
                rate = row["trained_tokens"] / max(row["seconds"], 1e-9)
                note = f"loss {row['loss']:.3f} · {rate:,.0f} trained tokens/s"
                bar.update(task, total=row["steps"], completed=row["step"], note=note)
                if not console.is_terminal and (row["step"] % 10 == 0 or row["step"] == row["steps"]):
                    say(f"  step {row['step']}/{row['steps']} · {note}")
            seen = max(seen, len(rows))
            if ended:
                return
            time.sleep(0.5)


def fail(run: Run, lines: list[str], code: int) -> None:
    """Raises what a dead rank left behind, as one line.

    Raises:
        UserError: the rank said that its input is wrong.
        RunFailed: anything else.
    """
    for kind, error in (("user", UserError), ("run", RunFailed)):
        told = [line for line in lines if f"warmth-{kind}-error: " in line]
        if told:
            raise error(told[0].split(f"warmth-{kind}-error: ", 1)[1])
    remedy = ""
    text = "\n".join(lines)
    if "out of memory" in text.lower():
        remedy = "; out of memory: lower launcher.per_device or choose a higher ZeRO stage"
    if "No space left on device" in text:
        raise UserError(f"no space left on device under {run.folder}")
    run.status("failed", "a rank ended", last_lines=lines[-LAST_LINES:])
    own = [line for line in lines if line.strip() and "torch.distributed.elastic" not in line and "====" not in line]
    wrong = [line for line in own if "Error" in line or "Signal" in line or "exitcode" in line]
    last = one_line(Exception((wrong or own or ["no output"])[-1]))
    raise RunFailed(f"a rank ended with code {code}{remedy}; last line: {last}; more in {run.folder}/status.json")
