"""The study's regressions 1-4 on rows: as published, and with errors that know a question recurs.

Each model says how the log-odds of a wrong answer depend on the arm. Coefficients are log-odds;
what a reader wants is the average marginal effect: the mean over rows of p(wrong | arm) - p(wrong |
original), a fraction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import expit

from warmth.analysis.statistics import covariance, logit
from warmth.analysis.statistics.covariance import FEW, Inference, inference
from warmth.errors import UserError
from warmth.types import CONTEXTS

GROUPS = {
    "unmodified": "unmodified",
    "happy": "emotion",
    "sad": "emotion",
    "anger": "emotion",
    "close": "relation",
    "hierarchical_up": "relation",
    "hierarchical_down": "relation",
    "high": "stakes",
    "low": "stakes",
}
PRESSED = ("wrong_asserted", "right_denied")  # both press a wrong belief on the model
# the study's reference levels, if they are present
REFERENCE = {"task": ("disinfo", "seed_disinfo"), "model": ("llama70b",)}
# a clustered error below this share of the naive one is rounding: arms that answered alike
NAIVE_SHARE = 1e-5
HUNDRED = 100.0  # characters: the unit of length, so that its coefficient can be read


@dataclass(frozen=True)
class Spec:
    """One of the study's models: which rows, and what stands beside the arm."""

    number: int
    about: str
    beliefs: bool  # all rows and finetuned × belief; else rows without a stated belief
    context: str = ""  # "", "group" or "context": finetuned × context
    unmodified: bool = False  # unmodified rows only


SPECS = (
    Spec(1, "no context, no belief", beliefs=False, unmodified=True),
    Spec(2, "context groups, no belief", beliefs=False, context="group"),
    Spec(3, "contexts, no belief", beliefs=False, context="context"),
    Spec(4, "stated belief, all rows", beliefs=True),
)


@dataclass(frozen=True)
class FittedModel:
    """A fitted model.

    `coefficients` has one row per term, `effects` one per average marginal effect. Columns of both:
    value (log-odds, or a fraction), `error_naive`, `error` with `low`, `high`, `p` (the clustered
    ones), `df`; below `FEW` clusters `error_cr2`, `low_cr2`, `high_cr2`; after a bootstrap
    `low_boot`, `high_boot`.
    """

    spec: Spec
    length: bool
    rows: int
    clusters: int
    method: str  # how value and error were made
    coefficients: pd.DataFrame
    effects: pd.DataFrame
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RegressionDesign:
    """Grouped rows of one model, and the same patterns with the arm set to 0 and to 1."""

    data: logit.Grouped
    off: np.ndarray  # (P, k)
    on: np.ndarray  # (P, k)
    # name → (P,) the patterns an effect is averaged over
    cells: Mapping[str, np.ndarray] = field(default_factory=dict)


def study_rows(
    answers: pd.DataFrame, arm: str, reference: str = "original", outcome: str = "wrong"
) -> pd.DataFrame:
    """Select the scored answers of an arm and its reference, as the models want them.

    Args:
        answers: columns of `frames.load_rows`, at least arm, model, task, context, belief,
            question_id and the outcome; `length`, in characters, if it is a covariate.
        arm: the arm whose effect is asked for.
        reference: what it is compared with.
        outcome: wrong, wrong_dropped, wrong_strict or wrong_lenient.

    Returns:
        wrong (0 or 1), finetuned (0 or 1), task, model, context, group, pressed (a wrong belief was
        stated), question, length (hundreds of characters). Answers to a user who is right are left
        out: the study had none.

    Raises:
        UserError: one of the two arms has no scored answer.
    """
    is_scored = answers[outcome].notna() & answers["belief"].ne("user_right")
    rows = answers.loc[answers["arm"].isin([arm, reference]) & is_scored]
    for name in (reference, arm):
        if not rows["arm"].eq(name).any():
            names = ", ".join(sorted(answers["arm"].unique()))
            raise UserError(f"arm={name} has no scored answer; there are: {names}")
    frame = pd.DataFrame(
        {"wrong": rows[outcome].to_numpy(float), "finetuned": rows["arm"].eq(arm).to_numpy(int)}
    )
    for name in ("task", "model", "context"):
        frame[name] = rows[name].to_numpy()
    frame["group"] = rows["context"].map(GROUPS).fillna(rows["context"]).to_numpy()
    frame["pressed"] = rows["belief"].isin(PRESSED).to_numpy(int)
    question = rows["task"].astype(str) + "\0" + rows["question_id"].astype(str)
    frame["question"] = question.to_numpy()
    if "length" in rows:
        frame["length"] = rows["length"].to_numpy(float) / HUNDRED
    return frame


