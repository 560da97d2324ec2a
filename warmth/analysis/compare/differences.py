"""Paired differences between evaluations, by the statistics of the report: intervals, tests,
bounds, correction.

A difference is b minus a, of the score. Items of one cluster are one unit, and an item weighs the
same however many epochs it has. Scores that are all 0 or 1 have the interval of paired right and
wrong (`rare`), which holds also if few items differ; other scores have a clustered mean's (CR1).
p-values are corrected over all rows by Holm's rule.
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
from warmth.analysis.statistics import effects, rare
from warmth.analysis.statistics.families import Family, adjust
from warmth.errors import UserError

COLUMNS = ["task", "metric", "a", "b", "difference", "low", "high", "p", "p_holm", "bounds"]
COLUMNS += ["items", "clusters", "only_a", "only_b", "unscored_a", "unscored_b"]
COLUMNS += ["pairs", "score_a", "score_b"]
NUMBERS = ("difference", "low", "high", "p", "score_a", "score_b")
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


def compare_evaluations(
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
    reference = evaluations[0]
    notes = list(reference.notes)
    rows: list[dict[str, Any]] = []
    mismatches = []
    for evaluation in evaluations[1:]:
        matching = match(reference, evaluation)
        notes += evaluation.notes
        for note in matching.notes:
            notes.append(f"{shown(reference.system)} and {shown(evaluation.system)}: {note}")
        compared = _rows_of(reference, evaluation, matching, metrics, span)
        if not compared:
            raise UserError(_no_metric(reference, evaluation, metrics))
        rows += compared
        mismatches.append(matching.mismatches.assign(a=reference.system, b=evaluation.system))
    uncorrected = [column for column in COLUMNS if column != "p_holm"]
    table = _corrected(pd.DataFrame(rows, columns=uncorrected))
    all_mismatches = pd.concat(mismatches, ignore_index=True)
    systems = tuple(evaluation.system for evaluation in evaluations)
    return Comparison(table, all_mismatches, tuple(dict.fromkeys(notes)), systems)


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
        scored_a = a.metrics_of(str(task))
        scored_b = b.metrics_of(task_b)
        for name_a, name_b in _shared_metrics(a, b, metrics):
            if name_a not in scored_a and name_b not in scored_b:
                continue  # a metric of another task
            scores_a = a.scores.loc[pairs["row_a"], name_a].to_numpy(float)
            scores_b = b.scores.loc[pairs["row_b"], name_b].to_numpy(float)
            row: dict[str, Any] = {"task": str(task), "a": a.system, "b": b.system}
            row["metric"] = name_a if name_a == name_b else f"{name_a}={name_b}"
            row |= difference_of_pairs(scores_a, scores_b, pairs, span)
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
        if not equals:
            name_b = name_a
        if name_a in of_a and name_b in of_b:
            shared.append((name_a, name_b))
    return shared


def difference_of_pairs(
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    pairs: pd.DataFrame,
    span: tuple[float, float] = (0.0, 1.0),
) -> dict[str, Any]:
    """Compare the scores of paired items.

    Args:
        scores_a: (n,) NaN if there is none.
        scores_b: likewise, of the same items.
        pairs: (n,) rows with `item`, `cluster`, `row_a` and `row_b`, of one task.
        span: the least and the largest possible score.

    Returns:
        the columns of a row that are about numbers; NaN if nothing can be said.
    """
    is_scored = ~np.isnan(scores_a) & ~np.isnan(scores_b)
    scored_pairs = pairs[is_scored]
    row: dict[str, Any] = {
        "unscored_a": pairs.loc[np.isnan(scores_a), "row_a"].nunique(),
        "unscored_b": pairs.loc[np.isnan(scores_b), "row_b"].nunique(),
        "bounds": _bounds(scores_a, scores_b, design_of(pairs), span),
        "pairs": len(scored_pairs),
        "items": scored_pairs["item"].nunique(),
        "clusters": scored_pairs["cluster"].nunique(),
    }
    row |= dict.fromkeys(NUMBERS, math.nan)
    if scored_pairs.empty:
        return row
    scored_a = scores_a[is_scored]
    scored_b = scores_b[is_scored]
    design = design_of(scored_pairs)
    row["score_a"] = design.mean(scored_a)
    row["score_b"] = design.mean(scored_b)
    if is_right_or_wrong(scored_a) and is_right_or_wrong(scored_b):
        evidence = rare.evidence(scored_b, scored_a, design)
        row["difference"] = evidence.value
        if design.questions > 1:
            row["low"], row["high"] = rare.interval(evidence)
            row["p"] = rare.paired_p_value(evidence)
        return row
    mean = effects.weighted_mean(scored_b - scored_a, design)
    return row | {"difference": mean.value, "low": mean.low, "high": mean.high, "p": mean.p}


def design_of(pairs: pd.DataFrame) -> rare.Design:
    """Weigh each item the same, however many epochs it has, and cluster the rows."""
    pairs_of_item = pairs.groupby("item", sort=False)["item"].transform("size")
    clusters = pairs["cluster"].to_numpy()
    if pairs_of_item.eq(1).all():
        return rare.design(clusters)
    return rare.design(clusters, weight=1.0 / pairs_of_item.to_numpy(float))


def is_right_or_wrong(scores: np.ndarray) -> bool:
    """Say whether all scores are 0 or 1."""
    return bool(np.isin(scores, (0.0, 1.0)).all())


def _bounds(
    scores_a: np.ndarray, scores_b: np.ndarray, design: rare.Design, span: tuple[float, float]
) -> tuple[float, float] | None:
    """Bound the difference by the worst that missing scores could do.

    Returns:
        the difference itself if no score is missing; None if one is and another lies outside the
        span: then nothing is known of what a missing one could be.
    """
    is_missing_a = np.isnan(scores_a)
    is_missing_b = np.isnan(scores_b)
    least, largest = span
    if is_missing_a.any() or is_missing_b.any():
        known = np.concatenate([scores_a[~is_missing_a], scores_b[~is_missing_b]])
        if len(known) and (known.min() < least or known.max() > largest):
            return None
    lowest = np.where(is_missing_b, least, scores_b) - np.where(is_missing_a, largest, scores_a)
    highest = np.where(is_missing_b, largest, scores_b) - np.where(is_missing_a, least, scores_a)
    return design.mean(lowest), design.mean(highest)


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Add Holm's p-values over all rows that have a p-value."""
    if table["p"].notna().any():
        table = adjust(table, FAMILY)
    else:
        table = table.assign(p_holm=math.nan)
    return table[COLUMNS]


def _no_metric(a: Evaluation, b: Evaluation, wanted: Sequence[str]) -> str:
    """Say that two evaluations share no metric, or none of those the user named."""
    names_a = ", ".join(map(shown, a.scores.columns))
    names_b = ", ".join(map(shown, b.scores.columns))
    named = f" named {', '.join(map(shown, wanted))}" if wanted else ""
    return (
        f"{a.source} and {b.source} have no metric{named} in common: {shown(a.system)} has "
        f"{names_a}, {shown(b.system)} has {names_b}; --metric NAME_A=NAME_B compares two names of "
        f"one metric"
    )


def comparison_records(comparison: Comparison) -> list[dict[str, Any]]:
    """Give the rows for JSON, NaN as None and bounds as a list."""
    rows = []
    for row in comparison.rows.to_dict("records"):
        record = {str(name): _json_value(value) for name, value in row.items()}
        rows.append(record)
    return rows


def _json_value(value: Any) -> Any:
    """Turn a cell into what JSON can say: NaN into None, a pair into a list."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    return value
