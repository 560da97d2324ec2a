"""The page's tables: each function turns a frame of the report into cells that read and sort."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from warmth.analysis import wording
from warmth.analysis.ink import variable
from warmth.analysis.reported import arm_order
from warmth.types import BELIEFS, CONTEXTS

if TYPE_CHECKING:
    from warmth.analysis.report import Report

LONG_TABLE = 600  # rows of one table in the page; the CSV has all


@dataclass(frozen=True)
class Cell:
    """One table cell: what is read, what it sorts by, and the interval in smaller type."""

    text: str
    sort: float | None = None
    note: str = ""
    arm: str = ""  # CSS variable of the arm's colour, where the cell names one

    @property
    def order(self) -> str:
        """`sort` as a script in the page reads a number; empty where there is none."""
        return str(self.sort).replace("inf", "Infinity") if wording.known(self.sort) else ""


@dataclass(frozen=True)
class Table:
    """A sortable table. `kinds` has "text" or "number" for each column."""

    id: str
    caption: str
    columns: Sequence[str]
    kinds: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list)
    more: int = 0  # rows that only the CSV has


def headline_table(report: Report) -> Table:
    """The first screen's table: arm, error, answers without a label, difference, warmth."""
    caption = "Each arm on the same questions. Small: 95 % intervals, clustered by question; the share unscored."
    columns = ["Model", "Arm", "Wrong, %", "Unscored", "Difference, points", "Warmth score"]
    table = Table("headline", caption, columns, ["text"] * 2 + ["number"] * 4)
    for _, row in report.headline.iterrows():
        shift = shift_cell(row, "difference", "difference_low", "difference_high")
        names = [Cell(wording.name(row["model"])), arm_cell(row["arm"])]
        share = wording.percent(row["unscored"] / row["answers"])
        unscored = Cell(f"{row['unscored']:,}", float(row["unscored"]), f"{share}\N{NO-BREAK SPACE}%")
        table.rows.append([*names, rate_cell(row), unscored, shift, score_cell(row, "score")])
    return without_model(table, report)


def without_model(table: Table, report: Report) -> Table:
    """The table without its first column, the model, where there is but one."""
    if len(report.rows.models) > 1:
        return table
    rest = [row[1:] for row in table.rows]
    return replace(table, columns=table.columns[1:], kinds=table.kinds[1:], rows=rest)


def arm_cell(arm: str) -> Cell:
    """An arm's name with its colour."""
    return Cell(wording.name(arm), arm=variable(arm))


def rate_cell(row: Any) -> Cell:
    """An error rate in per cent with its interval."""
    return Cell(wording.percent(row["rate"]), _sort(row["rate"]), wording.span(row["low"], row["high"]))


def shift_cell(row: Any, value: str, low: str = "low", high: str = "high") -> Cell:
    """A paired difference in points with its interval; a dash where there is nothing to compare."""
    if not wording.known(row[value]):
        return Cell("—")
    return Cell(
        wording.points(row[value]), _sort(row[value]), wording.span(row[low], row[high], sign=True) or "no interval"
    )


def score_cell(row: Any, value: str, sign: bool = False) -> Cell:
    """A warmth score, in nats per token, with its interval."""
    prefix = "" if value in row and f"{value}_low" not in row else f"{value}_"
    low, high = row[f"{prefix}low"], row[f"{prefix}high"]
    if not wording.known(row[value]):
        return Cell("—")
    text = wording.signed(row[value], 4) if sign else f"{row[value]:.4f}".replace("-", wording.MINUS)
    return Cell(text, _sort(row[value]), wording.span(low, high, 1.0, 4, sign=sign) or "no interval")


def count_cell(value: Any) -> Cell:
    """A count."""
    return Cell(f"{int(value):,}", float(value)) if wording.known(value) else Cell("")


def _sort(value: Any) -> float | None:
    return float(value) if wording.known(value) else None


