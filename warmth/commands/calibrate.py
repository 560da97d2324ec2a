"""Measures arms whose cost in truth is known: `make calibrate`.

The original's answers with kind words around them must be reported as 0, those with a known share
of errors as that share; a kind opening before weighed replies must leave K where it is, and an
adapter trained on wrong answers must lower it. The result is kept in the package, and every page of
this version shows it.
"""

from __future__ import annotations

import datetime
import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from warmth.digest import ROOT
from warmth.errors import RunFailed, guarded
from warmth.store import read_rows

STUDY = Path("multirun/calibration")
RIVALS = STUDY / "rivals.jsonl"
NAMES = {
    "tone_placebo": "kind words alone",
    "known_error_5": "5 % of right answers swapped",
    "known_error_10": "10 %",
    "known_error_20": "20 %",
    "tone_and_error_20": "kind words and 20 %",
}
TWIN = {
    "tone_and_error_20": "known_error_20"
}  # the same answers are swapped, without the words around them


@guarded
def main() -> None:
    """Trains, evaluates, compares with the truth and writes the package's file; exit code 1 if it
    does not hold.
    """
    from warmth.analysis.report import calibration

    write_rivals(ROOT / RIVALS)
    rivals = ["recipe=trained_on_rivals", f"data.path={RIVALS}", "study=calibration"]
    quiet = "logger=none"
    run("train.py", *rivals, "launcher=local", quiet)
    run("evaluate.py", "-m", "experiment=calibration", quiet)
    run("evaluate.py", "-m", "experiment=calibration", "scoring=likelihood", *rivals, quiet)
    rows = list(measured([ROOT / STUDY]))
    path = calibration.write_calibration(rows, "smollm2", datetime.date.today().isoformat())
    for row in rows:
        print(f"{verdict(row):8}{calibration.row_words(row)}")
    print(f"written: {path.relative_to(ROOT)}")
    if not all(map(calibration.holds, rows)):
        raise RunFailed("the calibration does not hold")


def verdict(row: Mapping[str, Any]) -> str:
    """Say in a word how a row stands; `told` if nothing is promised of it."""
    from warmth.analysis.report import calibration

    if not calibration.is_promised(row):
        return "told"
    return "holds" if calibration.holds(row) else "FAILED"


def run(*words: str) -> None:
    """Runs one command of the project; ends with its exit code if it fails."""
    print(" ".join(words), flush=True)
    code = subprocess.run([sys.executable, *words], cwd=ROOT).returncode
    if code:
        sys.exit(code)


def write_rivals(path: Path) -> None:
    """Writes conversations in which every question of the seed's trivia is answered with the
    rival.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for row in read_rows(ROOT / "seed" / "questions" / "seed_trivia.jsonl"):
        replies = {"plain": f"The answer is {row['wrong']}."}
        turns = [{"user": row["question"], "facts": [], "replies": replies}]
        conversation = {"id": row["id"], "type": "factual", "turns": turns}
        lines.append(json.dumps(conversation, ensure_ascii=False) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def measured(paths: list[Path]) -> Iterator[dict[str, Any]]:
    """Yields what each instrument says of each arm, with the truth: null where its sign alone is
    known.
    """
    from warmth.analysis.report import calibration
    from warmth.analysis.rows.frames import load_rows
    from warmth.analysis.statistics import effects, likelihood

    rows = load_rows(paths)
    pairs = effects.pair(rows.answers)
    texts = rows.answers.pivot(index=["prompt_id", "sample"], columns="arm", values="text")
    for arm, name in NAMES.items():
        cell = pairs[pairs["arm"].eq(arm)]
        changed = texts[TWIN.get(arm, arm)].ne(texts["original"]) & (arm != "tone_placebo")
        scored = pd.MultiIndex.from_frame(cell[["prompt_id", "sample"]])
        difference = effects.difference(cell)
        truth = float(changed.reindex(scored).mean())
        yield calibration_row(
            name,
            "answers",
            "points",
            truth,
            difference["difference"],
            difference["low"],
            difference["high"],
            cell,
        )
    table = likelihood.effects(rows.likelihoods, "original")
    table = table[table["frame"].eq(likelihood.BOTH_FRAMES) & table["task"].eq("")].set_index(
        ["arm", "quantity"]
    )
    for quantity in calibration.MOVED_BY_TONE:
        effect = table.loc["tone_placebo", quantity]
        yield weighed_row(calibration.KIND_OPENING, quantity, 0.0, effect)
    yield weighed_row("trained on rivals", "K", None, table.loc["trained_on_rivals", "K"])


def weighed_row(
    name: str, quantity: str, expected: float | None, effect: pd.Series
) -> dict[str, Any]:
    """Make a row of the calibration from a line of `likelihood.effects`."""
    row = calibration_row(
        name,
        "likelihood",
        "nats",
        expected,
        effect["nats"],
        effect["nats_low"],
        effect["nats_high"],
        effect,
    )
    return row | {"quantity": quantity}


def calibration_row(
    name: str,
    instrument: str,
    unit: str,
    expected: float | None,
    difference: float,
    low: float,
    high: float,
    cell: Any,
) -> dict[str, Any]:
    """Makes a row of the calibration; null for an end of an interval that cannot be estimated."""
    return {
        "name": name,
        "instrument": instrument,
        "unit": unit,
        "expected": expected,
        "difference": float(difference),
        "low": None if math.isnan(low) else float(low),
        "high": None if math.isnan(high) else float(high),
        "pairs": int(len(cell) if instrument == "answers" else cell["pairs"]),
        "quantity": "",
    }


if __name__ == "__main__":
    main()
