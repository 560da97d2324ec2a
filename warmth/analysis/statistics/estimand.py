"""What a mean difference is a mean over: how models, tasks and rows weigh, as one `Design` for every interval.

Models weigh one each. Within a model each task weighs one (`weights=tasks`), so that a task of 1,319 questions does not
drown one of 125; or each row does (`weights=rows`). Within a task every row weighs the same.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from warmth.analysis.statistics.rare import Design, design
from warmth.errors import UserError

TASKS = "tasks"
ROWS = "rows"
WEIGHTS = (TASKS, ROWS)


def checked(weights: str, key: str = "analysis.weights") -> str:
    """Return the name of a way to weigh.

    Raises:
        UserError: it is none of `WEIGHTS`.
    """
    if weights not in WEIGHTS:
        raise UserError(f"{key}={weights} is not allowed; choose one of: {', '.join(WEIGHTS)}")
    return weights


def design_of(frame: pd.DataFrame, weights: str = TASKS) -> Design:
    """Weigh the rows of a frame, and cluster them by question.

    Args:
        frame: `question_id`, distinct between tasks; `model` and `task`, if there can be several.
        weights: `tasks` or `rows`.

    Raises:
        ValueError: there are no rows.
    """
    question = frame["question_id"].to_numpy()
    model = codes(frame, ["model"])
    if weights == ROWS:
        return design(question, weight=_shares(model), cell=model)
    task = codes(frame, ["task"])
    cell = codes(frame, ["model", "task"])
    tasks_of_model = frame.assign(cell=cell).groupby(model)["cell"].nunique().to_numpy() if len(frame) else np.array([])
    weight = _shares(cell) / tasks_of_model[model] if len(frame) else None
    return design(question, weight=weight, cell=cell, stratum=task)


def codes(frame: pd.DataFrame, names: list[str]) -> np.ndarray:
    """Number the groups that columns make; all rows are one group if none of the columns is there."""
    present = [name for name in names if name in frame]
    if not present:
        return np.zeros(len(frame), int)
    return frame.groupby(present, sort=False, observed=True).ngroup().to_numpy()


def _shares(group: np.ndarray) -> np.ndarray:
    """Give each row the weight that makes its group weigh one."""
    sizes = np.bincount(group)
    return 1 / sizes[group]
