"""Odds ratios, corrections over a declared family, equivalence tests, means over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from warmth.analysis.statistics.covariance import ROUNDING
from warmth.analysis.statistics.effects import LEVEL, Mean
from warmth.analysis.statistics.rare import Design, design
from warmth.errors import UserError

# `analysis.margin_points`: a difference smaller than this is no difference in practice
MARGIN_POINTS = 2.0


@dataclass(frozen=True)
class Family:
    """The comparisons that are corrected together, declared before their p-values are seen.

    `where` names columns of a table of differences and the values that belong, as in
    `{"family": ["context"], "arm": ["warm"]}`; a column it does not name may hold anything.
    """

    name: str
    where: Mapping[str, Sequence[str]]
    p: str = "p"  # the column of p-values: `p` is clustered, `mcnemar_p` exact

    def members(self, table: pd.DataFrame) -> pd.Series:
        """Mark the rows that belong.

        Raises:
            UserError: a column is not in the table.
        """
        belongs = pd.Series(True, index=table.index)
        for column, values in self.where.items():
            if column not in table:
                raise UserError(
                    f"family {self.name}: {column} is not a column; there are: "
                    f"{', '.join(table.columns)}"
                )
            belongs &= table[column].isin(list(values))
        return belongs


def adjust(table: pd.DataFrame, family: Family) -> pd.DataFrame:
    """Add `correction_family`, `p_holm` (family-wise) and `p_bh` (false discovery) to a table.

    Holm: the i-th smallest of m is multiplied by m - i + 1; Benjamini-Hochberg: by m / i; each made
    monotone and cut at 1. m counts the members that have a p-value: one that cannot be tested is no
    test. Others stay NaN.

    Raises:
        UserError: the family has no member with a p-value.

    Source: Holm (1979), Scand. J. Statistics 6, 65; Benjamini and Hochberg (1995), J. R. Stat. Soc.
    B 57, 289.
    """
    members = family.members(table).to_numpy()
    is_tested = members & table[family.p].notna().to_numpy()
    if not is_tested.any():
        raise UserError(f"family {family.name} has no comparison with a p-value")
    p = table[family.p].to_numpy(float)[is_tested]
    # by hand: statsmodels' Holm runs the garbage collector, 60 ms a call
    order = np.argsort(p)
    rank = np.argsort(order)
    factors = np.arange(len(p), 0, -1)
    p_holm = np.full(len(table), math.nan)
    p_holm[is_tested] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)[rank]
    p_bh = np.full(len(table), math.nan)
    p_bh[is_tested] = multipletests(p, method="fdr_bh")[1]
    names = np.where(members, family.name, "")
    return table.assign(correction_family=names, p_holm=p_holm, p_bh=p_bh)


def odds_ratio(
    arm_only: int, reference_only: int, level: float = LEVEL
) -> tuple[float, float, float]:
    """Compute the odds ratio of paired answers, b/c, with its exact interval.

    Given the discordant pairs, b is binomial with probability π = ψ/(1+ψ); Clopper and Pearson's
    interval of π becomes one of ψ. Valid where pairs are independent, so where a question occurs
    once. 0 and infinity are possible; NaN without a discordant pair.
    """
    total = arm_only + reference_only
    if total == 0:
        return math.nan, math.nan, math.nan
    low, high = proportion_confint(arm_only, total, alpha=1 - level, method="beta")
    ratio = arm_only / reference_only if reference_only else math.inf
    return ratio, _odds(float(low)), _odds(float(high))


def _odds(probability: float) -> float:
    """Turn a probability into odds; infinite for 1."""
    return probability / (1 - probability) if probability < 1 else math.inf


def with_odds(differences: pd.DataFrame) -> pd.DataFrame:
    """Add `odds_ratio`, `odds_low` and `odds_high` to rows of `effects.paired_differences`.

    They are NaN if questions recur, so that the pairs are not independent.
    """
    names = ["odds_ratio", "odds_low", "odds_high"]
    odds = []
    for row in differences.to_dict("records"):
        if math.isnan(row["mcnemar_p"]):
            odds.append((math.nan, math.nan, math.nan))
        else:
            odds.append(odds_ratio(row["arm_only_wrong"], row["reference_only_wrong"]))
    columns = pd.DataFrame(odds, columns=names, index=differences.index)
    return differences.assign(**columns.to_dict("series"))


VERDICTS = {  # within the margin, and different from 0
    (True, True): "both",
    (True, False): "equivalent",
    (False, True): "different",
    (False, False): "undecided",
}


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of |difference| < margin, all in one unit."""

    margin: float
    p: float  # the larger of the two one-sided p-values
    low: float  # interval at 1 - 2·alpha: inside ±margin exactly when equivalent
    high: float
    verdict: str  # equivalent, different, both (different, but by less than the margin), undecided
    label: str  # "pre-registered" or "exploratory"


