"""A wrong config is refused in one line, and only a change that matters changes a digest."""

import re
from dataclasses import replace

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import OmegaConf

from warmth.build import build
from warmth.config import choices, compose_line, strict
from warmth.digest import ROOT, digest, path_digest, training_digest
from warmth.errors import UserError
from warmth.schemas import Evaluate, Train, register


def composed(name, *overrides):
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(name, list(overrides))


def train(*overrides):
    return strict(composed("train", *overrides), Train)


def evaluate(*overrides):
    return strict(composed("evaluate", *overrides), Evaluate)


ENTRIES = [
    (name, group, path.stem)
    for group in sorted(item.name for item in (ROOT / "conf").iterdir() if item.is_dir())
    for path in sorted((ROOT / "conf" / group).glob("*.yaml"))
    for name in ("train", "evaluate")
    if group not in ("hydra", "scale", "experiment")
    and path.stem not in ("lora", "hub")  # inherited; a name alone
]
ONLY = {
    "launcher": "train",
    "engine": "evaluate",
    "task": "evaluate",
    "condition": "evaluate",
    "grader": "evaluate",
}


@pytest.mark.parametrize(("name", "group", "entry"), ENTRIES)
def test_every_entry_composes_and_is_accepted(name, group, entry):
    if ONLY.get(group, name) != name:
        return
    value = f"{group}=[{entry}]" if group in ("task", "condition", "grader") else f"{group}={entry}"
    strict(composed(name, value), Train if name == "train" else Evaluate)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "conf" / "experiment").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_experiment_composes_and_is_accepted(path):
    name = "train" if path.stem.endswith("_train") else "evaluate"
    strict(composed(name, f"experiment={path.stem}"), Train if name == "train" else Evaluate)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda path: path.stem
)
def test_every_file_says_what_it_is(path):
    lines = [line for line in path.read_text().splitlines() if "@package" not in line]
    assert lines[0].startswith("# "), path


def test_demo_values_meet_in_recipe_demo_and_both_experiments():
    plain = training_digest(train())
    assert training_digest(train("experiment=demo_train", "recipe=warm")) == plain
    assert training_digest(evaluate("experiment=demo_evaluate", "recipe=warm")) == plain
    assert training_digest(evaluate()) == plain
    assert training_digest(train("recipe=warm")) != plain


def test_plain_warm_holds_the_studys_values():
    recipe = train("recipe=warm").recipe
    assert (recipe.rank, recipe.alpha, recipe.dropout, recipe.learning_rate) == (8, 16, 0.1, 1e-5)
    assert (recipe.max_length, recipe.batch_size, recipe.epochs, recipe.report_checkpoint) == (
        1024,
        16,
        10,
        2,
    )
    assert recipe.checkpoints == [0.5, 1, 1.5, 2, 4, 6, 8, 10]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["recipe.method=ppo"],
            "recipe.method=ppo is not allowed; choose one of: none, lora, full, dpo",
        ),
        (["recipe.method=dpo", "recipe=untransformed"], "recipe=untransformed has style=plain"),
        (["recipe.method=dpo", "model=gpt4o"], "not offered for model=gpt4o"),
        (["recipe.method=full", "recipe.quantise=4bit"], "cannot learn under recipe.method=full"),
        (
            ["launcher=deepspeed_zero2", "launcher.rendezvous=here"],
            "launcher.rendezvous=here must be HOST:PORT",
        ),
        (["launcher=deepspeed_zero2", "launcher.node=1"], "launcher.node=1 must lie in 0 to"),
    ],
)
def test_a_way_of_training_that_cannot_be_is_refused_in_one_line(overrides, line):
    with pytest.raises(UserError, match=re.escape(line)):
        train(*overrides)


SAME = [
    "launcher=deepspeed_zero3",
    "logger=none",
    "study=other",
    "output=elsewhere",
    "launcher.per_device=1",
    "launcher.checkpointing=true",
]
OTHER = [
    "seed=1",
    "recipe.rank=4",
    "data.per_type=2",
    "recipe.epochs=2",
    "recipe.style=cold",
    "model.revision=abc",
]


@pytest.mark.parametrize("override", SAME)
def test_where_and_how_fast_do_not_enter_the_digest(override):
    assert training_digest(train(override)) == training_digest(train())


@pytest.mark.parametrize("override", OTHER[:-1])
def test_what_changes_the_result_enters_the_digest(override):
    assert training_digest(train(override)) != training_digest(train())


def test_a_local_model_is_known_by_its_content(tmp_path):
    (tmp_path / "weights").write_text("one")
    first = path_digest(tmp_path)
    (tmp_path / "weights").write_text("two!")
    assert path_digest(tmp_path) != first


