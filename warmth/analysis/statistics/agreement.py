"""How far graders and people agree: chance-corrected, per arm, by task, and between graders on the
same answers.

All statistics take the sampling weights; intervals are by leaving out one question at a time
(jackknife), as a question returns in many answers. *Sensitivity*: of truly wrong answers, the share
graded wrong. *Specificity*: of truly right ones, the share graded right.
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

from warmth.analysis.rows.frames import Rows, read_grades
from warmth.analysis.rows.labels import settle
from warmth.analysis.rows.tables import records
from warmth.analysis.statistics import effects
from warmth.analysis.statistics.judging import corrected_differences, corrected_rates
from warmth.errors import UserError
from warmth.verdicts import WEIGHT, Rule, outcomes

UNSCORED = "unscored"
# labels from which intervals cover 94 to 96 %; at 80 the worst covered 91 % (docs/statistics.md)
HOLDS_FROM = 200


def kappa(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> float:
    """Cohen's kappa of two codings; NaN where both always say one thing, or nothing is coded.

    Source: Cohen (1960), Educ. Psychol. Meas. 20, 37; weights as in survey estimates of the table's
    shares.
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
        weight: of each unit; scaled to a mean of 1, so that equal weights give the published
        formula.

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


def jackknife(
    clusters: np.ndarray, statistic: Callable[[np.ndarray], float]
) -> dict[str, float | None]:
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


def stratified_error(influence: np.ndarray, strata: np.ndarray, questions: np.ndarray) -> float:
    """Estimate the error of a statistic of answers that were drawn within strata, and whose
    questions recur.

    What strata differ in on average is fixed by the draw and is no noise: influences are centred
    within each, and then summed by question. √(G/(G-1) Σ_g (Σ_{i∈g} ũ_i)²) with ũ = √(n_h/(n_h-1))
    (u - ū_h); a stratum of one answer keeps its u.

    Args:
        influence: (n,) how much each answer moves the statistic; adds up to 0.
        strata: (n,) what the answers were drawn by.
        questions: (n,) labels.

    Source: Särndal, Swensson and Wretman (1992), ch. 5; Cochran (1977), ch. 5.
    """
    frame = pd.DataFrame({"influence": influence, "stratum": strata, "question": questions})
    groups = frame.groupby("stratum")["influence"]
    size = groups.transform("size").to_numpy(float)
    centred = influence - np.where(size > 1, groups.transform("mean").to_numpy(float), 0.0)
    scaled = centred * np.sqrt(size / np.maximum(size - 1, 1))
    sums = pd.Series(scaled).groupby(questions).sum().to_numpy()
    count = len(sums)
    return math.sqrt(count / (count - 1) * float(sums @ sums)) if count > 1 else math.nan


def share(
    hit: np.ndarray, weight: np.ndarray, clusters: np.ndarray, error: float | None = None
) -> dict[str, Any]:
    """Give a weighted share with Wilson's interval at the effective number of rows; empty without a
    row.

    Args:
        hit: (n,) 0 or 1.
        weight: (n,) sampling weights.
        clusters: (n,) questions.
        error: the share's standard error, if the sample has strata; None: from the clusters alone.
    """
    if not len(hit):
        return {"value": None, "low": None, "high": None, "n": 0}
    value = float(np.average(hit, weights=weight))
    groups = len(pd.unique(clusters))
    if error is None:
        spread = pd.Series(weight * (hit - value)).groupby(clusters).sum().to_numpy() / weight.sum()
        error = math.sqrt(groups / (groups - 1) * float(spread @ spread)) if groups > 1 else 0.0
    kish = float(weight.sum() ** 2 / (weight**2).sum())
    known = math.isfinite(error) and error > 1e-8
    effective = value * (1 - value) / error**2 if known else min(kish, groups)
    low, high = proportion_confint(value * effective, effective, method="wilson")
    return {"value": value, "low": float(low), "high": float(high), "n": len(hit)}


