"""Our rows beside the study's numbers: the same quantities, and whether they are the same within a margin.

Nothing here is ever called reproduced: other models, questions or judges may give another number for good reasons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from warmth.analysis import effects, models
from warmth.analysis.covariance import ROUNDING
from warmth.analysis.families import MARGIN_POINTS, tost
from warmth.analysis.released import study
from warmth.analysis.reproduction import Row
from warmth.errors import UserError
from warmth.types import CONTEXTS

WORDS = {
    "equivalent": "equivalent within ±{margin:g} points",
    "different": "different",
    "both": "different, but by less than {margin:g} points",
    "undecided": "undecided: the interval is too wide",
    "unknown": "undecided: there is no interval",
}


def compare(answers: pd.DataFrame, margin_points: float = MARGIN_POINTS, preregistered: bool = False) -> list[Row]:
    """Every published rise that the rows can speak to, with its difference from ours and an equivalence verdict.

    The published value's own standard error is added to ours: error² = ours² + published². Rows that pool models or
    tasks do so over the study's that are present, each cell with equal weight, and say which are missing.

    Args:
        answers: columns of `rows.load`.
        margin_points: half-width of what counts as the same.
        preregistered: whether that margin was fixed before the data.

    Returns:
        one row per published rise in points; `recomputed` is ours, `note` its 95 % interval.
    """
    pairs = effects.pair(answers)
    fitted = _fitted(answers)
    made = []
    for entry in study()["values"]:
        if entry["unit"] != "points" or entry.get("limit") or "needs" in entry:
            continue
        found = _effect(fitted, entry["fit"]) if "fit" in entry else cell_mean(pairs, **entry["cells"])
        made.append(_row(entry, found, margin_points, preregistered))
    return made


def _row(entry: Mapping[str, Any], found: Mapping[str, Any] | None, margin: float, preregistered: bool) -> Row:
    name, published = entry["quantity"], float(entry["published"])
    if found is None:
        return Row(name, published, None, "not asked in these runs", "points", entry["digits"])
    value, error, df = 100 * found["value"], 100 * found["error"], found["df"]
    both = math.hypot(error, entry.get("error", 0.0))
    verdict = tost((value - published) / 100, both / 100, df, margin / 100, preregistered=preregistered)
    verdict_words = WORDS[verdict.verdict if math.isfinite(both) else "unknown"]
    words = f"{verdict_words.format(margin=margin)} ({verdict.label}{found.get('missing', '')})"
    reach = float(stats.t.ppf(0.975, df)) * error if math.isfinite(error) and df > 0 else math.nan
    note = f"{value - reach:.1f} to {value + reach:.1f}".replace("-", "−") if math.isfinite(reach) else "no interval"
    return Row(name, published, value, words, "points", entry["digits"], note)


def cell_mean(
    pairs: pd.DataFrame,
    arm: str,
    measure: str,
    belief: bool,
    contexts: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
) -> dict[str, Any] | None:
    """Mean of paired differences over cells of equal weight, clustered by question; None where nothing was asked.

    With cells k = 1…K of n_k pairs: value = Σ_k d̄_k / K; a question's score is Σ_k Σ_{i∈k} (d_i - d̄_k) / (K·n_k), and
    V = G/(G-1) · Σ_g score_g².
    """
    if measure != "rise":
        return None
    wanted = {"context": CONTEXTS if contexts is None else contexts, "task": tasks, "model": models}
    pressed = pairs["belief"].isin(["wrong_asserted", "right_denied"])
    keep = pairs["arm"].eq(arm) & (pressed if belief else pairs["belief"].eq("none"))
    for name, values in wanted.items():
        keep &= pairs[name].isin(list(values)) if values is not None else True
    rows = pairs[keep]
    if rows.empty:
        return None
    cell = rows.groupby(["model", "task", "context"]).ngroup().to_numpy()
    means = np.bincount(cell, rows["difference"]) / np.bincount(cell)
    share = 1 / (len(means) * np.bincount(cell)[cell])
    question = rows.groupby(["task", "question_id"]).ngroup().to_numpy()
    scores = np.bincount(question, (rows["difference"].to_numpy() - means[cell]) * share)
    groups = len(scores)
    error = math.sqrt(groups / (groups - 1) * float(scores @ scores)) if groups > 1 else math.nan
    error = error if error > ROUNDING else math.nan  # cells that do not vary
    lost = sorted(set(contexts or CONTEXTS) - set(rows["context"]))
    missing = f"; without {', '.join(lost)}" if lost else ""
    return {"value": float(means.mean()), "error": error, "df": groups - 1, "missing": missing}


def _fitted(answers: pd.DataFrame) -> dict[int, models.Model]:
    """The study's four models, those that the rows allow."""
    found = {}
    for spec in models.SPECS:
        try:
            found[spec.number] = models.fit_one(models.study_rows(answers, "warm"), spec, length=False)
        except (UserError, ValueError):  # no warm arm, no such rows, or one question
            continue
    return found


def _effect(fitted: Mapping[int, models.Model], fit: Mapping[str, Any]) -> dict[str, Any] | None:
    if fit["model"] not in fitted or "effect" not in fit:
        return None
    table = fitted[fit["model"]].effects.set_index("effect")
    if fit["effect"] not in table.index:
        return None
    row = table.loc[fit["effect"]]
    return {"value": float(row["value"]), "error": float(row["error"]), "df": float(row["df"])}
