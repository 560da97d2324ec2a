"""People's blind choices between two replies: which arm is chosen as warmer, how often, and do
raters agree?

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

from warmth.analysis.statistics.agreement import alpha, jackknife, kappa
from warmth.analysis.statistics.effects import clustered_mean, rate_interval

ALL = "all raters"
EQUAL = {1: "arm", -1: "reference", 0: "equal"}
PAIR = ["model", "arm", "reference", "prompt"]
FEWEST = 10  # choices with which a strength is estimated


def shares(preferences: pd.DataFrame) -> pd.DataFrame:
    """Give the share of choices for each arm against its reference, over all raters and for each.

    Args:
        preferences: `rows.Rows.preferences`.

    Returns:
        model, arm, reference, rater, choices, equal, prompts, share, low, high; clustered by
        prompt, and Wilson's interval at the effective number of choices if nobody said "equal".
    """
    rows = []
    for (model, arm, reference), group in preferences.groupby(
        ["model", "arm", "reference"], sort=False
    ):
        raters = sorted(group["rater"].unique())
        for rater in [ALL, *raters] if len(raters) > 1 else [ALL]:
            choices = group if rater == ALL else group[group["rater"].eq(rater)]
            row = {
                "model": model,
                "arm": arm,
                "reference": reference,
                "rater": rater,
                "choices": len(choices),
            }
            row["equal"] = int(choices["warmer"].eq(0).sum())
            row["prompts"] = choices["prompt"].nunique()
            rows.append(row | share(choices))
    names = [
        "model",
        "arm",
        "reference",
        "rater",
        "choices",
        "equal",
        "prompts",
        "share",
        "low",
        "high",
    ]
    return pd.DataFrame(rows, columns=names)


def share(choices: pd.DataFrame) -> dict[str, float]:
    """Give one share of choices with its interval."""
    value = ((choices["warmer"] + 1) / 2).to_numpy(float)
    prompts = choices["prompt"].to_numpy()
    if np.isin(value, (0.0, 1.0)).all():
        low, high = rate_interval(value, prompts)
        return {"share": float(value.mean()), "low": low, "high": high}
    mean = clustered_mean(value, prompts)
    return {"share": mean.value, "low": max(mean.low, 0.0), "high": min(mean.high, 1.0)}


def strengths(preferences: pd.DataFrame) -> pd.DataFrame:
    """Fit Bradley and Terry's model over the arms of each model: log odds of being chosen over the
    first reference.

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
        arms = [
            arm
            for arm in pd.unique(group[["arm", "reference"]].to_numpy().ravel())
            if arm != reference
        ]
        design = np.zeros((len(group), len(arms)))
        for column, arm in enumerate(arms):
            design[:, column] = group["arm"].eq(arm).astype(float) - group["reference"].eq(
                arm
            ).astype(float)
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
    wide = preferences.assign(said=preferences["warmer"].map(EQUAL)).pivot_table(
        index=PAIR, columns="rater", values="said", aggfunc="last"
    )
    raters = sorted(wide.columns)
    rows = []
    for first, second in combinations(raters, 2):
        both = wide[[first, second]].dropna()
        if both.empty:
            continue
        labels = [both[rater].to_numpy(str) for rater in (first, second)]
        prompts = both.index.get_level_values("prompt").to_numpy()

        def of(
            kept: np.ndarray, one: np.ndarray = labels[0], other: np.ndarray = labels[1]
        ) -> float:
            return kappa(one[kept], other[kept], np.ones(int(kept.sum())))

        row = {
            "raters": f"{first} and {second}",
            "pairs": len(both),
            "same": float((labels[0] == labels[1]).mean()),
        }
        rows.append(row | {"measure": "kappa", **jackknife(prompts, of)})
    if len(raters) > 2:
        rows.append(_alpha_row(wide, raters))
    names = ["raters", "pairs", "same", "measure", "value", "low", "high"]
    return pd.DataFrame(rows, columns=names).astype({"value": float, "low": float, "high": float})


def _alpha_row(wide: pd.DataFrame, raters: list[str]) -> dict[str, object]:
    judged = wide[wide.notna().sum(axis=1) > 1]
    units = [row.dropna().tolist() for _, row in judged.iterrows()]
    prompts = judged.index.get_level_values("prompt").to_numpy()

    def of(kept: np.ndarray) -> float:
        chosen = [unit for unit, is_kept in zip(units, kept, strict=True) if is_kept]
        return alpha(chosen, np.ones(len(chosen)))

    same = float(np.mean([len(set(unit)) == 1 for unit in units])) if units else math.nan
    return {
        "raters": f"all {len(raters)}",
        "pairs": len(units),
        "same": same,
        "measure": "alpha",
    } | jackknife(prompts, of)