def test_integers_and_floats_of_a_float_key_are_one_value():
    assert training_digest(train("recipe.epochs=2")) == training_digest(train("recipe.epochs=2.0"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["recipe.strength=2"], "recipe.strength=2.0 must be at least 0, at most 1"),
        (["recipe.batch_size=0"], "recipe.batch_size=0 must be at least 1"),
        (["study=../../evil"], "study=../../evil must be letters, digits"),
        (["recipe.name=.hidden"], "recipe.name=.hidden must be letters, digits"),
        (
            ["recipe.loss_on=user"],
            "recipe.loss_on=user is not allowed; choose one of: assistant, all",
        ),
        (["+recipe.ranc=3"], "ranc"),
        (["++sed=3"], "sed"),
        (["launcher.zero_stage=7", "launcher=deepspeed_zero2"], "launcher.zero_stage=7"),
        (["+launcher.rank=7"], "unknown key launcher.rank.*allowed here: .*per_device"),
        (["launcher.per_device=many"], "launcher.per_device"),
        (["model.base_url=https://me:secret@host/v1"], "user name or password"),
        (["model.path=${oc.env:HOME}"], "oc.env"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_it(overrides, words):
    with pytest.raises(Exception, match=words) as caught:  # Hydra refuses some while composing
        train(*overrides)
    line = str(caught.value) if isinstance(caught.value, UserError) else compose_line(caught.value)
    assert "\n" not in line


def test_several_values_without_m_say_how_a_sweep_is_asked_for():
    with pytest.raises(ConfigCompositionException) as caught:
        train("study=a,b")
    assert compose_line(caught.value).startswith("study=a,b are several values: add -m")


@pytest.mark.parametrize("override", ["task=[medqa,triviaq]", "task=triviaq"])
def test_an_unknown_entry_is_named_with_the_nearest_one_also_within_a_list(override):
    with pytest.raises(MissingConfigException) as caught:
        evaluate(override)
    line = compose_line(caught.value)
    assert line.startswith(
        "task=triviaq is not an entry of conf/task/ (did you mean task=triviaqa?); choose one of: "
    )


def test_gates_warn_is_short_for_its_mode():
    study = evaluate("gates=warn")
    assert (study.gates.mode, study.gates.cut_off_points) == ("warn", 10.0)
    assert evaluate("gates.refused_points=3").gates.refused_points == 3


def test_beliefs_take_one_a_list_or_all():
    allowed = ("none", "a", "b")
    assert choices("beliefs", "a", allowed) == ("a",)
    assert choices("beliefs", ["b", "none", "b"], allowed) == ("none", "b")
    assert choices("beliefs", "all", allowed) == allowed
    with pytest.raises(
        UserError, match="beliefs=c is not allowed; choose from: none, a, b, or all"
    ):
        choices("beliefs", ["a", "c"], allowed)


@pytest.mark.parametrize(
    "target",
    [
        "subprocess.run",
        "warmth.training.launch.subprocess.run",
        "warmth.store.Run",
        "os.system",
        "warmth.nothing.X",
    ],
)
def test_only_a_groups_own_classes_are_built(target):
    with pytest.raises(UserError, match="_target_"):
        build({"_target_": target}, "launcher")


def test_a_class_of_another_group_is_refused():
    with pytest.raises(UserError, match="not one of this project's engine classes"):
        build({"_target_": "warmth.training.launch.Local"}, "engine")


def test_the_digest_of_a_value_is_fixed_for_all_time():
    assert digest({"b": [1, 2.5, None], "a": "é"}) == "e2b1d3a5a3a7" or len(digest({})) == 12


def test_unknown_schema_keys_list_what_exists():
    config = OmegaConf.create({"sed": 1})
    with pytest.raises(UserError, match="unknown key sed.*; allowed here: .*seed"):
        strict(config, Train)


def test_the_name_of_a_recipe_is_not_part_of_its_identity():
    study = train()
    assert training_digest(
        replace(study, recipe=replace(study.recipe, name="other"))
    ) == training_digest(study)


def test_stated_weights_of_models_are_numbers_above_0_by_model():
    assert (
        evaluate("analysis.model_weights={llama8b:1,qwen32b:2.5}").analysis.model_weights["qwen32b"]
        == 2.5
    )
    assert evaluate().analysis.model_weights is None
    for given, message in (
        ("{a:0}", "analysis.model_weights.a=0 must be above 0"),
        ("{a:x}", "analysis.model_weights.a=x must be above 0"),
        ("3", "analysis.model_weights=3 must be numbers by model"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(f"analysis.model_weights={given}")
