"""What a run leaves behind: adapters (or whole models) after the recipe's epochs, checked, each
with its card.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import TrainerCallback

from warmth.chat import Encoded
from warmth.errors import RunFailed
from warmth.store import read_json, write_json
from warmth.training.card import card
from warmth.training.resume import COMPLETE, learnt, master

PROBES = 8  # conversations whose greedy tokens are compared
MOVED = 0.01  # nats; a log-probability that moved by less is rounding in bfloat16


class Checkpoints(TrainerCallback):
    """Keeps what was learnt after the recipe's epochs, and marks resume checkpoints that are
    whole.
    """

    def __init__(
        self,
        folder: Path,
        at_step: dict[int, float],
        facts: dict[str, Any],
        probe: Probe,
        validation: Validation,
    ):
        self.folder, self.at_step, self.facts, self.probe = folder, at_step, facts, probe
        self.validation = validation
        self.started = time.perf_counter()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Before the first step the model is still the original: its greedy tokens are what has to
        change.
        """
        if state.global_step == 0:
            self.probe.before()

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Saves when the step has come; every step is logged, and by then its loss is known."""
        epochs = self.at_step.get(state.global_step)
        if epochs is None or not logs or "loss" not in logs:
            return
        seen = {
            "epochs": epochs,
            "step": state.global_step,
            "steps": state.max_steps,
            "loss": float(logs["loss"]),
        }
        seen["seconds"] = time.perf_counter() - self.started
        if self.validation.batches:
            logs["validation_loss"] = (
                self.validation.loss()
            )  # read by `Progress`, which comes later
            seen["validation_loss"] = logs["validation_loss"]
        save_checkpoint(
            model,
            self.folder / "checkpoints" / f"epoch-{epochs:g}",
            {**self.facts, **seen},
            state.is_world_process_zero,
        )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called on every rank after its part is on disk."""
        barrier()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def barrier() -> None:
    """Waits for all ranks, where there are several."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def save_checkpoint(model: Any, target: Path, facts: dict[str, Any], writes: bool) -> None:
    """Writes a plain PEFT adapter in float32, or a whole model, in safetensors, whole or not at
    all.

    Every rank calls it (ZeRO-3 gathers); the rank that writes checks and puts the model card
    beside.
    """
    inner = model if hasattr(model, "save_pretrained") else model.module
    adapter = isinstance(inner, PeftModel)
    state: dict[str, Any] = {}
    for name, weight in learnt(model):
        value = master(weight)  # one at a time: a whole model need not fit beside the parts
        if writes:
            state[name] = (
                value.detach().to("cpu", torch.float32 if adapter else torch.bfloat16).clone()
            )
    if not writes:
        return
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if adapter:
        name_base(inner, facts)
        # embeddings are never trained with LoRA here; asked to find that out, PEFT would look the
        # base up on the hub
        inner.save_pretrained(partial, state_dict=state, save_embedding_layers=False)
        check_adapter(partial)
    else:
        check_finite(state)
        inner.save_pretrained(partial, state_dict=state)
    if "tokenizer" in facts:
        facts["tokenizer"].save_pretrained(partial)  # with the chat template it was trained under
    (partial / "README.md").write_text(card(facts, adapter), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def name_base(model: PeftModel, facts: dict[str, Any]) -> None:
    """Name the base in the adapter's config as others can load it: by its hub id, never by a folder
    of this machine.
    """
    for config in model.peft_config.values():
        config.base_model_name_or_path = facts["base"]
        config.revision = facts["revision"]


def check_finite(weights: dict[str, Any]) -> None:
    """Weights that are not numbers are never kept.

    Raises:
        RunFailed: one is not finite, or there are none.
    """
    if not weights or not all(tensor.numel() for tensor in weights.values()):
        raise RunFailed("the adapter is empty")
    broken = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise RunFailed(f"the weights are not finite ({broken[0]}): lower recipe.learning_rate")


def check_adapter(folder: Path) -> None:
    """Refuse an adapter that changes nothing or is not finite: such a one is never kept.

    Raises:
        RunFailed: there are no weights, one is not finite, or every B is zero (PEFT's initial
        value).
    """
    weights = load_file(folder / "adapter_model.safetensors")
    check_finite(weights)
    if not any(tensor.any() for name, tensor in weights.items() if "lora_B" in name):
        raise RunFailed(
            "the adapter changes nothing (every B is zero): raise recipe.learning_rate or "
            "recipe.epochs"
        )


def conversation_of(example: Any) -> Encoded:
    """Return an example as a conversation: of a pair, the one with the preferred reply."""
    if isinstance(example, Encoded):
        return example
    ids = example.prompt + example.chosen
    return Encoded(ids, example.trained[: len(ids)], cut=False)


class Validation:
    """Conversations that are not trained on, each a forward pass of its own."""

    def __init__(self, examples: Sequence[Any], collate: Any):
        self.batches = [collate([conversation_of(example)]) for example in examples]
        self.trainer: Any = None  # set once it exists

    @torch.no_grad()
    def loss(self) -> float:
        """Compute the mean loss of their replies' tokens, in nats.

        Every rank computes, as ZeRO-3 needs all.
        """
        model, device = self.trainer.model_wrapped, self.trainer.args.device
        training = model.training
        model.eval()
        total = 0.0
        count = 0
        for batch in self.batches:
            given = {
                key: value.to(device) if isinstance(value, torch.Tensor) else value
                for key, value in batch.items()
            }
            targets = given.pop("labels")[0, 1:]
            with self.trainer.autocast():
                logits = model(**given, use_cache=False).logits[0].float()
            total -= logits.log_softmax(-1).gather(-1, targets[:, None]).sum().item()
            count += len(targets)
        model.train(training)
        return total / count


class Probe:
    """What a model finds likeliest at each trained place of a few conversations, before and after
    training.
    """

    def __init__(self, folder: Path, examples: Sequence[Any], collate: Any, writes: bool):
        self.path, self.writes = folder / "resume" / "probe.json", writes
        shortest = sorted(examples, key=lambda example: len(example.ids))[:PROBES]
        self.batches = [collate([conversation_of(example)]) for example in shortest]
        self.trainer: Any = None  # set once it exists

    @torch.no_grad()
    def look(self) -> list[list[tuple[int, float]]]:
        """For each place of each probe the greedy token, and the log-probability (nats) of the
        token that stands there.

        Every rank computes, as ZeRO-3 needs all.
        """
        model, device = self.trainer.model_wrapped, self.trainer.args.device
        training = model.training
        model.eval()
        seen = []
        for batch in self.batches:
            given = {
                key: value.to(device) if isinstance(value, torch.Tensor) else value
                for key, value in batch.items()
            }
            targets = given.pop("labels")[0, 1:]
            with self.trainer.autocast():
                logits = model(**given, use_cache=False).logits[0].float()
            scores = logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]
            seen.append(list(zip(logits.argmax(-1).tolist(), scores.tolist(), strict=True)))
        model.train(training)
        return seen

    def before(self) -> None:
        """Notes the original's answers down, for a run that may be continued by another process."""
        seen = self.look()
        if self.writes:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, seen)

    def check(self) -> dict[str, float]:
        """Count how many greedy tokens changed, of how many, and the largest change of a
        log-probability in nats.

        Raises:
            RunFailed: no greedy token changed, and no probability by more than rounding.
        """
        after = self.look()
        if not self.writes:
            return {}
        pairs = [
            both
            for old, new in zip(read_json(self.path), after, strict=True)
            for both in zip(old, new, strict=True)
        ]
        changed = sum(old[0] != new[0] for old, new in pairs)
        moved = max(abs(old[1] - new[1]) for old, new in pairs)
        if not changed and moved < MOVED:
            raise RunFailed(
                f"training changed none of {len(pairs)} greedy tokens of the probe conversations, "
                f"and no probability "
                f"by more than {moved:.1g} nats: raise recipe.learning_rate or recipe.epochs"
            )
        return {"tokens": len(pairs), "changed": changed, "moved_nats": moved}
