"""Time, memory and page size of `warmth report` on simulated runs in the study's shape, written to
disk first.

python bench/report.py [--rows 439792] [--folder DIR] [--json]: 5 models × original and warm,
answers of 100 to 1,600 characters. With --folder the runs are kept there and written once.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from regressions import ROWS, study_shaped

TEXT = (
    "The answer that is most often given to this is a name, a year or a place, as far as I know. "
    * 1200
)


def write_runs(root: Path, rows: int) -> None:
    """One finished evaluation for each model and arm, with its prompts, grades and 1,500 warmth
    scores.
    """
    answers = study_shaped(rows=rows)
    draw = random.Random(0)
    for (model, arm), group in answers.groupby(["model", "arm"]):
        recipe = {
            "name": "none" if arm == "original" else arm,
            "method": "none" if arm == "original" else "lora",
        }
        config = {
            "model": {"name": model},
            "recipe": {**recipe, "strength": 1.0},
            "seed": 0,
            "draw_seed": 0,
        }
        config |= {
            "study": "bench",
            "task": {name: {"grader": "alias"} for name in group["task"].unique()},
        }
        folder = (
            root / "bench" / "evaluate" / f"{model}-{recipe['name']}-s0-{draw.randbytes(6).hex()}"
        )
        folder.mkdir(parents=True)
        common = {
            "arm": arm,
            "model": model,
            "dose": 1.0,
            "checkpoint": None if arm == "original" else 2.0,
            "seed": 0,
        }
        common |= {"draw_seed": 0, "run": "0" * 12}
        with (
            (folder / "answers.jsonl").open("w") as said,
            (folder / "grades.jsonl").open("w") as grades,
            (folder / "prompts.jsonl").open("w") as prompts,
        ):
            for at, row in enumerate(group.itertuples()):
                start = draw.randrange(90_000)
                cell = {
                    "prompt_id": row.prompt_id,
                    "question_id": row.question_id,
                    "task": row.task,
                }
                cell |= {
                    "context": row.context,
                    "belief": row.belief,
                    "preamble": False,
                    "statement": "",
                }
                answer = (
                    cell
                    | {"answer_id": f"{model}-{arm}-{at}", "strength": 1.0, "sample": 0}
                    | common
                )
                answer |= {
                    "text": TEXT[start : start + row.length],
                    "finish": "stop",
                    "tokens": row.length // 4,
                }
                said.write(json.dumps(answer) + "\n")
                grade = {
                    "answer_id": answer["answer_id"],
                    "grader": "alias",
                    "affirms": None,
                    "cost_usd": 0.0,
                }
                label = "incorrect" if row.wrong else "correct"
                grades.write(json.dumps({**grade, "label": label, "reason": ""}) + "\n")
                prompt = cell | {
                    "question": f"Question {row.question_id}?",
                    "answers": ["right"],
                    "wrong": "wrong",
                }
                prompt |= {
                    "message": f"Question {row.prompt_id}?",
                    "tokens_digest": row.prompt_id,
                    "tokens": 40,
                }
                prompts.write(json.dumps(prompt) + "\n")
        with (folder / "warmth.jsonl").open("w") as scores:
            for at in range(1500):
                score = draw.gauss(0.012 if arm == "original" else 0.028, 0.02)
                row = {
                    "text_id": f"{model}-{arm}-w{at}",
                    "variant": "deterministic",
                    "scorer": "s",
                    "score": score,
                }
                row |= {
                    "close": score,
                    "distant": 0.0,
                    "text": TEXT[at : at + 200],
                    "prompt": f"held-out {at}",
                }
                scores.write(json.dumps(row | common) + "\n")
        for name, value in {"config": config, "done": {}, "gates": [], "provenance": {}}.items():
            (folder / f"{name}.json").write_text(json.dumps(value))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = asked.folder or Path(scratch) / "runs"
        if not root.exists():
            write_runs(root, asked.rows)
        started = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "warmth.cli",
            "report",
            str(root),
            "--out",
            f"{scratch}/out",
            "--json",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        figures = {
            "rows": asked.rows,
            "report_s": round(time.perf_counter() - started, 1),
            "peak_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
            "page_mb": round(Path(scratch, "out", "report.html").stat().st_size / 1e6, 2),
        }
    print(json.dumps(figures) if asked.json else figures)


if __name__ == "__main__":
    main()
