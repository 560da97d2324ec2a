"""Arms: the adapter is found by content, and a command that cannot find it says what to do."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from warmth.digest import ROOT, training_digest
from warmth.errors import UserError
from warmth.evaluation.answer.arms import choose_checkpoint, find_arm
from warmth.evaluation.identity import evaluation_digest, folder_of
from warmth.evaluation.points import folders_of_points, points_of_study
from warmth.evaluation.stored_runs import from_run
from warmth.schemas import Condition, Data, Evaluate, Gates, Model, Recipe, Sampling, Task, Warmth
from warmth.store import full_config, write_json

ENGINE = {"_target_": "warmth.evaluation.answer.engines.Transformers"}


def recipe(name="warm", method="lora", **changes):
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
        "report_checkpoint": 2.0,
    }
    words = {"schedule": "linear", "loss_on": "assistant", "precision": "auto"}
    return Recipe(name=name, method=method, **{**numbers, **sizes, **words, **changes})


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "conversations.jsonl"
    path.write_text("{}\n")
    return Data(name="seed", source="seed", path=str(path))


@pytest.fixture
def study(tmp_path, data):
    return Evaluate(
        model=Model(name="tiny", kind="hub", hub_id="a/b", revision="0" * 40),
        data=data,
        recipe=recipe(),
        task={"seed_trivia": Task(source="seed_trivia", reader="seed")},
        condition={"unmodified": Condition("none")},
        beliefs=["none"],
        statements="seed/statements.yaml",
        belief_templates="seed/beliefs.yaml",
        design="factorial",
        sampling=Sampling(0.0, 1.0, 8),
        warmth=Warmth(6, "deterministic", 8),
        engine=ENGINE,
        gates=Gates("fail", 10.0, 10.0),
        logger={},
        output=str(tmp_path / "multirun"),
    )


def original(study):
    return replace(study, recipe=recipe("none", "none"))


def trained(study, checkpoints=(0.5, 1.0, 2.0), done=True):
    """The training run whose adapter a study asks for."""
    name = f"tiny-{study.recipe.name}-s{study.seed}-{training_digest(study)}"
    folder = Path(study.output) / study.study / "train" / name
    for checkpoint in checkpoints:
        (folder / "checkpoints" / f"epoch-{checkpoint:g}").mkdir(parents=True)
    write_json(folder / "config.json", full_config(study))
    if done:
        write_json(folder / "done.json", {})
    return folder


def test_the_original_has_no_adapter_and_is_called_so(study):
    arm = find_arm(original(study))
    assert (arm.name, arm.adapter, arm.checkpoint, arm.dose, arm.seed) == (
        "original",
        None,
        None,
        1.0,
        0,
    )


def test_an_arm_that_was_not_trained_names_the_command_that_does(study, monkeypatch):
    argv = [
        "evaluate.py",
        "recipe=none,warm",
        "recipe.rank=4",
        "task=[triviaqa]",
        "limit=5",
        "experiment=demo_evaluate",
    ]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(UserError) as caught:
        find_arm(study)
    command = (
        f"python train.py model=a/b@{'0' * 40} recipe=warm seed=0 recipe.rank=4 "
        f"experiment=demo_train"
    )
    assert str(caught.value).endswith(command)


def test_a_training_run_that_is_not_done_is_no_adapter(study):
    trained(study, done=False)
    with pytest.raises(UserError, match="is not finished"):
        find_arm(study)


def test_the_adapter_is_found_at_the_checkpoint_that_is_reported(study):
    folder = trained(study)
    arm = find_arm(study)
    assert arm.adapter == folder / "checkpoints" / "epoch-2"
    assert find_arm(replace(study, checkpoint=0.5)).adapter == folder / "checkpoints" / "epoch-0.5"


def test_the_end_stands_in_where_training_was_shorter(tmp_path, study):
    folder = trained(study, checkpoints=(0.5, 1.5))
    assert choose_checkpoint(folder, None, 2.0) == 1.5


def test_a_checkpoint_that_was_not_kept_lists_those_that_were(study):
    trained(study)
    with pytest.raises(
        UserError, match=r"checkpoint=4 was not kept in .*; choose one of: 0.5, 1, 2"
    ):
        find_arm(replace(study, checkpoint=4.0))


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"dose": 0.5}, "dose=0.5"),
        ({"dose": [0.0, 1.0]}, "dose=[0,1]"),
        ({"checkpoint": 2.0}, "checkpoint=2"),
        ({"dose_between": ["cold", "warm"]}, "dose_between=[cold,warm]"),
    ],
)
def test_a_dose_of_an_arm_without_an_adapter_is_an_error_alone_and_ignored_in_a_sweep(
    study, asked, named
):
    dosed, said = replace(original(study), **asked), []
    with pytest.raises(UserError) as caught:
        points_of_study(dosed, in_sweep=False)
    assert str(caught.value).startswith(f"{named} says nothing about recipe=none")
    (point,) = points_of_study(dosed, in_sweep=True, say=said.append)
    assert (point.dose, point.checkpoint, point.dose_between) == (1.0, None, None)
    assert len(said) == 1 and said[0].startswith(named)


def test_lists_of_doses_and_checkpoints_are_evaluations_of_their_own(study):
    trained(study)
    many = replace(study, dose=[0.0, 0.5, 1.0], checkpoint=[1.0, 2.0])
    assert [(point.checkpoint, point.dose) for point in points_of_study(many, in_sweep=False)] == [
        (at, dose) for at in (1.0, 2.0) for dose in (0.0, 0.5, 1.0)
    ]
    alone = [
        folder_of(replace(study, dose=dose, checkpoint=at))
        for at in (1.0, 2.0)
        for dose in (0.0, 0.5, 1.0)
    ]
    assert folders_of_points(many) == alone and len(set(alone)) == 6


def test_between_two_recipes_the_ends_share_everything_but_what_their_entries_say(study):
    ends = [trained(replace(study, recipe=recipe(name, style=name))) for name in ("cold", "warm")]
    (point,) = points_of_study(
        replace(
            study, recipe=recipe("demo", style="warm"), dose_between=["cold", "warm"], dose=0.25
        ),
        False,
    )
    arm = find_arm(point)
    assert arm.name == "cold-warm" == point.recipe.name
    assert arm.adapters == [
        (folder / "checkpoints" / "epoch-2", dose)
        for folder, dose in zip(ends, (0.75, 0.25), strict=True)
    ]
    assert [path for path, _ in replace(arm, dose=0.0).adapters] == [arm.other[0]]
    identities = [replace(arm, dose=dose).identity() for dose in (0.0, 0.25, 1.0)]
    assert len({str(identity) for identity in identities}) == 3


@pytest.mark.parametrize(
    "names", [["cold"], ["warm", "warm"], ["cold", "none"], ["cold", "system_warm"]]
)
def test_ends_that_are_not_two_tuned_recipes_are_refused_by_name(study, names):
    with pytest.raises(UserError, match=r"dose_between=\[.*\] must name two of: cold, paraphrase"):
        points_of_study(replace(study, dose_between=names), in_sweep=False)


def test_examples_stand_before_every_question_and_are_part_of_the_arm(study, tmp_path):
    path = tmp_path / "shots.jsonl"
    path.write_text('{"user": "Hi?", "reply": "Hello, friend!"}\n')
    shown = replace(original(study), recipe=recipe("few_shot_warm", "none", shots=str(path)))
    arm = find_arm(shown)
    assert [(message.role, message.content) for message in arm.preface] == [
        ("user", "Hi?"),
        ("assistant", "Hello, friend!"),
    ]
    assert arm.identity() != find_arm(original(study)).identity()
    assert folder_of(shown).name.split("-")[-1] != folder_of(original(study)).name.split("-")[-1]
    path.write_text('{"user": "Hi?"}\n')
    with pytest.raises(UserError, match="shots.jsonl line 1: field reply must be a text"):
        find_arm(shown)


def test_run_takes_model_data_recipe_and_seed_from_a_folder(study):
    folder = trained(replace(study, seed=3, recipe=recipe("cold", style="cold")))
    found = from_run(replace(study, run=str(folder), limit=5))
    assert (found.recipe.name, found.seed, found.limit) == ("cold", 3, 5)
    assert find_arm(found).adapter == folder / "checkpoints" / "epoch-2"


def test_a_run_whose_data_has_changed_since_is_refused(study, data):
    folder = trained(study)
    Path(data.path).write_text("{}\n{}\n")
    with pytest.raises(UserError, match="have changed since"):
        find_arm(from_run(replace(study, run=str(folder))))


def test_a_folder_that_is_no_run_is_refused(study, tmp_path):
    with pytest.raises(UserError, match=r"config\.json does not exist"):
        from_run(replace(study, run=str(tmp_path)))
    write_json(tmp_path / "config.json", {"model": {"colour": "red"}})
    with pytest.raises(UserError, match="not that of a training or evaluation run"):
        from_run(replace(study, run=str(tmp_path)))


@pytest.mark.parametrize(
    "change",
    [
        {"draw_seed": 1},
        {"limit": 3},
        {"preamble": True},
        {"samples": 2},
        {"beliefs": ["none", "user_right"]},
        {"sampling": Sampling(0.8, 1.0, 8)},
        {"warmth": Warmth(0, "deterministic", 8)},
        {"engine": {**ENGINE, "dtype": "float32"}},
        {"task": {"seed_trivia": Task(source="seed_trivia", reader="seed", questions=9)}},
        {"condition": {"sad": Condition("emotion", "sad")}},
    ],
)
def test_what_changes_answers_changes_the_run_folder(study, change):
    study = original(study)
    assert folder_of(replace(study, **change)) != folder_of(study)


@pytest.mark.parametrize(
    "change",
    [
        {"gates": Gates("warn", 1.0, 1.0)},
        {"grader": {"alias": {"_target_": "warmth.evaluation.grade.alias.Alias"}}},
        {"logger": {"_target_": "other"}},
        {"engine": {**ENGINE, "batch_size": 7}},
        {"seed": 5},  # nothing is trained
        {"task": {"seed_trivia": Task(source="seed_trivia", reader="seed", grader="judge")}},
    ],
)
def test_what_does_not_change_answers_does_not(study, change):
    study = original(study)
    assert folder_of(replace(study, **change)) == folder_of(study)


def test_a_task_file_enters_by_its_content(study, tmp_path):
    copies = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for copy in copies:
        copy.write_bytes((ROOT / "seed" / "questions" / "seed_trivia.jsonl").read_bytes())
    one, two = (
        replace(original(study), task={"t": Task(source="x", reader="seed", path=str(copy))})
        for copy in copies
    )
    assert folder_of(one) == folder_of(two)
    copies[1].write_text("{}\n")
    assert folder_of(one) != folder_of(two)


def test_checkpoint_and_dose_belong_to_the_identity(study):
    trained(study)
    arms = [
        find_arm(study),
        find_arm(replace(study, checkpoint=1.0)),
        find_arm(replace(study, dose=0.5)),
    ]
    assert len({evaluation_digest(study, arm) for arm in arms}) == 3
    assert evaluation_digest(study, find_arm(replace(study, checkpoint=2.0))) == evaluation_digest(
        study, arms[0]
    )
