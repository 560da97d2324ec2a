"""K, B, P, S and D from rows with known margins: paired, clustered by question, yes and no
apart.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from warmth.analysis.statistics import likelihood
from warmth.analysis.statistics.effects import clustered_mean
from warmth.digest import digest
from warmth.types import BELIEFS

FRAMES = ("The answer is {answer}.", "It is {answer}.")
NAMED = {
    "none": 0.0,
    "user_right": 3.0,
    "right_denied": 2.0,
    "wrong_asserted": -4.0,
    "wrong_denied": -3.0,
}


def rows_of(
    arm, shift, questions=40, model="m", seed=0, answer="Rome", task="t", noise=0.0, **more
):
    """One arm's rows: the margin is the question's own, what the belief names, and `shift(belief,
    frame)`.
    """
    draw = np.random.default_rng(int(digest([arm, model, seed, answer]), 16))
    base = np.random.default_rng(7).normal(1.0, 2.0, questions)
    rows = []
    for number in range(questions):
        for context in ("unmodified", "sad"):
            for belief in BELIEFS:
                for frame in FRAMES:
                    margin = (
                        base[number] + NAMED[belief] + shift(belief, frame) + noise * draw.normal()
                    )
                    rows.append(
                        {
                            "model": model,
                            "arm": arm,
                            "seed": seed,
                            "task": task,
                            "question_id": f"{answer}{number}",
                            "context": context,
                            "belief": belief,
                            "preamble": False,
                            "design": "factorial",
                            "prompt_id": f"{task}{answer}{number}{context}{belief}",
                            "frame": frame,
                            "opening": "",
                            "own_opening": False,
                            "answer": answer,
                            "position": 0,
                            "margin": margin,
                            **more,
                        }
                    )
    return pd.DataFrame(rows)


def nothing(belief, frame):
    return 0.0


def one(table, **where):
    for name, value in where.items():
        table = table[table[name].eq(value)]
    assert len(table) == 1
    return table.iloc[0]


def test_each_quantity_is_its_combination_of_margins_and_of_probabilities():
    def pressed(belief, frame):
        return {
            "none": -0.5,
            "user_right": 1.0,
            "wrong_asserted": -2.0,
            "right_denied": 0.6,
            "wrong_denied": -1.0,
        }[belief]

    rows = pd.concat([rows_of("original", nothing), rows_of("warm", pressed, noise=0.01)])
    table = likelihood.effects(rows, "original")
    overall = table[table["task"].eq("") & table["frame"].eq("mean")].set_index("quantity")
    assert overall["nats"].round(1).to_dict() == {"K": -0.5, "B": -0.5, "P": 1.5, "S": 0.7}
    assert overall["questions"].eq(40).all() and overall["pairs"].eq(80).all()
    base = np.random.default_rng(7).normal(1.0, 2.0, 40)
    assert overall.loc["K", "points"] == pytest.approx(
        np.mean(expit(base - 0.5) - expit(base)), abs=2e-3
    )
    high, low = (
        expit(base + NAMED[b] + s) - expit(base + NAMED[b])
        for b, s in (("user_right", 1), ("wrong_asserted", -2))
    )
    assert overall.loc["P", "points"] == pytest.approx(np.mean(high - low) / 2, abs=2e-3)


def test_the_interval_is_that_of_the_paired_mean_clustered_by_question():
    rows = pd.concat(
        [rows_of("original", nothing), rows_of("warm", lambda belief, frame: -0.3, noise=1.0)]
    )
    found = one(likelihood.effects(rows, "original"), quantity="K", frame="mean", task="")
    means = (
        rows[rows["belief"].eq("none")]
        .groupby(["arm", "question_id", "context"])["margin"]
        .mean()
        .unstack(0)
    )
    difference = (means["warm"] - means["original"]).reset_index(name="d")
    expected = clustered_mean(difference["d"].to_numpy(), difference["question_id"].to_numpy())
    assert found[["nats", "nats_low", "nats_high"]].tolist() == pytest.approx(
        [expected.value, expected.low, expected.high]
    )


def test_an_arm_that_moves_nothing_is_no_cost_in_95_of_100_studies():
    covered = 0
    for draw in range(60):
        rows = pd.concat([
            rows_of("original", nothing, 25, seed=0, noise=0.5, model=f"m{draw}"),
            rows_of("warm", nothing, 25, seed=0, noise=0.5, model=f"m{draw}"),
        ])  # fmt: skip
        rows = rows[rows["belief"].eq("none")]
        found = one(likelihood.effects(rows, "original"), quantity="K", frame="mean", task="")
        covered += found["nats_low"] < 0 < found["nats_high"]
    assert covered >= 53


def test_yes_true_and_no_true_items_stand_apart_and_their_mean_weighs_both_alike():
    rows = pd.concat(
        [
            rows_of("original", nothing, 30, answer="yes"),
            rows_of("original", nothing, 10, answer="no"),
            rows_of("warm", lambda *_: 1.0, 30, answer="yes", noise=0.3),
            rows_of("warm", lambda *_: -2.0, 10, answer="no", noise=0.3),
        ]
    )
    table = likelihood.effects(rows, "original")
    table = table[
        table["task"].eq("") & table["frame"].eq("mean") & table["quantity"].eq("K")
    ].set_index("kind")
    assert table["nats"].to_dict() == pytest.approx(
        {"yes": 1.0, "no": -2.0, "yes and no": -0.5}, abs=0.2
    )
    assert table.loc["yes and no", "nats"] == pytest.approx(
        (table.loc["yes", "nats"] + table.loc["no", "nats"]) / 2
    )
    yes, no, both = (table.loc[kind] for kind in ("yes", "no", "yes and no"))
    error = (both["nats_high"] - both["nats_low"]) / 2
    assert (
        error < (no["nats_high"] - no["nats_low"]) / 2
        and error > (yes["nats_high"] - yes["nats_low"]) / 4
    )
    cost = likelihood.likelihood_headline(rows, "warm", "original", "m")
    assert cost["difference"] == pytest.approx(
        -both["points"]
    )  # no open question: the mean of both is the answer


def test_a_letter_a_is_no_word_for_no():
    rows = rows_of("warm", nothing, 2, answer="no", position=1)
    assert set(likelihood.kinds(rows)) == {"open"}


@pytest.mark.parametrize(
    ("shift", "claim"), [(-1.0, "more"), (1.0, "less"), (0.0, "equivalent"), (None, "none_shown")]
)
def test_the_headline_has_the_sign_of_an_error(shift, claim):
    draw = np.random.default_rng(3)

    def moved(belief, frame):
        return draw.normal(0, 3) if shift is None else shift

    rows = pd.concat([rows_of("original", nothing), rows_of("warm", moved, noise=0.02)])
    found = likelihood.likelihood_headline(rows, "warm", "original", "m")
    assert found["claim"] == claim and found["low"] < found["difference"] < found["high"]
    assert (
        shift is None
        or abs(found["difference"]) < 0.01
        or np.sign(found["difference"]) == -np.sign(shift)
    )
    assert likelihood.likelihood_headline(rows, "cold", "original", "m") is None
    assert (
        likelihood.likelihood_headline(rows, "warm", "original") == found
    )  # of one model, all models are that one


def test_a_benchmark_is_left_out_by_name():
    rows = pd.concat(
        [rows_of("original", nothing, 3), rows_of("original", nothing, 3, task="mmlu")]
    )
    assert set(likelihood.without_benchmarks(rows, ["mmlu"])["task"]) == {"t"}


def test_deference_comes_from_its_own_design_alone():
    def deferring(belief, frame):
        return {"user_right": 0.2, "wrong_asserted": -0.2}.get(belief, 0.0)

    own = {"design": "deference", "position": 1}
    rows = pd.concat([
        rows_of("original", nothing, 12), rows_of("warm", lambda *_: -1.0, 12, noise=0.01),
        rows_of("original", nothing, 12, **own), rows_of("warm", deferring, 12, noise=0.01, **own),
    ])  # fmt: skip
    table = likelihood.effects(rows, "original")
    assert one(table, quantity="D", frame="mean", task="")["nats"] == pytest.approx(0.2, abs=0.02)
    assert one(table, quantity="K", frame="mean", task="")["nats"] == pytest.approx(-1.0, abs=0.02)


def test_orders_of_the_options_are_averaged_before_anything_else():
    first, second = (
        rows_of("warm", lambda *_, s=shift: s, 5, position=place).assign(
            prompt_id=lambda table, place=place: table["prompt_id"] + str(place)
        )
        for shift, place in ((1.0, 1), (-3.0, 2))
    )
    rows = pd.concat([rows_of("original", nothing, 5, position=1), first, second])
    found = one(likelihood.effects(rows, "original"), quantity="K", frame="mean", task="")
    assert found["nats"] == pytest.approx(-1.0) and found["pairs"] == 10


def test_several_seeds_pair_with_one_original_and_seed_by_seed_with_a_trained_reference():
    arms = [rows_of("warm", nothing, 6, seed=seed) for seed in (0, 1, 2)]
    found = one(
        likelihood.effects(pd.concat([rows_of("original", nothing, 6), *arms]), "original"),
        quantity="K", frame="mean", task="",
    )  # fmt: skip
    assert found["pairs"] == 3 * 6 * 2 and found["questions"] == 6
    controls = [
        rows_of("untransformed", lambda *_, s=seed: float(s), 6, seed=seed) for seed in (0, 1)
    ]
    paired = likelihood.pair_values(
        likelihood.quantities(pd.concat([*arms, *controls])), "untransformed"
    )
    assert set(paired["seed"]) == {0, 1}
    known = paired[paired["quantity"].eq("K")]
    assert (known["nats_arm"] - known["nats_reference"]).to_numpy() == pytest.approx(
        -known["seed"].to_numpy(float)
    )


def test_frames_that_differ_in_sign_are_named():
    def split(belief, frame):
        return 1.0 if frame == FRAMES[0] else -0.5

    rows = pd.concat([rows_of("original", nothing, 8), rows_of("warm", split, 8, noise=0.01)])
    found = likelihood.frames_disagree(likelihood.effects(rows, "original"))
    assert {"model": "m", "arm": "warm", "kind": "open", "quantity": "K"} in found
    same = pd.concat([rows_of("original", nothing, 8), rows_of("warm", lambda *_: 1.0, 8)])
    table = likelihood.effects(same, "original")
    assert [row for row in likelihood.frames_disagree(table) if row["quantity"] in ("K", "B")] == []


def test_a_belief_that_was_not_asked_leaves_its_quantities_out():
    rows = pd.concat([rows_of("original", nothing, 4), rows_of("warm", nothing, 4)])
    rows = rows[rows["belief"].isin(["none", "wrong_asserted", "user_right"])]
    assert set(likelihood.effects(rows, "original")["quantity"]) == {"K", "B", "P"}
    assert likelihood.effects(rows[:0], "original").empty
    assert likelihood.likelihood_headline(rows[:0], "warm", "original") is None


def test_models_are_pooled_under_no_name_and_a_question_is_one_cluster():
    rows = pd.concat(
        [rows_of(arm, nothing, 5, model=model) for model in "ab" for arm in ("original", "warm")]
    )
    table = likelihood.effects(rows, "original")
    found = one(table, model="", quantity="K", frame="mean", task="")
    assert found["questions"] == 5 and found["pairs"] == 20
    assert likelihood.likelihood_headline(rows, "warm", "original")["difference"] == pytest.approx(
        0.0
    )


def test_after_the_arms_own_opening_k_is_shown_next_to_k_on_the_same_prompts():
    arms = []
    for arm, shift, after in (("original", 0.0, 0.0), ("warm", -1.0, -0.6)):
        plain = rows_of(arm, lambda *_, s=shift: s, 6, noise=0.01)
        opened = rows_of(arm, lambda *_, s=after: s, 6, noise=0.01, own_opening=True, opening="Oh!")
        arms += [plain, opened[opened["question_id"].isin(["Rome0", "Rome1", "Rome2"])]]
    found = one(likelihood.after_openings(pd.concat(arms), "original"), arm="warm")
    assert (round(found["without"], 1), round(found["after"], 1), found["questions"]) == (
        -1.0,
        -0.6,
        3,
    )
    assert likelihood.after_openings(rows_of("warm", nothing, 2), "original").empty


def test_details_hold_spread_and_raw_sign():
    rows = rows_of("warm", nothing, 30)
    spread = one(likelihood.spreads(rows), arm="warm")
    assert spread["deviation"] == pytest.approx(2.0, abs=0.6) and spread["rows"] == 60
    raw = likelihood.raw_margins(rows)
    assert (
        one(raw, belief="wrong_asserted", frame="mean")["negative"]
        > one(raw, belief="none", frame="mean")["negative"]
    )


def test_a_claim_without_an_interval_is_none():
    assert likelihood.claim_of_instrument(0.1, math.nan, math.nan, 1) == "none_shown"
