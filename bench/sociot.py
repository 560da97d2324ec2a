"""Warmth scores a second beside the published computation, written anew from its description, in
one run.

python bench/sociot.py [--texts 8] [--tokens 150] [--scorer smollm2]: the published computation
reads the first 300 characters of a text with four prompts a pass and makes all logits. Ours: the
same at one pass, and `deterministic` on the same characters and on the whole text. Without dropout
100 published passes take 100 times as long as one. "of peak" is the share of the fastest matrix
product seen here in that dtype, counting two operations for a parameter and token; "at the peak" is
what a row could reach beside the published pass if nothing but such products took time.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import time
from collections.abc import Callable
from typing import Any

import torch
from peers import table

from warmth.digest import ROOT
from warmth.entries import named_model
from warmth.evaluation.manner import sociot
from warmth.models import choose_dtype, load_model, load_tokenizer

ROUNDS = 3
PRODUCT = (
    2048,
    576,
    1536,
)  # rows, inputs, outputs of the product that is taken for the peak: a layer's of the scorer


def texts_of(tokenizer: Any, count: int, tokens: int) -> list[str]:
    """Texts of `tokens` tokens, more or less, from this project's own conversations."""
    lines = [
        json.loads(line)
        for path in sorted((ROOT / "seed" / "conversations").glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    replies = [text for row in lines for turn in row["turns"] for text in turn["replies"].values()]
    draw = random.Random(0)
    found = []
    for _ in range(count):
        ids = tokenizer(" ".join(draw.sample(replies, 12)), add_special_tokens=False)["input_ids"]
        found.append(tokenizer.decode(ids[: round(tokens * draw.uniform(0.7, 1.3))]))
    return found


def published(text: str, model: Any, tokenizer: Any) -> float:
    """One pass as described: each set of four prompts a padded batch, labels = ids, the model's own
    loss.
    """
    losses = []
    for speakers in (sociot.CLOSE, sociot.DISTANT):
        rows = [
            tokenizer(f'{who} said, "{text[: sociot.CUT]}"', add_special_tokens=False)["input_ids"]
            for who in speakers
        ]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        with torch.no_grad():
            losses.append(model(input_ids=ids, attention_mask=mask, labels=ids).loss.item())
    return losses[1] - losses[0]


def timed(runs: dict[str, Callable[[], list[float]]]) -> dict[str, tuple[float, list[float]]]:
    """Seconds of the best of three rounds, in which all take turns, and scores: a machine's speed
    drifts.
    """
    best: dict[str, tuple[float, list[float]]] = {}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = time.perf_counter()
            scores = run()
            seconds = time.perf_counter() - started
            best[name] = min(best.get(name, (math.inf, scores)), (seconds, scores))
    return best


def peak(dtype: torch.dtype) -> float:
    """Operations a second of a matrix product in a dtype, the fastest of 200."""
    rows, inputs, outputs = PRODUCT
    left, right = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)

    def once() -> float:
        started = time.perf_counter()
        torch.nn.functional.linear(left, right)
        return time.perf_counter() - started

    return 2 * math.prod(PRODUCT) / min(once() for _ in range(200))


def operations(model: Any, tokenizer: Any, texts: list[str]) -> float:
    """What reading texts' own tokens after eight beginnings takes at least."""
    tokens = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
    return 2.0 * model.num_parameters() * tokens * len(sociot.CLOSE + sociot.DISTANT)


def works(
    model: Any, tokenizer: Any, texts: list[str], published_too: bool
) -> dict[str, Callable[[], list[float]]]:
    """What is timed, by name; each returns the scores of all texts."""
    cut = [text[: sociot.CUT] for text in texts]

    def ours(some: list[str], variant: str) -> Callable[[], list[float]]:
        return lambda: [
            getattr(one, "score", math.nan)
            for one in sociot.score_texts(some, model, tokenizer, variant)
        ]

    found = (
        {"published": lambda: [published(text, model, tokenizer) for text in texts]}
        if published_too
        else {}
    )
    found["reference"] = ours(texts, "reference")
    found["deterministic, 300 characters"] = ours(cut, "deterministic")
    return found | {"deterministic, whole text": ours(texts, "deterministic")}


def main() -> None:
    """Times all on one model in each dtype and prints them beside the published computation in
    float32.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=150)
    parser.add_argument("--scorer", default="smollm2")
    asked = parser.parse_args()
    entry = named_model(asked.scorer, "--scorer")
    tokenizer = load_tokenizer(entry, chat=False)
    texts = texts_of(tokenizer, asked.texts, asked.tokens)
    rows: list[dict[str, object]] = []
    base, exact = math.nan, {}
    cut = [text[: sociot.CUT] for text in texts]
    for dtype in ("float32", "bfloat16"):
        model = load_model(entry, choose_dtype(dtype)).eval()
        fastest = peak(getattr(torch, dtype))
        print(f"{dtype}: products at {fastest / 1e9:.0f} GFLOP/s")
        runs = works(model, tokenizer, texts, published_too=dtype == "float32")
        for name, (seconds, scores) in timed(runs).items():
            base = seconds if name == "published" else base
            true = exact.setdefault("reference" if name == "published" else name, scores)
            least = operations(model, tokenizer, texts if "whole" in name else cut) / fastest
            errors = [abs(a - b) for a, b in zip(scores, true, strict=True)]
            rows.append(
                {
                    "what": f"{name}, {dtype}",
                    "s a text": seconds / len(texts),
                    "x one pass": base / seconds,
                    "at the peak": base / least,
                    "of peak": f"{100 * least / seconds:.0f} %",
                    "1,500 texts, min": 1500 * seconds / len(texts) / 60,
                    "mean error": sum(errors) / len(errors),
                    "largest error": max(errors),
                    "peak GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
                }
            )
    table(f"{asked.scorer}, {asked.texts} texts of about {asked.tokens} tokens", rows)


if __name__ == "__main__":
    main()
