"""People's blind choices of the warmer of two replies, and how far raters agree.

A choice is 1 for the arm, -1 for its reference and 0 for "equal", which counts as half a choice for
each. Prompts are clusters: several raters, and several arms, are asked about one prompt.
"""

from __future__ import annotations

import math
import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import statsmodels.api as sm

from warmth.analysis.statistics.agreement import alpha, jackknife, jackknifed_kappa
from warmth.analysis.statistics.effects import clustered_mean, rate_interval

ALL = "all raters"
EQUAL = {1: "arm", -1: "reference", 0: "equal"}
PAIR = ["model", "arm", "reference", "prompt"]
FEWEST = 10  # choices with which a strength is estimated


def preference_shares(preferences: pd.DataFrame) -> pd.DataFrame:
    """Give the share of choices for each arm against its reference, over all raters and for each.

    Args:
        preferences: `rows.Rows.preferences`.

    Returns:
        model, arm, reference, rater, choices, equal, prompts, share, low, high; clustered by
        prompt, and Wilson's interval at the effective number of choices if nobody said "equal".
    """
    contrast = ["model", "arm", "reference"]
    rows = []
    for (model, arm, reference), group in preferences.groupby(contrast, sort=False):
        choices_of: dict[str, pd.DataFrame] = {ALL: group}
        if group["rater"].nunique() > 1:
            choices_of |= dict(list(group.groupby("rater", sort=True)))
        for rater, choices in choices_of.items():
            rows.append(
                {
                    "model": model,
                    "arm": arm,
                    "reference": reference,
                    "rater": rater,
                    "choices": len(choices),
                    "equal": int(choices["warmer"].eq(0).sum()),
                    "prompts": choices["prompt"].nunique(),
                    **choice_share(choices),
                }
            )
    counts = ["rater", "choices", "equal", "prompts"]
    return pd.DataFrame(rows, columns=[*contrast, *counts, "share", "low", "high"])


def choice_share(choices: pd.DataFrame) -> dict[str, float]:
    """Give one share of choices with its interval."""
    value = ((choices["warmer"] + 1) / 2).to_numpy(float)
    prompts = choices["prompt"].to_numpy()
    if np.isin(value, (0.0, 1.0)).all():
        low, high = rate_interval(value, prompts)
        return {"share": float(value.mean()), "low": low, "high": high}
    mean = clustered_mean(value, prompts)
    return {"share": mean.value, "low": max(mean.low, 0.0), "high": min(mean.high, 1.0)}


def strengths(preferences: pd.DataFrame) -> pd.DataFrame:
    """Fit Bradley and Terry's model: each arm's log odds of being chosen over the first reference.

    log odds(i over j) = β_i - β_j, by statsmodels' binomial GLM without a constant, "equal" being
    half a success; errors clustered by prompt, t on prompts less one. An arm that always won, or
    always lost, has no finite strength.

    Returns:
        model, arm, strength, low, high, choices; the reference has 0, and an arm with nothing to
        estimate NaN.

    Source: Bradley and Terry (1952), Biometrika 39, 324.
    """
    rows = []
    for model, group in preferences.groupby("model", sort=False):
        reference = group["reference"].value_counts().index[0]
        names = pd.unique(group[["arm", "reference"]].to_numpy().ravel())
        arms = [arm for arm in names if arm != reference]
        design = np.zeros((len(group), len(arms)))
        for column, arm in enumerate(arms):
            is_first = group["arm"].eq(arm).astype(float)
            is_second = group["reference"].eq(arm).astype(float)
            design[:, column] = is_first - is_second
        won = ((group["warmer"] + 1) / 2).to_numpy(float)
        fitted = _fit(design, won, group["prompt"].to_numpy())
        rows.append({"model": model, "arm": reference, "strength": 0.0, "choices": len(group)})
        for column, arm in enumerate(arms):
            count = int((design[:, column] != 0).sum())
            row = {"model": model, "arm": arm, "choices": count}
            if fitted is not None and count >= FEWEST and _is_finite(design[:, column], won):
                row |= {name: float(values[column]) for name, values in fitted.items()}
            rows.append(row)
    return pd.DataFrame(rows, columns=["model", "arm", "strength", "low", "high", "choices"])


def _fit(design: np.ndarray, won: np.ndarray, prompts: np.ndarray) -> dict[str, np.ndarray] | None:
    """Fit the strengths and their intervals; None if they cannot be had."""
    codes = pd.factorize(prompts)[0]
    groups = int(codes.max()) + 1
    if groups < 2 or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arms that always won, which are left out
        result = sm.GLM(won, design, family=sm.families.Binomial()).fit(
            cov_type="cluster", cov_kwds={"groups": codes}, use_t=True
        )
    low, high = result.conf_int().T
    return {"strength": result.params, "low": low, "high": high}


def _is_finite(side: np.ndarray, won: np.ndarray) -> bool:
    """Tell whether an arm won some and lost some of its comparisons."""
    compared = side != 0
    gained = np.where(side > 0, won, 1 - won)[compared]
    return bool(0 < gained.mean() < 1)


def rater_agreement(preferences: pd.DataFrame) -> pd.DataFrame:
    """Tell how far raters agree on the pairs that they both judged: arm, reference or equal.

    Returns:
        raters, pairs, same (a share), measure, value, low, high: Cohen's kappa of every two raters,
        and Krippendorff's alpha of all if there are more than two; intervals by leaving out one
        prompt at a time.
    """
    choices = preferences.assign(choice=preferences["warmer"].map(EQUAL))
    wide = choices.pivot_table(index=PAIR, columns="rater", values="choice", aggfunc="last")
    raters = sorted(wide.columns)
    rows: list[dict[str, object]] = []
    for first, second in combinations(raters, 2):
        both = wide[[first, second]].dropna()
        if len(both):
            rows.append(_kappa_row(both))
    if len(raters) > 2:
        rows.append(_alpha_row(wide))
    names = ["raters", "pairs", "same", "measure", "value", "low", "high"]
    return pd.DataFrame(rows, columns=names).astype({"value": float, "low": float, "high": float})


def _kappa_row(both: pd.DataFrame) -> dict[str, object]:
    """Compute how far two raters agree on the pairs that both judged, a column each."""
    first, second = (both[rater].to_numpy(str) for rater in both.columns)
    prompts = both.index.get_level_values("prompt").to_numpy()
    agree = jackknifed_kappa(first, second, prompts)
    return {
        "raters": " and ".join(both.columns),
        "pairs": len(both),
        "same": float((first == second).mean()),
        "measure": "kappa",
        **agree,
    }


def _alpha_row(wide: pd.DataFrame) -> dict[str, object]:
    """Compute how far all raters agree, a column each, on the pairs that two or more judged."""
    judged = wide[wide.notna().sum(axis=1) > 1]
    units = [row.dropna().tolist() for _, row in judged.iterrows()]
    prompts = judged.index.get_level_values("prompt").to_numpy()

    def without(is_kept: np.ndarray) -> float:
        kept_units = [units[number] for number in np.flatnonzero(is_kept)]
        return alpha(kept_units, np.ones(len(kept_units)))

    same = float(judged.nunique(axis=1).eq(1).mean()) if units else math.nan
    return {
        "raters": f"all {len(wide.columns)}",
        "pairs": len(units),
        "same": same,
        "measure": "alpha",
        **jackknife(prompts, without),
    }