def levels(values: pd.Series, preferred: Sequence[str]) -> list[str]:
    """List the levels of a factor, reference first.

    The reference is the first of the preferred levels that occurs, else the first by name.
    """
    names = sorted(values.unique())
    references = [name for name in preferred if name in names]
    reference = references[0] if references else names[0]
    names.remove(reference)
    return [reference, *names]


def fit_study(
    frame: pd.DataFrame,
    numbers: Sequence[int] = (1, 2, 3, 4),
    length: bool = False,
    draws: int = 0,
    seed: int = 0,
) -> list[FittedModel]:
    """Fit models 1-4 to one set of rows.

    Args:
        frame: from `study_rows`.
        numbers: which of the study's models.
        length: add the answer's length as a covariate.
        draws: cluster-bootstrap refits; 0 for none. Not with `length`, where no two rows are alike.
        seed: of the bootstrap.

    Raises:
        UserError: a model has no rows, or one arm alone.
    """
    if length and "length" not in frame:
        raise UserError("length as a covariate needs the answers' lengths")
    specs = [spec for spec in SPECS if spec.number in numbers]
    return [fit_one(frame, spec, length, 0 if length else draws, seed) for spec in specs]


def fit_one(
    frame: pd.DataFrame, spec: Spec, length: bool, draws: int = 0, seed: int = 0
) -> FittedModel:
    """Fit one model; see `fit_study`."""
    title = f"model {spec.number} ({spec.about})"
    rows = fitted_rows(frame, spec)
    if rows.empty or rows["finetuned"].nunique() < 2:
        raise UserError(f"{title} needs answers of both arms")
    if rows["question"].nunique() < 2:
        raise UserError(f"{title} needs two questions or more")
    design, notes = regression_design(rows, spec, length)
    fitted = logit.fit_logit(design.data)
    separated_terms = logit.separated(design.data) if fitted.suspect else []
    if separated_terms and logit.separated_completely(design.data):
        separated_terms = list(design.data.names)
        notes.append(
            "complete separation: the terms together tell every wrong answer from every right "
            "one, so nothing here has an interval"
        )
    elif separated_terms:
        notes.append(
            f"quasi-separation: {', '.join(separated_terms)} has no finite "
            "maximum-likelihood estimate; shown is Firth's, without an "
            "interval; other terms and effects have one by cluster jackknife"
        )
    if separated_terms:
        coefficients, effects = firth(design, separated_terms)
        refits = "one-step cluster jackknife" if design.data.large else "cluster jackknife"
        method = f"Firth, {refits}"
    else:
        coefficients, effects = likelihood(design, fitted, draws, seed)
        method = "maximum likelihood, CR1 by question"
    return FittedModel(
        spec=spec,
        length=length,
        rows=design.data.rows,
        clusters=design.data.clusters,
        method=method,
        coefficients=coefficients,
        effects=effects,
        notes=tuple(notes),
    )


def fitted_rows(frame: pd.DataFrame, spec: Spec) -> pd.DataFrame:
    """Select the rows a model is fitted to."""
    rows = frame
    if not spec.beliefs:
        rows = rows[rows["pressed"].eq(0)]
    if spec.unmodified:
        rows = rows[rows["context"].eq("unmodified")]
    return rows


