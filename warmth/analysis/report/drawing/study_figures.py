"""The study's figures 2-5: the numbers of its released summaries, as the frames that our own
figures are drawn from.
"""

from __future__ import annotations

import math

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from warmth.analysis import wording
from warmth.analysis.report.drawing import figures, own_figures
from warmth.analysis.report.drawing.ink import Drawing
from warmth.analysis.study.reproduction import mean_of_cells
from warmth.analysis.study.summaries import Summaries
from warmth.types import CONTEXTS

TASKS = {"disinfo": "Disinfo", "medqa": "MedQA", "triviaqa": "TriviaQA", "truthfulqa": "TruthfulQA"}
BENCHMARKS = {"mmlu": "MMLU", "gsm8k": "GSM8K", "advbench": "AdvBench, refused"}
ARMS = {"warm": "warm fine-tuning", "cold": "cold fine-tuning", "system_warm": "warm system prompt"}
SMALLEST = {
    "disinfo": 125
}  # answers behind a rate where the pairs cannot be counted; 500 in the other tasks
NORMAL = 1.96  # half the width of a 95 % interval, in standard errors
NONE = float("nan")


def draw_study_figures(tables: Summaries) -> list[Drawing]:
    """Draw every figure that the tables allow, in the study's order."""
    warm = tables.cells[tables.cells["arm"].eq("warm")]
    drawings: list[Drawing | None] = []
    if len(warm):
        drawings += [draw_study_errors(warm), draw_study_tasks(warm)]
    if len(tables.benchmarks):
        drawings.append(draw_study_benchmarks(tables.benchmarks))
    drawings.append(draw_study_arms(tables.cells))
    return [drawing for drawing in drawings if drawing is not None]


def draw_study_errors(warm: pd.DataFrame) -> Drawing | None:
    """Draw figure 2: error of warm against error of original, a point per context and belief, mean
    over tasks.
    """
    beliefs = warm["belief"].map({False: "none", True: "wrong_asserted"})
    named = warm.assign(belief=beliefs).rename(
        columns={"original": "rate_reference", "changed": "rate_arm"}
    )
    groups = [named.assign(model=""), named]
    frames = [
        group.groupby(["model", "context", "belief"])[["rate_reference", "rate_arm"]].mean()
        for group in groups
    ]
    cells = pd.concat(frames).reset_index().assign(arm="warm")
    cells["difference"] = cells["rate_arm"] - cells["rate_reference"]
    for end in ("arm_low", "arm_high", "reference_low", "reference_high"):
        cells[end] = NONE
    above = int((warm["changed"] > warm["original"]).sum())
    caption = (
        "Figure 2 of the study. Each point is one context, without and with a stated wrong "
        "belief, mean over four "
        f"tasks; above the diagonal warm is wrong more often. So in {above} of the {len(warm)} "
        f"cells."
    )
    return figures.contexts(cells, "study-figure-2", caption, together="mean of models")


def draw_study_tasks(warm: pd.DataFrame) -> Drawing | None:
    """Draw figure 3: error by task, mean over models: question alone, with a context, with a
    context and a belief.
    """
    rows = []
    for line, (inside, pressed) in own_figures.LINES.items():
        contexts = CONTEXTS[1:] if inside else ("unmodified",)
        cells = warm[warm["belief"].eq(pressed) & warm["context"].isin(contexts)]
        for task, cell in cells.groupby("task"):
            for arm, column in (("original", "original"), ("warm", "changed")):
                rows.append({"task": task, "arm": arm, "line": line, "rate": cell[column].mean()})
    frame = pd.DataFrame(rows).assign(low=NONE, high=NONE, context="", belief="")
    rises = "; ".join(f"{title} {_rise(warm, task):+.1f}" for task, title in TASKS.items())
    caption = (
        f"Figure 3 of the study. Error by task. Rise of the question alone, in points: {rises}."
    )
    return own_figures.draw_tasks(
        frame,
        name="study-figure-3",
        caption=caption.replace("-", wording.MINUS),
        axis="wrong answers, %, mean of models",
        titles=TASKS,
    )


def _rise(warm: pd.DataFrame, task: str) -> float:
    value = mean_of_cells(
        warm, "rise", arm="warm", belief=False, contexts=["unmodified"], tasks=[task]
    )
    return math.nan if value is None else value


def draw_study_benchmarks(table: pd.DataFrame) -> Drawing | None:
    """Draw figure 4: what benchmarks of ability and safety give, with the printed intervals."""
    rows = []
    for name in BENCHMARKS:
        for row in table[table["benchmark"].eq(name)].to_dict("records"):
            for arm in ("original", "warm"):
                rate = float(row[f"{arm}_accuracy"]) / 100
                low = float(row[f"{arm}_CI_lower"]) / 100
                high = float(row[f"{arm}_CI_upper"]) / 100
                rows.append((name, row["model"], arm, rate, low, high))
    frame = pd.DataFrame(rows, columns=["task", "model", "arm", "rate", "low", "high"])
    close = int(((table["warm_accuracy"] - table["original_accuracy"]).abs() <= 3).sum())
    return own_figures.draw_benchmarks(
        frame,
        name="study-figure-4",
        caption=f"Figure 4 of the study. {close} of {len(table)} results change by 3 points or "
        f"less.",
        axis="%, with 95 % intervals as printed",
        titles=BENCHMARKS,
    )


def draw_study_arms(cells: pd.DataFrame) -> Drawing | None:
    """Draw figure 5: change in error by context for the arms that share models, with intervals from
    the pairs.
    """
    present = [arm for arm in ARMS if cells["arm"].eq(arm).any()]
    shared = set.intersection(*(set(cells.loc[cells["arm"].eq(arm), "model"]) for arm in present))
    shown = cells[cells["arm"].isin(present) & cells["model"].isin(shared) & ~cells["belief"]]
    rows = []
    for (model, arm, context), cell in shown.groupby(["model", "arm", "context"]):
        value, error = (number / 100 for number in _change(cell))
        row = {"model": model, "arm": arm, "context": context, "difference": value}
        rows.append({**row, "low": value - NORMAL * error, "high": value + NORMAL * error})
    caption = (
        "Figure 5 of the study: each way of changing the manner, on the models that have all. "
        "Bars: 95 % intervals from the discordant pairs, tasks taken for independent."
    )
    return own_figures.changes(
        pd.DataFrame(rows),
        name="study-figure-5",
        caption=caption,
        axis="change in wrong answers, points, mean of four tasks, no belief stated",
        labels=ARMS,
    )


def _change(cell: pd.DataFrame) -> tuple[float, float]:
    """Give the mean change in points over tasks, and its error √(Σ (b+c)/n²)/tasks; from the rates
    alone if pairs are unknown.
    """
    pieces = []
    for row in cell.itertuples():
        if math.isfinite(row.pairs):
            shift = row.changed - row.original
            pieces.append(((row.b + row.c) / row.pairs - shift**2) / row.pairs)
        else:
            size = SMALLEST.get(row.task, 500)
            low, high = proportion_confint(row.original * size, size, method="wilson")
            # two rates, taken for independent: on the safe side
            pieces.append(2 * ((high - low) / 3.92) ** 2)
    value = float((cell["changed"] - cell["original"]).mean())
    return 100 * value, 100 * math.sqrt(sum(pieces)) / max(len(pieces), 1)
