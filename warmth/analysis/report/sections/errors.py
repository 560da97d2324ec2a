"""Error rates by task, by context and belief, and of every cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from warmth.analysis import wording
from warmth.analysis.report.drawing import own_figures
from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    Cell,
    Column,
    Fold,
    Section,
    Table,
    condition,
    condition_words,
    count,
    rate_cell,
    table,
)
from warmth.analysis.report.study import CELL, Study, ordered, points_of
from warmth.analysis.statistics import effects
from warmth.types import BELIEFS, CONTEXTS

METHOD = Markup(
    "Wrong over scored. Wilson’s interval; where questions recur it is taken at n / deff rows "
    "with t<sub>G−1</sub>, "
    "deff = max(1, V ÷ (p(1 − p)/n)) with the clustered V of paired differences, and larger, up "
    "to n/G, where few "
    "questions hold the rarer outcome."
)
CAPTION = "Every cell. A cell without a scored answer is not scored, which is not zero."
WIDE = 7  # columns; a table with more of them scrolls sideways


def errors(study: Study) -> Section | None:
    """Show error rates by task, by condition and of every cell."""
    arms = study.rows.arms
    by_task = study.rates_by_task
    by_condition = ordered(effects.error_rates(study.pool, ["model", "arm", "context", "belief"]))
    by_cell = ordered(effects.error_rates(study.answers, CELL))
    of_reported = study.answers[study.answers["arm"].isin(study.reported.values())]
    weights = study.settings.weights
    lines = own_figures.lines(of_reported, weights)
    caption = own_figures.TASKS_CAPTION
    if study.several_models:
        caption += f" Models: {weights.about_models}."
    benchmarks = of_reported[own_figures.of_benchmarks(of_reported)]
    drawings = [
        own_figures.tasks(lines, own_figures.unscored(of_reported), caption=caption),
        own_figures.benchmarks(own_figures.benchmark_rates(benchmarks)),
    ]
    columns = [
        MODEL,
        ARM,
        condition("Task", "task"),
        condition("Context", "context"),
        condition("Belief", "belief"),
        count("Answers", "answers"),
        Column("Wrong, %", "number", counted),
        count("Refused", "refused"),
        count("Unscored", "unscored"),
        count("Cut off", "cut_off"),
    ]
    every_cell = table("cells", CAPTION, columns, by_cell, wide=True)
    return Section(
        id="tables",
        title="Error rates",
        nav="Tables",
        parts=[
            *(drawing for drawing in drawings if drawing is not None),
            matrix(by_task, "task", ["model", "task"], arms),
            matrix(by_condition, "condition", ["model", "context", "belief"], arms),
            Fold("Every arm, task and condition", [every_cell], ["error_by_cell"]),
        ],
        frames={
            "error_by_arm": study.rates,
            "error_by_task": by_task,
            "error_by_condition": by_condition,
            "error_by_cell": by_cell,
        },
        methods={"Error rate": METHOD},
        points=pd.concat(
            [
                points_of(by_task, "scored", paired=False, context="", belief=""),
                points_of(lines, "count", paired=False, model=""),
            ]
        ),
    )


def matrix(frame: pd.DataFrame, by: str, keys: Sequence[str], arms: Sequence[str]) -> Table:
    """Make a table of error rates with a row for each task or condition and a column for each arm.

    Args:
        frame: `keys`, arm, rate, low, high, wrong, scored.
        by: the word for what a row is.
        keys: columns that name a row.
        arms: in the order of columns.
    """
    names = [*(key.capitalize() for key in keys), *(wording.name(arm) for arm in arms)]
    kinds = ["text"] * len(keys) + ["number"] * len(arms)
    rows = []
    for key, group in sorted(frame.groupby(list(keys), sort=False), key=_place):
        rates = {row["arm"]: counted(row) for row in group.to_dict("records")}
        words = [Cell(condition_words(name, value)) for name, value in zip(keys, key, strict=True)]
        rows.append([*words, *(rates.get(arm, Cell("—")) for arm in arms)])
    caption = f"Wrong answers by {by}, %. Small: 95 % interval and wrong / scored."
    return Table(f"by-{by}", caption, names, kinds, rows, wide=len(names) > WIDE)


def _place(item: tuple[Any, pd.DataFrame]) -> list[tuple[int, str]]:
    """Sort groups by the study's order of conditions, then by name."""
    known = [*CONTEXTS, *BELIEFS]
    return [(known.index(value) if value in known else len(known), value) for value in item[0]]


def counted(row: Mapping[str, Any]) -> Cell:
    """Make the cell of an error rate with its interval and the counts behind it."""
    cell = rate_cell(row)
    counts = f"{int(row['wrong']):,} / {int(row['scored']):,}"
    return Cell(cell.text, cell.sort, f"{cell.note} · {counts}" if cell.note else counts)
