"""Building DeepSpeed's operation ahead of the first run: `python -m warmth.training.prepare`.

On a CPU, DeepSpeed compiles it (20 s) whenever ranks first meet, even for plain gloo. Done here it
costs nobody a time limit, and a missing compiler is found during set-up, not in the first training.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from warmth.digest import cache_folder, digest
from warmth.errors import RunFailed, UserError, guarded

TIMEOUT_S = 600
STALE_S = 120
BUILD = """
import deepspeed
deepspeed.init_distributed(dist_backend="gloo", verbose=False)
import torch.distributed
torch.distributed.destroy_process_group()
"""


def extensions_folder() -> Path:
    """Find where compiled operations are stored: `TORCH_EXTENSIONS_DIR`, else the project's cache.

    One folder for each environment, because what is compiled fits one Python and one torch, and is
    compiled anew when the paths of their headers change.
    """
    if named := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(named)
    return cache_folder() / "torch_extensions" / digest([sys.prefix, sys.version, version("torch")])


@guarded
def main() -> None:
    """Compile the operation unless it is there already.

    Raises:
        UserError: there is no C++ compiler.
        RunFailed: the compiler or DeepSpeed failed, or took over ten minutes.
    """
    started = time.monotonic()
    folder = extensions_folder()
    folder.mkdir(parents=True, exist_ok=True)
    compiler = shlex.split(os.environ.get("CXX") or "c++")[0]
    if shutil.which(compiler) is None:
        raise UserError(
            f"no C++ compiler ({compiler}) is found; "
            "DeepSpeed needs one: `apt-get install g++`, or set CXX"
        )
    drop_stale_locks(folder)
    print("DeepSpeed: building its shared-memory operation (about 20 s, once) …", flush=True)
    _build({**os.environ, "TORCH_EXTENSIONS_DIR": str(folder)})
    print(f"DeepSpeed: ready after {time.monotonic() - started:.0f} s")


def drop_stale_locks(folder: Path) -> None:
    """Remove locks that killed ranks or builds left behind; torch would wait for them for ever.

    A lock is a bare file without an owner, held for a moment when an operation is loaded and some
    20 s when it is built. So one is waited for until it goes, or is two minutes old and belongs to
    nobody.
    """
    for lock in folder.glob("*/lock"):
        while lock.exists():
            if time.time() - lock.stat().st_mtime > STALE_S:
                lock.unlink(missing_ok=True)
            else:
                time.sleep(0.5)


def _build(environment: dict[str, str]) -> None:
    """Start one gloo rank, whose first act is to build the operation.

    If it takes too long, its compiler is ended too.
    """
    rank = {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD],
        env={"DS_ACCELERATOR": "cpu", **environment, **rank},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise RunFailed(f"building DeepSpeed's operation took over {TIMEOUT_S} s") from error
        raise
    if process.returncode != 0:
        print(output, file=sys.stderr)
        raise RunFailed(
            "DeepSpeed's operation could not be built; the compiler's lines stand above"
        )


if __name__ == "__main__":
    main()
