"""How much sampling adds to a greedy decoding step of the embedded model, by temperature and
nucleus.

python bench/sampling.py [--rows 256] [--tokens 110] [--dtype float32 bfloat16]: a step is one more
token of every row after `--tokens` of the embedded conversations that were read, the model and the
choice of the token together. All ways of choosing take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from peers import table

from warmth.data.sources import load_conversations
from warmth.dataset import Data
from warmth.evaluation.answer.decoding import base_of
from warmth.evaluation.answer.prefill import PrefillBatch
from warmth.evaluation.answer.sampling import Sampler
from warmth.models import load_tokenizer
from warmth.schemas import Model

MODEL = Model(name="smollm2", kind="embedded")
ROUNDS = 12
WAYS = {
    "greedy": (0.0, 1.0),
    "temperature 0.8": (0.8, 1.0),
    "temperature 0.8, top_p 0.9": (0.8, 0.9),
}


def prompts_of(rows: int, tokens: int) -> list[list[int]]:
    """Return stretches of real text: after it few tokens are likely, unlike after random tokens."""
    conversations = load_conversations(Data(name="seed", source="seed"))
    text = " ".join(
        f"{turn.user} {turn.replies['plain']}" for item in conversations for turn in item.turns
    )
    ids = load_tokenizer(MODEL)(text)["input_ids"]
    return [ids[start : start + tokens] for start in range(0, rows * 40, 40)]


@torch.inference_mode()
def seconds_of_steps(dtype: str, rows: int, tokens: int) -> dict[str, list[float]]:
    """Return the seconds of every measured step, by the way its tokens were chosen."""
    device = torch.device("cpu")
    model = base_of(MODEL, getattr(torch, dtype))
    batch = PrefillBatch(model, prompts_of(rows, tokens), 0, tokens + 1 + ROUNDS * len(WAYS))
    logits = batch.read()
    samplers = {
        name: Sampler(*settings, seeds=tuple(range(rows))) for name, settings in WAYS.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for position in range(ROUNDS):
        for name, sampler in samplers.items():
            started = time.perf_counter()
            draws = sampler.draws(rows, 1, device)[:, 0]
            logits = batch.step(sampler.choose(logits, draws))
            if position:  # the first round compiles products for new shapes
                seconds[name].append(time.perf_counter() - started)
    return seconds


def main() -> None:
    """Time all ways in each dtype and print them beside greedy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=110)
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    asked = parser.parse_args()
    found = []
    for dtype in asked.dtype:
        seconds = seconds_of_steps(dtype, asked.rows, asked.tokens)
        greedy = statistics.median(seconds["greedy"])
        for name, values in seconds.items():
            middle = statistics.median(values)
            found.append(
                {
                    "step": f"{name}, {dtype}",
                    "median ms": 1000 * middle,
                    "of greedy": middle / greedy,
                }
            )
    table(f"{asked.rows} rows, {asked.tokens} tokens read, one more token of each", found)


if __name__ == "__main__":
    main()
