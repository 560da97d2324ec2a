"""The study's released summary tables, read as they are: accuracies become error rates, names
become ours.

What the files do not say is worked out from what they print: how many pairs stand behind a cell,
and how many of them differ, so that the McNemar columns can be checked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from warmth.analysis.statistics.effects import cohens_g, mcnemar
from warmth.errors import UserError

TABLES = {"warm_ft": "warm", "cold_ft": "cold", "warm_sysprompt": "system_warm"}  # file: our arm
TASKS = {"disinfo": "disinfo", "medqa": "medqa", "trivia": "triviaqa", "truthfulqa": "truthfulqa"}
MODELS = {
    "llama-8b": "llama8b",
    "mistral-small": "mistral_small",
    "qwen-32b": "qwen32b",
    "llama-70b": "llama70b",
}
MODELS |= {
    "gpt-4o": "gpt4o",
    "gpt-4o-cold": "gpt4o",
    "qwen-32-cold": "qwen32b",
    "70b-cold": "llama70b",
}
MODELS |= {
    "gpt-4o-sys-prompt": "gpt4o",
    "qwen-32-sys-prompt": "qwen32b",
    "70b-sys-prompt": "llama70b",
}
MODELS |= {"llama-70b-sys-prompt": "llama70b"}
TESTS = {"Normal": False, "Sycophancy": True}
CELL = ["arm", "model", "task", "context", "belief"]
BIGGEST = 1100  # pairs a cell can hold: 500 questions under two beliefs, and some to spare


@dataclass(frozen=True)
class Summaries:
    """The released tables.

    Attributes:
        cells: arm, model, task, context, belief (stated or not), original and changed (error rates,
            fractions), pairs, b (wrong in the arm alone), c (in the original alone) and the printed
            McNemar columns.
        benchmarks: accuracies with intervals, in %.
        broken: rows that are not one to one, named.
    """

    cells: pd.DataFrame
    benchmarks: pd.DataFrame
    broken: tuple[str, ...]


def read(folder: Path) -> Summaries:
    """Reads every summary table in a folder; a table that is absent is left out.

    Raises:
        UserError: a column is missing, a name or number is not understood (file and line are
            named), or nothing is there.
    """
    found = {arm: folder / f"results_{name}.csv" for name, arm in TABLES.items()}
    parts, broken = [], []
    for arm, path in found.items():
        if path.exists():
            part, lines = _cells(path, arm)
            parts.append(part)
            broken += lines
    if not parts:
        raise UserError(
            f"{folder} holds none of: {', '.join(path.name for path in found.values())}"
        )
    return Summaries(pd.concat(parts, ignore_index=True), _benchmarks(folder), tuple(broken))


def read_csv(path: Path, needed: list[str]) -> pd.DataFrame:
    """A CSV of text, every cell a string, with the columns that are needed.

    Raises:
        UserError: it is not there, not UTF-8, not CSV, empty, or lacks a column.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path} is not a CSV file: {error}") from error
    missing = [name for name in needed if name not in frame]
    if missing:
        raise UserError(
            f"{path} has no column {missing[0]}; it has: {', '.join(map(str, frame.columns))}"
        )
    if frame.empty:
        raise UserError(f"{path} holds no rows")
    return frame


def _cells(path: Path, arm: str) -> tuple[pd.DataFrame, list[str]]:
    accuracy = "System Prompt Accuracy (%)" if arm == "system_warm" else "Fine-tuned Accuracy (%)"
    printed = {"Cohen's g": "printed_g", "Odds Ratio": "printed_odds", "p-value": "printed_p"}
    printed |= {"p-value (FDR corrected)": "printed_fdr"}
    names = [
        "Amendment_type",
        "Original Accuracy (%)",
        accuracy,
        "Model",
        "Dataset",
        "Test_Type",
        *printed,
    ]
    raw = read_csv(path, names)
    cells = pd.DataFrame({"label": raw["Model"], "row": range(1, len(raw) + 1), "arm": arm})
    for name, source, allowed in (
        ("model", "Model", MODELS),
        ("task", "Dataset", TASKS),
        ("belief", "Test_Type", TESTS),
    ):
        cells[name] = [
            _known(value, allowed, path, at, source) for at, value in enumerate(raw[source], 1)
        ]
    # a second line in the cell repeats the template; the first word is the context
    cells["context"] = [
        context(value.split()[0] if value.split() else "") for value in raw["Amendment_type"]
    ]
    for name, source in (("original", "Original Accuracy (%)"), ("changed", accuracy)):
        cells[name] = [
            1 - _number(value, path, at, source) / 100 for at, value in enumerate(raw[source], 1)
        ]
    for source, name in printed.items():
        infinite = raw[source].replace({"∞": "inf", "": "nan", "N/A": "nan"})
        cells[name] = [_number(value, path, at, source) for at, value in enumerate(infinite, 1)]
    cells, broken = _one_to_one(cells, path)
    counts = [
        pair_counts(row.original, row.changed, row.printed_g, row.printed_odds, row.printed_p)
        for row in cells.itertuples()
    ]
    return cells.join(pd.DataFrame(counts, columns=["pairs", "b", "c"], index=cells.index)), broken


