"""One rank: `python -m warmth.training.sft RUN`.

It takes its GPU and its log first; what is heavy is imported after.

Hydra is never imported here.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from warmth import child_logs, devices
from warmth.children import killed_with_parent
from warmth.errors import RunFailed, UserError

STOPPED = 143  # exit code of ranks that saved and left on SIGTERM
FAILED = 1
REFUSED = 2


def main() -> None:
    """Train as one rank: die with the parent, note why it fails, end the process group cleanly."""
    killed_with_parent()
    folder = Path(sys.argv[1])
    log = rank_log(folder, int(os.environ.get("RANK", 0)))
    child_logs.capture(log)
    try:
        devices.set_device()
        free = free_memory(devices.computes_on().type, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
        from warmth.training import fit

        step = fit.train_rank(folder, free)
    except UserError as error:
        end(log, "user", str(error), REFUSED)
    except RunFailed as error:
        end(log, "known", str(error), FAILED)
    except BaseException as error:
        traceback.print_exc()
        end(log, "crash", child_logs.exception_line(error), FAILED)
    if step is not None:
        fit.barrier()
        line = f"told to end; saved after step {step}, the same command continues"
        end(log, "stopped", line, STOPPED)
    fit.leave_group()
    sys.stdout.flush()
    sys.stderr.flush()
    # All is on disk. Threads of gloo, DeepSpeed or Arrow could keep a finished process from ending.
    os._exit(0)


def rank_log(folder: Path, rank: int) -> Path:
    """Return the file with everything that a rank of a run printed."""
    return folder / "logs" / f"rank-{rank}.log"


def end(log: Path, kind: str, line: str, code: int) -> None:
    """Note why this rank ends and end it at once.

    A plain exit would wait for ranks that wait for this one.
    """
    child_logs.note_failure(log, kind, line)
    print(line, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)


def free_memory(device: str, ranks_here: int) -> float | None:
    """Read the bytes this rank may still take, of its own GPU or of main memory.

    None if the system does not tell.
    """
    if device == "cuda":
        import torch

        return float(torch.cuda.mem_get_info(devices.local_rank())[0])
    path = Path("/proc/meminfo")
    if not path.exists():
        return None
    for line in path.read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024 / ranks_here
    return None


if __name__ == "__main__":
    main()
