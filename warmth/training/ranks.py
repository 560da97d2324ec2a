"""The processes of one training run on this machine: their environment, a watch over them, and how
they end.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from warmth import child_logs
from warmth.children import killed_with_parent
from warmth.devices import pretended, visible
from warmth.errors import RunFailed, UserError, one_line
from warmth.store import Run, read_rows
from warmth.training.follow import Progress
from warmth.training.prepare import extensions_folder

# of what is printed around the ranks: torchrun's lines, or Python that does not even start
START = "start.log"
ROOT_CAUSE = re.compile(
    r"Root Cause.*?rank\s*: (\d+) .*?exitcode\s*: (-?\d+)", re.DOTALL
)  # in torchrun's summary
ENDED_BY_SIGNAL = re.compile(
    r"rank\s*: (\d+) \(local_rank: \d+\)\s+exitcode\s*: (-\d+)"
)  # one entry of the same
LOST_PARTNER = (
    "connection closed by peer",
    "connection reset",
    "remote worker",
    "broken pipe",
    "timed out waiting",
)
LEAVE_S = 30  # seconds that ranks told to end have for saving


def environment(ranks: int) -> dict[str, str]:
    """Build the ranks' environment: cores divided among them, compiled operators in the cache, no
    telemetry.
    """
    threads = max(1, (os.cpu_count() or 1) // ranks)
    defaults = {
        "OMP_NUM_THREADS": str(threads),
        # threads that spin while they wait take the cores from other ranks
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCH_EXTENSIONS_DIR": str(extensions_folder()),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # passes of many lengths leave fewer holes
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    }
    env = {**defaults, **os.environ}
    if pretended() or not visible():
        env.setdefault("DS_ACCELERATOR", "cpu")
    return env


def watch(
    run: Run, command: list[str], env: dict[str, str], tracker: Any, stalled_s: float, node: int = 0
) -> None:
    """Run the ranks with a progress bar until they end; on an interrupt or error none is left
    behind.

    Each rank keeps its words in `<run>/logs/rank-N.log`; what is printed around them goes to
    `start.log` beside. Ranks that are told to end save first, for at most `LEAVE_S` seconds.
    """
    start_log = run.folder / "logs" / start_name(node)
    start_log.parent.mkdir(parents=True, exist_ok=True)
    with start_log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
            preexec_fn=killed_with_parent if sys.platform == "linux" else None,
        )
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
    if process.returncode:
        fail(run, process.returncode, node)


def follow(run: Run, process: subprocess.Popen[bytes], tracker: Any, stalled_s: float) -> None:
    """Show progress and feed the tracker from what the ranks write, until the process ends.

    Raises:
        RunFailed: no step was finished for `stalled_s` seconds.
    """
    with Progress(run.folder, tracker) as progress:
        moved = time.monotonic()
        while True:
            ended = process.poll() is not None
            if progress.take(list(read_rows(run.folder / "metrics.jsonl"))):
                moved = time.monotonic()
            if ended:
                return
            if time.monotonic() - moved > stalled_s:
                raise RunFailed(
                    f"no step was finished for launcher.stalled_s={stalled_s:g} seconds: a rank "
                    f"hangs in a collective "
                    "operation or a step is slower than that; the same command continues from the "
                    "last save"
                )
            time.sleep(0.5)


# What a rank's last lines may hold, and the line a user reads instead.
REMEDIES = (
    (
        "out of memory",
        "out of memory: lower launcher.per_device, set launcher.checkpointing=true, or a higher "
        "ZeRO stage",
    ),
    (
        "DefaultCPUAllocator: can't allocate",
        "out of memory: lower launcher.per_device or launcher.ranks",
    ),
    ("killed by SIGKILL", "if memory ran out: lower launcher.per_device or launcher.ranks"),
    ("timed out", "a collective operation timed out: a rank hangs or died; see launcher.stalled_s"),
)


def fail(run: Run, code: int, node: int = 0) -> None:
    """Raise what the rank that failed first left behind, as one line.

    Raises:
        UserError: the rank said that its input is wrong, or the disk is full.
        RunFailed: anything else.
        KeyboardInterrupt: the ranks were told to leave; they saved first.
    """
    folder = run.folder / "logs"
    failure = child_logs.first_failure(sorted(folder.glob("rank-*.log")))
    if failure is not None and follows_a_kill(failure, folder / start_name(node)):
        failure = None
    if failure is not None and failure.kind == "stopped":
        raise KeyboardInterrupt(failure.line)
    if failure is not None and failure.kind == "user":
        raise UserError(failure.line)
    log = Path(failure.log) if failure is not None else log_of_killed(folder, node)
    lines = child_logs.last_lines(log)
    if failure is not None and failure.kind == "known":
        error = RunFailed(failure.line)
        error.last_lines = tuple(lines)
        raise error
    text = "\n".join(lines)
    if "No space left on device" in text or "os error 28" in text:
        raise UserError(
            f"no space left on device under {run.folder}; free some, the same command continues"
        )
    cause = (
        failure.line if failure is not None else killed_line(folder / start_name(node), code, lines)
    )
    error = RunFailed(
        f"a rank ended with code {code}: {remedy(text, cause)}all its words: {log}: {cause}"
    )
    error.last_lines = tuple(lines)
    raise error


def follows_a_kill(failure: child_logs.Failure, start_log: Path) -> bool:
    """Say whether a rank failed because another was killed: a killed rank notes nothing, its
    partners lose it.
    """
    lost = failure.kind == "crash" and any(sign in failure.line.lower() for sign in LOST_PARTNER)
    return lost and killed_rank(start_log) is not None


def killed_rank(start_log: Path) -> tuple[int, int] | None:
    """Find in torchrun's summary a rank that a signal ended, and its exit code; the agent's own
    SIGTERM is none.
    """
    entries = [
        (int(rank), int(code)) for rank, code in ENDED_BY_SIGNAL.findall(start_words(start_log))
    ]
    return next((entry for entry in entries if entry[1] != -signal.SIGTERM), None)


def remedy(words: str, cause: str) -> str:
    """Return what to do about a failure whose cause is known, with a semicolon after it; else
    nothing.
    """
    for sign, line in REMEDIES:
        if sign.lower() in words.lower() or sign.lower() in cause.lower():
            return f"{line}; "
    return ""


def start_name(node: int) -> str:
    """Name the file of what is printed around a machine's ranks; machines of one run share its
    folder.
    """
    return f"start-{node}.log" if node else START


def log_of_killed(folder: Path, node: int) -> Path:
    """Return the words of the rank that torchrun saw die first, or of the only one; else what
    stands around them.
    """
    ranks = sorted(folder.glob("rank-*.log"))
    killed = killed_rank(folder / start_name(node))
    root = ROOT_CAUSE.search(start_words(folder / start_name(node)))
    number = root[1] if root else None
    if killed is not None:
        number = str(killed[0])
    if folder / f"rank-{number}.log" in ranks:
        return folder / f"rank-{number}.log"
    return ranks[0] if len(ranks) == 1 else folder / start_name(node)


def killed_line(start_log: Path, code: int, lines: list[str]) -> str:
    """Say by which signal a rank was ended that left no exception, and its last words."""
    killed = killed_rank(start_log)
    root = ROOT_CAUSE.search(start_words(start_log))
    number = int(root[2]) if root else code
    if killed is not None:
        number = killed[1]
    last = one_line(Exception(lines[-1])) if lines else "it printed nothing"
    if number >= 0:
        return last
    name = signal.Signals(-number).name
    why = " (as the system does when memory runs out)" if name == "SIGKILL" else ""
    return f"killed by {name}{why}: {last}"


def start_words(path: Path) -> str:
    """Read what was printed around the ranks: torchrun's own lines."""
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
