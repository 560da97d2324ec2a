"""The processes of one training run on this machine: how they start, are watched, and end."""

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
from warmth.devices import pretended, visible_gpus
from warmth.errors import RunFailed, UserError, one_line
from warmth.store import Run, read_rows
from warmth.training.follow import TrainingProgress
from warmth.training.prepare import extensions_folder

# of what is printed around the ranks: torchrun's lines, or Python that does not even start
START = "start.log"
# Both in torchrun's summary: the rank it saw fail first, and a rank that a signal ended.
ROOT_CAUSE = re.compile(r"Root Cause.*?rank\s*: (\d+) .*?exitcode\s*: (-?\d+)", re.DOTALL)
ENDED_BY_SIGNAL = re.compile(r"rank\s*: (\d+) \(local_rank: \d+\)\s+exitcode\s*: (-\d+)")
LOST_PARTNER = (
    "connection closed by peer",
    "connection reset",
    "remote worker",
    "broken pipe",
    "timed out waiting",
)
LEAVE_S = 30  # seconds that ranks told to end have for saving


def environment(ranks: int) -> dict[str, str]:
    """Build the ranks' environment.

    Cores are divided among them, compiled operators lie in the cache, and nothing is reported.
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
    if pretended() or not visible_gpus():
        env.setdefault("DS_ACCELERATOR", "cpu")
    return env


def watch(
    run: Run, command: list[str], env: dict[str, str], tracker: Any, stalled_s: float, node: int = 0
) -> None:
    """Run the ranks and show their progress until they end; on an error none is left behind.

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
        follow_ranks(run, process, tracker, stalled_s)
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


def follow_ranks(
    run: Run, process: subprocess.Popen[bytes], tracker: Any, stalled_s: float
) -> None:
    """Show progress and feed the tracker from what the ranks write, until the process ends.

    Raises:
        RunFailed: no step was finished for `stalled_s` seconds.
    """
    with TrainingProgress(run.folder, tracker) as progress:
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
                    "hangs in a collective operation or a step is slower than that; the same "
                    "command continues from the last save"
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
    start_log = folder / start_name(node)
    failure = child_logs.first_failure(sorted(folder.glob("rank-*.log")))
    if failure is None or follows_a_kill(failure, start_log):
        log = log_of_killed(folder, node)
        lines = child_logs.last_lines(log)
        cause = killed_line(start_log, code, lines)
    else:
        if failure.kind == "stopped":
            raise KeyboardInterrupt(failure.line)
        if failure.kind == "user":
            raise UserError(failure.line)
        log = Path(failure.log)
        lines = child_logs.last_lines(log)
        if failure.kind == "known":
            raise failed(failure.line, lines)
        cause = failure.line
    text = "\n".join(lines)
    if "No space left on device" in text or "os error 28" in text:
        raise UserError(
            f"no space left on device under {run.folder}; free some, the same command continues"
        )
    raise failed(
        f"a rank ended with code {code}: {failure_remedy(text, cause)}all its words: {log}: "
        f"{cause}",
        lines,
    )


def failed(line: str, lines: list[str]) -> RunFailed:
    """Make the error of a rank from its line and its log's last lines."""
    error = RunFailed(line)
    error.last_lines = tuple(lines)
    return error


def follows_a_kill(failure: child_logs.Failure, start_log: Path) -> bool:
    """Tell whether a rank failed because another was killed.

    A killed rank notes nothing, and its partners lose it.
    """
    line = failure.line.lower()
    lost_partner = failure.kind == "crash" and any(sign in line for sign in LOST_PARTNER)
    return lost_partner and killed_rank(start_log) is not None


def killed_rank(start_log: Path) -> tuple[int, int] | None:
    """Find in torchrun's summary a rank that a signal ended, and its exit code.

    Ranks that torchrun itself ended, by SIGTERM, do not count.
    """
    for rank, code in ENDED_BY_SIGNAL.findall(start_words(start_log)):
        if int(code) != -signal.SIGTERM:
            return int(rank), int(code)
    return None


def failure_remedy(words: str, cause: str) -> str:
    """Say what to do about a failure of a known cause, followed by a semicolon.

    An empty string if the cause is not known.
    """
    for sign, line in REMEDIES:
        if sign.lower() in words.lower() or sign.lower() in cause.lower():
            return f"{line}; "
    return ""


def start_name(node: int) -> str:
    """Name the file of what is printed around a machine's ranks; machines share the folder."""
    return f"start-{node}.log" if node else START


def log_of_killed(folder: Path, node: int) -> Path:
    """Find the log of the rank that torchrun saw die first, or of the only one.

    Else the log of what is printed around the ranks.
    """
    start_log = folder / start_name(node)
    logs = sorted(folder.glob("rank-*.log"))
    root = ROOT_CAUSE.search(start_words(start_log))
    killed = killed_rank(start_log)
    rank = None
    if killed is not None:
        rank = killed[0]
    elif root is not None:
        rank = int(root[1])
    if folder / f"rank-{rank}.log" in logs:
        return folder / f"rank-{rank}.log"
    return logs[0] if len(logs) == 1 else start_log


def killed_line(start_log: Path, code: int, lines: list[str]) -> str:
    """Say by which signal a rank was ended that left no exception, and its last words."""
    root = ROOT_CAUSE.search(start_words(start_log))
    killed = killed_rank(start_log)
    if killed is not None:
        code = killed[1]
    elif root is not None:
        code = int(root[2])
    last_words = one_line(Exception(lines[-1])) if lines else "it printed nothing"
    if code >= 0:
        return last_words
    name = signal.Signals(-code).name
    why = " (as the system does when memory runs out)" if name == "SIGKILL" else ""
    return f"killed by {name}{why}: {last_words}"


def start_words(path: Path) -> str:
    """Read what was printed around the ranks: torchrun's own lines."""
    if not path.exists():
        return ""
    return path.read_text(encoding="utf-8", errors="replace")
