"""Shards: several processes answer one evaluation, nothing twice and nothing never."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
from test_engines import ENGINE, GREEDY, TEXTS, prompts_of

from warmth.digest import ROOT, digest
from warmth.errors import UserError
from warmth.evaluation import answers, shards
from warmth.store import Run, read_rows


def test_shards_are_disjoint_and_together_all_prompts():
    prompts = [replace(prompt, prompt_id=digest(at)) for at, prompt in enumerate(prompts_of(TEXTS * 20))]
    parts = [list(shards.own(prompts, part, 3)) for part in (1, 2, 3)]
    ids = [id(prompt) for part in parts for prompt in part]
    assert Counter(ids) == Counter(map(id, prompts))


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_what_is_no_shard_is_one_line(shard):
    with pytest.raises(UserError, match="must be PART/ALL, such as 1/4"):
        shards.part_of(shard)


COMMAND = ["evaluate.py", "recipe=none", "task=[seed_trivia]", "condition=[unmodified]", "beliefs=[none]", "limit=9"]


def evaluate(tiny, output, *more):
    """Runs evaluate.py on the tiny model."""
    settings = [f"model.path={tiny}", "model.name=tiny", f"output={output}", "logger=none", "warmth.prompts=0"]
    sampled = ["sampling.max_new_tokens=4", "engine.dtype=float32", "engine.batch_size=2"]
    command = [sys.executable, *COMMAND, *settings, *sampled, *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def rows_of(output, name="answers.jsonl"):
    (folder,) = [path for path in (output / "default" / "evaluate").iterdir() if path.is_dir()]
    return {row["answer_id"]: row["text"] for row in read_rows(folder / name)}


@pytest.mark.slow
def test_two_shards_and_the_command_that_takes_them_over_give_what_one_process_gives(tiny_model_folder, tmp_path):
    alone, together, started = (tmp_path / name for name in ("alone", "together", "started"))
    assert evaluate(tiny_model_folder, alone).returncode == 0
    first = evaluate(tiny_model_folder, together, "shard=1/2")
    assert first.returncode == 0, first.stderr
    one = rows_of(together, "answers.1-2.shard")
    assert 0 < len(one) < 9 and one.items() <= rows_of(alone).items()
    whole = evaluate(tiny_model_folder, together)  # the second shard was never started: the rest is answered here
    assert whole.returncode == 0, whole.stderr
    assert rows_of(together) == rows_of(alone)
    summary = json.loads(next((together / "default" / "evaluate").glob("*/summary.json")).read_text())
    assert summary["answers"]["copied"] == len(one)
    by_two = evaluate(tiny_model_folder, started, "processes=2")
    assert by_two.returncode == 0, by_two.stderr
    assert rows_of(started) == rows_of(alone)
    assert len(rows_of(started, "answers.1-2.shard")) + len(rows_of(started, "answers.2-2.shard")) == 9


def test_a_shard_is_answered_by_one_process_at_a_time(tmp_path):
    class Config:
        shard = "1/2"

    with shards.Shard(tmp_path / "run", 1, 2).open(Config), pytest.raises(UserError, match="another process"):
        shards.Shard(tmp_path / "run", 1, 2).open(Config)


def test_what_a_shard_answered_is_taken_over(tmp_path, tiny_model_folder):
    from warmth.evaluation.arms import Arm
    from warmth.schemas import Model

    arm = Arm(
        "original", Model(name="tiny", kind="hub", path=str(tiny_model_folder)), None, None, None, 1.0, 1.0, 0, None
    )
    prompts, folder = prompts_of(TEXTS), tmp_path / "tiny-none-s0-1"
    folder.mkdir()
    answers.answer(shards.Shard(folder, 1, 2), "answers", ENGINE, arm, prompts[:2], GREEDY, 1, 0)
    did = answers.answer(Run(folder), "answers", ENGINE, arm, prompts, GREEDY, 1, 0)
    assert (did["copied"], did["generated"]) == (2, 4)
