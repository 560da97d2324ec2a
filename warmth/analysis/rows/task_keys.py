"""Keys of tasks, and the rule by which labels count, from the configs of a report's runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from warmth.errors import UserError
from warmth.paths import ROOT
from warmth.verdicts import Rule, rule_from, tasks_apart

if TYPE_CHECKING:
    from warmth.analysis.rows.runs import FinishedRun

KEYS = ("refusing_is_right", "benchmark")


def rule_of(runs: Sequence[FinishedRun]) -> Rule:
    """Read the rule by which labels count from the configs of evaluation runs.

    Raises:
        UserError: the runs state different rules.
    """
    rules = {rule_from(run.config.get("analysis") or {}) for run in runs}
    if len(rules) > 1:
        two_rules = ", ".join(sorted(map(str, rules))[:2])
        raise UserError(
            "the runs differ in how labels count (analysis.hedged, .refused, .refusal_rule, "
            f".refusals): {two_rules}"
        )
    return rules.pop() if rules else Rule()


def tasks_with(runs: Sequence[FinishedRun], key: str) -> list[str]:
    """List the tasks whose entry sets a key to true, in the order of the configs.

    A config that does not hold the key, because other code wrote it, means what `conf/task` says of
    that task.

    Raises:
        UserError: two runs say otherwise of one task.
    """
    values: dict[str, bool] = {}
    for run in runs:
        for name, entry in (run.config.get("task") or {}).items():
            value = bool((entry or {}).get(key, stock_value(name, key)))
            if values.setdefault(name, value) != value:
                raise UserError(
                    f"the runs differ in task.{name}.{key}: true "
                    f"in some, false in others; {key_remedy(run)}"
                )
    return [name for name, value in values.items() if value]


@cache
def stock_value(task: str, key: str) -> bool:
    """Read a key of a task's entry in `conf/task`; False if there is no such task."""
    path = ROOT / "conf" / "task" / f"{task}.yaml"
    if not re.fullmatch(r"\w+", task) or not path.is_file():
        return False
    entry = yaml.safe_load(path.read_text(encoding="utf-8"))
    return bool(entry.get(task, {}).get(key, False))


def key_remedy(run: FinishedRun) -> str:
    """Name the way to make a run's keys those of the others; no answer is generated for it."""
    folder = run.folder.name
    return (
        f"run the evaluation of {folder} again with the value that is meant (nothing is generated)"
    )


def with_task_keys(answers: Any, runs: Sequence[FinishedRun]) -> Any:
    """Return the answers with a column for each of `KEYS`: whether the task's entry sets it."""
    columns = {key: answers["task"].isin(tasks_with(runs, key)) for key in KEYS}
    return answers.assign(**columns)


def pooled(answers: pd.DataFrame) -> pd.DataFrame:
    """Select the answers behind figures that pool tasks: all but those of benchmarks."""
    return answers[~answers["task"].isin(apart(answers))]


def apart(answers: pd.DataFrame) -> list[str]:
    """List the benchmarks among the tasks of `answers`; empty if there is nothing but benchmarks.

    Args:
        answers: columns `task` and `benchmark`; without the latter no task is a benchmark.
    """
    if "benchmark" not in answers:
        return []
    is_benchmark = answers.drop_duplicates("task").set_index("task")["benchmark"]
    return tasks_apart({str(task): bool(value) for task, value in is_benchmark.items()})


def questions_of(answers: pd.DataFrame) -> pd.Series:
    """Number every question, the cluster of all statistics; two tasks may use the same ids."""
    return answers.groupby(["task", "question_id"], sort=False, observed=True).ngroup()
