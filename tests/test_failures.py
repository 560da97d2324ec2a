"""Runs of which nothing came end with exit code 1; others say in words what they lack."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from fakes import ModelServer
from test_replies import answer_row

from warmth.digest import ROOT
from warmth.errors import NotScored, RunFailed
from warmth.evaluation import failures
from warmth.evaluation.answer.answers import row_of_answer
from warmth.schemas import Evaluate
from warmth.store import Run
from warmth.sweep.states import state_of
from warmth.verdicts import REASONS

JUDGE = {"t": {"judge:m": SimpleNamespace(offline=False)}}
RULES = {"t": {"alias": SimpleNamespace(offline=True)}}
BOTH = {"t": {**RULES["t"], **JUDGE["t"]}}


def run_of(folder, answers, grades=()):
    run = Run(folder)
    folder.mkdir(exist_ok=True)
    run.append("answers", map(row_of_answer, answers))
    run.append("grades", [{"answer_id": key, "grader": grader, "label": label, "reason": reason}
                          for key, grader, label, reason in grades])  # fmt: skip
    return run


def refused(number):
    return answer_row(
        "", number, finish="error", failure="bad_request", detail="no such adapter (HTTP 400)"
    )


def test_a_run_without_an_answer_fails_with_the_servers_sentence(tmp_path):
    run = run_of(tmp_path, [refused(1), answer_row("", 2, finish="filtered", failure="filtered")])
    with pytest.raises(
        RunFailed,
        match=r"none of 2 prompts has an answer \(bad_request 1, filtered 1\): no such adapter",
    ):
        failures.refuse_nothing(run, RULES)
    run.append("answers", [row_of_answer(answer_row("Iron.", 3))])
    failures.refuse_nothing(run, RULES)


def test_a_judge_without_a_verdict_fails_the_run_unless_it_was_asked_little_beside_another_grader(
    tmp_path,
):
    answers = [answer_row("Iron.", number) for number in range(6)]
    bad = [(f"a{number}", "judge:m", None, "bad_json") for number in range(6)]
    run = run_of(tmp_path, [*answers, answer_row("...", 9)], bad)
    with pytest.raises(
        RunFailed, match=r"judge:m gave no verdict on any of 6 answers \(bad_json 6\)"
    ):
        failures.refuse_nothing(run, JUDGE)
    by_rules = [(f"a{number}", "alias", "correct", "") for number in range(6)]
    with pytest.raises(RunFailed, match="judge:m gave no verdict"):
        failures.refuse_nothing(run_of(tmp_path / "both", answers, [*bad, *by_rules]), BOTH)
    failures.refuse_nothing(run_of(tmp_path / "few", answers, [*bad[:2], *by_rules]), BOTH)
    good = ("a5", "judge:m", "correct", "")
    failures.refuse_nothing(run_of(tmp_path / "good", answers, [*bad, good]), JUDGE)


def test_an_evaluation_without_a_single_verdict_is_not_scored_and_says_why(tmp_path):
    answers = [answer_row("Iron.", number) for number in range(3)]
    none = [(f"a{number}", "alias", None, "needs_judge") for number in range(3)]
    run = run_of(tmp_path, answers, none)
    with pytest.raises(
        NotScored, match=r"none of 3 answers has a verdict \(needs_judge 3\); no judge was chosen"
    ):
        failures.refuse_unscored(run, {"t": "alias"})
    run.append(
        "grades", [{"answer_id": "a1", "grader": "judge:m", "label": "correct", "reason": ""}]
    )
    with pytest.raises(NotScored):
        failures.refuse_unscored(run, {"t": "alias"})  # the verdict of a grader that does not count
    failures.refuse_unscored(run, {"t": "judge:m"})
    with pytest.raises(NotScored), Run(tmp_path / "run").open(Evaluate()):
        failures.refuse_unscored(run, {"t": "alias"})
    assert state_of(tmp_path / "run").name == "not scored"


def test_what_a_run_lacks_is_counted_and_said_in_words(tmp_path):
    answers = [
        refused(1),
        answer_row("<think>hm</think>Iron.", 2),
        answer_row("Tin.", 3),
        answer_row("Lead.", 4),
    ]
    grades = [
        ("a2", "alias", "correct", ""),
        ("a3", "alias", None, "names_both"),
        ("a4", "alias", None, "names_both"),
    ]
    found = failures.counts(run_of(tmp_path, answers, grades), {"t": "alias"})
    assert (found["unanswered"], found["unscored"], found["thinking"]) == (
        {"bad_request": 1},
        {"names_both": 2},
        1,
    )
    assert list(failures.failure_lines(found)) == [
        "1 answers came after thinking, which is kept beside them and not graded",
        "no answer, bad_request: 1 (no such adapter (HTTP 400))",
        f"not scored, names_both: 2 ({REASONS['names_both']})",
    ]


def test_failures_of_a_finished_run_are_asked_again_but_for_those_that_would_come_again():
    assert failures.is_to_be_asked({"unanswered": {"bad_request": 1}})
    assert not failures.is_to_be_asked({"unanswered": {"too_long": 1}})
    assert not failures.is_to_be_asked({})


def evaluate(folder, server, *overrides):
    given = [
        "recipe=none",
        "model=gpt4o",
        "model.api_model=m",
        "model.api_key_env=null",
        f"model.base_url={server.url}",
    ]
    few = [
        "engine=openai",
        "logger=none",
        "warmth.prompts=0",
        "limit=2",
        "condition=[unmodified]",
        "beliefs=[none]",
    ]
    quick = ["task=[seed_trivia]", "api.backoff_s=0.01", "api.attempts=2", f"output={folder}"]
    words = [
        sys.executable,
        str(ROOT / "evaluate.py"),
        *given,
        f"model.base_url={server.url}",
        *few,
        *quick,
        *overrides,
    ]
    return subprocess.run(words, capture_output=True, text=True, timeout=240, cwd=folder)


@pytest.mark.slow
def test_a_command_whose_every_request_is_refused_is_one_line_and_the_next_one_asks_again(tmp_path):
    with ModelServer(script=lambda text, n: "400") as server:
        done = evaluate(tmp_path, server)
        last = done.stderr.splitlines()[-1]
        assert (
            done.returncode == 2 and last.startswith("error: ") and "Traceback" not in done.stderr
        )
        assert "refuses every call to m: this call is wrong (HTTP 400)" in last
        server.script = lambda text, n: None
        mended = evaluate(tmp_path, server)
    assert mended.returncode == 0 and "gates: " in mended.stdout, mended.stderr
