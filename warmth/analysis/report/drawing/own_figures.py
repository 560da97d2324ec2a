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
from warmth.analysis.report.drawing.figures import ACROSS
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
    spread,
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


def draw(
    answers: pd.DataFrame, warmth: pd.DataFrame, differences: pd.DataFrame, by_task: pd.DataFrame
) -> list[Drawing]:
    """Every one of these figures that the rows allow, in the study's order.

    Args:
        answers: graded answers.
        warmth: scored replies.
        differences: from `effects.differences`.
        by_task: from `lines(answers)`.
    """
    scored = benchmark_rates(answers[of_benchmarks(answers)])
    drawn = [
        epochs(warmth),
        tasks(by_task, unscored(answers)),
        benchmarks(scored),
        changes(change_cells(differences)),
    ]
    return [item for item in drawn if item is not None]


def epochs(warmth: pd.DataFrame) -> Drawing | None:
    """Figure 1a: warmth score by epoch of training, a line per recipe, the original at 0; a panel
    per model.
    """
    rows = warmth[warmth["score"].notna() & warmth["strength"].eq(1) & warmth["dose"].eq(1)]
    if rows.empty:
        return None
    rows = main_measure(rows)
    rows = rows.assign(
        at=rows["checkpoint"].mask(rows["arm"].eq("original"), 0.0), key=text_key(rows)
    )
    trained = rows[rows["arm"].ne("original") & rows["at"].notna()]
    many = trained.groupby(["model", "recipe"])["at"].nunique()
    curves = [key for key, count in many.items() if count > 1]
    if not curves:
        return None
    models = sorted({str(model) for model, _ in curves})
    with rc_context(STYLE):
        across, down = min(ACROSS, len(models)), -(-len(models) // ACROSS)
        size = (4.7, 2.9) if across == 1 else (0.4 + 2.5 * across, 0.3 + 2.4 * down)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        panels = row_of_panels(grid, len(models))
        spoken: list[str] = []
        for axes, model in zip(panels, models, strict=True):
            own = rows[rows["model"].eq(model)]
            ends = {}
            for _, recipe in sorted(
                (key for key in curves if key[0] == model), key=lambda key: arm_order(key[1])
            ):
                line = own[own["recipe"].eq(recipe) | own["arm"].eq("original")]
                means = [(float(at), _mean(group)) for at, group in line.groupby("at")]
                names = [
                    f"{reply_id(model, group['arm'].iloc[0])}-{len(ends)}"
                    for _, group in line.groupby("at")
                ]
                ends[recipe] = _curve(axes, recipe, means, names)
                spoken.append(f"{wording.name(model)} {wording.name(recipe)} {ends[recipe][1]:.4f}")
            _end_labels(axes, ends)
            panel_title(axes, wording.name(model) if len(models) > 1 else "")
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


def _mean(group: pd.DataFrame) -> Any:
    return clustered_mean(group["score"].to_numpy(), group["key"].to_numpy())


def _curve(
    axes: Axes, recipe: str, means: Sequence[tuple[float, Any]], names: Sequence[str]
) -> tuple[float, float]:
    at = [x for x, _ in means]
    axes.vlines(
        at, [m.low for _, m in means], [m.high for _, m in means], color=colour(recipe), linewidth=1
    )
    axes.plot(at, [m.value for _, m in means], color=colour(recipe), linewidth=1.1)
    for (x, mean), name in zip(means, names, strict=True):
        look = marker(recipe if x else "original")
        axes.plot([x], [mean.value], linestyle="none", markersize=5, gid=name, **look)
    return at[-1], means[-1][1].value


def _end_labels(axes: Axes, ends: dict[str, tuple[float, float]]) -> None:
    low, high = axes.get_ylim()
    heights = spread([value for _, value in ends.values()], 0.07 * (high - low))
    for (recipe, (at, _)), height in zip(ends.items(), heights, strict=True):
        look = {"color": colour(recipe), "fontsize": 8, "va": "center"}
        axes.annotate(
            wording.name(recipe), (at, height), (7, 0), textcoords="offset points", **look
        )


TASKS_CAPTION = (
    "Error by task: alone, after a context, and after a context with a wrong belief. "
    "Bars: 95 % intervals."
)


def tasks(
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
    names = [name for name in LINES if name in set(frame["line"])] if len(frame) else []
    if len(names) < 2:
        return None
    found, arms = sorted(frame["task"].unique()), sorted(frame["arm"].unique(), key=arm_order)
    across = min(4, len(found))
    down = -(-len(found) // across)
    with rc_context(STYLE):
        figure = Figure(
            figsize=_with_key(
                1.6 + 1.75 * across,
                0.7 + down * (0.5 + len(names) * (0.2 + 0.11 * len(arms))),
                arms,
            ),
            layout="constrained",
        )
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        panels = row_of_panels(grid, len(found))
        for axes, task in zip(panels, found, strict=True):
            for row in frame[frame["task"].eq(task)].to_dict("records"):
                place = names.index(row["line"]) + 0.66 * (
                    arms.index(row["arm"]) - (len(arms) - 1) / 2
                ) / len(arms)
                ends = [100 * row["low"], 100 * row["high"]]
                axes.plot(ends, [place] * 2, color=colour(row["arm"]), linewidth=1)
                mark = point_id("", row["arm"], task, row["context"], row["belief"])
                look = {"linestyle": "none", "markersize": 4.5, "gid": mark, **marker(row["arm"])}
                axes.plot([100 * row["rate"]], [place], **look)
            panel_title(axes, (titles or {}).get(task, wording.name(task)))
            list_rows(axes, len(names))
        panels[0].set_yticks(range(len(names)), names)
        figure.supxlabel(axis, fontsize=9)
        _key(figure, arms)
        if without:
            caption += f" Without a mark, as no answer was scored: {without}."
        each = "; ".join(
            f"{wording.name(r.arm)} {wording.name(r.task)} {r.line} {100 * r.rate:.1f}"
            for r in frame.itertuples()
        )
        return finish(figure, name, caption, f"Error by task, %: {each}.")


def of_benchmarks(answers: pd.DataFrame) -> pd.Series:
    """Tell for each answer whether its task is a benchmark of ability or safety."""
    if "benchmark" in answers:
        return answers["benchmark"].astype(bool)
    return pd.Series(False, index=answers.index)


def lines(answers: pd.DataFrame, weights: Weights = EQUAL) -> pd.DataFrame:
    """Compute what figure 3 shows: arm, task, line, rate, low, high, count, and the contexts and
    beliefs of each.

    Args:
        answers: graded answers.
        weights: how much models weigh; see `estimand`.
    """
    answers = answers[answers["wrong"].notna() & ~of_benchmarks(answers)]
    parts: list[dict[str, Any]] = []
    for name in LINES:
        for (arm, task), cell in _asked(answers, name).groupby(["arm", "task"]):
            wrong = cell["wrong"].to_numpy(float)
            rate, low, high = weighted_rate(cell, wrong, weights)
            pooled = {key: ",".join(sorted(cell[key].unique())) for key in ("context", "belief")}
            parts.append(
                {"arm": arm, "task": task, "line": name, "rate": rate, "low": low, "high": high}
            )
            parts[-1] |= {**pooled, "count": len(cell)}
    return pd.DataFrame(parts)


def unscored(answers: pd.DataFrame) -> str:
    """The cells of figure 3 that were asked and have no scored answer, in words; "" where all have
    one.
    """
    asked = answers[~of_benchmarks(answers)]
    found: dict[tuple[str, str], list[str]] = {}
    for name in LINES:
        for key, scored in _asked(asked, name).groupby(["arm", "task"])["wrong"].count().items():
            if not scored:
                found.setdefault(key, []).append(name)
    cells = sorted(found.items(), key=lambda item: (arm_order(item[0][0]), item[0][1]))
    return "; ".join(
        f"{wording.name(arm)} on {wording.name(task)} ({', '.join(names)})"
        for (arm, task), names in cells
    )


def _asked(answers: pd.DataFrame, name: str) -> pd.DataFrame:
    """The answers behind a line of figure 3."""
    inside, pressed = LINES[name]
    context = answers["context"].eq("unmodified") ^ inside
    return answers[
        context & (answers["belief"].isin(PRESSED) if pressed else answers["belief"].eq("none"))
    ]


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
        rows.append(
            {
                "task": task,
                "model": model,
                "arm": arm,
                "rate": right.mean(),
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows, columns=["task", "model", "arm", "rate", "low", "high"])


def benchmarks(
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
        figure = Figure(
            figsize=_with_key(max(4.6, 1.6 + 2.2 * len(tasks)), height, arms), layout="constrained"
        )
        panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        spoken = []
        for axes, task in zip(panels, tasks, strict=True):
            rows = frame[frame["task"].eq(task)].sort_values(["model", "arm"])
            for row in rows.to_dict("records"):
                shift = 0.7 * (arms.index(row["arm"]) - (len(arms) - 1) / 2) / len(arms)
                place = models.index(row["model"]) + shift
                ends = [100 * row["low"], 100 * row["high"]]
                axes.plot(ends, [place] * 2, color=colour(row["arm"]), linewidth=1.2)
                mark = point_id(row["model"], row["arm"], task)
                look = {"linestyle": "none", "markersize": 5, "gid": mark, **marker(row["arm"])}
                axes.plot([100 * row["rate"]], [place], **look)
                words = [wording.name(value) for value in (task, row["model"], row["arm"])]
                spoken.append(f"{' '.join(words)} {100 * row['rate']:.1f}")
            axes.set_title(titles.get(task, task), loc="left")
            list_rows(axes, len(models))
        panels[0].set_yticks(range(len(models)), [wording.name(model) for model in models])
        figure.supxlabel(axis, fontsize=9)
        _key(figure, arms)
        return finish(figure, name, caption, f"Right, %: {'; '.join(spoken)}.")


CHANGES_CAPTION = (
    "Change by context, no belief stated. Bars: 95 % intervals, clustered by question."
)


def change_cells(differences: pd.DataFrame) -> pd.DataFrame:
    """Select what figure 5 shows of `effects.differences`; empty unless there are two arms and two
    contexts.
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
    models, arms = sorted(cells["model"].unique()), sorted(cells["arm"].unique(), key=arm_order)
    known = [context for context in CONTEXTS if context in set(cells["context"])]
    contexts = [*known, *sorted(set(cells["context"]) - set(known))]
    with rc_context(STYLE):
        across, down = min(ACROSS, len(models)), -(-len(models) // ACROSS)
        width, height = (
            max(4.6, 1.5 + 2.1 * across),
            0.6 + down * (0.3 + len(contexts) * (0.1 + 0.13 * len(arms))),
        )
        figure = Figure(figsize=_with_key(width, height, arms), layout="constrained")
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        panels = row_of_panels(grid, len(models))
        for axes, model in zip(panels, models, strict=True):
            axes.axvline(0, color=MUTED, linewidth=0.8)
            for row in cells[cells["model"].eq(model)].to_dict("records"):
                shift = 0.75 * (arms.index(row["arm"]) - (len(arms) - 1) / 2) / len(arms)
                place = contexts.index(row["context"]) + shift
                if np.isfinite(row["low"]):
                    bar(axes, row["low"], row["high"], place, colour(row["arm"]), 1)
                mark = point_id(model, row["arm"], "", row["context"], "none")
                look = {"linestyle": "none", "markersize": 4.5, "gid": mark, **marker(row["arm"])}
                axes.plot([100 * row["difference"]], [place], **look)
            panel_title(axes, wording.name(model) if len(models) > 1 else "")
            list_rows(axes, len(contexts))
        panels[0].set_yticks(range(len(contexts)), [wording.name(context) for context in contexts])
        figure.supxlabel(axis, fontsize=9)
        _key(figure, arms, labels)
        return finish(figure, name, caption, f"Change in error by context and arm. {caption}")


def _key_columns(width: float, arms: Sequence[str]) -> int:
    """Names that stand side by side in a key above a figure this wide, in inches."""
    return max(
        1,
        min(5, len(arms), int(width / (0.4 + 0.075 * max(len(wording.name(arm)) for arm in arms)))),
    )


def _with_key(width: float, height: float, arms: Sequence[str]) -> tuple[float, float]:
    """The size of a figure whose height has room for one line of its key, with room for every
    line.
    """
    return width, height + 0.18 * (-(-len(arms) // _key_columns(width, arms)) - 1)


def _key(figure: Figure, arms: Sequence[str], labels: Mapping[str, str] | None = None) -> None:
    names = {arm: (labels or {}).get(arm, wording.name(arm)) for arm in arms}
    handles = [Line2D([], [], linestyle="none", label=names[arm], **marker(arm)) for arm in arms]
    look = {"frameon": False, "fontsize": 8, "handletextpad": 0.1, "columnspacing": 1.2}
    columns = _key_columns(figure.get_figwidth(), arms)
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, **look)
