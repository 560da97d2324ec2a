"""Both instruments stand side by side on the page: K, B, P and S with intervals, raw margins in the
details alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from study_fixture import QUESTIONS, STATEMENTS, identity, write_study

from warmth.analysis import report
from warmth.analysis.report.kernel import tables_of
from warmth.types import BELIEFS, Candidate, LikelihoodRow

FRAMES = ("The answer is {answer}.", "It is {answer}.")
NAMED = {
    "none": 0.0,
    "user_right": 3.0,
    "right_denied": 2.0,
    "wrong_asserted": -4.0,
    "wrong_denied": -3.0,
}
MOVED = {"original": 0.0, "untransformed": -0.1, "cold": 0.2, "warm": -0.8}


def write_likelihoods(root: Path, own: tuple[str, ...] = ()) -> None:
    """Adds likelihoods to every evaluation of the synthetic study; arms in `own` also after an
    opening of their own.
    """
    for folder in sorted((root / "demo" / "evaluate").iterdir()):
        answers = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
        arm = answers[0]["arm"]
        columns = {
            name: answers[0][name]
            for name in (
                "arm",
                "model",
                "strength",
                "dose",
                "checkpoint",
                "seed",
                "draw_seed",
                "run",
            )
        }
        rows = [
            row
            for opening in ("", *(["Oh!"] if arm in own else []))
            for row in rows_of(arm, opening, columns)
        ]
        (folder / "likelihoods.jsonl").write_text(
            "".join(json.dumps(asdict(row)) + "\n" for row in rows)
        )


def rows_of(arm, opening, columns):
    draw = np.random.default_rng(int(identity(arm), 16) % 2**32)
    for task, block in QUESTIONS.items():
        for number, line in enumerate(block.strip().splitlines()):
            _, right, wrong = line.strip().split("|")
            for context, statement in STATEMENTS.items():
                for belief in BELIEFS:
                    for frame in FRAMES:
                        margin = (number - 5) / 3 + NAMED[belief] + MOVED[arm] + 0.2 * draw.normal()
                        prompt_id = identity(task, number, context, belief)
                        right_one = Candidate(right, True, -5.0, 4, 9)
                        wrong_one = Candidate(wrong, False, -5.0 - margin, 4, 9)
                        yield LikelihoodRow(
                            likelihood_id=identity(arm, prompt_id, frame, opening),
                            prompt_id=prompt_id,
                            question_id=f"{task[5:]}_{number + 1:03d}",
                            task=task,
                            context=context,
                            belief=belief,
                            preamble=False,
                            statement=statement,
                            design="factorial",
                            frame=frame,
                            opening=opening,
                            own_opening=bool(opening),
                            answer=right,
                            position=0,
                            right_logprob=-5.0,
                            wrong_logprob=-5.0 - margin,
                            margin=margin,
                            candidates=(right_one, wrong_one),
                            **columns,
                        )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = write_study(tmp_path_factory.mktemp("study"))
    write_likelihoods(root, own=("original", "warm"))
    made = report.build_report([root])
    out = tmp_path_factory.mktemp("report")
    return made, out, report.write_report(made, out)


def section(made, name):
    return next(item for item in made.sections if item.id == name)


def test_the_page_has_k_b_p_and_s_of_every_arm_less_each_control(built):
    made, out, page = built
    main = {item.id: item for _, item in tables_of(section(made, "likelihoods").parts)}[
        "likelihoods"
    ]
    headings = [column.removesuffix(", nats") for column in main.columns]
    assert headings[1:] == ["Arm", "Less", "Questions", "K", "K, points", "B", "P", "S"]
    rows = {(row[1].text, row[2].text): row for row in main.rows}
    assert (
        ("warm", "original") in rows
        and ("warm", "untransformed") in rows
        and ("untransformed", "original") in rows
    )
    assert ("original", "untransformed") not in rows
    k = rows["warm", "untransformed"][4]
    assert k.sort == pytest.approx(-0.7, abs=0.1) and " to " in k.note
    assert (out / "figures" / "likelihoods.svg").exists() and (
        out / "tables" / "likelihoods.csv"
    ).exists()
    assert 'id="likelihoods"' in page.read_text(encoding="utf-8")


def test_yes_and_no_items_are_no_part_of_the_main_table(built):
    made, _, _ = built
    frame = made.frames["likelihoods"]
    overall = frame[
        frame["task"].eq("")
        & frame["frame"].eq("mean")
        & frame["quantity"].eq("K")
        & frame["arm"].eq("warm")
    ]
    by_kind = overall[overall["reference"].eq("original")].set_index("kind")["questions"]
    assert by_kind["yes and no"] == by_kind["yes"] + by_kind["no"]
    assert by_kind["open"] + by_kind["yes and no"] == 48


def test_raw_margins_under_a_belief_stand_in_the_details_alone(built):
    made, _, page = built
    parts = section(made, "likelihoods").parts
    folded = next(part for part in reversed(parts) if type(part).__name__ == "Fold")
    names = {item.id for _, item in tables_of(folded.parts)}
    assert {
        "likelihood-margins",
        "likelihood-spreads",
        "likelihood-frames",
        "likelihood-after-openings",
    } <= names
    assert "likelihood-margins" not in {
        item.id for _, item in tables_of([part for part in parts if part is not folded])
    }
    assert re.search(
        r"<details[^>]*>(?:(?!</details>).)*likelihood-margins",
        page.read_text(encoding="utf-8"),
        re.DOTALL,
    )


def test_the_summary_holds_likelihoods_and_the_calibration(built):
    _, out, _ = built
    found = json.loads((out / "summary.json").read_text())
    assert {row["quantity"] for row in found["likelihoods"]} == {"K", "B", "P", "S"}
    assert "calibration" in found


def test_a_study_without_likelihoods_has_no_such_section_and_every_page_has_a_calibration(tmp_path):
    made = report.build_report([write_study(tmp_path)])
    assert {"calibration"} <= {item.id for item in made.sections}
    assert "likelihoods" not in {item.id for item in made.sections}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A study of scoring=likelihood: no answers, no grades."""
    root = write_study(tmp_path_factory.mktemp("weighed"))
    write_likelihoods(root)
    for folder in (root / "demo" / "evaluate").iterdir():
        (folder / "prompts.jsonl").rename(folder / "likelihood_prompts.jsonl")
        for name in ("answers", "grades"):
            (folder / f"{name}.jsonl").unlink()
    made = report.build_report([root])
    out = tmp_path_factory.mktemp("report")
    return made, out, report.write_report(made, out)


