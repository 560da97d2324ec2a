"""A check on the clustered errors by another road: estimating equations that model the correlation
itself.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from warmth.analysis.statistics import regression_models
from warmth.analysis.statistics.regression_models import Spec
from warmth.digest import digest
from warmth.errors import UserError

MOST = 60_000  # rows; statsmodels' exchangeable GEE takes minutes beyond


def gee(frame: pd.DataFrame, spec: Spec, most: int = MOST) -> pd.DataFrame:
    """A model's coefficients by statsmodels' GEE, binomial with exchangeable correlation within a
    question.

    Where the two agree, neither the clustering nor the weighting of questions decides the result.
    With more rows than `most`, whole questions are taken in the order of a digest of their names,
    which mixes the tasks and is the same everywhere, until they are reached.

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

    rows = regression_models.rows_of(frame, spec)
    if len(rows) > most:
        sizes = (
            rows["question"]
            .value_counts(sort=False)
            .sort_index(key=lambda names: names.map(digest))
            .cumsum()
        )
        rows = rows[rows["question"].isin(sizes.index[sizes <= most])]
    if rows["finetuned"].nunique() < 2:
        raise UserError(f"model {spec.number} ({spec.about}) needs answers of both arms")
    data = regression_models.design_of(rows, spec, length=False)[0].data
    parts = [(value, count) for value, count in ((1.0, data.wrong), (0.0, data.n - data.wrong))]
    times = np.concatenate([count.astype(int) for _, count in parts])
    outcome = np.repeat(np.repeat([value for value, _ in parts], len(data.n)), times)
    at = np.repeat(np.tile(np.arange(len(data.n)), 2), times)
    order = np.argsort(data.cluster[at], kind="stable")
    fitted = sm.GEE(
        outcome[order],
        data.design[data.pattern[at]][order],
        groups=data.cluster[at][order],
        family=sm.families.Binomial(),
        cov_struct=sm.cov_struct.Exchangeable(),
    ).fit()
    table = pd.DataFrame({"term": data.names, "value": fitted.params, "error": fitted.bse})
    return table.assign(correlation=float(fitted.model.cov_struct.dep_params), rows=len(rows))
