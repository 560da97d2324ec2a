"""Peak memory of a rank that trains the embedded model, forecast and measured, under each launcher
and method.

python bench/memory.py [NAME...]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from peers import table

from warmth.digest import ROOT
from warmth.store import read_json, read_rows

# One epoch of 48 of the embedded conversations: three optimiser steps, after which the peak no
# longer moves.
COMMON = [
    "logger=none",
    "recipe=warm",
    "data.per_type=8",
    "recipe.epochs=1",
    "recipe.checkpoints=[]",
]
KINDS = {
    "local": [],
    "local, float32": ["recipe.precision=float32"],
    "local, no dropout": ["recipe.dropout=0"],
    "local, checkpointing": ["launcher.checkpointing=true"],
    "local, full": ["recipe.method=full"],
    "local, full, float32": ["recipe.method=full", "recipe.precision=float32"],
    "local, dpo": ["recipe.method=dpo"],
    "zero2": ["launcher=deepspeed_zero2"],
    "zero2, float32": ["launcher=deepspeed_zero2", "recipe.precision=float32"],
    "zero2, full": ["launcher=deepspeed_zero2", "recipe.method=full"],
    "zero2, dpo": ["launcher=deepspeed_zero2", "recipe.method=dpo"],
    "zero3": ["launcher=deepspeed_zero3"],
    "zero3, checkpointing": ["launcher=deepspeed_zero3", "launcher.checkpointing=true"],
    "zero3, full": ["launcher=deepspeed_zero3", "recipe.method=full"],
    "zero3, dpo": ["launcher=deepspeed_zero3", "recipe.method=dpo"],
    "zero3, offload": ["launcher=deepspeed_zero3_offload"],
}


def measure(kind: str) -> dict[str, object]:
    """One line of the table: GiB that `plan=true` and the ranks forecast, and what the fullest rank
    took.
    """
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, str(ROOT / "train.py"), *COMMON, *KINDS[kind], f"output={folder}"]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            return {
                "run": kind,
                "plan": "",
                "rank": done.stderr.strip().splitlines()[-1],
                "measured": "",
                "error": "",
            }
        (row,) = read_rows(Path(folder) / "measured.jsonl")
        (run,) = Path(folder).glob("default/train/*/provenance.json")
        memory = read_json(run)["memory"]
    plan, rank, took = (
        row["uncorrected_memory_gib"],
        memory["predicted_gib"],
        memory["measured_gib"],
    )
    errors = " / ".join(f"{100 * (one / took - 1):+.0f} %" for one in (plan, rank))
    print(kind, memory, file=sys.stderr)
    return {"run": kind, "plan": plan, "rank": rank, "measured": took, "error": errors}


def main() -> None:
    """Measures the named kinds, or all, one after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "kinds", nargs="*", choices=[[], *KINDS], metavar="NAME", help=", ".join(KINDS)
    )
    asked = parser.parse_args().kinds or list(KINDS)
    table(
        "Peak memory of one rank, GiB: SmolLM2-135M-Instruct on a CPU",
        [measure(kind) for kind in asked],
    )


if __name__ == "__main__":
    main()
