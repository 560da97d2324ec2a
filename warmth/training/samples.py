"""A few replies of the model while it is trained, to look at: greedy, before the first step and at
each checkpoint.

They answer the first prompts of its own set; nothing is computed from them.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from warmth.chat import render
from warmth.schemas import Train
from warmth.store import append_rows, read_rows
from warmth.training.follow import SAMPLES
from warmth.training.packing import SEGMENTS
from warmth.types import Message

TOKENS = 32  # of a reply


class Samples(TrainerCallback):
    """Writes `samples.jsonl` on the rank that writes."""

    def __init__(
        self, folder: Path, tokenizer: Any, prompts: Sequence[str], at_step: dict[int, float]
    ):
        """`prompts` are users' first words; `at_step` has the checkpoints' steps with their
        epochs.
        """
        self.path, self.tokenizer, self.prompts, self.at_step = (
            folder / SAMPLES,
            tokenizer,
            prompts,
            at_step,
        )
        self.trainer: Any = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Write the original's replies; a run that continues has them, and loses those after its
        checkpoint.
        """
        earlier_rows = [row for row in read_rows(self.path) if row["step"] <= state.global_step]
        self.path.unlink(missing_ok=True)
        append_rows(self.path, earlier_rows)
        if state.global_step == 0:
            self.write(model, 0, 0.0)

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Write replies if a checkpoint was kept at this step."""
        epochs = self.at_step.get(state.global_step)
        if epochs is not None and logs and "loss" in logs:
            self.write(model, state.global_step, epochs)

    def write(self, model: Any, step: int, epochs: float) -> None:
        """Append one row for each prompt; the model is left as it was."""
        inner = model if hasattr(model, "generate") else model.module
        with answering(inner):
            rows = [
                {
                    "step": step,
                    "epoch": epochs,
                    "prompt": prompt,
                    "reply": self.reply(inner, prompt),
                }
                for prompt in self.prompts
            ]
        append_rows(self.path, rows)

    @torch.no_grad()
    def reply(self, model: Any, prompt: str) -> str:
        """Continue one prompt greedily."""
        text = render(self.tokenizer, [Message("user", prompt)], reply=True)
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"].to(
            model.device
        )
        with self.trainer.autocast():
            generated = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=TOKENS,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        return str(
            self.tokenizer.decode(generated[0, ids.shape[1] :], skip_special_tokens=True)
        ).strip()


@contextmanager
def answering(model: Any) -> Generator[None]:
    """Let a model that is being trained answer one prompt at a time, without the attention of
    packed rows.
    """
    was_training = model.training
    configs = {
        id(module.config): module.config for module in model.modules() if hasattr(module, "config")
    }
    packed = [
        config
        for config in configs.values()
        if getattr(config, "_attn_implementation", None) == SEGMENTS
    ]
    model.eval()
    for config in packed:
        config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        for config in packed:
            config._attn_implementation = SEGMENTS
        model.train(was_training)


def prompts_of(rows: Sequence[dict[str, Any]], count: int) -> list[str]:
    """Take the first words of the first conversations, each once."""
    words = [
        str(row["messages"][0]["content"]) for row in rows if row["messages"][0]["role"] == "user"
    ]
    return list(dict.fromkeys(words))[:count]


def writes_samples(study: Train) -> bool:
    """Tell whether samples are wanted and can be had: a tracker shows them, and each rank has the
    whole model.
    """
    divided = study.launcher.get("zero_stage", 0) == 3
    is_shown = any(name != "none" for name in study.logger)
    return study.sample_replies > 0 and is_shown and not divided
