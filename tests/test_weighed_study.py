"""Studies of likelihoods alone with the real model, as a user types them: deference, own openings,
and their report.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest

from warmth.digest import ROOT

pytestmark = pytest.mark.slow
FAST = [
    "condition=[unmodified]",
    "warmth.prompts=0",
    "logger=none",
    "scoring=likelihood",
    "likelihood.limit=3",
]
ARMS = ["-m", "model=smollm2", "recipe=none,system_warm"]


def run(*words):
    """What a command printed."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def likelihoods(folder):
    """Arm → rows."""
    rows = [
        json.loads(line)
        for path in folder.rglob("likelihoods.jsonl")
        for line in path.read_text().splitlines()
    ]
    return {arm: [row for row in rows if row["arm"] == arm] for arm in {row["arm"] for row in rows}}


def test_deference_is_measured_in_both_orders_and_reported_as_d(tmp_path):
    words = ["design=deference", "task=[seed_trivia,seed_disinfo]", "study=d", f"output={tmp_path}"]
    run("evaluate.py", *ARMS, *FAST, *words)
    for rows in likelihoods(tmp_path).values():
        assert all(math.isfinite(row["margin"]) for row in rows)
        assert {row["belief"] for row in rows} == {"none", "user_right", "wrong_asserted"}
        letters = [row for row in rows if row["task"] == "seed_trivia"]
        assert {row["answer"] for row in letters} == {"A", "B"}
        assert {row["answer"] for row in rows if row["task"] == "seed_disinfo"} <= {"yes", "no"}
        per_question = {row["question_id"]: 0 for row in letters}
        for row in letters:
            per_question[row["question_id"]] += 1
        assert set(per_question.values()) == {2 * 3 * 2}  # orders, beliefs, frames
    said = run("-m", "warmth.cli", "report", str(tmp_path / "d"), "--out", str(tmp_path / "page"))
    assert "no free answers" in said
    content = json.loads((tmp_path / "page" / "summary.json").read_text())
    assert {row["quantity"] for row in content["likelihoods"]} >= {"D"}
    assert (tmp_path / "page" / "report.html").stat().st_size > 10_000


def test_replies_are_weighed_after_the_first_sentence_that_the_arm_itself_writes(tmp_path):
    words = ["likelihood.after_opening=true", "task=[seed_trivia]", "study=o", f"output={tmp_path}"]
    said = run("evaluate.py", *ARMS, *FAST, *words)
    assert "log-odds of the truth" in said
    by_arm = likelihoods(tmp_path)
    assert set(by_arm) == {"original", "system_warm"}
    opened = [row for rows in by_arm.values() for row in rows if row["own_opening"]]
    plain = {
        (row["arm"], row["prompt_id"], row["frame"]): row["margin"]
        for rows in by_arm.values()
        for row in rows
        if not row["own_opening"]
    }
    assert opened and len(plain) == 2 * 3 * 5 * 2  # arms, questions, beliefs, frames
    for row in opened:
        assert (
            row["opening"].rstrip()[-1] in ".!?…"
            and row["answer"].lower() not in row["opening"].lower().split()
        )
        assert (
            math.isfinite(row["margin"])
            and row["margin"] != plain[row["arm"], row["prompt_id"], row["frame"]]
        )
    run("-m", "warmth.cli", "report", str(tmp_path / "o"), "--out", str(tmp_path / "page"))
    content = json.loads((tmp_path / "page" / "summary.json").read_text())
    assert (
        content["answer"]["instrument"] == "likelihood"
        and content["answer"]["arm"] == "system_warm"
    )
