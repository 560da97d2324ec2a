"""The whole study in miniature, in the three commands a user would type: `python -m warmth.demo`, or `make demo`."""

from __future__ import annotations

import subprocess
import sys
import time

from warmth.digest import ROOT
from warmth.errors import guarded
from warmth.models import choose_dtype, embedded_folder, multiply_seconds

# Arithmetic of the demo in TFLOP, counted from its tokens (2 · 134.5 M parameters a token; LoRA training three times
# that): 24 steps of a thousand tokens; of each arm 48 answers, 24 replies with their scores, 600 prompts of 40 tokens
# whose replies are weighed. And the share of the rate of a bare matrix product that all this reached on two cores.
WORK_TFLOP = 3 * 24 * 0.135 * 2 * 3 + 4 * (48 * 200 + 24 * (130 + 8 * 90) + 600 * 40) * 0.135 * 2 / 1000
REACHED = 0.55
STARTS_S = 100  # nine processes import torch and load the model


def estimate_s() -> float:
    """Seconds the demo will take here, from the speed of one matrix product."""
    rate = 2 * 1024**3 * 2 / multiply_seconds(choose_dtype("auto")) / 1e12
    return STARTS_S + WORK_TFLOP / rate / REACHED


@guarded
def main() -> None:
    """Says how long it will take, then trains, evaluates and reports; what is done already is not done again."""
    embedded_folder()
    minutes = estimate_s() / 60
    print(
        "The study in miniature: 3 trainings; of 4 arms 48 answers, 600 prompts whose replies are weighed, 24 warmth "
        f"scores. About {minutes:.0f} min here, seconds for what is done already.",
        flush=True,
    )
    started = time.monotonic()
    steps = (
        ["train.py", "-m", "experiment=demo_train"],
        ["evaluate.py", "-m", "experiment=demo_evaluate"],
        ["-m", "warmth.cli", "report", "multirun/demo", "--out", "reports/demo"],
    )
    for number, step in enumerate(steps, 1):
        shown = " ".join(step).replace("-m warmth.cli", "warmth")
        print(f"\n{number}/{len(steps)}  {shown}", flush=True)
        code = subprocess.run([sys.executable, *step], cwd=ROOT).returncode
        if code:
            sys.exit(code)
    print(f"\nThe demo took {(time.monotonic() - started) / 60:.1f} min.")


if __name__ == "__main__":
    main()
