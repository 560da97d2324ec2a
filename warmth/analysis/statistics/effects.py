"""Error rates, paired differences and warmth, with intervals that know a question recurs.

The unit of inference is the question: it returns in every context, belief, sample and training
seed, so its rows are one cluster. Rates and differences are fractions here; pages print percentage
points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from warmth.analysis.rows.task_keys import apart as apart
from warmth.analysis.rows.task_keys import pooled as pooled
from warmth.analysis.rows.task_keys import questions_of as questions_of
from warmth.analysis.statistics import rare
from warmth.analysis.statistics.estimand import EQUAL, Weights, weighted_design
from warmth.analysis.statistics.rare import rate_interval

LEVEL = 0.95
MARGIN = 0.02  # `analysis.margin_points`, as a fraction
PAIR = ["model", "prompt_id", "sample"]
MEASURE = ["variant", "scorer"]
WARMTH_VALUES = ["score", "low", "high", "p", "texts", "prompts"]
# The groupings a difference is reported for; "overall" is all rows of an arm.
FAMILIES: dict[str, list[str]] = {
    "overall": [],
    "task": ["task"],
    "context": ["context"],
    "belief": ["belief"],
    "condition": ["context", "belief"],
}
POOLED_OVER = {"model": "", "task": "", "context": "", "belief": ""}
NONE = math.nan


@dataclass(frozen=True)
class Mean:
    """A mean and its interval; `low`, `high` and `p` are NaN where they cannot be estimated."""

    value: float
    low: float
    high: float
    p: float  # two-sided, of the mean being zero
    n: int
    clusters: int


def clustered_mean(values: np.ndarray, clusters: np.ndarray, level: float = LEVEL) -> Mean:
    """Average rows that come in clusters, with a CR1 interval.

    With G clusters, n rows and residuals e = x - mean:  V = G/(G-1) · Σ_g (Σ_{i∈g} e_i)² / n²; the
    interval is mean ± t(G-1) · √V. The same as statsmodels' OLS on a constant with
    `cov_type="cluster"` and t(G-1). A single cluster, or rows that do not vary at all, carry no
    information about their spread: the interval is NaN rather than of width zero.

    Args:
        values: (n,) finite numbers.
        clusters: (n,) labels.
        level: coverage, in (0, 1).

    Raises:
        ValueError: no rows; a mean over nothing is not zero.
    """
    if len(values) == 0:
        raise ValueError("no rows to average")
    codes = pd.factorize(clusters)[0]
    groups = int(codes.max()) + 1
    n = len(values)
    mean = float(np.mean(values))
    without_interval = Mean(mean, NONE, NONE, NONE, n, groups)
    if groups < 2 or np.ptp(values) == 0:
        return without_interval
    sums = np.bincount(codes, weights=values - mean)
    variance = groups / (groups - 1) * float(sums @ sums) / n**2
    if variance <= 1e-24:
        return without_interval
    error = math.sqrt(variance)
    reach = float(stats.t.ppf((1 + level) / 2, groups - 1)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, groups - 1))
    return Mean(mean, mean - reach, mean + reach, p, n, groups)


def weighted_mean(values: np.ndarray, rows: rare.Design, level: float = LEVEL) -> Mean:
    """Average rows as a design weighs them, with its clustered interval.

    It is `clustered_mean` if all rows weigh alike.
    """
    mean = rows.mean(values)
    variance = rows.variance(values)
    if not variance > 1e-24:  # rows that do not vary, or a single cluster
        return Mean(mean, NONE, NONE, NONE, len(values), rows.questions)
    error = math.sqrt(variance)
    reach = float(stats.t.ppf((1 + level) / 2, rows.df)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, rows.df))
    return Mean(mean, mean - reach, mean + reach, p, len(values), rows.questions)


def mcnemar(arm_only: int, reference_only: int) -> float:
    """Compute McNemar's exact two-sided p; 1 if no pair differs.

    The null hypothesis is that the arm is wrong alone as often as the reference is. Valid if pairs
    are independent, so if a question occurs once.
    """
    discordant = arm_only + reference_only
    if not discordant:
        return 1.0
    return float(stats.binomtest(arm_only, discordant, 0.5).pvalue)


def cohens_g(arm_only: int, reference_only: int) -> float:
    """Compute Cohen's g: the share of discordant pairs with the arm alone wrong, less one half.

    In [-0.5, 0.5]; NaN without a discordant pair. Cohen (1988, ch. 5): .05 small, .15 medium, .25
    large. (The study's own "Cohen's g" is |b-c|/√(b+c), a z score.)
    """
    discordant = arm_only + reference_only
    if not discordant:
        return NONE
    return arm_only / discordant - 0.5


def error_rates(
    answers: pd.DataFrame, by: Sequence[str], outcome: str = "wrong", weights: Weights = EQUAL
) -> pd.DataFrame:
    """Compute error rates: a row for each cell of `by`.

    The rate of a cell over several tasks is weighted as a difference is, so that it is not wrong /
    scored where tasks are of unequal size. A cell with no scored answer has NaN for its rate, never
    0.

    Returns:
        the columns of `by`, answers, scored, wrong (counts), rate, low, high (fractions),
        questions, refused, unscored, cut_off (counts).
    """
    rows = []
    # texts are slow to carry along
    needed = [*by, outcome, "question_id", "refused", "unscored", "cut_off"]
    needed += [name for name in ("task", "model") if name in answers and name not in by]
    for key, cell in answers[needed].groupby(list(by), sort=False):
        scored = cell[cell[outcome].notna()]
        values = scored[outcome].to_numpy(float)
        rate, low, high = weighted_rate(scored, values, weights)
        row: dict[str, Any] = dict(zip(by, key, strict=True))
        row["answers"] = len(cell)
        row["scored"] = len(values)
        row["wrong"] = int(values.sum())
        row["rate"] = rate
        row["low"] = low
        row["high"] = high
        row["questions"] = scored["question_id"].nunique()
        for name in ("refused", "unscored", "cut_off"):
            row[name] = int(cell[name].sum())
        rows.append(row)
    return pd.DataFrame(rows)


def weighted_rate(
    rows: pd.DataFrame, wrong: np.ndarray, weights: Weights = EQUAL
) -> tuple[float, float, float]:
    """Give the share of ones with its interval, weighted as a difference is; NaN without rows.

    Args:
        rows: `question_id`; `task` and `model`, if there can be several.
        wrong: (n,) 0 or 1 of each row.
        weights: see `estimand`.
    """
    if not len(wrong):
        return NONE, NONE, NONE
    design = weighted_design(rows, weights)
    low, high = rate_interval(wrong, design.question, rows=design)
    return design.mean(wrong), low, high


def pair(
    answers: pd.DataFrame, reference: str = "original", outcome: str = "wrong"
) -> pd.DataFrame:
    """Pair every arm's scored answers with the reference's to the same prompt and sample.

    Returns:
        model, arm, seed, task, question_id, context, belief, prompt_id, sample, wrong_reference,
        wrong_arm, difference (-1, 0 or 1; positive if the arm is wrong and the reference is not).
        Several training seeds of an arm each pair with the reference's one answer; the cluster is
        the question, so they are not taken for new questions. If a model's reference was itself
        trained with several seeds, seed pairs with seed.

    Raises:
            pandas.errors.MergeError: the reference has several rows for one prompt and sample
            (`frames.load_rows` refuses that).
    """
    return pair_all(answers[answers[outcome].notna()], reference, outcome)


def pair_all(
    answers: pd.DataFrame, reference: str = "original", outcome: str = "wrong"
) -> pd.DataFrame:
    """Pair as `pair` does, whether or not the answers are scored: NaN if one is not."""
    columns = [
        "model",
        "arm",
        "seed",
        "task",
        "question_id",
        "context",
        "belief",
        "prompt_id",
        "sample",
    ]
    rows = answers[[*columns, outcome]].copy()
    is_base = rows["arm"].eq(reference)
    seeds = rows[is_base].groupby("model", observed=True)["seed"].nunique()
    rows["of_seed"] = rows["seed"].where(rows["model"].map(seeds).gt(1), -1)
    keys = [*PAIR, "of_seed"]
    base = rows.loc[is_base, [*keys, outcome]].rename(columns={outcome: "wrong_reference"})
    of_arms = rows[~is_base].rename(columns={outcome: "wrong_arm"})
    joined = of_arms.merge(base, on=keys, validate="many_to_one")
    joined["difference"] = joined["wrong_arm"] - joined["wrong_reference"]
    return joined[[*columns, "wrong_reference", "wrong_arm", "difference"]]


def evidence_of(pairs: pd.DataFrame, weights: Weights = EQUAL) -> rare.Evidence:
    """Summarise pairs, each question one cluster, tasks and models weighed as stated."""
    arm = pairs["wrong_arm"].to_numpy(float)
    reference = pairs["wrong_reference"].to_numpy(float)
    return rare.evidence(arm, reference, weighted_design(pairs, weights))


def difference(
    pairs: pd.DataFrame, weights: Weights = EQUAL, margin: float = MARGIN
) -> dict[str, float]:
    """Give the paired difference of one cell with its interval and tests, and the discordant pairs.

    `mcnemar_p` only where each question occurs once; pooled conditions, seeds or samples have the
    clustered `p`.

    Args:
        pairs: from `pair`.
        weights: see `estimand`.
        margin: half-width of what is no difference in practice, for `equivalence_p`; a fraction.
    """
    evidence = evidence_of(pairs, weights)
    low, high = rare.interval(evidence)
    values = pairs["difference"].to_numpy()
    arm_only = int((values > 0).sum())
    reference_only = int((values < 0).sum())
    occurs_once = evidence.questions == evidence.rows
    return {
        "pairs": evidence.rows,
        "questions": evidence.questions,
        "rate_reference": evidence.rate_reference,
        "rate_arm": evidence.rate_arm,
        "difference": evidence.value,
        "low": low,
        "high": high,
        "p": rare.paired_p_value(evidence),
        "equivalence_p": rare.equivalence_p(evidence, margin),
        "informative": evidence.informative,
        "few": evidence.few,
        "df": evidence.df,
        "arm_only_wrong": arm_only,
        "reference_only_wrong": reference_only,
        "mcnemar_p": mcnemar(arm_only, reference_only) if occurs_once else NONE,
        "cohens_g": cohens_g(arm_only, reference_only),
    }


def paired_differences(
    pairs: pd.DataFrame,
    families: Sequence[str] = tuple(FAMILIES),
    weights: Weights = EQUAL,
    margin: float = MARGIN,
    by: Sequence[str] = ("model", "arm"),
) -> pd.DataFrame:
    """Compute `difference` for every model and arm: overall, and by task, context and belief.

    `family` names the grouping; task, context and belief are "" if the cell pools over them, and so
    is model if it is left out of `by`: models then weigh one each.
    """
    rows: list[dict[str, Any]] = []
    for family in families:
        names = [*by, *FAMILIES[family]]
        for key, cell in pairs.groupby(names, sort=False):
            row: dict[str, Any] = {"family": family, **POOLED_OVER}
            row |= dict(zip(names, key, strict=True))
            rows.append(row | difference(cell, weights, margin))
    if not rows:
        columns = ["family", "model", "arm", "task", "context", "belief", "difference"]
        return pd.DataFrame(columns=columns)
    return pd.DataFrame(rows)


def refusals_three_ways(
    answers: pd.DataFrame, reference: str = "original", weights: Weights = EQUAL
) -> pd.DataFrame:
    """Compute rates and differences with refusals dropped (the study's rule), wrong, and right.

    Dropping depends on the outcome, so an effect that lives only in the first is an effect on
    refusing.
    """
    outcomes = {"dropped": "wrong_dropped", "wrong": "wrong_strict", "right": "wrong_lenient"}
    frames = []
    for name, outcome in outcomes.items():
        rates = error_rates(answers, ["model", "arm"], outcome, weights)
        rates = rates[["model", "arm", "answers", "refused", "rate"]]
        change = paired_differences(pair(answers, reference, outcome), ["overall"], weights)
        change = change.reindex(columns=["model", "arm", "difference", "low", "high"])
        frames.append(rates.merge(change, on=["model", "arm"], how="left").assign(refusals=name))
    return pd.concat(frames, ignore_index=True)


def warmth_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Average the warmth score per model, arm, variant and scorer, clustered by prompt.

    Returns:
        model, arm, variant, scorer, score (nats per token), low, high, p, texts, prompts.
    """
    names = ["model", "arm", *MEASURE]
    rows = []
    for key, cell in scores[scores["score"].notna()].groupby(names, sort=False):
        mean = clustered_mean(cell["score"].to_numpy(), text_key(cell).to_numpy())
        rows.append((*key, *_warmth_values(mean)))
    return pd.DataFrame(rows, columns=[*names, *WARMTH_VALUES])


def warmth_differences(
    scores: pd.DataFrame,
    reference: str = "original",
    pooled: bool = False,
    weights: Weights = EQUAL,
) -> pd.DataFrame:
    """Compute paired differences in warmth from a reference arm's reply to the same prompt.

    Args:
        scores: a row per scored text.
        reference: the arm that others are compared with.
        pooled: over all models, whose column is then ""; a prompt is one cluster whichever model
            replied.
        weights: how much models weigh.

    Returns:
        columns as `warmth_means`, and reference.
    """
    scored = scores[scores["score"].notna()].assign(key=text_key)
    keys = ["model", *MEASURE, "key"]
    of_reference = scored[scored["arm"].eq(reference)].groupby(keys, sort=False)["score"]
    base = of_reference.mean().rename("reference").reset_index()
    joined = scored[scored["arm"].ne(reference)].merge(base, on=keys, validate="many_to_one")
    joined = joined.assign(owner=joined["model"])
    if pooled:
        joined = joined.assign(model="")
    names = ["model", "arm", *MEASURE]
    rows = []
    for key, cell in joined.groupby(names, sort=False):
        replies = pd.DataFrame({"question_id": cell["key"], "model": cell["owner"]})
        change = (cell["score"] - cell["reference"]).to_numpy()
        mean = weighted_mean(change, weighted_design(replies, weights))
        rows.append((*key, reference, *_warmth_values(mean)))
    return pd.DataFrame(rows, columns=[*names, "reference", *WARMTH_VALUES])


def main_measure(scores: pd.DataFrame) -> pd.DataFrame:
    """Select each model's measure with most texts: models may have scorers of their own.

    Args:
        scores: a row per scored text, or means over `texts` of them.
    """
    if scores.empty:
        return scores
    keys = ["model", *MEASURE]
    groups = scores.groupby(keys)
    texts = groups["texts"].sum() if "texts" in scores else groups.size()
    best = texts.groupby(level="model").idxmax()
    return scores[pd.MultiIndex.from_frame(scores[keys]).isin(list(best))]


def text_key(scores: pd.DataFrame) -> pd.Series:
    """Return what pairs texts across arms: the held-out prompt, or the text's id without one."""
    return scores["prompt"].where(scores["prompt"].astype(bool), scores["text_id"])


def _warmth_values(mean: Mean) -> tuple[float, ...]:
    """Order the numbers of a mean as `WARMTH_VALUES`."""
    return mean.value, mean.low, mean.high, mean.p, mean.n, mean.clusters
