"""The figure of `warmth compare`: a line for each difference with its interval and its bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from warmth.analysis import wording
from warmth.analysis.compare.differences import Comparison
from warmth.analysis.compare.scores import shown
from warmth.analysis.report.drawing.ink import INK, MUTED, RULE, STYLE, Drawing, finish

MOST = 60  # lines of one figure
LABEL = 44  # characters of a line's name


def comparison_forest(comparison: Comparison) -> Drawing | None:
    """Draw the differences of every row, in the order of the table; None if nothing has a
    difference.
    """
    rows = comparison.rows[comparison.rows["difference"].notna()].head(MOST)
    if rows.empty:
        return None
    several = len(comparison.systems) > 2
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 0.34 * len(rows)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=MUTED, linewidth=0.8)
        names = []
        for number, row in enumerate(rows.to_dict("records")):
            names.append(_name(row, several))
            _draw(axes, number, row)
        axes.set_yticks(range(len(rows)), names)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"score less {shown(comparison.systems[0])}’s")
        caption = (
            "Differences on the items that both scored. Lines: 95 % intervals; grey bars: what "
            "missing scores could make of them."
        )
        return finish(figure, "differences", caption, _alt(rows))


def _draw(axes: Axes, place: int, row: Mapping[str, Any]) -> None:
    """Draw one difference with its interval and its bounds."""
    heights = [place, place]
    if row["bounds"] is not None and row["bounds"][0] < row["bounds"][1]:
        style = {"color": RULE, "linewidth": 6, "solid_capstyle": "butt", "zorder": 1}
        axes.plot(row["bounds"], heights, **style)
    if wording.known(row["low"]):
        axes.plot([row["low"], row["high"]], heights, color=INK, linewidth=1.4, zorder=2)
    axes.plot([row["difference"]], [place], marker="o", markersize=5, color=INK, zorder=3)


def _name(row: Mapping[str, Any], several: bool) -> str:
    """Name a line by its task and metric, and by its system if there are several."""
    names = [row["task"], row["metric"]]
    if several:
        names.append(row["b"])
    return wording.visible(", ".join(filter(None, names)), LABEL)


def _alt(rows: pd.DataFrame) -> str:
    """Say the differences in words, for readers who do not see the figure."""
    numbers = []
    for row in rows.to_dict("records"):
        numbers.append(f"{wording.name_words(row['metric'])} {row['difference']:+.3f}")
    return f"Differences: {'; '.join(numbers)}."
