"""A check on clustered errors by another method: estimating equations model the correlation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from warmth.analysis.statistics import regression_models
from warmth.analysis.statistics.regression_models import Spec
from warmth.digest import digest
from warmth.errors import UserError

MOST = 60_000  # rows; statsmodels' exchangeable GEE takes minutes beyond


def gee(frame: pd.DataFrame, spec: Spec, most: int = MOST) -> pd.DataFrame:
    """Fit a model's coefficients by statsmodels' GEE, exchangeable within a question.

    If it agrees with the clustered errors, neither the clustering nor the weighting of questions
    decides the result. With more rows than `most`, whole questions are taken in the order of a
    digest of their names, which mixes the tasks and is the same everywhere, until they are reached.

    Args:
        frame: from `regression_models.study_rows`.
        spec: one of `regression_models.SPECS`.
        most: rows to fit at most.

    Returns:
        term, value (log-odds) and error (robust), and the working correlation in every row.

    Raises:
        UserError: the model has no rows of both arms.

    Source: Liang and Zeger (1986), Biometrika 73, 13.
    """
    import statsmodels.api as sm

    rows = regression_models.fitted_rows(frame, spec)
    if len(rows) > most:
        sizes = rows["question"].value_counts(sort=False)
        total = sizes.sort_index(key=lambda names: names.map(digest)).cumsum()
        rows = rows[rows["question"].isin(total.index[total <= most])]
    if rows["finetuned"].nunique() < 2:
        raise UserError(f"model {spec.number} ({spec.about}) needs answers of both arms")
    data = regression_models.regression_design(rows, spec, length=False)[0].data
    wrong = data.wrong.astype(int)
    right = (data.n - data.wrong).astype(int)
    outcome = np.repeat([1.0, 0.0], [wrong.sum(), right.sum()])
    cells = np.arange(len(data.n))
    cell = np.concatenate([np.repeat(cells, wrong), np.repeat(cells, right)])
    order = np.argsort(data.cluster[cell], kind="stable")
    cell = cell[order]
    fitted = sm.GEE(
        outcome[order],
        data.design[data.pattern[cell]],
        groups=data.cluster[cell],
        family=sm.families.Binomial(),
        cov_struct=sm.cov_struct.Exchangeable(),
    ).fit()
    table = pd.DataFrame({"term": data.names, "value": fitted.params, "error": fitted.bse})
    return table.assign(correlation=float(fitted.model.cov_struct.dep_params), rows=len(rows))
