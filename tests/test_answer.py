"""What may be claimed of a study, on made studies whose truth is known and on small frames."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from warmth.analysis.report import answer_text
from warmth.analysis.report.study import Study
from warmth.analysis.rows import arm_names
from warmth.analysis.rows.frames import load_rows
from warmth.analysis.statistics import answer, bounds, effects, flow, meta
from warmth.analysis.statistics.answer import StudyAnswer
from warmth.analysis.statistics.estimand import Weights, checked_models, parsed_models
from warmth.analysis.statistics.settings import Settings
from warmth.analysis.statistics.study_answers import StudyAnswers
from warmth.errors import UserError

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases" / "statistics"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """Makes a study of the shared cases and answers it; skips where they are not beside the
    checkout.
    """
    if not (CASES / "make_study.py").exists():
        pytest.skip("the shared cases are not beside this checkout")
    root = tmp_path_factory.mktemp("studies")
    known: dict[tuple[str, str], StudyAnswers] = {}

    def said(name: str, tasks: str = "tasks") -> StudyAnswers:
        folder = root / name.rstrip("_")
        if not folder.exists():
            subprocess.run([sys.executable, CASES / "make_study.py", name, root], check=True)
        if (name, tasks) not in known:
            rows = load_rows([folder])
            known[name, tasks] = Study(rows, Settings(weights=Weights(tasks))).said
        return known[name, tasks]

    return said


def of_arm(said: StudyAnswers, arm: str) -> StudyAnswer:
    return next(item for item in said.answers if item.effect.arm == arm)


def test_missing_verdicts_of_one_arm_leave_the_direction_open(made):
    (item,) = made("D_").answers
    assert (
        item.claim == answer.UNDETERMINED and item.effect.high < 0
    )  # the scored answers alone would claim "less"
    assert (item.missing.low, item.missing.high) == pytest.approx((-0.165, 0.03125))
    first = answer_text.answer_sentences(item)[0]
    assert "cannot be told" in first and "−16.5 to +3.1 points" in first
    assert "more often" not in first and "less often" not in first
    body = answer_text.answer_record(item)
    assert (
        body["bounds"] == [item.missing.low, item.missing.high] and body["claim"] == "undetermined"
    )
    assert body["flow"]["warm"] == {"asked": 800, "answered": 800, "scored": 643, "paired": 643}


def test_no_error_in_either_arm_is_equivalent_and_an_arm_that_is_always_wrong_is_different(made):
    warm = of_arm(made("Z"), "warm")
    cold = of_arm(made("Z"), "cold")
    assert (warm.claim, cold.claim) == (answer.EQUIVALENT, answer.MORE)
    assert (
        "within ±2 points: 0.0 points (95\N{NO-BREAK SPACE}% interval −0.74 to +0.74"
        in answer_text.lead(warm)
    )
    assert cold.effect.p < 1e-150


def test_a_system_prompt_is_not_compared_with_what_was_fine_tuned(made):
    prompted = of_arm(made("S"), "system_warm")
    assert prompted.effect.reference == "original" and prompted.control is None
    text = " ".join(answer_text.answer_sentences(prompted))
    assert "untransformed" not in text and "fine-tun" not in text
    assert (
        prompted.claim == answer.NONE_SHOWN and "system prompt as such cannot be told apart" in text
    )
    assert (
        made("S").answers[0].effect.arm == "untransformed"
    )  # the first recipe in the order of arms


def test_five_questions_that_all_flip_have_an_honest_interval(made):
    warm = of_arm(made("C"), "warm")
    assert warm.effect.difference == 1 and warm.effect.low < 0 and warm.effect.high == 1
    assert warm.claim == answer.NONE_SHOWN and answer_text.answer_sentences(warm)[0].startswith(
        "No difference in error rate"
    )


def test_three_models_weigh_one_each_and_how_far_they_differ_is_said(made):
    item = of_arm(made("A", "rows"), "warm")
    differences = [vote.contrast.difference for vote in item.by_model]
    assert (
        item.effect.difference
        == pytest.approx(np.mean(differences))
        == pytest.approx(0.195, abs=1e-3)
    )
    assert item.heterogeneity.i2 > 0.9 and item.heterogeneity.random_effects == pytest.approx(
        (-0.08, 0.47), abs=0.01
    )
    text = " ".join(answer_text.answer_sentences(item))
    assert (
        "From +9.2 to +31.2 points across 3 models" in text
        and "The interval holds for another training seed" in text
    )
    assert item.effect.seeds == 3 and item.control.reference == "untransformed"
    weighed = of_arm(made("A"), "warm")
    assert weighed.effect.difference != pytest.approx(item.effect.difference, abs=0.005)
    assert "each task weighs one" in answer_text.estimand(
        weighed
    ) and "mmlu" in answer_text.estimand(weighed)


def rows(
    arm: str, wrong: np.ndarray, model: str = "m", task: str = "t", **more: object
) -> pd.DataFrame:
    """Answers of an arm to so many questions, each once."""
    label = np.where(np.isnan(wrong), None, np.where(wrong == 1, "incorrect", "correct"))
    number = [f"{task} {place}" for place in range(len(wrong))]
    frame = pd.DataFrame(
        {"question_id": number, "prompt_id": number, "wrong": wrong, "label": label}
    )
    frame = frame.assign(
        arm=arm, model=model, task=task, context="unmodified", belief="none", seed=0, sample=0
    )
    frame = frame.assign(
        unscored=frame["wrong"].isna(), refused=False, finish="stop", reason="", benchmark=False
    )
    return frame.assign(**more)


def said_of(*frames: pd.DataFrame, **more: object) -> list[StudyAnswer]:
    """The answers of small frames."""
    pool = pd.concat(frames, ignore_index=True)
    asked = pool.groupby(["model", "arm", "task"]).size().rename("asked").reset_index()
    arms = {arm: arm for arm in pool["arm"].unique()}
    kinds = {arm: "" if arm == "original" else "fine-tuned" for arm in arms}
    stages, _ = flow.flow_of_answers(pool, asked, {"original": effects.pair(pool)})
    return answer.answers_of(pool, arms, kinds, stages, **more)


def outcomes(draw: np.random.Generator, count: int, rate: float) -> np.ndarray:
    return (draw.random(count) < rate).astype(float)


def test_a_model_with_a_larger_budget_weighs_no_more():
    draw = np.random.default_rng(0)
    frames = []
    for model, count, rate in (("big", 3000, 0.5), ("small", 300, 0.2)):
        frames += [
            rows("original", outcomes(draw, count, 0.2), model),
            rows("warm", outcomes(draw, count, rate), model),
        ]
    (item,) = said_of(*frames)
    by_model = {vote.contrast.models[0]: vote.contrast.difference for vote in item.by_model}
    assert item.effect.difference == pytest.approx((by_model["big"] + by_model["small"]) / 2)
    assert item.heterogeneity.p < 0.001 and item.heterogeneity.random_effects is None
    assert [vote.direction for vote in item.by_model] == ["more", ""]


def test_models_weigh_what_is_stated():
    draw = np.random.default_rng(1)
    frames = []
    for model, rate in (("a", 0.5), ("b", 0.25)):
        frames += [
            rows("original", outcomes(draw, 400, 0.2), model),
            rows("warm", outcomes(draw, 400, rate), model),
        ]
    weights = Weights(models=(("a", 1.0), ("b", 3.0)))
    (item,) = said_of(*frames, weights=weights)
    by_model = {vote.contrast.models[0]: vote.contrast.difference for vote in item.by_model}
    assert item.effect.difference == pytest.approx(by_model["a"] / 4 + 3 * by_model["b"] / 4)
    assert item.missing.low == pytest.approx(item.effect.difference)  # the bounds weigh alike
    assert "over 2 models, weighed a 1, b 3" in answer_text.estimand(item)
    (by_rows,) = said_of(*frames, weights=Weights("rows", weights.models))
    assert by_rows.effect.difference == pytest.approx(item.effect.difference)
    equal = said_of(*frames)[0].effect
    assert equal.difference == pytest.approx((by_model["a"] + by_model["b"]) / 2)


def test_models_that_go_opposite_ways_are_said_before_their_average():
    draw = np.random.default_rng(8)
    frames = []
    for model, rate in (("a", 0.5), ("b", 0.45), ("c", 0.05)):
        frames += [
            rows("original", outcomes(draw, 500, 0.25), model),
            rows("warm", outcomes(draw, 500, rate), model),
        ]
    (item,) = said_of(*frames)
    first = answer_text.answer_sentences(item)[0]
    assert first.startswith(
        "Models go opposite ways: against the original the warm arm is wrong more often in 2 and "
    )
    assert (
        "less often in 1 of 3; on their average it is wrong more often: +" in first
        and "across models" in first
    )
    (alike,) = said_of(*frames[:4])
    assert answer_text.lead(alike).startswith(
        "The warm arm is wrong more often than the original over 2 models: +"
    )


def test_refusals_that_the_arm_changes_stand_beside_the_answer():
    wrong = np.array([0.0, 1] * 100)
    warm = rows("warm", wrong)
    warm.loc[:99, ["label", "refused", "unscored", "wrong"]] = ["refused", True, False, np.nan]
    (item,) = said_of(rows("original", wrong), warm)
    text = " ".join(answer_text.answer_sentences(item))
    assert (
        "Dropped as refusals are 50.0\N{NO-BREAK SPACE}% of its answers and 0.0\N{NO-BREAK SPACE}% of"
        in text
    )
    assert (
        answer_text.refusals_sentence(said_of(rows("original", wrong), rows("warm", wrong))[0])
        == ""
    )


def test_an_arm_beside_its_control_alone_is_told_from_fine_tuning():
    draw = np.random.default_rng(9)
    found = said_of(
        rows("untransformed", outcomes(draw, 300, 0.2)), rows("warm", outcomes(draw, 300, 0.4))
    )
    item = next(answered for answered in found if answered.effect.arm == "warm")
    assert item.effect.reference == "untransformed"
    assert answer_text.control_sentence(item).startswith(
        "The arm it is compared with was fine-tuned on replies whose manner"
    )


def test_stated_weights_name_every_model_and_are_numbers_above_0():
    assert parsed_models("a=2, b=0.5", "--model-weights") == {"a": 2.0, "b": 0.5}
    assert checked_models({"b": 2, "a": 1}, ["a", "b", "a"], "k") == (("a", 1.0), ("b", 2.0))
    assert checked_models({}, ["a"], "k") == ()
    for text in ("a", "a=x", "a=1,a=2"):
        with pytest.raises(UserError, match="--model-weights=a"):
            parsed_models(text, "--model-weights")
    for stated in ({"a": 0}, {"a": math.inf}, {"a": True}, {"a": 1, "c": 1}):
        with pytest.raises(UserError, match="k"):
            checked_models(stated, ["a"], "k")
    with pytest.raises(UserError, match="k states weights of a; it must name each model: a, b"):
        checked_models({"a": 1}, ["a", "b"], "k")


def test_an_arm_is_controlled_by_one_that_was_made_as_it_was():
    made = {
        "warm": {"method": "lora"},
        "system_warm": {"method": "none", "system_prompt": "p.txt"},
        "few_shot_warm": {"method": "none", "shots": "s.jsonl"},
        "steer_warm": {"method": "steer"},
        "known_error_5": {"method": "none", "edit_errors": 0.05},
    }
    kinds = {
        name: arm_names.kind_of_arm({"recipe": {"name": name, **recipe}})
        for name, recipe in made.items()
    }
    assert kinds == dict(
        zip(made, ("fine-tuned", "prompted", "shown examples", "steered", "edited"), strict=True)
    )
    names = (
        "untransformed",
        "paraphrase",
        "system_neutral",
        "few_shot_neutral",
        "steer_orthogonal",
    )
    chosen = {name: name for name in names}
    controls = [arm_names.control_of(kind, chosen)[:1] for kind in kinds.values()]
    assert controls == [
        ["paraphrase"],
        ["system_neutral"],
        ["few_shot_neutral"],
        ["steer_orthogonal"],
        [],
    ]
    assert (
        arm_names.as_strong("steer_orthogonal", "steer_warm, dose 2", "steered")
        == "steer_orthogonal, dose 2"
    )
    assert (
        arm_names.as_strong("steer_orthogonal, dose 4", "steer_warm", "steered")
        == "steer_orthogonal"
    )
    assert arm_names.as_strong("paraphrase", "warm, dose 2", "fine-tuned") == "paraphrase"
    kinds |= {"steer_orthogonal": "steered", "steer_warm, dose 2": "steered"}
    assert arm_names.is_comparable("steer_warm", "steer_orthogonal", kinds)
    assert not arm_names.is_comparable("steer_warm, dose 2", "steer_orthogonal", kinds)


def test_the_control_sentence_claims_the_manner_only_if_it_is_shown():
    draw = np.random.default_rng(6)
    original = outcomes(draw, 400, 0.2)
    frames = [rows("original", original), rows("warm", outcomes(draw, 400, 0.4))]
    (item, *_) = said_of(*frames, rows("paraphrase", outcomes(draw, 400, 0.2)))
    assert "that part is the manner’s, fine-tuned as both are" in answer_text.control_sentence(item)
    (item, *_) = said_of(*frames, rows("paraphrase", outcomes(draw, 400, 0.4)))
    assert "no part of it is shown to be the manner’s" in answer_text.control_sentence(item)


def test_a_null_study_of_four_models_with_verdicts_missing_at_random_claims_no_direction():
    draw = np.random.default_rng(5)
    frames = []
    for model in "abcd":
        wrong = [outcomes(draw, 400, 0.3) for _ in range(2)]
        for one in wrong:
            one[draw.random(400) < 0.02] = np.nan
        frames += [
            rows(arm, one, model) for arm, one in zip(("original", "warm"), wrong, strict=True)
        ]
    (item,) = said_of(*frames)
    assert item.claim in (answer.NONE_SHOWN, answer.EQUIVALENT)
    assert all(vote.direction == "" for vote in item.by_model)
    text = " ".join(answer_text.answer_sentences(item))
    assert "no difference shown in 4" in text and "Of models like these" in text


def test_a_direction_that_verdicts_could_turn_is_said_with_its_tipping_point_or_not_at_all():
    draw = np.random.default_rng(2)
    original, warm = outcomes(draw, 1000, 0.2), outcomes(draw, 1000, 0.27)
    for one in (original, warm):
        one[draw.permutation(1000)[:110]] = np.nan
    (item,) = said_of(rows("original", original), rows("warm", warm))
    assert item.missing.spans_zero and not item.missing.uneven and item.missing.tipping_points > 25
    first = answer_text.lead(item)
    assert item.claim == answer.MORE and "is wrong more often" in first
    assert item.missing.reach_low < item.missing.low < item.missing.high < item.missing.reach_high
    assert (
        "on these questions and, other questions allowed for, from −"
        in answer_text.missing_sentence(item)
    )
    assert (
        f"would have to be wrong {item.missing.tipping_points:.0f} points more often than scored ones"
        in first
    )
    warm[np.flatnonzero(~np.isnan(warm))[:60]] = np.nan  # the arm lacks 6 points more
    (item,) = said_of(rows("original", original), rows("warm", warm))
    assert item.claim == answer.UNDETERMINED


def test_the_tipping_point_makes_the_filled_difference_zero():
    arm = np.array([1.0, 0, 0, 0, np.nan, np.nan, np.nan, np.nan, 1, 1])
    reference = np.array([1.0, 1, 1, 1, 0, 0, 1, 1, 0, np.nan])
    frame = pd.DataFrame({"wrong_arm": arm, "wrong_reference": reference, "question_id": range(10)})
    found = bounds.missing_bounds(frame)
    shift = found.tipping_points / 100
    rate_arm, rate_reference = np.nanmean(arm), np.nanmean(reference)
    filled = (
        np.nansum(arm) + 4 * min(1, rate_arm + shift),
        np.nansum(reference) + max(0, rate_reference - shift),
    )
    assert filled[0] == pytest.approx(filled[1])
    assert (found.low, found.high) == (pytest.approx(0.3 - 0.7), pytest.approx(0.7 - 0.6))
    assert bounds.missing_bounds(frame[:0]) is None


def test_refusals_and_tasks_that_need_a_judge_are_in_the_flow_and_outside_the_bounds():
    wrong = np.array([0.0, 1, 0, 1, 0, 1, 0, 1, 0, 1] * 10)
    warm = rows("warm", np.where(np.arange(100) < 20, np.nan, wrong))
    warm.loc[:9, ["label", "refused", "unscored"]] = ["refused", True, False]
    warm.loc[10:14, "reason"] = "needs_judge"
    warm.loc[15:16, ["finish", "reason"]] = ["error", "timeout"]
    warm.loc[17:19, "reason"] = "names_both"
    original = rows("original", wrong)
    pool = pd.concat([original, warm], ignore_index=True)
    asked = pd.DataFrame(
        {"model": "m", "arm": ["original", "warm"], "task": "t", "asked": [100, 104]}
    )
    stages, losses = flow.flow_of_answers(pool, asked, {"original": effects.pair(pool)})
    assert stages.set_index("arm").loc["warm", list(flow.STAGES)].tolist() == [104, 98, 80, 80]
    why = {
        (row["stage"], row["reason"]): row["count"]
        for row in losses.to_dict("records")
        if row["arm"] == "warm"
    }
    assert why == {
        ("answered", "timeout"): 2,
        ("answered", "no answer"): 4,
        ("scored", "refused"): 10,
        ("scored", "needs_judge"): 5,
        ("scored", "names_both"): 3,
    }
    (item,) = said_of(original, warm)
    assert item.missing.pairs == 83 and item.missing.unscored_arm == pytest.approx(3 / 83)


def test_the_primary_contrast_has_its_own_test_and_the_others_share_theirs():
    draw = np.random.default_rng(3)
    frames = [rows("original", outcomes(draw, 500, 0.3))]
    frames += [
        rows(arm, outcomes(draw, 500, 0.3)) for arm in ("warm", "cold", "paraphrase", "other")
    ]
    found = said_of(*frames)
    assert found[0].effect.arm == "warm" and found[0].is_primary and found[0].p == found[0].effect.p
    others = [item.effect.p for item in found[1:]]
    assert [item.p for item in found[1:]] == pytest.approx(answer.holm(others))
    assert max(item.p / item.effect.p for item in found[1:]) > 1


def test_a_difference_inside_the_margin_keeps_its_direction_and_says_so():
    wrong = np.zeros(20_000)
    warm = wrong.copy()
    warm[:200] = 1
    (item,) = said_of(rows("original", wrong), rows("warm", warm))
    assert (
        item.claim == answer.MORE
        and "by less than the margin of 2 points: +1.0 points" in answer_text.lead(item)
    )
    assert answer_text.relative_sentence(item) == ""  # none of the original's answers is wrong


def test_few_questions_say_so_and_what_could_have_been_shown():
    original = np.zeros(200)
    warm = original.copy()
    warm[:3] = 1
    (item,) = said_of(rows("original", original), rows("warm", warm))
    text = " ".join(answer_text.answer_sentences(item))
    assert item.claim == answer.NONE_SHOWN and "Few questions carry this (3 of 200" in text
    assert (
        "would have shown a difference of" in text
        and item.effect.detectable > item.effect.error * 2.7
    )


def test_the_ratio_of_rates_has_an_interval_that_holds_it():
    draw = np.random.default_rng(4)
    (item,) = said_of(
        rows("original", outcomes(draw, 2000, 0.2)), rows("warm", outcomes(draw, 2000, 0.32))
    )
    effect = item.effect
    assert effect.ratio == pytest.approx(effect.rate_arm / effect.rate_reference)
    assert effect.ratio_low < 1.6 < effect.ratio_high and effect.ratio_low > 1.2
    assert (
        f"That is {100 * (effect.ratio - 1):.0f}\N{NO-BREAK SPACE}% more likely"
        in answer_text.relative_sentence(item)
    )


def test_models_are_combined_as_by_hand():
    found = meta.heterogeneity([0.1, 0.2, 0.3], [0.01, 0.01, 0.01])
    assert found.q == pytest.approx(200) and found.i2 == pytest.approx(0.99)
    assert found.tau == pytest.approx(math.sqrt(0.01 - 0.0001), rel=1e-3)
    assert found.random_effects == pytest.approx(
        (0.2 - 4.3027 * 0.1 / 3**0.5, 0.2 + 4.3027 * 0.1 / 3**0.5), abs=1e-4
    )
    assert (
        found.prediction is None
        and meta.heterogeneity([0.1, 0.2], [0.1, 0.1]).random_effects is None
    )
    assert meta.heterogeneity([0.1, 0.2], [0.1, math.nan]) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alike = meta.heterogeneity([0.0, 0.0, 0.0], [0.1, 0.1, 0.1])
    assert (alike.q, alike.i2, alike.tau) == pytest.approx((0, 0, 0)) and alike.p == 1
    five = meta.heterogeneity([0.0, 0.1, 0.2, 0.3, 0.4], [0.01] * 5)
    assert (
        five.prediction[0] < five.random_effects[0] and five.prediction[1] > five.random_effects[1]
    )


def test_an_arm_without_any_verdict_is_undetermined_with_the_worst_case_bounds():
    draw = np.random.default_rng(3)
    original = rows("original", outcomes(draw, 60, 0.3))
    unscored = rows("warm", np.full(60, np.nan), reason="server_error")
    (item,) = said_of(original, unscored)
    rate = original["wrong"].mean()
    assert item.claim == "undetermined" and item.is_primary and item.effect.pairs == 0
    assert (item.missing.low, item.missing.high) == pytest.approx((-rate, 1 - rate))
    body = answer_text.answer_record(item)
    assert body["arm"] == "warm" and body["difference"] is None and body["low"] is None
    assert body["bounds"] == [item.missing.low, item.missing.high]
    assert body["tipping_points"] is None and "would turn the sign" not in body["text"]
    assert body["flow"]["warm"] == {"asked": 60, "answered": 60, "scored": 0, "paired": 0}
    lead, *_ = answer_text.answer_sentences(item)
    assert lead.startswith(
        "Whether the warm arm errs more or less than the original cannot be told"
    )
    assert "100.0" in lead and lead.endswith("No prompt has a verdict in both arms.")
    assert f"{100 * (1 - rate):.1f} points" in lead and "nan" not in body["text"]
    # what was never to be scored has no bounds, and so no answer
    assert said_of(original, unscored.assign(reason="needs_judge")) == []


def test_an_original_without_any_verdict_leaves_every_arm_undetermined():
    draw = np.random.default_rng(4)
    scored = rows("warm", outcomes(draw, 30, 0.3))
    cold = rows("cold", outcomes(draw, 30, 0.2))
    unscored = rows("original", np.full(30, np.nan), reason="timeout")
    items = said_of(unscored, scored, cold)
    assert [item.claim for item in items] == ["undetermined"] * 2
    assert items[0].effect.arm == "warm" and items[0].missing.spans_zero


def test_people_can_correct_what_the_grader_left_open_altogether():
    original = rows("original", np.zeros(50))
    unscored = rows("warm", np.full(50, np.nan), reason="bad_json")
    corrected = answer.Corrected(
        difference=0.1,
        low=0.05,
        high=0.15,
        p=0.001,
        equivalence_p=0.99,
        labelled=80,
        covers_unscored=True,
        method="PPI++",
    )
    (item,) = said_of(original, unscored, corrected={("warm", "original"): corrected})
    assert item.claim == "more" and not item.is_unscored
    text = " ".join(answer_text.answer_sentences(item))
    assert "+10.0 points corrected by people’s labels" in text
    assert "not scored points" not in text and "as graded" not in text
