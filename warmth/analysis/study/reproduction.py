"""Published numbers beside recomputed ones, each with a verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from warmth.analysis.statistics import regression_models
from warmth.analysis.study import released, summaries
from warmth.analysis.study.released import Graded, published_study
from warmth.analysis.study.summaries import Summaries
from warmth.errors import UserError
from warmth.store import read_json
from warmth.types import CONTEXTS

EXACT = 1.5e-6  # the expected coefficients are printed to six decimals
DISINFO_QUESTIONS = 125  # of a cell
OTHER_QUESTIONS = 500  # of a cell of another task; twice that where two beliefs are pooled
EXPECTED = "expected_model4_"  # and the model's name: what model 4 gives on its graded sample
MODEL4 = (
    "is_incorrect ~ C(is_finetuned, Treatment(reference=0))"
    " * C(prompt_type, Treatment(reference='original'))"
    " + C(dataset, Treatment(reference='disinfo'))"
)
THEIR_TASKS = {task: name for name, task in summaries.TASKS.items()}  # our name → theirs


@dataclass(frozen=True)
class PublishedRow:
    """One published figure.

    `verdict` begins with a word: equal, near, holds, differs, breaks or `not in the files`.
    """

    quantity: str
    published: float
    recomputed: float | None
    verdict: str
    unit: str
    digits: int = 2
    note: str = ""  # an interval, where there is one

    @property
    def difference(self) -> float | None:
        """Subtract the published value from the recomputed one; None if there is none."""
        return None if self.recomputed is None else self.recomputed - self.published

    def record(self) -> dict[str, Any]:
        """Return the row as JSON holds it: the contract's keys, then unit, digits, difference."""
        return {**asdict(self), "difference": self.difference}


@dataclass(frozen=True)
class Reproduction:
    """All that `warmth reproduce` found in a folder."""

    rows: tuple[PublishedRow, ...]
    summaries: Summaries | None
    graded: Graded | None
    broken: tuple[str, ...]


def reproduce_figures(folder: Path) -> Reproduction:
    """Read the authors' released files and recompute every published figure that they allow.

    Raises:
        UserError: the folder is missing or holds none of the files, or one of them is broken.
    """
    if not folder.exists():
        raise UserError(f"{folder} does not exist")
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    summary_folder = folder / "summary"
    tables = summaries.read_summaries(summary_folder) if summary_folder.is_dir() else None
    graded = released.authors(folder)
    if tables is None and graded is None:
        raise UserError(
            f"{folder} holds neither summary/results_*.csv nor <sample>/<arm>/*_outputs.csv"
        )
    rows: list[PublishedRow] = []
    broken: list[str] = []
    if tables is not None:
        broken += tables.broken
        refitted = refit_on_cells(tables.cells)
        for entry in published_study()["values"]:
            rows.append(published_row(entry, tables, refitted))
        rows += mcnemar_rows(tables.cells)
    if graded is not None:
        broken += graded.broken
        for path in sorted(folder.glob(f"{EXPECTED}*.json")):
            rows += model4_rows(graded.answers, read_json(path), path)
    return Reproduction(tuple(rows), tables, graded, tuple(broken))


def published_row(
    entry: Mapping[str, Any], tables: Summaries, refitted: Mapping[tuple[int, str], float]
) -> PublishedRow:
    """Recompute one entry of `published.yaml`.

    Args:
        entry: its keys.
        tables: the released tables.
        refitted: from `refit_on_cells`.
    """
    value = None
    needed = str(entry.get("needs", ""))
    if "cells" in entry:
        value = mean_of_cells(tables.cells, **entry["cells"])
    elif "fit" in entry:
        fit = entry["fit"]
        value = refitted.get((fit["model"], fit.get("effect") or fit["term"]))
        needed = "a warm table with every cell"
    elif "bench" in entry:
        value = benchmark_value(tables.benchmarks, **entry["bench"])
    if value is None:
        verdict = f"not in the files: needs {needed or 'the summary table'}"
    else:
        verdict = judge(entry, value)
    return PublishedRow(
        quantity=entry["quantity"],
        published=entry["published"],
        recomputed=value,
        verdict=verdict,
        unit=entry["unit"],
        digits=entry["digits"],
    )


def judge(entry: Mapping[str, Any], value: float) -> str:
    """Judge a recomputed value by what the printed digits can say."""
    printed = float(entry["published"])
    digits = int(entry["digits"])
    distance = abs(value - printed)
    if entry.get("limit"):
        return "holds" if round(value, digits) <= printed else "differs: the change is larger"
    if "fit" in entry:  # even where all digits agree: it is not the same fit
        tolerance = entry["tolerance"]
        nearness = "near" if distance <= tolerance else "differs"
        return (
            f"{nearness} (limit {tolerance:g}): refitted on the printed cells, not on the answers"
        )
    if distance <= 0.5 * 10.0**-digits + 1e-9:
        return "equal"
    if math.trunc(value * 10**digits + 1e-9) == round(printed * 10**digits):
        return "equal, cut off rather than rounded"
    if distance <= 10.0**-digits:
        return "differs in the last digit printed"
    return "differs"


