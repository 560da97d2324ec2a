"""Agreement of graders with people and with each other: chance-corrected, per arm and by task.

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
from warmth.analysis.rows.labels import ADJUDICATOR, settle_labels
from warmth.analysis.rows.tables import records
from warmth.analysis.statistics import effects
from warmth.analysis.statistics.judging import corrected_differences, corrected_rates
from warmth.errors import UserError
from warmth.verdicts import WEIGHT, Rule, outcomes

UNSCORED = "unscored"
NO_ESTIMATE: dict[str, Any] = {"value": None, "low": None, "high": None}
# labels from which intervals cover 94 to 96 %; at 80 the worst covered 91 % (docs/statistics.md)
HOLDS_FROM = 200


def kappa(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> float:
    """Compute Cohen's kappa of two codings; NaN if both always say one thing, or nothing is coded.

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
    if chance >= 1:
        return math.nan
    return (float(np.trace(table)) - chance) / (1 - chance)


def alpha(units: Sequence[Sequence[str]], weight: np.ndarray) -> float:
    """Compute Krippendorff's alpha for nominal labels; NaN if labels do not vary.

    A unit with fewer than two labels says nothing.

    Args:
        units: the labels each answer got, however many.
        weight: of each unit; scaled to a mean of 1, so that equal weights give the published
            formula.

    Source: Krippendorff (2011), Computing Krippendorff's Alpha-Reliability.
    """
    usable = [number for number, unit in enumerate(units) if len(unit) > 1]
    if not usable:
        return math.nan
    names = sorted(set().union(*(units[number] for number in usable)))
    scale = len(usable) / sum(weight[number] for number in usable)
    pairs = np.zeros((len(names), len(names)))
    for number in usable:
        unit = list(units[number])
        counts = np.array([unit.count(name) for name in names], float)
        unit_pairs = np.outer(counts, counts) - np.diag(counts)
        pairs += weight[number] * scale * unit_pairs / (len(unit) - 1)
    total = pairs.sum()
    margins = pairs.sum(axis=0)
    if total <= 1:
        return math.nan
    expected = (margins.sum() ** 2 - (margins**2).sum()) / (total - 1)
    if expected <= 0:
        return math.nan
    return 1 - float(total - np.trace(pairs)) / expected


def jackknife(
    clusters: np.ndarray, statistic: Callable[[np.ndarray], float]
) -> dict[str, float | None]:
    """Compute a statistic of some rows with a 95 % interval, by leaving out one cluster at a time.

    Args:
        clusters: (n,) labels.
        statistic: of a boolean selection of the n rows.

    Returns:
        value, low and high; None for what could not be estimated.
    """
    value = statistic(np.ones(len(clusters), bool))
    names = pd.unique(clusters)
    estimates = np.array([statistic(clusters != name) for name in names])
    estimates = estimates[np.isfinite(estimates)]
    if not math.isfinite(value):
        return dict(NO_ESTIMATE)
    if len(estimates) < 2 or np.ptp(estimates) == 0:
        return {"value": value, "low": None, "high": None}
    groups = len(estimates)
    squares = float(((estimates - estimates.mean()) ** 2).sum())
    error = math.sqrt((groups - 1) / groups * squares)
    reach = float(stats.t.ppf(0.975, groups - 1)) * error
    return {"value": value, "low": max(-1.0, value - reach), "high": min(1.0, value + reach)}