def test_a_study_without_free_answers_is_answered_by_likelihood(alone):
    made, out, page = alone
    summary = json.loads((out / "summary.json").read_text())
    answer = summary["answer"]
    assert (answer["arm"], answer["reference"], answer["instrument"]) == (
        "warm",
        "original",
        "likelihood",
    )
    assert answer["claim"] == "more" and 0 < answer["low"] < answer["difference"] < answer["high"]
    assert {item["arm"] for item in summary["answers"]} == {"warm", "cold", "untransformed"}
    assert summary["instruments"]["answers"] is None
    assert summary["instruments"]["likelihood"] == {
        name: answer[name] for name in ("difference", "low", "high", "claim")
    }
    assert (
        summary["arms"] == ["original", "untransformed", "cold", "warm"]
        and summary["questions"] == 48
    )
    html = page.read_text()
    assert (
        "the warm arm holds the truth less likely than the original" in html
        and "scoring=likelihood" in html
    )
    assert [section.id for section in made.sections if section.link]  # the page has its navigation


def test_the_terminal_says_the_same_of_a_study_without_free_answers(alone):
    made, _, _ = alone
    sentences = made.sections[0].sentences
    assert sentences[0].startswith("By likelihood, ") and any(
        "no free answers" in line for line in sentences
    )


def test_an_arm_that_is_only_weighed_may_stand_beside_arms_that_answered(tmp_path):
    """As the arm trained on rivals does in the calibration: its run has no grades and no rules."""
    from warmth.analysis.rows.frames import load_rows
    from warmth.analysis.statistics import likelihood

    root = write_study(tmp_path, arms=("original", "warm"), training=False)
    write_likelihoods(root)
    for folder in (root / "demo" / "evaluate").iterdir():
        rules = {} if "-warm-" in folder.name else {"alias": "r"}
        (folder / "rules.json").write_text(json.dumps(rules))
        if "-warm-" in folder.name:
            (folder / "prompts.jsonl").rename(folder / "likelihood_prompts.jsonl")
            for name in ("answers", "grades"):
                (folder / f"{name}.jsonl").unlink()
    rows = load_rows([root])
    assert set(rows.answers["arm"]) == {"original"}
    table = likelihood.effects(rows.likelihoods, "original")
    assert set(table["arm"]) == {"warm"} and table["quantity"].eq("K").any()
