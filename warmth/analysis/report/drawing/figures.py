"""The study's figures, drawn from the tables of `effects`.

Each returns None where its table is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from warmth.analysis import wording
from warmth.analysis.report.drawing.ink import (
    INK,
    MUTED,
    RULE,
    STYLE,
    Drawing,
    bar,
    colour,
    finish,
    marker,
    panel_title,
    place_labels,
    point_id,
    row_of_panels,
    spread,
)
from warmth.analysis.rows.arm_names import CONTROLS, arm_order, control_of
from warmth.types import BELIEFS, CONTEXTS

BELIEF_MARKERS = {
    "none": ("o", False),
    "wrong_asserted": ("o", True),
    "right_denied": ("D", True),
    "user_right": ("^", False),
    "wrong_denied": ("v", False),
}
ACROSS = 3  # panels side by side; more would be too small to read on a page or on paper
LABELLED = (
    2  # points of each belief that a panel of the scatter names: those farthest from the diagonal
)


def frontier(
    headline: pd.DataFrame, chosen: Mapping[str, str], kinds: Mapping[str, str]
) -> Drawing | None:
    """Warmth score against error rate, a point per arm with both intervals, a panel per model on
    shared axes.

    Args:
        headline: model, arm, rate, low, high (fractions), score, score_low, score_high (nats per
        token).
        chosen: recipe → its reported arm; lines go from the strictest control's that was made as
        the arm was.
        kinds: arm → how it was made.
    """
    shown = headline[headline["score"].notna() & headline["rate"].notna()]
    if shown.empty:
        return None
    models = sorted(shown["model"].unique())
    with rc_context(STYLE):
        across, down = min(ACROSS, len(models)), -(-len(models) // ACROSS)
        size = (4.8, 3.7) if across == 1 else (2.6 * across, 0.3 + 3.0 * down)
        figure = Figure(figsize=size, layout="constrained")
        panels = row_of_panels(
            figure.subplots(down, across, sharex=True, sharey=True, squeeze=False), len(models)
        )
        cells = {model: shown[shown["model"].eq(model)] for model in models}
        starts: list[str] = []
        for axes, (model, cell) in zip(panels, cells.items(), strict=True):
            starts += _frontier_panel(axes, cell, chosen, kinds)
            if len(models) > 1:
                panel_title(axes, wording.name(model))
        figure.supylabel("wrong answers, %", fontsize=9)
        figure.supxlabel("warmth score, nats per token   (warmer →)", fontsize=9)
        _roomy(panels[0], shown)
        settle(figure)
        for axes, cell in zip(panels, cells.values(), strict=True):
            at = [(row["score"], 100 * row["rate"]) for _, row in cell.iterrows()]
            place_labels(
                axes,
                at,
                [wording.name(arm) for arm in cell["arm"]],
                [colour(arm) for arm in cell["arm"]],
                9,
            )
        text = "; ".join(
            f"{wording.name(r['arm'])} {r['score']:.4f} and {wording.percent(r['rate'])} %"
            for _, r in shown.iterrows()
        )
        caption = (
            "Warmth against error. Rightwards, replies read warmer; upwards, more are wrong. "
            f"{_lines_from(starts)}Bars: 95 % intervals."
        )
        return finish(figure, "frontier", caption, f"Warmth score and error rate by arm: {text}.")


def _frontier_panel(
    axes: Axes, cell: pd.DataFrame, chosen: Mapping[str, str], kinds: Mapping[str, str]
) -> list[str]:
    """Draw one model's arms; returns the arms that lines start from."""
    starts = []
    for _, row in cell.iterrows():
        ink, x, y = colour(row["arm"]), row["score"], 100 * row["rate"]
        start = control(cell, chosen, kinds.get(row["arm"], ""))
        if start is not None and arm_order(row["arm"]).recipe not in CONTROLS:
            starts.append(str(start["arm"]))
            axes.plot(
                [start["score"], x], [100 * start["rate"], y], color=RULE, linewidth=1, zorder=1
            )
        axes.plot([row["score_low"], row["score_high"]], [y, y], color=ink, linewidth=1.1, zorder=2)
        axes.plot([x, x], [100 * row["low"], 100 * row["high"]], color=ink, linewidth=1.1, zorder=2)
        look = {
            "linestyle": "none",
            "markersize": 6.5,
            "markeredgewidth": 1.3,
            "zorder": 3,
            **marker(row["arm"]),
        }
        axes.plot([x], [y], gid=point_id(row["model"], row["arm"]), **look)
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
    return starts


def _lines_from(starts: Iterable[str]) -> str:
    """Say where the lines start, and what they show for that."""
    arms = list(dict.fromkeys(starts))
    if not arms:
        return ""
    shows = (
        "" if "original" in arms else ", made as the arm was, so that they show the manner alone"
    )
    return f"Lines: from {wording.joined([wording.named(arm) for arm in arms])}{shows}. "


