"""The study's figures 2-5, drawn again from the released summaries in this project's own hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from statsmodels.stats.proportion import proportion_confint

from warmth.analysis import wording
from warmth.analysis.figures import settle
from warmth.analysis.ink import INK, MUTED, RULE, STYLE, Drawing, colour, finish, list_rows, marker, place_labels
from warmth.analysis.reproduction import mean_of_cells
from warmth.analysis.summaries import Summaries
from warmth.types import CONTEXTS

TASKS = ("disinfo", "medqa", "triviaqa", "truthfulqa")
TITLES = {"disinfo": "Disinfo", "medqa": "MedQA", "triviaqa": "TriviaQA", "truthfulqa": "TruthfulQA"}
BENCHMARKS = {"mmlu": "MMLU", "gsm8k": "GSM8K", "advbench": "AdvBench, refused"}
ARMS = {"warm": "warm fine-tuning", "cold": "cold fine-tuning", "system_warm": "warm system prompt"}
SMALLEST = {"disinfo": 125}  # answers behind a rate where the pairs cannot be counted; 500 in the other tasks


def draw(tables: Summaries) -> list[Drawing]:
    """Every figure the tables allow, in the study's order."""
    warm = tables.cells[tables.cells["arm"].eq("warm")]
    drawn = [
        errors(warm) if len(warm) else None,
        tasks(warm) if len(warm) else None,
        benchmarks(tables.benchmarks) if len(tables.benchmarks) else None,
        arms(tables.cells),
    ]
    return [item for item in drawn if item is not None]


def errors(warm: pd.DataFrame) -> Drawing:
    """Figure 2: error of warm against error of original, a point per context and belief; all models, then each."""
    groups = [("mean of models", warm)] + [(str(name), group) for name, group in warm.groupby("model")]
    points = [
        (name, group.groupby(["context", "belief"])[["original", "changed"]].mean() * 100) for name, group in groups
    ]
    limit = 10 * math.ceil(max(frame.to_numpy().max() for _, frame in points) / 10)
    across = min(3, len(points))
    down = math.ceil(len(points) / across)
    with rc_context(STYLE):
        figure = Figure(figsize=(0.6 + 2.5 * across, 0.8 + 2.5 * down), layout="constrained")
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (name, frame) in zip(panels, points, strict=False):
            axes.set(xlim=(0, limit), ylim=(0, limit), aspect="equal")
            axes.plot([0, limit], [0, limit], color=MUTED, linewidth=0.8, zorder=1)
            axes.set_title(wording.name(name), loc="left")
            for (_, belief), row in frame.iterrows():
                fill = colour("warm") if belief else "none"
                axes.plot(
                    row["original"], row["changed"], "o", color=colour("warm"), markerfacecolor=fill, markersize=5
                )
        for axes in panels[len(points) :]:
            axes.set_visible(False)
        figure.supxlabel("wrong in original, %", fontsize=9)
        figure.supylabel("wrong in warm, %", fontsize=9)
        _key(figure, [("no belief stated", "none"), ("wrong belief stated", colour("warm"))], colour("warm"))
        settle(figure)
        _label(panels[0], points[0][1])
        above = int((warm["changed"] > warm["original"]).sum())
        caption = (
            "Figure 2 of the study. Each point is one context, without and with a stated wrong belief, mean over four "
            f"tasks; above the diagonal warm is wrong more often. So in {above} of the {len(warm)} cells."
        )
        return finish(figure, "study-figure-2", caption, f"Error of warm against original. {caption}")


def _label(axes: Axes, points: pd.DataFrame) -> None:
    """Names, of either belief, the context farthest from the diagonal."""
    far = [(group["changed"] - group["original"]).idxmax() for _, group in points.groupby(level="belief")]
    shown = points.loc[far]
    text = [wording.name(context) for context, _ in shown.index]
    place_labels(axes, list(zip(shown["original"], shown["changed"], strict=True)), text, [INK] * len(text), 7)


def tasks(warm: pd.DataFrame) -> Drawing:
    """Figure 3: error by task, mean over models: question alone, with a context, with a context and a belief."""
    inside = CONTEXTS[1:]
    lines = [("question alone", False, ["unmodified"]), ("with a context", False, inside)]
    lines.append(("with a context and a belief", True, inside))
    with rc_context(STYLE):
        figure = Figure(figsize=(7.4, 2.3), layout="constrained")
        panels = figure.subplots(1, len(TASKS), sharex=True, sharey=True)
        for axes, task in zip(panels, TASKS, strict=True):
            for height, (_, belief, contexts) in enumerate(lines):
                cell = warm[warm["task"].eq(task) & warm["belief"].eq(belief) & warm["context"].isin(list(contexts))]
                before, after = (100 * cell[name].mean() for name in ("original", "changed"))
                axes.plot([before, after], [height, height], color=RULE, linewidth=2, zorder=1)
                for arm, value in (("original", before), ("warm", after)):
                    axes.plot([value], [height], linestyle="none", markersize=6, **marker(arm))
            axes.set_title(TITLES[task], loc="left")
            list_rows(axes, len(lines))
        panels[0].set_yticks(range(len(lines)), [name for name, *_ in lines])
        figure.supxlabel("wrong answers, %, mean of models", fontsize=9)
        _arm_key(figure, ["original", "warm"])
        rises = "; ".join(f"{TITLES[task]} {_rise(warm, task):+.1f}" for task in TASKS)
        caption = f"Figure 3 of the study. Error by task. Rise of the question alone, in points: {rises}."
        return finish(figure, "study-figure-3", caption.replace("-", wording.MINUS), caption)


