"""Any model trains on its own forward pass, or is refused before its weights are loaded."""

import re

import pytest
import torch
from peft import get_peft_model
from transformers import CONFIG_MAPPING

from warmth.digest import ROOT
from warmth.errors import UserError
from warmth.schemas import Model, Recipe
from warmth.training import architecture
from warmth.training.architecture import (
    SEGMENTS,
    PackingFit,
    check_targets,
    fit_of,
    linear_layers,
    small_network,
    try_config,
)
from warmth.training.weights import adapter_config

# What the configs of published models of each kind say and the defaults of transformers do not:
# windows, caps, chunks, recurrent layers. Sizes are whatever the defaults are; the check makes them
# small.
KINDS = {
    "llama": ("Llama 2 and 3, SmolLM2", {}),
    "llama4_text": ("Llama 4", {}),
    "mistral": ("Mistral 7B", {"sliding_window": 4096}),
    "mixtral": ("Mixtral", {}),
    "qwen2": ("Qwen2, Qwen2.5", {}),
    "qwen2_moe": ("Qwen1.5-MoE", {}),
    "qwen3": ("Qwen3", {}),
    "qwen3_moe": ("Qwen3-30B-A3B", {}),
    "qwen3_next": ("Qwen3-Next", {}),
    "gemma": ("Gemma", {}),
    "gemma2": ("Gemma 2", {}),
    "gemma3": ("Gemma 3 with its vision tower", {}),
    "gemma3_text": ("Gemma 3, text", {}),
    "phi": ("Phi-2", {}),
    "phi3": ("Phi-3, Phi-4", {"sliding_window": 2047}),
    "olmo2": ("OLMo 2", {}),
    "olmo3": ("OLMo 3", {"sliding_window": 4096}),
    "olmoe": ("OLMoE", {}),
    "gpt2": ("GPT-2", {}),
    "gpt_neox": ("Pythia", {}),
    "gpt_oss": ("gpt-oss", {}),
    "cohere": ("Command R", {}),
    "cohere2": ("Command R7B, Command A", {}),
    "granite": ("Granite 3", {}),
    "granitemoehybrid": (
        "Granite 4 (hybrid)",
        {"layer_types": ["mamba", "attention"] * 2, "num_hidden_layers": 4},
    ),
    "falcon": ("Falcon 7B", {"alibi": False}),
    "falcon_h1": ("Falcon-H1", {}),
    "lfm2": ("LFM2", {"layer_types": ["conv", "full_attention"] * 2, "num_hidden_layers": 4}),
    "bloom": ("BLOOM", {}),
    "mpt": ("MPT", {}),
    "mamba": ("Mamba", {}),
    "jamba": ("Jamba", {}),
    "starcoder2": ("StarCoder2", {}),
    "stablelm": ("StableLM 2", {}),
    "smollm3": ("SmolLM3", {}),
    "glm4": ("GLM-4", {}),
    "deepseek_v3": ("DeepSeek V3 and R1", {}),
    "exaone4": ("EXAONE 4", {}),
    "mistral3": ("Mistral Small 3.1 and 3.2", {}),
}
TABLE = ROOT / "docs" / "architectures.md"
HEAD = """# Which models train how

Made by `tests/test_architecture.py` over small copies with random weights; do not edit. Before the first step of a
training, the same check runs on a small copy of the model's own config: two layers of each type, windows and chunks
shorter than the texts, float32 on the CPU. *Packed*: several conversations share a forward pass, and no
log-probability differs from the model's own by more than 0.001 nats. *Alone*: each conversation has a pass of its own,
through the model's own attention, because packed it would not be the model's own pass; the result is right, and
training takes longer. *Refused*: no pass here is the model's own.

| `model_type` | models | trained | attention | largest difference, nats | linear layers (`model.lora_targets`) |
|---|---|---|---|---|---|
"""


def config_of(kind, **more):
    return CONFIG_MAPPING[kind](**{**KINDS[kind][1], **more})


@pytest.fixture(scope="module")
def fits():
    return {kind: try_config(config_of(kind)) for kind in KINDS}


def row(kind, fit):
    if not fit.attention:
        return f"| `{kind}` | {KINDS[kind][0]} | refused | | | |"
    how = "packed" if fit.packed else "alone"
    exact = "under 0.00001" if fit.difference < 1e-5 else f"{fit.difference:.5f}"
    layers = ", ".join(f"`{name}`" for name in linear_layers(small_network(config_of(kind))))
    return f"| `{kind}` | {KINDS[kind][0]} | {how} | `{fit.attention}` | {exact} | {layers} |"


@pytest.mark.slow
def test_the_table_of_architectures_is_what_the_check_finds(fits):
    page = HEAD + "\n".join(row(kind, fit) for kind, fit in sorted(fits.items())) + "\n"
    if not TABLE.exists():
        TABLE.write_text(page, encoding="utf-8")
    assert TABLE.read_text(encoding="utf-8") == page, (
        "delete docs/architectures.md and run this test to write it anew"
    )