def control(cell: pd.DataFrame, chosen: Mapping[str, str], kind: str) -> pd.Series | None:
    """Find the arm that a manner departs from: the strictest control made as it was, else the
    original.
    """
    for arm in (*control_of(kind, chosen), "original"):
        rows = cell[cell["arm"].eq(arm)]
        if len(rows):
            return rows.iloc[0]
    return None


def _roomy(axes: Axes, shown: pd.DataFrame) -> None:
    """Leaves a margin for labels around the points."""
    left, right = (
        shown[["score", "score_low"]].min().min(),
        shown[["score", "score_high"]].max().max(),
    )
    pad = 0.12 * (right - left or 0.01)
    axes.set_xlim(left - pad, right + pad)
    axes.locator_params(axis="x", nbins=5)


CONTEXTS_CAPTION = (
    "Each point is one context and belief; above the diagonal the arm is wrong more often than "
    "original on the same "
    "prompts. Names: the contexts farthest from it. Thin bars: 95 % intervals. Above the "
    "diagonal: {above}."
)


def contexts(
    cells: pd.DataFrame,
    name: str = "contexts",
    caption: str = CONTEXTS_CAPTION,
    together: str = "all models",
    asked: str = "",
) -> Drawing | None:
    """Draw each arm's error against the original's, a point per context and belief, and the line of
    no difference.

    A panel per arm, a row of panels per model, all models together first; of one arm alone, side by
    side.

    Args:
        cells: rows of family `condition` from `effects.differences`, with arm_low … reference_high
            of either rate; those of all models together have the model "".
        name: of the figure's file.
        caption: below it; `{above}` is how many points of each arm lie above the diagonal.
        together: what the panel of all models is called.
        asked: the arm in question, whose panel comes first.
    """
    if cells.empty:
        return None
    models = sorted(cells["model"].unique())
    arms = in_order(cells["arm"], asked)
    low, high = _ends(cells)
    with rc_context(STYLE):
        shown = [[(model, arm) for arm in arms] for model in models]
        shown = shown if len(arms) > 1 else [[pair for row in shown for pair in row]]
        across, down = min(ACROSS, len(shown[0])), -(-len(shown[0]) // ACROSS)
        width = max(4.6, 0.7 + 2.4 * across)
        figure = Figure(figsize=(width, 0.75 + 2.5 * len(shown) * down), layout="constrained")
        grid = figure.subplots(len(shown) * down, across, sharex=True, sharey=True, squeeze=False)
        panels = [
            row_of_panels(grid[start : start + down], len(shown[0]))
            for start in range(0, len(grid), down)
        ]
        for row, pairs in zip(panels, shown, strict=True):
            for axes, (model, arm) in zip(row, pairs, strict=True):
                axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
                for axis in (axes.xaxis, axes.yaxis):
                    axis.set_major_locator(MultipleLocator(20 if high - low > 40 else 10))
                axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8, zorder=1)
                one = wording.name(model) if model else together
                title = wording.name(arm) if len(models) == 1 else f"{one}: {wording.name(arm)}"
                panel_title(axes, title, colour(arm))
                _context_points(
                    axes, cells[cells["model"].eq(model) & cells["arm"].eq(arm)], colour(arm)
                )
            for axes in row[::across]:
                axes.set_ylabel("wrong in this arm, %")
        figure.supxlabel(
            "wrong in original, same prompts, %   (above the line: more errors)", fontsize=9
        )
        _belief_key(
            figure,
            [value for value in BELIEFS if value in set(cells["belief"])],
            4 if across > 2 else 2,
        )
        settle(figure)
        for row, pairs in zip(panels, shown, strict=True):
            for axes, (model, arm) in zip(row, pairs, strict=True):
                _context_labels(axes, cells[cells["model"].eq(model) & cells["arm"].eq(arm)])
        cells = cells[cells["model"].ne("")]
        above = {
            arm: int((cells.loc[cells["arm"].eq(arm), "difference"] > 0).sum()) for arm in arms
        }
        each = {arm: int(cells["arm"].eq(arm).sum()) for arm in arms}
        summary = wording.joined(
            [f"{wording.name(arm)} {above[arm]} of {each[arm]}" for arm in arms]
        )
        alt = f"Error of each arm against original. Points above the diagonal: {summary}."
        return finish(figure, name, caption.replace("{above}", summary), alt)


