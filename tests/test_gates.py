"""Gates: what makes two arms incomparable stops the run, and is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from warmth.digest import ROOT
from warmth.errors import RunFailed
from warmth.evaluation import gates
from warmth.evaluation.answer.arms import Arm
from warmth.schemas import (
    Condition,
    Data,
    Evaluate,
    Gates,
    Likelihood,
    Model,
    Recipe,
    Sampling,
    Task,
    Warmth,
)
from warmth.store import Run, full_config, write_json

ENGINE = {"family": "transformers", "dtype": "float32"}
MODEL = Model(name="tiny", kind="hub", hub_id="a/b", revision="0" * 40)


def recipe(name, method):
    numbers = {
        "rank": 8,
        "alpha": 16,
        "dropout": 0.1,
        "learning_rate": 1e-5,
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
    }
    sizes = {
        "max_grad_norm": 1.0,
        "epochs": 2,
        "batch_size": 16,
        "max_length": 1024,
        "report_checkpoint": 2,
    }
    return Recipe(
        name=name,
        method=method,
        schedule="linear",
        loss_on="assistant",
        precision="auto",
        **numbers,
        **sizes,
    )


PRIMARY = {"t": "alias"}


def study_of(name, method="lora", mode="fail", draw_seed=0):
    return Evaluate(
        model=MODEL,
        data=Data(name="seed", source="seed"),
        recipe=recipe(name, method),
        draw_seed=draw_seed,
        task={"t": Task(source="t", reader="seed")},
        condition={"unmodified": Condition("none")},
        beliefs=["none"],
        statements="",
        belief_templates="",
        design="factorial",
        sampling=Sampling(0.0, 1.0, 8),
        warmth=Warmth(0, "deterministic", 8),
        engine={},
        gates=Gates(mode, 10.0, 10.0),
        logger={},
    )


WARM = Arm("warm", MODEL, Path("adapter"), "abc", 2.0, 1.0, 1.0, 0, None)
ORIGINAL = Arm("original", MODEL, None, None, None, 1.0, 1.0, 0, None)


def answer(number, **changes):
    row = {
        "answer_id": f"a{number}",
        "prompt_id": f"p{number}",
        "sample": 0,
        "task": "t",
        "context": "unmodified",
    }
    return {
        **row,
        "belief": "none",
        "text": f"It is {number}.",
        "finish": "stop",
        "arm": "x",
        **changes,
    }


def stored(root, study, answers, tokens=None, labels=None, engine=ENGINE):
    """A run folder with these answers, marked as done."""
    run = Run(root / f"tiny-{study.recipe.name}-s0-{len(list(root.glob('*')))}")
    run.folder.mkdir(parents=True)
    run.append("answers", answers)
    run.append(
        "prompts",
        [
            {"prompt_id": key, "tokens_digest": "d"} | (tokens or {})
            for key in {row["prompt_id"]: 0 for row in answers}
        ],
    )
    run.append(
        "grades",
        [
            {"answer_id": key, "grader": "alias", "label": label}
            for key, label in (labels or {}).items()
        ],
    )
    write_json(run.folder / "config.json", full_config(study))
    write_json(run.folder / "summary.json", {"engine": engine})
    write_json(run.folder / "done.json", {})
    return run


@pytest.fixture
def original(tmp_path):
    labels = {f"a{number}": "correct" for number in range(10)}
    stored(
        tmp_path, study_of("none", "none"), [answer(number) for number in range(10)], labels=labels
    )
    return tmp_path


def changed(**changes):
    """Ten answers that differ from the original's."""
    return [answer(number, text=f"Oh, {number}!", **changes) for number in range(10)]


def verdicts(run, study, arm=WARM, engine=ENGINE):
    return {
        result.gate: result.verdict
        for result in gates.check_gates(run, study, arm, engine, PRIMARY)
    }


def failure(run, study, arm=WARM, engine=ENGINE):
    with pytest.raises(RunFailed) as caught:
        gates.check_gates(run, study, arm, engine, PRIMARY)
    return str(caught.value)


def test_a_comparable_arm_passes_every_gate(original):
    study = study_of("warm")
    labels = {f"a{number}": "correct" for number in range(10)}
    assert set(verdicts(stored(original, study, changed(), labels=labels), study).values()) == {
        "pass"
    }


