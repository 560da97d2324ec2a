"""What a plan counts with: devices and their memory, speeds reached (measured first, else
committed), text sizes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from warmth.errors import UserError
from warmth.models import remembered_bfloat16
from warmth.store import read_helpful_rows

TABLE = Path(__file__).with_name("hardware.yaml")
MEASURED = "measured.jsonl"  # in `output`: one row for each finished run, see `measured.py`
NEAR = 3.0  # a measured speed serves models of up to so many times more or fewer parameters
GIB = 1024**3


@dataclass(frozen=True)
class Device:
    """One accelerator, or the processor with the machine's memory."""

    name: str
    memory_gib: float
    count: int | None  # on this machine; None: somewhere else

    @property
    def is_cpu(self) -> bool:
        """Tell whether ranks share the memory and cores of one machine."""
        return self.name == "cpu"


@cache
def hardware_table() -> dict[str, Any]:
    """`hardware.yaml`."""
    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


def device(name: str) -> Device:
    """Look up a device by name; `auto` is what this machine has.

    Raises:
        UserError: no such name.
    """
    known = hardware_table()["devices"]
    if name == "auto":
        return _here()
    if name not in known:
        raise UserError(f"hardware={name} is not allowed; choose one of: auto, {', '.join(known)}")
    memory = known[name]["memory_gib"]
    if memory is None:
        return Device(name, main_memory_gib(), 1)
    return Device(name, memory, None)


@cache
def _here() -> Device:
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20)
        lines = [line.rsplit(",", 1) for line in answer.stdout.splitlines() if "," in line]
        if lines and not answer.returncode:
            return Device(device_named(lines[0][0].strip()), float(lines[0][1]) / 1024, len(lines))
    return Device("cpu", main_memory_gib(), 1)


def device_named(description: str) -> str:
    """Find the table's name of a device as its driver calls it; the description itself where the
    table has none.
    """
    for name, entry in hardware_table()["devices"].items():
        if entry["match"].lower() in description.lower():
            return name
    return description


def width_of(where: Device) -> int:
    """Bytes of a number under precision `auto`: 2 where the device multiplies bfloat16 faster, else
    4.
    """
    if not where.is_cpu:
        return 2
    pays = remembered_bfloat16()
    if pays is None:  # not measured here yet
        flags = Path("/proc/cpuinfo")
        pays = flags.exists() and "amx_bf16" in flags.read_text()
    return 2 if pays else 4


def main_memory_gib() -> float:
    """This machine's main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB


def tflops(
    output: Path, where: str, work: str, parameters: float, engine: str | None = None
) -> tuple[float | None, str]:
    """Find the speed one device reaches, in TFLOP/s, and where that is known from.

    Args:
        output: the folder of all studies, whose `measured.jsonl` is looked at first.
        where: a device's name.
        work: train or generate.
        parameters: of the model, in billions.
        engine: family of what generates; None where nothing does.
    """
    rows = [
        row["tflops"]
        for row in measured_rows(output)
        if row["device"] == where
        and row["work"] == work
        and row.get("engine") == engine
        and max(row["parameters"], parameters) <= NEAR * min(row["parameters"], parameters)
    ]
    if rows:
        return median(rows[-20:]), f"{len(rows)} runs of your own"
    for row in hardware_table()["rates"]:
        if (row["device"], row["work"]) == (where, work) and row.get("engine", engine) == engine:
            return row["tflops"], row["source"]
    return None, f"no speed of {where} is known yet"


def memory_correction(output: Path, where: str, work: str, model: str) -> float:
    """Compute by how much the memory of earlier runs of this model exceeded what was counted; 1
    before the first.
    """
    rows = [
        row["memory_gib"] / row["uncorrected_memory_gib"]
        for row in measured_rows(output)
        if (row["device"], row["work"], row["model"]) == (where, work, model)
        and row.get("memory_gib")
        and row.get("uncorrected_memory_gib")
    ]
    return median(rows[-20:]) if rows else 1.0


@cache
def measured_rows(output: Path) -> list[dict[str, Any]]:
    """Read what runs of one's own reached; empty before the first."""
    return read_helpful_rows(output / MEASURED, _is_measured)


def _is_measured(row: dict[str, Any]) -> bool:
    """Say whether a row of measured speeds has the fields that plans count with."""
    numbers = [
        row["tflops"],
        row["parameters"],
        row.get("memory_gib") or 0,
        row.get("uncorrected_memory_gib") or 0,
    ]
    words = [row["device"], row["work"], row["model"]]
    return all(isinstance(number, int | float) for number in numbers) and all(
        isinstance(text, str) for text in words
    )
