"""How far graders and people agree: chance-corrected, per arm, by task, and between graders on the same answers.

All statistics take the sampling weights; intervals are by leaving out one question at a time (jackknife), as a question
returns in many answers. *Sensitivity*: of truly wrong answers, the share graded wrong. *Specificity*: of truly right
ones, the share graded right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from warmth.analysis.labels import settle
from warmth.analysis.rows import Rows, read_grades
from warmth.analysis.statistics import effects
from warmth.analysis.statistics.judging import corrected_differences, corrected_rates
from warmth.analysis.tables import records
from warmth.errors import UserError
from warmth.verdicts import WEIGHT, Rule, outcomes

UNSCORED = "unscored"


def kappa(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> float:
    """Cohen's kappa of two codings; NaN where both always say one thing, or nothing is coded.

    Source: Cohen (1960), Educ. Psychol. Meas. 20, 37; weights as in survey estimates of the table's shares.
    """
    if not len(first):
        return math.nan
    codes = pd.factorize(np.concatenate([first, second]))[0]
    table = np.zeros((codes.max() + 1,) * 2)
    np.add.at(table, (codes[: len(first)], codes[len(first) :]), weight)
    table /= table.sum()
    chance = float(table.sum(axis=0) @ table.sum(axis=1))
    return (float(np.trace(table)) - chance) / (1 - chance) if chance < 1 else math.nan


def alpha(units: Sequence[Sequence[str]], weight: np.ndarray) -> float:
    """Krippendorff's alpha for nominal labels; a unit with fewer than two labels says nothing.

    Args:
        units: the labels each answer got, however many.
        weight: of each unit; scaled to a mean of 1, so that equal weights give the published formula.

    Source: Krippendorff (2011), Computing Krippendorff's Alpha-Reliability.
    """
    usable = [(unit, one) for unit, one in zip(units, weight, strict=True) if len(unit) > 1]
    names = sorted({label for unit, _ in usable for label in unit})
    scale = len(usable) / sum(one for _, one in usable) if usable else 1.0
    pairs = np.zeros((len(names), len(names)))
    for unit, one in usable:
        counts = np.array([list(unit).count(name) for name in names], float)
        pairs += one * scale * (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    total, margins = pairs.sum(), pairs.sum(axis=0)
    expected = (margins.sum() ** 2 - (margins**2).sum()) / (total - 1) if total > 1 else 0.0
    return 1 - float(total - np.trace(pairs)) / expected if expected > 0 else math.nan


def jackknife(clusters: np.ndarray, statistic: Callable[[np.ndarray], float]) -> dict[str, float | None]:
    """A statistic of some rows with a 95 % interval from leaving out one cluster at a time.

    Args:
        clusters: (n,) labels.
        statistic: of a boolean selection of the n rows.
    """
    value = statistic(np.ones(len(clusters), bool))
    names = pd.unique(clusters)
    left = np.array([statistic(clusters != name) for name in names])
    left = left[np.isfinite(left)]
    if not math.isfinite(value) or len(left) < 2 or np.ptp(left) == 0:
        return {"value": value if math.isfinite(value) else None, "low": None, "high": None}
    groups = len(left)
    error = math.sqrt((groups - 1) / groups * float(((left - left.mean()) ** 2).sum()))
    reach = float(stats.t.ppf(0.975, groups - 1)) * error
    return {"value": value, "low": max(-1.0, value - reach), "high": min(1.0, value + reach)}


def share(hit: np.ndarray, weight: np.ndarray, clusters: np.ndarray) -> dict[str, Any]:
    """A weighted share with Wilson's interval at the effective number of rows; empty where there is no row."""
    if not len(hit):
        return {"value": None, "low": None, "high": None, "n": 0}
    value = float(np.average(hit, weights=weight))
    groups = len(pd.unique(clusters))
    spread = pd.Series(weight * (hit - value)).groupby(clusters).sum().to_numpy() / weight.sum()
    variance = groups / (groups - 1) * float(spread @ spread) if groups > 1 else 0.0
    kish = float(weight.sum() ** 2 / (weight**2).sum())
    effective = min(len(hit), value * (1 - value) / variance) if variance > 1e-15 else min(kish, groups)
    low, high = proportion_confint(value * effective, effective, method="wilson")
    return {"value": value, "low": float(low), "high": float(high), "n": len(hit)}


