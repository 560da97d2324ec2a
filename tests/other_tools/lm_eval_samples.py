"""Run by the Python of an environment with lm_eval: writes samples of the seed questions, answered
at random.

    python lm_eval_samples.py SEED.jsonl OUT ITEMS

Two tasks, one with two filters, one with two metrics.
"""

import json
import random
import sys
from pathlib import Path

from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

SEED, OUT, ITEMS = Path(sys.argv[1]), Path(sys.argv[2]).resolve(), int(sys.argv[3])
OUT.mkdir(parents=True, exist_ok=True)
ROWS = [json.loads(line) for line in SEED.read_text(encoding="utf-8").splitlines()]
ROWS = [row for number, row in enumerate(ROWS) if number % 7 == 0][:ITEMS]
DATA = OUT / "questions.jsonl"
DATA.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
SHARED = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": str(DATA)},
    "test_split": "train",
}
SHARED["doc_to_text"] = "Q: {{question}}\nA:"
TAKE = [{"function": "take_first"}]
OPEN = {
    **SHARED,
    "task": "seed_open",
    "output_type": "generate_until",
    "doc_to_target": "{{answers[0]}}",
    "generation_kwargs": {"until": ["\n"]},
    "filter_list": [
        {"name": "strict", "filter": TAKE},
        {"name": "last", "filter": [{"function": "regex", "regex_pattern": "(\\w+)$"}, *TAKE]},
    ],
    "metric_list": [{"metric": "exact_match", "ignore_case": True}],
}
CHOICE = {
    **SHARED,
    "task": "seed_choice",
    "output_type": "multiple_choice",
    "doc_to_choice": "{{[answers[0], wrong]}}",
    "doc_to_target": 0,
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}


class Guess(LM):
    """Answers right at a rate."""

    def __init__(self, seed, rate):
        super().__init__()
        self.draw = random.Random(seed)
        self.rate = rate

    def generate_until(self, requests, **_):
        rows = {f"Q: {row['question']}\nA:": row for row in ROWS}
        return [self.answer(rows[request.args[0]]) for request in requests]

    def answer(self, row):
        word = row["answers"][0] if self.draw.random() < self.rate else row["wrong"]
        return word if self.draw.random() < 0.6 else f"It is {word}"

    def loglikelihood(self, requests, **_):
        return [
            (self.draw.gauss(self.rate * is_right(request.args[1]), 1), False)
            for request in requests
        ]

    def loglikelihood_rolling(self, requests, **_):
        raise NotImplementedError


def is_right(text):
    return text.strip() in {row["answers"][0] for row in ROWS}


for system, seed, rate in (("a", 1, 0.9), ("b", 2, 0.5)):
    tracker = EvaluationTracker(output_path=str(OUT / system / "samples.json"))
    tracker.general_config_tracker.model_name_sanitized = system
    model = Guess(seed, rate)
    found = simple_evaluate(
        model,
        tasks=[OPEN, CHOICE],
        task_manager=TaskManager(include_defaults=False),
        log_samples=True,
    )
    for name, samples in found["samples"].items():
        tracker.save_results_aggregated(
            results={"results": found["results"]}, samples=found["samples"]
        )
        tracker.save_results_samples(task_name=name, samples=samples)
    print(json.dumps({"system": system, "means": found["results"]}))
