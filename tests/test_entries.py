"""Entries of the config groups are found in one way, and what lists them lists all of them."""

from __future__ import annotations

import pytest
import yaml

from warmth.dataset import STYLES
from warmth.entries import (
    OWN_FOLDER,
    adopt_own_folder,
    entry_files,
    named_model,
    own_module,
    read_entry,
)
from warmth.errors import UserError
from warmth.evaluation.grade.graders import grader_classes, kind_of_task
from warmth.help import page
from warmth.schemas import Task


def test_every_grader_says_what_it_serves_and_every_task_has_one_that_serves_it():
    classes = grader_classes()
    assert set(classes) == set(entry_files("grader"))
    for name, grader in classes.items():
        assert isinstance(grader.serves, str) and isinstance(grader.offline, bool), name
        assert hasattr(grader, "served_model"), (
            f"{name} does not say which server a plan counts with"
        )
    kinds = {grader.serves for grader in classes.values()}
    for name in entry_files("task"):
        assert kind_of_task(name, Task(grader=read_entry("task", name)["grader"])) in kinds


def test_a_task_that_asks_for_refusals_says_that_refusing_is_right():
    for name in entry_files("task"):
        entry = read_entry("task", name)
        if kind_of_task(name, Task(grader=entry["grader"])) == "refusal":
            assert entry["refusing_is_right"] is True


def test_every_recipe_has_a_style_that_sets_can_have():
    for name, path in entry_files("recipe").items():
        style = yaml.safe_load(path.read_text(encoding="utf-8")).get("style", "plain")
        assert style == "plain" or style in STYLES, name


@pytest.mark.parametrize("group", ["task", "condition", "grader", "recipe", "model"])
def test_the_help_lists_every_entry(group):
    text = page("evaluate")
    missing = [name for name in entry_files(group) if f"    {name} " not in text and name != "lora"]
    assert not missing


def test_an_entry_of_ones_own_is_listed_and_wins(tmp_path, monkeypatch):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "triviaqa.yaml").write_text("triviaqa:\n  grader: letter\n")
    (tmp_path / "task" / "mine.yaml").write_text("other:\n  grader: letter\n")
    stock = set(entry_files("task"))
    monkeypatch.setenv(OWN_FOLDER, "")
    assert adopt_own_folder(["x=1", "--config-dir", str(tmp_path)]) == [
        "x=1",
        "--config-dir",
        str(tmp_path),
    ]
    assert adopt_own_folder(["x=1"]) == [
        f"--config-dir={tmp_path}",
        "x=1",
    ]  # as a process started by that one
    assert (
        set(entry_files("task")) == stock | {"mine"}
        and read_entry("task", "triviaqa")["grader"] == "letter"
    )
    with pytest.raises(UserError, match=r"mine\.yaml must hold the key mine:"):
        read_entry("task", "mine")
    with pytest.raises(
        UserError, match="task=nothing is not an entry of conf/task/; choose one of: advbench"
    ):
        read_entry("task", "nothing")


def test_code_outside_a_users_folder_is_not_loaded(tmp_path, monkeypatch):
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside.py").write_text("loaded = True\n")
    monkeypatch.setenv(OWN_FOLDER, str(tmp_path / "inside"))
    assert (
        own_module("outside") is None
        and own_module("../outside") is None
        and own_module("..outside") is None
    )


def test_a_model_that_nobody_knows_is_one_line():
    with pytest.raises(
        UserError, match=r"--scorer=none such is neither a folder nor a hub id nor one of: "
    ):
        named_model("none such", "--scorer")


def test_a_model_named_outside_of_a_config_has_what_its_entry_takes_from_another():
    thinking, plain = (named_model(name, "data.fits") for name in ("qwen3_8b_thinking", "qwen3_8b"))
    assert thinking.thinking and not plain.thinking
    assert (thinking.hub_id, thinking.shape, thinking.name) == (
        plain.hub_id,
        plain.shape,
        "qwen3_8b_thinking",
    )


def test_an_own_entry_that_builds_on_one_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [yours, _self_]\nname: mine\n")
    monkeypatch.setenv(OWN_FOLDER, str(tmp_path))
    with pytest.raises(UserError, match="data.fits: conf/model has no entry yours"):
        named_model("mine", "data.fits")