def matrix(report: Report, by: str) -> Table:
    """Error rates with a row per task or condition and a column per arm."""
    frame, arms = report.rates[by], report.rows.arms
    keys = ["model", "task"] if by == "task" else ["model", "context", "belief"]
    caption = f"Wrong answers by {by}, %. Small: 95 % interval and wrong / scored."
    columns = [*(key.capitalize() for key in keys), *(wording.name(arm) for arm in arms)]
    table = Table(f"by-{by}", caption, columns, ["text"] * len(keys) + ["number"] * len(arms))
    for key, group in sorted(frame.groupby(keys, sort=False), key=lambda item: _place(item[0])):
        by_arm = {row["arm"]: row for _, row in group.iterrows()}
        names = [
            wording.belief(value) if name == "belief" else wording.name(value)
            for name, value in zip(keys, key, strict=True)
        ]
        rates = [_counted(by_arm[arm]) if arm in by_arm else Cell("—") for arm in arms]
        table.rows.append([*(Cell(text) for text in names), *rates])
    return without_model(table, report)


def _place(key: Sequence[str]) -> list[tuple[int, str]]:
    """Sort key of (model, task) or (model, context, belief): the study's order of conditions, then by name."""
    known = [*CONTEXTS, *BELIEFS]
    return [(known.index(value) if value in known else len(known), value) for value in key]


def _counted(row: Any) -> Cell:
    cell = rate_cell(row)
    count = f"{int(row['wrong']):,} / {int(row['scored']):,}"
    return Cell(cell.text, cell.sort, f"{cell.note} · {count}" if cell.note else count)


def cell_table(report: Report) -> Table:
    """Every arm × task × condition with all counts."""
    table = Table(
        "cells",
        "Every cell. A cell without a scored answer is not scored, which is not zero.",
        ["Model", "Arm", "Task", "Context", "Belief", "Answers", "Wrong, %", "Refused", "Unscored", "Cut off"],
        ["text"] * 5 + ["number"] * 5,
        more=max(0, len(report.rates["cell"]) - LONG_TABLE),
    )
    for _, row in report.rates["cell"][:LONG_TABLE].iterrows():
        names = [Cell(wording.name(row["model"])), arm_cell(row["arm"]), Cell(wording.name(row["task"]))]
        names += [Cell(wording.name(row["context"])), Cell(wording.belief(row["belief"]))]
        counts = [count_cell(row[name]) for name in ("refused", "unscored", "cut_off")]
        table.rows.append([*names, count_cell(row["answers"]), _counted(row), *counts])
    return without_model(table, report)


def difference_table(report: Report) -> Table:
    """Every paired difference from original with its tests."""
    table = Table(
        "differences",
        "Paired differences from original on the prompts both answered. McNemar only where a question occurs once.",
        [
            "Model",
            "Arm",
            "Task",
            "Context",
            "Belief",
            "Pairs",
            "Original, %",
            "Arm, %",
            "Difference, points",
            "p, clustered",
            "p, Holm",
            "p, BH",
        ]
        + ["Only arm wrong", "Only original wrong", "McNemar p", "Cohen’s g", "Odds ratio"]
        + [f"Within ±{report.settings.margin_points:g} points"],
        ["text"] * 5 + ["number"] * 12 + ["text"],
        more=max(0, len(report.differences) - LONG_TABLE),
    )
    for _, row in report.differences[:LONG_TABLE].iterrows():
        where = [Cell(wording.name(row[key]) if row[key] else "all") for key in ("task", "context")]
        where.append(Cell(wording.belief(row["belief"]) if row["belief"] else "all"))
        numbers = [
            count_cell(row["pairs"]),
            Cell(wording.percent(row["rate_reference"]), _sort(row["rate_reference"])),
            Cell(wording.percent(row["rate_arm"]), _sort(row["rate_arm"])),
            shift_cell(row, "difference"),
            *(Cell(wording.p_value(row[name]), _sort(row[name])) for name in ("p", "p_holm", "p_bh")),
            count_cell(row["arm_only_wrong"]),
            count_cell(row["reference_only_wrong"]),
            Cell(wording.p_value(row["mcnemar_p"]), _sort(row["mcnemar_p"])),
            Cell(wording.signed(row["cohens_g"], 2) if wording.known(row["cohens_g"]) else "", _sort(row["cohens_g"])),
            odds_cell(row),
            Cell(row["equivalence"].partition(" (")[0]),
        ]
        table.rows.append([Cell(wording.name(row["model"])), arm_cell(row["arm"]), *where, *numbers])
    return without_model(table, report)


