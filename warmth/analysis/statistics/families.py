"""Many comparisons and claims of none: odds ratios, corrections over a declared family, equivalence
tests.
"""

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

MARGIN_POINTS = (
    2.0  # `analysis.margin_points`: a difference smaller than this is no difference in practice
)


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
        """Which rows belong.

        Raises:
            UserError: a column is not in the table.
        """
        keep = pd.Series(True, index=table.index)
        for column, values in self.where.items():
            if column not in table:
                raise UserError(
                    f"family {self.name}: {column} is not a column; there are: "
                    f"{', '.join(table.columns)}"
                )
            keep &= table[column].isin(list(values))
        return keep


def adjust(table: pd.DataFrame, family: Family) -> pd.DataFrame:
    """Adds `correction_family`, `p_holm` (family-wise error) and `p_bh` (false discovery rate) to
    the members' rows.

    Holm: the i-th smallest of m is multiplied by m - i + 1; Benjamini-Hochberg: by m / i; each made
    monotone and cut at 1. m counts the members that have a p-value: one that cannot be tested is no
    test. Others stay NaN.

    Raises:
        UserError: the family has no member with a p-value.

    Source: Holm (1979), Scand. J. Statistics 6, 65; Benjamini and Hochberg (1995), J. R. Stat. Soc.
    B 57, 289.
    """
    members = family.members(table).to_numpy()
    chosen = members & table[family.p].notna().to_numpy()
    if not chosen.any():
        raise UserError(f"family {family.name} has no comparison with a p-value")
    p = table[family.p].to_numpy(float)[chosen]
    made = {name: np.full(len(table), math.nan) for name in ("p_holm", "p_bh")}
    order, rank = np.argsort(p), np.argsort(np.argsort(p))
    falling = np.arange(
        len(p), 0, -1
    )  # by hand: statsmodels' Holm runs the garbage collector, 60 ms a call
    made["p_holm"][chosen] = np.minimum(np.maximum.accumulate(p[order] * falling), 1.0)[rank]
    made["p_bh"][chosen] = multipletests(p, method="fdr_bh")[1]
    return table.assign(correction_family=np.where(members, family.name, ""), **made)


def odds_ratio(
    arm_only: int, reference_only: int, level: float = LEVEL
) -> tuple[float, float, float]:
    """Odds ratio of paired answers, b/c, with its exact interval; NaN without a discordant pair.

    Given the discordant pairs, b is binomial with probability π = ψ/(1+ψ); Clopper and Pearson's
    interval of π becomes one of ψ. Valid where pairs are independent, so where a question occurs
    once. 0 and infinity are possible.
    """
    total = arm_only + reference_only
    if total == 0:
        return math.nan, math.nan, math.nan
    ends = proportion_confint(arm_only, total, alpha=1 - level, method="beta")
    low, high = (float(end) / (1 - float(end)) if end < 1 else math.inf for end in ends)
    return arm_only / reference_only if reference_only else math.inf, low, high


def with_odds(differences: pd.DataFrame) -> pd.DataFrame:
    """Adds `odds_ratio`, `odds_low` and `odds_high` to rows of `effects.differences`; NaN where
    questions recur.
    """
    once = differences["mcnemar_p"].notna() if len(differences) else pd.Series(dtype=bool)
    counts = zip(
        differences.get("arm_only_wrong", ()),
        differences.get("reference_only_wrong", ()),
        once,
        strict=True,
    )
    made = [odds_ratio(int(b), int(c)) if single else (math.nan,) * 3 for b, c, single in counts]
    names = ["odds_ratio", "odds_low", "odds_high"]
    return differences.assign(**{name: [row[at] for row in made] for at, name in enumerate(names)})


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
    """Is the true difference smaller than the margin? "Not significant" is no answer to that.

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
    p = float(
        max(stats.t.sf((value + margin) / error, df), stats.t.cdf((value - margin) / error, df))
    )
    reach = float(stats.t.ppf(1 - alpha, df)) * error
    differs = 2 * stats.t.sf(abs(value) / error, df) < alpha
    verdict = {(True, True): "both", (True, False): "equivalent", (False, True): "different"}.get(
        (p < alpha, bool(differs))
    )
    return Equivalence(margin, p, value - reach, value + reach, verdict or "undecided", label)


def standard_error(mean: Mean, level: float = LEVEL) -> float:
    """The error behind a clustered mean's interval; NaN where it has none."""
    return (
        (mean.high - mean.low) / 2 / float(stats.t.ppf((1 + level) / 2, mean.clusters - 1))
        if mean.clusters > 1
        else math.nan
    )


def crossed_mean(
    values: np.ndarray, question: np.ndarray, seed: np.ndarray, rows: Design | None = None
) -> dict[str, float]:
    """A mean over questions × training seeds (× samples), for these trained models and for the
    recipe.

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
    codes = {"question": pd.factorize(question)[0], "seed": pd.factorize(seed)[0]}
    sizes = {name: int(code.max()) + 1 for name, code in codes.items()}
    codes["both"] = pd.factorize(
        codes["question"].astype(np.int64) * sizes["seed"] + codes["seed"]
    )[0]
    parts = {name: _spread(influence, code) for name, code in codes.items()}
    made = {
        "value": mean,
        "rows": len(values),
        "questions": sizes["question"],
        "seeds": sizes["seed"],
    }
    made |= {"error_question": math.sqrt(parts["question"]), "error_seed": math.sqrt(parts["seed"])}
    reach = (
        float(stats.t.ppf((1 + LEVEL) / 2, max(sizes["question"] - 1, 1))) * made["error_question"]
        or math.nan
    )
    made |= {
        "low": mean - reach,
        "high": mean + reach,
        "low_recipe": math.nan,
        "high_recipe": math.nan,
        "df_recipe": math.nan,
    }
    if min(sizes.values()) > 1:
        total = max(
            parts["question"] + parts["seed"] - parts["both"], parts["question"], parts["seed"]
        )
        under = parts["question"] ** 2 / (sizes["question"] - 1) + parts["seed"] ** 2 / (
            sizes["seed"] - 1
        )
        df = total**2 / under if under > 0 else math.nan
        reach = float(stats.t.ppf((1 + LEVEL) / 2, df)) * math.sqrt(total)
        made |= {"low_recipe": mean - reach, "high_recipe": mean + reach, "df_recipe": df}
    return made


def _spread(influence: np.ndarray, codes: np.ndarray) -> float:
    groups = int(codes.max()) + 1
    sums = np.bincount(codes, weights=influence)
    variance = groups / (groups - 1) * float(sums @ sums) if groups > 1 else 0.0
    return variance if variance > ROUNDING**2 else 0.0
