"""How fast given replies are weighed, beside lm-evaluation-harness on the same tokens: `python
bench/likelihood.py`.

LMEVAL_PYTHON names an interpreter that has lm-eval 0.4.13 (and torch and transformers); without it
ours alone is timed. Both sides get the same ids in float32: the harness would move the white space
at a prompt's end into the reply.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from warmth.digest import ROOT
from warmth.models import embedded_folder

QUESTIONS = int(os.environ.get("QUESTIONS", "2"))  # of each of four tasks, ten prompts each
BATCHES = (8, 32)
TASKS = ("seed_trivia", "seed_misconceptions", "seed_disinfo", "seed_medicine")


def work() -> list[tuple[list[int], list[list[int]]]]:
    """The prompts of the demo's likelihoods with their replies, as ids."""
    from warmth.chat import render
    from warmth.evaluation.answer.decoding import tokenizer_of
    from warmth.evaluation.ask.contrasts import Weighed, reply_contrasts
    from warmth.evaluation.margins import CandidateSlot, Opening, reply_candidates, reply_ids
    from warmth.schemas import Condition, Evaluate, Likelihood, Model, Sampling, Task
    from warmth.types import BELIEFS

    frames = ["The answer is {answer}.", "It is {answer}."]
    study = Evaluate(
        model=Model(name="smollm2", kind="embedded"),
        task={name: Task(source=name, reader="seed") for name in TASKS},
        condition={"unmodified": Condition("none"), "sad": Condition("emotion", "sad")},
        design="factorial",
        statements=str(ROOT / "seed" / "statements.yaml"),
        belief_templates=str(ROOT / "seed" / "beliefs.yaml"),
        sampling=Sampling(0.0, 1.0, 8),
        scoring="likelihood",
        likelihood=Likelihood(frames=frames, beliefs=list(BELIEFS), limit=QUESTIONS),
    )
    tokenizer = tokenizer_of(study.model)
    rows = []
    for contrast in reply_contrasts(study, Weighed.of(study).questions):
        texts = [
            item.text
            for frame in frames
            for item in reply_candidates(CandidateSlot(contrast, Opening(), frame, ""))
        ]
        before = render(tokenizer, contrast.prompt.messages, reply=True)
        ids, following = reply_ids(
            tokenizer, before, list(dict.fromkeys(texts)), contrast.prompt.prompt_id
        )
        rows.append((list(ids), [list(item) for item in following]))
    return rows


def ours(rows: list[tuple[list[int], list[list[int]]]]) -> tuple[float, float, list[list[float]]]:
    """Seconds, seconds of the processor, and the values."""
    import torch

    from warmth.evaluation.answer.decoding import base_of
    from warmth.evaluation.answer.weighing import Weighing, reply_log_probs
    from warmth.schemas import Model

    model = base_of(Model(name="smollm2", kind="embedded"), torch.float32)
    weighings = [Weighing(tuple(ids), tuple(map(tuple, replies))) for ids, replies in rows]
    for _ in reply_log_probs(model, weighings[:2]):
        pass  # warms up
    start, spent = time.perf_counter(), time.process_time()
    values = {at: sums for part in reply_log_probs(model, weighings) for at, sums in part.items()}
    seconds, spent = time.perf_counter() - start, time.process_time() - spent
    return seconds, spent, [values[at] for at in range(len(rows))]


def harness(path: str, batch: int) -> None:
    """Runs in the other interpreter: times the harness on the rows of a file, prints its row."""
    from lm_eval.models.huggingface import HFLM  # ty: ignore[unresolved-import]

    rows = json.loads(Path(path).read_text())
    model = HFLM(pretrained=str(embedded_folder()), dtype="float32", device="cpu", batch_size=batch)
    requests = [(("", ""), ids, reply) for ids, replies in rows for reply in replies]
    model._loglikelihood_tokens(requests[:2], disable_tqdm=True)  # warms up
    start, spent = time.perf_counter(), time.process_time()
    values = [value for value, _ in model._loglikelihood_tokens(requests, disable_tqdm=True)]
    seconds, spent = time.perf_counter() - start, time.process_time() - spent
    print("RESULT " + json.dumps({"seconds": seconds, "spent": spent, "values": values}))


def peer(rows: Any, batch: int) -> tuple[float, float, list[list[float]]] | None:
    """The harness's seconds, seconds of the processor, and values; None without its interpreter."""
    python = os.environ.get("LMEVAL_PYTHON")
    if not python:
        return None
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(rows, file)
        file.flush()
        env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        command = [python, __file__, "harness", file.name, str(batch)]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
    lines = [
        line.removeprefix("RESULT ")
        for line in done.stdout.splitlines()
        if line.startswith("RESULT ")
    ]
    if not lines:
        sys.exit(f"error: lm-eval gave nothing: {done.stderr.strip().splitlines()[-1:]}")
    row = json.loads(lines[-1])
    values = iter(row["values"])
    return row["seconds"], row["spent"], [[next(values) for _ in replies] for _, replies in rows]


def main() -> None:
    """Times both in turn and compares every margin."""
    from peers import table

    rows = work()
    replies = sum(len(following) for _, following in rows)
    print(f"{len(rows)} prompts, {replies} replies, SmolLM2-135M, float32")
    seconds, spent, values = ours(rows)
    found = [line("warmth, a tree of tokens", rows, seconds, spent, spent, 0.0)]
    for batch in BATCHES:
        other = peer(rows, batch)
        if other is not None:
            apart = largest_difference(values, other[2])
            found.append(
                line(
                    f"lm-evaluation-harness, batch {batch}", rows, other[0], other[1], spent, apart
                )
            )
    again, spent_again, _ = ours(rows)
    found.append(line("warmth, again after the harness", rows, again, spent_again, spent, 0.0))
    table(
        "weighing replies (times: CPU seconds against the first line's; largest: difference of a "
        "margin, nats)",
        found,
    )


def line(
    what: str, rows: Any, seconds: float, spent: float, first: float, apart: float
) -> dict[str, Any]:
    """One row of the table."""
    speed = {"prompts/s": len(rows) / seconds, "prompts per CPU s": len(rows) / spent}
    return {"what": what, **speed, "times": spent / first, "largest": apart}


def largest_difference(first: list[list[float]], second: list[list[float]]) -> float:
    """The largest difference of a margin between two replies of one prompt."""
    differences = []
    for mine, theirs in zip(first, second, strict=True):
        differences += [
            abs((mine[0] - mine[at]) - (theirs[0] - theirs[at])) for at in range(1, len(mine))
        ]
    return max(differences)


if __name__ == "__main__":
    if sys.argv[1:2] == ["harness"]:
        harness(sys.argv[2], int(sys.argv[3]))
    else:
        main()
