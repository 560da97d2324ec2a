"""Run by the Python of an environment with inspect-ai: writes logs of the seed questions, answered
by a mock model.

    python inspect_logs.py SEED.jsonl OUT [ITEMS]

Each system answers right at a rate of its own. `a` and `b` are `.eval`, `c` is `.json`.
"""

import json
import random
import sys
from pathlib import Path

from inspect_ai import Task, eval, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, accuracy, includes, mean, scorer
from inspect_ai.solver import generate

SEED, OUT, ITEMS = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
ROWS = [json.loads(line) for line in SEED.read_text(encoding="utf-8").splitlines()]
ROWS = [row for number, row in enumerate(ROWS) if number % 7 == 0][:ITEMS]


def sample(row):
    return Sample(
        id=row["id"],
        input=row["question"],
        target=row["answers"],
        metadata={"cluster": row["category"]},
    )


@scorer(metrics={"words": [mean()], "short": [mean()]})
def manner():
    async def score(state, target):
        text = state.output.completion
        return Score(value={"words": len(text.split()), "short": len(text) < 12})

    return score


@scorer(metrics=[accuracy()])
def letter():
    """C, P, I and N, and no verdict for some."""

    async def score(state, target):
        text = state.output.completion
        if text.startswith("?"):
            return Score.unscored(reason="grader_failed")
        if not text:
            return Score(value="N")
        return Score(value="C" if text in target.text else "P" if len(text) % 2 else "I")

    return score


@task
def trivia():
    samples = [sample(row) for row in ROWS]
    return Task(
        MemoryDataset(samples, name="seed"),
        solver=generate(),
        scorer=[includes(), manner(), letter()],
    )


def answers(seed, rate):
    draw = random.Random(seed)
    rows = {row["question"]: row for row in ROWS}

    def answer(messages, tools, choice, config):
        row = rows[messages[-1].text]
        texts = [row["answers"][0], f"I think it is {row['wrong']}", row["wrong"], "", "?"]
        weights = [rate, (1 - rate) / 2, (1 - rate) / 2, 0.05, 0.08]
        output = ModelOutput.from_content("mockllm/model", draw.choices(texts, weights)[0])
        output.usage = ModelUsage(
            input_tokens=1, output_tokens=1, total_tokens=2
        )  # else it fetches a tokenizer
        return output

    return answer


for system, seed, rate, form in (
    ("a", 1, 0.9, "eval"),
    ("b", 2, 0.5, "eval"),
    ("c", 3, 0.5, "json"),
):
    model = get_model(f"mockllm/{system}", custom_outputs=answers(seed, rate), memoize=False)
    (log,) = eval(
        trivia(),
        model=model,
        log_dir=str(OUT / system),
        log_format=form,
        display="none",
        max_connections=1,
    )
    values = {
        score.name: {name: metric.value for name, metric in score.metrics.items()}
        for score in log.results.scores
    }
    print(json.dumps({"system": system, "file": log.location, "means": values}))
