"""The one owner of devices: which GPUs this process may use, how many a job needs, and which its
children see.

Everybody asks here, so that tests can take every branch of a GPU on a machine without one:
`WARMTH_AS_ON_GPUS=2` makes this process and its ranks choose all settings as on two GPUs, while
their tensors stay on the CPU.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmth.errors import UserError

if TYPE_CHECKING:
    import torch

AS_ON_GPUS = "WARMTH_AS_ON_GPUS"  # how many GPUs tests pretend that there are
VISIBLE = "CUDA_VISIBLE_DEVICES"
NAME = re.compile(r"\d+|GPU-[\w-]+|MIG-[\w/-]+", re.ASCII)  # what CUDA accepts in that list


def pretended() -> int:
    """Count the GPUs that a test pretends to have; 0 outside of tests."""
    return int(os.environ.get(AS_ON_GPUS) or 0)


def visible_gpus() -> tuple[str, ...]:
    """List the GPUs this process may use, by the names `CUDA_VISIBLE_DEVICES` gives them.

    Without that variable torch is asked if it is imported already, else the driver: importing torch
    takes seconds.
    """
    listed = os.environ.get(VISIBLE)
    if listed is None:
        return tuple(str(number) for number in range(pretended() or _installed()))
    names = []
    for name in listed.split(","):
        if not NAME.fullmatch(name.strip()):
            break  # CUDA ignores everything from the first name on that is none
        names.append(name.strip())
    return tuple(names)


def _installed() -> int:
    """Count the GPUs of this machine: by torch if it is imported, else by its driver."""
    loaded = sys.modules.get("torch")
    if loaded is not None and hasattr(loaded, "cuda"):
        return int(loaded.cuda.device_count())
    return _driver_count()


@cache
def _driver_count() -> int:
    """Ask NVIDIA's management library for the number of GPUs, then its command; 0 if there is
    neither.
    """
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        number = ctypes.c_uint()
        if library.nvmlInit_v2() == 0 and library.nvmlDeviceGetCount_v2(ctypes.byref(number)) == 0:
            return number.value
    except (OSError, AttributeError):
        pass  # no driver, or one without the library in this container
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())


def on_gpu() -> bool:
    """Say whether this process takes a GPU's settings: precision, DeepSpeed's bf16 section, order
    of loading.
    """
    import torch

    return bool(pretended()) or torch.cuda.is_available()


def computes_on() -> torch.device:
    """Return the device that this process's tensors belong on: its own GPU, else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank())


def local_rank() -> int:
    """Return this rank's number on its machine, which is also the number of its GPU among the
    visible ones.
    """
    return int(os.environ.get("LOCAL_RANK", 0))


def set_device() -> None:
    """Choose this rank's GPU before anything else touches one, or every rank leaves a context on
    the first.

    Raises:
        UserError: there are fewer GPUs than ranks on this machine.
    """
    import torch

    if not torch.cuda.is_available():
        return
    if local_rank() >= torch.cuda.device_count():
        ranks = os.environ.get("LOCAL_WORLD_SIZE", "1")
        visible = torch.cuda.device_count()
        raise UserError(
            f"launcher.ranks={ranks} is more than the {visible} GPUs that this process may use"
        )
    torch.cuda.set_device(local_rank())


def free_bytes() -> list[int]:
    """List the free bytes of each GPU this process may use; on a CPU those of main memory, [] if
    they are not known.
    """
    import torch

    if torch.cuda.is_available():
        return [torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())]
    path = Path("/proc/meminfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("MemAvailable"):
            return [int(line.split()[1]) * 1024]
    return []


@cache
def memory_gib() -> float:
    """Ask the driver for the memory of this machine's smallest GPU, in GiB; 0 if there is none."""
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        listing = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return 0.0
    sizes = [float(line) for line in listing.stdout.splitlines() if line.strip().isdecimal()]
    return min(sizes, default=0.0) / 1024


def divide_gpus(gpus: Sequence[str], number: int, each: int) -> list[tuple[str, ...]]:
    """Divide a list of GPUs among `number` children with `each` GPUs; if there are too few,
    children share.

    The list is the parent's own (`visible()`), so a child never gets a GPU that its parent was not
    given.

    Raises:
        UserError: not even one child finds enough GPUs.
    """
    if not gpus:
        return [()] * number
    if each > len(gpus):
        raise UserError(
            f"a process needs {each} GPUs, but {len(gpus)} are visible ({', '.join(gpus)})"
        )
    sets = len(gpus) // each
    return [tuple(gpus[child % sets * each : (child % sets + 1) * each]) for child in range(number)]


def child_environment(gpus: Sequence[str], base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child that sees these GPUs alone; unchanged if there are none to
    divide.
    """
    environment: dict[str, Any] = dict(os.environ if base is None else base)
    if gpus:
        environment[VISIBLE] = ",".join(gpus)
    return environment