def stratified_error(influence: np.ndarray, strata: np.ndarray, questions: np.ndarray) -> float:
    """Estimate the error of a statistic of answers drawn within strata, whose questions recur.

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
    if count < 2:
        return math.nan
    return math.sqrt(count / (count - 1) * float(sums @ sums))


def weighted_share(
    hit: np.ndarray, weight: np.ndarray, clusters: np.ndarray, error: float | None = None
) -> dict[str, Any]:
    """Give a weighted share with Wilson's interval at the effective number of rows.

    Args:
        hit: (n,) 0 or 1.
        weight: (n,) sampling weights.
        clusters: (n,) questions.
        error: the share's standard error, if the sample has strata; None: from the clusters alone.

    Returns:
        value, low, high (None if there is no row) and n, the rows.
    """
    if not len(hit):
        return {**NO_ESTIMATE, "n": 0}
    value = float(np.average(hit, weights=weight))
    groups = len(pd.unique(clusters))
    if error is None:
        spread = pd.Series(weight * (hit - value)).groupby(clusters).sum().to_numpy() / weight.sum()
        error = math.sqrt(groups / (groups - 1) * float(spread @ spread)) if groups > 1 else 0.0
    if math.isfinite(error) and error > 1e-8:
        effective = value * (1 - value) / error**2
    else:
        kish = float(weight.sum() ** 2 / (weight**2).sum())
        effective = min(kish, groups)
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
    of_first = pd.Series(share_of).groupby(first).sum().to_dict()
    of_second = pd.Series(share_of).groupby(second).sum().to_dict()
    chance = sum(value * of_second.get(label, 0.0) for label, value in of_first.items())
    observed = float(share_of @ agree)
    if chance >= 1:
        return np.zeros(len(first))
    met = np.array([of_second.get(label, 0.0) for label in first])
    met += np.array([of_first.get(label, 0.0) for label in second])
    moved = (1 - chance) * (agree - observed) - (1 - observed) * (met - 2 * chance)
    return share_of * moved / (1 - chance) ** 2


def on_fishers_scale(value: float, error: float, df: int) -> dict[str, float | None]:
    """Give a coefficient of agreement its 95 % interval on the less skew scale of Fisher's z."""
    if not math.isfinite(value):
        return dict(NO_ESTIMATE)
    has_error = math.isfinite(error) and error > 1e-9
    if not has_error or abs(value) >= 1 or df <= 0:
        return {"value": value, "low": None, "high": None}
    reach = float(stats.t.ppf(0.975, df)) * error / (1 - value**2)
    centre = math.atanh(value)
    return {"value": value, "low": math.tanh(centre - reach), "high": math.tanh(centre + reach)}


def graded_by(rows: Rows, grader: str | None) -> pd.DataFrame:
    """Return `rows.answers` with one grader's verdicts; None: the primary one's of each task.

    Raises:
        UserError: no row is by that grader.
    """
    if grader is None:
        return rows.answers
    grades = read_grades(rows)
    labels_of_grader = grades[grades["grader"].eq(grader)].set_index("answer_id")["label"]
    if labels_of_grader.empty:
        names = ", ".join(sorted(grades["grader"].unique()))
        raise UserError(f"--grader={grader} graded nothing; there are: {names}")
    labels = rows.answers["answer_id"].map(labels_of_grader).astype("object")
    return outcomes(rows.answers.assign(label=labels), rows.rule)


