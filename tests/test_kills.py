"""Twenty kills at random moments lose no answer that was written and repeat none."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass

from warmth.digest import digest
from warmth.evaluation.answer import answers
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.decoding import base_of, tokenizer_of
from warmth.evaluation.answer.engines import Transformers
from warmth.schemas import Model, Sampling
from warmth.store import Run
from warmth.types import Message, Prompt

KILLS = 20
SAMPLED = Sampling(0.8, 0.9, 6)
ENGINE = Transformers(dtype="float32", batch_size=2)


@dataclass
class Config:
    """Something to write into `config.json`."""

    name: str = "kills"


def prompts():
    texts = [f"What is number {number}?" for number in range(120)]
    return [
        Prompt(digest(t), t, "t", "unmodified", "none", False, "", (Message("user", t),), 6)
        for t in texts
    ]


def fill(folder, arm):
    """What `evaluate.py` does with one run folder, as far as answers go."""
    with (run := Run(folder)).open(Config()):
        answers.answer_prompts(run, "answers", ENGINE, arm, prompts(), SAMPLED, 1, 0)
    return run


def size(path):
    return path.stat().st_size if path.exists() else 0


def test_twenty_random_kills_lose_and_repeat_nothing(tiny_model_folder, tmp_path):
    import torch

    arm = Arm(
        "original",
        Model(name="tiny", kind="hub", path=str(tiny_model_folder)),
        None,
        None,
        None,
        1.0,
        1.0,
        0,
        None,
    )
    (
        base_of(arm.model, torch.float32),
        tokenizer_of(arm.model),
    )  # loaded once: the children inherit it
    undisturbed = {
        row["answer_id"]: row for row in fill(tmp_path / "tiny-none-s0-a", arm).rows("answers")
    }
    folder, draw = tmp_path / "b" / "tiny-none-s0-a", random.Random(0)
    path = folder / "answers.jsonl"
    fork, written, killed = multiprocessing.get_context("fork"), b"", 0
    for _ in range(KILLS):
        child = fork.Process(target=fill, args=(folder, arm))
        child.start()
        while child.is_alive() and size(path) == len(written):
            time.sleep(0.002)  # until it has written something; then it is killed at any moment
        time.sleep(draw.uniform(0.0, 0.03))
        killed += child.is_alive()
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        now = path.read_bytes() if path.exists() else b""
        whole = now[: now.rfind(b"\n") + 1]
        assert whole.startswith(
            written[: written.rfind(b"\n") + 1]
        )  # nothing that was written is lost or rewritten
        written = now
    assert killed > KILLS // 2 and written
    rows = list(fill(folder, arm).rows("answers"))
    assert len(rows) == len(undisturbed) == 120  # nothing is repeated
    assert {row["answer_id"]: row for row in rows} == undisturbed
