"""Hypotheses of a pre-registered plan, tested as it said, and verdicts of equivalence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from warmth.analysis import wording
from warmth.analysis.statistics import effects
from warmth.analysis.statistics.estimand import EQUAL, Weights
from warmth.analysis.statistics.preregistration import Preregistration, selected

WORDS = {  # within the margin, and different from 0
    (True, False): "equivalent",
    (False, True): "different",
    (True, True): "different, but by less than the margin",
    (False, False): "undecided",
}

COLUMNS = [
    "hypothesis",
    "model",
    "arm",
    "reference",
    "direction",
    "pairs",
    "questions",
    "difference",
    "low",
    "high",
    "p",
    "equivalence_p",
    "p_used",
]


def equivalences(differences: pd.DataFrame, preregistered: bool = False) -> pd.DataFrame:
    """Add `equivalence`, a verdict and its margin's standing, to rows of
    `effects.paired_differences`.

    "different" follows the corrected p of a row if it has one; "equivalent" the two one-sided tests
    at the margin.
    """
    standing = "pre-registered" if preregistered else "exploratory"
    verdicts = []
    for row in differences.to_dict("records"):
        p = row.get("p_holm", math.nan)
        if not wording.known(p):
            p = row["p"]
        is_within = row["equivalence_p"] < 0.05
        is_different = p < 0.05
        verdicts.append(f"{WORDS[is_within, is_different]} ({standing})")
    return differences.assign(equivalence=verdicts)


def tested(
    plan: Preregistration, answers: pd.DataFrame, margin_points: float, weights: Weights = EQUAL
) -> pd.DataFrame:
    """Test each hypothesis on each model by the plan's own outcome, rows and correction.

    "not tested" is the verdict if an arm is missing, or no prompt is scored in both arms.

    The hypotheses are one family, corrected as the plan says; one that cannot be tested stays a
    member, with p = 1. `more` and `less` are one-sided claims held to the two-sided test and the
    sign; `equivalent` is held to two one-sided tests against the plan's margin, or against
    `margin_points` if it states none.
    """
    models = set(plan.models) or set(answers["model"])
    answers = selected(plan, answers)
    margin = margin_points if plan.margin_points is None else plan.margin_points
    rows: list[dict[str, Any]] = []
    for claim in plan.hypotheses:
        pairs = effects.pair(answers, claim.reference)
        pairs = pairs[pairs["arm"].eq(claim.arm)]
        differences = effects.paired_differences(pairs, ["overall"], weights, margin / 100)
        hypothesis = {"hypothesis": claim.name, "arm": claim.arm, "reference": claim.reference}
        untested = sorted(models - set(differences["model"]))
        if differences.empty and not untested:
            untested = [""]
        for model in untested:
            rows.append({**hypothesis, "model": model})
        for row in differences.to_dict("records"):
            p = row["equivalence_p"] if claim.direction == "equivalent" else row["p"]
            rows.append({**row, **hypothesis, "direction": claim.direction, "p_used": p})
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    table["p_corrected"] = _corrected(table["p_used"], plan.correction)
    table["verdict"] = [_verdict(row) for row in table.to_dict("records")]
    return table


def _corrected(p: pd.Series, correction: str) -> pd.Series:
    """Correct p-values over the hypotheses; one that is missing counts as 1 and stays missing."""
    from statsmodels.stats.multitest import multipletests

    if p.isna().all():
        return pd.Series(np.nan, index=p.index)
    method = "holm" if correction == "holm" else "fdr_bh"
    corrected = multipletests(p.fillna(1.0), method=method)[1]
    return pd.Series(corrected, index=p.index).where(p.notna())


def _verdict(row: dict[str, Any]) -> str:
    """Say whether a hypothesis is supported: by the corrected test, and by the sign it claims."""
    if not wording.known(row["p_corrected"]):
        return "not tested"
    signs = {"more": row["difference"] > 0, "less": row["difference"] < 0}
    has_sign = signs.get(row["direction"], True)
    return "supported" if row["p_corrected"] < 0.05 and has_sign else "not supported"
