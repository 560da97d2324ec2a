"""Answers a second beside a hand-written `generate` loop, lm-evaluation-harness, Inspect and vLLM,
on the same prompts.

python bench/evaluation.py [--questions 128] [--dtype bfloat16 float32]
"""

from __future__ import annotations

import argparse
import sys
import time

from peers import DATA, PEERS, peer, table

from warmth.chat import prompt_ids
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.decoding import base_of, tokenizer_of
from warmth.evaluation.answer.engines import Request, Transformers
from warmth.schemas import Model, Sampling
from warmth.types import Message

PEERS_OF = {
    "eval_generate.py": "",
    "eval_lmeval.py": "peers",
    "eval_inspect.py": "peers",
    "eval_vllm.py": "vllm",
}
VLLM = {
    "VLLM_CPU_KVCACHE_SPACE": "2",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_NUM_THREADS": "2",
}
MODEL = Model(name="smollm2", kind="embedded")


def ours(questions: int, dtype: str, batch_size: int) -> dict[str, object]:
    """The engine that `evaluate.py` uses, greedy, 48 new tokens; loading is excluded, as for the
    peers.
    """
    import torch

    sys.path.insert(0, str(PEERS))
    import common

    rows = common.prompts(str(DATA), questions)
    tokenizer = tokenizer_of(MODEL)
    base_of(MODEL, getattr(torch, dtype))
    requests = [
        Request(tuple(prompt_ids(tokenizer, [Message("user", row["prompt"])])), 48, 0)
        for row in rows
    ]
    arm = Arm("original", MODEL, None, None, None, 1.0, 1.0, 0, None)
    answers = [""] * len(rows)
    started = time.perf_counter()
    engine = Transformers(dtype=dtype, batch_size=batch_size)
    for done in engine.answer(arm, requests, Sampling(0.0, 1.0, 48), lambda _: True):
        for index, completion in done.items():
            answers[index] = completion.text
    seconds = time.perf_counter() - started
    found = common.accuracy(rows, answers)
    return {
        "tool": f"warmth, {dtype}, batch {batch_size}",
        "answers/s": len(rows) / seconds,
        "s": seconds,
        "alias match": found,
    }


def main() -> None:
    """Runs ours and the peers one after another and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=128)
    parser.add_argument(
        "--batch", nargs="+", type=int, default=[128], help="ours; the peers have 32"
    )
    parser.add_argument("--dtype", nargs="+", default=["bfloat16"])
    args = parser.parse_args()
    rows = [ours(args.questions, dtype, size) for dtype in args.dtype for size in args.batch]
    for dtype in args.dtype:
        for script, venv in PEERS_OF.items():
            size = [] if venv == "vllm" else ["--batch", "32"]
            row = peer(
                script, "--n", str(args.questions), *size, "--dtype", dtype, venv=venv, **VLLM
            )
            if row:
                name = f"{row['peer']}, {dtype}" + (
                    f", batch {row['batch']}" if "batch" in row else ""
                )
                match = row["accuracy"]
                rows.append(
                    {
                        "tool": name,
                        "answers/s": row["answers_s"],
                        "s": row["seconds"],
                        "alias match": match,
                    }
                )
    table("TriviaQA sample × 4 conditions, greedy, 48 new tokens", rows)


if __name__ == "__main__":
    main()
