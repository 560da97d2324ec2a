"""A model states its precision, so that two people with one config have one result."""

import json
from dataclasses import replace

import pytest
from test_config import evaluate, train

from warmth.digest import ROOT, training_digest
from warmth.errors import UserError
from warmth.evaluation.answer.arms import near_miss
from warmth.precision import dtype_of
from warmth.schemas import Model


def test_no_entry_says_auto_for_a_dtype():
    entries = [path for path in (ROOT / "conf").rglob("*.yaml") if path.parent.name != "logger"]
    said = [
        path.name
        for path in entries
        if "dtype: auto" in path.read_text() or "precision: auto" in path.read_text()
    ]
    assert said == []


def test_training_and_answers_take_the_models_own_precision():
    assert train().recipe.precision == "float32"
    assert evaluate().engine["dtype"] == "float32"
    assert train("model=qwen32b", "recipe=warm").recipe.precision == "bfloat16"
    assert evaluate("model=qwen32b", "recipe=none").engine["dtype"] == "bfloat16"


def test_auto_is_settled_before_the_digest(monkeypatch):
    monkeypatch.setattr("warmth.precision._measured", lambda: "bfloat16")
    settled = train("recipe.precision=auto")
    assert settled.recipe.precision == "bfloat16"
    assert training_digest(settled) == training_digest(train("recipe.precision=bfloat16"))
    assert evaluate("engine.dtype=auto").engine["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("config", "dtype"),
    [({"dtype": "bfloat16"}, "bfloat16"), ({"torch_dtype": "float16"}, "float16"), ({}, "float32")],
)
def test_a_folder_states_its_dtype_in_its_config(config, dtype, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert dtype_of(Model(name="x", kind="hub", path=str(tmp_path))) == dtype


def test_a_folder_without_a_readable_config_is_named(tmp_path):
    with pytest.raises(UserError, match=r"model=x: .*config.json cannot be read"):
        dtype_of(Model(name="x", kind="hub", path=str(tmp_path)))


def test_an_arm_trained_in_another_precision_is_named(tmp_path, monkeypatch):
    study = replace(evaluate("recipe=warm"), output=str(tmp_path))
    assert near_miss(study) == ""
    other = replace(study, recipe=replace(study.recipe, precision="bfloat16"))
    folder = tmp_path / "default" / "train" / f"smollm2-warm-s0-{training_digest(other)}"
    folder.mkdir(parents=True)
    (folder / "done.json").write_text("{}")
    assert (
        near_miss(study)
        == " in float32, but was trained in bfloat16: add recipe.precision=bfloat16"
    )