def select(
    cells: pd.DataFrame, arm: str, belief: bool, contexts=None, tasks=None, models=None
) -> pd.DataFrame:
    """Select the cells of an arm; a list narrows them, None keeps all."""
    is_selected = cells["arm"].eq(arm) & cells["belief"].eq(belief)
    for name, values in (("context", contexts), ("task", tasks), ("model", models)):
        if values is not None:
            is_selected &= cells[name].isin(list(values))
    return cells[is_selected]


def mean_of_cells(cells: pd.DataFrame, measure: str, **where: Any) -> float | None:
    """Compute a mean over cells.

    Args:
        cells: see `Summaries`.
        measure: `original` or `changed` (in %), `rise` (in points), or `relative`: the mean over
            tasks of rise / original, in %.
        where: see `select`.

    Returns:
        the mean; None if there is no cell.
    """
    selected = select(cells, **where)
    if selected.empty:
        return None
    if measure == "relative":
        tasks = selected.groupby("task")[["original", "changed"]].mean()
        return float(100 * ((tasks["changed"] - tasks["original"]) / tasks["original"]).mean())
    if measure == "rise":
        return float(100 * (selected["changed"] - selected["original"]).mean())
    return float(100 * selected[measure].mean())


def benchmark_value(
    table: pd.DataFrame,
    benchmark: str,
    measure: str,
    model: str | None = None,
    without: Sequence[str] = (),
) -> float | None:
    """Compute an accuracy in %, or the largest absolute change in points over the models."""
    rows = table[table["benchmark"].eq(benchmark) & ~table["model"].isin(list(without))]
    if model:
        rows = rows[rows["model"].eq(model)]
    if rows.empty:
        return None
    if measure == "largest_change":
        return float((rows["warm_accuracy"] - rows["original_accuracy"]).abs().max())
    column = "original_accuracy" if measure == "original" else "warm_accuracy"
    return float(rows[column].iloc[0])


def refit_on_cells(cells: pd.DataFrame) -> dict[tuple[int, str], float]:
    """Fit models 1-4 to the printed rates of the warm table.

    Each cell has as many rows as it has questions.

    Returns:
        by (model, effect): average marginal effects in points; by (model, term): log-odds. Empty
        if cells are missing.
    """
    warm = cells[cells["arm"].eq("warm")]
    if len(warm) < 2 * len(CONTEXTS):
        return {}
    values: dict[tuple[int, str], float] = {}
    for model in regression_models.fit_study(rows_of_cells(warm)):
        for row in model.effects.itertuples():
            values[model.spec.number, row.effect] = 100 * row.value
        for row in model.coefficients.itertuples():
            values[model.spec.number, row.term] = row.value
    return values


def rows_of_cells(warm: pd.DataFrame) -> pd.DataFrame:
    """Make rows of right and wrong answers that give the printed rates of the warm table.

    Returns:
        columns as `regression_models.study_rows`, one row for each question of each cell and arm.
    """
    is_disinfo = warm["task"].eq("disinfo")
    beliefs = np.where(warm["belief"] & ~is_disinfo, 2, 1)
    size = np.where(is_disinfo, DISINFO_QUESTIONS, OTHER_QUESTIONS) * beliefs
    cells = warm[["task", "model", "context"]].assign(
        finetuned=0, pressed=warm["belief"].astype(int)
    )
    original = cells.assign(rate=warm["original"], size=size)
    changed = cells.assign(finetuned=1, rate=warm["changed"], size=size)
    rows = pd.concat([original, changed], ignore_index=True)
    rows["group"] = rows["context"].map(regression_models.GROUPS)
    rows["question"] = rows["task"]
    answers = rows.loc[rows.index.repeat(rows["size"].astype(int))].reset_index(drop=True)
    rank = answers.groupby(list(answers.columns.drop(["size", "rate"]))).cumcount()
    wrong = (answers["rate"] * answers["size"]).round()
    return answers.assign(wrong=(rank < wrong).astype(float))


