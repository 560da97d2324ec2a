"""The rows behind a point: its own, drawn by seed, few enough for a page, and harmless."""

from __future__ import annotations

import json

import pandas as pd

from warmth.analysis.report import behind
from warmth.analysis.report.drawing.ink import point_id, reply_id


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
        model="m",
        sample=0,
        wrong=1.0,
        label="incorrect",
        text=frame["arm"] + " says " + frame["prompt_id"],
    )


def made(frame, **where):
    cell = {
        "model": "m",
        "arm": "warm",
        "task": "",
        "context": "",
        "belief": "",
        "count": 60,
        "paired": True,
    } | where
    prompts = pd.DataFrame({"message": "asked " + frame["prompt_id"]}).set_index(frame["prompt_id"])
    prompts = prompts[~prompts.index.duplicated()]
    return behind.rows_behind_points(frame, prompts, pd.DataFrame([cell]), ["a b", "c"])


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


def test_a_point_of_pairs_opens_pairs_and_one_of_all_answers_those_too_that_have_no_scored_partner():
    frame = answers()
    lost = frame["arm"].eq("original") & frame["question_id"].isin(
        [f"q{n}" for n in range(0, 30, 2)]
    )
    frame.loc[lost, "wrong"] = float("nan")
    (point,) = made(frame, context="sad", belief="none").values()
    assert point["kind"] == "pairs" and len(point["rows"]) == behind.SHOWN
    assert all(int(row["question"][1:]) % 2 for row in point["rows"])
    (point,) = made(frame, context="sad", belief="none", paired=False).values()
    assert point["kind"] == "answers" and {
        int(row["question"][1:]) % 2 for row in point["rows"]
    } == {0, 1}
    (point,) = made(frame, arm="original", paired=False).values()
    assert len(point["rows"]) == behind.SHOWN


def test_a_pooled_point_draws_from_all_its_cells_and_the_draw_is_the_same_each_time():
    frame = answers()
    (point,) = made(frame).values()
    assert {row["message"].split("-", 2)[2] for row in point["rows"]} > {"sad-none"}
    assert made(frame) == made(frame)


def test_a_point_may_pool_models_and_some_contexts():
    frame = pd.concat(
        [answers(3), answers(3).assign(model="n", context="anger")], ignore_index=True
    )
    (point,) = made(frame, model="", context="anger,sad", belief="none,wrong_asserted").values()
    places = {row["where"].split(" · ")[1] for row in point["rows"]}
    assert places == {"anger", "sad"} and point["title"].startswith("warm · anger, sad · ")
    assert "--model" not in point["command"] and "--context anger,sad" in point["command"]


def test_behind_a_dose_are_its_own_rows_and_none_of_the_plain_arm():
    frame = answers()
    frame = pd.concat(
        [frame, frame[frame["arm"].eq("warm")].assign(arm="warm, dose 0.5")], ignore_index=True
    )
    (point,) = made(frame, arm="warm, dose 0.5").values()
    assert {row["said"][1][0] for row in point["rows"]} == {"warm, dose 0.5"} and len(
        point["rows"]
    ) == behind.SHOWN


def scored(arms=("original", "warm")):
    rows = [(arm, f"w{n}", f"prompt {n}", 0.01 * n) for arm in arms for n in range(30)]
    frame = pd.DataFrame(rows, columns=["arm", "text_id", "prompt", "score"])
    return frame.assign(
        model="m", variant="v", scorer="s", text=frame["arm"] + " replies to " + frame["prompt"]
    )


def test_a_point_of_a_warmth_curve_opens_replies_with_their_scores_beside_the_originals():
    made = behind.rows_behind_warmth(scored(), {reply_id("m", "warm")}, ["runs"])
    (point,) = made.values()
    assert (
        list(made) == [reply_id("m", "warm")]
        and point["count"] == 30
        and len(point["rows"]) == behind.SHOWN
    )
    assert point["command"] == "warmth show all runs --model m --arm warm --replies"
    for row in point["rows"]:
        score = f"+{0.01 * int(row['question'][1:]):.4f}".replace("+0.0000", "0.0000")
        prompt = row["message"]
        assert row["said"] == [
            ["original", score, f"original replies to {prompt}"],
            ["warm", score, f"warm replies to {prompt}"],
        ]


def test_the_command_shows_all_and_survives_a_shell():
    (point,) = made(answers(), arm="warm", belief="none", context="$(rm x)").values()
    assert (
        point["command"]
        == "warmth show all 'a b' c --model m --arm warm --context '$(rm x)' --belief none"
    )


def points_of_many(frame):
    cells = (
        frame[["model", "arm", "task", "context", "belief"]]
        .drop_duplicates()
        .assign(count=0, paired=False)
    )
    prompts = pd.DataFrame({"message": ["asked"]}, index=["none"])
    return list(behind.rows_behind_points(frame, prompts, cells, []).values())


def test_every_point_opens_as_many_rows_as_it_has_up_to_the_limit_whatever_the_others_open():
    frame = pd.concat(
        [answers(30).assign(model="m"), answers(7).assign(model="n")], ignore_index=True
    )
    counts = [len(point["rows"]) for point in points_of_many(frame)]
    assert counts == [behind.SHOWN] * 16 + [7] * 16


def test_a_page_without_room_for_all_rows_shares_it_evenly(monkeypatch):
    frame = pd.concat([answers(4).assign(model=f"m{n}") for n in range(20)], ignore_index=True)
    monkeypatch.setattr(behind, "ROWS", 800)  # of 320 points with 4 rows each
    assert {len(point["rows"]) for point in points_of_many(frame)} == {2, 3}
    monkeypatch.setattr(behind, "ROWS", 6000)
    monkeypatch.setattr(behind, "BYTES", 100_000)
    made = points_of_many(frame)
    counts = [len(point["rows"]) for point in made]
    assert max(counts) - min(counts) == 1
    body = json.loads(behind.script_json({str(n): point for n, point in enumerate(made)}))["rows"]
    assert 95_000 < len(json.dumps(body, separators=(",", ":"))) < 102_000


def test_json_in_a_page_cannot_end_its_element():
    frame = answers(1).assign(text="</script><!-- <script> & \u2028", label="incorrect")
    text = behind.script_json(made(frame))
    assert "<" not in text and ">" not in text and "&" not in text and "\u2028" not in text
    body = json.loads(text)
    assert body["points"][point_id("m", "warm")]["rows"] == list(range(len(body["rows"])))
    assert body["rows"][0]["said"][0][2].startswith("</script>")
