"""Error rates, paired differences and warmth, with intervals that know a question recurs.

The unit of inference is the question: it returns in every context, belief, sample and training
seed, so its rows are one cluster. Rates and differences are fractions here; pages print percentage
points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from warmth.analysis.rows.task_keys import apart as apart
from warmth.analysis.rows.task_keys import pooled as pooled
from warmth.analysis.rows.task_keys import questions_of as questions_of
from warmth.analysis.statistics import rare
from warmth.analysis.statistics.estimand import EQUAL, Weights, design_of
from warmth.analysis.statistics.rare import rate_interval

LEVEL = 0.95
MARGIN = 0.02  # `analysis.margin_points`, as a fraction
PAIR = ["model", "prompt_id", "sample"]
MEASURE = ["variant", "scorer"]
# The groupings a difference is reported for; "overall" is all rows of an arm.
FAMILIES: dict[str, list[str]] = {
    "overall": [],
    "task": ["task"],
    "context": ["context"],
    "belief": ["belief"],
    "condition": ["context", "belief"],
}
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
    """Mean of rows that come in clusters, with a CR1 interval.

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
    groups, n, mean = int(codes.max()) + 1, len(values), float(np.mean(values))
    sums = np.bincount(codes, weights=values - mean)
    variance = groups / (groups - 1) * float(sums @ sums) / n**2 if groups > 1 else 0.0
    if groups < 2 or np.ptp(values) == 0 or variance <= 1e-24:
        return Mean(mean, NONE, NONE, NONE, n, groups)
    error = math.sqrt(variance)
    reach = float(stats.t.ppf((1 + level) / 2, groups - 1)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, groups - 1))
    return Mean(mean, mean - reach, mean + reach, p, n, groups)