@pytest.mark.slow
def test_layers_that_carry_a_state_are_never_packed(fits):
    recurrent = {
        "bloom",
        "mpt",
        "granitemoehybrid",
        "falcon_h1",
        "lfm2",
        "mamba",
        "jamba",
        "llama4_text",
        "qwen3_next",
    }
    assert not [kind for kind in recurrent if fits[kind].packed]
    assert all(fit.difference <= architecture.TOLERANCE for fit in fits.values() if fit.attention)
    assert len([fit for fit in fits.values() if fit.attention]) >= 25


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("llama", {}),
        ("mistral", {"sliding_window": 4096}),
        ("gemma2", {}),
        ("gpt_oss", {}),
    ],
)
def test_windows_caps_and_sinks_are_kept_in_a_packed_pass(kind, more):
    fit = try_config(config_of(kind, **more))
    assert fit.packed and fit.difference < 1e-4


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("lfm2", "carry a state"),
        ("granitemoehybrid", "carry a state"),
        ("bloom", "nats from its own"),
    ],
)
def test_layers_that_see_past_a_border_train_alone_through_their_own_attention(kind, reason):
    fit = try_config(config_of(kind))
    assert fit.attention in ("sdpa", "eager") and fit.difference < 1e-4 and reason in fit.reason


def test_an_attention_that_drops_windows_is_found_out(monkeypatch):
    from transformers import AttentionInterface

    kernel = AttentionInterface._global_mapping[SEGMENTS]
    monkeypatch.setitem(
        AttentionInterface._global_mapping,
        SEGMENTS,
        lambda *args, sliding_window=None, **more: kernel(*args, **more),
    )
    fit = try_config(config_of("mistral"))
    assert fit.attention == "sdpa" and "nats from its own" in fit.reason


@pytest.fixture
def folder(tmp_path):
    """A function that writes a small network as a model folder, without a tokenizer."""

    def write(kind):
        network = small_network(config_of(kind))
        network.save_pretrained(tmp_path)
        (tmp_path / "vocab.json").write_text("{}")
        return Model(name=kind, kind="hub", path=str(tmp_path))

    return write


def test_the_verdict_is_remembered_by_the_config(folder, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("WARMTH_CACHE", str(tmp_path_factory.mktemp("cache")))
    model = folder("llama")
    first = fit_of(model)
    monkeypatch.setattr(
        architecture, "try_config", lambda config: PackingFit("", "", 0.0, "tried again")
    )
    assert fit_of(model) == first and first.packed
    (config := tmp_path_factory.mktemp("other"))
    small_network(CONFIG_MAPPING["llama"](rope_theta=5e5)).save_pretrained(config)
    (config / "vocab.json").write_text("{}")
    with pytest.raises(UserError, match="model=other cannot be trained here: tried again"):
        fit_of(Model(name="other", kind="hub", path=str(config)))


SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def study(targets):
    from types import SimpleNamespace

    recipe = Recipe(name="warm", rank=8, alpha=16, dropout=0.0)
    return SimpleNamespace(recipe=recipe, model=Model(name="m", lora_targets=targets))


def test_layers_to_adapt_that_are_not_there_are_named_before_weights_are_loaded(folder):
    model = folder("phi3")
    model.lora_targets = SEVEN
    line = (
        r"model.lora_targets: gate_proj, k_proj, q_proj, up_proj, v_proj are no layers of this "
        r"network; "
        r"its linear layers are: down_proj, gate_up_proj, o_proj, qkv_proj \(or all-linear\)"
    )
    with pytest.raises(UserError, match=line):
        check_targets(model)
    with pytest.raises(
        UserError, match=line
    ):  # and by PEFT itself, which would adapt the two that are there
        get_peft_model(small_network(config_of("phi3")), adapter_config(study(SEVEN)))


@pytest.mark.parametrize("targets", [["all-linear"], []])
def test_all_linear_adapts_every_linear_layer_but_the_last(targets):
    tuned = get_peft_model(small_network(config_of("phi3")), adapter_config(study(targets)))
    adapted = {
        re.sub(r"\.lora_A.*", "", name).split(".")[-1]
        for name, _ in tuned.named_parameters()
        if "lora_A" in name
    }
    assert adapted == {"down_proj", "gate_up_proj", "o_proj", "qkv_proj"}


def test_a_vision_tower_gets_no_adapter_and_its_layers_are_not_offered():
    network = small_network(config_of("gemma3"))
    assert linear_layers(network) == sorted(SEVEN)
    tuned = get_peft_model(network, adapter_config(study(SEVEN)))
    assert not [name for name, _ in tuned.named_parameters() if "lora" in name and "vision" in name]


def test_an_alone_pass_gives_the_trainer_what_a_packed_one_does():
    from warmth.training.packing import collator, token_loss

    network = small_network(config_of("llama"))
    (example, _) = architecture.texts()
    losses = []
    for attention, packed in ((SEGMENTS, True), ("sdpa", False)):
        network.set_attn_implementation(attention)
        batch = collator(0, packed)([example])
        labels = batch.pop("labels")
        with torch.no_grad():
            losses.append(token_loss(network(**batch, use_cache=False), labels).item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
