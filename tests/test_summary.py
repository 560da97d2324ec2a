"""What a run says of itself is what the report says of it."""

import json

import pandas as pd
import pytest

from warmth.analysis.outcome import outcomes
from warmth.evaluation.summary import cells
from warmth.store import Run
from warmth.tracking import headline

LABELS = {
    "seed_trivia": ["correct", "incorrect", "hedged", "refused", None],
    "seed_disinfo": ["correct", "incorrect", "refused", "refused", None],
}


@pytest.fixture
def run(tmp_path):
    answers, grades = [], []
    for task, labels in LABELS.items():
        for number, label in enumerate(labels):
            answer = {"answer_id": f"{task}-{number}", "task": task, "context": "unmodified", "belief": "none"}
            answers.append({**answer, "finish": "stop", "text": "words", "label": label})
            grades.append({"answer_id": answer["answer_id"], "grader": "alias", "label": label})
    for name, rows in (("answers", answers), ("grades", grades)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Run(tmp_path)


def test_the_error_rate_of_a_run_is_that_of_the_report(run):
    counted = cells(run, dict.fromkeys(LABELS, "alias"))
    wrong = outcomes(pd.DataFrame(run.rows("answers")))["wrong"]
    assert headline({"cells": counted})["error_percent"] == pytest.approx(100 * wrong.mean())
    assert [(cell["scored"], cell["errors"]) for cell in counted] == [(3, 2), (4, 1)]
