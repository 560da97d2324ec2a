"""The study's figures from rows of our own: drawn where the rows allow, and saying in words what
they show.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from warmth.analysis.report.drawing import own_figures
from warmth.analysis.statistics import effects

NONE = pd.DataFrame(columns=["family"])


def answers(tasks=("t",), contexts=("unmodified", "sad"), beliefs=("none", "wrong_asserted")):
    rows = [
        (arm, task, context, belief, f"q{n}", float((n + len(arm)) % 3 == 0))
        for arm in ("original", "warm", "cold")
        for task in tasks
        for context in contexts
        for belief in beliefs
        for n in range(12)
    ]
    frame = pd.DataFrame(rows, columns=["arm", "task", "context", "belief", "question_id", "wrong"])
    frame["prompt_id"] = frame[["task", "context", "belief", "question_id"]].agg("-".join, axis=1)
    return frame.assign(model="m", sample=0, seed=0, benchmark=frame["task"].eq("mmlu"))


def warmth(checkpoints=(0.5, 1.0, 2.0)):
    draw = np.random.default_rng(0)
    rows = [("original", "original", np.nan, p, draw.normal(0.01, 0.01)) for p in range(20)]
    rows += [
        ("warm", f"warm, epoch {c}", c, p, draw.normal(0.01 + 0.01 * c, 0.01))
        for c in checkpoints
        for p in range(20)
    ]
    frame = pd.DataFrame(rows, columns=["recipe", "arm", "checkpoint", "prompt", "score"]).astype(
        {"prompt": str}
    )
    return frame.assign(model="m", variant="v", scorer="s", strength=1.0, dose=1.0, text_id="x")


def test_warmth_by_epoch_starts_at_the_original_and_ends_at_the_last_checkpoint():
    drawn = own_figures.epochs(warmth())
    assert drawn is not None
    last = warmth().loc[lambda table: table["checkpoint"].eq(2.0), "score"].mean()
    assert f"m warm {last:.4f}" in drawn.alt


def test_one_checkpoint_is_no_curve():
    assert own_figures.epochs(warmth((2.0,))) is None


def test_error_by_task_shows_every_arm_alone_with_a_context_and_with_a_belief():
    drawn = own_figures.draw_tasks(own_figures.rates_by_line(answers()))
    assert drawn is not None
    frame = answers()
    own = frame[
        frame["arm"].eq("warm") & frame["context"].eq("sad") & frame["belief"].eq("wrong_asserted")
    ]["wrong"].mean()
    assert f"warm t with a context and a wrong belief {100 * own:.1f}" in drawn.alt


def test_a_cell_without_a_scored_answer_is_named_below_error_by_task():
    frame = answers(("seed_disinfo", "t"))
    lost = frame["arm"].eq("warm") & frame["task"].eq("seed_disinfo") & frame["context"].eq("sad")
    frame.loc[lost, "wrong"] = np.nan
    frame = frame[
        frame["task"].eq("t") | frame["arm"].ne("cold")
    ]  # what was not asked is not unscored
    (drawn,) = own_figures.draw_own_figures(
        frame, warmth((1.0,)), NONE, own_figures.rates_by_line(frame)
    )
    said = "warm on seed disinfo (with a context, with a context and a wrong belief)."
    assert drawn.caption.endswith(f" Without a mark, as no answer was scored: {said}")
    whole = own_figures.draw_own_figures(
        answers(), warmth((1.0,)), NONE, own_figures.rates_by_line(answers())
    )
    assert "Without a mark" not in whole[0].caption


def test_five_models_or_tasks_leave_no_empty_frame():
    scores = pd.concat([warmth().assign(model=name) for name in "abcde"])
    for drawn in (
        own_figures.epochs(scores),
        own_figures.draw_tasks(own_figures.rates_by_line(answers(tuple("stuvw")))),
    ):
        assert drawn is not None and drawn.inline.count("-axes_") == 5, drawn.name


def test_questions_asked_one_way_alone_make_no_figure_by_task():
    assert (
        own_figures.draw_tasks(
            own_figures.rates_by_line(answers(contexts=("unmodified",), beliefs=("none",)))
        )
        is None
    )


def test_benchmarks_are_a_figure_of_their_own():
    frame = answers(("mmlu", "medqa"))
    drawn = own_figures.draw_own_figures(
        frame, warmth((1.0,)), NONE, own_figures.rates_by_line(frame)
    )
    assert [item.name for item in drawn] == ["tasks", "benchmarks"]
    right = 100 * (
        1 - frame.loc[frame["arm"].eq("warm") & frame["task"].eq("mmlu"), "wrong"].mean()
    )
    assert f"mmlu m warm {right:.1f}" in drawn[1].alt and "mmlu" not in drawn[0].alt


def test_changes_by_context_need_two_arms():
    differences = effects.paired_differences(effects.pair(answers()))
    assert own_figures.changes(own_figures.change_cells(differences)) is not None
    assert own_figures.change_cells(differences[differences["arm"].eq("warm")]).empty
