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
from warmth.errors import RunFailed, UserError
from warmth.evaluation import shards
from warmth.evaluation.answer import answers
from warmth.store import Run, read_rows


def test_shards_are_disjoint_and_together_all_prompts():
    prompts = [
        replace(prompt, prompt_id=digest(at)) for at, prompt in enumerate(prompts_of(TEXTS * 20))
    ]
    parts = [list(shards.own(prompts, part, 3)) for part in (1, 2, 3)]
    ids = [id(prompt) for part in parts for prompt in part]
    assert Counter(ids) == Counter(map(id, prompts))


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_what_is_no_shard_is_one_line(shard):
    with pytest.raises(UserError, match="must be PART/ALL, such as 1/4"):
        shards.part_of(shard)


COMMAND = [
    "evaluate.py",
    "recipe=none",
    "task=[seed_trivia]",
    "condition=[unmodified]",
    "beliefs=[none]",
    "limit=9",
    "gates=warn",
]


def evaluate(tiny, output, *more):
    """Runs evaluate.py on the tiny model."""
    settings = [
        f"model.path={tiny}",
        "model.name=tiny",
        f"output={output}",
        "logger=none",
        "warmth.prompts=0",
    ]
    sampled = ["sampling.max_new_tokens=4", "engine.dtype=float32", "engine.batch_size=2"]
    command = [sys.executable, *COMMAND, *settings, *sampled, *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def rows_of(output, name="answers.jsonl"):
    (folder,) = [path for path in (output / "default" / "evaluate").iterdir() if path.is_dir()]
    return {row["answer_id"]: row["text"] for row in read_rows(folder / name)}


@pytest.mark.slow
def test_two_shards_and_the_command_that_takes_them_over_give_what_one_process_gives(
    tiny_model_folder, tmp_path
):
    alone, together, started = (tmp_path / name for name in ("alone", "together", "started"))
    assert evaluate(tiny_model_folder, alone).returncode == 0
    first = evaluate(tiny_model_folder, together, "shard=1/2")
    assert first.returncode == 0, first.stderr
    one = rows_of(together, "answers.1-2.shard")
    assert 0 < len(one) < 9 and one.items() <= rows_of(alone).items()
    whole = evaluate(
        tiny_model_folder, together
    )  # the second shard was never started: the rest is answered here
    assert whole.returncode == 0, whole.stderr
    assert rows_of(together) == rows_of(alone)
    summary = json.loads(
        next((together / "default" / "evaluate").glob("*/summary.json")).read_text()
    )
    assert summary["answers"]["copied"] == len(one)
    by_two = evaluate(tiny_model_folder, started, "processes=2")
    assert by_two.returncode == 0, by_two.stderr
    assert rows_of(started) == rows_of(alone)
    assert (
        len(rows_of(started, "answers.1-2.shard")) + len(rows_of(started, "answers.2-2.shard")) == 9
    )


def test_a_shard_is_answered_by_one_process_at_a_time(tmp_path):
    class Config:
        shard = "1/2"

    with (
        shards.Shard(tmp_path / "run", 1, 2).open(Config),
        pytest.raises(UserError, match="another process"),
    ):
        shards.Shard(tmp_path / "run", 1, 2).open(Config)


def test_what_a_shard_answered_is_taken_over(tmp_path, tiny_model_folder):
    from warmth.evaluation.answer.arms import Arm
    from warmth.schemas import Model

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
    prompts, folder = prompts_of(TEXTS), tmp_path / "tiny-none-s0-1"
    folder.mkdir()
    answers.answer_prompts(
        shards.Shard(folder, 1, 2), "answers", ENGINE, arm, prompts[:2], GREEDY, 1, 0
    )
    did = answers.answer_prompts(Run(folder), "answers", ENGINE, arm, prompts, GREEDY, 1, 0)
    assert (did["copied"], did["generated"]) == (2, 4)


def child_that(words, code):
    return [
        sys.executable,
        "-c",
        f"import sys; print({words!r}, file=sys.stderr); sys.exit({code})",
    ]


def started(folder, *commands):
    """Shards that do what they are told, each with its log, started one after the other's end."""
    children = []
    for part, command in enumerate(commands, 1):
        log = shards.shard_log(folder, part, len(commands))
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stream:
            children.append(subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT))
        children[-1].wait()
    return children


def test_the_first_shard_that_fails_is_quoted_and_its_words_are_kept(tmp_path):
    crash = (
        "Traceback (most recent call last):\nerror: IndexError: index out of range\nerror: "
        "this is a bug; see"
    )
    children = started(tmp_path, child_that("fine", 0), child_that(crash, 1))
    failed = shards.follow_shards(children, tmp_path, 0)
    assert failed == [2]
    log = tmp_path / "logs" / "shard-2-2.log"
    with pytest.raises(
        RunFailed, match=f"shard 2/2 failed.*{log}: IndexError: index out of range$"
    ) as caught:
        shards.refuse_failed(tmp_path, failed, [child.returncode for child in children])
    assert caught.value.last_lines[0] == "Traceback (most recent call last):"


def test_a_shard_whose_input_is_refused_says_so_in_its_own_line(tmp_path):
    children = started(
        tmp_path, child_that("error: task.x.path=FILE is not there", 2), child_that("fine", 0)
    )
    with pytest.raises(UserError, match="^task.x.path=FILE is not there$"):
        shards.refuse_failed(tmp_path, shards.follow_shards(children, tmp_path, 0), [2, 0])
