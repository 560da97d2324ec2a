"""The processes of one training run on this machine: their environment, a watch over them, and how they end."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any

from warmth.devices import pretended, visible
from warmth.errors import RunFailed, UserError, one_line
from warmth.store import Run, read_rows
from warmth.training.prepare import extensions_folder

LAST_LINES = 20  # of a failed rank's output, kept in status.json
LEAVE_S = 30  # seconds that ranks told to end have for saving


def say(line: str) -> None:
    """A line for the user, on standard error: standard output is for results."""
    print(line, file=sys.stderr, flush=True)


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
    if pretended() or not visible():
        env.setdefault("DS_ACCELERATOR", "cpu")
    return env


def watch(run: Run, command: list[str], env: dict[str, str], tracker: Any, stalled_s: float) -> None:
    """Runs the ranks with a progress bar until they end; on an interrupt or error none is left behind.

    Ranks that are told to end save first, for at most `LEAVE_S` seconds.
    """
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=env,
        start_new_session=True,
        preexec_fn=killed_with_parent if sys.platform == "linux" else None,
    )
    lines: deque[str] = deque(maxlen=200)
    reader = threading.Thread(target=lambda: lines.extend(line.rstrip() for line in process.stdout or ()), daemon=True)
    reader.start()
    try:
        follow(run, process, tracker, stalled_s)
    except RunFailed:  # they hang, so they would not hear a polite signal either
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=LEAVE_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    reader.join(timeout=5)
    if process.returncode:
        fail(run, list(lines), process.returncode)


def die_with_parent(how: int = signal.SIGTERM) -> None:
    """Runs in a child before it starts, so that it does not outlive its parent."""
    ctypes.CDLL(None).prctl(1, how)  # PR_SET_PDEATHSIG


def killed_with_parent() -> None:
    """Ranks go at once and without saving: another process may already be continuing the run."""
    die_with_parent(signal.SIGKILL)


def follow(run: Run, process: subprocess.Popen[str], tracker: Any, stalled_s: float) -> None:
    """Draws progress and feeds the tracker from `metrics.jsonl` until the process ends.

    Raises:
        RunFailed: no step was finished for `stalled_s` seconds.
    """
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
        seen, moved = 0, time.monotonic()
        while True:
            ended = process.poll() is not None
            rows = list(read_rows(run.folder / "metrics.jsonl"))
            if len(rows) != seen:
                moved = time.monotonic()
            for row in rows[seen:]:
                if tracker is not None:
                    shown = {key: row[key] for key in ("loss", "grad_norm", "learning_rate", "epoch")}
                    tracker.log(shown, step=row["step"])
                rate = row["trained_tokens"] / max(row["seconds"], 1e-9)
                note = f"loss {row['loss']:.3f} · {rate:,.0f} trained tokens/s"
                bar.update(task, total=row["steps"], completed=row["step"], note=note)
                if not console.is_terminal and (row["step"] % 10 == 0 or row["step"] == row["steps"]):
                    say(f"  step {row['step']}/{row['steps']} · {note}")
            seen = max(seen, len(rows))
            if ended:
                return
            if time.monotonic() - moved > stalled_s:
                raise RunFailed(
                    f"no step was finished for launcher.stalled_s={stalled_s:g} seconds: a rank hangs in a collective "
                    "operation or a step is slower than that; the same command continues from the last save"
                )
            time.sleep(0.5)


# What a rank's last lines may hold, and the line a user reads instead.
REMEDIES = (
    (
        "out of memory",
        "out of memory: lower launcher.per_device, set launcher.checkpointing=true, or a higher ZeRO stage",
    ),
    ("DefaultCPUAllocator: can't allocate", "out of memory: lower launcher.per_device or launcher.ranks"),
    ("timed out", "a collective operation timed out: a rank hangs or died; see launcher.stalled_s"),
)


def fail(run: Run, lines: list[str], code: int) -> None:
    """Raises what a dead rank left behind, as one line.

    Raises:
        UserError: the rank said that its input is wrong, or the disk is full.
        RunFailed: anything else.
        KeyboardInterrupt: the ranks were told to leave; they saved first.
    """
    text = "\n".join(lines)
    if "warmth-stopped: " in text:
        raise KeyboardInterrupt("told to end; saved, the same command continues")
    for kind, error in (("user", UserError), ("run", RunFailed)):
        told = [line for line in lines if f"warmth-{kind}-error: " in line]
        if told:
            raise error(told[0].split(f"warmth-{kind}-error: ", 1)[1])
    if "No space left on device" in text or "os error 28" in text:
        raise UserError(f"no space left on device under {run.folder}; free some, the same command continues")
    known = next((remedy for sign, remedy in REMEDIES if sign.lower() in text.lower()), "")
    if not known and code in (-9, 137):
        known = "it was killed, as the system does when memory runs out: lower launcher.per_device or launcher.ranks"
    own = [line for line in lines if line.strip() and "torch.distributed.elastic" not in line and "====" not in line]
    wrong = [line for line in own if "Error" in line or "Signal" in line or "exitcode" in line]
    last = one_line(Exception((wrong or own or ["no output"])[-1]))
    told_by = f"{known}; " if known else ""
    failure = RunFailed(f"a rank ended with code {code}: {told_by}last line: {last}; more in {run.folder}/status.json")
    failure.last_lines = tuple(lines[-LAST_LINES:])
    raise failure
