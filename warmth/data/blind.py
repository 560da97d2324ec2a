"""Pairs for people to judge without knowing which is which: a CSV out, the verdicts in.

python -m warmth.data.blind SET_FOLDER VERDICTS.csv
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from warmth.data.audit import Pair
from warmth.errors import UserError, guarded
from warmth.store import read_json, write_json
from warmth.text import sheet_cell, write_sheet
from warmth.user_rows import choice_of, user_rows

_cell = sheet_cell  # the cells of the pairs' CSV file
PAIRS, KEY = "blind_pairs.csv", "blind_key.json"
EACH = 50  # pairs of each style
QUESTIONS = {  # column of verdicts → what a person may write in it
    "same_facts": ("yes", "no"),
    "warmer": ("a", "b", "equal"),
    "better_written": ("a", "b", "equal"),
}


def export(pairs: Sequence[Pair], folder: Path, seed: int) -> None:
    """Writes `blind_pairs.csv` with the verdicts left empty, and `blind_key.json`, which says which side is plain."""
    draw = random.Random(f"blind {seed}")
    by_style: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_style[pair.style].append(pair)
    drawn = [pair for _, found in sorted(by_style.items()) for pair in draw.sample(found, min(EACH, len(found)))]
    draw.shuffle(drawn)
    key = {}
    rows = []
    for number, pair in enumerate(drawn, 1):
        plain_is_a = draw.random() < 0.5
        sides = (pair.plain, pair.text) if plain_is_a else (pair.text, pair.plain)
        name = f"p{number:03d}"
        rows.append([name, pair.user, *sides, *[""] * (len(QUESTIONS) + 1)])
        key[name] = {"id": pair.id, "turn": pair.turn, "style": pair.style, "plain": "a" if plain_is_a else "b"}
    write_sheet(folder / PAIRS, ["pair", "user", "reply_a", "reply_b", *QUESTIONS, "note"], rows)
    write_json(folder / KEY, key)


def read_verdicts(folder: Path, path: Path) -> dict[str, dict[str, Any]]:
    """Read what people said, by style: verdicts and how often each, with a and b turned into plain and rewritten.

    Raises:
        UserError: no such file, an unknown pair, or a verdict that is not one of the allowed.
    """
    key = read_json(folder / KEY)
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for place, row in user_rows(path, ["pair"]):
        _count(row, key, counts, place)
    return {
        style: {column: dict(sorted(found.items())) for column, found in columns.items()}
        for style, columns in sorted(counts.items())
    }


def _count(row: dict[str, str], key: dict[str, Any], counts: Any, place: str) -> None:
    pair = key.get(row["pair"])
    if pair is None:
        raise UserError(f"{place}: pair {row['pair']!r} is not in {KEY}")
    for column, allowed in QUESTIONS.items():
        verdict = choice_of(row, column, place, allowed)
        if not verdict:
            continue
        if verdict in ("a", "b"):
            verdict = "plain" if verdict == pair["plain"] else "rewritten"
        counts[pair["style"]][column][verdict] += 1


@guarded
def main() -> None:
    """Prints the verdicts of a filled-in CSV as JSON, and keeps them beside the set."""
    if len(sys.argv) != 3:
        raise UserError("usage: python -m warmth.data.blind SET_FOLDER VERDICTS.csv")
    folder = Path(sys.argv[1])
    found = read_verdicts(folder, Path(sys.argv[2]))
    write_json(folder / "blind_verdicts.json", found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