def with_labels(
    rows: Rows, labels: pd.DataFrame, grader: str | None
) -> tuple[pd.DataFrame, list[str]]:
    """Join every answer with the grader's label and, if people settled on one, theirs.

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
    settled, open_ones = settle_labels(labels)
    if settled.empty:
        raise UserError(
            f"raters disagree on all {len(open_ones)} answers; "
            "--adjudicate FILE lists them, to be settled"
        )
    frame = answers.merge(settled, on="answer_id", how="left")
    if frame["truth_label"].isna().all():
        raise UserError("no label belongs to an answer of these runs (column answer_id)")
    return counted_verdicts(frame, rows.rule), open_ones


def counted_verdicts(frame: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    """Add `judged` and `truth`: what a rule makes of the grader's and of people's labels."""
    judged = outcomes(frame, rule)["wrong"]
    truth = outcomes(frame.assign(label=frame["truth_label"]), rule)["wrong"]
    return frame.assign(judged=judged, truth=truth)


def rates_and_corrections(frame: pd.DataFrame, rule: Rule) -> dict[str, Any]:
    """Compute rates and differences of scored answers, raw and corrected, for each refusal rule.

    The rule of the study comes first, and is the only one if nothing was refused; `refused` says
    how a row counts refusals.
    """
    scored = frame[frame["label"].notna()]
    rules = [rule]
    if has_refusals(scored, rule):
        rules += [replace(rule, refused=how) for how in WEIGHT if how != rule.refused]
    rates: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    for each_rule in rules:
        rows = counted_verdicts(scored, each_rule)
        rates += records(corrected_rates(rows).assign(refused=each_rule.refused))
        differences += records(corrected_differences(rows).assign(refused=each_rule.refused))
    return {
        "rates": rates,
        "differences": differences,
        "scored": len(scored),
        "answers": len(frame),
    }


def has_refusals(scored: pd.DataFrame, rule: Rule) -> bool:
    """Tell whether the grader or people call any answer refused."""
    by_grader = outcomes(scored, rule)["refused"]
    by_people = outcomes(scored.assign(label=scored["truth_label"]), rule)["refused"]
    return bool(by_grader.any() or by_people.any())


def agreement_summary(
    rows: Rows, labels: pd.DataFrame, grader: str | None = None
) -> dict[str, Any]:
    """Compute what `warmth agreement` prints, as JSON holds it; rates are fractions."""
    frame, open_ones = with_labels(rows, labels, grader)
    known = frame[frame["truth_label"].notna()]
    both = known[known["label"].notna()]
    arms = []
    for (model, name), group in known.groupby(["model", "arm"], sort=False):
        arms.append({"model": model, "arm": name, **agreement_of_arm(group)})
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
        "alpha": alpha_of(both),
        "arms": arms,
        "confusion": confusion_counts(known),
        "corrected": rates_and_corrections(
            effects.pooled(frame), rows.rule
        ),  # the tasks a report pools
        "judges": judges(rows, read_grades(rows)),
    }


def strata_of(rows: pd.DataFrame) -> np.ndarray:
    """Number what labelled answers were drawn by: model, arm, task and the grader's verdict."""
    verdict = rows["label"].fillna(UNSCORED).rename("verdict")
    return rows.groupby(["model", "arm", "task", verdict], sort=False).ngroup().to_numpy()


def agreement_of(rows: pd.DataFrame) -> dict[str, Any]:
    """Give kappa of the grader's and people's labels, with an interval for how they were drawn."""
    if rows.empty:
        return {**NO_ESTIMATE, "n": 0}
    first = rows["label"].to_numpy(str)
    second = rows["truth_label"].to_numpy(str)
    weight = rows["weight"].to_numpy(float)
    questions = rows["question_id"].to_numpy()
    error = stratified_error(kappa_influence(first, second, weight), strata_of(rows), questions)
    df = len(pd.unique(questions)) - 1
    return {**on_fishers_scale(kappa(first, second, weight), error, df), "n": len(rows)}


