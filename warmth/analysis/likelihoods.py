"""Rows of `likelihoods.jsonl` as one frame, arms named as everywhere in a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

import pandas as pd

from warmth.analysis.reading import frame
from warmth.analysis.reported import name_arms
from warmth.analysis.task_keys import tasks_with
from warmth.types import Likelihood

if TYPE_CHECKING:
    from warmth.analysis.runs import FinishedRun

COLUMNS = [
    item.name for item in fields(Likelihood) if item.name not in ("candidates", "right_logprob", "wrong_logprob")
]


def read(runs: Sequence[FinishedRun], plain: Mapping[tuple[str, str], float]) -> pd.DataFrame:
    """Reads the likelihoods of all evaluations, each once.

    Args:
        runs: the evaluations.
        plain: model and recipe → the checkpoint of the plain name, from `plain_checkpoints`.

    Returns:
        columns of `types.Likelihood` but the candidates, `arm` as the report names it, `recipe` the plain name, and
        whether the task is a `benchmark`.
    """
    parts = [frame(run.folder / "likelihoods.jsonl", COLUMNS).rename(columns={"arm": "recipe"}) for run in runs]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)
    rows = rows.drop_duplicates("likelihood_id", ignore_index=True)
    rows["checkpoint"] = pd.to_numeric(rows["checkpoint"], errors="coerce")
    rows["benchmark"] = rows["task"].isin(tasks_with(runs, "benchmark"))
    name_arms([rows], plain)
    return rows
