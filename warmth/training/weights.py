"""The model as it is trained: base weights in the device's precision, and what learns."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

import torch
from peft import LoraConfig, LoraModel, PeftType, get_peft_model, prepare_model_for_kbit_training
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from transformers import set_seed
from transformers.utils import is_flash_attn_2_available

from warmth.errors import UserError
from warmth.models import load_model
from warmth.schemas import Recipe, Train
from warmth.training.architecture import ALL_LINEAR, NO_TEXT, PackingFit, refuse_unknown_targets
from warmth.training.lora import shorten


class NamedLora(LoraModel):
    """LoRA that refuses a name no layer has, and adapts no vision tower.

    PEFT adapts the names it finds and ignores others.
    """

    def inject_adapter(self, model: Any, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Adapt the layers.

        Raises:
            UserError: a layer to adapt is not there.
        """
        config = self.peft_config[adapter_name]
        refuse_unknown_targets(model, config.target_modules)
        if any(re.fullmatch(NO_TEXT, name) for name, _ in model.named_modules()):
            config.exclude_modules = NO_TEXT
        super().inject_adapter(model, adapter_name, *args, **kwargs)


PEFT_TYPE_TO_TUNER_MAPPING[PeftType.LORA] = NamedLora


def attention_of(recipe: Recipe, fit: PackingFit) -> str:
    """Choose the attention: flash attention or our own segments if rows are packed.

    Else the model's own: TRL's preference trainer pads and does not pack.
    """
    if torch.cuda.is_available() and is_flash_attn_2_available() and fit.packed:
        return "flash_attention_2"
    return fit.own_attention if recipe.method == "dpo" else fit.attention


def load_trained(study: Train, frozen: torch.dtype, fit: PackingFit) -> Any:
    """Load the model with what learns set: every weight, or a new LoRA adapter in float32.

    Args:
        study: model, recipe and seed.
        frozen: dtype of weights that do not learn; those that learn are float32, unless DeepSpeed
        keeps a copy.
        fit: how this model can be trained.

    Raises:
        UserError: a quantised base without a GPU or the extra, or together with method=full.
    """
    recipe = study.recipe
    options: dict[str, Any] = {"attn_implementation": attention_of(recipe, fit)}
    if recipe.quantise != "none":
        options |= quantised(recipe, frozen)
    model = load_model(study.model, frozen, **options)
    if recipe.quantise != "none":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if recipe.method in ("full", "dpo"):
        return model  # TRL adds the adapter itself, so that it knows the original underneath
    set_seed(study.seed)  # the adapter's first values must not depend on how the base was loaded
    adapted = get_peft_model(model, adapter_config(study))
    if study.launcher.get("zero_stage") != 3:
        shorten(adapted)
    return adapted


def adapter_config(study: Train) -> LoraConfig:
    """Write the recipe's LoRA in PEFT's words."""
    recipe = study.recipe
    targets: list[str] | str = ALL_LINEAR
    if study.model.lora_targets and study.model.lora_targets != [ALL_LINEAR]:
        targets = list(study.model.lora_targets)
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
        revision=study.model.revision,
    )


def quantised(recipe: Recipe, compute: torch.dtype) -> dict[str, Any]:
    """Return what `from_pretrained` needs for a base in 8 or 4 bits (4 bits as in QLoRA).

    Raises:
        UserError: there is no GPU, or the extra is not installed.
    """
    if not torch.cuda.is_available() or find_spec("bitsandbytes") is None:
        raise UserError(
            f"recipe.quantise={recipe.quantise} needs a GPU and bitsandbytes "
            "(pip install -e '.[gpu]'); recipe.quantise=none needs neither"
        )
    from transformers import BitsAndBytesConfig

    if recipe.quantise == "8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )
    return {"quantization_config": config}