def kappa_bounds(
    frame: pd.DataFrame, labels: pd.DataFrame, open_ones: Sequence[str]
) -> dict[str, Any]:
    """Bound what open answers could do to kappa.

    Open are those that raters disagree on, and labelled ones that the grader left open. The highest
    kappa takes each to agree if it can: a rater said what the grader did, or the grader would have
    said what people do. The lowest takes each to disagree, by the label that the other side gives
    most often, which makes agreement by chance largest.

    Args:
        frame: from `joined`.
        labels: from `labels.read_labels`.
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
    disputed_labels = labels[labels["answer_id"].isin(disputed["answer_id"])].groupby("answer_id")
    labels_of_answer = disputed_labels["label"].agg(set)
    weight_of_answer = disputed_labels["weight"].first()
    of_grader = scored.groupby("label")["weight"].sum().sort_values(ascending=False)
    of_people = scored.groupby("truth_label")["weight"].sum().sort_values(ascending=False)
    ends: list[float | None] = []
    for agrees in (False, True):
        pairs = list(zip(scored["label"], scored["truth_label"], scored["weight"], strict=True))
        for answer_id, label in zip(disputed["answer_id"], disputed["label"], strict=True):
            truth = chosen_label(labels_of_answer[answer_id], label, of_grader, agrees)
            pairs.append((label, truth, weight_of_answer[answer_id]))
        for truth, weight in zip(unscored["truth_label"], unscored["weight"], strict=True):
            label = chosen_label({*of_people.index, truth}, truth, of_people, agrees)
            pairs.append((label, truth, weight))
        first, second, weight = map(np.array, zip(*pairs, strict=True))
        end = kappa(first, second, weight.astype(float))
        ends.append(end if math.isfinite(end) else None)
    return {"low": ends[0], "high": ends[1], **counts}


def chosen_label(allowed: set[str], given: str, weights: pd.Series, agrees: bool) -> str:
    """Choose a label that agrees with a given one, or the most frequent that does not.

    Args:
        allowed: to choose from; if none disagrees, the given one is chosen.
        given: the label of the other side.
        weights: label → how often it is given.
        agrees: whether to agree.
    """
    if agrees and given in allowed:
        return given
    disagreeing = allowed - {given}
    if not disagreeing:
        return given
    return min(disagreeing, key=lambda name: (-float(weights.get(name, 0.0)), name))


def alpha_of(rows: pd.DataFrame) -> dict[str, Any]:
    """Give Krippendorff's alpha of the grader's and people's labels, by leaving out questions."""
    if rows.empty:
        return {**NO_ESTIMATE, "n": 0}
    units = rows[["label", "truth_label"]].to_numpy(str)
    weight = rows["weight"].to_numpy(float)
    questions = rows["question_id"].to_numpy()

    def without(is_kept: np.ndarray) -> float:
        return alpha(units[is_kept].tolist(), weight[is_kept])

    return {**jackknife(questions, without), "n": len(rows)}


def agreement_of_arm(rows: pd.DataFrame) -> dict[str, Any]:
    """Give sensitivity, specificity and kappa on one arm's labelled answers."""
    return {
        "labelled": len(rows),
        "sensitivity": rate_of_kind(rows, 1.0),
        "specificity": rate_of_kind(rows, 0.0),
        "kappa": agreement_of(rows[rows["label"].notna()]),
    }


def rate_of_kind(rows: pd.DataFrame, kind: float) -> dict[str, Any]:
    """Give the share of truly wrong (1) or right (0) answers that the grader calls so."""
    of_kind = (rows["truth"].eq(kind) & rows["judged"].notna()).to_numpy()
    hit = rows["judged"].eq(kind).to_numpy(float)
    weight = rows["weight"].to_numpy(float)
    questions = rows["question_id"].to_numpy()
    if not of_kind.any():
        return {**NO_ESTIMATE, "n": 0}
    total = weight[of_kind].sum()
    value = float(weight[of_kind] @ hit[of_kind] / total)
    influence = np.where(of_kind, weight * (hit - value), 0.0) / total
    error = stratified_error(influence, strata_of(rows), questions)
    return weighted_share(hit[of_kind], weight[of_kind], questions[of_kind], error)


