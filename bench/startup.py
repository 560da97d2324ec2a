"""Start-up beside a bare Hydra app: `--help`, a config that is refused, a run that is done already.

python bench/startup.py [--runs 7]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from peers import PEERS, table

from warmth.digest import ROOT


def median_s(command: list[str], runs: int) -> float:
    """Median wall time of a whole process over `runs`, after one warm-up."""
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def main() -> None:
    """Prints each as seconds and as a ratio to the bare app."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    cases = {
        "train.py --help": ["train.py", "--help"],
        "evaluate.py --help": ["evaluate.py", "--help"],
        "train.py --cfg job": ["train.py", "--cfg", "job"],
        "train.py recipe=wram (refused)": ["train.py", "recipe=wram"],
    }
    bare = (
        median_s([str(PEERS / "hydra_bare.py"), "--help"], runs) if PEERS.exists() else float("nan")
    )
    rows = [{"command": "bare Hydra app --help", "s": bare, "ratio": 1.0}]
    for name, command in cases.items():
        seconds = median_s(command, runs)
        rows.append({"command": name, "s": seconds, "ratio": seconds / bare})
    table("Start-up, median of whole processes", rows)


if __name__ == "__main__":
    main()