def _ends(cells: pd.DataFrame) -> tuple[float, float]:
    """The ends of the scatter's axes in %: all points, and all intervals but the longest tenth."""
    rates = cells[["rate_reference", "rate_arm"]].to_numpy()
    low, high = np.nanmin(rates), np.nanmax(rates)
    lows, highs = (cells[[f"reference_{end}", f"arm_{end}"]].to_numpy() for end in ("low", "high"))
    if np.isfinite(lows).any():
        low, high = min(low, np.nanquantile(lows, 0.1)), max(high, np.nanquantile(highs, 0.9))
    return max(0.0, 5 * np.floor(20 * low - 0.2)), min(100.0, 5 * np.ceil(20 * high + 0.2))


def _context_points(axes: Axes, cell: pd.DataFrame, ink: str) -> None:
    for _, row in cell.iterrows():
        x, y = 100 * row["rate_reference"], 100 * row["rate_arm"]
        axes.plot(
            [x, x],
            [100 * row["arm_low"], 100 * row["arm_high"]],
            color=ink,
            linewidth=0.7,
            alpha=0.35,
        )
        axes.plot(
            [100 * row["reference_low"], 100 * row["reference_high"]],
            [y, y],
            color=ink,
            linewidth=0.7,
            alpha=0.35,
        )
        shape, filled = BELIEF_MARKERS.get(row["belief"], ("s", True))
        name = point_id(row["model"], row["arm"], "", row["context"], row["belief"])
        look = {
            "markerfacecolor": ink if filled else "none",
            "markersize": 5,
            "zorder": 3,
            "gid": name,
        }
        axes.plot([x], [y], shape, color=ink, clip_on=False, **look)  # whole at 0 and at 100 %


def _context_labels(axes: Axes, cell: pd.DataFrame) -> None:
    far = cell.reindex(cell["difference"].abs().sort_values(ascending=False, kind="stable").index)
    far = far.groupby("belief", sort=False).head(LABELLED)
    at = [(100 * row["rate_reference"], 100 * row["rate_arm"]) for _, row in far.iterrows()]
    place_labels(
        axes, at, [wording.name(value) for value in far["context"]], [INK] * len(at), 7.5, drop=True
    )


def _belief_key(figure: Figure, beliefs: Sequence[str], across: int) -> None:
    look = {"linestyle": "none", "color": MUTED, "markersize": 5}
    handles = []
    for value in beliefs:
        shape, filled = BELIEF_MARKERS[value]
        fill = MUTED if filled else "none"
        handles.append(
            Line2D([], [], marker=shape, markerfacecolor=fill, label=wording.belief(value), **look)
        )
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=across,
        frameon=False,
        fontsize=8,
        handletextpad=0.1,
        columnspacing=1.4,
    )


