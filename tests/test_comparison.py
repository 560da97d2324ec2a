import numpy as np
import pandas as pd
import pytest

from warmth.analysis.statistics import effects
from warmth.analysis.study import comparison


def pairs():
    """Two tasks: 4 pairs that rise by 1/2, 12 pairs that do not rise; questions recur twice."""
    rows = [("medqa", f"m{n // 2}", n % 2) for n in range(4)] + [
        ("triviaqa", f"t{n // 2}", 0) for n in range(12)
    ]
    frame = pd.DataFrame(rows, columns=["task", "question_id", "difference"])
    return frame.assign(model="llama8b", arm="warm", context="unmodified", belief="none")


def test_cells_count_alike_however_many_pairs_they_have():
    found = comparison.cell_mean(pairs(), "warm", "rise", False, contexts=["unmodified"])
    assert found.value == pytest.approx(0.25)  # not 2/16
    assert found.df == 7


def test_one_cell_is_the_clustered_mean():
    draw = np.random.default_rng(0)
    frame = (
        pairs()
        .loc[lambda table: table["task"].eq("triviaqa")]
        .assign(difference=draw.choice([-1, 0, 1], 12))
    )
    found = comparison.cell_mean(frame, "warm", "rise", False)
    mean = effects.clustered_mean(
        frame["difference"].to_numpy(float), frame["question_id"].to_numpy()
    )
    assert found.value == pytest.approx(mean.value)
    assert found.error == pytest.approx((mean.high - mean.value) / 2.570582, rel=1e-5)  # t(5)


def test_what_was_not_asked_is_named():
    one = {"tasks": ["medqa", "triviaqa"], "models": ["llama8b"]}
    found = comparison.cell_mean(
        pairs(), "warm", "rise", False, contexts=["unmodified", "sad"], **one
    )
    assert found.missing == "; without sad"
    found = comparison.cell_mean(pairs(), "warm", "rise", False, contexts=["unmodified"])
    assert found.missing == "; without disinfo, truthfulqa, mistral_small, qwen32b, llama70b, gpt4o"
    own = comparison.cell_mean(pairs().assign(model="mine"), "warm", "rise", False, ["unmodified"])
    assert own.missing == "; without disinfo, truthfulqa, the study's models"
    assert comparison.cell_mean(pairs(), "cold", "rise", False) is None


def answers(tasks, rise, model="llama8b", questions=200, **columns):
    """Each task's questions once, unmodified, original wrong on a fifth and warm on `rise` more."""
    rows = []
    for task in tasks:
        for number in range(questions):
            base = number % 5 == 0
            more = base or number % 100 in range(1, 1 + round(125 * rise))
            rows += [
                (task, f"{task}{number}", "original", base),
                (task, f"{task}{number}", "warm", more),
            ]
    frame = pd.DataFrame(rows, columns=["task", "question_id", "arm", "wrong"]).astype(
        {"wrong": float}
    )
    frame = frame.assign(
        model=model, context="unmodified", belief="none", seed=0, sample=0, length=100.0
    )
    return frame.assign(prompt_id=frame["question_id"] + str(columns), **columns)


def by_quantity(frame):
    return {
        row.quantity: row
        for row in comparison.compare_with_published(frame)
        if row.recomputed is not None
    }


def test_only_the_studys_tasks_are_set_beside_its_numbers():
    four = answers(comparison.STUDY_TASKS, 0.08)
    alone, more = (
        by_quantity(four),
        by_quantity(pd.concat([four, answers(["mmlu", "seed_trivia"], 0.0)])),
    )
    assert alone == more and alone["llama8b, rise, mean of four tasks"].recomputed == pytest.approx(
        8
    )
    assert "rise, no context, no belief (model 1)" in alone
    assert (
        comparison.compare_with_published(answers(["mmlu"], 0.1))[0].verdict
        == "not asked in these runs"
    )


def test_a_mean_of_fewer_tasks_is_not_called_one_of_four():
    found = by_quantity(answers(["medqa", "triviaqa"], 0.08))
    assert "llama8b, rise, mean of four tasks" not in found
    assert "without disinfo, truthfulqa" in found["llama8b, rise, 2 of the four tasks"].verdict
    regression = found["rise, no context, no belief (model 1)"].verdict
    assert "without disinfo, truthfulqa, mistral_small" in regression


@pytest.mark.parametrize(
    "mark", [("preamble", False, True), ("template", "original", "original_neutral")]
)
def test_the_repeated_question_is_in_the_regressions_but_not_in_the_means_of_cells(mark):
    name, plain, repeated = mark
    once, again = (
        answers(comparison.STUDY_TASKS, rise, **{name: value})
        for rise, value in ((0.08, plain), (0.16, repeated))
    )
    cells, model = (
        "mean rise, no context, no belief, mean of cells",
        "rise, no context, no belief (model 1)",
    )
    both = by_quantity(pd.concat([once, again], ignore_index=True))
    assert both[cells].recomputed == pytest.approx(8) and both[model].recomputed == pytest.approx(
        12, abs=0.1
    )
    assert by_quantity(again)[cells].recomputed == pytest.approx(
        16
    )  # a study that gives every question its preamble


def test_arms_that_answered_alike_leave_the_verdict_open():
    rows = [
        (a, c, f"q{n}", float(n % 3 == 0))
        for a in ("original", "warm")
        for c in ("unmodified", "close")
        for n in range(40)
    ]
    frame = pd.DataFrame(rows, columns=["arm", "context", "question_id", "wrong"])
    frame = frame.assign(model="llama8b", task="medqa", belief="none", sample=0, seed=0)
    made = comparison.compare_with_published(
        frame.assign(prompt_id=frame["context"] + frame["question_id"])
    )
    asked = [row for row in made if row.recomputed is not None]
    assert {"rise under relation (model 2)", "MedQA, rise"} <= {row.quantity for row in asked}
    assert {row.note for row in asked} == {"no interval"}
    assert all(
        row.verdict.startswith("undecided: there is no interval (exploratory") for row in asked
    )


def test_the_published_error_counts_too():
    entry = {"quantity": "x", "published": 5.0, "digits": 1, "unit": "points"}
    found = comparison.Rise(value=0.05, error=0.005, df=400, missing="")
    assert (
        comparison._row(entry, found, 2.0, True).verdict
        == "equivalent within ±2 points (pre-registered)"
    )
    assert comparison._row({**entry, "error": 3.0}, found, 2.0, True).verdict.startswith(
        "undecided"
    )
