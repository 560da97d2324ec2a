"""The whole study in miniature, by commands a user would type: `make demo`, or `warmth demo`.

Arms are finished one by one, the original and the first trained one first, and the page is written
anew after each: so there is something to look at long before the last arm is done.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from warmth.command_line import typed
from warmth.errors import guarded
from warmth.models import choose_dtype, embedded_folder, multiply_seconds
from warmth.paths import ROOT
from warmth.text import duration

STUDY = Path("multirun/demo")
PAGE = Path("reports/demo")
# Arithmetic of the demo in TFLOP, counted from its tokens (2 · 134.5 M parameters a token; LoRA
# training three times that): 24 steps of a thousand tokens; of an arm 48 answers, 20 replies with
# their scores, 320 prompts of 40 tokens whose replies are weighed. And the share of the rate of a
# bare matrix product that all this reached on two cores.
TRAINING_TFLOP = 24 * 0.135 * 2 * 3
EVALUATION_TFLOP = (48 * 200 + 20 * (98 + 8 * 58) + 320 * 40) * 0.135 * 2 / 1000
REACHED = 0.55
STARTS_S = 35  # for each arm: its processes import torch and load the model


def demo_arms() -> list[str]:
    """Read the demo's arms from its experiment, the original first."""
    content = yaml.safe_load(
        (ROOT / "conf" / "experiment" / "demo_evaluate.yaml").read_text(encoding="utf-8")
    )
    axis = str(content["hydra"]["sweeper"]["params"]["recipe"])
    return [name.strip() for name in axis.split(",")]


def rounds(names: Sequence[str]) -> Iterator[list[list[str]]]:
    """Yield the commands of each round: train an arm, evaluate it, write the page; the original in
    the first round.

    Args:
        names: the arms, `none` among them.
    """
    waiting = ["none"]  # evaluated together with the next arm
    for name in names:
        if name == "none":
            continue
        evaluated = ",".join([*waiting, name])
        yield [
            ["train", "-m", "experiment=demo_train", f"recipe={name}"],
            ["evaluate", "-m", "experiment=demo_evaluate", f"recipe={evaluated}"],
            ["report", str(STUDY), "--out", str(PAGE)],
        ]
        waiting = []


def estimate_s(trained: int) -> float:
    """Estimate the seconds that the original and so many trained arms will take here, from the
    speed of one matrix product.
    """
    rate = 2 * 1024**3 * 2 / multiply_seconds(choose_dtype("auto")) / 1e12
    work = trained * TRAINING_TFLOP + (trained + 1) * EVALUATION_TFLOP
    return STARTS_S * (trained + 1) + work / rate / REACHED


@guarded
def main() -> None:
    """Say how long it will take, then train, evaluate and report arm by arm; what is done already
    is not done again.
    """
    embedded_folder()
    names = demo_arms()
    trained = len(names) - 1
    print(
        f"The study in miniature: the original and {trained} trained arms; answers, likelihoods, "
        f"a warmth score. The first page comes after two arms, in about "
        f"{duration(estimate_s(1))} here, the last in about {duration(estimate_s(trained))}; what "
        f"is done already takes seconds.",
        flush=True,
    )
    started = time.monotonic()
    for number, commands in enumerate(rounds(names), 1):
        for words in commands:
            run_step(words, f"{number}/{trained}")
        page = f"page after {number + 1} of {len(names)} arms: {(PAGE / 'report.html').resolve()}"
        print(f"{page} ({spent(started)})", flush=True)


def run_step(words: Sequence[str], place: str) -> None:
    """Run one command in a process of its own; end with its exit code if it fails."""
    typed_words = ["warmth", *words]
    if words[0] in ("train", "evaluate"):
        typed_words = [typed(words[0]), *words[1:]]
    print(f"\n{place}  {' '.join(typed_words)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "warmth.cli", *words]).returncode
    if code:
        sys.exit(code)


def spent(started: float) -> str:
    """Say how long the demo has taken so far, and how much of that the processors worked."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        f"{duration(time.monotonic() - started)}, {duration(usage.ru_utime + usage.ru_stime)} "
        f"of processor time"
    )


if __name__ == "__main__":
    main()
