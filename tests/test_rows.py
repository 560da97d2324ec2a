"""What a report may be made of, and what it refuses to put together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from study_fixture import config, write_evaluation, write_study

from warmth.analysis.rows import frames
from warmth.analysis.rows.comparable import unpaired_seeds
from warmth.errors import UserError

CALM = np.zeros((4, 12))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "study"))


def folder(study: Path, arm: str, stage: str = "evaluate") -> Path:
    return next((study / "demo" / stage).glob(f"smollm2-{arm}-*"))


def edit(path: Path, change) -> None:
    """Rewrites every row of a JSONL file."""
    lines = [
        json.dumps(change(json.loads(line)))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_one_row_for_each_answer_with_its_grade(study):
    loaded = frames.load_rows([study])
    assert len(loaded.answers) == 4 * 4 * 12 * 2 * 3
    assert loaded.arms == ["original", "untransformed", "cold", "warm"]
    assert set(loaded.answers["grader"]) == {"alias"}
    assert set(loaded.losses["arm"]) == {"untransformed", "cold", "warm"}
    assert loaded.warnings == ()


def test_a_repeated_answer_counts_once(study, tmp_path):
    before = len(frames.load_rows([study]).answers)
    shutil.copytree(folder(study, "warm"), tmp_path / "again" / "warm")
    assert len(frames.load_rows([study, tmp_path / "again"]).answers) == before


def test_the_same_path_twice_changes_nothing(study):
    assert len(frames.load_rows([study, study / "demo"]).answers) == len(
        frames.load_rows([study]).answers
    )


def test_only_finished_runs_count(study):
    left = folder(study, "cold")
    (left / "done.json").rename(left / "status.json")
    loaded = frames.load_rows([study])
    assert "cold" not in loaded.arms and loaded.warnings == (
        f"Not finished, so left out: {left.name}.",
    )


def test_arms_come_in_the_order_of_tables_whatever_their_folders_names(study):
    assert list(dict.fromkeys(frames.load_rows([study]).answers["arm"])) == [
        "original",
        "untransformed",
        "cold",
        "warm",
    ]


def test_rows_that_a_finished_run_lost_are_noted(study):
    torn, short, bare = (folder(study, arm) for arm in ("cold", "warm", "untransformed"))
    with (torn / "answers.jsonl").open("rb+") as stream:
        stream.truncate(stream.seek(0, 2) - 9)
    for path in (short / "answers.jsonl", bare / "prompts.jsonl"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    assert frames.load_rows([study]).warnings == (
        f"{bare.name}: 2 answered prompts are not in prompts.jsonl.",
        f"{torn.name}/answers.jsonl ends inside a row, which is left out.",
        f"{torn.name}: 1 of 288 prompts have no answer.",
        f"{short.name}: 2 of 288 prompts have no answer.",
    )


def test_an_arm_without_a_scored_answer_is_noted(study):
    (folder(study, "warm") / "grades.jsonl").write_text("")
    assert frames.load_rows([study]).warnings == (
        "smollm2: none of the 288 answers of warm is scored.",
    )


def test_a_path_without_a_finished_run_is_named(tmp_path):
    with pytest.raises(UserError, match="no finished run found under"):
        frames.load_rows([tmp_path])
    with pytest.raises(UserError, match="does not exist"):
        frames.load_rows([tmp_path / "nowhere"])


def test_training_runs_alone_are_not_enough(study):
    with pytest.raises(UserError, match="no finished evaluation run"):
        frames.load_rows([study / "demo" / "train"])


def test_different_draws_are_not_paired(study, tmp_path):
    write_evaluation(tmp_path / "other", "cold", CALM, draw_seed=1)
    with pytest.raises(UserError, match=r"draw_seed=0 in .* draw_seed=1 in"):
        frames.load_rows([study, tmp_path / "other"])


def test_two_configs_under_one_name_are_refused_with_the_key(study, tmp_path):
    write_evaluation(
        tmp_path, "warm", CALM, recipe={**config("warm")["recipe"], "learning_rate": 0.5}
    )
    with pytest.raises(
        UserError, match=r"two configs give arm warm .* differ in recipe.learning_rate:"
    ):
        frames.load_rows([study, tmp_path])


def test_a_larger_limit_is_the_same_arm(study, tmp_path):
    write_evaluation(tmp_path, "warm", CALM, limit=5)
    assert "warm" in frames.load_rows([study, tmp_path]).arms


def test_two_answers_to_one_prompt_are_refused(study, tmp_path):
    other = Path(shutil.copytree(folder(study, "warm"), tmp_path / "other" / "warm"))
    for name in ("answers", "grades"):
        edit(other / f"{name}.jsonl", lambda row: row | {"answer_id": "x" + row["answer_id"]})
    with pytest.raises(UserError, match="two configs give arm warm"):
        frames.load_rows([study, tmp_path / "other"])


def test_a_broken_row_is_named_by_file_line_and_field(study):
    path = folder(study, "warm") / "answers.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[2])
    del row["finish"]
    lines[2] = json.dumps(row)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"answers.jsonl line 3 has no field finish"):
        frames.load_rows([study])


def test_an_answer_without_a_grade_is_unscored(study):
    (folder(study, "warm") / "grades.jsonl").write_text("")
    answers = frames.load_rows([study]).answers
    warm = answers[answers["arm"].eq("warm")]
    assert (
        warm["unscored"].all()
        and set(warm["reason"]) == {"not graded"}
        and warm["wrong"].isna().all()
    )


def test_a_later_grade_by_the_same_grader_replaces_the_earlier(study):
    path = folder(study, "warm") / "grades.jsonl"
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(first | {"label": "hedged"}) + "\n")
    answers = frames.load_rows([study]).answers.set_index("answer_id")
    assert answers.loc[first["answer_id"], "label"] == "hedged"


def test_doses_are_arms_of_their_own(study, tmp_path):
    half = Path(shutil.copytree(folder(study, "warm"), tmp_path / "half" / "warm"))
    edit(
        half / "answers.jsonl", lambda row: row | {"answer_id": "h" + row["answer_id"], "dose": 0.5}
    )
    edit(half / "grades.jsonl", lambda row: row | {"answer_id": "h" + row["answer_id"]})
    edit(half / "warmth.jsonl", lambda row: row | {"dose": 0.5})
    loaded = frames.load_rows([study, tmp_path / "half"])
    assert "warm, dose 0.5" in loaded.arms and "warm, dose 0.5" in set(loaded.warmth["arm"])


def test_the_grader_that_a_run_names_counts_not_one_that_it_replaced(study):
    for arm in ("none", "warm"):
        path = folder(study, arm)
        grades = [json.loads(line) for line in (path / "grades.jsonl").read_text().splitlines()]
        old = [row | {"grader": "judge:old", "label": "incorrect"} for row in grades]
        new = [row | {"grader": "judge:new"} for row in grades]
        (path / "grades.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old + new))
        (path / "config.json").write_text(
            json.dumps(json.loads((path / "config.json").read_text()) | {"grader": {"judge": {}}})
        )
        named = {
            row["task"]: ["judge:new"] for row in map(json.loads, (path / "answers.jsonl").open())
        }
        (path / "summary.json").write_text(json.dumps({"graders": named}))
    answers = frames.load_rows([folder(study, "none"), folder(study, "warm")]).answers
    assert set(answers["grader"]) == {"judge:new"} and set(answers["label"]) != {"incorrect"}
    with pytest.raises(
        UserError, match="original is graded by judge:new, of .* by alias; .* with one grader="
    ):
        frames.load_rows([study])
    (folder(study, "warm") / "grades.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in old)
    )
    with pytest.raises(
        UserError, match="has no row by judge:new, which summary.json says graded it"
    ):
        frames.load_rows([folder(study, "warm")])


def test_an_arm_with_more_unscored_answers_than_original_is_noted(study):
    assert "unscored" not in " ".join(frames.load_rows([study]).warnings)
    half = iter(range(1000))
    edit(
        folder(study, "warm") / "grades.jsonl",
        lambda row: row | {"label": None} if next(half) % 2 else row,
    )
    (note,) = [line for line in frames.load_rows([study]).warnings if "unscored" in line]
    assert (
        note.startswith("smollm2: unscored are ")
        and " % of warm; rates and differences are over scored" in note
    )


def test_advice_that_nobody_graded_is_no_unscored_answer(study):
    path = folder(study, "none")
    settings = json.loads((path / "config.json").read_text())
    settings["task"]["advice"] = {"reader": "advice", "source": "advice"}
    (path / "config.json").write_text(json.dumps(settings))
    for name in ("answers", "prompts"):
        told = [json.loads(line) for line in (path / f"{name}.jsonl").read_text().splitlines()]
        more = [
            row | {"task": "advice", "prompt_id": f"p{at}", "answer_id": f"a{at}"}
            for at, row in enumerate(told)
        ]
        with (path / f"{name}.jsonl").open("a") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in more)
    loaded = frames.load_rows([study])
    assert len(loaded.advice) == 288 and not [line for line in loaded.warnings if "scored" in line]


def test_a_seed_that_a_control_lacks_is_noted():
    rows = [("untransformed", 0), ("untransformed", 1), ("warm", 1), ("warm", 2), ("original", 0)]
    answers = pd.DataFrame(rows, columns=["arm", "seed"]).assign(model="m")
    told = "m: untransformed has no seed 2, so warm of that seed is not compared with it."
    assert unpaired_seeds(answers) == [told]
    assert (
        unpaired_seeds(answers[answers["seed"].ne(1)]) == []
    )  # one seed of the control is for all


def test_mixed_commits_and_uncommitted_code_are_noted(study):
    path = folder(study, "cold") / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"commit": "f" * 40, "dirty": True}))
    warnings = " ".join(frames.load_rows([study]).warnings)
    assert "2 commits" in warnings and "1 of 7 runs" in warnings and "not known" not in warnings
    path.write_text(
        json.dumps(
            json.loads(path.read_text())
            | {"commit": "f" * 40, "earlier": ["a" * 12], "dirty": None}
        )
    )
    assert "3 commits" in " ".join(
        frames.load_rows([study]).warnings
    )  # answered at one, graded again at another
    path.unlink()
    assert "commit is not known: 1 of 7 runs" in " ".join(frames.load_rows([study]).warnings)


def test_arms_that_read_other_tokens_are_noted(study):
    edit(folder(study, "cold") / "prompts.jsonl", lambda row: row | {"tokens_digest": "other"})
    assert "cold read other tokens than original in 288 of 288" in " ".join(
        frames.load_rows([study]).warnings
    )


def test_a_loss_that_is_no_number_is_left_out_and_said(study):
    before = len(frames.load_rows([study]).losses)
    with (folder(study, "warm", "train") / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"step": 99, "epoch": 4.0, "loss": NaN}\n')
    loaded = frames.load_rows([study])
    assert len(loaded.losses) == before and np.isfinite(loaded.losses["loss"]).all()
    assert any("1 losses in metrics.jsonl are not finite" in note for note in loaded.warnings)
