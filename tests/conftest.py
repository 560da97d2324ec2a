"""What every test starts from: a quiet, offline process, the real tokenizer, and a tiny model that
answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from warmth.models import load_tokenizer
from warmth.schemas import Model
from warmth.training.prepare import extensions_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Set before anything heavy is imported, and inherited by the ranks that tests start. `setdefault`,
# so that `DS_ACCELERATOR=cuda pytest -m gpu` and the like still say otherwise.
ENVIRONMENT = {
    "DS_ACCELERATOR": "cpu",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TORCH_EXTENSIONS_DIR": str(
        extensions_folder()
    ),  # built once by `make setup`, not in every test session
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
}
for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

# No deadline: a busy machine is no bug. The same examples each time: a failure in CI is a failure
# here.
hypothesis.settings.register_profile("warmth", deadline=None, derandomize=True)
hypothesis.settings.load_profile("warmth")


@pytest.fixture(autouse=True)
def no_service_of_another_test() -> Iterator[None]:
    """W&B names its service process in the environment, and a later test's commands would talk to
    one that is gone.
    """
    yield
    os.environ.pop("WANDB_SERVICE", None)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """The embedded model's own tokenizer, chat template included."""
    return load_tokenizer(Model(name="smollm2", kind="embedded"))


@pytest.fixture(scope="session")
def tiny_model_folder(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerBase
) -> Path:
    """A 2-layer Llama with random weights (always the same) and the real tokenizer, as a folder for
    `model.path=`.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "tiny"
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,  # head_dim 16
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = LlamaForCausalLM(config)
    weights.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def warmth(monkeypatch, capsys):
    """Runs a verb in this process: exit code, standard output, standard error."""

    from warmth import cli

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["warmth", *map(str, words)])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        out, err = capsys.readouterr()
        return int(exit.value.code or 0), out, err

    return run
