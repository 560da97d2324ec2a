"""The study's figures 1a and 3-5 from frames of rates: warmth by epoch, error by task, benchmarks,
change by context.

The frames come from our own rows (here) or from the released tables (`study_figures.py`); the
drawings are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from warmth.analysis import wording
from warmth.analysis.report.drawing.figures import ACROSS, in_stated_order
from warmth.analysis.report.drawing.ink import (
    MUTED,
    RULE,
    STYLE,
    Drawing,
    bar,
    colour,
    finish,
    list_rows,
    marker,
    panel_title,
    point_id,
    reply_id,
    row_of_panels,
    spread_positions,
)
from warmth.analysis.rows.arm_names import arm_order
from warmth.analysis.statistics.effects import (
    clustered_mean,
    main_measure,
    rate_interval,
    text_key,
    weighted_rate,
)
from warmth.analysis.statistics.estimand import EQUAL, Weights
from warmth.types import CONTEXTS

PRESSED = ("wrong_asserted", "right_denied")
LINES = {  # figure 3: (contexts or not, pressed or not)
    "question alone": (False, False),
    "with a context": (True, False),
    "with a context and a wrong belief": (True, True),
}


def draw_own_figures(
    answers: pd.DataFrame, warmth: pd.DataFrame, differences: pd.DataFrame, by_task: pd.DataFrame
) -> list[Drawing]:
    """Draw every one of these figures that the rows allow, in the study's order.

    Args:
        answers: graded answers.
        warmth: scored replies.
        differences: from `effects.paired_differences`.
        by_task: from `lines(answers)`.
    """
    scored = benchmark_rates(answers[is_benchmark(answers)])
    drawn = [
        epochs(warmth),
        draw_tasks(by_task, unscored_cells(answers)),
        draw_benchmarks(scored),
        changes(change_cells(differences)),
    ]
    return [drawing for drawing in drawn if drawing is not None]


def epochs(warmth: pd.DataFrame) -> Drawing | None:
    """Draw figure 1a: warmth score by epoch of training, a line per recipe, the original at 0; a
    panel per model.
    """
    rows = warmth[warmth["score"].notna() & warmth["strength"].eq(1) & warmth["dose"].eq(1)]
    if rows.empty:
        return None
    rows = main_measure(rows)
    rows = rows.assign(
        at=rows["checkpoint"].mask(rows["arm"].eq("original"), 0.0), key=text_key(rows)
    )
    recipes = _recipes_with_curves(rows)
    if not recipes:
        return None
    models = sorted(recipes)
    with rc_context(STYLE):
        across = min(ACROSS, len(models))
        down = -(-len(models) // ACROSS)
        size = (4.7, 2.9) if across == 1 else (0.4 + 2.5 * across, 0.3 + 2.4 * down)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        panels = row_of_panels(grid, len(models))
        spoken: list[str] = []
        for axes, model in zip(panels, models, strict=True):
            rows_of_model = rows[rows["model"].eq(model)]
            ends = {}
            for recipe in sorted(recipes[model], key=arm_order):
                is_on_curve = rows_of_model["recipe"].eq(recipe)
                is_on_curve |= rows_of_model["arm"].eq("original")
                ends[recipe] = _curve(axes, recipe, rows_of_model[is_on_curve], len(ends))
                spoken.append(
                    f"{wording.name_words(model)} {wording.name_words(recipe)} "
                    f"{ends[recipe][1]:.4f}"
                )
            _end_labels(axes, ends)
            panel_title(axes, wording.name_words(model) if len(models) > 1 else "")
            axes.grid(axis="y", color=RULE, linewidth=0.5)
        figure.supylabel("warmth score, nats per token", fontsize=9)
        figure.supxlabel("epochs of training; 0 is the original", fontsize=9)
        caption = (
            "Warmth of replies to held-out prompts by epoch. Bars: 95 % intervals, "
            "clustered by prompt."
        )
        return finish(
            figure, "epochs", caption, f"Warmth score at the last epoch: {'; '.join(spoken)}."
        )


def _recipes_with_curves(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Find the recipes of each model whose warmth was scored at more than one epoch."""
    trained = rows[rows["arm"].ne("original") & rows["at"].notna()]
    recipes: dict[str, list[str]] = {}
    for (model, recipe), epochs_scored in (
        trained.groupby(["model", "recipe"])["at"].nunique().items()
    ):
        if epochs_scored > 1:
            recipes.setdefault(str(model), []).append(str(recipe))
    return recipes


