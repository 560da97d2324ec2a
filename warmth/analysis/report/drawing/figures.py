"""The study's figures, drawn from the tables of `effects`.

Each returns None where its table is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

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
    spread_positions,
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
LABELLED = 2  # points of each belief that a panel of the scatter names: those farthest out


def frontier(
    headline: pd.DataFrame, chosen: Mapping[str, str], kinds: Mapping[str, str]
) -> Drawing | None:
    """Draw warmth score against error rate, a point per arm with both intervals, a panel per model
    on shared axes.

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
        across = min(ACROSS, len(models))
        down = -(-len(models) // ACROSS)
        size = (4.8, 3.7) if across == 1 else (2.6 * across, 0.3 + 3.0 * down)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        panels = row_of_panels(grid, len(models))
        starts: list[str] = []
        for axes, model in zip(panels, models, strict=True):
            starts += _frontier_panel(axes, shown[shown["model"].eq(model)], chosen, kinds)
            if len(models) > 1:
                panel_title(axes, wording.name_words(model))
        figure.supylabel("wrong answers, %", fontsize=9)
        figure.supxlabel("warmth score, nats per token   (warmer →)", fontsize=9)
        _roomy(panels[0], shown)
        settle_layout(figure)
        for axes, model in zip(panels, models, strict=True):
            cell = shown[shown["model"].eq(model)]
            at = list(zip(cell["score"], 100 * cell["rate"], strict=True))
            arms = list(map(wording.name_words, cell["arm"]))
            place_labels(axes, at, arms, list(map(colour, cell["arm"])), 9)
        spoken = []
        for _, row in shown.iterrows():
            rate = f"{wording.percent_words(row['rate'])} %"
            spoken.append(f"{wording.name_words(row['arm'])} {row['score']:.4f} and {rate}")
        text = "; ".join(spoken)
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
        ink = colour(row["arm"])
        x = row["score"]
        y = 100 * row["rate"]
        start = control_arm(cell, chosen, kinds.get(row["arm"], ""))
        if start is not None and arm_order(row["arm"]).recipe not in CONTROLS:
            starts.append(str(start["arm"]))
            heights = [100 * start["rate"], y]
            axes.plot([start["score"], x], heights, color=RULE, linewidth=1, zorder=1)
        axes.plot([row["score_low"], row["score_high"]], [y, y], color=ink, linewidth=1.1, zorder=2)
        axes.plot([x, x], [100 * row["low"], 100 * row["high"]], color=ink, linewidth=1.1, zorder=2)
        style = {"linestyle": "none", "markersize": 6.5, "markeredgewidth": 1.3, "zorder": 3}
        style |= marker(row["arm"])
        axes.plot([x], [y], gid=point_id(row["model"], row["arm"]), **style)
    axes.grid(axis="y", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)
    return starts


def _lines_from(starts: Iterable[str]) -> str:
    """Say where the lines start, and what they show for that."""
    arms = list(dict.fromkeys(starts))
    if not arms:
        return ""
    names = wording.joined(list(map(wording.named, arms)))
    if "original" in arms:
        return f"Lines: from {names}. "
    return f"Lines: from {names}, made as the arm was, so that they show the manner alone. "


def control_arm(cell: pd.DataFrame, chosen: Mapping[str, str], kind: str) -> pd.Series | None:
    """Find the arm that a manner departs from: the strictest control made as it was, else the
    original.
    """
    for arm in (*control_of(kind, chosen), "original"):
        rows = cell[cell["arm"].eq(arm)]
        if len(rows):
            return rows.iloc[0]
    return None


def _roomy(axes: Axes, shown: pd.DataFrame) -> None:
    """Leave a margin for labels around the points."""
    least = shown[["score", "score_low"]].min().min()
    largest = shown[["score", "score_high"]].max().max()
    pad = 0.12 * (largest - least or 0.01)
    axes.set_xlim(least - pad, largest + pad)
    axes.locator_params(axis="x", nbins=5)


CONTEXTS_CAPTION = (
    "Each point is one context and belief; above the diagonal the arm is wrong more often than "
    "original on the same prompts. Names: the contexts farthest from it. Thin bars: 95 % "
    "intervals. Above the diagonal: {above}."
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
        cells: rows of family `condition` from `effects.paired_differences`, with arm_low …
            reference_high of either rate; those of all models together have the model "".
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
        rows = [list(product([model], arms)) for model in models]
        if len(arms) == 1:
            rows = [list(product(models, arms))]
        columns = len(rows[0])
        across = min(ACROSS, columns)
        down = -(-columns // ACROSS)
        width = max(4.6, 0.7 + 2.4 * across)
        figure = Figure(figsize=(width, 0.75 + 2.5 * len(rows) * down), layout="constrained")
        grid = figure.subplots(len(rows) * down, across, sharex=True, sharey=True, squeeze=False)
        panels: dict[tuple[str, str], Axes] = {}
        for number, pairs in enumerate(rows):
            row = row_of_panels(grid[number * down : (number + 1) * down], columns)
            panels.update(zip(pairs, row, strict=True))
            for axes in row[::across]:
                axes.set_ylabel("wrong in this arm, %")
        cells_of = dict(list(cells.groupby(["model", "arm"])))
        for (model, arm), axes in panels.items():
            _diagonal(axes, low, high)
            title = wording.name_words(arm)
            if len(models) > 1:
                title = f"{wording.name_words(model) if model else together}: {title}"
            panel_title(axes, title, colour(arm))
            _context_points(axes, cells_of.get((model, arm), cells[:0]), colour(arm))
        figure.supxlabel(
            "wrong in original, same prompts, %   (above the line: more errors)", fontsize=9
        )
        beliefs = [value for value in BELIEFS if value in set(cells["belief"])]
        _belief_key(figure, beliefs, 4 if across > 2 else 2)
        settle_layout(figure)
        for key, axes in panels.items():
            _context_labels(axes, cells_of.get(key, cells[:0]))
        is_above = cells.loc[cells["model"].ne("")].groupby("arm")["difference"]
        counts = []
        for arm in arms:
            differences = is_above.get_group(arm)
            counts.append(
                f"{wording.name_words(arm)} {(differences > 0).sum()} of {len(differences)}"
            )
        summary = wording.joined(counts)
        alt = f"Error of each arm against original. Points above the diagonal: {summary}."
        return finish(figure, name, caption.replace("{above}", summary), alt)


def _ends(cells: pd.DataFrame) -> tuple[float, float]:
    """Give the ends of the scatter's axes in %: all points, and all intervals but the longest
    tenth.
    """
    rates = cells[["rate_reference", "rate_arm"]].to_numpy()
    low = np.nanmin(rates)
    high = np.nanmax(rates)
    lows = cells[["reference_low", "arm_low"]].to_numpy()
    highs = cells[["reference_high", "arm_high"]].to_numpy()
    if np.isfinite(lows).any():
        low = min(low, np.nanquantile(lows, 0.1))
        high = max(high, np.nanquantile(highs, 0.9))
    return max(0.0, 5 * np.floor(20 * low - 0.2)), min(100.0, 5 * np.ceil(20 * high + 0.2))


def _diagonal(axes: Axes, low: float, high: float) -> None:
    """Set up a square panel of the scatter with the line of no difference."""
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(20 if high - low > 40 else 10))
    axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8, zorder=1)


def _context_points(axes: Axes, cell: pd.DataFrame, ink: str) -> None:
    """Draw the points of one arm with their intervals."""
    thin = {"color": ink, "linewidth": 0.7, "alpha": 0.35}
    for _, row in cell.iterrows():
        x = 100 * row["rate_reference"]
        y = 100 * row["rate_arm"]
        axes.plot([x, x], [100 * row["arm_low"], 100 * row["arm_high"]], **thin)
        axes.plot([100 * row["reference_low"], 100 * row["reference_high"]], [y, y], **thin)
        shape, filled = BELIEF_MARKERS.get(row["belief"], ("s", True))
        style = {"markersize": 5, "zorder": 3, "clip_on": False}  # whole at 0 and at 100 %
        style["markerfacecolor"] = ink if filled else "none"
        style["gid"] = point_id(row["model"], row["arm"], "", row["context"], row["belief"])
        axes.plot([x], [y], shape, color=ink, **style)


def _context_labels(axes: Axes, cell: pd.DataFrame) -> None:
    """Name the contexts of the points that are farthest from the diagonal."""
    far = cell.reindex(cell["difference"].abs().sort_values(ascending=False, kind="stable").index)
    far = far.groupby("belief", sort=False).head(LABELLED)
    at = list(zip(100 * far["rate_reference"], 100 * far["rate_arm"], strict=True))
    names = list(map(wording.name_words, far["context"]))
    place_labels(axes, at, names, [INK] * len(at), 7.5, drop=True)


def _belief_key(figure: Figure, beliefs: Sequence[str], across: int) -> None:
    """Write the key of beliefs above the scatter."""
    style = {"linestyle": "none", "color": MUTED, "markersize": 5}
    handles = []
    for value in beliefs:
        shape, filled = BELIEF_MARKERS[value]
        fill = MUTED if filled else "none"
        label = wording.belief(value)
        handles.append(Line2D([], [], marker=shape, markerfacecolor=fill, label=label, **style))
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=across,
        frameon=False,
        fontsize=8,
        handletextpad=0.1,
        columnspacing=1.4,
    )


