"""Memory is told from a model's shape alone, and what cannot fit is refused with a remedy."""

from dataclasses import asdict

import pytest
import torch
from hydra import compose, initialize_config_dir

from warmth.config import strict
from warmth.digest import ROOT
from warmth.errors import UserError
from warmth.memory import (
    GIB,
    ModelShape,
    answering_memory,
    read_shape,
    refuse_if_too_big,
    shape_of,
    training_memory,
)
from warmth.models import embedded_folder
from warmth.schemas import Model, Train, register


def study(*overrides):
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return strict(compose("train", ["logger=none", *overrides]), Train)


def need(*overrides, **more):
    config = study(*overrides)
    return training_memory(shape_of(config.model), config.recipe, config.launcher, **more)


# Published counts of the models' cards; Qwen's biases (0.02 %) are not counted.
@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("smollm2", 0.134515),
        ("llama8b", 8.03026),
        ("mistral_small", 22.2473),
        ("qwen32b", 32.764),
        ("llama70b", 70.5537),
    ],
)
def test_shapes_of_configured_models_give_their_published_number_of_weights(name, billions):
    shape = shape_of(study(f"model={name}").model)
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=1e-3)


def test_the_configured_shape_of_the_embedded_model_is_the_one_in_its_folder():
    assert read_shape(embedded_folder() / "config.json") == shape_of(study().model)


def test_an_adapter_has_the_weights_that_peft_gives_it(tiny_model_folder):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32)
    targets = ["q_proj", "v_proj", "down_proj"]
    adapted = get_peft_model(model, LoraConfig(r=8, target_modules=targets, task_type="CAUSAL_LM"))
    learnt = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    assert read_shape(tiny_model_folder / "config.json").adapter_parameters(8, targets) == learnt


def test_zero_stages_divide_what_they_say_and_nothing_else():
    full = ["model=llama8b", "recipe=warm", "recipe.method=full"]
    parts = [need(*full, f"launcher=deepspeed_zero{stage}") for stage in range(4)]
    # stage 0 learns in float32, the others in bfloat16 with a third number beside both moments
    assert (
        parts[1].gradients == parts[0].gradients / 2
        and parts[1].optimiser == parts[0].optimiser * 3 / 2 / 2
    )
    assert parts[2].gradients == parts[1].gradients / 2 and parts[2].weights == parts[1].weights
    assert (
        parts[3].weights == parts[1].weights / 2 + 2e9
    )  # DeepSpeed keeps 1e9 of them gathered, in two bytes
    assert parts[1].activations == parts[2].activations
    away = need(*full, "launcher=deepspeed_zero3_offload")
    assert (
        away.weights == 2e9
        and away.host == parts[1].weights / 2
        and away.optimiser == parts[3].optimiser
    )


def test_quantising_shrinks_the_linear_layers_and_checkpointing_the_activations():
    plain, small = (
        need("model=llama70b", "recipe=warm", f"recipe.quantise={how}") for how in ("none", "4bit")
    )
    assert plain.weights / GIB == pytest.approx(
        131.8, abs=0.5
    )  # 70.55 billion in two bytes, and the adapter
    # 68.5 billion of linear layers in 4 bits and their scales, 2.1 of embeddings, logits and norms
    # in four bytes
    assert small.weights / GIB == pytest.approx(
        68.45 * 0.515875 / 1.073741824 + 2.1 * 4 / 1.073741824, abs=1.0
    )
    lean = need("model=llama70b", "recipe=warm", "launcher.checkpointing=true")
    assert lean.activations < plain.activations / 5


def test_answering_holds_the_weights_and_a_cache_that_grows_with_batch_and_length():
    shape = shape_of(study("model=llama8b").model)
    one, two = answering_memory(shape, 1, 1000, 24), answering_memory(shape, 2, 1000, 24)
    assert one.weights == two.weights == shape.parameters * 2
    assert 2 * one.activations == two.activations
    # 32 layers x 8 heads x 128 x keys and values x 2 bytes = 128 KiB a token
    assert one.activations > 1024 * 128 * 1024


def test_what_cannot_fit_is_refused_with_numbers_and_a_remedy():
    config = study("model=llama70b", "recipe=warm")
    forecast = training_memory(shape_of(config.model), config.recipe, config.launcher)
    with pytest.raises(
        UserError,
        match=r"80.0 GiB are free; try .*launcher.checkpointing=true.*recipe.quantise=4bit",
    ):
        refuse_if_too_big(forecast, 80 * GIB, config.launcher, "lora")
    refuse_if_too_big(forecast, forecast.total, config.launcher, "lora")


def test_a_shape_with_a_key_missing_is_refused_by_name():
    with pytest.raises(UserError, match="it needs layers, width"):
        shape_of(Model(name="x", kind="hub", shape={"layers": 2}))
    assert shape_of(Model(name="x", kind="hub")) is None


def test_a_folder_of_another_kind_has_no_shape(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    assert read_shape(tmp_path / "config.json") is None
    assert isinstance(ModelShape(1, 2, 1, 1, 2, 4, 10, True).parameters, int)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("launcher=deepspeed_zero2",),
        ("recipe.method=dpo",),
        ("data.per_type=8", "recipe.loss_on=all"),
    ],
)
def test_a_plan_without_a_tokenizer_is_near_what_the_ranks_forecast(tmp_path, overrides):
    from warmth.data.arms import conversations_of_arm
    from warmth.data.sources import load_conversations
    from warmth.store import Run
    from warmth.sweep.workload import longest
    from warmth.training.fit import TrainingSetup

    config = study("recipe=warm", *overrides)
    with (run := Run(tmp_path / "run")).open(config):
        run.append(
            "conversations",
            map(asdict, conversations_of_arm(load_conversations(config.data), config.recipe)),
        )
    plan = TrainingSetup(run.folder, 0, int(config.launcher.get("ranks", 1)))
    tokens, trained = longest(config)
    width = 2 if plan.autocast == torch.bfloat16 else 4
    told = need(
        "recipe=warm", *overrides, device=plan.device, width=width, tokens=tokens, trained=trained
    )
    assert told.total == pytest.approx(plan.forecast().total, rel=0.08)


@pytest.mark.parametrize(("method", "most"), [("lora", 1), ("dpo", 2)])
def test_a_plan_counts_passes_as_full_as_the_launcher_makes_them(method, most):
    from warmth.sweep.workload import longest

    usual, fuller = (
        longest(study("recipe=warm", f"recipe.method={method}", *more))[0]
        for more in ([], ["launcher.tokens_per_pass=3000"])
    )
    assert usual <= 1024 * most and 1.5 * usual < fuller <= 3000 * most
    unseen = study(
        "data=sharegpt",
        "recipe=warm",
        "launcher=deepspeed_zero2",
        "launcher.ranks=8",
        "launcher.tokens_per_pass=4096",
    )
    assert longest(unseen) == (2048, None)  # two conversations are a rank's share of a step
