"""What a run leaves behind: adapters (or whole models) after its epochs, checked, with a card."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import TrainerCallback

from warmth.chat import Encoded
from warmth.errors import RunFailed
from warmth.store import read_json, write_json
from warmth.training.card import card
from warmth.training.resume import COMPLETE, learnt, master

PROBES = 8  # conversations whose greedy tokens are compared
MOVED = 0.01  # nats; a log-probability that moved by less is rounding in bfloat16


class Checkpoints(TrainerCallback):
    """Saves what was learnt after the recipe's epochs, and marks whole resume checkpoints."""

    def __init__(
        self,
        folder: Path,
        at_step: dict[int, float],
        facts: dict[str, Any],
        probe: Probe,
        validation: ValidationLoss,
    ):
        self.folder = folder
        self.at_step = at_step
        self.facts = facts
        self.probe = probe
        self.validation = validation
        self.started = time.perf_counter()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note the original's greedy tokens before the first step: they have to change."""
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
        """Save when the step has come; every step is logged, and by then its loss is known."""
        epochs = self.at_step.get(state.global_step)
        if epochs is None or not logs or "loss" not in logs:
            return
        facts = {
            **self.facts,
            "epochs": epochs,
            "step": state.global_step,
            "steps": state.max_steps,
            "loss": float(logs["loss"]),
            "seconds": time.perf_counter() - self.started,
        }
        if self.validation.batches:
            facts["validation_loss"] = self.validation.loss()
            # read by `Progress`, which is called after this
            logs["validation_loss"] = facts["validation_loss"]
        target = self.folder / "checkpoints" / f"epoch-{epochs:g}"
        save_checkpoint(model, target, facts, state.is_world_process_zero)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark a resume checkpoint as whole; called on every rank after its part is on disk."""
        barrier()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def barrier() -> None:
    """Wait for all ranks, if there are several."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def save_checkpoint(model: Any, target: Path, facts: dict[str, Any], writes: bool) -> None:
    """Write a plain PEFT adapter in float32, or a whole model, whole or not at all.

    Both are safetensors. Every rank calls it (ZeRO-3 gathers); the rank that writes checks and puts
    the model card beside.
    """
    inner = model if hasattr(model, "save_pretrained") else model.module
    is_adapter = isinstance(inner, PeftModel)
    dtype = torch.float32 if is_adapter else torch.bfloat16
    weights: dict[str, Any] = {}
    for name, weight in learnt(model):
        value = master(weight)  # one at a time: a whole model need not fit beside the parts
        if writes:
            weights[name] = value.detach().to("cpu", dtype).clone()
    if not writes:
        return
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    if is_adapter:
        name_base(inner, facts)
        # Embeddings are never trained with LoRA here. To find that out, PEFT would look the base up
        # on the hub.
        inner.save_pretrained(partial, state_dict=weights, save_embedding_layers=False)
        check_adapter(partial)
    else:
        check_finite(weights)
        inner.save_pretrained(partial, state_dict=weights)
    if "tokenizer" in facts:
        facts["tokenizer"].save_pretrained(partial)  # with the chat template it was trained under
    (partial / "README.md").write_text(card(facts, is_adapter), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def name_base(model: PeftModel, facts: dict[str, Any]) -> None:
    """Name the base in the adapter's config by its hub id, as others can load it.

    A folder of this machine is never named.
    """
    for config in model.peft_config.values():
        config.base_model_name_or_path = facts["base"]
        config.revision = facts["revision"]


def check_finite(weights: dict[str, Any]) -> None:
    """Refuse weights that are not numbers: they are never saved.

    Raises:
        RunFailed: one is not finite, or there are none.
    """
    if not weights or not all(tensor.numel() for tensor in weights.values()):
        raise RunFailed("the adapter is empty")
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise RunFailed(f"the weights are not finite ({name}): lower recipe.learning_rate")


class ValidationBatches:
    """A few conversations, each a forward pass of its own, computed by the model in training."""

    def __init__(self, examples: Sequence[Any], collate: Any):
        self.batches = [collate([conversation_of(example)]) for example in examples]
        self.trainer: Any = None  # set once it exists

    @torch.no_grad()
    def outputs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield for each conversation, with its N trained places, what the model says there.

        Every rank computes, as ZeRO-3 needs all. The model is left in the mode it was in.

        Yields:
            (N, vocabulary) logits in float32; (N,) log-probabilities of trained tokens, in nats.
        """
        model = self.trainer.model_wrapped
        device = self.trainer.args.device
        training = model.training
        model.eval()
        for batch in self.batches:
            inputs = {}
            for key, value in batch.items():
                inputs[key] = value.to(device) if isinstance(value, Tensor) else value
            targets = inputs.pop("labels")[0, 1:]
            with self.trainer.autocast():
                logits = model(**inputs, use_cache=False).logits[0].float()
            yield logits, logits.log_softmax(-1).gather(-1, targets[:, None])[:, 0]
        model.train(training)


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
            "the adapter changes nothing (every B is zero): "
            "raise recipe.learning_rate or recipe.epochs"
        )


def conversation_of(example: Any) -> Encoded:
    """Return an example as a conversation: of a pair, the one with the preferred reply."""
    if isinstance(example, Encoded):
        return example
    ids = example.prompt + example.chosen
    return Encoded(ids, example.trained[: len(ids)], cut=False)


class ValidationLoss(ValidationBatches):
    """Conversations that are not trained on."""

    def loss(self) -> float:
        """Compute the mean loss of their replies' tokens, in nats; every rank calls it."""
        total = 0.0
        count = 0
        for _, scores in self.outputs():
            total -= scores.sum().item()
            count += len(scores)
        return total / count


class Probe(ValidationBatches):
    """Compares what a model finds likeliest at trained places before and after training."""

    def __init__(self, folder: Path, examples: Sequence[Any], collate: Any, writes: bool):
        shortest = sorted(examples, key=lambda example: len(example.ids))[:PROBES]
        super().__init__(shortest, collate)
        self.path = folder / "resume" / "probe.json"
        self.writes = writes

    def measure(self) -> list[list[tuple[int, float]]]:
        """Return for each place of each probe the greedy token and the trained one's score.

        The score is a log-probability in nats. Every rank calls it.
        """
        measured = []
        for logits, scores in self.outputs():
            greedy = logits.argmax(-1)
            measured.append(list(zip(greedy.tolist(), scores.tolist(), strict=True)))
        return measured

    def before(self) -> None:
        """Write the original's answers down, for a run that another process may continue."""
        measured = self.measure()
        if self.writes:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, measured)

    def check(self) -> dict[str, float]:
        """Count the greedy tokens that changed, and find the largest change of a score in nats.

        Raises:
            RunFailed: no greedy token changed, and no probability by more than rounding.
        """
        after = list(chain.from_iterable(self.measure()))
        if not self.writes:
            return {}
        before = list(chain.from_iterable(read_json(self.path)))
        changed = 0
        largest_change = 0.0
        for (token, score), (new_token, new_score) in zip(before, after, strict=True):
            changed += token != new_token
            largest_change = max(largest_change, abs(score - new_score))
        if not changed and largest_change < MOVED:
            raise RunFailed(
                f"training changed none of {len(after)} greedy tokens of the probe conversations, "
                f"and no probability by more than {largest_change:.1g} nats: "
                "raise recipe.learning_rate or recipe.epochs"
            )
        return {"tokens": len(after), "changed": changed, "moved_nats": largest_change}
