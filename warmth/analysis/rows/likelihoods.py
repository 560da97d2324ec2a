"""Rows of `likelihoods.jsonl` as one frame, arms named as everywhere in a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import pandas as pd

from warmth.analysis.rows.arm_names import name_arms
from warmth.analysis.rows.jsonl_frames import frame
from warmth.analysis.rows.task_keys import tasks_with
from warmth.types import Likelihood

if TYPE_CHECKING:
    from warmth.analysis.rows.runs import FinishedRun

COLUMNS = [
    item.name
    for item in fields(Likelihood)
    if item.name not in ("candidates", "right_logprob", "wrong_logprob")
]


def read(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Read the likelihoods of all evaluations.

    Returns:
        columns of `types.Likelihood` but the candidates and the arm, `recipe` as the run calls it,
        `run_number` and whether the task is a `benchmark`.
    """
    parts = []
    for number, run in enumerate(runs):
        rows = frame(run.folder / "likelihoods.jsonl", COLUMNS).rename(columns={"arm": "recipe"})
        parts.append(rows.assign(run_number=number))
    weighed = pd.concat(parts, ignore_index=True)
    weighed["checkpoint"] = pd.to_numeric(weighed["checkpoint"], errors="coerce")
    weighed["benchmark"] = weighed["task"].isin(tasks_with(runs, "benchmark"))
    return weighed


def once(weighed: pd.DataFrame, plain: Mapping[tuple[str, str], float]) -> pd.DataFrame:
    """Keep each likelihood once, and name its arm as the report does.

    Args:
        weighed: from `read`.
        plain: model and recipe → the checkpoint of the plain name, from `plain_checkpoints`.
    """
    rows = weighed.drop_duplicates("likelihood_id", ignore_index=True)
    name_arms([rows], plain)
    return rows
