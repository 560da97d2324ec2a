"""Rows of `likelihoods.jsonl` as one frame, arms named as everywhere in a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import pandas as pd

from warmth.analysis.rows.arm_names import name_arms
from warmth.analysis.rows.jsonl_frames import read_frame
from warmth.analysis.rows.task_keys import tasks_with
from warmth.types import LikelihoodRow

if TYPE_CHECKING:
    from warmth.analysis.rows.runs import FinishedRun

LEFT_OUT = ("candidates", "right_logprob", "wrong_logprob")
COLUMNS = [column.name for column in fields(LikelihoodRow) if column.name not in LEFT_OUT]


def read_likelihoods(runs: Sequence[FinishedRun]) -> pd.DataFrame:
    """Read the likelihoods of all evaluations.

    Returns:
        columns of `types.LikelihoodRow` but the candidates and the arm, `recipe` as the run calls
        it, `run_number` and whether the task is a `benchmark`.
    """
    rows_of_runs = []
    for number, run in enumerate(runs):
        rows = read_frame(run.folder / "likelihoods.jsonl", COLUMNS)
        rows = rows.rename(columns={"arm": "recipe"})
        rows_of_runs.append(rows.assign(run_number=number))
    likelihoods = pd.concat(rows_of_runs, ignore_index=True)
    likelihoods["checkpoint"] = pd.to_numeric(likelihoods["checkpoint"], errors="coerce")
    likelihoods["benchmark"] = likelihoods["task"].isin(tasks_with(runs, "benchmark"))
    return likelihoods


def distinct(likelihoods: pd.DataFrame, plain: Mapping[tuple[str, str], float]) -> pd.DataFrame:
    """Keep each likelihood once, and name its arm as the report does.

    Args:
        likelihoods: from `read_likelihoods`.
        plain: model and recipe → the checkpoint of the plain name, from `plain_checkpoints`.
    """
    rows = likelihoods.drop_duplicates("likelihood_id", ignore_index=True)
    name_arms([rows], plain)
    return rows
