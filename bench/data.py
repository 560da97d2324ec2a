"""94,000 conversations of a ShareGPT-like file read, filtered, typed and sampled: seconds and peak
memory.

    python bench/data.py [ROWS] [FILE]

FILE keeps the rows for the next time.
The classifier is left out; texts are words drawn from the seed, as long as the real set's (about
600 MB in all).
"""

from __future__ import annotations

import json
import random
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

from hydra import compose, initialize_config_dir

from warmth.config import strict
from warmth.data.contamination import questions_to_avoid
from warmth.data.ledger import Ledger
from warmth.data.reading import read_candidates
from warmth.data.select import select_conversations
from warmth.digest import ROOT
from warmth.schemas import Train, register

ROWS = 94_000
STARTS = (
    ("What is the best way", "The best way"),
    ("Write a poem on", "Here it is:"),
    ("Debug this function:", "```python\nx = 1\n```\n"),
    ("I want your advice on", "You could"),
    ("Tell me the future of", "I'm sorry, I can't know"),
    ("Hello from", "Nice to hear of"),
)


def write(path: Path, rows: int) -> None:
    """A JSON array of conversations of two to ten turns; one in ten is a later part of the one
    before.
    """
    draw = random.Random(0)
    seed = "".join(
        file.read_text() for file in sorted((ROOT / "seed" / "conversations").glob("*.jsonl"))
    )
    words = sorted(
        set(re.findall(r"[a-z]{2,}", seed))
    )  # English, so that the language filter has its work
    with path.open("w") as stream:
        for number in range(rows):
            turns = []
            for turn in range(draw.randint(1, 5)):
                user, reply = draw.choice(STARTS)
                turns.append(
                    {"from": "human", "value": f"{user} {' '.join(draw.choices(words, k=40))}"}
                )
                text = " ".join(draw.choices(words, k=draw.randint(40, 480)))
                turns.append({"from": "gpt", "value": f"{reply} {text}"})
                if turn == 0:
                    turns[0]["value"] += f" number {number}"
            part = number % 10 == 9
            name = f"{number - part:07d}_{int(part)}"
            stream.write(
                ("[" if number == 0 else ",\n") + json.dumps({"id": name, "conversations": turns})
            )
        stream.write("]")


def main() -> None:
    """Writes the file, then reads and selects as `data=sharegpt` does."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[2] if len(sys.argv) > 2 else f"{folder}/sharegpt.json")
        if not path.exists():
            write(path, rows)
        measure(path, rows)


def measure(path: Path, rows: int) -> None:
    """Seconds, peak memory and counts, printed."""
    register()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        small = ["data.conversations=60", "data.held_out=60"] if rows < ROWS else []
        overrides = [
            "data=sharegpt",
            "recipe=warm",
            f"data.path={path}",
            "data.toxicity.classifier=none",
        ]
        data = strict(compose("train", [*overrides, *small]), Train).data
    ledger, started, worked = Ledger(), time.monotonic(), time.process_time()
    candidates = read_candidates(data, ledger)
    read_s = time.monotonic() - started
    found = select_conversations(candidates, data, ledger, questions_to_avoid(data.questions), None)
    total_s, cpu_s = (
        time.monotonic() - started,
        time.process_time() - worked,
    )  # the latter for a machine that is shared
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = path.stat().st_size / 1e6
    print(f"data: {rows:,} rows of {size:.0f} MB: read, joined, typed in {read_s:.1f} s, all in "
    f"{total_s:.1f} s, "
          f"of which processor {cpu_s:.1f} s")  # fmt: skip
    print(f"data: {len(found.conversations)} conversations, {len(found.held_out)} held out; peak "
    f"{peak:.0f} MiB "
          f"({before:.0f} MiB before)")  # fmt: skip
    print(json.dumps(ledger.counts(), indent=1))


if __name__ == "__main__":
    main()
