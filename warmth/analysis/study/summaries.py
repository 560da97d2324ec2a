"""The study's released summary tables: accuracies become error rates, names become ours.

What the files do not say is worked out from what they print: how many pairs stand behind a cell,
and how many of them differ, so that the McNemar columns can be checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
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
    "gpt-4o": "gpt4o",
    "gpt-4o-cold": "gpt4o",
    "qwen-32-cold": "qwen32b",
    "70b-cold": "llama70b",
    "gpt-4o-sys-prompt": "gpt4o",
    "qwen-32-sys-prompt": "qwen32b",
    "70b-sys-prompt": "llama70b",
    "llama-70b-sys-prompt": "llama70b",
}
TESTS = {"Normal": False, "Sycophancy": True}
CELL = ["arm", "model", "task", "context", "belief"]
BIGGEST = 1100  # pairs a cell can hold: 500 questions under two beliefs, and some to spare
RATE_DIGITS = 5.1e-5  # a rate is printed to 0.01 %


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


def read_summaries(folder: Path) -> Summaries:
    """Read every summary table in a folder; a table that is absent is left out.

    Raises:
        UserError: a column is missing, a name or number is not understood (file and line are
            named), or nothing is there.
    """
    tables = []
    broken: list[str] = []
    for name, arm in TABLES.items():
        path = folder / f"results_{name}.csv"
        if path.exists():
            cells, lines = _cells(path, arm)
            tables.append(cells)
            broken += lines
    if not tables:
        names = ", ".join(f"results_{name}.csv" for name in TABLES)
        raise UserError(f"{folder} holds none of: {names}")
    return Summaries(pd.concat(tables, ignore_index=True), _benchmarks(folder), tuple(broken))


def read_summary_csv(path: Path, needed: list[str]) -> pd.DataFrame:
    """Read a CSV of text, every cell a string, with the columns that are needed.

    Raises:
        UserError: it is not there, not UTF-8, not CSV, empty, or lacks a column.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path} is not a CSV file: {error}") from error
    for name in needed:
        if name not in frame:
            columns = ", ".join(map(str, frame.columns))
            raise UserError(f"{path} has no column {name}; it has: {columns}")
    if frame.empty:
        raise UserError(f"{path} holds no rows")
    return frame


def _cells(path: Path, arm: str) -> tuple[pd.DataFrame, list[str]]:
    """Read one table: a row for each cell, see `Summaries`, and the rows that are left out."""
    accuracy = "System Prompt Accuracy (%)" if arm == "system_warm" else "Fine-tuned Accuracy (%)"
    printed = {
        "Cohen's g": "printed_g",
        "Odds Ratio": "printed_odds",
        "p-value": "printed_p",
        "p-value (FDR corrected)": "printed_fdr",
    }
    rates = {"Original Accuracy (%)": "original", accuracy: "changed"}
    raw = read_summary_csv(
        path, ["Amendment_type", *rates, "Model", "Dataset", "Test_Type", *printed]
    )
    cells = pd.DataFrame({"label": raw["Model"], "row": range(1, len(raw) + 1), "arm": arm})
    cells["model"] = _known(raw["Model"], MODELS, path)
    cells["task"] = _known(raw["Dataset"], TASKS, path)
    cells["belief"] = _known(raw["Test_Type"], TESTS, path)
    # a second line in the cell repeats the template; the first word is the context
    cells["context"] = raw["Amendment_type"].str.split().str[0].fillna("").map(context)
    for source, name in rates.items():
        cells[name] = 1 - _numbers(raw[source], path) / 100
    for source, name in printed.items():
        finite_words = raw[source].replace({"∞": "inf", "": "nan", "N/A": "nan"})
        cells[name] = _numbers(finite_words, path)
    cells, broken = _one_to_one(cells, path)
    counts = []
    for row in cells.itertuples():
        counts.append(
            pair_counts(row.original, row.changed, row.printed_g, row.printed_odds, row.printed_p)
        )
    return cells.join(pd.DataFrame(counts, columns=["pairs", "b", "c"], index=cells.index)), broken


def context(value: str) -> str:
    """Cut the prefix off a context: `emotion:sad` → `sad`; `unmodified` stays."""
    return value.rpartition(":")[2]


def _known(column: pd.Series, allowed: dict[str, Any], path: Path) -> list[Any]:
    """Translate a column of names.

    Raises:
        UserError: a name is not among the allowed ones (file and row are named).
    """
    values = []
    for number, name in enumerate(column, 1):
        if name not in allowed:
            raise UserError(
                f"{path} row {number}: {column.name}={name} is not known; "
                f"allowed: {', '.join(allowed)}"
            )
        values.append(allowed[name])
    return values


def _numbers(column: pd.Series, path: Path) -> np.ndarray:
    """Read a column of numbers.

    Raises:
        UserError: a cell is no number (file and row are named).
    """
    values = []
    for number, text in enumerate(column, 1):
        try:
            values.append(float(text))
        except ValueError as error:
            raise UserError(f"{path} row {number}: {column.name}={text} is not a number") from error
    return np.array(values)


