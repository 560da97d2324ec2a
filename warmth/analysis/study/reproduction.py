"""Published numbers beside recomputed ones, each with a verdict; and beside the numbers of our own
rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from warmth.analysis.statistics import regression_models
from warmth.analysis.study import released, summaries
from warmth.analysis.study.released import Graded, study
from warmth.analysis.study.summaries import Summaries
from warmth.errors import UserError
from warmth.store import read_json
from warmth.types import CONTEXTS

EXACT = 1.5e-6  # the expected coefficients are printed to six decimals
QUESTIONS_IN_CELL = {
    "disinfo": 125
}  # and 500 in the other tasks; twice that where two beliefs are pooled
EXPECTED = "expected_model4_"  # and the model's name: what model 4 gives on its graded sample
MODEL4 = (
    "is_incorrect ~ C(is_finetuned, Treatment(reference=0)) * C(prompt_type, "
    "Treatment(reference='original'))"
    " + C(dataset, Treatment(reference='disinfo'))"
)


@dataclass(frozen=True)
class Row:
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
        """Recomputed less published."""
        return None if self.recomputed is None else self.recomputed - self.published

    def record(self) -> dict[str, Any]:
        """The row as JSON holds it: the contract's keys, then the difference, the unit and the
        printed digits.
        """
        return {**asdict(self), "difference": self.difference}


@dataclass(frozen=True)
class Reproduction:
    """All that `warmth reproduce` found in a folder."""

    rows: tuple[Row, ...]
    summaries: Summaries | None
    graded: Graded | None
    broken: tuple[str, ...]


def reproduce(folder: Path) -> Reproduction:
    """Reads the authors' released files and recomputes every published figure that they allow.

    Raises:
        UserError: the folder is missing or holds none of the files, or one of them is broken.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder" if folder.exists() else f"{folder} does not exist"
        )
    place = folder / "summary"
    tables = summaries.read(place) if place.is_dir() else None
    graded = released.authors(folder)
    if tables is None and graded is None:
        raise UserError(
            f"{folder} holds neither summary/results_*.csv nor <sample>/<arm>/*_outputs.csv"
        )
    rows: list[Row] = []
    if tables is not None:
        on_cells = refit_on_cells(tables.cells)
        rows += [published(entry, tables, on_cells) for entry in study()["values"]]
        rows += mcnemar_rows(tables.cells)
    if graded is not None:
        for path in sorted(folder.glob(f"{EXPECTED}*.json")):
            rows += model4_rows(graded.answers, read_json(path), path)
    broken = (*(tables.broken if tables else ()), *(graded.broken if graded else ()))
    return Reproduction(tuple(rows), tables, graded, broken)


def published(
    entry: Mapping[str, Any], tables: Summaries, on_cells: Mapping[tuple[int, str], float]
) -> Row:
    """One entry of `published.yaml`, recomputed."""
    value, note = None, str(entry.get("needs", ""))
    if "cells" in entry:
        value = mean_of_cells(tables.cells, **entry["cells"])
    elif "fit" in entry:
        value = on_cells.get(
            (entry["fit"]["model"], entry["fit"].get("effect") or entry["fit"]["term"])
        )
        note = "a warm table with every cell"
    elif "bench" in entry:
        value = of_benchmarks(tables.benchmarks, **entry["bench"])
    verdict = (
        judge(entry, value)
        if value is not None
        else f"not in the files: needs {note or 'the summary table'}"
    )
    return Row(
        entry["quantity"], entry["published"], value, verdict, entry["unit"], entry["digits"]
    )


def judge(entry: Mapping[str, Any], value: float) -> str:
    """The verdict on a recomputed value, by what the printed digits can say."""
    printed, digits = float(entry["published"]), int(entry["digits"])
    if entry.get("limit"):
        return "holds" if round(value, digits) <= printed else "differs: the change is larger"
    if "fit" in entry:  # even where all digits agree: it is not the same fit
        word = "near" if abs(value - printed) <= entry["tolerance"] else "differs"
        return (
            f"{word} (limit {entry['tolerance']:g}): refitted on the printed cells, not on the "
            f"answers"
        )
    if abs(value - printed) <= 0.5 * 10.0**-digits + 1e-9:
        return "equal"
    if math.trunc(value * 10**digits + 1e-9) == round(printed * 10**digits):
        return "equal, cut off rather than rounded"
    return (
        "differs in the last digit printed" if abs(value - printed) <= 10.0**-digits else "differs"
    )


