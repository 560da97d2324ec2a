"""CPU time and memory of `warmth compare` on two evaluations of many items, written to disk first.

python bench/compare.py [--items 100000] [--json]: samples as lm-evaluation-harness writes them, and
the same scores as one CSV file; a fifth of the items share a passage with another.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

SYSTEMS = {"a": 0.7, "b": 0.68}  # name → share of right answers
TEXT = "Which of these is the year in which the bridge over the river was opened to the public? "


def write_samples(root: Path, items: int) -> list[Path]:
    """Write a folder of samples for each system; returns the folders."""
    folders = []
    for system, rate in SYSTEMS.items():
        draw = random.Random(system)
        folder = root / system
        folder.mkdir(parents=True)
        with (folder / "samples_bench_2026-01-01T00-00-00.000001.jsonl").open("w") as stream:
            for number in range(items):
                doc = {"question": f"{number}: {TEXT * 3}", "passage": number - number % 5 // 4}
                row = {"doc_id": number, "doc": doc, "target": "x", "filter": "none"}
                row |= {"metrics": ["acc"], "acc": float(draw.random() < rate)}
                stream.write(json.dumps(row) + "\n")
        folders.append(folder)
    return folders


def write_sheet(root: Path, items: int) -> list[Path]:
    """Write the scores of both systems as one CSV file; returns its path in a list."""
    path = root / "scores.csv"
    with path.open("w") as stream:
        stream.write("item,passage,system,score\n")
        for system, rate in SYSTEMS.items():
            draw = random.Random(system)
            for number in range(items):
                right = int(draw.random() < rate)
                stream.write(f"q{number},{number - number % 5 // 4},{system},{right}\n")
    return [path]


def cpu_seconds(paths: list[Path]) -> float:
    """Count the CPU seconds of one comparison with clusters, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "warmth.cli", "compare", *map(str, paths)]
    subprocess.run(
        [*command, "--cluster", "passage", "--json"], check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(used, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        figures = {
            "items": asked.items,
            "samples_cpu_s": cpu_seconds(write_samples(root, asked.items)),
            "csv_cpu_s": cpu_seconds(write_sheet(root, asked.items)),
            "peak_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
        }
    print(json.dumps(figures) if asked.json else figures)


if __name__ == "__main__":
    main()