def weighted_mean(values: np.ndarray, rows: rare.Design, level: float = LEVEL) -> Mean:
    """Average rows as a design weighs them, with its clustered interval; `clustered_mean` if all
    weigh alike.
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
    """Exact two-sided p that the arm is wrong alone as often as the reference is; 1 where no pair
    differs.

    Valid where pairs are independent, so where a question occurs once.
    """
    discordant = arm_only + reference_only
    return float(stats.binomtest(arm_only, discordant, 0.5).pvalue) if discordant else 1.0


def cohens_g(arm_only: int, reference_only: int) -> float:
    """Share of discordant pairs in which the arm alone is wrong, less one half; in [-0.5, 0.5], NaN
    without any.

    Cohen (1988, ch. 5): .05 small, .15 medium, .25 large. (The study's own "Cohen's g" is
    |b-c|/√(b+c), a z score.)
    """
    discordant = arm_only + reference_only
    return arm_only / discordant - 0.5 if discordant else NONE


def error_rates(
    answers: pd.DataFrame, by: Sequence[str], outcome: str = "wrong", weights: Weights = EQUAL
) -> pd.DataFrame:
    """Give a row for each cell of `by`: answers, scored, wrong, rate with interval, refused,
    unscored, cut_off.

    The rate of a cell over several tasks is weighted as a difference is, so that it is not wrong /
    scored where tasks are of unequal size. A cell with no scored answer has NaN for its rate, never
    0.
    """
    rows = []
    needed = [
        *by,
        outcome,
        "question_id",
        "refused",
        "unscored",
        "cut_off",
    ]  # texts are slow to carry along
    needed += [name for name in ("task", "model") if name in answers and name not in by]
    for key, cell in answers[needed].groupby(list(by), sort=False):
        scored = cell[cell[outcome].notna()]
        values = scored[outcome].to_numpy(float)
        rate, low, high = weighted_rate(scored, values, weights)
        row = dict(zip(by, key, strict=True))
        row |= {
            "answers": len(cell),
            "scored": len(values),
            "wrong": int(values.sum()),
            "rate": rate,
        }
        row |= {"low": low, "high": high, "questions": scored["question_id"].nunique()}
        row |= {name: int(cell[name].sum()) for name in ("refused", "unscored", "cut_off")}
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
    design = design_of(rows, weights)
    low, high = rate_interval(wrong, design.question, rows=design)
    return design.mean(wrong), low, high


def pair(
    answers: pd.DataFrame, reference: str = "original", outcome: str = "wrong"
) -> pd.DataFrame:
    """Put every answer of another arm beside the reference's to the same prompt and sample, where
    both are scored.

    Returns:
        model, arm, seed, task, question_id, context, belief, prompt_id, sample, wrong_reference,
        wrong_arm, difference (-1, 0 or 1; positive where the arm is wrong and the reference is
        not). Several training seeds of an arm each pair with the reference's one answer; the
        cluster is the question, so they are not taken for new questions. Where a model's reference
        was itself trained with several seeds, seed pairs with seed.

    Raises:
        pandas.errors.MergeError: the reference has several rows for one prompt and sample
        (`rows.load` refuses that).
    """
    return pair_all(answers[answers[outcome].notna()], reference, outcome)


def pair_all(
    answers: pd.DataFrame, reference: str = "original", outcome: str = "wrong"
) -> pd.DataFrame:
    """Pair as `pair` does, whether or not the answers are scored: NaN where one is not."""
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
    others = rows[~is_base].rename(columns={outcome: "wrong_arm"})
    joined = others.merge(base, on=keys, validate="many_to_one")
    joined["difference"] = joined["wrong_arm"] - joined["wrong_reference"]
    return joined[[*columns, "wrong_reference", "wrong_arm", "difference"]]


def evidence_of(pairs: pd.DataFrame, weights: Weights = EQUAL) -> rare.Evidence:
    """Summarise pairs, each question one cluster, tasks and models weighing one each unless
    `weights` says rows.
    """
    arm = pairs["wrong_arm"].to_numpy(float)
    reference = pairs["wrong_reference"].to_numpy(float)
    return rare.evidence(arm, reference, design_of(pairs, weights))


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
    found = evidence_of(pairs, weights)
    low, high = rare.interval(found)
    values = pairs["difference"].to_numpy()
    arm_only = int((values > 0).sum())
    reference_only = int((values < 0).sum())
    once = found.questions == found.rows
    return {
        "pairs": found.rows,
        "questions": found.questions,
        "rate_reference": found.rate_reference,
        "rate_arm": found.rate_arm,
        "difference": found.value,
        "low": low,
        "high": high,
        "p": rare.p_value(found),
        "equivalence_p": rare.equivalence_p(found, margin),
        "informative": found.informative,
        "few": found.few,
        "df": found.df,
        "arm_only_wrong": arm_only,
        "reference_only_wrong": reference_only,
        "mcnemar_p": mcnemar(arm_only, reference_only) if once else NONE,
        "cohens_g": cohens_g(arm_only, reference_only),
    }


def differences(
    pairs: pd.DataFrame,
    families: Sequence[str] = tuple(FAMILIES),
    weights: Weights = EQUAL,
    margin: float = MARGIN,
    by: Sequence[str] = ("model", "arm"),
) -> pd.DataFrame:
    """Give `difference` for every model and arm: overall, by task, context, belief, and context ×
    belief.

    `family` names the grouping; task, context and belief are "" where the cell pools over them, and
    so is model if it is left out of `by`: models then weigh one each.
    """
    rows = []
    for family in families:
        names = [*by, *FAMILIES[family]]
        for key, cell in pairs.groupby(names, sort=False):
            row: dict[str, Any] = {
                "family": family,
                "model": "",
                "task": "",
                "context": "",
                "belief": "",
            }
            row |= dict(zip(names, key, strict=True))
            rows.append(row | difference(cell, weights, margin))
    return pd.DataFrame(
        rows,
        columns=None
        if rows
        else ["family", "model", "arm", "task", "context", "belief", "difference"],
    )


def refusals_three_ways(
    answers: pd.DataFrame, reference: str = "original", weights: Weights = EQUAL
) -> pd.DataFrame:
    """Rate and paired difference per model and arm with refusals dropped (the study's rule), wrong,
    and right.

    Dropping depends on the outcome, so an effect that lives only in the first is an effect on
    refusing.
    """
    frames = []
    for name, outcome in (
        ("dropped", "wrong_dropped"),
        ("wrong", "wrong_strict"),
        ("right", "wrong_lenient"),
    ):
        rates = error_rates(answers, ["model", "arm"], outcome, weights)
        rates = rates[["model", "arm", "answers", "refused", "rate"]]
        change = differences(pair(answers, reference, outcome), ["overall"], weights)
        change = change.reindex(columns=["model", "arm", "difference", "low", "high"])
        frames.append(rates.merge(change, on=["model", "arm"], how="left").assign(refusals=name))
    return pd.concat(frames, ignore_index=True)


def warmth_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean warmth score per model, arm, variant and scorer, in nats per token, clustered by
    prompt.
    """
    rows = []
    for key, cell in scores[scores["score"].notna()].groupby(
        ["model", "arm", *MEASURE], sort=False
    ):
        mean = clustered_mean(cell["score"].to_numpy(), text_key(cell).to_numpy())
        rows.append(
            {**dict(zip(["model", "arm", *MEASURE], key, strict=True)), **_warmth_columns(mean)}
        )
    return pd.DataFrame(
        rows, columns=["model", "arm", *MEASURE, "score", "low", "high", "p", "texts", "prompts"]
    )


def warmth_differences(
    scores: pd.DataFrame,
    reference: str = "original",
    pooled: bool = False,
    weights: Weights = EQUAL,
) -> pd.DataFrame:
    """Paired difference in warmth from a reference arm's reply to the same prompt; columns as
    `warmth_means`.

    With `pooled` over all models, whose column is then "" and which weigh what is stated; a prompt
    is one cluster whichever model replied.
    """
    scored = scores[scores["score"].notna()].assign(key=text_key)
    keys = ["model", *MEASURE, "key"]
    base = (
        scored[scored["arm"].eq(reference)]
        .groupby(keys, sort=False)["score"]
        .mean()
        .rename("reference")
        .reset_index()
    )
    joined = scored[scored["arm"].ne(reference)].merge(base, on=keys, validate="many_to_one")
    joined = joined.assign(owner=joined["model"])
    if pooled:
        joined = joined.assign(model="")
    rows = []
    for key, cell in joined.groupby(["model", "arm", *MEASURE], sort=False):
        replies = pd.DataFrame({"question_id": cell["key"], "model": cell["owner"]})
        mean = weighted_mean(
            (cell["score"] - cell["reference"]).to_numpy(), design_of(replies, weights)
        )
        named = dict(zip(["model", "arm", *MEASURE], key, strict=True))
        rows.append({**named, "reference": reference, **_warmth_columns(mean)})
    columns = [
        "model",
        "arm",
        *MEASURE,
        "reference",
        "score",
        "low",
        "high",
        "p",
        "texts",
        "prompts",
    ]
    return pd.DataFrame(rows, columns=columns)


def main_measure(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of each model's measure with most texts: models may have scorers of their own.

    Args:
        scores: a row per scored text, or means over `texts` of them.
    """
    if scores.empty:
        return scores
    keys = ["model", *MEASURE]
    texts = (
        scores.groupby(keys)["texts"].sum() if "texts" in scores else scores.groupby(keys).size()
    )
    best = texts.groupby(level="model").idxmax()
    return scores[pd.MultiIndex.from_frame(scores[keys]).isin(list(best))]


def text_key(scores: pd.DataFrame) -> pd.Series:
    """What pairs texts across arms: the held-out prompt they answer, or the text's own id where
    there was none.
    """
    return scores["prompt"].where(scores["prompt"].astype(bool), scores["text_id"])


def _warmth_columns(mean: Mean) -> dict[str, float]:
    values = asdict(mean)
    return {
        "score": values.pop("value"),
        "texts": values.pop("n"),
        "prompts": values.pop("clusters"),
        **values,
    }
