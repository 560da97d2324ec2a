"""Pairs for people to judge without knowing which is which: a CSV out, the verdicts in.

python -m warmth.data.blind SET_FOLDER VERDICTS.csv
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from warmth.data.audit import Pair
from warmth.errors import UserError, guarded
from warmth.store import append_rows, read_json, read_rows, write_json
from warmth.text import sheet_cell, write_sheet
from warmth.user_rows import choice_of, user_rows

_cell = sheet_cell  # the cells of the pairs' CSV file
PAIRS, KEY = "blind_pairs.csv", "blind_key.json"
VERDICTS = "blind_verdicts.jsonl"  # every verdict of every rater; the last one on a pair counts
NAMELESS = "rater"  # who wrote no name
EACH = 50  # pairs of each style
QUESTIONS = {  # column of verdicts → what a person may write in it
    "same_facts": ("yes", "no"),
    "warmer": ("a", "b", "equal"),
    "better_written": ("a", "b", "equal"),
}


def export(pairs: Sequence[Pair], folder: Path, seed: int) -> None:
    """Write `blind_pairs.csv` with the verdicts left empty, and `blind_key.json`, which says which
    side is plain.

    Pairs that are there already stay: somebody may have filled them in.
    """
    if (folder / PAIRS).exists():
        return
    draw = random.Random(f"blind {seed}")
    by_style: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_style[pair.style].append(pair)
    drawn = [
        pair
        for _, found in sorted(by_style.items())
        for pair in draw.sample(found, min(EACH, len(found)))
    ]
    draw.shuffle(drawn)
    key = {}
    rows = []
    for number, pair in enumerate(drawn, 1):
        plain_is_a = draw.random() < 0.5
        sides = (pair.plain, pair.text) if plain_is_a else (pair.text, pair.plain)
        name = f"p{number:03d}"
        rows.append([name, pair.user, *sides, *[""] * (len(QUESTIONS) + 2)])
        key[name] = {
            "id": pair.id,
            "turn": pair.turn,
            "style": pair.style,
            "plain": "a" if plain_is_a else "b",
        }
    write_json(folder / KEY, key)
    write_sheet(
        folder / PAIRS, ["pair", "user", "reply_a", "reply_b", *QUESTIONS, "note", "rater"], rows
    )


def read_verdicts(folder: Path, path: Path) -> dict[str, dict[str, Any]]:
    """Read what people said, by style: verdicts and how often each, with a and b turned into plain
    and rewritten.

    Raises:
        UserError: no such file, an unknown pair, or a verdict that is not one of the allowed.
    """
    return counted(folder, read_rows_of(folder, path))


def read_rows_of(folder: Path, path: Path) -> list[dict[str, str]]:
    """Read the verdicts in a filled-in sheet: pair, rater, and each column that has one.

    Raises:
        UserError: as `read_verdicts`.
    """
    key = read_json(folder / KEY)
    verdicts = []
    for place, row in user_rows(path, ["pair"]):
        if row["pair"] not in key:
            raise UserError(f"{place}: pair {row['pair']!r} is not in {KEY}")
        verdict = {"pair": row["pair"], "rater": (row.get("rater") or "").strip() or NAMELESS}
        for column, allowed in QUESTIONS.items():
            word = choice_of(row, column, place, allowed)
            if word:
                verdict[column] = word
        if len(verdict) > 2:
            verdicts.append(verdict)
    return verdicts


def counted(folder: Path, verdicts: Sequence[Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    """Count verdicts by style and column, with a and b turned into plain and rewritten."""
    key = read_json(folder / KEY)
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for row in verdicts:
        pair = key[row["pair"]]
        for column in QUESTIONS:
            verdict = row.get(column)
            if verdict in ("a", "b"):
                verdict = "plain" if verdict == pair["plain"] else "rewritten"
            if verdict:
                counts[pair["style"]][column][verdict] += 1
    return {
        style: {column: dict(sorted(numbers.items())) for column, numbers in columns.items()}
        for style, columns in sorted(counts.items())
    }


def keep(folder: Path, verdicts: Sequence[dict[str, str]]) -> tuple[list[dict[str, str]], int]:
    """Add verdicts to `blind_verdicts.jsonl`; a rater's later verdict on a pair counts instead of
    the earlier one.

    Returns:
        the verdicts that count, of all raters; and how many were corrected now.
    """
    latest = {(row["pair"], row["rater"]): row for row in read_rows(folder / VERDICTS)}
    added = []
    corrected = 0
    for row in verdicts:
        before = latest.get((row["pair"], row["rater"]))
        if before == row:
            continue
        corrected += before is not None
        latest[row["pair"], row["rater"]] = row
        added.append(row)
    append_rows(folder / VERDICTS, added)
    return list(latest.values()), corrected


@guarded
def main() -> None:
    """Print the verdicts of all filled-in sheets so far as JSON; each is kept beside the set."""
    if len(sys.argv) != 3:
        raise UserError("usage: python -m warmth.data.blind SET_FOLDER VERDICTS.csv")
    folder = Path(sys.argv[1])
    verdicts, corrected = keep(folder, read_rows_of(folder, Path(sys.argv[2])))
    if corrected:
        print(f"{corrected} verdicts were corrected: a rater's later one counts", file=sys.stderr)
    print(json.dumps(counted(folder, verdicts), indent=2))


if __name__ == "__main__":
    main()
