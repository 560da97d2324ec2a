"""Our rows beside the study's numbers: are the same quantities equal within a margin?

Nothing here is ever called reproduced: other models, questions or judges may give another number
for good reasons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from warmth.analysis.statistics import effects, regression_models
from warmth.analysis.statistics.covariance import ROUNDING
from warmth.analysis.statistics.families import MARGIN_POINTS, tost
from warmth.analysis.study.released import published_study
from warmth.analysis.study.reproduction import PublishedRow
from warmth.analysis.study.summaries import MODELS, TASKS
from warmth.errors import UserError
from warmth.types import CONTEXTS

STUDY_TASKS = tuple(TASKS.values())
STUDY_MODELS = tuple(dict.fromkeys(MODELS.values()))
WORDS = {
    "equivalent": "equivalent within ±{margin:g} points",
    "different": "different",
    "both": "different, but by less than {margin:g} points",
    "undecided": "undecided: the interval is too wide",
    "unknown": "undecided: there is no interval",
}


@dataclass(frozen=True)
class Rise:
    """Our value of a published rise in errors; fractions."""

    value: float
    error: float  # NaN if there is none
    df: float
    missing: str  # what the published mean is over and ours is not, for the end of a sentence
    tasks: int = len(STUDY_TASKS)  # that the mean is over


def compare_with_published(
    answers: pd.DataFrame, margin_points: float = MARGIN_POINTS, preregistered: bool = False
) -> list[PublishedRow]:
    """Compare every published rise with ours, and say whether they are equivalent.

    The published value's own standard error is added to ours: error² = ours² + published². Rows of
    other tasks than the study's four are left out; models are pooled as they are, each cell with
    equal weight. What is missing is named.

    Args:
        answers: columns of `frames.load_rows`.
        margin_points: half-width of what counts as the same.
        preregistered: whether that margin was fixed before the data.

    Returns:
        one row per published rise in points; `recomputed` is ours, `note` its 95 % interval.
    """
    answers = answers[answers["task"].isin(STUDY_TASKS)]
    pairs = effects.pair(without_repeats(answers))
    fitted = _fitted(answers)
    rows = []
    for entry in published_study()["values"]:
        if entry["unit"] != "points" or entry.get("limit") or "needs" in entry:
            continue
        if "fit" in entry:
            rise = _effect(fitted, entry["fit"])
        else:
            rise = cell_mean(pairs, **entry["cells"])
        rows.append(_row(entry, rise, margin_points, preregistered))
    return rows


def without_repeats(answers: pd.DataFrame) -> pd.DataFrame:
    """Leave out the unmodified question repeated with the preamble, as the study's tables do.

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
    entry: Mapping[str, Any], rise: Rise | None, margin: float, preregistered: bool
) -> PublishedRow:
    """Judge one published rise.

    Args:
        entry: of `published.yaml`.
        rise: ours; None if it was not asked.
        margin: half-width of what counts as the same, in points.
        preregistered: whether that margin was fixed before the data.
    """
    name = entry["quantity"]
    published = float(entry["published"])
    if rise is None:
        return PublishedRow(
            name, published, None, "not asked in these runs", "points", entry["digits"]
        )
    if rise.tasks < len(STUDY_TASKS):
        name = name.replace("mean of four tasks", f"{rise.tasks} of the four tasks")
    value = 100 * rise.value
    error = 100 * rise.error
    both_errors = math.hypot(error, entry.get("error", 0.0))
    test = tost(
        (value - published) / 100,
        both_errors / 100,
        rise.df,
        margin / 100,
        preregistered=preregistered,
    )
    verdict = WORDS[test.verdict if math.isfinite(both_errors) else "unknown"]
    note = "no interval"
    if math.isfinite(error) and rise.df > 0:
        reach = float(stats.t.ppf(0.975, rise.df)) * error
        note = f"{value - reach:.1f} to {value + reach:.1f}".replace("-", "−")
    return PublishedRow(
        quantity=name,
        published=published,
        recomputed=value,
        verdict=f"{verdict.format(margin=margin)} ({test.label}{rise.missing})",
        unit="points",
        digits=entry["digits"],
        note=note,
    )