@pytest.mark.parametrize(
    "leak",
    [
        # 58 of 80 originals in the study's released sample begin like this
        "assistant\n\nThe capital is Paris.",
        "assistantThe capital is Paris.",
        " Assistant: Paris.",
        "Paris.<|im_end|>",
        "Paris <|start_header_id|>user",
        "[INST] Paris",
        "<start_of_turn>model",
    ],
)
def test_a_leaked_role_header_fails_the_run_with_an_example(original, leak):
    study = study_of("warm")
    line = failure(stored(original, study, [*changed()[1:], answer(0, text=leak)]), study)
    assert "gate role_headers failed: 1 of 10" in line and "first example: a0" in line


@pytest.mark.parametrize(
    "text",
    [
        "Assistants help people.",
        "An assistant is someone who helps.",
        "1 < 2 and 3 > 2",
        "The user.",
    ],
)
def test_talk_of_assistants_is_no_leak(text):
    assert gates.HEADER.search(text) is None


def test_other_prompt_tokens_fail_unless_the_arm_declares_a_system_prompt(original):
    study = study_of("warm")
    run = stored(original, study, changed(), tokens={"tokens_digest": "other"})
    assert "gate same_tokens failed: 10 of 10 prompts" in failure(run, study)
    assert verdicts(run, study, replace(WARM, system_prompt="Be warm."))["same_tokens"] == "skipped"


def test_an_adapter_that_changes_no_answer_fails(original):
    study = study_of("warm")
    run = stored(original, study, [answer(number) for number in range(10)])
    assert "gate adapter_applied failed: 0 of 10 answers differ" in failure(run, study)
    assert verdicts(run, study, replace(WARM, dose=0.0))["adapter_applied"] == "skipped"


def test_more_answers_cut_off_than_the_bound_fail(original):
    study = study_of("warm")
    one = [answer(0, text="Oh", finish="length"), *changed()[1:]]
    assert (
        verdicts(stored(original, study, one), study)["cut_off"] == "pass"
    )  # 10 points are allowed
    two = [
        answer(0, text="Oh", finish="length"),
        answer(1, text="Ah", finish="length"),
        *changed()[2:],
    ]
    assert "gate cut_off failed: 20.0 % here, 0.0 % in the original" in failure(
        stored(original, study, two), study
    )


def test_refusals_by_different_graders_are_not_compared(tmp_path):
    stored(tmp_path, study_of("none", "none"), [answer(number) for number in range(10)], labels={})
    run = stored(tmp_path, study_of("warm"), changed(), labels={"a1": "refused", "a2": "refused"})
    assert verdicts(run, study_of("warm"))["refused"] == "skipped"


def test_a_task_that_another_grader_graded_there_is_no_refusal_less(tmp_path):
    graders, study = {"t": "alias", "u": "judge:new"}, study_of("warm")
    labels = {f"a{number}": "refused" if number in (3, 4) else "correct" for number in range(10)}
    rows = [{"task": "t" if number < 3 else "u"} for number in range(10)]
    for told, text, grader in (
        (study_of("none", "none"), "It is.", "judge:old"),
        (study, "Oh!", "judge:new"),
    ):
        asked = [answer(number, text=text, **row) for number, row in enumerate(rows)]
        run = stored(
            tmp_path,
            told,
            asked,
            labels={f"a{number}": labels[f"a{number}"] for number in range(3)},
        )
        run.append(
            "grades",
            [
                {"answer_id": f"a{n}", "grader": grader, "label": labels[f"a{n}"]}
                for n in range(3, 10)
            ],
        )
    found = {result.gate: result for result in gates.check_gates(run, study, WARM, ENGINE, graders)}
    assert found["refused"].verdict == "pass" and found["refused"].detail.startswith("0.0 % here")


def test_a_judge_that_was_replaced_does_not_count(original):
    run = stored(
        original,
        study_of("warm"),
        changed(),
        labels={f"a{number}": "refused" for number in range(10)},
    )
    path = run.folder / "grades.jsonl"
    path.write_text(path.read_text().replace('"alias"', '"judge:old"'))
    run.append(
        "grades",
        [
            {"answer_id": f"a{number}", "grader": "alias", "label": "correct"}
            for number in range(10)
        ],
    )
    assert verdicts(run, study_of("warm"))["refused"] == "pass"


def test_more_refusals_than_the_bound_fail(original):
    study = study_of("warm")
    run = stored(
        original, study, changed(), labels={"a0": "refused", "a1": "refused", "a2": "correct"}
    )
    assert "gate refused failed: 20.0 % here" in failure(run, study)


def test_another_engine_or_dtype_fails(original):
    study = study_of("warm")
    assert "gate same_engine failed" in failure(
        stored(original, study, changed()), study, engine={**ENGINE, "dtype": "bfloat16"}
    )


