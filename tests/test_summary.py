"""What a run says of itself is what the report says of it."""

import io
import json
from types import SimpleNamespace

import pandas as pd
import pytest
from rich.console import Console

from warmth.evaluation.grade.live import RunningError
from warmth.evaluation.summary import cell_counts, show_summary, summary_table, warmth_summary
from warmth.schemas import Analysis, Evaluate, Task
from warmth.store import Run
from warmth.tracking import headline_metrics
from warmth.verdicts import Rule, outcomes

LABELS = {
    "seed_trivia": ["correct", "incorrect", "hedged", "refused", None],
    "seed_disinfo": ["correct", "incorrect", "refused", "refused", None],
}
TASKS = {
    "seed_trivia": Task(),
    "seed_disinfo": Task(refusing_is_right=True),
    "mmlu": Task(benchmark=True),
}


def graded(run):
    """The run's answers as a report has them."""
    answers = pd.DataFrame(run.rows("answers"))
    return answers.assign(refusing_is_right=answers["task"].eq("seed_disinfo"))


@pytest.fixture
def run(tmp_path):
    answers, grades = [], []
    for task, labels in LABELS.items():
        for number, label in enumerate(labels):
            answer = {
                "answer_id": f"{task}-{number}",
                "task": task,
                "context": "unmodified",
                "belief": "none",
            }
            text = "I'm sorry, but I cannot say." if number in (1, 4) else "words"
            answers.append({**answer, "finish": "stop", "text": text, "label": label})
            grades.append({"answer_id": answer["answer_id"], "grader": "alias", "label": label})
    for name, rows in (("answers", answers), ("grades", grades)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Run(tmp_path)


def test_the_error_rate_of_a_run_is_that_of_the_report(run):
    counted = cell_counts(run, dict.fromkeys(LABELS, "alias"), TASKS, Rule())
    wrong = outcomes(graded(run))["wrong"]
    assert headline_metrics({"cells": counted})["error_percent"] == pytest.approx(
        100 * wrong.mean()
    )
    assert [(cell["scored"], cell["errors"]) for cell in counted] == [(3, 2), (4, 1)]


@pytest.mark.parametrize("hedged", ["wrong", "right", "dropped"])
@pytest.mark.parametrize("refused", ["wrong", "right", "dropped"])
@pytest.mark.parametrize("refusal_rule", ["grader", "study"])
def test_it_counts_hedged_and_refused_answers_by_the_rule_of_the_report(
    run, hedged, refused, refusal_rule
):
    rule = Rule(hedged, refused, refusal_rule)
    counted = cell_counts(run, dict.fromkeys(LABELS, "alias"), TASKS, rule)
    expected = outcomes(graded(run), rule)
    assert headline_metrics({"cells": counted})["error_percent"] == pytest.approx(
        100 * expected["wrong"].mean()
    )
    assert [cell["refused"] for cell in counted] == expected.groupby("task", sort=False)[
        "refused"
    ].sum().tolist()


def test_the_running_error_is_that_of_the_run(run):
    class Reads:
        name, offline = "alias", True

        def grade(self, question, answer):
            return SimpleNamespace(label=answer.label)

    rows = [SimpleNamespace(**row, question_id="q") for row in run.rows("answers")]
    asked = [SimpleNamespace(task=task, id="q") for task in (*LABELS, "mmlu")]
    rows.append(SimpleNamespace(task="mmlu", question_id="q", label="incorrect", text="words"))
    graders = {question.task: {"alias": Reads()} for question in asked}
    study = Evaluate(task=TASKS, analysis=Analysis(margin_points=2.0, hedged="dropped"))
    live = RunningError(asked, graders, study)
    assert live(rows).startswith(f"{100 * 2 / 6:.1f} ±")


def test_the_figure_that_runs_are_sorted_by_leaves_benchmarks_out_as_the_report_does():
    count = {"n": 10, "scored": 10, "refused": 0, "unscored": 0, "cut_off": 0}
    rows = [{"task": "medqa", "errors": 2, **count}, {"task": "mmlu", "errors": 8, **count}]
    found = headline_metrics({"cells": rows, "tasks_apart": ["mmlu"]})
    assert (found["error_percent"], found["error_percent.mmlu"]) == (20, 80)
    assert headline_metrics({"cells": rows[1:]})["error_percent"] == 80


def test_replies_without_a_warmth_score_are_counted_and_said(run, capsys):
    replies = [
        {"answer_id": name, "text": text}
        for name, text in (("a", "yes"), ("b", " \n"), ("c", "long" * 9))
    ]
    scores = [{"text_id": "a", "score": 0.5}]
    for name, rows in (("replies", replies), ("warmth", scores)):
        (run.folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = warmth_summary(run)
    assert found == {"n": 1, "mean": 0.5, "sem": None, "empty": 1, "too_long": 1}
    outcome = {
        "model": "m",
        "arm": "warm",
        "cells": [],
        "warmth": found,
        "graders": {"t": ["alias"], "u": ["no_judge"]},
    }
    show_summary(run, outcome, [])
    out = capsys.readouterr().out
    assert "replies without a warmth score: 1 empty, 1 too long" in out
    assert "Not scored: u. No judge was chosen" in out


def printed(width):
    """The table as lines of words, for cells with long names and large counts."""
    counts = {
        "n": 1500,
        "scored": 0,
        "refused": 2345,
        "unscored": 3456,
        "cut_off": 4567,
        "errors": 0,
    }
    cell = {"task": "seed_misconceptions", "belief": "wrong_asserted", "error_rate": None, **counts}
    rows = [cell | {"context": context} for context in ("hierarchical_down", "sad[/b]")]
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(summary_table("smollm2 warm", rows, width))
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [80, 60])
def test_a_narrow_terminal_loses_no_column_and_no_name(width):
    lines = printed(width)
    assert max(map(len, lines)) <= width and "…" not in "".join(lines)
    header = " ".join(next(line for line in lines if "error %" in line).split())
    assert header == "context, belief n error % refused unscored cut off"
    for name in ("hierarchical_down,", "sad[/b],"):
        row = next(line for line in lines if name in line)
        assert [word for word in row.split() if word.isdigit()] == ["1500", "2345", "3456", "4567"]
    assert sum("wrong_asserted" in line for line in lines) == 2 and any(
        "seed_misconceptions" in line for line in lines
    )
