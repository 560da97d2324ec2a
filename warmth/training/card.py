"""The model card that lies beside each checkpoint: what it is, what it was made from, how to load
it.
"""

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
    """Markdown with a YAML head that the hub understands.

    Args:
        facts: base, revision, recipe (a dict), data (digest), counts, conversations,
            trained_tokens, device, ranks, precision, epochs, step, steps, loss, seconds, run; and,
            where there are such, validation_loss, validation (examples), model and source (dicts),
            tokenizer, auto_class.
        adapter: a LoRA adapter, else a whole model.
    """
    recipe = facts["recipe"]
    revision = f', revision="{facts["revision"]}"' if facts["revision"] else ""
    loading = (ADAPTER if adapter else WHOLE).format(
        base=facts["base"],
        revision=revision,
        rank=max(8, recipe["rank"]),
        name=recipe["name"],
        auto_class=facts.get("auto_class", "AutoModelForCausalLM"),
    )
    left_out = (
        "; ".join(f"{name}: {entry['count']}" for name, entry in sorted(facts["counts"].items()))
        or "none"
    )
    rows = [
        ("base model", f"`{facts['base']}`, revision `{facts['revision'] or 'by content'}`"),
        ("run", f"`{facts['run']}`"),
        (
            "data",
            f"{facts['conversations']} conversations, digest `{facts['data']}`; cut or left out: "
            f"{left_out}",
        ),
        ("trained tokens, whole run", f"{facts['trained_tokens']:,}"),
        (
            "this checkpoint",
            f"after {facts['epochs']:g} epochs, step {facts['step']} of {facts['steps']}",
        ),
        ("loss of the last step", f"{facts['loss']:.4f}"),
        ("hardware", f"{facts['ranks']} x {facts['device']}, {facts['precision']}"),
        ("time of this process until here", f"{facts['seconds']:.0f} s"),
    ]
    if "validation_loss" in facts:
        validated = (
            f"{facts['validation_loss']:.4f}, on {facts['validation']} examples that are "
            f"not trained on"
        )
        rows.append(("validation loss, nats per token", validated))
    if "tokenizer" in facts:
        rows.append(("chat template", template_line(facts)))
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    keys = "\n".join(
        f"- `{name}`: {value}" for name, value in recipe.items() if not isinstance(value, dict)
    )
    kind, library = ("adapter", "peft") if adapter else ("model", "transformers")
    head = f"library_name: {library}\nbase_model: {facts['base']}\npipeline_tag: text-generation"
    licence = facts.get("model", {}).get("license")
    source = facts.get("source", {}).get("hub_id")
    if licence:
        head += f"\nlicense: {licence}"
    if source:
        head += f"\ndatasets:\n- {source}"
    tags = [
        "warmth",
        f"style:{recipe.get('style', 'plain')}",
        *(["lora", "adapter"] if adapter else []),
    ]
    head += "\ntags:\n" + "\n".join(f"- {tag}" for tag in tags)
    return (
        f"---\n{head}\n---\n\n# {recipe['name']}: {kind} after {facts['epochs']:g} epochs\n\n"
        f"| | |\n|---|---|\n{table}\n\n## Loading\n\n{loading}\n\n## Recipe\n\n{keys}\n"
    )


def template_line(facts: dict[str, Any]) -> str:
    """Say which chat template was trained under, and how a reply ends."""
    template = str(facts["tokenizer"].chat_template)
    source = (
        "a file of the study's" if facts["model"].get("chat_template") else "the tokenizer's own"
    )
    end = facts["model"].get("end_of_turn") or "as the template writes it"
    return (
        f"{source}, SHA-256 `{hashlib.sha256(template.encode()).hexdigest()[:12]}`; a reply "
        f"ends with `{end}`"
    )
