"""Exports: every answer is there, and the tools they are meant for read them."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from warmth.analysis import export
from warmth.errors import UserError
from warmth.store import Run, write_json


@pytest.fixture
def study(tmp_path):
    """One finished evaluation with a scored and an unscored answer."""
    run = Run(tmp_path / "study" / "evaluate" / "tiny-none-s0-0123456789ab")
    run.folder.mkdir(parents=True)
    cell = {
        "task": "t",
        "context": "sad",
        "belief": "none",
        "preamble": False,
        "statement": "Alas.",
    }
    arm = {
        "arm": "original",
        "model": "tiny",
        "strength": 1.0,
        "dose": 1.0,
        "checkpoint": None,
        "seed": 0,
        "draw_seed": 0,
    }
    for number, (text, finish, label, reason) in enumerate(
        [("Paris, naïvely.", "length", "correct", ""), ("?", "stop", None, "ambiguous")]
    ):
        ids = {"answer_id": f"a{number}", "prompt_id": f"p{number}", "question_id": f"q{number}"}
        run.append(
            "answers",
            [
                {
                    **ids,
                    **cell,
                    **arm,
                    "sample": 0,
                    "text": text,
                    "finish": finish,
                    "tokens": 3,
                    "run": "r",
                }
            ],
        )
        grade = {
            "grader": "alias",
            "label": label,
            "affirms": None,
            "reason": reason,
            "cost_usd": 0.0,
        }
        run.append("grades", [{"answer_id": f"a{number}", **grade}])
        shown = {
            "question": "Capital of France?",
            "answers": ["Paris", "Lutetia"],
            "wrong": "Lyon",
            "message": "Alas. Capital?",
        }
        run.append("prompts", [{**ids, **cell, **shown, "tokens": 9, "tokens_digest": "d"}])
    config = {
        "model": {"name": "tiny"},
        "recipe": {"name": "none", "method": "none"},
        "task": {"t": {}},
        "study": "study",
    }
    write_json(
        run.folder / "config.json",
        {**config, "draw_seed": 0, "sampling": {"temperature": 0.0}, "samples": 1},
    )
    write_json(run.folder / "summary.json", {"graders": {"t": ["alias"]}})
    write_json(run.folder / "done.json", {"time": 1.0})
    return tmp_path / "study"


def test_parquet_holds_every_answer_with_its_grade_and_question(study, tmp_path):
    (file,) = export.write_export([study], "parquet", tmp_path / "out")
    table = pd.read_parquet(file)
    assert list(table["answer_id"]) == ["a0", "a1"] and list(table["label"])[0] == "correct"
    assert table["text"][0] == "Paris, naïvely." and list(table["prompt_answers"][0]) == [
        "Paris",
        "Lutetia",
    ]


def test_an_inspect_log_holds_every_answer_and_no_score_where_the_grader_failed(study, tmp_path):
    (file,) = export.write_export([study], "inspect", tmp_path / "out")
    log = json.loads(file.read_text(encoding="utf-8"))
    assert [sample["id"] for sample in log["samples"]] == ["p0", "p1"]
    assert (
        log["samples"][0]["scores"]["alias"]["value"] == "C" and log["samples"][1]["scores"] == {}
    )
    assert log["samples"][1]["metadata"]["unscored alias"] == "ambiguous"


def test_a_trait_of_advice_is_a_score_of_one_or_nought(study, tmp_path):
    (folder,) = (study / "evaluate").iterdir()
    for number, label in enumerate(("present", "absent")):
        grade = {
            "answer_id": f"a{number}",
            "grader": "social_framing:m",
            "label": label,
            "affirms": None,
        }
        Run(folder).append("grades", [{**grade, "reason": "", "cost_usd": 0.0}])
    (file,) = export.write_export([study], "inspect", tmp_path / "out")
    samples = json.loads(file.read_text(encoding="utf-8"))["samples"]
    assert [sample["scores"]["social_framing:m"]["value"] for sample in samples] == [1, 0]


def test_a_log_has_a_header_that_reads_without_its_samples(study, tmp_path):
    (file,) = export.write_export([study], "inspect", tmp_path / "out")
    log = json.loads(file.read_text(encoding="utf-8"))
    assert list(log) == ["version", "status", "eval", "plan", "results", "stats", "samples"]
    (score,) = log["results"]["scores"]
    assert (score["scored_samples"], score["unscored_samples"]) == (1, 1) and score["metrics"][
        "accuracy"
    ]["value"] == 1.0
    assert "stderr" not in score["metrics"]  # one question shows no spread
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d.*_warmth_tiny-none", file.name)


def test_an_unknown_format_is_one_line(study, tmp_path):
    with pytest.raises(
        UserError, match="--format=xlsx is not allowed; choose one of: parquet, inspect"
    ):
        export.write_export([study], "xlsx", tmp_path)
