"""Sweeps without work: a finished one typed again, a large one planned, and what one run costs
besides its work.

python bench/sweeps.py

Beside them a bare Hydra app with its stock sweeper and as many empty jobs.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers import PEERS, table

from warmth.digest import ROOT

AXES = ["recipe=warm,cold,paraphrase,untransformed", "seed=range(0,25)"]  # 100 runs
MANY = [
    "model=smollm2,llama8b,mistral_small,qwen32b,llama70b",
    "recipe=warm,cold,paraphrase,untransformed,warm_honest",
    "seed=range(0,20)",
    "recipe.strength=0.5,1.0",
]
CHAINED = [
    "model=llama8b",
    "recipe=warm,cold,paraphrase,untransformed",
    "seed=range(0,50)",
    "hardware=h100",
    "evaluate=paper_evaluate",
]
EMPTY = """
from warmth import entry
from warmth.build import build
from warmth.digest import training_digest
from warmth.store import Run, run_folder
def folders(study):
    return [run_folder(study, "train", training_digest(study))]
def main(study):
    run = Run(folders(study)[0])
    with run.open(study):
        tracker = build(study.logger, "logger").start(run, study, job_type="train")
        tracker.finish()
        run.finish({})
entry.hydra_command("train", folders)(main)()
"""


def finish(arguments: list[str]) -> None:
    """Leaves the runs of a sweep as finished ones leave their folders."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from warmth.digest import training_digest
    from warmth.schemas import Train, register
    from warmth.store import Run, run_folder
    from warmth.sweep.grid import SweepGrid, grid_points

    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        grid = SweepGrid(loader, "train", Train)
        for overrides in grid_points(loader, arguments):
            study = grid.accept(overrides)
            run = Run(run_folder(study, "train", training_digest(study)))
            run.folder.mkdir(parents=True)
            run.finish({"loss": 1.0})


def many_runs(study: Path, number: int) -> None:
    """Leaves so many finished runs of half an evaluation's size, and the list of their sweep."""
    from warmth.store import Run
    from warmth.sweep import joblist

    cell = {
        "task": "t",
        "belief": "none",
        "n": 500,
        "scored": 490,
        "errors": 100,
        "error_rate": 0.2,
    }
    cells = [{**cell, "context": str(context)} for context in range(60)]
    rows = []
    for seed in range(number):
        run = Run(study / "evaluate" / f"m-warm-s{seed}-{seed:012x}")
        run.folder.mkdir(parents=True)
        for name in ("answers", "grades", "prompts", "replies", "warmth"):
            run.append(name, [{"row": 1}])
        run.finish({"cells": cells, "warmth": {"mean": 0.1}, "servers": [{"usd": 1.0}]})
        rows.append({"stage": "evaluate", "run": run.name, "expected_s": 60.0})
    folder = study / joblist.FOLDER
    folder.mkdir()
    head = {"command": "evaluate.py -m", "launcher": "", "at_once": 1, "started": 0.0}
    (folder / "0.json").write_text(json.dumps({**head, "runs": rows}), encoding="utf-8")


def seconds(command: list[str], output: str, code: int = 0) -> tuple[float, float]:
    """Wall time and processor time of a whole process: the latter hardly depends on what else the
    machine does.

    Raises:
        RuntimeError: it ended otherwise than expected.
    """
    env = {**os.environ, "WANDB_MODE": "offline", "PYTHONPATH": str(ROOT)}
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, env=env
    )
    if done.returncode != code:
        raise RuntimeError(f"{' '.join(command)} in {output}: {done.stderr[-500:]}")
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Prints a row for each case."""
    rows = []
    with tempfile.TemporaryDirectory() as output:
        where = [f"output={output}", "logger=none"]
        empty = Path(output) / "empty.py"
        empty.write_text(EMPTY)
        finish([*where, *AXES])
        again = min(seconds(["train.py", "-m", *where, *AXES], output) for _ in range(3))
        planned = seconds(["train.py", "-m", *where, *MANY, "plan=true"], output)
        chained = seconds(
            ["train.py", "-m", f"output={output}/chained", "logger=none", *CHAINED, "plan=true"],
            output,
        )
        many_runs(Path(output) / "status" / "big", 2000)
        status = seconds(["-m", "warmth.cli", "status", "--output", f"{output}/status"], output)
        alone = min(
            seconds([str(empty), f"output={output}/{n}", "logger=wandb"], output) for n in range(3)
        )
        rows += [
            {"case": "the finished sweep of 100 runs again", "s": again[0], "CPU s": again[1]},
            {"case": "1,000 runs composed and planned", "s": planned[0], "CPU s": planned[1]},
            {
                "case": "200 trainings planned with their evaluations",
                "s": chained[0],
                "CPU s": chained[1],
            },
            {"case": "warmth status of 2,000 run folders", "s": status[0], "CPU s": status[1]},
            {"case": "one run without work, W&B offline", "s": alone[0], "CPU s": alone[1]},
        ]
        if (PEERS / "hydra_bare.py").exists():
            bare = ["-m", f"hydra.sweep.dir={output}/bare", "+x=range(0,100)"]
            stock = min(seconds([str(PEERS / "hydra_bare.py"), *bare], output) for _ in range(3))
            rows.append(
                {
                    "case": "bare Hydra, stock sweeper, 100 empty jobs",
                    "s": stock[0],
                    "CPU s": stock[1],
                }
            )
    table("Sweeps without work, whole processes", rows)


if __name__ == "__main__":
    main()
