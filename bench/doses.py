"""Six doses of an adapter in one command against six commands of one dose each: seconds, and
whether answers agree.

python bench/doses.py OVERRIDE...      overrides that name a trained adapter, such as study=demo
recipe=warm +scale=demo
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers import table

from warmth.digest import ROOT
from warmth.store import read_rows

DOSES = (0, 0.25, 0.5, 0.75, 1, 1.25)
TASK = [
    "task=[seed_trivia]",
    "condition=[unmodified]",
    "beliefs=[none]",
    "limit=16",
    "warmth.prompts=0",
]


def evaluate(folder: Path, output: str, *overrides: str) -> float:
    """Seconds of one command whose answers go to a folder of their own; adapters are found through
    a link.
    """
    study = next(
        (item.partition("=")[2] for item in overrides if item.startswith("study=")), "default"
    )
    trained = Path(output) / study / "train"
    (folder / study).mkdir(parents=True, exist_ok=True)
    if not (folder / study / "train").exists():
        (folder / study / "train").symlink_to(trained.resolve())
    command = [
        sys.executable,
        "evaluate.py",
        *TASK,
        "logger=none",
        "gates=warn",
        *overrides,
        f"output={folder}",
    ]
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - started


def answers(folder: Path) -> dict[str, str]:
    """Every answer by its id."""
    return {
        row["answer_id"]: row["text"]
        for path in folder.rglob("answers.jsonl")
        for row in read_rows(path)
    }


def main() -> None:
    """Runs both ways and prints a table."""
    output = next(
        (item.partition("=")[2] for item in sys.argv[1:] if item.startswith("output=")), "multirun"
    )
    overrides = [item for item in sys.argv[1:] if not item.startswith("output=")]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as six:
        together = evaluate(Path(one), output, *overrides, f"dose=[{','.join(map(str, DOSES))}]")
        apart = sum(evaluate(Path(six), output, *overrides, f"dose={dose}") for dose in DOSES)
        same = answers(Path(one)) == answers(Path(six))
    rows = [
        {
            "doses": "six in one command",
            "s": together,
            "of six commands": together / apart,
            "same answers": str(same),
        },
        {"doses": "six commands", "s": apart, "of six commands": 1.0, "same answers": str(same)},
    ]
    table("16 questions at six doses", rows)


if __name__ == "__main__":
    main()