def _curve(axes: Axes, recipe: str, rows: pd.DataFrame, number: int) -> tuple[float, float]:
    """Draw a recipe's curve with its intervals; `number` keeps the ids of its marks apart.

    Returns:
        the last epoch, and the mean score there.
    """
    model = str(rows["model"].iloc[0])
    ink = colour(recipe)
    path: list[tuple[float, float]] = []
    for epoch, group in rows.groupby("at"):
        mean = clustered_mean(group["score"].to_numpy(), group["key"].to_numpy())
        axes.vlines([epoch], [mean.low], [mean.high], color=ink, linewidth=1)
        path.append((float(epoch), mean.value))
    axes.plot(*zip(*path, strict=True), color=ink, linewidth=1.1)
    for (epoch, value), (_, group) in zip(path, rows.groupby("at"), strict=True):
        mark = f"{reply_id(model, group['arm'].iloc[0])}-{number}"
        style = marker(recipe if epoch else "original")
        axes.plot([epoch], [value], linestyle="none", markersize=5, gid=mark, **style)
    return path[-1]


def _end_labels(axes: Axes, ends: dict[str, tuple[float, float]]) -> None:
    """Write each recipe's name at the end of its curve."""
    low, high = axes.get_ylim()
    heights = spread_positions([value for _, value in ends.values()], 0.07 * (high - low))
    for (recipe, (at, _)), height in zip(ends.items(), heights, strict=True):
        style = {"color": colour(recipe), "fontsize": 8, "va": "center"}
        axes.annotate(
            wording.name_words(recipe), (at, height), (7, 0), textcoords="offset points", **style
        )


TASKS_CAPTION = (
    "Error by task: alone, after a context, and after a context with a wrong belief. "
    "Bars: 95 % intervals."
)