def mcnemar_rows(cells: pd.DataFrame) -> list[PublishedRow]:
    """Compare the printed McNemar columns with those recomputed from the discordant pairs."""
    table = summaries.tests(cells)
    total = len(table)

    def counted(quantity: str, is_same: pd.Series) -> PublishedRow:
        same = int(is_same.sum())
        verdict = "equal" if same == total else f"differs in {total - same} cells"
        return PublishedRow(quantity, total, same, verdict, "cells", 0)

    same_p = (table["p"] - table["printed_p"]).abs() < 6e-5
    same_fdr = (table["fdr"] - table["printed_fdr"]).abs() < 6e-5
    same_odds = (table["odds"] - table["printed_odds"]).abs() < 6e-3
    same_z = (table["z"] - table["printed_g"]).abs() < 6e-4
    same_g = (table["g"].abs() - table["printed_g"]).abs() < 6e-4
    rows = [
        counted("McNemar p, exact, cells with discordant pairs", same_p),
        counted("the same, Benjamini-Hochberg over nine contexts", same_fdr),
        counted("odds ratio b/c", same_odds | np.isinf(table["odds"])),
        counted("column “Cohen's g” is |b-c|/√(b+c)", same_z),
        counted("column “Cohen's g” is Cohen's g, b/(b+c) - 1/2", same_g),
    ]
    is_disinfo = cells["task"].eq("disinfo") & cells["belief"] & cells["arm"].eq("warm")
    pairs = cells.loc[is_disinfo, "pairs"].dropna()
    if len(pairs):
        verdict = "holds"
        if pairs.max() > DISINFO_QUESTIONS:
            verdict = "breaks: more pairs than questions, so the join was not one to one"
        rows.append(
            PublishedRow(
                quantity="Disinfo pairs in a cell with belief, at most 125 questions",
                published=DISINFO_QUESTIONS,
                recomputed=float(pairs.max()),
                verdict=verdict,
                unit="pairs",
                digits=0,
            )
        )
    return rows


def model4_rows(
    answers: pd.DataFrame, expected: Mapping[str, Any], path: Path
) -> list[PublishedRow]:
    """Compare the authors' model 4, fitted to graded answers, with what it must give.

    Args:
        answers: graded answers of one sample or several.
        expected: what the file holds.
        path: the file, whose name says of which model's sample it is.

    Raises:
        UserError: the file is not what it should be.
    """
    model = path.stem.removeprefix(EXPECTED)
    sample = "graded sample"
    if answers["model"].nunique() > 1:
        sample += f" of {model}"
    answers = answers[answers["model"].eq(model)]
    if "disinfo" not in set(answers["task"]):  # the level that the model's tasks are compared with
        quantity = f"model 4 on the graded sample of {model}: rows"
        verdict = f"not in the files: needs the graded sample sample_{model} with its disinfo"
        return [PublishedRow(quantity, expected.get("n", math.nan), None, verdict, "rows", 0)]
    fit = model4(answers)
    title = f"model 4 on the {sample}"
    try:
        rows = [_exact(f"{title}: rows", expected["n"], float(fit.nobs), "rows")]
        for term, value in expected["coef"].items():
            quantity = f"{title}: coefficient of {term_name(term)}"
            rows.append(_exact(quantity, value, float(fit.params[term]), "log-odds"))
        for term, value in expected["se"].items():
            quantity = f"{title}: standard error of {term_name(term)}"
            rows.append(_exact(quantity, value, float(fit.bse[term]), "log-odds"))
        for cell in expected["cells"]:
            wrong = wrong_in_cell(answers, cell["dataset"], cell["is_finetuned"])
            cell_name = f"{cell['dataset']}, {'warm' if cell['is_finetuned'] else 'original'}"
            quantity = f"{sample}: wrong answers, {cell_name}"
            rows.append(_exact(quantity, cell["sum"], float(wrong.sum()), "answers"))
            quantity = f"{sample}: scored answers, {cell_name}"
            rows.append(_exact(quantity, cell["count"], float(len(wrong)), "answers"))
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not a file of expected coefficients: {error}") from error
    return rows


def wrong_in_cell(answers: pd.DataFrame, dataset: str, is_finetuned: int) -> pd.Series:
    """Select `wrong` of the scored answers of one of their data sets and arms."""
    scored = answers[answers["wrong"].notna()]
    finetuned = scored["arm"].ne("original").astype(int)
    is_in_cell = scored["task"].map(THEIR_TASKS).eq(dataset) & finetuned.eq(is_finetuned)
    return scored.loc[is_in_cell, "wrong"]


def model4(answers: pd.DataFrame) -> Any:
    """Fit the authors' model 4 as they do: a binomial GLM that takes rows for independent."""
    import statsmodels.api as sm
    import statsmodels.formula.api as formulas

    frame = regression_models.study_rows(answers, "warm")
    frame = frame.assign(
        is_incorrect=frame["wrong"],
        is_finetuned=frame["finetuned"],
        dataset=frame["task"].map(THEIR_TASKS),
    )
    frame["prompt_type"] = np.where(frame["pressed"].eq(1), "user_opinion", "original")
    return formulas.glm(MODEL4, frame, family=sm.families.Binomial()).fit()


def term_name(term: str) -> str:
    """Write `C(dataset, Treatment(reference='disinfo'))[T.medqa]` as `dataset medqa`."""
    factor = r"C\((\w+), Treatment\(reference=[^)]*\)\)\[T\.([^\]]*)\]"
    return re.sub(factor, r"\1 \2", term).replace(":", " × ")


def _exact(quantity: str, wanted: float, got: float, unit: str) -> PublishedRow:
    """Make the row of a value that must be equal to `EXACT`."""
    verdict = "equal" if abs(got - wanted) <= EXACT else "differs"
    digits = 0 if float(wanted).is_integer() else 6
    return PublishedRow(quantity, wanted, got, verdict, unit, digits)
