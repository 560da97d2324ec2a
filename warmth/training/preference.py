"""Preference tuning: TRL's DPOTrainer on this project's pairs, order and global batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accelerate.utils import gather, pad_across_processes
from datasets import Dataset
from torch import Tensor
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from warmth.training.examples import PreferencePair
from warmth.training.resume import learnt
from warmth.training.trainer import OwnOrder

EMPTY = [(0, 0.0)]  # a pass without pairs computes one and counts it nothing


@dataclass(frozen=True)
class Shared:
    """Pairs by (index, share): each knows what part of its step's loss it is."""

    pairs: Sequence[PreferencePair]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: tuple[int, float]) -> dict[str, Any]:
        return {**preference_columns(self.pairs[key[0]]), "share": key[1]}


def preference_columns(pair: PreferencePair) -> dict[str, list[int]]:
    """Write a pair in TRL's words."""
    return {
        "prompt_ids": list(pair.prompt),
        "chosen_ids": list(pair.chosen),
        "rejected_ids": list(pair.rejected),
    }


def shared_passes(
    passes: list[list[int]], batches: list[list[int]], accumulation: int, ranks: int
) -> list[list[tuple[int, float]]]:
    """Weigh each pass's pairs, so that the mean over passes and ranks is the global batch's."""
    shared = []
    for number, indices in enumerate(passes):
        share = accumulation * ranks / len(batches[number // accumulation])
        shared.append([(index, share) for index in indices] or EMPTY)
    return shared


def gather_rows(values: Tensor) -> Tensor:
    """Gather the values of all ranks' pairs (P,), which are only logged; NaN values are left out.

    Ranks may hold different numbers of pairs: a plain gather aborts or waits forever then.
    """
    padded = pad_across_processes(values, pad_index=math.nan)
    everyone = gather(padded)
    return everyone[~everyone.isnan()]


class PreferenceTrainer(OwnOrder, DPOTrainer):
    """DPO whose loss is the mean over the global batch's pairs, however ranks divide them."""

    def __init__(
        self, *args: Any, train_dataset: Sequence[PreferencePair], pad_id: int, **kwargs: Any
    ):
        collate = DataCollatorForPreference(pad_token_id=pad_id)

        def with_share(rows: Sequence[dict[str, Any]]) -> dict[str, Tensor | float]:
            return {**collate(rows), "share": sum(row["share"] for row in rows)}

        # TRL asks for a Dataset; the pass order below reads the pairs themselves.
        rows = Dataset.from_list([preference_columns(train_dataset[0])])
        super().__init__(*args, train_dataset=rows, data_collator=with_share, **kwargs)
        self.train_dataset = Shared(train_dataset)
        # TRL gathers values of pairs, of which ranks hold different numbers.
        self.accelerator.gather = gather_rows
        for _, weight in learnt(self.model):
            # TRL leaves a new adapter in the base's dtype under ZeRO-3.
            if not hasattr(weight, "ds_id"):
                weight.data = weight.data.float()

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        """Leave the pairs as they are: tokens, rendered in the one place for chats."""
        return dataset

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Weigh TRL's mean over a pass by the pass's share of the global batch."""
        share = inputs.pop("share")
        with self.autocast():
            mean = super().compute_loss(model, inputs)
        return mean * share


def preference_arguments(values: dict[str, Any], beta: float) -> DPOConfig:
    """Return the recipe in TRL's words; dropout stays the recipe's."""
    return DPOConfig(**values, beta=beta, max_length=None, disable_dropout=False)
