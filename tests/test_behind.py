"""The rows behind a point: its own, drawn by seed, few enough for a page, and harmless."""

from __future__ import annotations

import json

import pandas as pd

from warmth.analysis import behind
from warmth.analysis.ink import point_id


def answers(per_cell=30):
    rows = [
        (arm, f"q{n}", task, context, belief)
        for arm in ("original", "warm")
        for task in ("t", "u")
        for context in ("unmodified", "sad")
        for belief in ("none", "wrong_asserted")
        for n in range(per_cell)
    ]
    frame = pd.DataFrame(rows, columns=["arm", "question_id", "task", "context", "belief"])
    frame["prompt_id"] = frame[["question_id", "task", "context", "belief"]].agg("-".join, axis=1)
    return frame.assign(
        model="m", sample=0, wrong=1.0, label="incorrect", text=frame["arm"] + " says " + frame["prompt_id"]
    )


def made(frame, **where):
    cell = {"model": "m", "arm": "warm", "task": "", "context": "", "belief": "", "count": 60} | where
    prompts = pd.DataFrame({"message": "asked " + frame["prompt_id"]}).set_index(frame["prompt_id"])
    prompts = prompts[~prompts.index.duplicated()]
    return behind.points(frame, prompts, pd.DataFrame([cell]), ["a b", "c"])


def test_a_point_opens_rows_of_its_own_cell_with_the_original_beside_them():
    (point,) = made(answers(), context="sad", belief="none").values()
    assert len(point["rows"]) == behind.SHOWN and point["count"] == 60
    for row in point["rows"]:
        key = row["message"].removeprefix("asked ")
        assert key.endswith("sad-none")
        assert row["said"] == [
            ["original", "incorrect", f"original says {key}"],
            ["warm", "incorrect", f"warm says {key}"],
        ]


def test_a_pooled_point_draws_from_all_its_cells_and_the_draw_is_the_same_each_time():
    frame = answers()
    (point,) = made(frame).values()
    assert {row["message"].split("-", 2)[2] for row in point["rows"]} > {"sad-none"}
    assert made(frame) == made(frame)


def test_the_command_shows_all_and_survives_a_shell():
    (point,) = made(answers(), arm="warm", belief="none", context="$(rm x)").values()
    assert point["command"] == "warmth show all 'a b' c --model m --arm warm --context '$(rm x)' --belief none"


def test_many_cells_share_a_limit():
    frame = pd.concat([answers(4).assign(model=f"m{n}") for n in range(600)], ignore_index=True)
    assert len(behind.sample(frame)) <= behind.ROWS


def test_json_in_a_page_cannot_end_its_element():
    frame = answers(1).assign(text="</script><!-- <script> & \u2028", label="incorrect")
    text = behind.as_json(made(frame))
    assert "<" not in text and ">" not in text and "&" not in text and "\u2028" not in text
    body = json.loads(text)
    assert body["points"][point_id("m", "warm")]["rows"] == list(range(len(body["rows"])))
    assert body["rows"][0]["said"][0][2].startswith("</script>")