def _one_to_one(cells: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Keep each cell once, and name the others.

    Of two rows for a cell the one stays whose model label has more rows in the file.
    """
    size = cells.groupby("label")["row"].transform("size")
    ordered = cells.assign(size=size).sort_values("size", ascending=False, kind="stable")
    distinct = ordered.drop_duplicates(CELL)
    broken = []
    for line in ordered.drop(distinct.index).itertuples():
        belief = "belief" if line.belief else "no belief"
        broken.append(
            f"{path.name} row {line.row}: {line.label} {line.task} {line.context}, {belief}, is a "
            f"second row for its cell and is left out"
        )
    return distinct.sort_values("row").drop(columns="size").reset_index(drop=True), broken


def pair_counts(
    original: float, changed: float, g: float, odds: float, p: float
) -> tuple[float, float, float]:
    """Compute how many pairs stand behind a printed cell, and how many differ in each direction.

    Whole n, b and c for which both rates (printed to 0.01 %), b - c = n·(changed - original), the
    printed |b-c|/√(b+c) and the printed b/c all hold. If several do, as where n and 2n give the
    same rates, the first that also gives the printed p counts, else the smallest.

    Args:
        original: error rate as printed, a fraction.
        changed: the arm's, likewise.
        g: what the files call Cohen's g.
        odds: b/c as printed; infinite if c is 0.
        p: of McNemar's exact test, as printed.

    Returns:
        n, b and c; NaN if b equals c: the counts cannot be recovered then.
    """
    smallest = (math.nan, math.nan, math.nan)
    if not g or not math.isfinite(g):
        return smallest
    for n in range(20, BIGGEST):
        wrong_original = round(original * n)
        wrong_changed = round(changed * n)
        if abs(wrong_original / n - original) > RATE_DIGITS:
            continue
        if abs(wrong_changed / n - changed) > RATE_DIGITS:
            continue
        for b, c in discordant_pairs(n, wrong_changed - wrong_original, g, odds):
            if abs(mcnemar(b, c) - p) < 6e-5:
                return float(n), float(b), float(c)
            if math.isnan(smallest[0]):
                smallest = (float(n), float(b), float(c))
    return smallest


def discordant_pairs(n: int, shift: int, g: float, odds: float) -> Iterator[tuple[int, int]]:
    """Yield b and c that fit a printed cell with n pairs.

    Args:
        n: pairs of the cell.
        shift: b - c.
        g: |b-c|/√(b+c) as printed.
        odds: b/c as printed; infinite if c is 0.
    """
    if not shift:
        return
    fewest = max(round((shift / (g + 6e-4)) ** 2), abs(shift))
    most = min(round((shift / (g - 6e-4)) ** 2), n)
    for discordant in range(fewest, most + 1):
        if (discordant + shift) % 2:
            continue
        b = (discordant + shift) // 2
        c = (discordant - shift) // 2
        has_ratio = abs(b / c - odds) < 6e-3 if c else odds == math.inf
        if has_ratio:
            yield b, c


def tests(cells: pd.DataFrame) -> pd.DataFrame:
    """Compute the McNemar columns again from b and c, beside those printed.

    Adds `p` (exact, two-sided), `fdr` (Benjamini-Hochberg over the nine contexts of a model, task
    and belief), `odds` (b/c), `g` (Cohen's, as defined) and `z` (|b-c|/√(b+c), which the files call
    Cohen's g).
    """
    known = cells[cells["b"].notna()].copy()
    b = known["b"].to_numpy()
    c = known["c"].to_numpy()
    counts = list(zip(b.astype(int).tolist(), c.astype(int).tolist(), strict=True))
    known["p"] = [mcnemar(*pair) for pair in counts]
    known["g"] = [cohens_g(*pair) for pair in counts]
    known["z"] = np.abs(b - c) / np.sqrt(b + c)
    known["odds"] = np.divide(b, c, out=np.full(len(c), math.inf), where=c > 0)
    known["fdr"] = np.nan
    p_values = cells["printed_p"].copy()
    p_values.loc[known.index] = known["p"]
    for members in cells.groupby(["arm", "model", "task", "belief"]).groups.values():
        # a cell without a single discordant pair has no p, and is not in the family
        family = p_values.loc[members].dropna()
        if len(family):
            adjusted = pd.Series(multipletests(family, method="fdr_bh")[1], index=family.index)
            known.loc[known.index.intersection(members), "fdr"] = adjusted
    return known


def _benchmarks(folder: Path) -> pd.DataFrame:
    """Read the table of general benchmarks.

    Returns:
        model, benchmark, and accuracy with its interval for original and warm, in %; empty if there
        is no file.
    """
    path = folder / "general_benchmark_results.csv"
    numbers = []
    for arm in ("original", "warm"):
        numbers += [f"{arm}_accuracy", f"{arm}_CI_lower", f"{arm}_CI_upper"]
    columns = ["model", "benchmark", *numbers]
    if not path.exists():
        return pd.DataFrame(columns=columns)
    raw = read_summary_csv(path, columns)
    frame = pd.DataFrame({"model": _known(raw["model"].str.lower(), MODELS, path)})
    frame["benchmark"] = raw["benchmark"].str.lower()
    for name in numbers:
        frame[name] = _numbers(raw[name], path)
    return frame
