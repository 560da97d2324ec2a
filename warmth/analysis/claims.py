"""Hypotheses of a pre-registered plan, tested as it said, and equivalence for whoever claims that nothing changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from warmth.analysis import effects, wording
from warmth.analysis.effects import Mean
from warmth.analysis.families import MARGIN_POINTS, standard_error, tost
from warmth.analysis.preregistration import OUTCOMES, Plan

WORDS = {
    "equivalent": "equivalent",
    "different": "different",
    "both": "different, but by less than the margin",
    "undecided": "undecided",
}


def equivalences(
    differences: pd.DataFrame, margin_points: float = MARGIN_POINTS, preregistered: bool = False
) -> pd.DataFrame:
    """Adds `equivalence` (verdict and label) and `equivalence_p` to rows of `effects.differences`."""
    verdicts, ps = [], []
    for row in differences.to_dict("records"):
        mean = Mean(row["difference"], row["low"], row["high"], row["p"], row["pairs"], row["questions"])
        found = tost(mean.value, standard_error(mean), mean.clusters - 1, margin_points / 100, 0.05, preregistered)
        verdicts.append(f"{WORDS[found.verdict]} ({found.label})")
        ps.append(found.p)
    return differences.assign(equivalence=verdicts, equivalence_p=ps)


def tested(plan: Plan, answers: pd.DataFrame, margin_points: float) -> pd.DataFrame:
    """A row per hypothesis and model: what the plan's own outcome, rows and correction give, and a verdict.

    "not tested" is the verdict where an arm is missing, or no prompt is scored in both arms.

    The hypotheses are one family, corrected as the plan says. `more` and `less` are one-sided claims held to the
    two-sided test and the sign; `equivalent` is held to two one-sided tests against the plan's margin, or against
    `margin_points` where it states none.
    """
    answers = answers if plan.tasks else effects.pooled(answers)  # a plan that names benchmarks means them
    keep = pd.Series(True, index=answers.index)
    for key, column in (("tasks", "task"), ("contexts", "context"), ("beliefs", "belief"), ("models", "model")):
        keep &= answers[column].isin(getattr(plan, key)) if getattr(plan, key) else True
    margin = margin_points if plan.margin_points is None else plan.margin_points
    rows: list[dict[str, Any]] = []
    for claim in plan.hypotheses:
        pairs = effects.pair(answers[keep], claim.reference, OUTCOMES[plan.refusals])
        found = effects.differences(pairs[pairs["arm"].eq(claim.arm)], ["overall"])
        asked = [set(answers.loc[keep & answers["arm"].eq(arm), "model"]) for arm in (claim.arm, claim.reference)]
        lost = sorted(set.intersection(*asked) - set(found["model"]))  # both answered, and no prompt scored in both
        for model in lost or ([""] if found.empty else []):
            rows.append({"hypothesis": claim.name, "arm": claim.arm, "reference": claim.reference, "model": model})
        for row in equivalences(found, margin, plan.margin_points is not None).to_dict("records"):
            names = ("model", "arm", "pairs", "questions", "difference", "low", "high", "p", "equivalence_p")
            p = row["equivalence_p"] if claim.direction == "equivalent" else row["p"]
            own = {"hypothesis": claim.name, "reference": claim.reference, "direction": claim.direction, "p_used": p}
            rows.append({name: row[name] for name in names} | own)
    names = ["hypothesis", "model", "arm", "reference", "direction", "pairs", "questions", "difference", "low", "high"]
    table = pd.DataFrame(rows).reindex(columns=[*names, "p", "equivalence_p", "p_used"])
    table["p_corrected"] = _corrected(table["p_used"], plan.correction)
    table["verdict"] = [_verdict(row) for row in table.to_dict("records")]
    return table


def _corrected(p: pd.Series, correction: str) -> pd.Series:
    from statsmodels.stats.multitest import multipletests

    made, known = np.full(len(p), np.nan), p.notna().to_numpy()
    if known.any():
        made[known] = multipletests(p[known], method="holm" if correction == "holm" else "fdr_bh")[1]
    return pd.Series(made, index=p.index)


def _verdict(row: dict[str, Any]) -> str:
    if not wording.known(row["p_corrected"]):
        return "not tested"
    signs = {"more": row["difference"] > 0, "less": row["difference"] < 0}
    return "supported" if row["p_corrected"] < 0.05 and signs.get(row["direction"], True) else "not supported"