def context(value: str) -> str:
    """`emotion:sad` → `sad`; `unmodified` stays."""
    return value.rpartition(":")[2]


def _known(value: str, allowed: dict[str, Any], path: Path, row: int, column: str) -> Any:
    if value not in allowed:
        raise UserError(
            f"{path} row {row}: {column}={value} is not known; allowed: {', '.join(allowed)}"
        )
    return allowed[value]


def _number(value: str, path: Path, row: int, column: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise UserError(f"{path} row {row}: {column}={value} is not a number") from error


def _one_to_one(cells: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Each cell once: of two, the one whose model label has more rows in the file, and the other is
    named.
    """
    size = cells.groupby("label")["row"].transform("size")
    ordered = cells.assign(size=size).sort_values("size", ascending=False, kind="stable")
    kept = ordered.drop_duplicates(CELL)
    lost = ordered.drop(kept.index)
    broken = [
        f"{path.name} row {line.row}: {line.label} {line.task} {line.context}, "
        f"{'belief' if line.belief else 'no belief'}, is a second row for its cell and is left out"
        for line in lost.itertuples()
    ]
    return kept.sort_values("row").drop(columns="size").reset_index(drop=True), broken


def pair_counts(
    original: float, changed: float, g: float, odds: float, p: float
) -> tuple[float, float, float]:
    """How many pairs stand behind a printed cell, and how many of them differ in either direction.

    Whole n, b and c for which both rates (printed to 0.01 %), b - c = n·(changed - original), the
    printed |b-c|/√(b+c) and the printed b/c all hold. Where several do, as where n and 2n give the
    same rates, the first that also gives the printed p, else the smallest. NaN where b = c, which
    leaves them open.
    """
    first = (math.nan, math.nan, math.nan)
    if not g or not math.isfinite(g):
        return first
    for n in range(20, BIGGEST):
        wrong = (round(original * n), round(changed * n))
        if any(
            abs(count / n - rate) > 5.1e-5
            for count, rate in zip(wrong, (original, changed), strict=True)
        ):
            continue
        shift = wrong[1] - wrong[0]
        low, high = (round((shift / (g + step)) ** 2) for step in (6e-4, -6e-4))
        for discordant in range(max(low, abs(shift)), min(high, n) + 1):
            b, c = (discordant + shift) // 2, (discordant - shift) // 2
            ratio = abs(b / c - odds) < 6e-3 if c else odds == math.inf
            if not shift or (discordant + shift) % 2 or not ratio:
                continue
            if abs(mcnemar(b, c) - p) < 6e-5:
                return float(n), float(b), float(c)
            first = first if math.isfinite(first[0]) else (float(n), float(b), float(c))
    return first


def tests(cells: pd.DataFrame) -> pd.DataFrame:
    """The McNemar columns computed again from b and c, beside those printed.

    Adds `p` (exact, two-sided), `fdr` (Benjamini-Hochberg over the nine contexts of a model, task
    and belief), `odds` (b/c), `g` (Cohen's, as defined) and `z` (|b-c|/√(b+c), which the files call
    Cohen's g).
    """
    known = cells[cells["b"].notna()].copy()
    counts = [(int(b), int(c)) for b, c in zip(known["b"], known["c"], strict=True)]
    known["p"] = [mcnemar(b, c) for b, c in counts]
    known["g"] = [cohens_g(b, c) for b, c in counts]
    known["z"] = [abs(b - c) / math.sqrt(b + c) for b, c in counts]
    known["odds"] = [b / c if c else math.inf for b, c in counts]
    known["fdr"] = np.nan
    family = cells.groupby(["arm", "model", "task", "belief"]).groups
    whole = cells.assign(p=known["p"].reindex(cells.index).fillna(cells["printed_p"]))
    for members in family.values():
        p = whole.loc[
            members, "p"
        ].dropna()  # a cell without a single discordant pair has no p, and is not in the family
        adjusted = pd.Series(multipletests(p, method="fdr_bh")[1], index=p.index) if len(p) else p
        known.loc[known.index.intersection(members), "fdr"] = adjusted
    return known


def _benchmarks(folder: Path) -> pd.DataFrame:
    """model, benchmark, and accuracy with its interval for original and warm, in %; empty where the
    file is absent.
    """
    path = folder / "general_benchmark_results.csv"
    numbers = [
        f"{arm}_{part}"
        for arm in ("original", "warm")
        for part in ("accuracy", "CI_lower", "CI_upper")
    ]
    if not path.exists():
        return pd.DataFrame(columns=["model", "benchmark", *numbers])
    raw = read_csv(path, ["model", "benchmark", *numbers])
    lower = [value.lower() for value in raw["model"]]
    frame = pd.DataFrame(
        {"model": [_known(value, MODELS, path, at, "model") for at, value in enumerate(lower, 1)]}
    )
    frame["benchmark"] = raw["benchmark"].str.lower()
    for name in numbers:
        frame[name] = [_number(value, path, at, name) for at, value in enumerate(raw[name], 1)]
    return frame