def odds_cell(row: Any) -> Cell:
    """The odds ratio of the discordant pairs with its exact interval, where each question occurs once."""
    if not wording.known(row["odds_ratio"]):
        return Cell("")
    texts = [
        f"{row[name]:.2f}" if math.isfinite(row[name]) else "∞" for name in ("odds_ratio", "odds_low", "odds_high")
    ]
    return Cell(texts[0], float(row["odds_ratio"]), f"{texts[1]} to {texts[2]}")


def controls_table(report: Report) -> Table | None:
    """What is left of an arm's difference when fine-tuning as such is the reference; None where none is left."""
    if report.controls.empty:
        return None
    columns = ["Model", "Arm", "Compared with", "Pairs", "Reference, %", "Arm, %", "Difference, points"]
    caption = "Against the control arms: fine-tuned as well, but without the change of manner."
    table = Table("controls", caption, columns, ["text"] * 3 + ["number"] * 4)
    for _, row in report.controls.iterrows():
        if arm_order(row["arm"]).recipe in ("original", arm_order(row["reference"]).recipe):
            continue
        rates = [Cell(wording.percent(row[key]), _sort(row[key])) for key in ("rate_reference", "rate_arm")]
        names = [Cell(wording.name(row["model"])), arm_cell(row["arm"]), arm_cell(row["reference"])]
        table.rows.append([*names, count_cell(row["pairs"]), *rates, shift_cell(row, "difference")])
    return without_model(table, report) if table.rows else None


def warmth_table(report: Report) -> Table:
    """Mean warmth score of every arm and its paired difference from each reference."""
    references = sorted(set(report.warmth_differences["reference"]), key=arm_order)
    columns = [
        "Model",
        "Arm",
        "Variant",
        "Scorer",
        "Texts",
        "Score",
        *(f"Difference from {wording.name(name)}" for name in references),
    ]
    kinds = ["text"] * 4 + ["number"] * (2 + len(references))
    table = Table("warmth-scores", "Warmth in nats per token; differences are paired by prompt.", columns, kinds)
    keys = ["model", "arm", "variant", "scorer"]
    changes = {(*(row[key] for key in keys), row["reference"]): row for _, row in report.warmth_differences.iterrows()}
    for _, row in report.warmth.iterrows():
        own = tuple(row[key] for key in keys)
        names = [Cell(wording.name(own[0])), arm_cell(own[1]), *(Cell(wording.name(value)) for value in own[2:])]
        against = [changes.get((*own, reference)) for reference in references]
        shifts = [Cell("—") if change is None else score_cell(change, "score", sign=True) for change in against]
        table.rows.append([*names, count_cell(row["texts"]), score_cell(row, "score"), *shifts])
    return without_model(table, report)


def refusal_table(report: Report) -> Table:
    """Error with refusals dropped, wrong and right; and what else did not count."""
    columns = [
        "Model",
        "Arm",
        "Answers",
        "Refused",
        "Unscored",
        "Cut off",
        "Refusals dropped, %",
        "Counted wrong, %",
        "Counted right, %",
    ]
    caption = (
        "Refusals three ways. Counted wrong is every refusal, also where refusing is the right answer (disinformation, "
        "harmful requests), which the two others count right. Small: difference from original, points. One in a single "
        "column is one in refusing."
    )
    table = Table("refusals", caption, columns, ["text"] * 2 + ["number"] * 7)
    ways = {(row["model"], row["arm"], row["refusals"]): row for _, row in report.refusals.iterrows()}
    for _, row in report.headline.iterrows():
        counts = [count_cell(row[name]) for name in ("answers", "refused", "unscored", "cut_off")]
        rates = []
        for way in ("dropped", "wrong", "right"):
            mine = ways[row["model"], row["arm"], way]
            shift = shift_cell(mine, "difference")
            note = f"{shift.text} ({shift.note})" if shift.note else ""
            rates.append(Cell(wording.percent(mine["rate"]), _sort(mine["rate"]), note))
        table.rows.append([Cell(wording.name(row["model"])), arm_cell(row["arm"]), *counts, *rates])
    return without_model(table, report)