def cell_mean(
    pairs: pd.DataFrame,
    arm: str,
    measure: str,
    belief: bool,
    contexts: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
) -> Rise | None:
    """Average paired differences over cells of equal weight, clustered by question.

    With cells k = 1…K of n_k pairs: value = Σ_k d̄_k / K; a question's score is Σ_k Σ_{i∈k} (d_i -
    d̄_k) / (K·n_k), and V = G/(G-1) · Σ_g score_g².

    Returns:
        the mean; None if nothing was asked.
    """
    if measure != "rise":
        return None
    narrowed = {"context": contexts or CONTEXTS, "task": tasks, "model": models}
    beliefs = ["wrong_asserted", "right_denied"] if belief else ["none"]
    is_selected = pairs["arm"].eq(arm) & pairs["belief"].isin(beliefs)
    for name, values in narrowed.items():
        if values is not None:
            is_selected &= pairs[name].isin(list(values))
    rows = pairs[is_selected]
    if rows.empty:
        return None
    cell = rows.groupby(["model", "task", "context"]).ngroup().to_numpy()
    means = np.bincount(cell, rows["difference"]) / np.bincount(cell)
    share = 1 / (len(means) * np.bincount(cell)[cell])
    question = rows.groupby(["task", "question_id"]).ngroup().to_numpy()
    scores = np.bincount(question, (rows["difference"].to_numpy() - means[cell]) * share)
    groups = len(scores)
    error = math.nan
    if groups > 1:
        error = math.sqrt(groups / (groups - 1) * float(scores @ scores))
    if error <= ROUNDING:  # cells that do not vary
        error = math.nan
    return Rise(
        value=float(means.mean()),
        error=error,
        df=groups - 1,
        missing=lacking(rows, contexts or CONTEXTS, tasks or STUDY_TASKS, models or STUDY_MODELS),
        tasks=rows["task"].nunique(),
    )


def lacking(
    rows: pd.DataFrame,
    contexts: Sequence[str] = (),
    tasks: Sequence[str] = (),
    models: Sequence[str] = (),
) -> str:
    """Say what a published mean is over and these rows have not; "" if nothing is missing."""
    missing: list[str] = []
    for name, published_values in (("context", contexts), ("task", tasks)):
        present = set(rows[name].unique())
        missing += [value for value in published_values if value not in present]
    present = set(rows["model"].unique())
    missing_models = [model for model in models if model not in present]
    if len(missing_models) == len(models) > 1:
        missing.append("the study's models")
    else:
        missing += missing_models
    return f"; without {', '.join(missing)}" if missing else ""


def _fitted(answers: pd.DataFrame) -> dict[int, tuple[regression_models.FittedModel, pd.DataFrame]]:
    """Fit those of the study's four models that the rows allow; return each with its rows."""
    fitted = {}
    for spec in regression_models.SPECS:
        try:
            frame = regression_models.study_rows(answers, "warm")
            model = regression_models.fit_one(frame, spec, length=False)
        except (UserError, ValueError):  # no warm arm, no such rows, or one question
            continue
        fitted[spec.number] = (model, regression_models.fitted_rows(frame, spec))
    return fitted


def _effect(
    fitted: Mapping[int, tuple[regression_models.FittedModel, pd.DataFrame]], fit: Mapping[str, Any]
) -> Rise | None:
    """Read an average marginal effect of a fitted model; None if the rows do not allow it."""
    if fit["model"] not in fitted or "effect" not in fit:
        return None
    model, rows = fitted[fit["model"]]
    effects_table = model.effects.set_index("effect")
    if fit["effect"] not in effects_table.index:
        return None
    contexts: Sequence[str] = CONTEXTS
    if not model.spec.beliefs:  # model 2 averages over the contexts of a group
        groups = regression_models.GROUPS.items()
        contexts = [context for context, group in groups if group == fit["effect"]]
    row = effects_table.loc[fit["effect"]]
    return Rise(
        value=float(row["value"]),
        error=float(row["error"]),
        df=float(row["df"]),
        missing=lacking(rows, contexts, STUDY_TASKS, STUDY_MODELS),
    )
