"""A few replies of the model while it is trained, to look at.

They are greedy, from before the first step and from each checkpoint. They answer
the first prompts of its own set; nothing is computed from them.
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
        """Take what is asked, and when.

        Args:
            folder: of the run.
            tokenizer: the model's.
            prompts: users' first words.
            at_step: optimiser step of each checkpoint → its epochs.
        """
        self.path = folder / SAMPLES
        self.tokenizer = tokenizer
        self.prompts = prompts
        self.at_step = at_step
        self.trainer: Any = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Write the original's replies.

        A run that continues has them, and loses those after its checkpoint.
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
        """Write replies if a checkpoint was saved at this step."""
        epochs = self.at_step.get(state.global_step)
        if epochs is not None and logs and "loss" in logs:
            self.write(model, state.global_step, epochs)

    def write(self, model: Any, step: int, epochs: float) -> None:
        """Append one row for each prompt; the model is left as it was."""
        inner = model if hasattr(model, "generate") else model.module
        rows = []
        with answering(inner):
            for prompt in self.prompts:
                reply = self.reply(inner, prompt)
                rows.append({"step": step, "epoch": epochs, "prompt": prompt, "reply": reply})
        append_rows(self.path, rows)

    @torch.no_grad()
    def reply(self, model: Any, prompt: str) -> str:
        """Continue one prompt greedily."""
        text = render(self.tokenizer, [Message("user", prompt)], reply=True)
        encoded = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")
        ids = encoded["input_ids"].to(model.device)
        with self.trainer.autocast():
            generated = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=TOKENS,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        reply_ids = generated[0, ids.shape[1] :]
        return str(self.tokenizer.decode(reply_ids, skip_special_tokens=True)).strip()


@contextmanager
def answering(model: Any) -> Generator[None]:
    """Let a model that is being trained answer one prompt at a time.

    Meanwhile it has not the attention of packed rows.
    """
    was_training = model.training
    packed: list[Any] = []
    for module in model.modules():
        config = getattr(module, "config", None)
        if getattr(config, "_attn_implementation", None) == SEGMENTS:
            packed.append(config)
    model.eval()
    for config in packed:
        config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        for config in packed:
            config._attn_implementation = SEGMENTS
        model.train(was_training)


def sample_prompts(rows: Sequence[dict[str, Any]], count: int) -> list[str]:
    """Take the users' first words of the first conversations, each text once."""
    openings = [row["messages"][0] for row in rows]
    prompts = [str(message["content"]) for message in openings if message["role"] == "user"]
    return list(dict.fromkeys(prompts))[:count]


def writes_samples(study: Train) -> bool:
    """Tell whether samples are asked for, are shown by a tracker, and can be had.

    Each rank must hold the whole model.
    """
    divided = study.launcher.get("zero_stage", 0) == 3
    is_shown = any(name != "none" for name in study.logger)
    return study.sample_replies > 0 and is_shown and not divided
