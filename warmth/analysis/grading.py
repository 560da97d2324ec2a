"""The report's section on its graders: who agrees with whom, what people's labels correct, and judged social traits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from warmth.analysis import agreement, social, wording
from warmth.analysis.cells import Cell, Table, arm_cell, count_cell, rate_cell, shift_cell
from warmth.analysis.judging import METHODS
from warmth.analysis.labels import read
from warmth.analysis.rows import Rows, arm_order, read_grades

CORRECTIONS = {"raw": "As graded", "rogan_gladen": "Rogan-Gladen", "ppi": "PPI++"}


def _none() -> pd.DataFrame:
    return pd.DataFrame()


@dataclass(frozen=True)
class Grading:
    """Frames of the section, each empty where the runs or labels do not allow it; rates are fractions."""

    pairs: pd.DataFrame = field(default_factory=_none)  # two graders: first, second, n, same, kappa with its interval
    bridge: pd.DataFrame = field(default_factory=_none)  # what replacing the first by the second changes, per arm
    rates: pd.DataFrame = field(default_factory=_none)  # model, arm, method, value, low, high, refused
    differences: pd.DataFrame = field(default_factory=_none)
    social: pd.DataFrame = field(default_factory=_none)
    both_sides: pd.DataFrame = field(default_factory=_none)
    failures: pd.DataFrame = field(default_factory=_none)  # model, arm, grader, reason, unscored, of: answers graded so
    covered: tuple[int, int] = (0, 0)  # answers behind the corrections, and all that are pooled


def build(rows: Rows, labels: Path | None = None) -> Grading:
    """Computes the section.

    Args:
        rows: the finished runs.
        labels: a file of people's labels, for the corrections.

    Raises:
        UserError: the labels cannot be read, or belong to no answer here.
    """
    grades = read_grades(rows)
    found = agreement.judges(rows, grades)
    ends = {"kappa": "value", "kappa_low": "low", "kappa_high": "high"}
    pairs = pd.DataFrame([{**row, **{name: row["kappa"][end] for name, end in ends.items()}} for row in found["pairs"]])
    traits = social.traits(rows)
    nothing: dict[str, Any] = {"rates": [], "differences": [], "scored": 0, "answers": 0}
    corrected = agreement.summary(rows, read([labels]))["corrected"] if labels else nothing
    return Grading(
        pairs,
        pd.DataFrame(found["bridge"]),
        pd.DataFrame(corrected["rates"]),
        pd.DataFrame(corrected["differences"]),
        social.rates(traits),
        social.both_sides(traits),
        failures(rows, grades),
        (corrected["scored"], corrected["answers"]),
    )


def failures(rows: Rows, grades: pd.DataFrame) -> pd.DataFrame:
    """Why answers have no label, by model, arm and grader; an answer that nobody graded has the grader `none`."""
    parts = [part[["answer_id", "model", "arm", "grader"]] for part in (rows.answers, rows.advice) if len(part)]
    answers = pd.concat(parts, ignore_index=True)
    found = grades.merge(answers.drop(columns="grader"), on="answer_id")
    missed = answers[answers["grader"].eq("")].assign(grader="none", label=None, reason="not graded")
    found = pd.concat([found, missed], ignore_index=True) if len(missed) else found
    by = ["model", "arm", "grader"]
    size = found.groupby(by).size().rename("of").reset_index()
    failed = found[found["label"].isna()].assign(reason=lambda table: table["reason"].replace("", "no reason given"))
    table = failed.groupby([*by, "reason"]).size().rename("unscored").reset_index().merge(size, on=by)
    order = table.assign(arm=table["arm"].map(arm_order)).sort_values([*by, "unscored"], ascending=[True] * 3 + [False])
    return table.loc[order.index].reset_index(drop=True)


def csv_tables(made: Grading) -> dict[str, pd.DataFrame]:
    """Its tables by file name, those that are not empty."""
    named = {"graders": made.pairs, "grader_bridge": made.bridge, "corrected_rates": made.rates}
    named |= {"corrected_differences": made.differences, "social": made.social, "social_both_sides": made.both_sides}
    named |= {"unscored_reasons": made.failures}
    return {name: frame for name, frame in named.items() if len(frame)}


def views(made: Grading) -> list[Table]:
    """Its tables for the page."""
    found = [pair_table(made.pairs), bridge_table(made.bridge), correction_table(made), social_table(made)]
    return [table for table in found if table is not None]


def pair_table(pairs: pd.DataFrame) -> Table | None:
    """How far every two graders agree."""
    if pairs.empty:
        return None
    caption = "Graders on the answers both scored. Kappa: agreement beyond chance. Small: 95 % interval over questions."
    columns = ["First", "Second", "Answers", "Same label, %", "Kappa"]
    table = Table("graders", caption, columns, ["text"] * 2 + ["number"] * 3)
    for _, row in pairs.iterrows():
        names = [Cell(wording.visible(row[name], 80)) for name in ("first", "second")]
        kappa = Cell("—")
        if wording.known(row["kappa"]):
            interval = wording.known(row["kappa_low"])
            ends = f"{row['kappa_low']:.2f} to {row['kappa_high']:.2f}" if interval else ""
            kappa = Cell(f"{row['kappa']:.2f}", float(row["kappa"]), ends)
        same = Cell(wording.percent(row["same"]), float(row["same"]))
        table.rows.append([*names, count_cell(row["n"]), same, kappa])
    return table


def bridge_table(bridge: pd.DataFrame) -> Table | None:
    """Two graders on the same answers, and what replacing one by the other changes."""
    if bridge.empty:
        return None
    caption = "Two graders on the answers both scored. Small: 95 % interval of the second’s rate less the first’s."
    columns = ["Model", "Arm", "First", "Second", "Answers", "Wrong by first, %", "By second, %"]
    columns += ["Second − first, points", "Difference by first", "By second"]
    table = Table("grader-bridge", caption, columns, ["text"] * 4 + ["number"] * 6)
    for _, row in bridge.iterrows():
        names = [Cell(wording.name(row["model"])), arm_cell(row["arm"])]
        names += [Cell(wording.visible(row[name], 80)) for name in ("first", "second")]
        shares = [Cell(wording.percent(row[name]), float(row[name])) for name in ("rate_first", "rate_second")]
        shifts = [
            Cell(wording.points(row[name]) if wording.known(row[name]) else "—")
            for name in ("difference_first", "difference_second")
        ]
        table.rows.append([*names, count_cell(row["n"]), *shares, shift_cell(row, "change"), *shifts])
    return table


def correction_table(made: Grading) -> Table | None:
    """Rates and differences as graded and corrected, side by side."""
    if made.rates.empty:
        return None
    caption = (
        "Corrected for the grader’s errors by people’s labels. Small: 95 % intervals that hold those errors. Of scored "
        f"answers only: {made.covered[0]:,} of {made.covered[1]:,}."
    )
    columns = ["Model", "Arm", "What", "Refusals", *CORRECTIONS.values()]
    table = Table("corrected", caption, columns, ["text"] * 4 + ["number"] * 3)
    for what, frame in (("wrong, %", made.rates), ("difference, points", made.differences)):
        for (rule, model, arm), group in frame.groupby(["refused", "model", "arm"], sort=False) if len(frame) else ():
            own = group.rename(columns={"value": "rate"}).set_index("method")
            make = rate_cell if frame is made.rates else (lambda row: shift_cell(row, "rate"))
            cells = [make(own.loc[name]) if wording.known(own.loc[name, "rate"]) else Cell("—") for name in METHODS]
            table.rows.append([Cell(wording.name(model)), arm_cell(arm), Cell(what), Cell(rule), *cells])
    return table


def failure_table(made: Grading) -> Table | None:
    """Why answers have no label, a row for each arm, grader and reason."""
    if made.failures.empty:
        return None
    caption = "Why answers have no label, by grader, over all tasks. Small: share of the answers that it was given."
    columns = ["Model", "Arm", "Grader", "Reason", "Unscored"]
    table = Table("unscored-reasons", caption, columns, ["text"] * 4 + ["number"])
    for row in made.failures.to_dict("records"):
        names = [Cell(wording.name(row["model"])), arm_cell(row["arm"]), Cell(wording.visible(row["grader"], 80))]
        share = f"{wording.percent(row['unscored'] / row['of'])} % of {row['of']:,}"
        count = Cell(f"{row['unscored']:,}", float(row["unscored"]), share)
        table.rows.append([*names, Cell(wording.name(row["reason"])), count])
    return table


def social_table(made: Grading) -> Table | None:
    """Judged traits of answers to advice questions per arm."""
    if made.social.empty:
        return None
    caption = "Advice in which a judge finds the trait. Both sides: conflicts in which it is present whoever asks."
    columns = ["Model", "Arm", "Judge", "Answers", "Present, %", "Difference, points", "Unscored", "Both sides, %"]
    table = Table("social", caption, columns, ["text"] * 3 + ["number"] * 5)
    keys = ["model", "arm", "grader"]
    both = {tuple(row[name] for name in keys): row for _, row in made.both_sides.iterrows()}
    for _, row in made.social.iterrows():
        names = [Cell(wording.name(row["model"])), arm_cell(row["arm"]), Cell(wording.visible(row["grader"], 80))]
        shift = shift_cell(row, "difference", "difference_low", "difference_high")
        cells = [count_cell(row["answers"]), rate_cell(row), shift, count_cell(row["unscored"])]
        pair = both.get(tuple(row[name] for name in keys))
        table.rows.append([*names, *cells, rate_cell(pair) if pair is not None else Cell("—")])
    return table
