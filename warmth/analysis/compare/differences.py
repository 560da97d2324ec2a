"""Paired differences between evaluations, by the statistics of the report: intervals, tests,
bounds, correction.

A difference is b minus a, of the score. Items of one cluster are one unit. Scores that are all 0 or
1 have the interval of paired right and wrong (`rare`), which holds also if few items differ; other
scores have a clustered mean's (CR1). p-values are corrected over all rows by Holm's rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from warmth.analysis.compare.matching import Matching, match
from warmth.analysis.compare.scores import Evaluation, shown
from warmth.analysis.statistics import bounds, effects, rare
from warmth.analysis.statistics.families import Family, adjust
from warmth.errors import UserError

COLUMNS = [
    "task",
    "metric",
    "a",
    "b",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "bounds",
    "items",
    "clusters",
]
COLUMNS += ["only_a", "only_b", "unscored_a", "unscored_b", "pairs", "score_a", "score_b"]
FAMILY = Family("every row", {})


@dataclass(frozen=True)
class Comparison:
    """Every system against the first.

    Attributes:
        rows: columns `COLUMNS`; `bounds` is (low, high) or None.
        mismatches: task, item, epoch, words_a, words_b, and the two systems a and b.
        notes: what a reader should know, each once.
        systems: names in the order they were given; the first is the reference.
    """

    rows: pd.DataFrame
    mismatches: pd.DataFrame
    notes: tuple[str, ...]
    systems: tuple[str, ...]


def compare(
    evaluations: Sequence[Evaluation],
    metrics: Sequence[str] = (),
    span: tuple[float, float] = (0.0, 1.0),
) -> Comparison:
    """Compare every evaluation with the first.

    Args:
        evaluations: at least two.
        metrics: names of metrics, or `NAME_A=NAME_B` for one that the tools name differently; none:
        all in common.
        span: the least and the largest possible score, for the bounds.

    Raises:
        UserError: two evaluations have no item, or no metric, in common.
    """
    first = evaluations[0]
    notes = list(first.notes)
    rows: list[dict[str, Any]] = []
    mismatches = []
    for other in evaluations[1:]:
        matching = match(first, other)
        notes += [
            *other.notes,
            *(
                f"{shown(first.system)} and {shown(other.system)}: {note}"
                for note in matching.notes
            ),
        ]
        compared = _rows_of(first, other, matching, metrics, span)
        if not compared:
            raise UserError(_no_metric(first, other, metrics))
        rows += compared
        mismatches.append(matching.mismatches.assign(a=first.system, b=other.system))
    table = _corrected(pd.DataFrame(rows, columns=COLUMNS[:8] + COLUMNS[9:]))
    listed = pd.concat(mismatches, ignore_index=True)
    systems = tuple(evaluation.system for evaluation in evaluations)
    return Comparison(table, listed, tuple(dict.fromkeys(notes)), systems)


def _rows_of(
    a: Evaluation,
    b: Evaluation,
    matching: Matching,
    metrics: Sequence[str],
    span: tuple[float, float],
) -> list[dict[str, Any]]:
    """Give a row for each task and metric that two evaluations share."""
    rows = []
    for task, pairs in matching.pairs.groupby("task", sort=False):
        task_b = b.items.loc[pairs["row_b"].iloc[0], "task"]
        scored = (a.metrics_of(str(task)), b.metrics_of(task_b))
        for name_a, name_b in _shared_metrics(a, b, metrics):
            if name_a not in scored[0] and name_b not in scored[1]:
                continue  # a metric of another task
            scores_a = a.scores.loc[pairs["row_a"], name_a].to_numpy(float)
            scores_b = b.scores.loc[pairs["row_b"], name_b].to_numpy(float)
            row: dict[str, Any] = {
                "task": str(task),
                "metric": name_a if name_a == name_b else f"{name_a}={name_b}",
            }
            row |= {"a": a.system, "b": b.system}
            row |= paired(scores_a, scores_b, pairs, span)
            row["only_a"] = int(matching.only_a["task"].eq(task).sum())
            row["only_b"] = int(matching.only_b["task"].eq(task).sum())
            rows.append(row)
    return rows


def _shared_metrics(a: Evaluation, b: Evaluation, wanted: Sequence[str]) -> list[tuple[str, str]]:
    """List the names under which either tool has a metric, also one that scored no item."""
    of_a = list(a.scores.columns)
    of_b = list(b.scores.columns)
    if not wanted:
        return [(name, name) for name in of_a if name in of_b]
    shared = []
    for words in wanted:
        name_a, equals, name_b = words.partition("=")
        name_b = name_b if equals else name_a
        if name_a in of_a and name_b in of_b:
            shared.append((name_a, name_b))
    return shared


def paired(
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    pairs: pd.DataFrame,
    span: tuple[float, float] = (0.0, 1.0),
) -> dict[str, Any]:
    """Compare the scores of paired items.

    Args:
        scores_a: (n,) NaN if there is none.
        scores_b: likewise, of the same items.
        pairs: (n,) rows with `item` and `cluster`.
        span: the least and the largest possible score.

    Returns:
        the columns of a row that are about numbers; NaN where nothing can be said.
    """
    scored = ~np.isnan(scores_a) & ~np.isnan(scores_b)
    items = pairs["item"].to_numpy()
    clusters = pairs["cluster"].to_numpy()
    row: dict[str, Any] = {
        "unscored_a": int(np.isnan(scores_a).sum()),
        "unscored_b": int(np.isnan(scores_b).sum()),
        "bounds": _bounds(scores_a, scores_b, clusters, span),
        "pairs": int(scored.sum()),
        "items": len(pd.unique(items[scored])),
        "clusters": len(pd.unique(clusters[scored])),
    }
    nothing = dict.fromkeys(("difference", "low", "high", "p", "score_a", "score_b"), math.nan)
    if not scored.any():
        return row | nothing
    means = {"score_a": float(scores_a[scored].mean()), "score_b": float(scores_b[scored].mean())}
    row |= means
    if is_right_or_wrong(scores_a[scored]) and is_right_or_wrong(scores_b[scored]):
        design = rare.design(clusters[scored])
        evidence = rare.evidence(scores_b[scored], scores_a[scored], design)
        if design.questions < 2:
            return row | nothing | {"difference": evidence.value} | means
        low, high = rare.interval(evidence)
        return row | {
            "difference": evidence.value,
            "low": low,
            "high": high,
            "p": rare.p_value(evidence),
        }
    mean = effects.clustered_mean(scores_b[scored] - scores_a[scored], clusters[scored])
    return row | {"difference": mean.value, "low": mean.low, "high": mean.high, "p": mean.p}


def is_right_or_wrong(scores: np.ndarray) -> bool:
    """Say whether all scores are 0 or 1."""
    return bool(np.isin(scores, (0.0, 1.0)).all())


def _bounds(
    scores_a: np.ndarray, scores_b: np.ndarray, clusters: np.ndarray, span: tuple[float, float]
) -> tuple[float, float] | None:
    """Bound the difference by the worst that missing scores could do.

    Returns:
        the difference itself if no score is missing; None if one is and another lies outside the
        span: then nothing is known of what a missing one could be.
    """
    if not (np.isnan(scores_a).any() or np.isnan(scores_b).any()):
        value = float(scores_b.mean() - scores_a.mean())
        return value, value
    least, largest = span
    width = largest - least
    known = np.concatenate([scores_a[~np.isnan(scores_a)], scores_b[~np.isnan(scores_b)]])
    if len(known) and (known.min() < least or known.max() > largest):
        return None
    shares = {
        "wrong_arm": (scores_b - least) / width,
        "wrong_reference": (scores_a - least) / width,
    }
    missing = bounds.missing(pd.DataFrame({**shares, "question_id": clusters}))
    assert missing is not None
    return missing.low * width, missing.high * width


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Add Holm's p-values over all rows that have a p-value."""
    if table["p"].notna().any():
        table = adjust(table, FAMILY)
    else:
        table = table.assign(p_holm=math.nan)
    return table[COLUMNS]


def _no_metric(a: Evaluation, b: Evaluation, wanted: Sequence[str]) -> str:
    names_a = ", ".join(shown(name) for name in a.scores.columns)
    names_b = ", ".join(shown(name) for name in b.scores.columns)
    asked = f" named {', '.join(map(shown, wanted))}" if wanted else ""
    return (
        f"{a.source} and {b.source} have no metric{asked} in common: {shown(a.system)} has "
        f"{names_a}, "
        f"{shown(b.system)} has {names_b}; --metric NAME_A=NAME_B compares two names of one metric"
    )


def records(comparison: Comparison) -> list[dict[str, Any]]:
    """Give the rows for JSON, NaN as None and bounds as a list."""
    rows = []
    for row in comparison.rows.to_dict("records"):
        record = {}
        for name, value in row.items():
            if name == "bounds":
                record[name] = None if value is None else list(value)
            elif isinstance(value, float) and math.isnan(value):
                record[name] = None
            else:
                record[name] = value
        rows.append(record)
    return rows