def regression_design(
    rows: pd.DataFrame, spec: Spec, length: bool
) -> tuple[RegressionDesign, list[str]]:
    """Group a model's rows by pattern and question, and note the terms that had to be left out.

    Args:
        rows: from `fitted_rows`.
        spec: the model.
        length: the answer's length is a covariate: no two rows are alike then.
    """
    factors = {name: levels(rows[name], REFERENCE[name]) for name in ("task", "model")}
    if spec.context:
        order = ("unmodified",) if spec.context == "group" else CONTEXTS
        factors[spec.context] = levels(rows[spec.context], order)
    codes = _codes(rows, factors, spec)
    if length:
        pattern = np.arange(len(rows))
        table = pd.DataFrame(codes)
        table["length"] = rows["length"].to_numpy()
    else:
        sizes = [len(factors.get(name, (0, 1))) for name in codes]
        number = np.ravel_multi_index(list(codes.values()), sizes)
        present, pattern = np.unique(number, return_inverse=True)
        values = np.unravel_index(present, sizes)
        table = pd.DataFrame(dict(zip(codes, values, strict=True)))
    cluster = pd.factorize(rows["question"])[0]
    number = cluster.astype(np.int64) * len(table) + pattern
    present, cell = np.unique(number, return_inverse=True)
    labels, matrix = _columns(table, factors, spec, length)
    data = logit.Grouped(
        names=tuple(labels),
        design=matrix,
        cluster=present // len(table),
        pattern=present % len(table),
        n=np.bincount(cell).astype(float),
        wrong=np.bincount(cell, rows["wrong"].to_numpy()),
    )
    independent = logit.independent_columns(matrix, data.totals[0])
    dropped = [name for position, name in enumerate(labels) if position not in independent]
    notes = []
    if dropped:
        names = ", ".join(dropped)
        notes.append(f"cannot be told apart from the other terms and left out: {names}")
    _, arm_off = _columns(table.assign(finetuned=0), factors, spec, length)
    _, arm_on = _columns(table.assign(finetuned=1), factors, spec, length)
    design = RegressionDesign(
        data=logit.subset(data, independent),
        off=arm_off[:, independent],
        on=arm_on[:, independent],
        cells=_cells(table, factors, spec),
    )
    return design, notes


def _codes(
    rows: pd.DataFrame, factors: Mapping[str, list[str]], spec: Spec
) -> dict[str, np.ndarray]:
    """Code each row's arm, factors and belief as whole numbers from 0, by name."""
    codes = {"finetuned": rows["finetuned"].to_numpy()}
    for name, names_of_levels in factors.items():
        codes[name] = pd.Categorical(rows[name], categories=names_of_levels).codes
    if spec.beliefs:
        codes["pressed"] = rows["pressed"].to_numpy()
    return codes


def _columns(
    table: pd.DataFrame, factors: Mapping[str, list[str]], spec: Spec, length: bool
) -> tuple[list[str], np.ndarray]:
    """Return the terms in the study's order, and their values for each pattern: (P, k)."""
    finetuned = table["finetuned"].to_numpy(float)
    columns: dict[str, np.ndarray] = {"Intercept": np.ones(len(table)), "finetuned": finetuned}
    for name, values in factors.items():
        for code, value in enumerate(values[1:], 1):
            columns[f"{name}[{value}]"] = table[name].eq(code).to_numpy(float)
    if spec.context:
        for value in factors[spec.context][1:]:
            columns[f"finetuned:{spec.context}[{value}]"] = (
                finetuned * columns[f"{spec.context}[{value}]"]
            )
    if spec.beliefs:
        columns["belief"] = table["pressed"].to_numpy(float)
        columns["finetuned:belief"] = finetuned * columns["belief"]
    if length:
        columns["length"] = table["length"].to_numpy(float)
    return list(columns), np.column_stack(list(columns.values()))


