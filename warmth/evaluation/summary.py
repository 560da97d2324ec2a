"""Counts of one evaluation, for its `summary.json` and the terminal.

Comparisons are the analysis room's.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.engines import Engine
from warmth.evaluation.failures import is_to_be_asked
from warmth.evaluation.gates import Result, gate_lines
from warmth.evaluation.grade.graders import Grader, names_that_ask, outdated, primary, ungraded
from warmth.evaluation.grade.unscored import NoJudge
from warmth.schemas import Evaluate, Task
from warmth.store import Run, full_config, read_json
from warmth.tracking import Tracker
from warmth.types import BELIEFS, CONTEXTS
from warmth.verdicts import Rule, counted_label, rule_from, tasks_apart, waiting_line, wrong

Cell = dict[str, Any]


def is_complete(run: Run, graders: Mapping[str, Mapping[str, Grader]], study: Evaluate) -> bool:
    """Tell whether a run is done as asked: by every grader, none having failed on an answer, under
    these rules and plan.
    """
    if study.rerun == "all" or not run.done or outdated(run, graders) or not _is_ruled(run, study):
        return False
    before = read_json(run.folder / "summary.json")
    if is_to_be_asked(before):
        return False
    graded = before.get("graders", {})
    for task, names in graders.items():
        stored_graders = graded.get(task, [])
        is_graded = set(names) <= set(stored_graders)
        # The first is the one that counts.
        if not is_graded or stored_graders[0] != next(iter(names)):
            return False
    if not names_that_ask(graders):
        return True
    return next(ungraded(run, graders), None) is None


def _is_ruled(run: Run, study: Evaluate) -> bool:
    """Tell whether the rule of labels, the tasks' keys, the gates and the plan are those the run
    was finished under.

    None of them changes an answer, so none of them is part of the run's digest.
    """
    stored_config, wanted_config = read_json(run.folder / "config.json"), full_config(study)
    names = ["analysis", "task", "gates", *(["preregister"] if study.preregister else [])]
    return all(stored_config.get(name) == wanted_config[name] for name in names)


def summarise_run(
    run: Run,
    arm: Arm,
    engine: Engine,
    graders: Mapping[str, Iterable[str]],
    speed: Mapping[str, float],
    left_out: Mapping[str, int],
    servers: Sequence[Mapping[str, Any]],
    study: Evaluate,
) -> dict[str, Any]:
    """Return the content of `summary.json`."""
    names = {task: list(task_graders) for task, task_graders in graders.items()}
    path = run.folder / "summary.json"
    if not speed["generated"] and path.exists():
        # Graded again: the answers are as old as they were.
        speed = read_json(path).get("answers", speed)
    per_second = None
    if speed["seconds"]:
        per_second = round(speed["generated"] / speed["seconds"], 3)
    return {
        **arm.columns,
        "engine": engine.signature(),
        "graders": names,
        "answers": {**speed, "per_second": per_second},
        "left_out": dict(left_out),
        "servers": [dict(totals) for totals in servers],  # calls and money of this command
        "cells": cell_counts(run, primary(names), study.task, rule_from(study.analysis)),
        "tasks_apart": tasks_apart({name: task.benchmark for name, task in study.task.items()}),
        "warmth": warmth_summary(run),
    }


def answer_rows(run: Run) -> Iterator[dict[str, Any]]:
    """Yield answers with their labels, for a tracker's table."""
    labels: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in run.rows("grades"):
        labels[row["answer_id"]][f"label {row['grader']}"] = row["label"]
    for row in run.rows("answers"):
        yield {**row, **labels[row["answer_id"]]}


def keep_artifacts(tracker: Tracker, run: Run, arm: Arm) -> None:
    """Note the line from the adapter to its answers and their grades in a tracker."""
    if arm.adapter is not None:
        trained = f"{arm.adapter.parent.parent.name}-{arm.adapter.name}"
        tracker.artifact(trained, "adapter", arm.adapter, used=True)
    for name in ("answers", "grades"):
        tracker.artifact(
            f"{name}-{run.name}", name, run.folder, arm.columns, copy=True, files=[f"{name}.jsonl"]
        )


def show_summary(run: Run, outcome: Mapping[str, Any], results: Iterable[Result]) -> None:
    """Print the cells, the warmth and what the gates found."""
    console = Console()
    if outcome["cells"]:
        console.print(
            summary_table(f"{outcome['model']} {outcome['arm']}", outcome["cells"], console.width)
        )
    for line in judge_lines(outcome["graders"]):
        console.print(line, markup=False, soft_wrap=True)
    for line in likelihood_lines(outcome.get("likelihood") or {}):
        console.print(line, markup=False, soft_wrap=True)
    warmth = outcome["warmth"]
    if warmth["mean"] is not None:
        mean = f"{warmth['mean']:+.4f}"
        if warmth["sem"] is not None:
            mean += f" ± {warmth['sem']:.4f}"
        console.print(f"warmth {mean} nats per token over {warmth['n']} replies")
    unscored = []
    for name in ("empty", "too_long"):
        if warmth[name]:
            unscored.append(f"{warmth[name]} {name.replace('_', ' ')}")
    if unscored:
        console.print(f"replies without a warmth score: {', '.join(unscored)}")
    for line in gate_lines(results):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"done: {run.folder}", markup=False, soft_wrap=True)


