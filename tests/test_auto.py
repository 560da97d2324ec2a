"""`launcher=auto`: what it chooses for a model, a number of GPUs and their memory."""

import pytest
from hydra import compose, initialize_config_dir

from warmth.config import strict
from warmth.digest import ROOT, training_digest
from warmth.errors import UserError
from warmth.gpus import gpus_needed
from warmth.schemas import Train, register
from warmth.training.launch import most_ranks


def chosen(*overrides):
    """The launcher of a study that is asked for an H100's sake."""
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return strict(
            compose("train", ["hardware=h100", "recipe=warm", *overrides]), Train
        ).launcher


def kind(launcher):
    name = launcher["_target_"].rpartition(".")[2]
    return f"zero{launcher['zero_stage']}" if name == "DeepSpeed" else name


@pytest.mark.parametrize(
    ("model", "gpus", "expected", "ranks", "checkpointing"),
    [
        ("smollm2", "0", "Local", None, False),
        ("llama8b", "0", "Local", None, False),
        (
            "qwen32b",
            "0",
            "Local",
            None,
            True,
        ),  # 61 GiB of weights: its activations do not fit beside them
        ("llama8b", "0,1,2,3,4,5,6,7", "zero2", 8, False),
        ("llama8b", "0,1,2,3,4,5", "zero2", 4, False),  # six do not divide the batch of 16
        ("llama70b", "0,1,2,3,4,5,6,7", "zero3", 8, True),
        ("llama70b", "", "zero3", 2, True),  # no GPU here: the fewest H100 that hold it
        ("llama8b", "", "Local", None, False),
    ],
)
def test_the_choice_follows_from_the_model_and_the_gpus(
    monkeypatch, model, gpus, expected, ranks, checkpointing
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    launcher = chosen(f"model={model}")
    found = (kind(launcher), launcher.get("ranks"), launcher["checkpointing"])
    assert found == (expected, ranks, checkpointing)


def test_a_machine_without_a_gpu_trains_in_one_process(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    launcher = chosen("hardware=cpu", "launcher.save_steps=7")
    assert (
        kind(launcher) == "Local"
        and launcher["save_steps"] == 7
        and launcher["tokens_per_pass"] is None
    )


def test_passes_fill_a_card_only_as_far_as_they_fit_and_only_if_nobody_says_how_far(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert chosen("model=llama8b")["tokens_per_pass"] > 1024
    assert chosen("model=llama8b", "launcher.tokens_per_pass=1500")["tokens_per_pass"] == 1500
    assert (
        chosen("model=qwen32b", "hardware=a100_40")["tokens_per_pass"] is None
    )  # nothing fits: the plan says so


def test_quantised_weights_and_offload_are_never_chosen(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        study = strict(
            compose("train", ["hardware=a100_40", "recipe=warm", "model=llama70b"]), Train
        )
    assert (
        kind(study.launcher) == "zero3"
        and not study.launcher["offload"]
        and study.recipe.quantise == "none"
    )


def test_the_choice_is_no_part_of_a_runs_identity(monkeypatch):
    register()
    found = set()
    for gpus in ("", "0", "0,1,2,3"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            found.add(
                training_digest(strict(compose("train", ["model=llama8b", "recipe=warm"]), Train))
            )
    assert len(found) == 1


@pytest.mark.parametrize(("gpus", "ranks"), [("", 2), ("3", 1), ("0,1,2,3,4", 4)])
def test_a_deepspeed_launcher_takes_the_gpus_there_are_unless_it_is_told(monkeypatch, gpus, ranks):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    assert chosen("launcher=deepspeed_zero2")["ranks"] == ranks == chosen("launcher=ddp")["ranks"]
    assert chosen("launcher=deepspeed_zero2", "launcher.ranks=3")["ranks"] == 3
    assert gpus_needed(Train(launcher=chosen("launcher=ddp"))) == ranks


def test_offload_without_divided_weights_is_refused():
    with pytest.raises(
        UserError, match=r"launcher.zero_stage=2 divides none; use launcher=deepspeed_zero3_offload"
    ):
        chosen("launcher=deepspeed_zero2", "launcher.offload=true")


def test_ranks_divide_the_batch():
    assert [most_ranks(gpus, 16) for gpus in (0, 1, 3, 7, 16, 20)] == [0, 1, 2, 4, 16, 16]