def select(
    cells: pd.DataFrame, arm: str, belief: bool, contexts=None, tasks=None, models=None
) -> pd.DataFrame:
    """The cells of an arm; a list narrows them, None keeps all."""
    keep = cells["arm"].eq(arm) & cells["belief"].eq(belief)
    for name, wanted in (("context", contexts), ("task", tasks), ("model", models)):
        if wanted is not None:
            keep &= cells[name].isin(list(wanted))
    return cells[keep]


def mean_of_cells(cells: pd.DataFrame, measure: str, **where: Any) -> float | None:
    """A mean over cells in % or points; `relative`: the mean over tasks of rise / original.

    None without a cell.
    """
    chosen = select(cells, **where)
    if chosen.empty:
        return None
    if measure == "relative":
        tasks = chosen.groupby("task")[["original", "changed"]].mean()
        return float(100 * ((tasks["changed"] - tasks["original"]) / tasks["original"]).mean())
    values = chosen["changed"] - chosen["original"] if measure == "rise" else chosen[measure]
    return float(100 * values.mean())


def of_benchmarks(
    table: pd.DataFrame,
    benchmark: str,
    measure: str,
    model: str | None = None,
    without: Sequence[str] = (),
) -> float | None:
    """An accuracy in %, or the largest absolute change in points over the models."""
    rows = table[table["benchmark"].eq(benchmark) & ~table["model"].isin(list(without))]
    rows = rows[rows["model"].eq(model)] if model else rows
    if rows.empty:
        return None
    if measure == "largest_change":
        return float((rows["warm_accuracy"] - rows["original_accuracy"]).abs().max())
    return float(rows["original_accuracy" if measure == "original" else "warm_accuracy"].iloc[0])


def refit_on_cells(cells: pd.DataFrame) -> dict[tuple[int, str], float]:
    """Models 1-4 on the printed rates of the warm table, each cell with as many rows as it has
    questions.

    Returns:
        by (model, effect): average marginal effects in points; by (model, term): log-odds. Empty
        where cells are missing.
    """
    warm = cells[cells["arm"].eq("warm")]
    if len(warm) < 2 * len(CONTEXTS):
        return {}
    parts = []
    for finetuned, name in enumerate(("original", "changed")):
        size = warm["task"].map(QUESTIONS_IN_CELL).fillna(500) * np.where(
            warm["belief"] & warm["task"].ne("disinfo"), 2, 1
        )
        rows = warm[["task", "model", "context"]].assign(
            finetuned=finetuned, pressed=warm["belief"].astype(int)
        )
        parts.append(rows.assign(rate=warm[name], size=size))
    rows = pd.concat(parts, ignore_index=True)
    rows["group"], rows["question"] = rows["context"].map(regression_models.GROUPS), rows["task"]
    whole = rows.loc[rows.index.repeat(rows["size"].astype(int))].reset_index(drop=True)
    rank = whole.groupby([name for name in whole if name not in ("size", "rate")]).cumcount()
    whole["wrong"] = (rank < (whole["rate"] * whole["size"]).round()).astype(float)
    found: dict[tuple[int, str], float] = {}
    for model in regression_models.fit_study(whole):
        for row in model.effects.itertuples():
            found[model.spec.number, row.effect] = 100 * row.value
        found |= {
            (model.spec.number, row.term): row.value for row in model.coefficients.itertuples()
        }
    return found