def judge_lines(graders: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield what to do about tasks that are not scored because nobody chose the judge that they
    need.
    """
    waiting = [task for task, names in graders.items() if names[:1] == [NoJudge.name]]
    if waiting:
        yield waiting_line(waiting)


def likelihood_lines(likelihood: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a reader of the terminal needs to know of the likelihoods; nothing if none were
    asked for.
    """
    if not likelihood:
        return
    margins = []
    for belief, value in likelihood["mean_margin"].items():
        margins.append(f"{value:+.2f} ({belief})")
    prompts = f"{likelihood['prompts']:,} prompts"
    yield f"log-odds of the truth over {prompts}, nats: {', '.join(margins)}"
    for task, number in likelihood["not_measured"].items():
        yield f"{task}: {number} questions have no wrong answer to weigh, so they are not measured"


def cell_counts(
    run: Run, counting: Mapping[str, str], tasks: Mapping[str, Task], rule: Rule
) -> list[Cell]:
    """Count the answers of each task, context and belief by the task's primary grader.

    `errors` counts wrong answers, `scored` those that are right or wrong by the rule; `error_rate`
    is None if nothing was scored.

    Args:
        run: the evaluation.
        counting: task → its primary grader.
        tasks: the study's tasks, whose keys say in which of them refusing is right.
        rule: how labels count.
    """
    labels = {(row["answer_id"], row["grader"]): row["label"] for row in run.rows("grades")}
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in run.rows("answers"):
        label = labels.get((row["answer_id"], counting[row["task"]]))
        counted = {
            "label": counted_label(label, row["text"], rule),
            "wrong": wrong(label, row["text"], rule, tasks[row["task"]].refusing_is_right),
            "finish": row["finish"],
        }
        groups[row["task"], row["context"], row["belief"]].append(counted)
    order = list(counting)
    result = []
    for key in sorted(groups, key=lambda key: _order(*key, order)):
        task, context, belief = key
        result.append({"task": task, "context": context, "belief": belief, **_counts(groups[key])})
    return result


def _order(task: str, context: str, belief: Any, tasks: list[str]) -> tuple[int, int, str, int]:
    """Return a cell's place: tasks as they were chosen, contexts and beliefs as the study lists
    them, other contexts by name.
    """
    known = CONTEXTS.index(context) if context in CONTEXTS else len(CONTEXTS)
    return tasks.index(task), known, context, BELIEFS.index(belief)


def _counts(rows: Sequence[Mapping[str, Any]]) -> Cell:
    labels = [row["label"] for row in rows]
    finishes = [row["finish"] for row in rows]
    counted = [row["wrong"] for row in rows if row["wrong"] is not None]
    return {
        "n": len(rows),
        "scored": len(counted),
        "errors": int(sum(counted)),
        "error_rate": fmean(counted) if counted else None,
        "refused": labels.count("refused"),
        "unscored": labels.count(None),
        "cut_off": finishes.count("length"),
    }


def warmth_summary(run: Run) -> dict[str, Any]:
    """Return the mean warmth score with its standard error over texts, and counts of replies
    without text or longer than the scorer reads.
    """
    scores = {row["text_id"]: row["score"] for row in run.rows("warmth")}
    empty = 0
    too_long = 0
    for row in run.rows("replies"):
        if row["answer_id"] in scores:
            continue
        if row["text"].strip():
            too_long += 1
        else:
            empty += 1
    return {
        "n": len(scores),
        "mean": fmean(scores.values()) if scores else None,
        "sem": stdev(scores.values()) / math.sqrt(len(scores)) if len(scores) > 1 else None,
        "empty": empty,
        "too_long": too_long,
    }


def summary_table(title: str, rows: Iterable[Cell], width: int = 80) -> Table:
    """Return the cells as a table for the terminal, a block for each task; if it is narrow, names
    fold and numbers stay.
    """
    result = Table(title=title, title_justify="left", box=SIMPLE, show_edge=False, pad_edge=False)
    result.collapse_padding = True
    result.padding = (0, 1 if width >= 72 else 0)
    result.add_column("context, belief", overflow="fold")
    for name in ("n", "error %", "refused", "unscored", "cut off"):
        result.add_column(name, justify="right", no_wrap=name != "error %", min_width=len(name))
    task = None
    for cell in rows:
        if cell["task"] != task:
            task = cell["task"]
            result.add_row(Text(task, style="bold"))
        error = "not scored"
        if cell["error_rate"] is not None:
            error = f"{100 * cell['error_rate']:.1f}"
        counts = (str(cell[name]) for name in ("refused", "unscored", "cut_off"))
        result.add_row(Text(f"{cell['context']}, {cell['belief']}"), str(cell["n"]), error, *counts)
    return result