def confusion_counts(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Count by task how often people said one thing and the grader another.

    Returns:
        task, people, grader (labels), n (rows) and weight (summed).
    """
    frame = rows.assign(grader=rows["label"].fillna(UNSCORED), people=rows["truth_label"])
    groups = frame.groupby(["task", "people", "grader"], sort=True)["weight"]
    table = groups.agg(n="size", weight="sum").reset_index()
    return table.to_dict("records")


def raters(labels: pd.DataFrame, frame: pd.DataFrame) -> dict[str, Any]:
    """Compute the agreement of the raters with each other, the adjudicator left out.

    Args:
        labels: from `labels.read_labels`.
        frame: from `joined`.

    Returns:
        names, answers (with two labels or more), alpha.
    """
    by_raters = labels[labels["rater"].ne(ADJUDICATOR)]
    names = sorted(by_raters["rater"].unique())
    answers = by_raters.groupby("answer_id", sort=False)
    units = answers.agg(labels=("label", list), weight=("weight", "first"))
    units = units[units["labels"].map(len) > 1]
    if units.empty:
        return {"names": names, "answers": 0, "alpha": None}
    question = frame.drop_duplicates("answer_id").set_index("answer_id")["question_id"]
    clusters = units.index.to_series().map(question).fillna("?").to_numpy()
    unit_labels = units["labels"].to_numpy()
    weight = units["weight"].to_numpy(float)

    def without(is_kept: np.ndarray) -> float:
        return alpha(list(unit_labels[is_kept]), weight[is_kept])

    return {"names": names, "answers": len(units), "alpha": jackknife(clusters, without)}


def judges(rows: Rows, grades: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Compare every two graders on the answers both scored.

    Args:
        rows: the finished runs.
        grades: all their grades, by `frames.read_grades`.

    Returns:
        `pairs`: their agreement; `bridge`: from one to the other, see `bridged`.
    """
    answers = rows.answers.drop(columns=["label", "grader"])
    answers = answers.assign(question_id=effects.questions_of(answers))

    def graded(grader: str) -> pd.DataFrame:
        labels = grades[grades["grader"].eq(grader)].set_index("answer_id")["label"]
        return outcomes(answers.assign(label=answers["answer_id"].map(labels)), rows.rule)

    pairs: list[dict[str, Any]] = []
    bridge: list[dict[str, Any]] = []
    for first, second in combinations(sorted(grades["grader"].unique()), 2):
        frames = {first: graded(first), second: graded(second)}
        both = frames[first]["label"].notna() & frames[second]["label"].notna()
        if not both.any():
            continue
        first_labels = frames[first].loc[both, "label"].to_numpy(str)
        second_labels = frames[second].loc[both, "label"].to_numpy(str)
        pairs.append(
            {
                "first": first,
                "second": second,
                "n": int(both.sum()),
                "same": float((first_labels == second_labels).mean()),
                "kappa": jackknifed_kappa(
                    first_labels, second_labels, answers.loc[both, "question_id"].to_numpy()
                ),
            }
        )
        bridge += bridged(first, second, frames)
    return {"pairs": pairs, "bridge": bridge}


def jackknifed_kappa(
    first: np.ndarray, second: np.ndarray, clusters: np.ndarray
) -> dict[str, float | None]:
    """Give unweighted kappa of two codings, by leaving out one cluster at a time."""

    def without(is_kept: np.ndarray) -> float:
        return kappa(first[is_kept], second[is_kept], np.ones(int(is_kept.sum())))

    return jackknife(clusters, without)


def bridged(first: str, second: str, frames: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Compute what replacing one grader by another changes, on answers that both score.

    Args:
        first: the grader that is replaced.
        second: the other.
        frames: grader → answers with its verdicts, row for row alike.

    Returns:
        for each model and arm the rates by both, their change with its interval, and the paired
        difference from the original by both; fractions.
    """
    both = frames[first]["wrong"].notna() & frames[second]["wrong"].notna()
    by_first = effects.pooled(frames[first][both])
    by_second = effects.pooled(frames[second][both])
    first_shifts = effects.paired_differences(effects.pair(by_first), ["overall"])
    second_shifts = effects.paired_differences(effects.pair(by_second), ["overall"])
    rows = []
    for (model, name), group in by_first.groupby(["model", "arm"], sort=False):
        wrong_by_second = by_second.loc[group.index, "wrong"]
        change = effects.clustered_mean(
            (wrong_by_second - group["wrong"]).to_numpy(), group["question_id"].to_numpy()
        )
        rows.append(
            {
                "model": model,
                "arm": name,
                "first": first,
                "second": second,
                "n": len(group),
                "rate_first": float(group["wrong"].mean()),
                "rate_second": float(wrong_by_second.mean()),
                "change": change.value,
                "low": change.low,
                "high": change.high,
                "difference_first": difference_of(first_shifts, model, name),
                "difference_second": difference_of(second_shifts, model, name),
            }
        )
    return records(pd.DataFrame(rows))


def difference_of(shifts: pd.DataFrame, model: str, arm_name: str) -> float | None:
    """Look up a model's and arm's difference; None if there is none, as of the original."""
    rows = shifts[shifts["model"].eq(model) & shifts["arm"].eq(arm_name)]
    return float(rows["difference"].iloc[0]) if len(rows) else None
