"""Today's models: their entries name layers that are there, and small copies train packed on their
own forward pass.
"""

import pytest
from hydra import compose, initialize_config_dir
from transformers import CONFIG_MAPPING

from warmth.config import strict
from warmth.digest import training_digest
from warmth.entries import named_model
from warmth.memory import shape_of
from warmth.paths import ROOT
from warmth.schemas import Evaluate, Train, register
from warmth.training.architecture import refuse_unknown_targets, small_network, try_config

KINDS = {  # entry → model_type of its config
    "qwen3_8b": "qwen3",
    "qwen3_32b": "qwen3",
    "gemma3_12b": "gemma3",
    "gemma3_27b": "gemma3",
    "mistral_small_3_2": "mistral3",
    "llama33_70b": "llama",
    "gpt_oss_20b": "gpt_oss",
    "olmo3_7b": "olmo3",
}
THINKING = ("qwen3_8b", "qwen3_32b", "gpt_oss_20b")


def config_of(name):
    """The real sizes of an entry where it states them; the check makes them small."""
    config = CONFIG_MAPPING[KINDS[name]]()
    shape = shape_of(named_model(name, "model"))
    text = getattr(config, "text_config", None) or config
    if shape:
        text.num_attention_heads, text.num_key_value_heads = shape.heads, shape.key_heads
        text.head_dim, text.tie_word_embeddings = shape.head_size, shape.tied
    return config


@pytest.mark.parametrize("name", KINDS)
def test_a_small_copy_of_todays_model_trains_packed_with_the_layers_its_entry_names(name):
    fit = try_config(config_of(name))
    assert fit.packed and fit.difference < 1e-4
    refuse_unknown_targets(small_network(config_of(name)), named_model(name, "model").lora_targets)


def composed(command, schema, *overrides):
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return strict(compose(command, list(overrides)), schema)


@pytest.mark.parametrize("name", KINDS)
def test_the_experiments_name_one_training_in_both_commands_thinking_or_not(name):
    trained = composed("train", Train, "experiment=modern_train", f"model={name}", "recipe=warm")
    asked = composed(
        "evaluate", Evaluate, "experiment=modern_evaluate", f"model={name}", "recipe=warm"
    )
    assert training_digest(trained) == training_digest(asked)
    if name in THINKING:
        thinks = composed(
            "evaluate",
            Evaluate,
            "experiment=modern_evaluate",
            f"model={name}_thinking",
            "recipe=warm",
        )
        assert training_digest(thinks) == training_digest(trained) and thinks.model.thinking
        assert thinks.model.name != asked.model.name


def test_the_swept_models_have_entries_and_the_set_is_drawn_for_them_all():
    study = composed("train", Train, "experiment=modern_train")
    assert set(study.data.fits) == set(KINDS) and study.data.validation == 0.05
