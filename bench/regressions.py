"""Time and memory of models 1-4, with clustered errors, on simulated rows in the study's shape.

python bench/regressions.py [--length] [--json]: 5 models × 2 arms × 44,375 prompts, less refusals:
439,792 rows.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np
import pandas as pd

from warmth.analysis.statistics import regression_models
from warmth.types import CONTEXTS

ROWS = 439_792
QUESTIONS = {"triviaqa": 500, "truthfulqa": 500, "medqa": 500, "disinfo": 125}
BASE = {
    "triviaqa": -1.75,
    "truthfulqa": -1.3,
    "medqa": -0.6,
    "disinfo": -3.2,
}  # log-odds of an error


def study_shaped(seed: int = 0, rows: int = ROWS) -> pd.DataFrame:
    """Answers of five models, original and warm, to the study's grid; `length` is 100 to 1,600
    characters.
    """
    draw = np.random.default_rng(seed)
    prompts = []
    for task, count in QUESTIONS.items():
        beliefs = (
            ("none", "wrong_asserted")
            if task == "disinfo"
            else ("none", "wrong_asserted", "right_denied")
        )
        cells = [(context, belief) for context in CONTEXTS for belief in beliefs] + [
            ("unmodified", "none")
        ]
        hard = draw.normal(0, 1.2, count)
        for number in range(count):
            prompts += [
                (task, f"{task}-{number}", *cell, hard[number], at) for at, cell in enumerate(cells)
            ]
    grid = pd.DataFrame(prompts, columns=["task", "question_id", "context", "belief", "hard", "at"])
    grid["prompt_id"] = grid["question_id"] + "-" + grid["at"].astype(str)
    parts = [
        grid.assign(model=model, arm=arm)
        for model in ("llama8b", "llama70b", "a", "b", "c")
        for arm in ("original", "warm")
    ]
    answers = pd.concat(parts, ignore_index=True)
    warm, pressed = (
        answers["arm"].eq("warm").to_numpy(float),
        answers["belief"].ne("none").to_numpy(float),
    )
    logit = (
        answers["task"].map(BASE).to_numpy()
        + answers["hard"].to_numpy()
        + 0.55 * warm
        + 0.5 * pressed
    )
    logit += 0.15 * warm * pressed + 0.2 * warm * answers["context"].eq("sad").to_numpy(float)
    answers["wrong"] = (draw.random(len(answers)) < 1 / (1 + np.exp(-logit))).astype(float)
    answers["length"] = 100 + np.clip(draw.gamma(8, 95, len(answers)).astype(int), 0, 1500)
    kept = np.sort(draw.permutation(len(answers))[:rows])
    return (
        answers.iloc[kept]
        .drop(columns=["hard", "at"])
        .reset_index(drop=True)
        .assign(seed=0, sample=0)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", action="store_true", help="also with the answer's length")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    answers = study_shaped()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    frame = regression_models.study_rows(answers, "warm")
    fitted = regression_models.fit_study(frame)
    plain = time.perf_counter() - start
    if chosen.length:
        fitted += regression_models.fit_study(frame, length=True)
    figures = {
        "rows": len(answers),
        "models_1_to_4_s": round(plain, 2),
        "with_length_s": round(time.perf_counter() - start - plain, 2) if chosen.length else None,
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "peak_before_gib": round(before / 2**20, 2),
    }
    if chosen.json:
        print(json.dumps(figures))
        return
    for model in fitted:
        print(
            f"model {model.spec.number}{' + length' if model.length else ''}: {model.rows:,} "
            f"rows, {model.method}"
        )
        print(
            model.effects[["effect", "value", "error_naive", "error", "low", "high"]]
            .round(4)
            .to_string(index=False)
        )
    print(figures)


if __name__ == "__main__":
    main()
