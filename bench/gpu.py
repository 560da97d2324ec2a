"""What one GPU does, in order of value: `make bench-gpu`, ten minutes at most, no downloads, a line
of JSON a part.

python bench/gpu.py [PART...] [--skip PART...] [--device cuda|cpu] [--tiny]

Each part runs in a process of its own with a time limit, so that one that fails or runs out of
memory costs the next nothing. `--device cpu --tiny` runs the same code on a tiny model in a minute;
the tests do that, so it cannot rot.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOMS = (
    "gpu_training",
    "gpu_evaluation",
)  # files beside this one; each has `PARTS`, functions by name
ORDER = (
    "stages",
    "passes",
    "equal_answers",
    "answer_speed",
    "memory",
    "warmth_scores",
    "vllm",
)  # by value
TOTAL_S = 480.0  # parts that would start later are skipped
PART_S = 150.0  # limit of one part


@dataclass(frozen=True)
class Setting:
    """What a part is told: `part(setting)` returns figures that JSON can hold."""

    device: str  # cuda or cpu
    tiny: bool  # a model of a few thousand weights instead of real shapes
    folder: Path  # empty, for what the part writes


class Skipped(Exception):
    """A part cannot run here; the message says why."""


def parts() -> dict[str, Any]:
    """Collect the parts of all rooms, the most valuable first."""
    functions: dict[str, Any] = {}
    for room in ROOMS:
        if (HERE / f"{room}.py").exists():
            functions |= importlib.import_module(room).PARTS
    return {name: functions[name] for name in ORDER}


def carry_out(name: str, setting: Setting) -> dict[str, Any]:
    """Run one part in this process; every outcome is a row."""
    started = time.perf_counter()
    try:
        row = {"ok": True, **parts()[name](setting)}
    except Skipped as reason:
        row = {"ok": None, "skipped": str(reason)}
    except Exception as error:
        row = {"ok": False, "error": f"{type(error).__name__}: {error}"[:500]}
    return {"part": name, **row, "seconds": round(time.perf_counter() - started, 1)}


def in_child(name: str, arguments: argparse.Namespace, limit_s: float) -> dict[str, Any]:
    """Run one part in a process of its own and return its row, also if it dies or takes too
    long.
    """
    command = [sys.executable, str(HERE / "gpu.py"), "--inside", name, "--device", arguments.device]
    command += ["--tiny"] if arguments.tiny else []
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as words:
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=words, text=True, timeout=limit_s
            )
            lines = [line for line in done.stdout.splitlines() if line.startswith('{"part"')]
            if lines:
                return json.loads(lines[-1])
            problem = f"ended with code {done.returncode}"
        except subprocess.TimeoutExpired:
            problem = f"took more than {limit_s:.0f} s"
        words.seek(0)
        tail = [line.strip() for line in words if line.strip()][-1:]
    seconds = round(time.perf_counter() - started, 1)
    return {
        "part": name,
        "ok": False,
        "error": ": ".join([problem, *tail])[:500],
        "seconds": seconds,
    }


def machine(device: str) -> dict[str, Any]:
    """Name the device and the versions that figures belong to."""
    import torch
    import transformers

    row: dict[str, Any] = {
        "part": "machine",
        "ok": True,
        "device": device,
        "torch": torch.__version__,
    }
    row["transformers"] = transformers.__version__
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        row |= {
            "name": torch.cuda.get_device_name(),
            "free_gib": free / 2**30,
            "total_gib": total / 2**30,
        }
    return row


def main() -> None:
    """Run the parts; the exit code is 1 if one failed."""
    sys.path.insert(0, str(HERE))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="*", help="parts to run; none named: all")
    parser.add_argument("--skip", nargs="*", default=[], help="parts to leave out")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="what to run on")
    parser.add_argument("--tiny", action="store_true", help="a tiny model instead of real shapes")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        with tempfile.TemporaryDirectory() as folder:
            row = carry_out(
                arguments.inside, Setting(arguments.device, arguments.tiny, Path(folder))
            )
        print(json.dumps(row), flush=True)
        return
    known = list(parts())
    unknown = [name for name in (*arguments.part, *arguments.skip) if name not in known]
    if unknown:
        sys.exit(f"error: no part {unknown[0]}; there are: {', '.join(known)}")
    started, failed = time.perf_counter(), False
    print(json.dumps(machine(arguments.device)), flush=True)
    for name in arguments.part or known:
        seconds_left = TOTAL_S - (time.perf_counter() - started)
        if name in arguments.skip:
            row = {"part": name, "ok": None, "skipped": "by --skip"}
        elif seconds_left < 5 and not arguments.tiny:
            row = {"part": name, "ok": None, "skipped": f"the {TOTAL_S:.0f} s are over"}
        elif arguments.tiny:
            with tempfile.TemporaryDirectory() as folder:
                row = carry_out(name, Setting(arguments.device, True, Path(folder)))
        else:
            row = in_child(name, arguments, min(PART_S, seconds_left))
        failed = failed or row["ok"] is False
        print(json.dumps(row), flush=True)
    sys.exit(int(failed))


if __name__ == "__main__":
    sys.modules["gpu"] = sys.modules[
        "__main__"
    ]  # parts import `Skipped` from here: one class, not two
    main()