def settle(figure: Figure) -> None:
    """Lays a figure out once and for all, so that labels placed by pixel stay where they are
    put.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def in_order(arms: pd.Series, asked: str) -> list[str]:
    """List arms in the order of tables, the arm in question first: on a phone a figure's other
    panels are to the right of the screen.
    """
    ordered = sorted(arms.unique(), key=arm_order)
    if asked in ordered:
        ordered.remove(asked)
        ordered.insert(0, asked)
    return ordered


def forest(table: pd.DataFrame, model: str, number: int, asked: str = "") -> Drawing | None:
    """Paired differences from original: a row per task, context and belief, a panel per arm.

    The axis is shared by all arms of all models.

    Args:
        table: `effects.differences`, all models.
        model: whose rows are drawn.
        number: position of the model, for the figure's name.
        asked: the arm in question, whose panel comes first.
    """
    shown = table[table["family"].isin(["overall", "task", "context", "belief"])]
    table = shown[shown["model"].eq(model)]
    if table.empty:
        return None
    several, ends = shown["model"].nunique() > 1, 100 * shown[["low", "difference", "high"]]
    ends = ends.clip(-100, 100)
    left, right = min(0.0, float(ends.min().min())), max(0.0, float(ends.max().max()))
    pad = 0.05 * (right - left or 1.0)
    arms = in_order(table["arm"], asked)
    lines = _forest_lines(table)
    with rc_context(STYLE):
        across, down = min(ACROSS, len(arms)), -(-len(arms) // ACROSS)
        size = (max(4.6, 1.9 + 1.9 * across), 0.5 + down * (0.4 + 0.235 * len(lines)))
        figure = Figure(figsize=size, layout="constrained")
        panels = row_of_panels(
            figure.subplots(down, across, sharex=True, sharey=True, squeeze=False), len(arms)
        )
        for axes, arm in zip(panels, arms, strict=True):
            _forest_panel(axes, table[table["arm"].eq(arm)], lines, arm)
            axes.set_xlim(left - pad, right + pad)
            title = f"{wording.name(model)}: {wording.name(arm)}" if several else wording.name(arm)
            panel_title(axes, title, colour(arm))
        panels[0].set_yticks(range(len(lines)), [label for _, _, label in lines])
        for axes in panels[::across]:
            for tick, (family, _, _) in zip(axes.get_yticklabels(), lines, strict=True):
                tick.set_color(MUTED if family == "" else INK)
        figure.supxlabel(
            "difference from original, percentage points   (more errors →)", fontsize=9
        )
        text = "; ".join(
            f"{wording.name(row['arm'])} {wording.points(row['difference'])}"
            for _, row in table[table["family"].eq("overall")].iterrows()
        )
        caption = (
            f"{wording.name(model)}: paired difference in error from original; 95 % "
            f"intervals clustered by question."
        )
        return finish(
            figure,
            "differences" if not number else f"differences-{number}",
            caption,
            f"Overall differences: {text}.",
        )


def _forest_lines(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """(family, value, label) from top to bottom; family "" is a heading."""
    orders: dict[str, list[str]] = {
        "task": sorted(table.loc[table["family"].eq("task"), "task"].unique()),
        "context": _ordered(table.loc[table["family"].eq("context"), "context"], CONTEXTS),
        "belief": _ordered(table.loc[table["family"].eq("belief"), "belief"], BELIEFS),
    }
    lines = [("overall", "", "all answers")]
    for family, values in orders.items():
        if len(values) > 1:
            say = wording.belief if family == "belief" else wording.name
            lines += [("", "", family.upper()), *((family, value, say(value)) for value in values)]
    return lines


def _ordered(values: pd.Series, order: Sequence[str]) -> list[str]:
    found = set(values)
    return [*(value for value in order if value in found), *sorted(found - set(order))]


def _forest_panel(
    axes: Axes, table: pd.DataFrame, lines: list[tuple[str, str, str]], arm: str
) -> None:
    axes.axvline(0, color=MUTED, linewidth=0.8)
    for height, (family, value, _) in enumerate(lines):
        rows = table[table["family"].eq(family)]
        rows = rows[rows[family].eq(value)] if family in ("task", "context", "belief") else rows
        for _, row in rows.iterrows():
            if wording.known(row["low"]):
                bar(
                    axes,
                    row["low"],
                    row["high"],
                    height,
                    colour(arm),
                    1.8 if family == "overall" else 1.1,
                )
            size = 6.5 if family == "overall" else 5
            name = point_id(row["model"], arm, *(row[key] for key in ("task", "context", "belief")))
            look = {"linestyle": "none", "markersize": size, "gid": name, **marker(arm)}
            axes.plot([100 * row["difference"]], [height], **look)
    axes.set_ylim(len(lines) - 0.4, -0.8)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)


def losses(rows: pd.DataFrame) -> Drawing | None:
    """Training loss by epoch, a line per run, labelled at its end; a panel per model."""
    if rows.empty:
        return None
    models = sorted(rows["model"].unique())
    with rc_context(STYLE):
        across, down = min(ACROSS, len(models)), -(-len(models) // ACROSS)
        size = (4.8, 2.7) if across == 1 else (0.4 + 2.5 * across, 0.3 + 2.2 * down)
        figure = Figure(figsize=size, layout="constrained")
        panels = row_of_panels(
            figure.subplots(down, across, sharex=True, squeeze=False), len(models)
        )
        last: list[str] = []
        for axes, model in zip(panels, models, strict=True):
            runs: list[tuple[Any, pd.DataFrame]] = list(
                rows[rows["model"].eq(model)].groupby(["arm", "run"])
            )
            for (arm, _), run in runs:
                axes.plot(run["epoch"], run["loss"], color=colour(arm), linewidth=1.2)
                last.append(f"{wording.name(arm)} {run['loss'].iloc[-1]:.2f}")
            _end_labels(axes, runs)
            panel_title(axes, wording.name(model) if len(models) > 1 else "")
            axes.grid(axis="y", color=RULE, linewidth=0.5)
        figure.supylabel("loss, nats per token", fontsize=9)
        figure.supxlabel("epoch", fontsize=9)
        caption = (
            "Training loss of each fine-tuned arm on its own replies; levels differ because "
            "the replies do."
        )
        return finish(figure, "losses", caption, f"Last training loss: {'; '.join(last)}.")


def _end_labels(axes: Axes, runs: list[tuple[Any, pd.DataFrame]]) -> None:
    low, high = axes.get_ylim()
    ends = {arm: (run["epoch"].iloc[-1], run["loss"].iloc[-1]) for (arm, _), run in runs}
    heights = spread([loss for _, loss in ends.values()], 0.075 * (high - low))
    for (arm, (epoch, _)), height in zip(ends.items(), heights, strict=True):
        axes.annotate(
            wording.name(arm),
            (epoch, height),
            (5, 0),
            textcoords="offset points",
            color=colour(arm),
            fontsize=8,
            va="center",
        )
