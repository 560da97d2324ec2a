"""Supervised tokens a second of a training run, beside Trainer and TRL on the same conversations.

python bench/training.py [--conversations 48] [--precision bfloat16 float32] [--kinds
trainer-grouped]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from hydra import compose, initialize_config_dir
from peers import DATA, peer, table

from warmth.build import build
from warmth.chat import encode
from warmth.config import strict
from warmth.data.arms import TrainingExample
from warmth.digest import ROOT
from warmth.models import load_model, load_tokenizer
from warmth.schemas import Train, register
from warmth.store import Run, read_json, read_rows
from warmth.types import Message

ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


def conversations(count: int) -> list[TrainingExample]:
    """The first conversations of the sample file, as they are."""
    rows = json.loads(
        (DATA / "sharegpt_vicuna_unfiltered" / "sharegpt_like.json").read_text(encoding="utf-8")
    )
    return [
        TrainingExample(
            row["id"],
            "other",
            "plain",
            tuple(Message(ROLES[turn["from"]], turn["value"]) for turn in row["conversations"]),
        )
        for row in rows[:count]
    ]


def ours(count: int, precision: str) -> dict[str, object]:
    """One epoch through `train.py`'s own launcher; rates over all steps, the first included,
    loading excluded.
    """
    register()
    overrides = [
        "logger=none",
        f"recipe.precision={precision}",
        "recipe.learning_rate=2e-4",
        "recipe.schedule=constant",
        "recipe.dropout=0",
        "recipe.batch_size=16",
        "recipe.epochs=1",
        "recipe.max_length=1024",
        "recipe.too_long=token",
        "recipe.untrainable=drop",
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        study = strict(compose("train", overrides), Train)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run")
        with run.open(study):
            build(study.launcher, "launcher").train(run, study, conversations(count))
        rows, memory = (
            list(read_rows(run.folder / "metrics.jsonl")),
            read_json(run.folder / "summary.json")["memory"],
        )
        after = held_out(
            study, run.folder / "checkpoints" / "epoch-1", conversations(count + 16)[count:]
        )
    seconds, trained = (
        sum(row["seconds"] for row in rows),
        sum(row["trained_tokens"] for row in rows),
    )
    return row_of(
        f"warmth, {precision}", trained / seconds, seconds, len(rows), after, memory["measured_gib"]
    )


def row_of(
    tool: str, rate: float, seconds: float, steps: int, held: float, gib: float
) -> dict[str, object]:
    """One line of the table."""
    names = ("tool", "supervised tokens/s", "s", "steps", "held-out loss after", "peak GiB")
    return dict(zip(names, (tool, rate, seconds, steps, f"{held:.4f}", gib), strict=True))


def held_out(study: Train, adapter: Path, examples: list[TrainingExample]) -> float:
    """Loss per trained token on conversations nobody trained on, as the peers' script measures
    it.
    """
    import torch
    from peft import PeftModel

    tokenizer = load_tokenizer(study.model)
    model = PeftModel.from_pretrained(load_model(study.model, torch.bfloat16), adapter).eval()
    total = count = 0.0
    for example in examples:
        one = encode(tokenizer, example.messages, 10**6, "assistant", study.model.end_of_turn)
        ids, trained = torch.tensor([one.ids[:1024]]), torch.tensor(one.trained[1:1024])
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
        total -= scores[trained].gather(-1, ids[0, 1:][trained, None]).sum().item()
        count += int(trained.sum())
    return total / count


def main() -> None:
    """Runs ours and the peers one after another and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=48)
    parser.add_argument("--precision", nargs="*", default=["bfloat16"])
    parser.add_argument("--kinds", nargs="*", default=["trainer-grouped", "trainer", "trl-packed"])
    args = parser.parse_args()
    rows = [ours(args.conversations, precision) for precision in args.precision]
    for kind in args.kinds:
        # TRL's packs hold about 2.4 conversations each, so 7 of them make its step
        shape = ["1", "--accum", "7"] if kind == "trl-packed" else ["4", "--accum", "4"]
        row = peer(
            "sft.py",
            "--kind",
            kind,
            "--n",
            str(args.conversations),
            "--steps",
            "-1",
            "--per-device",
            *shape,
        )
        if row:
            rate, gib, tool = (
                row["supervised_tok_s"],
                row["peak_rss_mib"] / 1024,
                f"{row['version']} {kind}",
            )
            rows.append(
                row_of(tool, rate, row["train_s"], row["steps"], row["held_out_after"], gib)
            )
    table(
        "LoRA fine-tuning of SmolLM2-135M-Instruct, one epoch, global batch 16, length 1,024", rows
    )


if __name__ == "__main__":
    main()
