"""Supervised tokens a second of a training run, beside Trainer and TRL on the same conversations.

python bench/training.py [--conversations 48] [--precision bfloat16]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from hydra import compose, initialize_config_dir
from peers import DATA, peer, table

from warmth.build import build
from warmth.config import strict
from warmth.data.arms import Example
from warmth.digest import ROOT
from warmth.schemas import Train, register
from warmth.store import Run, read_rows
from warmth.types import Message

ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


def conversations(count: int) -> list[Example]:
    """The first conversations of the sample file, as they are."""
    rows = json.loads((DATA / "sharegpt_vicuna_unfiltered" / "sharegpt_like.json").read_text(encoding="utf-8"))
    return [
        Example(
            row["id"],
            "other",
            "plain",
            tuple(Message(ROLES[turn["from"]], turn["value"]) for turn in row["conversations"]),
        )
        for row in rows[:count]
    ]


def ours(count: int, precision: str) -> dict[str, object]:
    """One epoch through `train.py`'s own launcher; rates over all steps, the first included, loading excluded."""
    register()
    overrides = [
        "logger=none", f"recipe.precision={precision}", "recipe.learning_rate=2e-4", "recipe.schedule=constant",
        "recipe.dropout=0", "recipe.batch_size=4", "recipe.epochs=1", "recipe.max_length=1024", "launcher.per_device=4",
    ]  # fmt: skip
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        study = strict(compose("train", overrides), Train)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run")
        with run.open(study):
            build(study.launcher, "launcher").train(run, study, conversations(count))
        rows = list(read_rows(run.folder / "metrics.jsonl"))
    seconds, trained = sum(row["seconds"] for row in rows), sum(row["trained_tokens"] for row in rows)
    last = sum(row["loss"] for row in rows[-4:]) / 4
    return {
        "tool": f"warmth, {precision}",
        "supervised tokens/s": trained / seconds,
        "s": seconds,
        "loss, last 4": last,
    }


def main() -> None:
    """Runs ours and the peers one after another and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=48)
    parser.add_argument("--precision", nargs="+", default=["bfloat16", "float32"])
    args = parser.parse_args()
    rows = [ours(args.conversations, precision) for precision in args.precision]
    common = ["--n", str(args.conversations), "--steps", "-1"]
    for kind, shape in (
        ("trainer-grouped", ["--per-device", "4", "--accum", "1"]),
        ("trainer", ["--per-device", "4", "--accum", "1"]),
        ("trl-packed", ["--per-device", "1", "--accum", "2"]),
    ):
        row = peer("sft.py", "--kind", kind, *common, *shape)
        if row:
            rate, loss = row["supervised_tok_s"], row["loss_last4"]
            rows.append(
                {
                    "tool": row["version"] + " " + kind,
                    "supervised tokens/s": rate,
                    "s": row["train_s"],
                    "loss, last 4": loss,
                }
            )
    table("LoRA fine-tuning of SmolLM2-135M-Instruct, one epoch", rows)


if __name__ == "__main__":
    main()