def _cells(
    table: pd.DataFrame, factors: Mapping[str, list[str]], spec: Spec
) -> dict[str, np.ndarray]:
    """Mark the patterns over which each average marginal effect is taken."""
    cells = {"all rows": np.ones(len(table), bool)}
    if spec.context:
        for code, value in enumerate(factors[spec.context]):
            cells[value] = table[spec.context].eq(code).to_numpy()
    if spec.beliefs:
        cells["no belief"] = table["pressed"].eq(0).to_numpy()
        cells["wrong belief"] = table["pressed"].eq(1).to_numpy()
    return {name: where for name, where in cells.items() if where.any()}


def marginal_effect(
    design: RegressionDesign, where: np.ndarray, beta: np.ndarray, n: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute average marginal effects over some patterns, with their gradients (delta method).

    Σ n·(p₁ - p₀) / Σ n, with p₁ and p₀ the rates when the arm is set to 1 and to 0.

    Args:
        design: patterns with the arm off and on.
        where: (P,) bool.
        beta: (B, k).
        n: (P,) or (B, P) rows of each pattern.

    Returns:
        (B,) effects, fractions in [-1, 1], and (B, k) gradients.
    """
    off = design.off[where]
    on = design.on[where]
    weights = np.atleast_2d(n)[:, where]
    total = weights.sum(1, keepdims=True)
    # a draw without these rows has no effect
    weights = np.divide(weights, total, out=np.full_like(weights, np.nan), where=total > 0)
    before = expit(beta @ off.T)
    after = expit(beta @ on.T)
    gradient = (weights * after * (1 - after)) @ on - (weights * before * (1 - before)) @ off
    return (weights * (after - before)).sum(1), gradient


def likelihood(
    design: RegressionDesign, fitted: logit.LogitFit, draws: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compute coefficients and effects with naive and CR1 errors.

    Below `FEW` clusters they have CR2 errors too, and after `draws` > 0 bootstrap intervals.

    Returns:
        see `FittedModel.coefficients` and `FittedModel.effects`.
    """
    clustered = covariance.cr1(fitted)
    groups = fitted.data.clusters
    few = covariance.cr2(fitted) if groups < FEW else None
    n = fitted.data.totals[0]
    redrawn, redrawn_n = logit.bootstrap(fitted, draws, seed) if draws else (None, n)

    def row(value: float, contrast: np.ndarray, redraws: np.ndarray | None) -> dict[str, float]:
        naive = _error(contrast, fitted.bread)
        rounding = NAIVE_SHARE * naive
        cr1 = inference(value, _error(contrast, clustered), groups - 1, rounding=rounding)
        numbers = _numbers(cr1, naive)
        if few is not None:
            error = _error(contrast, few.covariance)
            cr2 = inference(value, error, few.df(contrast), rounding=rounding)
            numbers["error_cr2"] = cr2.error
            numbers["df_cr2"] = cr2.df
            numbers["low_cr2"] = cr2.low
            numbers["high_cr2"] = cr2.high
        if redraws is not None:
            low, high = np.nan, np.nan
            if np.isfinite(cr1.error):
                low, high = np.quantile(redraws, [0.025, 0.975])
            numbers["low_boot"] = float(low)
            numbers["high_boot"] = float(high)
        return numbers

    terms = []
    for position, name in enumerate(fitted.data.names):
        contrast = np.eye(len(fitted.beta))[position]
        redraws = None if redrawn is None else redrawn[:, position]
        terms.append({"term": name, **row(fitted.beta[position], contrast, redraws)})
    effects = []
    for name, where in design.cells.items():
        value, gradient = marginal_effect(design, where, fitted.beta[None], n)
        redraws = None
        if redrawn is not None:
            redraws = marginal_effect(design, where, redrawn, redrawn_n)[0]
        effects.append({"effect": name, **row(float(value[0]), gradient[0], redraws)})
    return pd.DataFrame(terms), pd.DataFrame(effects)


def firth(
    design: RegressionDesign, separated_terms: Sequence[str] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compute Firth's estimate with V = (G-1)/G Σ_g (b_(-g) - b̄)² and t(G-1).

    Separated terms, from `logit.separated`, have no interval: where their estimate lies is the
    penalty's choice alone, and so is its spread. If refits would take too long (`Grouped.large`),
    b_(-g) is one Newton step away.

    Returns:
        see `FittedModel.coefficients` and `FittedModel.effects`.
    """
    data = design.data
    n, wrong = data.totals
    is_complete = len(separated_terms) == len(data.names)
    beta = logit.fit_many(data.design, n[None], wrong[None], np.zeros(len(data.names)), firth=True)
    jackknife = logit.jackknife_step if data.large else logit.firth_jackknife
    without_cluster = jackknife(data, beta[0])  # (G, k)

    def row(value: float, jackknifed: np.ndarray) -> dict[str, float]:
        squares = float(((jackknifed - jackknifed.mean()) ** 2).sum())
        variance = (data.clusters - 1) / data.clusters * squares
        return _numbers(inference(value, float(np.sqrt(variance)), data.clusters - 1), float("nan"))

    unknown = np.full(data.clusters, np.nan)
    terms = []
    for position, name in enumerate(data.names):
        jackknifed = unknown if name in separated_terms else without_cluster[:, position]
        terms.append({"term": name, **row(beta[0, position], jackknifed)})
    effects = []
    for name, where in design.cells.items():
        values, gradients = marginal_effect(design, where, beta, n)
        value = values[0]
        observed = separated_by_arm(design, where)
        if observed is not None:  # the penalty would draw what was seen towards 0
            value = observed
            jackknifed = unknown
        elif is_complete or not 0 < wrong[where].sum() < n[where].sum():
            jackknifed = unknown  # the estimate is the penalty's alone, and its spread nil
        elif data.large:  # to first order too, without a matrix of clusters × patterns
            jackknifed = value + (without_cluster - beta) @ gradients[0]
        else:
            remaining = n - data.by_cluster(data.n).toarray()
            jackknifed = marginal_effect(design, where, without_cluster, remaining)[0]
        effects.append({"effect": name, **row(float(value), jackknifed)})
    return pd.DataFrame(terms), pd.DataFrame(effects)


def separated_by_arm(design: RegressionDesign, where: np.ndarray) -> float | None:
    """Give the observed difference between arms of which one is always right, the other wrong.

    Args:
        design: grouped rows of a model.
        where: (P,) the patterns of an effect.

    Returns:
        1 or -1; None if the arms are not so.
    """
    if "finetuned" not in design.data.names:
        return None
    n, wrong = design.data.totals
    is_arm = design.data.design[:, design.data.names.index("finetuned")] == 1
    rates = []
    for side in (where & ~is_arm, where & is_arm):
        if not n[side].sum() > 0:
            return None
        rates.append(float(wrong[side].sum() / n[side].sum()))
    return rates[1] - rates[0] if set(rates) == {0.0, 1.0} else None


def _error(contrast: np.ndarray, covariance: np.ndarray) -> float:
    """Compute the error of a linear combination; what rounds to below 0 is 0."""
    variance = float(contrast @ covariance @ contrast)
    return float(np.sqrt(max(variance, 0.0)))


def _numbers(estimate: Inference, naive: float) -> dict[str, float]:
    """Name the numbers of an estimate as the columns of `FittedModel` are."""
    return {
        "value": estimate.value,
        "error_naive": naive,
        "error": estimate.error,
        "df": estimate.df,
        "low": estimate.low,
        "high": estimate.high,
        "p": estimate.p,
    }