def settle_layout(figure: Figure) -> None:
    """Lay a figure out once and for all, so that labels placed by pixel stay where they are
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
    """Draw paired differences from original: a row per task, context and belief, a panel per arm.

    The axis is shared by all arms of all models.

    Args:
        table: `effects.paired_differences`, all models.
        model: whose rows are drawn.
        number: position of the model, for the figure's name.
        asked: the arm in question, whose panel comes first.
    """
    shown = table[table["family"].isin(["overall", "task", "context", "belief"])]
    table = shown[shown["model"].eq(model)]
    if table.empty:
        return None
    several = shown["model"].nunique() > 1
    ends = (100 * shown[["low", "difference", "high"]]).clip(-100, 100)
    least = min(0.0, float(ends.min().min()))
    largest = max(0.0, float(ends.max().max()))
    pad = 0.05 * (largest - least or 1.0)
    arms = in_order(table["arm"], asked)
    lines = _forest_lines(table)
    with rc_context(STYLE):
        across = min(ACROSS, len(arms))
        down = -(-len(arms) // ACROSS)
        size = (max(4.6, 1.9 + 1.9 * across), 0.5 + down * (0.4 + 0.235 * len(lines)))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        panels = row_of_panels(grid, len(arms))
        for axes, arm in zip(panels, arms, strict=True):
            _forest_panel(axes, table[table["arm"].eq(arm)], lines, arm)
            axes.set_xlim(least - pad, largest + pad)
            title = (
                f"{wording.name_words(model)}: {wording.name_words(arm)}"
                if several
                else wording.name_words(arm)
            )
            panel_title(axes, title, colour(arm))
        panels[0].set_yticks(range(len(lines)), [label for _, _, label in lines])
        for axes in panels[::across]:
            for tick, (family, _, _) in zip(axes.get_yticklabels(), lines, strict=True):
                tick.set_color(MUTED if family == "" else INK)
        figure.supxlabel(
            "difference from original, percentage points   (more errors →)", fontsize=9
        )
        spoken = []
        for _, row in table[table["family"].eq("overall")].iterrows():
            spoken.append(
                f"{wording.name_words(row['arm'])} {wording.points_words(row['difference'])}"
            )
        caption = (
            f"{wording.name_words(model)}: paired difference in error from original; 95 % "
            f"intervals "
            f"clustered by question."
        )
        name = f"differences-{number}" if number else "differences"
        return finish(figure, name, caption, f"Overall differences: {'; '.join(spoken)}.")


def _forest_lines(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """List (family, value, label) from top to bottom; family "" is a heading."""
    lines = [("overall", "", "all answers")]
    for family, order in (("task", ()), ("context", CONTEXTS), ("belief", BELIEFS)):
        values = in_stated_order(table.loc[table["family"].eq(family), family], order)
        if len(values) < 2:
            continue
        lines.append(("", "", family.upper()))
        for value in values:
            label = wording.belief(value) if family == "belief" else wording.name_words(value)
            lines.append((family, value, label))
    return lines


def in_stated_order(values: pd.Series, order: Sequence[str]) -> list[str]:
    """List distinct values in a stated order; those it does not name come after, by name."""
    distinct = set(values)
    named = [value for value in order if value in distinct]
    return named + sorted(distinct - set(order))


def _forest_panel(
    axes: Axes, table: pd.DataFrame, lines: list[tuple[str, str, str]], arm: str
) -> None:
    """Draw the differences of one arm."""
    axes.axvline(0, color=MUTED, linewidth=0.8)
    for height, (family, value, _) in enumerate(lines):
        rows = table[table["family"].eq(family)]
        size = 6.5
        width = 1.8
        if family != "overall":
            rows = rows[rows[family].eq(value)] if family else rows
            size = 5
            width = 1.1
        for _, row in rows.iterrows():
            if wording.known(row["low"]):
                bar(axes, row["low"], row["high"], height, colour(arm), width)
            mark = point_id(row["model"], arm, row["task"], row["context"], row["belief"])
            style = {"linestyle": "none", "markersize": size, "gid": mark, **marker(arm)}
            axes.plot([100 * row["difference"]], [height], **style)
    axes.set_ylim(len(lines) - 0.4, -0.8)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=RULE, linewidth=0.5)
    axes.set_axisbelow(True)


def losses(rows: pd.DataFrame) -> Drawing | None:
    """Draw training loss by epoch, a line per run, labelled at its end; a panel per model."""
    if rows.empty:
        return None
    models = sorted(rows["model"].unique())
    with rc_context(STYLE):
        across = min(ACROSS, len(models))
        down = -(-len(models) // ACROSS)
        size = (4.8, 2.7) if across == 1 else (0.4 + 2.5 * across, 0.3 + 2.2 * down)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, across, sharex=True, squeeze=False)
        panels = row_of_panels(grid, len(models))
        spoken: list[str] = []
        for axes, model in zip(panels, models, strict=True):
            ends: dict[str, tuple[float, float]] = {}
            for (arm, _), run in rows[rows["model"].eq(model)].groupby(["arm", "run"]):
                axes.plot(run["epoch"], run["loss"], color=colour(arm), linewidth=1.2)
                ends[arm] = (run["epoch"].iloc[-1], run["loss"].iloc[-1])
                spoken.append(f"{wording.name_words(arm)} {ends[arm][1]:.2f}")
            _end_labels(axes, ends)
            panel_title(axes, wording.name_words(model) if len(models) > 1 else "")
            axes.grid(axis="y", color=RULE, linewidth=0.5)
        figure.supylabel("loss, nats per token", fontsize=9)
        figure.supxlabel("epoch", fontsize=9)
        caption = (
            "Training loss of each fine-tuned arm on its own replies; levels differ because the "
            "replies do."
        )
        return finish(figure, "losses", caption, f"Last training loss: {'; '.join(spoken)}.")


def _end_labels(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Write each arm's name at the end of its line, of which the epoch and the loss are given."""
    low, high = axes.get_ylim()
    heights = spread_positions([loss for _, loss in ends.values()], 0.075 * (high - low))
    for (arm, (epoch, _)), height in zip(ends.items(), heights, strict=True):
        style = {"color": colour(arm), "fontsize": 8, "va": "center"}
        axes.annotate(
            wording.name_words(arm), (epoch, height), (5, 0), textcoords="offset points", **style
        )
