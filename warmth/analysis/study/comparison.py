"""Our rows beside the study's numbers: the same quantities, and whether they are the same within a
margin.

Nothing here is ever called reproduced: other models, questions or judges may give another number
for good reasons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from warmth.analysis.statistics import effects, regression_models
from warmth.analysis.statistics.covariance import ROUNDING
from warmth.analysis.statistics.families import MARGIN_POINTS, tost
from warmth.analysis.study.released import study
from warmth.analysis.study.reproduction import Row
from warmth.analysis.study.summaries import MODELS, TASKS
from warmth.errors import UserError
from warmth.types import CONTEXTS

STUDY_TASKS, STUDY_MODELS = tuple(TASKS.values()), tuple(dict.fromkeys(MODELS.values()))
WORDS = {
    "equivalent": "equivalent within ±{margin:g} points",
    "different": "different",
    "both": "different, but by less than {margin:g} points",
    "undecided": "undecided: the interval is too wide",
    "unknown": "undecided: there is no interval",
}


def compare(
    answers: pd.DataFrame, margin_points: float = MARGIN_POINTS, preregistered: bool = False
) -> list[Row]:
    """Every published rise that the rows can speak to, with its difference from ours and an
    equivalence verdict.

    The published value's own standard error is added to ours: error² = ours² + published². Rows of
    other tasks than the study's four are left out; models are pooled as they are, each cell with
    equal weight. What is missing is named.

    Args:
        answers: columns of `rows.load`.
        margin_points: half-width of what counts as the same.
        preregistered: whether that margin was fixed before the data.

    Returns:
        one row per published rise in points; `recomputed` is ours, `note` its 95 % interval.
    """
    answers = answers[answers["task"].isin(STUDY_TASKS)]
    pairs = effects.pair(without_repeats(answers))
    fitted = _fitted(answers)
    made = []
    for entry in study()["values"]:
        if entry["unit"] != "points" or entry.get("limit") or "needs" in entry:
            continue
        found = (
            _effect(fitted, entry["fit"]) if "fit" in entry else cell_mean(pairs, **entry["cells"])
        )
        made.append(_row(entry, found, margin_points, preregistered))
    return made


def without_repeats(answers: pd.DataFrame) -> pd.DataFrame:
    """The rows of the study's cell tables, which lack the unmodified question repeated with the
    preamble.

    A row with the preamble is left out where its cell has rows without as well; the regressions
    keep it, as published.
    """
    if "template" in answers:  # graded elsewhere
        repeated = answers["template"].eq("original_neutral")
    elif "preamble" in answers:
        repeated = answers["preamble"].astype(bool)
    else:
        return answers
    cell = [answers[name] for name in ("model", "task", "context", "belief")]
    return answers[~repeated | repeated.groupby(cell).transform("all")]


def _row(
    entry: Mapping[str, Any], found: Mapping[str, Any] | None, margin: float, preregistered: bool
) -> Row:
    name, published = entry["quantity"], float(entry["published"])
    if found and found.get("tasks", len(STUDY_TASKS)) < len(STUDY_TASKS):
        name = name.replace("mean of four tasks", f"{found['tasks']} of the four tasks")
    if found is None:
        return Row(name, published, None, "not asked in these runs", "points", entry["digits"])
    value, error, df = 100 * found["value"], 100 * found["error"], found["df"]
    both = math.hypot(error, entry.get("error", 0.0))
    verdict = tost(
        (value - published) / 100, both / 100, df, margin / 100, preregistered=preregistered
    )
    verdict_words = WORDS[verdict.verdict if math.isfinite(both) else "unknown"]
    words = f"{verdict_words.format(margin=margin)} ({verdict.label}{found.get('missing', '')})"
    reach = float(stats.t.ppf(0.975, df)) * error if math.isfinite(error) and df > 0 else math.nan
    note = (
        f"{value - reach:.1f} to {value + reach:.1f}".replace("-", "−")
        if math.isfinite(reach)
        else "no interval"
    )
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
    """Mean of paired differences over cells of equal weight, clustered by question; None where
    nothing was asked.

    With cells k = 1…K of n_k pairs: value = Σ_k d̄_k / K; a question's score is Σ_k Σ_{i∈k} (d_i -
    d̄_k) / (K·n_k), and V = G/(G-1) · Σ_g score_g².
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
    missing = lacking(rows, contexts or CONTEXTS, tasks or STUDY_TASKS, models or STUDY_MODELS)
    made = {"value": float(means.mean()), "error": error, "df": groups - 1, "missing": missing}
    return made | {"tasks": rows["task"].nunique()}


def lacking(
    rows: pd.DataFrame,
    contexts: Sequence[str] = (),
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
) -> str:
    """What a published mean is over and these rows have not, in words; "" where nothing is
    missing.
    """
    lost = []
    for name, wanted in (("context", contexts), ("task", tasks), ("model", models)):
        present = set(rows[name].unique())
        gone = [value for value in wanted if value not in present]
        lost += (
            [f"the study's {name}s"] if name == "model" and len(gone) == len(wanted) > 1 else gone
        )
    return f"; without {', '.join(lost)}" if lost else ""


def _fitted(answers: pd.DataFrame) -> dict[int, tuple[regression_models.Model, pd.DataFrame]]:
    """The study's four models, those that the rows allow, each with its rows."""
    found = {}
    for spec in regression_models.SPECS:
        try:
            frame = regression_models.study_rows(answers, "warm")
            found[spec.number] = (
                regression_models.fit_one(frame, spec, length=False),
                regression_models.rows_of(frame, spec),
            )
        except (UserError, ValueError):  # no warm arm, no such rows, or one question
            continue
    return found


def _effect(
    fitted: Mapping[int, tuple[regression_models.Model, pd.DataFrame]], fit: Mapping[str, Any]
) -> dict[str, Any] | None:
    if fit["model"] not in fitted or "effect" not in fit:
        return None
    model, rows = fitted[fit["model"]]
    group = [
        name for name, group in regression_models.GROUPS.items() if group == fit["effect"]
    ]  # over which model 2 averages
    missing = lacking(rows, CONTEXTS if model.spec.beliefs else group, STUDY_TASKS, STUDY_MODELS)
    table = model.effects.set_index("effect")
    if fit["effect"] not in table.index:
        return None
    row = table.loc[fit["effect"]]
    return {
        "value": float(row["value"]),
        "error": float(row["error"]),
        "df": float(row["df"]),
        "missing": missing,
    }