def kappa_influence(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Give (n,) how much each answer moves weighted kappa, to first order.

    κ = 1 - (1 - p_o)/(1 - p_e): dκ = [(1 - p_e) dp_o - (1 - p_o) dp_e]/(1 - p_e)², with dp_o = w
    (agree - p_o)/Σw and dp_e = w (q_2(first) + q_1(second) - 2 p_e)/Σw, q_1 and q_2 the shares of
    labels in the two codings.
    """
    share_of = weight / weight.sum()
    agree = (first == second).astype(float)
    shares = [pd.Series(share_of).groupby(coding).sum() for coding in (first, second)]
    of_first, of_second = (series.to_dict() for series in shares)
    chance = sum(value * of_second.get(label, 0.0) for label, value in of_first.items())
    observed = float(share_of @ agree)
    if chance >= 1:
        return np.zeros(len(first))
    met = np.array([of_second.get(label, 0.0) for label in first])
    met += np.array([of_first.get(label, 0.0) for label in second])
    moved = (1 - chance) * (agree - observed) - (1 - observed) * (met - 2 * chance)
    return share_of * moved / (1 - chance) ** 2


def on_fishers_scale(value: float, error: float, df: int) -> dict[str, float | None]:
    """Give a coefficient of agreement its 95 % interval on the scale of Fisher's z, on which it is
    less skew.
    """
    if not (
        math.isfinite(value) and math.isfinite(error) and error > 1e-9 and abs(value) < 1 and df > 0
    ):
        return {"value": value if math.isfinite(value) else None, "low": None, "high": None}
    reach = float(stats.t.ppf(0.975, df)) * error / (1 - value**2)
    centre = math.atanh(value)
    return {"value": value, "low": math.tanh(centre - reach), "high": math.tanh(centre + reach)}


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
        raise UserError(
            f"--grader={grader} graded nothing; there are: "
            f"{', '.join(sorted(found['grader'].unique()))}"
        )
    labels = rows.answers["answer_id"].map(own).astype("object")
    return outcomes(rows.answers.assign(label=labels), rows.rule)


def joined(rows: Rows, labels: pd.DataFrame, grader: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Every answer with the grader's label and, where people settled on one, theirs.

    Returns:
        Columns of `rows.answers` with `label` by the grader, `truth_label`, `weight`, `judged` and
        `truth` (1 wrong, 0 right, NaN where it does not count); and the answers that raters left
        open.

    Raises:
        UserError: no label belongs to an answer here, raters agree on none, or no row is by that
        grader.
    """
    answers = graded_by(rows, grader)
    answers = answers.assign(question_id=effects.questions_of(answers))
    settled, open_ones = settle(labels)
    if settled.empty:
        raise UserError(
            f"raters disagree on all {len(open_ones)} answers; --adjudicate FILE lists them, to "
            f"be settled"
        )
    frame = answers.merge(settled, on="answer_id", how="left")
    if frame["truth_label"].isna().all():
        raise UserError("no label belongs to an answer of these runs (column answer_id)")
    return counted(frame, rows.rule), open_ones


def counted(frame: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """With `judged` and `truth`: what a rule makes of the grader's and of people's labels."""
    judged, truth = (
        outcomes(frame.assign(label=frame[name]), rule)["wrong"]
        for name in ("label", "truth_label")
    )
    return frame.assign(judged=judged, truth=truth)


def corrected(frame: pd.DataFrame, rule: Rule) -> dict[str, Any]:
    """Rates and differences of scored answers, raw and corrected, under every rule for refusals
    where there are any.

    The rule of the study comes first; `refused` says how a row counts them.
    """
    scored = frame[frame["label"].notna()]
    names = ("label", "truth_label")
    some = any(outcomes(scored.assign(label=scored[name]), rule)["refused"].any() for name in names)
    rules = [rule, *(replace(rule, refused=how) for how in WEIGHT if some and how != rule.refused)]
    found: dict[str, Any] = {
        "rates": [],
        "differences": [],
        "scored": len(scored),
        "answers": len(frame),
    }
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
        "kappa": agreement_of(both),
        "kappa_bounds": kappa_bounds(frame, labels, open_ones),
        "holds_from": HOLDS_FROM,
        "corrected_labels": int(labels.attrs.get("corrected", 0)),
        "alpha": codings(both, lambda a, b, w: alpha(list(zip(a, b, strict=True)), w)),
        "arms": [
            {"model": m, "arm": a, **arm(group)}
            for (m, a), group in known.groupby(["model", "arm"], sort=False)
        ],
        "confusion": confusion(known),
        "corrected": corrected(effects.pooled(frame), rows.rule),  # the tasks a report pools
        "judges": judges(rows, read_grades(rows)),
    }


def strata_of(rows: pd.DataFrame) -> np.ndarray:
    """Number what labelled answers were drawn by: model, arm, task and the grader's verdict."""
    verdict = rows["label"].fillna(UNSCORED).rename("verdict")
    return rows.groupby(["model", "arm", "task", verdict], sort=False).ngroup().to_numpy()


def agreement_of(rows: pd.DataFrame) -> dict[str, Any]:
    """Give kappa of the grader's four labels and the people's, with an interval that knows how
    answers were drawn.
    """
    if rows.empty:
        return {"value": None, "low": None, "high": None, "n": 0}
    first = rows["label"].to_numpy(str)
    second = rows["truth_label"].to_numpy(str)
    weight = rows["weight"].to_numpy(float)
    questions = rows["question_id"].to_numpy()
    error = stratified_error(kappa_influence(first, second, weight), strata_of(rows), questions)
    found = on_fishers_scale(kappa(first, second, weight), error, len(pd.unique(questions)) - 1)
    return {**found, "n": len(rows)}


def kappa_bounds(
    frame: pd.DataFrame, labels: pd.DataFrame, open_ones: Sequence[str]
) -> dict[str, Any]:
    """Bound what open answers could do to kappa: those raters disagree on, and labelled ones that
    the grader left open.

    The highest takes each to agree if it can: a rater said what the grader did, or the grader would
    have said what people do. The lowest takes each to disagree, by the label that the other side
    gives most often, which makes agreement by chance largest.

    Args:
        frame: from `joined`.
        labels: from `labels.read`.
        open_ones: answers whose raters disagree.

    Returns:
        low, high (None if nothing is scored), disagreed, unscored: how many answers each.
    """
    known = frame[frame["truth_label"].notna()]
    scored = known[known["label"].notna()]
    unscored = known[known["label"].isna()]
    disputed = frame[frame["answer_id"].isin(set(open_ones)) & frame["label"].notna()]
    counts = {"disagreed": len(open_ones), "unscored": len(unscored)}
    if scored.empty:
        return {"low": None, "high": None, **counts}
    said = labels[labels["answer_id"].isin(disputed["answer_id"])].groupby("answer_id")
    given = said["label"].agg(set)
    weights = said["weight"].first()
    of_grader = scored.groupby("label")["weight"].sum().sort_values(ascending=False)
    of_people = scored.groupby("truth_label")["weight"].sum().sort_values(ascending=False)
    ends = []
    for agrees in (False, True):
        pairs = list(zip(scored["label"], scored["truth_label"], scored["weight"], strict=True))
        for answer_id, label in zip(disputed["answer_id"], disputed["label"], strict=True):
            truth = chosen_label(given[answer_id], label, of_grader, agrees)
            pairs.append((label, truth, weights[answer_id]))
        for truth, weight in zip(unscored["truth_label"], unscored["weight"], strict=True):
            label = chosen_label({*of_people.index, truth}, truth, of_people, agrees)
            pairs.append((label, truth, weight))
        first, second, weight = (np.array(column) for column in zip(*pairs, strict=True))
        ends.append(kappa(first, second, weight.astype(float)))
    low, high = (end if math.isfinite(end) else None for end in ends)
    return {"low": low, "high": high, **counts}


def chosen_label(allowed: set[str], other: str, frequent: pd.Series, agrees: bool) -> str:
    """Choose a label that agrees with another, or the most frequent that does not, if one is
    allowed.
    """
    if agrees and other in allowed:
        return other
    candidates = sorted(allowed - {other}, key=lambda name: (-float(frequent.get(name, 0.0)), name))
    return candidates[0] if candidates else other


def codings(
    rows: pd.DataFrame, statistic: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
) -> dict[str, Any]:
    """Give any agreement of the grader's four labels with the people's, by leaving out one question
    at a time.
    """
    if rows.empty:
        return {"value": None, "low": None, "high": None, "n": 0}
    first, second = rows["label"].to_numpy(str), rows["truth_label"].to_numpy(str)
    weight = rows["weight"].to_numpy(float)
    found = jackknife(
        rows["question_id"].to_numpy(),
        lambda kept: statistic(first[kept], second[kept], weight[kept]),
    )
    return {**found, "n": len(rows)}


def arm(rows: pd.DataFrame) -> dict[str, Any]:
    """Give sensitivity, specificity and kappa on one arm's labelled answers."""
    found: dict[str, Any] = {"labelled": len(rows)}
    for name, kind in (("sensitivity", 1.0), ("specificity", 0.0)):
        found[name] = rate_of_kind(rows, kind)
    return {**found, "kappa": agreement_of(rows[rows["label"].notna()])}


def rate_of_kind(rows: pd.DataFrame, kind: float) -> dict[str, Any]:
    """Give the share of truly wrong (1) or right (0) answers that the grader calls so, among those
    that count.
    """
    of_kind = (rows["truth"].eq(kind) & rows["judged"].notna()).to_numpy()
    hit = rows["judged"].eq(kind).to_numpy(float)
    weight = rows["weight"].to_numpy(float)
    questions = rows["question_id"].to_numpy()
    if not of_kind.any():
        return {"value": None, "low": None, "high": None, "n": 0}
    total = weight[of_kind].sum()
    value = float(weight[of_kind] @ hit[of_kind] / total)
    influence = np.where(of_kind, weight * (hit - value), 0.0) / total
    error = stratified_error(influence, strata_of(rows), questions)
    return share(hit[of_kind], weight[of_kind], questions[of_kind], error)


def confusion(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """By task, how often people said one thing and the grader another: rows, and their summed
    weight.
    """
    frame = rows.assign(grader_label=rows["label"].fillna(UNSCORED))
    groups = frame.groupby(["task", "truth_label", "grader_label"], sort=True)["weight"].agg(
        ["size", "sum"]
    )
    return [
        {
            "task": task,
            "people": people,
            "grader": graded,
            "n": int(row["size"]),
            "weight": float(row["sum"]),
        }
        for (task, people, graded), row in zip(groups.index, groups.to_dict("records"), strict=True)
    ]


def raters(labels: pd.DataFrame, frame: pd.DataFrame) -> dict[str, Any]:
    """Agreement of the raters with each other, the adjudicator left out."""
    own = labels[labels["rater"].ne("adjudicated")]
    question = frame.drop_duplicates("answer_id").set_index("answer_id")["question_id"]
    units = own.groupby("answer_id", sort=False).agg(
        labels=("label", list), weight=("weight", "first")
    )
    units = units[units["labels"].map(len) > 1]
    said, weight = units["labels"].tolist(), units["weight"].to_numpy(float)
    clusters = units.index.to_series().map(question).fillna("?").to_numpy()
    names = sorted(own["rater"].unique())
    if not said:
        return {"names": names, "answers": 0, "alpha": None}

    def alpha_of(kept):
        units_kept = [unit for unit, is_kept in zip(said, kept, strict=True) if is_kept]
        return alpha(units_kept, weight[kept])

    return {"names": names, "answers": len(said), "alpha": jackknife(clusters, alpha_of)}


def judges(rows: Rows, found: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Every two graders on the answers both scored: agreement, and the bridge from one to the other
    per arm.

    Args:
        rows: the finished runs.
        found: all their grades, by `rows.read_grades`.
    """
    answers = rows.answers.drop(columns=["label", "grader"])
    answers = answers.assign(question_id=effects.questions_of(answers))
    pairs: list[dict[str, Any]] = []
    bridge: list[dict[str, Any]] = []
    for first, second in combinations(sorted(found["grader"].unique()), 2):
        own = {
            name: found[found["grader"].eq(name)].set_index("answer_id")["label"]
            for name in (first, second)
        }
        frames = {
            name: outcomes(answers.assign(label=answers["answer_id"].map(own[name])), rows.rule)
            for name in own
        }
        both = frames[first]["label"].notna() & frames[second]["label"].notna()
        if not both.any():
            continue
        labels = [frames[name].loc[both, "label"].to_numpy(str) for name in (first, second)]
        clusters = answers.loc[both, "question_id"].to_numpy()
        agree = jackknife(
            clusters,
            lambda kept, a=labels[0], b=labels[1]: kappa(a[kept], b[kept], np.ones(kept.sum())),
        )
        same = float((labels[0] == labels[1]).mean())
        pairs.append(
            {"first": first, "second": second, "n": int(both.sum()), "same": same, "kappa": agree}
        )
        bridge += bridged(first, second, frames)
    return {"pairs": pairs, "bridge": bridge}


def bridged(first: str, second: str, frames: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """What replacing one grader by another changes: each arm's rate and paired difference, on
    answers both score.
    """
    both = frames[first]["wrong"].notna() & frames[second]["wrong"].notna()
    kept = {name: effects.pooled(frame[both]) for name, frame in frames.items()}
    shifts = {
        name: effects.differences(effects.pair(frame), ["overall"]) for name, frame in kept.items()
    }
    rows = []
    for (model, name), group in kept[first].groupby(["model", "arm"], sort=False):
        other = kept[second].loc[group.index, "wrong"]
        change = effects.clustered_mean(
            (other - group["wrong"]).to_numpy(), group["question_id"].to_numpy()
        )
        row = {"model": model, "arm": name, "first": first, "second": second, "n": len(group)}
        row |= {"rate_first": float(group["wrong"].mean()), "rate_second": float(other.mean())}
        row |= {"change": change.value, "low": change.low, "high": change.high}
        for which, frame in (("first", shifts[first]), ("second", shifts[second])):
            own = frame[frame["model"].eq(model) & frame["arm"].eq(name)]
            row[f"difference_{which}"] = float(own["difference"].iloc[0]) if len(own) else None
        rows.append(row)
    return records(pd.DataFrame(rows))
