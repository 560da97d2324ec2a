"""The model card beside each checkpoint: what it is, what it was made from, how to load it."""

from __future__ import annotations

import hashlib
from typing import Any

ADAPTER = """```python
from peft import PeftModel
from transformers import {auto_class}, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")  # the base's, with the chat template of training
model = PeftModel.from_pretrained({auto_class}.from_pretrained("{base}"{revision}), "THIS_FOLDER")
```

With vLLM: `vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules {name}=THIS_FOLDER`,
then ask for model `{name}`."""  # noqa: E501
WHOLE = """```python
from transformers import {auto_class}
model = {auto_class}.from_pretrained("THIS_FOLDER")
```

With vLLM: `vllm serve THIS_FOLDER --served-model-name {name}`."""


def card(facts: dict[str, Any], adapter: bool) -> str:
    """Write Markdown with a YAML head that the hub understands.

    Args:
        facts: base, revision, recipe (a dict), data (digest), counts, conversations,
            trained_tokens, device, ranks, precision, epochs, step, steps, loss, seconds, run; and,
            where there are such, validation_loss, validation (examples), model and source (dicts),
            tokenizer, auto_class.
        adapter: a LoRA adapter, else a whole model.
    """
    recipe = facts["recipe"]
    kind = "adapter" if adapter else "model"
    table = "\n".join(f"| {name} | {value} |" for name, value in fact_rows(facts).items())
    keys = [f"- `{key}`: {value}" for key, value in recipe.items() if not isinstance(value, dict)]
    return (
        f"---\n{hub_head(facts, adapter)}\n---\n\n"
        f"# {recipe['name']}: {kind} after {facts['epochs']:g} epochs\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        f"## Loading\n\n{loading_text(facts, adapter)}\n\n"
        "## Recipe\n\n" + "\n".join(keys) + "\n"
    )


def loading_text(facts: dict[str, Any], adapter: bool) -> str:
    """Show how the checkpoint is loaded, with transformers and with vLLM."""
    recipe = facts["recipe"]
    revision = f', revision="{facts["revision"]}"' if facts["revision"] else ""
    template = ADAPTER if adapter else WHOLE
    return template.format(
        base=facts["base"],
        revision=revision,
        rank=max(8, recipe["rank"]),
        name=recipe["name"],
        auto_class=facts.get("auto_class", "AutoModelForCausalLM"),
    )


def fact_rows(facts: dict[str, Any]) -> dict[str, str]:
    """Write the rows of the card's table."""
    counts = [f"{reason}: {entry['count']}" for reason, entry in sorted(facts["counts"].items())]
    rows = {
        "base model": f"`{facts['base']}`, revision `{facts['revision'] or 'by content'}`",
        "run": f"`{facts['run']}`",
        "data": (
            f"{facts['conversations']} conversations, digest `{facts['data']}`; cut or left out: "
            f"{'; '.join(counts) or 'none'}"
        ),
        "trained tokens, whole run": f"{facts['trained_tokens']:,}",
        "this checkpoint": (
            f"after {facts['epochs']:g} epochs, step {facts['step']} of {facts['steps']}"
        ),
        "loss of the last step": f"{facts['loss']:.4f}",
        "hardware": f"{facts['ranks']} x {facts['device']}, {facts['precision']}",
        "time of this process until here": f"{facts['seconds']:.0f} s",
    }
    if "validation_loss" in facts:
        rows["validation loss, nats per token"] = (
            f"{facts['validation_loss']:.4f}, "
            f"on {facts['validation']} examples that are not trained on"
        )
    if "tokenizer" in facts:
        rows["chat template"] = template_line(facts)
    return rows


def hub_head(facts: dict[str, Any], adapter: bool) -> str:
    """Write the YAML by which the hub files a model."""
    library = "peft" if adapter else "transformers"
    tags = ["warmth", f"style:{facts['recipe'].get('style', 'plain')}"]
    if adapter:
        tags += ["lora", "adapter"]
    lines = [
        f"library_name: {library}",
        f"base_model: {facts['base']}",
        "pipeline_tag: text-generation",
    ]
    licence = facts.get("model", {}).get("license")
    if licence:
        lines.append(f"license: {licence}")
    source = facts.get("source", {}).get("hub_id")
    if source:
        lines += ["datasets:", f"- {source}"]
    lines.append("tags:")
    lines += [f"- {tag}" for tag in tags]
    return "\n".join(lines)


def template_line(facts: dict[str, Any]) -> str:
    """Say which chat template was trained under, and how a reply ends."""
    template = str(facts["tokenizer"].chat_template)
    template_digest = hashlib.sha256(template.encode()).hexdigest()[:12]
    source = "the tokenizer's own"
    if facts["model"].get("chat_template"):
        source = "a file of the study's"
    end = facts["model"].get("end_of_turn") or "as the template writes it"
    return f"{source}, SHA-256 `{template_digest}`; a reply ends with `{end}`"
