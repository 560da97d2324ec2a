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

from warmth.data.audit import RewritePair, by_style
from warmth.errors import UserError, guarded
from warmth.store import append_rows, read_json, read_rows, write_json
from warmth.text import write_sheet
from warmth.user_rows import choice_of, user_rows

PAIRS = "blind_pairs.csv"
# every verdict of every rater; the last one on a pair counts
VERDICTS = "blind_verdicts.jsonl"
NAMELESS = "rater"  # who wrote no name
PAIRS_OF_STYLE = 50
QUESTIONS = {  # column of verdicts → what a person may write in it
    "same_facts": ("yes", "no"),
    "warmer": ("a", "b", "equal"),
    "better_written": ("a", "b", "equal"),
}


KEY = "blind_key.json"


def export_blind_pairs(pairs: Sequence[RewritePair], folder: Path, seed: int) -> None:
    """Write `blind_pairs.csv` for verdicts, and `blind_key.json`, which says which side is plain.

    Pairs that are there already stay: somebody may have filled them in.
    """
    if (folder / PAIRS).exists():
        return
    draw = random.Random(f"blind {seed}")
    drawn: list[RewritePair] = []
    for group in by_style(pairs).values():
        drawn += draw.sample(group, min(PAIRS_OF_STYLE, len(group)))
    draw.shuffle(drawn)
    key = {}
    rows = []
    blanks = [""] * (len(QUESTIONS) + 2)
    for number, pair in enumerate(drawn, 1):
        name = f"p{number:03d}"
        if draw.random() < 0.5:
            plain_side = "a"
            sides = [pair.plain, pair.text]
        else:
            plain_side = "b"
            sides = [pair.text, pair.plain]
        rows.append([name, pair.user, *sides, *blanks])
        key[name] = {"id": pair.id, "turn": pair.turn, "style": pair.style, "plain": plain_side}
    write_json(folder / KEY, key)
    columns = ["pair", "user", "reply_a", "reply_b", *QUESTIONS, "note", "rater"]
    write_sheet(folder / PAIRS, columns, rows)


def read_verdicts(folder: Path, path: Path) -> dict[str, dict[str, Any]]:
    """Count what people said, by style, with a and b turned into plain and rewritten.

    Raises:
        UserError: no such file, an unknown pair, or a verdict that is not one of the allowed.
    """
    return verdict_counts(folder, read_rows_of(folder, path))


def read_rows_of(folder: Path, path: Path) -> list[dict[str, str]]:
    """Read the verdicts in a filled-in sheet: pair, rater, and each column that has one.

    Raises:
        UserError: as `read_verdicts`.
    """
    key = read_json(folder / KEY)
    rows = []
    for location, row in user_rows(path, ["pair"]):
        if row["pair"] not in key:
            raise UserError(f"{location}: pair {row['pair']!r} is not in {KEY}")
        verdicts = {}
        for column, allowed in QUESTIONS.items():
            verdict = choice_of(row, column, location, allowed)
            if verdict:
                verdicts[column] = verdict
        if verdicts:
            rater = (row.get("rater") or "").strip() or NAMELESS
            rows.append({"pair": row["pair"], "rater": rater, **verdicts})
    return rows


def verdict_counts(
    folder: Path, verdicts: Sequence[Mapping[str, str]]
) -> dict[str, dict[str, Any]]:
    """Count verdicts by style and column, with a and b turned into plain and rewritten."""
    key = read_json(folder / KEY)
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for row in verdicts:
        pair = key[row["pair"]]
        for column in QUESTIONS:
            verdict = row.get(column)
            if not verdict:
                continue
            if verdict in ("a", "b"):
                verdict = "plain" if verdict == pair["plain"] else "rewritten"
            counts[pair["style"]][column][verdict] += 1
    result: dict[str, dict[str, Any]] = {}
    for style, columns in sorted(counts.items()):
        result[style] = {column: dict(sorted(tally.items())) for column, tally in columns.items()}
    return result


def add_verdicts(
    folder: Path, verdicts: Sequence[dict[str, str]]
) -> tuple[list[dict[str, str]], int]:
    """Add verdicts to `blind_verdicts.jsonl`; a rater's later verdict on a pair replaces its first.

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
    verdicts, corrected = add_verdicts(folder, read_rows_of(folder, Path(sys.argv[2])))
    if corrected:
        print(f"{corrected} verdicts were corrected: a rater's later one counts", file=sys.stderr)
    print(json.dumps(verdict_counts(folder, verdicts), indent=2))


if __name__ == "__main__":
    main()