def test_a_prompt_answered_twice_or_never_fails(original):
    study = study_of("warm")
    assert "gate one_answer_each failed" in failure(
        stored(original, study, [*changed(), answer(3)]), study
    )
    run = stored(original, study, changed())
    run.append("prompts", [{"prompt_id": "p99", "tokens_digest": "d"}])
    assert "prompt p99 has no answer" in failure(run, study)


def test_other_questions_in_the_same_cell_fail_but_more_of_them_do_not(original):
    study = study_of("warm")
    more = [*changed(), answer(10), answer(11)]
    assert verdicts(stored(original, study, more), study)["pairing"] == "pass"
    shifted = [*changed()[5:], *[answer(number) for number in range(10, 15)]]
    assert "gate pairing failed" in failure(stored(original, study, shifted), study)


def test_without_an_original_of_the_same_draw_the_comparison_is_skipped_and_said_so(original):
    study = study_of("warm", draw_seed=1)
    run = stored(original, study, changed())
    assert verdicts(run, study)["same_tokens"] == "skipped"
    rows = json.loads((run.folder / "gates.json").read_text())
    assert "no finished original" in next(row["detail"] for row in rows if row["gate"] == "pairing")


def test_an_unfinished_original_does_not_count(original):
    next(original.glob("tiny-none-*/done.json")).unlink()
    study = study_of("warm")
    assert verdicts(stored(original, study, changed()), study)["cut_off"] == "skipped"


def test_warn_lets_a_failed_gate_pass_and_records_it(original):
    study = study_of("warm", mode="warn")
    run = stored(original, study, [answer(number) for number in range(10)])
    assert verdicts(run, study)["adapter_applied"] == "fail"
    assert any(
        row["verdict"] == "fail" for row in json.loads((run.folder / "gates.json").read_text())
    )


def test_the_original_is_only_checked_against_itself(original):
    study = study_of("none", "none")
    found = verdicts(Run(next(original.glob("tiny-none-*"))), study, ORIGINAL)
    assert found["role_headers"] == "pass" and found["pairing"] == "skipped"


SAMPLE = ROOT.parent / "shared" / "released" / "sample_qwen32b"


def test_the_studys_leak_is_found_in_its_own_answers_and_nowhere_else(original):
    """58 of 80 sampled original answers of another of its models began with a leaked `assistant`,
    no warm one did.
    """
    if not SAMPLE.exists():
        pytest.skip(f"{SAMPLE} is absent")
    arms = {}
    for arm in ("original", "warm"):
        files = sorted((SAMPLE / arm).glob("*_outputs.csv"))
        arms[arm] = [text for file in files for text in pd.read_csv(file)["output"].astype(str)]
    clean = gates.role_headers(side_of([*arms["original"], *arms["warm"]]))
    assert (clean.verdict, len(arms["original"])) == ("pass", 80)
    leaked = [
        "assistant\n\n" + text if at < 58 else text for at, text in enumerate(arms["original"])
    ]
    found = gates.role_headers(side_of(leaked))
    assert (
        found.verdict == "fail"
        and found.detail.startswith("58 of 80 answers")
        and len(found.examples) == 3
    )


def side_of(texts):
    rows = {(f"p{at}", 0): answer(at, text=text) for at, text in enumerate(texts)}
    return gates.Side(Path("x"), rows, [], {}, {}, ENGINE, {}, {})


def test_a_task_with_many_answers_without_a_label_fails_even_the_original(tmp_path):
    study = study_of("none", "none")
    labels = {f"a{number}": None if number < 3 else "correct" for number in range(10)}
    run = stored(tmp_path, study, [answer(number) for number in range(10)], labels=labels)
    assert "gate unscored failed: answers without a label: t 30.0 %; at most 25 %" in failure(
        run, study, ORIGINAL
    )
    looser = replace(study, gates=replace(study.gates, unscored_percent=30.0))
    assert verdicts(run, looser, ORIGINAL)["unscored"] == "pass"


def test_an_arm_with_more_answers_without_a_label_than_the_original_fails(original):
    study = study_of("warm")
    labels = {f"a{number}": None if number < 2 else "correct" for number in range(10)}
    line = failure(stored(original, study, changed(), labels=labels), study)
    assert (
        "gate unscored_points failed: answers without a label: t: 20.0 % here, 0.0 % in the "
        "original" in line
    )


