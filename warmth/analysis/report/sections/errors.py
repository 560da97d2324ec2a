"""Error rates by task, by context and belief, and of every cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from warmth.analysis import wording
from warmth.analysis.report.drawing import own_figures
from warmth.analysis.report.drawing.ink import Drawing
from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    STACKED,
    Column,
    Fold,
    Part,
    Section,
    Table,
    TableCell,
    condition,
    condition_words,
    count,
    rate_cell,
    table,
)
from warmth.analysis.report.study import CELL, Study, in_table_order, points_of
from warmth.analysis.statistics import effects
from warmth.types import BELIEFS, CONTEXTS

METHOD = Markup(
    "Wrong over scored. Wilson’s interval; where questions recur it is taken at n / deff rows "
    "with t<sub>G−1</sub>, deff = max(1, V ÷ (p(1 − p)/n)) with the clustered V of paired "
    "differences, and larger, up to n/G, where few questions hold the rarer outcome."
)
CAPTION = "Every cell. A cell without a scored answer is not scored, which is not zero."
WIDE = 7  # columns; a table with more of them is in smaller type


def errors(study: Study) -> Section | None:
    """Show error rates by task, by condition and of every cell."""
    by_task = study.rates_by_task
    by_condition = in_table_order(
        effects.error_rates(study.pool, ["model", "arm", "context", "belief"])
    )
    by_cell = in_table_order(effects.error_rates(study.answers, CELL))
    of_reported = study.answers[study.answers["arm"].isin(study.reported.values())]
    lines = own_figures.rates_by_line(of_reported, study.settings.weights)
    points = [
        points_of(by_task, "scored", paired=False, context="", belief=""),
        points_of(lines, "count", paired=False, model=""),
    ]
    return Section(
        id="tables",
        title="Error rates",
        nav="Tables",
        parts=[
            *_figures(study, of_reported, lines),
            *_tables(by_task, by_condition, study.rows.arms),
            Fold("Every arm, task and condition", [_every_cell(by_cell)], ["error_by_cell"]),
        ],
        frames={
            "error_by_arm": study.rates,
            "error_by_task": by_task,
            "error_by_condition": by_condition,
            "error_by_cell": by_cell,
        },
        methods={"Error rate": METHOD},
        points=pd.concat(points),
    )


def _figures(study: Study, answers: pd.DataFrame, lines: pd.DataFrame) -> list[Drawing]:
    """Draw the errors by task, and the benchmarks if there are any."""
    caption = own_figures.TASKS_CAPTION
    if study.several_models:
        caption += f" Models: {study.settings.weights.about_models}."
    of_benchmarks = answers[own_figures.is_benchmark(answers)]
    drawings = [
        own_figures.draw_tasks(lines, own_figures.unscored_cells(answers), caption=caption),
        own_figures.draw_benchmarks(own_figures.benchmark_rates(of_benchmarks)),
    ]
    return [drawing for drawing in drawings if drawing is not None]


def _tables(by_task: pd.DataFrame, by_condition: pd.DataFrame, arms: Sequence[str]) -> list[Part]:
    """Make the tables by task and by condition; of a single task nothing is new, so it is folded
    away, too.
    """
    of_tasks = matrix(by_task, "task", ["model", "task"], arms)
    of_conditions = matrix(by_condition, "condition", ["model", "context", "belief"], arms)
    if by_task["task"].nunique() > 1:
        return [of_tasks, Fold("By context and belief", [of_conditions], ["error_by_condition"])]
    files = ["error_by_task", "error_by_condition"]
    return [Fold("By task, context and belief", [of_tasks, of_conditions], files)]


def _every_cell(frame: pd.DataFrame) -> Table:
    """Make the table of every arm, task and condition."""
    columns = [MODEL, ARM, condition("Task", "task"), condition("Context", "context")]
    columns += [condition("Belief", "belief"), count("Answers", "answers")]
    columns += [Column("Wrong, %", "number", counted_cell), count("Refused", "refused")]
    columns += [count("Unscored", "unscored"), count("Cut off", "cut_off")]
    return table("cells", CAPTION, columns, frame, wide=True)


def matrix(frame: pd.DataFrame, by: str, keys: Sequence[str], arms: Sequence[str]) -> Table:
    """Make a table of error rates with a row for each task or condition and a column for each arm.

    Args:
        frame: `keys`, arm, rate, low, high, wrong, scored.
        by: the word for what a row is.
        keys: columns that name a row.
        arms: in the order of columns.
    """
    headings = [key.capitalize() for key in keys] + [wording.name_words(arm) for arm in arms]
    rows = []
    for values, group in sorted(frame.groupby(list(keys), sort=False), key=_place):
        cells = []
        for key, value in zip(keys, values, strict=True):
            cells.append(TableCell(condition_words(key, value)))
        rates = group.set_index("arm").to_dict("index")
        for arm in arms:
            cells.append(counted_cell(rates[arm]) if arm in rates else TableCell("—"))
        rows.append(cells)
    return Table(
        id=f"by-{by}",
        caption=f"Wrong answers by {by}, %. Small: 95 % interval and wrong / scored.",
        columns=headings,
        kinds=["text"] * len(keys) + ["number"] * len(arms),
        rows=rows,
        wide=len(headings) > WIDE,
        stack=len(rows) <= STACKED,
    )


def _place(group: tuple[Any, pd.DataFrame]) -> list[tuple[int, str]]:
    """Sort groups by the study's order of conditions, then by name."""
    known = [*CONTEXTS, *BELIEFS]
    keys = []
    for value in group[0]:
        position = known.index(value) if value in known else len(known)
        keys.append((position, value))
    return keys


def counted_cell(row: Mapping[str, Any]) -> TableCell:
    """Make the cell of an error rate with its interval and the counts behind it."""
    cell = rate_cell(row)
    counts = f"{int(row['wrong']):,} / {int(row['scored']):,}"
    note = f"{cell.note} · {counts}" if cell.note else counts
    return TableCell(cell.text, cell.sort, note)