def graded_by(rows: Rows, grader: str | None) -> pd.DataFrame:
    """`rows.answers` with the verdicts of one grader; None: of the primary one of each task.

    Raises:
        UserError: no row is by that grader.
    """
    if grader is None:
        return rows.answers
    found = read_grades(rows)
    own = found[found["grader"].eq(grader)].set_index("answer_id")["label"]
    if own.empty:
        raise UserError(f"--grader={grader} graded nothing; there are: {', '.join(sorted(found['grader'].unique()))}")
    labels = rows.answers["answer_id"].map(own).astype("object")
    return outcomes(rows.answers.assign(label=labels), rows.rule)


def joined(rows: Rows, labels: pd.DataFrame, grader: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Every answer with the grader's label and, where people settled on one, theirs.

    Returns:
        Columns of `rows.answers` with `label` by the grader, `truth_label`, `weight`, `judged` and `truth` (1 wrong, 0
        right, NaN where it does not count); and the answers that raters left open.

    Raises:
        UserError: no label belongs to an answer here, raters agree on none, or no row is by that grader.
    """
    answers = graded_by(rows, grader)
    answers = answers.assign(question_id=effects.questions_of(answers))
    settled, open_ones = settle(labels)
    if settled.empty:
        raise UserError(f"raters disagree on all {len(open_ones)} answers; --adjudicate FILE lists them, to be settled")
    frame = answers.merge(settled, on="answer_id", how="left")
    if frame["truth_label"].isna().all():
        raise UserError("no label belongs to an answer of these runs (column answer_id)")
    return counted(frame, rows.rule), open_ones


def counted(frame: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """With `judged` and `truth`: what a rule makes of the grader's and of people's labels."""
    judged, truth = (outcomes(frame.assign(label=frame[name]), rule)["wrong"] for name in ("label", "truth_label"))
    return frame.assign(judged=judged, truth=truth)


def corrected(frame: pd.DataFrame, rule: Rule) -> dict[str, Any]:
    """Rates and differences of scored answers, raw and corrected, under every rule for refusals where there are any.

    The rule of the study comes first; `refused` says how a row counts them.
    """
    scored = frame[frame["label"].notna()]
    names = ("label", "truth_label")
    some = any(outcomes(scored.assign(label=scored[name]), rule)["refused"].any() for name in names)
    rules = [rule, *(replace(rule, refused=how) for how in WEIGHT if some and how != rule.refused)]
    found: dict[str, Any] = {"rates": [], "differences": [], "scored": len(scored), "answers": len(frame)}
    for one in rules:
        rows = counted(scored, one)
        for name, make in (("rates", corrected_rates), ("differences", corrected_differences)):
            found[name] += records(make(rows).assign(refused=one.refused))
    return found


def summary(rows: Rows, labels: pd.DataFrame, grader: str | None = None) -> dict[str, Any]:
    """All that `warmth agreement` prints, as JSON holds it; rates and differences are fractions."""
    frame, open_ones = joined(rows, labels, grader)
    known = frame[frame["truth_label"].notna()]
    both = known[known["label"].notna()]
    return {
        "grader": grader or ", ".join(sorted(filter(None, frame["grader"].unique()))),
        "answers": len(frame),
        "labelled": len(known),
        "unscored": int(known["label"].isna().sum()),
        "raters": raters(labels, frame),
        "open": open_ones,
        "kappa": codings(both, kappa),
        "alpha": codings(both, lambda a, b, w: alpha(list(zip(a, b, strict=True)), w)),
        "arms": [{"model": m, "arm": a, **arm(group)} for (m, a), group in known.groupby(["model", "arm"], sort=False)],
        "confusion": confusion(known),
        "corrected": corrected(effects.pooled(frame), rows.rule),  # the tasks a report pools
        "judges": judges(rows, read_grades(rows)),
    }


def codings(rows: pd.DataFrame, statistic: Callable[[np.ndarray, np.ndarray, np.ndarray], float]) -> dict[str, Any]:
    """Agreement of the grader's four labels with the people's."""
    if rows.empty:
        return {"value": None, "low": None, "high": None, "n": 0}
    first, second = rows["label"].to_numpy(str), rows["truth_label"].to_numpy(str)
    weight = rows["weight"].to_numpy(float)
    found = jackknife(rows["question_id"].to_numpy(), lambda kept: statistic(first[kept], second[kept], weight[kept]))
    return {**found, "n": len(rows)}


def arm(rows: pd.DataFrame) -> dict[str, Any]:
    """Sensitivity, specificity and kappa on one arm's labelled answers."""
    binary = rows[rows["judged"].notna() & rows["truth"].notna()]
    found: dict[str, Any] = {"labelled": len(rows)}
    for name, kind in (("sensitivity", 1.0), ("specificity", 0.0)):
        of_kind = binary[binary["truth"].eq(kind)]
        hit = of_kind["judged"].eq(kind).to_numpy(float)
        found[name] = share(hit, of_kind["weight"].to_numpy(float), of_kind["question_id"].to_numpy())
    return {**found, "kappa": codings(rows[rows["label"].notna()], kappa)}


def confusion(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """By task, how often people said one thing and the grader another: rows, and their summed weight."""
    frame = rows.assign(grader_label=rows["label"].fillna(UNSCORED))
    groups = frame.groupby(["task", "truth_label", "grader_label"], sort=True)["weight"].agg(["size", "sum"])
    return [
        {"task": task, "people": people, "grader": graded, "n": int(row["size"]), "weight": float(row["sum"])}
        for (task, people, graded), row in zip(groups.index, groups.to_dict("records"), strict=True)
    ]


def raters(labels: pd.DataFrame, frame: pd.DataFrame) -> dict[str, Any]:
    """Agreement of the raters with each other, the adjudicator left out."""
    own = labels[labels["rater"].ne("adjudicated")]
    question = frame.drop_duplicates("answer_id").set_index("answer_id")["question_id"]
    units = own.groupby("answer_id", sort=False).agg(labels=("label", list), weight=("weight", "first"))
    units = units[units["labels"].map(len) > 1]
    said, weight = units["labels"].tolist(), units["weight"].to_numpy(float)
    clusters = units.index.to_series().map(question).fillna("?").to_numpy()
    names = sorted(own["rater"].unique())
    if not said:
        return {"names": names, "answers": 0, "alpha": None}
    pick = lambda kept: alpha([unit for unit, one in zip(said, kept, strict=True) if one], weight[kept])  # noqa: E731
    return {"names": names, "answers": len(said), "alpha": jackknife(clusters, pick)}


def judges(rows: Rows, found: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Every two graders on the answers both scored: agreement, and the bridge from one to the other per arm.

    Args:
        rows: the finished runs.
        found: all their grades, by `rows.read_grades`.
    """
    answers = rows.answers.drop(columns=["label", "grader"])
    answers = answers.assign(question_id=effects.questions_of(answers))
    pairs: list[dict[str, Any]] = []
    bridge: list[dict[str, Any]] = []
    for first, second in combinations(sorted(found["grader"].unique()), 2):
        own = {name: found[found["grader"].eq(name)].set_index("answer_id")["label"] for name in (first, second)}
        frames = {name: outcomes(answers.assign(label=answers["answer_id"].map(own[name])), rows.rule) for name in own}
        both = frames[first]["label"].notna() & frames[second]["label"].notna()
        if not both.any():
            continue
        labels = [frames[name].loc[both, "label"].to_numpy(str) for name in (first, second)]
        clusters = answers.loc[both, "question_id"].to_numpy()
        agree = jackknife(clusters, lambda kept, a=labels[0], b=labels[1]: kappa(a[kept], b[kept], np.ones(kept.sum())))
        same = float((labels[0] == labels[1]).mean())
        pairs.append({"first": first, "second": second, "n": int(both.sum()), "same": same, "kappa": agree})
        bridge += bridged(first, second, frames)
    return {"pairs": pairs, "bridge": bridge}


def bridged(first: str, second: str, frames: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """What replacing one grader by another changes: each arm's rate and paired difference, on answers both score."""
    both = frames[first]["wrong"].notna() & frames[second]["wrong"].notna()
    kept = {name: effects.pooled(frame[both]) for name, frame in frames.items()}
    shifts = {name: effects.differences(effects.pair(frame), ["overall"]) for name, frame in kept.items()}
    rows = []
    for (model, name), group in kept[first].groupby(["model", "arm"], sort=False):
        other = kept[second].loc[group.index, "wrong"]
        change = effects.clustered_mean((other - group["wrong"]).to_numpy(), group["question_id"].to_numpy())
        row = {"model": model, "arm": name, "first": first, "second": second, "n": len(group)}
        row |= {"rate_first": float(group["wrong"].mean()), "rate_second": float(other.mean())}
        row |= {"change": change.value, "low": change.low, "high": change.high}
        for which, frame in (("first", shifts[first]), ("second", shifts[second])):
            own = frame[frame["model"].eq(model) & frame["arm"].eq(name)]
            row[f"difference_{which}"] = float(own["difference"].iloc[0]) if len(own) else None
        rows.append(row)
    return records(pd.DataFrame(rows))