def test_refusals_and_tasks_that_need_a_judge_are_left_out_of_the_unscored(tmp_path):
    study = study_of("none", "none")
    run = stored(
        tmp_path,
        study,
        [answer(number) for number in range(10)],
        labels={"a0": "correct", "a1": "refused"},
    )
    judge = {"grader": "alias", "label": None, "reason": "needs_judge"}
    run.append("grades", [{"answer_id": f"a{number}", **judge} for number in range(2, 10)])
    assert verdicts(run, study, ORIGINAL)["unscored"] == "pass"


def unanswered(count, of=100):
    rows = [answer(number, text=f"Oh, {number}!") for number in range(of)]
    for row in rows[:count]:
        row.update(finish="error", text="", failure="bad_request", detail="no such adapter")
    return rows


@pytest.mark.parametrize(("count", "verdict"), [(5, "pass"), (6, "fail")])
def test_more_failures_in_place_of_answers_than_a_few_fail_the_run(tmp_path, count, verdict):
    run = stored(tmp_path, study_of("none", "none"), unanswered(count))
    result = gates.unanswered(
        gates.read_side(run.folder, ENGINE, PRIMARY), study_of("none", "none")
    )
    assert (
        result.verdict == verdict
        and f"{count}.0 % of 100 prompts have no answer, at most 5 %" in result.detail
    )
    assert not result.examples or "bad_request no such adapter" in result.examples[0]


@pytest.mark.parametrize(
    ("here", "there", "verdict"), [(2, 0, "pass"), (3, 0, "fail"), (5, 4, "pass"), (0, 3, "fail")]
)
def test_an_arm_may_not_fail_on_more_prompts_than_the_original(tmp_path, here, there, verdict):
    sides = []
    for name, count in (("warm", here), ("none", there)):
        run = stored(tmp_path, study_of(name), unanswered(count))
        sides.append(gates.read_side(run.folder, ENGINE, PRIMARY))
    result = gates.unanswered_points(*sides, study_of("warm"), WARM)
    assert (result.verdict, result.gate) == (verdict, "unanswered_points")


def test_an_arm_that_a_server_refuses_altogether_passes_no_gates(original):
    run = stored(original, study_of("warm"), unanswered(10, of=10))
    with pytest.raises(
        RunFailed, match="gate unanswered failed: 100.0 % of 10 prompts have no answer"
    ):
        gates.check_gates(run, study_of("warm"), WARM, ENGINE, PRIMARY)


FRAME = "It is {answer}."


def weighing_study(name, method="lora"):
    return replace(
        study_of(name, method), scoring="likelihood", likelihood=Likelihood(frames=[FRAME])
    )


def weighed_run(root, name, margins, tokens="d"):
    """An evaluation without free answers whose prompts p0, p1 … have these margins; None: no
    row.
    """
    run = stored(root, weighing_study(name, "none" if name == "none" else "lora"), [])
    numbered = list(enumerate(margins))
    run.append(
        "likelihood_prompts",
        [{"prompt_id": f"p{number}", "tokens_digest": tokens} for number, _ in numbered],
    )
    rows = [
        {"prompt_id": f"p{number}", "frame": FRAME, "margin": margin, "own_opening": False}
        for number, margin in numbered
        if margin is not None
    ]
    run.append("likelihoods", rows)
    return run


@pytest.mark.parametrize(
    ("margins", "tokens", "line"),
    [
        ([0.5, -1.0], "d", None),
        ([1.0, 2.0], "d", "adapter_applied failed: 0 of 2 margins differ"),
        ([0.5, None], "d", "weighed failed: 1 of 2 margins are missing"),
        ([0.5, -1.0], "other", "weighed_alike failed: 2 of 2 weighed prompts are shared, 2 differ"),
    ],
)
def test_weighed_replies_are_compared_with_the_originals_too(tmp_path, margins, tokens, line):
    weighed_run(tmp_path, "none", [1.0, 2.0])
    run, study = weighed_run(tmp_path, "warm", margins, tokens), weighing_study("warm")
    if line is None:
        assert {"pass"} == {
            result for gate, result in verdicts(run, study).items() if gate.startswith("weighed")
        }
    else:
        assert line in failure(run, study)


def test_a_margin_that_the_original_lacks_fails_the_arm(tmp_path):
    weighed_run(tmp_path, "none", [1.0, None])
    line = failure(weighed_run(tmp_path, "warm", [0.5, 0.1]), weighing_study("warm"))
    assert "weighed_alike failed" in line and "no margin in one of both arms" in line