def draw_tasks(
    frame: pd.DataFrame,
    without: str = "",
    name: str = "tasks",
    caption: str = TASKS_CAPTION,
    axis: str = "wrong answers, %",
    titles: Mapping[str, str] | None = None,
) -> Drawing | None:
    """Draw figure 3: error by task, question alone, with a context, with a context and a pressed
    belief; every arm.

    Several models are pooled, each with its weight; the table beside it has each model's own.

    Args:
        frame: columns as `lines` has them; `low` and `high` are NaN if no interval is known.
        without: from `unscored`, for the caption.
        name: of the figure's file.
        caption: below it.
        axis: what the axis shows.
        titles: task → its title; None: its name.
    """
    if frame.empty or frame["line"].nunique() < 2:
        return None
    names = list(filter(set(frame["line"]).__contains__, LINES))
    task_names = sorted(frame["task"].unique())
    arms = sorted(frame["arm"].unique(), key=arm_order)
    across = min(4, len(task_names))
    down = -(-len(task_names) // across)
    with rc_context(STYLE):
        height = 0.7 + down * (0.5 + len(names) * (0.2 + 0.11 * len(arms)))
        size = _with_key(1.6 + 1.75 * across, height, arms)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        panels = row_of_panels(grid, len(task_names))
        for axes, task in zip(panels, task_names, strict=True):
            for row in frame[frame["task"].eq(task)].to_dict("records"):
                height_of_row = names.index(row["line"]) + 0.66 * _beside(row["arm"], arms)
                mark = point_id("", row["arm"], task, row["context"], row["belief"])
                _rate_mark(axes, row, height_of_row, mark, size=4.5, line=1)
            panel_title(axes, (titles or {}).get(task, wording.name_words(task)))
            list_rows(axes, len(names))
        panels[0].set_yticks(range(len(names)), names)
        figure.supxlabel(axis, fontsize=9)
        _key(figure, arms)
        if without:
            caption += f" Without a mark, as no answer was scored: {without}."
        spoken = []
        for row in frame.to_dict("records"):
            cell = (
                f"{wording.name_words(row['arm'])} {wording.name_words(row['task'])} {row['line']}"
            )
            spoken.append(f"{cell} {100 * row['rate']:.1f}")
        return finish(figure, name, caption, f"Error by task, %: {'; '.join(spoken)}.")


def _beside(arm: str, arms: Sequence[str]) -> float:
    """Place an arm's mark beside those of others: from -½ to ½ of a line."""
    return (arms.index(arm) - (len(arms) - 1) / 2) / len(arms)


def _rate_mark(
    axes: Axes, row: Mapping[str, Any], place: float, mark: str, size: float, line: float
) -> None:
    """Draw a rate with its interval, in per cent.

    Args:
        axes: the panel.
        row: arm, rate, low, high (fractions).
        place: its height.
        mark: its id.
        size: of the mark.
        line: width of the interval's line.
    """
    ends = [100 * row["low"], 100 * row["high"]]
    axes.plot(ends, [place, place], color=colour(row["arm"]), linewidth=line)
    style = {"linestyle": "none", "markersize": size, "gid": mark, **marker(row["arm"])}
    axes.plot([100 * row["rate"]], [place], **style)


def is_benchmark(answers: pd.DataFrame) -> pd.Series:
    """Tell for each answer whether its task is a benchmark of ability or safety."""
    if "benchmark" in answers:
        return answers["benchmark"].astype(bool)
    return pd.Series(False, index=answers.index)


def rates_by_line(answers: pd.DataFrame, weights: Weights = EQUAL) -> pd.DataFrame:
    """Compute what figure 3 shows: arm, task, line, rate, low, high, count, and the contexts and
    beliefs of each.

    Args:
        answers: graded answers.
        weights: how much models weigh; see `estimand`.
    """
    answers = answers[answers["wrong"].notna() & ~is_benchmark(answers)]
    rows: list[dict[str, Any]] = []
    for name in LINES:
        for (arm, task), cell in _asked(answers, name).groupby(["arm", "task"]):
            wrong = cell["wrong"].to_numpy(float)
            rate, low, high = weighted_rate(cell, wrong, weights)
            row: dict[str, Any] = {"arm": arm, "task": task, "line": name}
            row |= {"rate": rate, "low": low, "high": high}
            for key in ("context", "belief"):
                row[key] = ",".join(sorted(cell[key].unique()))
            row["count"] = len(cell)
            rows.append(row)
    return pd.DataFrame(rows)


def unscored_cells(answers: pd.DataFrame) -> str:
    """Say which cells of figure 3 were asked and have no scored answer; "" if all have one."""
    open_answers = answers[~is_benchmark(answers)]
    unscored_lines: dict[tuple[str, str], list[str]] = {}
    for name in LINES:
        counts = _asked(open_answers, name).groupby(["arm", "task"])["wrong"].count()
        for key in counts.index[counts.eq(0)]:
            unscored_lines.setdefault(key, []).append(name)
    cells = []
    for arm, task in sorted(unscored_lines, key=lambda key: (arm_order(key[0]), key[1])):
        names = ", ".join(unscored_lines[arm, task])
        cells.append(f"{wording.name_words(arm)} on {wording.name_words(task)} ({names})")
    return "; ".join(cells)


def _asked(answers: pd.DataFrame, name: str) -> pd.DataFrame:
    """Select the answers behind a line of figure 3."""
    inside, pressed = LINES[name]
    in_context = answers["context"].eq("unmodified") ^ inside
    beliefs = PRESSED if pressed else ("none",)
    return answers[in_context & answers["belief"].isin(beliefs)]


BENCHMARKS_CAPTION = "Benchmarks of ability and safety, asked once, without a context or a belief."
BENCHMARK_TITLES = {"advbench": "advbench, refused"}


def benchmark_rates(answers: pd.DataFrame) -> pd.DataFrame:
    """Compute what figure 4 shows: model, arm, task, and the share of right answers with Wilson's
    interval.
    """
    rows = []
    scored = answers[answers["wrong"].notna()]
    for (task, model, arm), cell in scored.groupby(["task", "model", "arm"], sort=False):
        right = 1 - cell["wrong"].to_numpy()
        low, high = rate_interval(right, cell["question_id"].to_numpy())
        rows.append((task, model, arm, right.mean(), low, high))
    return pd.DataFrame(rows, columns=["task", "model", "arm", "rate", "low", "high"])


def draw_benchmarks(
    frame: pd.DataFrame,
    name: str = "benchmarks",
    caption: str = BENCHMARKS_CAPTION,
    axis: str = "right, %; bars: 95 % intervals",
    titles: Mapping[str, str] = BENCHMARK_TITLES,
) -> Drawing | None:
    """Draw figure 4: what benchmarks of ability and safety give; a panel each, a row per model.

    Args:
        frame: task, model, arm, rate, low, high (fractions of right answers).
        name: of the figure's file.
        caption: below it.
        axis: what the axis shows.
        titles: task → its title, if it is not the name.
    """
    if frame.empty:
        return None
    tasks = list(frame["task"].unique())
    models = sorted(frame["model"].unique())
    arms = sorted(frame["arm"].unique(), key=arm_order)
    with rc_context(STYLE):
        height = 0.9 + len(models) * (0.12 + 0.16 * len(arms))
        size = _with_key(max(4.6, 1.6 + 2.2 * len(tasks)), height, arms)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        spoken = []
        for axes, task in zip(panels, tasks, strict=True):
            rows = frame[frame["task"].eq(task)].sort_values(["model", "arm"])
            for row in rows.to_dict("records"):
                height_of_row = models.index(row["model"]) + 0.7 * _beside(row["arm"], arms)
                mark = point_id(row["model"], row["arm"], task)
                _rate_mark(axes, row, height_of_row, mark, size=5, line=1.2)
                names = map(wording.name_words, (task, row["model"], row["arm"]))
                spoken.append(f"{' '.join(names)} {100 * row['rate']:.1f}")
            axes.set_title(titles.get(task, task), loc="left")
            list_rows(axes, len(models))
        panels[0].set_yticks(range(len(models)), list(map(wording.name_words, models)))
        figure.supxlabel(axis, fontsize=9)
        _key(figure, arms)
        return finish(figure, name, caption, f"Right, %: {'; '.join(spoken)}.")


CHANGES_CAPTION = (
    "Change by context, no belief stated. Bars: 95 % intervals, clustered by question."
)


def change_cells(differences: pd.DataFrame) -> pd.DataFrame:
    """Select what figure 5 shows of `effects.paired_differences`; empty unless there are two arms
    and two contexts.
    """
    if differences.empty:
        return differences
    cells = differences[differences["family"].eq("condition") & differences["belief"].eq("none")]
    if cells["arm"].nunique() < 2 or cells["context"].nunique() < 2:
        return cells[:0]
    return cells


def changes(
    cells: pd.DataFrame,
    name: str = "changes",
    caption: str = CHANGES_CAPTION,
    axis: str = "change from original, percentage points   (more errors →)",
    labels: Mapping[str, str] | None = None,
) -> Drawing | None:
    """Draw figure 5: change in error by context, no belief stated, all arms side by side; a panel
    per model.

    Args:
        cells: model, arm, context, difference, low, high (fractions; NaN if no interval is known).
        name: of the figure's file.
        caption: below it.
        axis: what the axis shows.
        labels: arm → its name in the key, if it is not the arm's own.
    """
    if cells.empty:
        return None
    models = sorted(cells["model"].unique())
    arms = sorted(cells["arm"].unique(), key=arm_order)
    contexts = in_stated_order(cells["context"], CONTEXTS)
    with rc_context(STYLE):
        across = min(ACROSS, len(models))
        down = -(-len(models) // ACROSS)
        width = max(4.6, 1.5 + 2.1 * across)
        height = 0.6 + down * (0.3 + len(contexts) * (0.1 + 0.13 * len(arms)))
        figure = Figure(figsize=_with_key(width, height, arms), layout="constrained")
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        panels = row_of_panels(grid, len(models))
        for axes, model in zip(panels, models, strict=True):
            axes.axvline(0, color=MUTED, linewidth=0.8)
            for row in cells[cells["model"].eq(model)].to_dict("records"):
                height_of_row = contexts.index(row["context"]) + 0.75 * _beside(row["arm"], arms)
                if np.isfinite(row["low"]):
                    bar(axes, row["low"], row["high"], height_of_row, colour(row["arm"]), 1)
                mark = point_id(model, row["arm"], "", row["context"], "none")
                style = {"linestyle": "none", "markersize": 4.5, "gid": mark, **marker(row["arm"])}
                axes.plot([100 * row["difference"]], [height_of_row], **style)
            panel_title(axes, wording.name_words(model) if len(models) > 1 else "")
            list_rows(axes, len(contexts))
        panels[0].set_yticks(range(len(contexts)), list(map(wording.name_words, contexts)))
        figure.supxlabel(axis, fontsize=9)
        _key(figure, arms, labels)
        return finish(figure, name, caption, f"Change in error by context and arm. {caption}")


def _key_columns(width: float, arms: Sequence[str]) -> int:
    """Count the names that stand side by side in a key above a figure this wide, in inches."""
    longest = max(len(wording.name_words(arm)) for arm in arms)
    room = int(width / (0.4 + 0.075 * longest))
    return max(1, min(5, len(arms), room))


def _with_key(width: float, height: float, arms: Sequence[str]) -> tuple[float, float]:
    """Give the size of a figure whose height has room for one line of its key, with room for every
    line.
    """
    lines = -(-len(arms) // _key_columns(width, arms))
    return width, height + 0.18 * (lines - 1)


def _key(figure: Figure, arms: Sequence[str], labels: Mapping[str, str] | None = None) -> None:
    """Write the key of arms above a figure."""
    handles = []
    for arm in arms:
        label = (labels or {}).get(arm, wording.name_words(arm))
        handles.append(Line2D([], [], linestyle="none", label=label, **marker(arm)))
    style = {"frameon": False, "fontsize": 8, "handletextpad": 0.1, "columnspacing": 1.2}
    columns = _key_columns(figure.get_figwidth(), arms)
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, **style)