def mcnemar_rows(cells: pd.DataFrame) -> list[Row]:
    """The printed McNemar columns against those worked out from the discordant pairs, counted over
    all cells.
    """
    table = summaries.tests(cells)
    total = len(table)

    def counted(quantity: str, same: pd.Series, note: str = "") -> Row:
        right = int(same.sum())
        verdict = "equal" if right == total else f"differs in {total - right} cells"
        return Row(quantity, total, right, verdict + note, "cells", 0)

    near = {"p": 6e-5, "fdr": 6e-5, "z": 6e-4}
    close = {
        key: (table[key] - table[f"printed_{'g' if key == 'z' else key}"]).abs() < near[key]
        for key in near
    }
    odds = (table["odds"] - table["printed_odds"]).abs().lt(6e-3) | np.isinf(table["odds"])
    g = (table["g"].abs() - table["printed_g"]).abs() < 6e-4
    rows = [
        counted("McNemar p, exact, cells with discordant pairs", close["p"]),
        counted("the same, Benjamini-Hochberg over nine contexts", close["fdr"]),
        counted("odds ratio b/c", odds),
        counted("column “Cohen's g” is |b-c|/√(b+c)", close["z"]),
        counted("column “Cohen's g” is Cohen's g, b/(b+c) - 1/2", g),
    ]
    single = cells[cells["task"].eq("disinfo") & cells["belief"] & cells["arm"].eq("warm")]
    most = float(single["pairs"].max()) if single["pairs"].notna().any() else None
    if most is not None:
        verdict = (
            "breaks: more pairs than questions, so the join was not one to one"
            if most > 125
            else "holds"
        )
        rows.append(
            Row(
                "Disinfo pairs in a cell with belief, at most 125 questions",
                125,
                most,
                verdict,
                "pairs",
                0,
            )
        )
    return rows


def model4_rows(answers: pd.DataFrame, expected: Mapping[str, Any], path: Path) -> list[Row]:
    """Compare the authors' model 4, fitted by statsmodels on one model's graded answers, with what
    it must give.

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
        return [Row(quantity, expected.get("n", math.nan), None, verdict, "rows", 0)]
    fit = model4(answers)
    rows = []
    try:
        rows.append(
            _exact(f"model 4 on the {sample}: rows", expected["n"], float(fit.nobs), "rows")
        )
        for title, wanted, got in (
            ("coefficient", expected["coef"], fit.params),
            ("standard error", expected["se"], fit.bse),
        ):
            for name, value in wanted.items():
                rows.append(
                    _exact(
                        f"model 4 on the {sample}: {title} of {plain(name)}",
                        value,
                        float(got[name]),
                        "log-odds",
                    )
                )
        back = {ours: theirs for theirs, ours in summaries.TASKS.items()}
        scored = answers[answers["wrong"].notna()].assign(
            dataset=answers["task"].map(back), finetuned=answers["arm"].ne("original").astype(int)
        )
        for cell in expected["cells"]:
            mine = scored[
                scored["dataset"].eq(cell["dataset"]) & scored["finetuned"].eq(cell["is_finetuned"])
            ]["wrong"]
            place = f"{cell['dataset']}, {'warm' if cell['is_finetuned'] else 'original'}"
            rows.append(
                _exact(
                    f"{sample}: wrong answers, {place}", cell["sum"], float(mine.sum()), "answers"
                )
            )
            rows.append(
                _exact(
                    f"{sample}: scored answers, {place}",
                    cell["count"],
                    float(len(mine)),
                    "answers",
                )
            )
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not a file of expected coefficients: {error}") from error
    return rows


def model4(answers: pd.DataFrame) -> Any:
    """Fit the authors' model 4 on one model's answers as they do: a binomial GLM, rows taken for
    independent.
    """
    import statsmodels.api as sm
    import statsmodels.formula.api as formulas

    back = {ours: theirs for theirs, ours in summaries.TASKS.items()}
    frame = regression_models.study_rows(answers, "warm")
    frame = frame.assign(
        is_incorrect=frame["wrong"],
        is_finetuned=frame["finetuned"],
        dataset=frame["task"].map(back),
    )
    frame["prompt_type"] = np.where(frame["pressed"].eq(1), "user_opinion", "original")
    return formulas.glm(MODEL4, frame, family=sm.families.Binomial()).fit()


def plain(term: str) -> str:
    """`C(dataset, Treatment(reference='disinfo'))[T.medqa]` as `dataset medqa`."""
    import re

    return re.sub(
        r"C\((\w+), Treatment\(reference=[^)]*\)\)\[T\.([^\]]*)\]", r"\1 \2", term
    ).replace(":", " × ")


def _exact(quantity: str, wanted: float, got: float, unit: str) -> Row:
    verdict = "equal" if abs(got - wanted) <= EXACT else "differs"
    return Row(quantity, wanted, got, verdict, unit, 0 if float(wanted).is_integer() else 6)
