"""Hypotheses of a pre-registered plan, tested as it said, and equivalence for whoever claims that
nothing changed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from warmth.analysis import wording
from warmth.analysis.statistics import effects
from warmth.analysis.statistics.estimand import EQUAL, Weights
from warmth.analysis.statistics.preregistration import Plan, selected

WORDS = {  # within the margin, and different from 0
    (True, False): "equivalent",
    (False, True): "different",
    (True, True): "different, but by less than the margin",
    (False, False): "undecided",
}


def equivalences(differences: pd.DataFrame, preregistered: bool = False) -> pd.DataFrame:
    """Add `equivalence`, a verdict and whether its margin was planned, to rows of
    `effects.differences`.

    "different" follows the corrected p of a row if it has one; "equivalent" the two one-sided tests
    at the margin.
    """
    verdicts = []
    for row in differences.to_dict("records"):
        p = row.get("p_holm", math.nan)
        p = p if wording.known(p) else row["p"]
        within = row["equivalence_p"] < 0.05
        differs = p < 0.05
        verdicts.append(
            f"{WORDS[within, differs]} ({'pre-registered' if preregistered else 'exploratory'})"
        )
    return differences.assign(equivalence=verdicts)


def tested(
    plan: Plan, answers: pd.DataFrame, margin_points: float, weights: Weights = EQUAL
) -> pd.DataFrame:
    """A row per hypothesis and model: what the plan's own outcome, rows and correction give, and a
    verdict.

    "not tested" is the verdict where an arm is missing, or no prompt is scored in both arms.

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
        found = effects.differences(
            pairs[pairs["arm"].eq(claim.arm)], ["overall"], weights, margin / 100
        )
        for model in sorted(models - set(found["model"])) or ([""] if found.empty else []):
            rows.append(
                {
                    "hypothesis": claim.name,
                    "arm": claim.arm,
                    "reference": claim.reference,
                    "model": model,
                }
            )
        for row in found.to_dict("records"):
            names = (
                "model",
                "arm",
                "pairs",
                "questions",
                "difference",
                "low",
                "high",
                "p",
                "equivalence_p",
            )
            p = row["equivalence_p"] if claim.direction == "equivalent" else row["p"]
            own = {
                "hypothesis": claim.name,
                "reference": claim.reference,
                "direction": claim.direction,
                "p_used": p,
            }
            rows.append({name: row[name] for name in names} | own)
    names = [
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
    ]
    table = pd.DataFrame(rows).reindex(columns=[*names, "p", "equivalence_p", "p_used"])
    table["p_corrected"] = _corrected(table["p_used"], plan.correction)
    table["verdict"] = [_verdict(row) for row in table.to_dict("records")]
    return table


def _corrected(p: pd.Series, correction: str) -> pd.Series:
    from statsmodels.stats.multitest import multipletests

    if p.isna().all():
        return pd.Series(np.nan, index=p.index)
    method = "holm" if correction == "holm" else "fdr_bh"
    corrected = multipletests(p.fillna(1.0), method=method)[1]
    return pd.Series(corrected, index=p.index).where(p.notna())


def _verdict(row: dict[str, Any]) -> str:
    if not wording.known(row["p_corrected"]):
        return "not tested"
    signs = {"more": row["difference"] > 0, "less": row["difference"] < 0}
    return (
        "supported"
        if row["p_corrected"] < 0.05 and signs.get(row["direction"], True)
        else "not supported"
    )
