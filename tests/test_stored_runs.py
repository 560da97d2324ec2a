"""A run folder somebody sends says which arm is meant, never where a request, a key or a file's
content goes.
"""

from dataclasses import asdict, replace

import pytest
from test_config import evaluate

from warmth.errors import UserError
from warmth.evaluation.stored_runs import from_run
from warmth.store import write_json


@pytest.fixture
def study(tmp_path):
    return replace(
        evaluate("recipe=none"), output=str(tmp_path / "output"), run=str(tmp_path / "sent")
    )


@pytest.fixture
def send(tmp_path, study):
    """Write a run folder as a stranger may send it, with some values changed."""

    def write(**changes):
        config = asdict(study)
        for key, value in changes.items():
            part, _, name = key.partition("__")
            config[part][name] = value
        (tmp_path / "sent").mkdir(exist_ok=True)
        write_json(tmp_path / "sent" / "config.json", config)

    return write


SERVED = {
    "model__kind": "api",
    "model__name": "evil",
    "model__hub_id": None,
    "model__end_of_turn": "",
}
SERVED |= {"model__lora_targets": [], "model__path": None, "model__api_model": "m"}


def test_a_strangers_server_is_refused_and_its_variable_is_never_read(study, send):
    send(**SERVED, model__base_url="http://127.0.0.9:1/v1", model__api_key_env="SECRET_OF_MINE")
    with pytest.raises(
        UserError, match=r"model.base_url=http://127.0.0.9:1/v1 is no server of an entry"
    ):
        from_run(study)


def test_a_server_named_on_the_command_line_gets_no_variable_of_the_folder(study, send):
    send(**SERVED, model__base_url="http://127.0.0.9:1/v1", model__api_key_env="SECRET_OF_MINE")
    trusted = replace(
        study,
        engine={
            **evaluate("engine=openai", "recipe=none").engine,
            "base_url": "http://127.0.0.9:2/v1",
        },
    )
    model = from_run(trusted).model
    assert model.api_key_env is None
    assert model.base_url == "http://127.0.0.9:2/v1"


def test_a_known_server_has_the_address_and_the_variable_of_its_own_entry(study, send):
    sent = {**SERVED, "model__api_model": "gpt-4o-2024-08-06"}
    send(
        **sent,
        model__base_url="https://api.openai.com:444/elsewhere",
        model__api_key_env="SECRET_OF_MINE",
    )
    model = from_run(study).model
    assert (model.base_url, model.api_key_env) == ("https://api.openai.com/v1", "OPENAI_API_KEY")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recipe__system_prompt", "/etc/hostname"),
        ("recipe__shots", "/etc/hostname"),
        ("model__path", "/etc"),
        ("model__chat_template", "/etc/hostname"),
        ("data__path", "/etc/hostname"),
    ],
)
def test_a_file_outside_the_project_is_refused_by_its_key(study, send, key, value):
    send(**{key: value})
    with pytest.raises(UserError, match=f"its {key.replace('__', '.')}={value} lies outside"):
        from_run(study)


def test_a_file_that_this_command_line_names_too_is_read(study, send, tmp_path):
    (tmp_path / "prompt.txt").write_text("Be kind.")
    send(recipe__system_prompt=str(tmp_path / "prompt.txt"))
    with pytest.raises(UserError, match="lies outside"):
        from_run(study)
    named = replace(study, recipe=replace(study.recipe, system_prompt=str(tmp_path / "prompt.txt")))
    assert from_run(named).recipe.system_prompt == str(tmp_path / "prompt.txt")


@pytest.mark.parametrize(
    ("key", "value"), [("model__name", "../../evil"), ("recipe__name", ".hidden")]
)
def test_a_name_that_is_no_path_segment_is_refused(study, send, key, value):
    send(**{key: value})
    with pytest.raises(UserError, match=r"must be letters, digits"):
        from_run(study)


def test_a_steering_arm_asks_no_server_of_the_folders_choice(study, send):
    rewriter = {**asdict(study.data.rewriter), "model": "m", "base_url": "http://127.0.0.9:1/v1"}
    send(
        recipe__method="steer",
        data__styles=["warm"],
        data__rewriter=rewriter,
        data__source="sharegpt",
    )
    with pytest.raises(
        UserError, match=r"data.rewriter.base_url=http://127.0.0.9:1/v1 is no server"
    ):
        from_run(study)