def tost(
    value: float,
    error: float,
    df: float,
    margin: float,
    alpha: float = 0.05,
    preregistered: bool = False,
) -> Equivalence:
    """Test whether the true difference is smaller than the margin.

    "Not significant" is no answer to that.

    t₁ = (value + margin)/error against ≤ 0 and t₂ = (value - margin)/error against ≥ 0, both on
    t(df); equivalent when both are rejected at alpha. A margin chosen after the data proves little,
    hence the label.

    Raises:
        UserError: the margin is not positive.

    Source: Schuirmann (1987), J. Pharmacokinetics and Biopharmaceutics 15, 657.
    """
    if not margin > 0:
        raise UserError(f"analysis.margin_points={100 * margin:g} is not above 0")
    label = "pre-registered" if preregistered else "exploratory"
    if not (math.isfinite(error) and error > 0):
        return Equivalence(margin, math.nan, math.nan, math.nan, "undecided", label)
    p_above = stats.t.sf((value + margin) / error, df)
    p_below = stats.t.cdf((value - margin) / error, df)
    p = float(max(p_above, p_below))
    reach = float(stats.t.ppf(1 - alpha, df)) * error
    is_different = bool(2 * stats.t.sf(abs(value) / error, df) < alpha)
    verdict = VERDICTS[p < alpha, is_different]
    return Equivalence(margin, p, value - reach, value + reach, verdict, label)


def standard_error(mean: Mean, level: float = LEVEL) -> float:
    """Compute the error behind a clustered mean's interval; NaN if it has none."""
    if mean.clusters < 2:
        return math.nan
    quantile = float(stats.t.ppf((1 + level) / 2, mean.clusters - 1))
    return (mean.high - mean.low) / 2 / quantile


def crossed_mean(
    values: np.ndarray, question: np.ndarray, seed: np.ndarray, rows: Design | None = None
) -> dict[str, float]:
    """Average over questions × training seeds (× samples), for these models and for the recipe.

    Every seed meets every question, so the two are crossed: V = V_question + V_seed -
    V_question∩seed, each a clustered variance (CR1), not less than the larger of the first two,
    with Satterthwaite's degrees of freedom V² / (V_question²/(Q-1) + V_seed²/(S-1)). Samples of one
    question and seed lie within the intersection and need no term. `low`, `high` hold for these
    models (questions alone vary); `low_recipe`, `high_recipe` for another seed too, and are NaN for
    a single seed: nobody knows how much a seed moves a result from one of them.

    Source: Cameron, Gelbach and Miller (2011), J. Business & Economic Statistics 29, 238.
    """
    if len(values) == 0:
        raise ValueError("no rows to average")
    rows = design(question) if rows is None else rows
    mean = rows.mean(values)
    influence = rows.influence(values)
    question_codes = pd.factorize(question)[0]
    seed_codes = pd.factorize(seed)[0]
    questions = int(question_codes.max()) + 1
    seeds = int(seed_codes.max()) + 1
    both_codes = pd.factorize(question_codes.astype(np.int64) * seeds + seed_codes)[0]
    by_question = _spread(influence, question_codes)
    by_seed = _spread(influence, seed_codes)
    by_both = _spread(influence, both_codes)
    error_question = math.sqrt(by_question)
    reach = float(stats.t.ppf((1 + LEVEL) / 2, max(questions - 1, 1))) * error_question
    if reach == 0:
        reach = math.nan
    recipe_reach = math.nan
    df = math.nan
    if questions > 1 and seeds > 1:
        total = max(by_question + by_seed - by_both, by_question, by_seed)
        under = by_question**2 / (questions - 1) + by_seed**2 / (seeds - 1)
        df = total**2 / under if under > 0 else math.nan
        recipe_reach = float(stats.t.ppf((1 + LEVEL) / 2, df)) * math.sqrt(total)
    return {
        "value": mean,
        "rows": len(values),
        "questions": questions,
        "seeds": seeds,
        "error_question": error_question,
        "error_seed": math.sqrt(by_seed),
        "low": mean - reach,
        "high": mean + reach,
        "low_recipe": mean - recipe_reach,
        "high_recipe": mean + recipe_reach,
        "df_recipe": df,
    }


def _spread(influence: np.ndarray, codes: np.ndarray) -> float:
    """Compute the clustered variance (CR1) of a mean from (n,) influences."""
    groups = int(codes.max()) + 1
    sums = np.bincount(codes, weights=influence)
    if groups < 2:
        return 0.0
    variance = groups / (groups - 1) * float(sums @ sums)
    return variance if variance > ROUNDING**2 else 0.0
