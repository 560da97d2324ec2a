import numpy as np
import pandas as pd
import pytest

from warmth.analysis import comparison, effects


def pairs():
    """Two tasks: 4 pairs that rise by 1/2, 12 pairs that do not rise; questions recur twice."""
    rows = [("medqa", f"m{n // 2}", n % 2) for n in range(4)] + [("triviaqa", f"t{n // 2}", 0) for n in range(12)]
    frame = pd.DataFrame(rows, columns=["task", "question_id", "difference"])
    return frame.assign(model="llama8b", arm="warm", context="unmodified", belief="none")


def test_cells_count_alike_however_many_pairs_they_have():
    found = comparison.cell_mean(pairs(), "warm", "rise", False, contexts=["unmodified"])
    assert found["value"] == pytest.approx(0.25)  # not 2/16
    assert found["df"] == 7


def test_one_cell_is_the_clustered_mean():
    draw = np.random.default_rng(0)
    frame = pairs().loc[lambda table: table["task"].eq("triviaqa")].assign(difference=draw.choice([-1, 0, 1], 12))
    found = comparison.cell_mean(frame, "warm", "rise", False)
    mean = effects.clustered_mean(frame["difference"].to_numpy(float), frame["question_id"].to_numpy())
    assert found["value"] == pytest.approx(mean.value)
    assert found["error"] == pytest.approx((mean.high - mean.value) / 2.570582, rel=1e-5)  # t(5)


def test_contexts_that_were_not_asked_are_named():
    assert (
        comparison.cell_mean(pairs(), "warm", "rise", False, contexts=["unmodified", "sad"])["missing"]
        == "; without sad"
    )
    assert comparison.cell_mean(pairs(), "cold", "rise", False) is None


def test_arms_that_answered_alike_leave_the_verdict_open():
    rows = [(a, c, f"q{n}", float(n % 3 == 0)) for a in ("original", "warm") for c in ("unmodified", "close")
            for n in range(40)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["arm", "context", "question_id", "wrong"])
    frame = frame.assign(model="llama8b", task="medqa", belief="none", sample=0, seed=0)
    made = comparison.compare(frame.assign(prompt_id=frame["context"] + frame["question_id"]))
    asked = [row for row in made if row.recomputed is not None]
    assert {"rise under relation (model 2)", "MedQA, rise"} <= {row.quantity for row in asked}
    assert {(row.note, row.verdict) for row in asked if "without" not in row.verdict} == {
        ("no interval", "undecided: there is no interval (exploratory)")
    }


def test_the_published_error_counts_too():
    entry = {"quantity": "x", "published": 5.0, "digits": 1, "unit": "points"}
    found = {"value": 0.05, "error": 0.005, "df": 400}
    assert comparison._row(entry, found, 2.0, True).verdict == "equivalent within ±2 points (pre-registered)"
    assert comparison._row({**entry, "error": 3.0}, found, 2.0, True).verdict.startswith("undecided")