def _rise(warm: pd.DataFrame, task: str) -> float:
    value = mean_of_cells(warm, "rise", arm="warm", belief=False, contexts=["unmodified"], tasks=[task])
    return math.nan if value is None else value


def benchmarks(table: pd.DataFrame) -> Drawing:
    """Figure 4: what benchmarks of ability and safety give, with the printed intervals."""
    names = [name for name in BENCHMARKS if name in set(table["benchmark"])]
    models = sorted(table["model"].unique())
    with rc_context(STYLE):
        figure = Figure(figsize=(7.4, 0.9 + 0.36 * len(models)), layout="constrained")
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            rows = table[table["benchmark"].eq(name)].set_index("model")
            for height, model in enumerate(models):
                for arm, shift in (("original", -0.13), ("warm", 0.13)) if model in rows.index else ():
                    value, low, high = (
                        float(rows.loc[model, f"{arm}_{part}"]) for part in ("accuracy", "CI_lower", "CI_upper")
                    )
                    axes.plot([low, high], [height + shift] * 2, color=colour(arm), linewidth=1.2)
                    axes.plot([value], [height + shift], linestyle="none", markersize=5, **marker(arm))
            axes.set_title(BENCHMARKS[name], loc="left")
            list_rows(axes, len(models))
        panels[0].set_yticks(range(len(models)), [wording.name(model) for model in models])
        figure.supxlabel("%, with 95 % intervals as printed", fontsize=9)
        _arm_key(figure, ["original", "warm"])
        change = (table["warm_accuracy"] - table["original_accuracy"]).abs()
        caption = (
            f"Figure 4 of the study. {int((change <= 3).sum())} of {len(table)} results change by 3 points or less."
        )
        return finish(figure, "study-figure-4", caption, f"Benchmarks of original and warm. {caption}")


def arms(cells: pd.DataFrame) -> Drawing | None:
    """Figure 5: change in error by context for the arms that share models, with intervals from the discordant pairs."""
    present = [arm for arm in ARMS if cells["arm"].eq(arm).any()]
    shared = set.intersection(*(set(cells.loc[cells["arm"].eq(arm), "model"]) for arm in present))
    models = sorted(shared)
    if not models:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(0.9 + 2.3 * len(models), 0.9 + 0.33 * len(CONTEXTS)), layout="constrained")
        panels = figure.subplots(1, len(models), sharex=True, sharey=True, squeeze=False)[0]
        for axes, model in zip(panels, models, strict=True):
            axes.axvline(0, color=MUTED, linewidth=0.8)
            for number, arm in enumerate(present):
                for height, context in enumerate(CONTEXTS):
                    own = cells["arm"].eq(arm) & cells["model"].eq(model) & cells["context"].eq(context)
                    value, error = _change(cells[own & ~cells["belief"]])
                    place = height + 0.2 * (number - (len(present) - 1) / 2)
                    axes.plot([value - 1.96 * error, value + 1.96 * error], [place] * 2, color=colour(arm), linewidth=1)
                    axes.plot([value], [place], linestyle="none", markersize=4.5, **marker(arm))
            axes.set_title(wording.name(model), loc="left")
            list_rows(axes, len(CONTEXTS))
        panels[0].set_yticks(range(len(CONTEXTS)), [wording.name(context) for context in CONTEXTS])
        figure.supxlabel("change in wrong answers, points, mean of four tasks, no belief stated", fontsize=9)
        _arm_key(figure, present)
        caption = (
            "Figure 5 of the study: each way of changing the manner, on the models that have all. Bars: 95 % intervals "
            "from the discordant pairs, tasks taken for independent."
        )
        return finish(figure, "study-figure-5", caption, f"Change in error by context and arm. {caption}")


def _change(cell: pd.DataFrame) -> tuple[float, float]:
    """Mean change in points over tasks, and its error √(Σ (b+c)/n²)/tasks; rates alone where pairs are unknown."""
    pieces = []
    for row in cell.itertuples():
        if math.isfinite(row.pairs):
            shift = row.changed - row.original
            pieces.append(((row.b + row.c) / row.pairs - shift**2) / row.pairs)
        else:
            size = SMALLEST.get(row.task, 500)
            low, high = proportion_confint(row.original * size, size, method="wilson")
            pieces.append(2 * ((high - low) / 3.92) ** 2)  # two rates, taken for independent: on the safe side
    value = float((cell["changed"] - cell["original"]).mean())
    return 100 * value, 100 * math.sqrt(sum(pieces)) / max(len(pieces), 1)


def _key(figure: Figure, entries: Sequence[tuple[str, str]], ink: str) -> None:
    handles = [
        Line2D([], [], marker="o", linestyle="none", color=ink, markerfacecolor=fill, label=label)
        for label, fill in entries
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False, fontsize=8)


def _arm_key(figure: Figure, names: Sequence[str]) -> None:
    handles = [Line2D([], [], linestyle="none", label=ARMS.get(arm, arm), **marker(arm)) for arm in names]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False, fontsize=8)
