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
}
GROUPS |= {
    "hierarchical_up": "relation",
    "hierarchical_down": "relation",
    "high": "stakes",
    "low": "stakes",
}
PRESSED = ("wrong_asserted", "right_denied")  # both press a wrong belief on the model
REFERENCE = {
    "task": ("disinfo", "seed_disinfo"),
    "model": ("llama70b",),
}  # the study's reference levels, where present
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
class Model:
    """A fitted model: `coefficients` and `effects` have one row per term and per average marginal
    effect.

    Columns of both: value (log-odds, or a fraction), `error_naive`, `error` with `low`, `high`, `p`
    (the clustered ones), `df`; below `FEW` clusters `error_cr2`, `low_cr2`, `high_cr2`; after a
    bootstrap `low_boot`, `high_boot`.
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
class Design:
    """Grouped rows of one model, and the same patterns with the arm set to 0 and to 1."""

    data: logit.Grouped
    off: np.ndarray  # (P, k)
    on: np.ndarray  # (P, k)
    cells: Mapping[str, np.ndarray] = field(
        default_factory=dict
    )  # name → (P,) the patterns an effect is averaged over


def study_rows(
    answers: pd.DataFrame, arm: str, reference: str = "original", outcome: str = "wrong"
) -> pd.DataFrame:
    """Scored answers of an arm and its reference, as the models want them.

    Args:
        answers: columns of `rows.load`, at least arm, model, task, context, belief, question_id and
            the outcome; `length`, in characters, where it is a covariate.
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
    keep = (
        answers["arm"].isin([arm, reference])
        & answers[outcome].notna()
        & answers["belief"].ne("user_right")
    )
    rows = answers.loc[keep]
    for name in (reference, arm):
        if not rows["arm"].eq(name).any():
            raise UserError(
                f"arm={name} has no scored answer; there are: "
                f"{', '.join(sorted(answers['arm'].unique()))}"
            )
    frame = pd.DataFrame(
        {"wrong": rows[outcome].to_numpy(float), "finetuned": rows["arm"].eq(arm).to_numpy(int)}
    )
    for name in ("task", "model", "context"):
        frame[name] = rows[name].to_numpy()
    frame["group"] = rows["context"].map(GROUPS).fillna(rows["context"]).to_numpy()
    frame["pressed"] = rows["belief"].isin(PRESSED).to_numpy(int)
    frame["question"] = (
        rows["task"].astype(str) + "\0" + rows["question_id"].astype(str)
    ).to_numpy()
    if "length" in rows:
        frame["length"] = rows["length"].to_numpy(float) / HUNDRED
    return frame


def levels(values: pd.Series, first: Sequence[str]) -> list[str]:
    """The levels of a factor, reference first: the first of `first` that occurs, else the first by
    name.
    """
    found = sorted(values.unique())
    start = next((name for name in first if name in found), found[0])
    return [start, *(name for name in found if name != start)]


def fit_study(
    frame: pd.DataFrame,
    numbers: Sequence[int] = (1, 2, 3, 4),
    length: bool = False,
    draws: int = 0,
    seed: int = 0,
) -> list[Model]:
    """Models 1-4 over one set of rows.

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
    return [
        fit_one(frame, spec, length, 0 if length else draws, seed)
        for spec in SPECS
        if spec.number in numbers
    ]


def fit_one(frame: pd.DataFrame, spec: Spec, length: bool, draws: int = 0, seed: int = 0) -> Model:
    """One model; see `fit_study`."""
    rows = rows_of(frame, spec)
    if rows.empty or rows["finetuned"].nunique() < 2:
        raise UserError(f"model {spec.number} ({spec.about}) needs answers of both arms")
    if rows["question"].nunique() < 2:
        raise UserError(f"model {spec.number} ({spec.about}) needs two questions or more")
    design, notes = design_of(rows, spec, length)
    fitted = logit.fit(design.data)
    lost = logit.separated(design.data) if fitted.suspect else []
    if lost and logit.separated_completely(design.data):
        lost = list(design.data.names)
        notes.append(
            "complete separation: the terms together tell every wrong answer from every right "
            "one, so nothing here has "
            "an interval"
        )
    elif lost:
        notes.append(
            f"quasi-separation: {', '.join(lost)} has no finite maximum-likelihood estimate; "
            f"shown is Firth's, "
            "without an interval; other terms and effects have one by cluster jackknife"
        )
    if lost:
        parts = firth(design, lost)
    else:
        parts = likelihood(design, fitted, draws, seed)
    jackknife = f"{'one-step ' if design.data.large else ''}cluster jackknife"
    method = f"Firth, {jackknife}" if lost else "maximum likelihood, CR1 by question"
    return Model(spec, length, design.data.rows, design.data.clusters, method, *parts, tuple(notes))


def rows_of(frame: pd.DataFrame, spec: Spec) -> pd.DataFrame:
    """The rows a model is fitted to."""
    rows = frame if spec.beliefs else frame[frame["pressed"].eq(0)]
    return rows[rows["context"].eq("unmodified")] if spec.unmodified else rows


def design_of(rows: pd.DataFrame, spec: Spec, length: bool) -> tuple[Design, list[str]]:
    """A model's grouped rows, and a note on terms that had to be left out."""
    factors = {name: levels(rows[name], REFERENCE[name]) for name in ("task", "model")}
    if spec.context:
        order = ("unmodified",) if spec.context == "group" else CONTEXTS
        factors[spec.context] = levels(rows[spec.context], order)
    names = ["finetuned", *factors, *(["pressed"] if spec.beliefs else [])]
    codes = [
        pd.Categorical(rows[name], categories=factors[name]).codes
        if name in factors
        else rows[name].to_numpy()
        for name in names
    ]
    if length:
        pattern, table = np.arange(len(rows)), pd.DataFrame(dict(zip(names, codes, strict=True)))
        table["length"] = rows["length"].to_numpy()
    else:
        sizes = [len(factors.get(name, (0, 1))) for name in names]
        key, pattern = np.unique(np.ravel_multi_index(codes, sizes), return_inverse=True)
        table = pd.DataFrame(dict(zip(names, np.unravel_index(key, sizes), strict=True)))
    cluster = pd.factorize(rows["question"])[0]
    key, cell = np.unique(cluster.astype(np.int64) * len(table) + pattern, return_inverse=True)
    n, wrong = np.bincount(cell).astype(float), np.bincount(cell, rows["wrong"].to_numpy())
    labels, matrix = _columns(table, factors, spec, length)
    data = logit.Grouped(tuple(labels), matrix, key // len(table), key % len(table), n, wrong)
    kept = logit.independent_columns(matrix, data.totals[0])
    dropped = [name for position, name in enumerate(labels) if position not in kept]
    notes = (
        [f"cannot be told apart from the other terms and left out: {', '.join(dropped)}"]
        if dropped
        else []
    )
    off, on = (
        _columns(table.assign(finetuned=value), factors, spec, length)[1][:, kept]
        for value in (0, 1)
    )
    return Design(logit.subset(data, kept), off, on, _cells(table, factors, spec)), notes


def _columns(
    table: pd.DataFrame, factors: Mapping[str, list[str]], spec: Spec, length: bool
) -> tuple[list[str], np.ndarray]:
    """Terms in the order that the study prints them, and their values for each pattern."""
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
    """Over which patterns each average marginal effect is taken."""
    cells = {"all rows": np.ones(len(table), bool)}
    if spec.context:
        cells |= {
            value: table[spec.context].eq(code).to_numpy()
            for code, value in enumerate(factors[spec.context])
        }
    if spec.beliefs:
        cells |= {
            "no belief": table["pressed"].eq(0).to_numpy(),
            "wrong belief": table["pressed"].eq(1).to_numpy(),
        }
    return {name: where for name, where in cells.items() if where.any()}


def marginal_effect(
    design: Design, where: np.ndarray, beta: np.ndarray, n: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Average marginal effects over the patterns `where`, and their gradient for the delta method.

    Σ n·(p₁ - p₀) / Σ n, with p₁ and p₀ the rates when the arm is set to 1 and to 0.

    Args:
        design: patterns with the arm off and on.
        where: (P,) bool.
        beta: (B, k).
        n: (P,) or (B, P) rows of each pattern.

    Returns:
        (B,) effects, fractions in [-1, 1], and (B, k) gradients.
    """
    off, on, weights = design.off[where], design.on[where], np.atleast_2d(n)[:, where]
    total = weights.sum(1, keepdims=True)
    weights = np.divide(
        weights, total, out=np.full_like(weights, np.nan), where=total > 0
    )  # no rows left: no effect
    before, after = expit(beta @ off.T), expit(beta @ on.T)
    gradient = (weights * after * (1 - after)) @ on - (weights * before * (1 - before)) @ off
    return (weights * (after - before)).sum(1), gradient


def likelihood(
    design: Design, fitted: logit.Fit, draws: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Coefficients and effects with naive, CR1, below `FEW` clusters CR2, and after `draws` > 0
    bootstrap intervals.
    """
    clustered, groups = covariance.cr1(fitted), fitted.data.clusters
    few = covariance.cr2(fitted) if groups < FEW else None
    n = fitted.data.totals[0]
    boot, counts = logit.bootstrap(fitted, draws, seed) if draws else (None, n)

    def row(value: float, contrast: np.ndarray, again: np.ndarray | None) -> dict[str, float]:
        naive, error = (_error(contrast, matrix) for matrix in (fitted.bread, clustered))
        made = inference(value, error, groups - 1, rounding=NAIVE_SHARE * naive)
        numbers = _numbers(made, naive)
        if few is not None:
            error = _error(contrast, few.covariance)
            small = inference(value, error, few.df(contrast), rounding=NAIVE_SHARE * naive)
            numbers |= {
                "error_cr2": small.error,
                "df_cr2": small.df,
                "low_cr2": small.low,
                "high_cr2": small.high,
            }
        if again is not None:
            ends = (
                np.quantile(again, [0.025, 0.975]) if np.isfinite(made.error) else (np.nan, np.nan)
            )
            numbers["low_boot"], numbers["high_boot"] = (float(end) for end in ends)
        return numbers

    terms = []
    for position, name in enumerate(fitted.data.names):
        contrast = np.eye(len(fitted.beta))[position]
        terms.append(
            {
                "term": name,
                **row(fitted.beta[position], contrast, None if boot is None else boot[:, position]),
            }
        )
    effects = []
    for name, where in design.cells.items():
        value, gradient = marginal_effect(design, where, fitted.beta[None], n)
        again = None if boot is None else marginal_effect(design, where, boot, counts)[0]
        effects.append({"effect": name, **row(float(value[0]), gradient[0], again)})
    return pd.DataFrame(terms), pd.DataFrame(effects)


def firth(design: Design, lost: Sequence[str] = ()) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Firth's estimate with V = (G-1)/G Σ_g (b_(-g) - b̄)², for coefficients and effects alike, and
    t(G-1).

    Terms that are `lost`, from `logit.separated`, have no interval: where their estimate lies is
    the penalty's choice alone, and so is its spread. Where refits would take too long
    (`Grouped.large`), b_(-g) is one Newton step away.
    """
    data = design.data
    n, wrong = data.totals
    is_complete = len(lost) == len(data.names)
    beta = logit.fit_many(data.design, n[None], wrong[None], np.zeros(len(data.names)), firth=True)
    without = (logit.jackknife_step if data.large else logit.jackknife)(data, beta[0])

    def row(value: float, others: np.ndarray) -> dict[str, float]:
        spread = (data.clusters - 1) / data.clusters * float(((others - others.mean()) ** 2).sum())
        return _numbers(inference(value, float(np.sqrt(spread)), data.clusters - 1), float("nan"))

    unknown = np.full(data.clusters, np.nan)
    terms = [
        {"term": name, **row(beta[0, at], unknown if name in lost else without[:, at])}
        for at, name in enumerate(data.names)
    ]
    effects = []
    for name, where in design.cells.items():
        value, gradient = (found[0] for found in marginal_effect(design, where, beta, n))
        observed = separated_by_arm(design, where)
        if observed is not None:  # the penalty would draw what was seen towards 0
            value, others = observed, unknown
        elif is_complete or not 0 < wrong[where].sum() < n[where].sum():
            others = unknown  # the estimate is the penalty's alone, and its spread nil
        elif data.large:  # to first order too, without a matrix of clusters × patterns
            others = value + (without - beta) @ gradient
        else:
            others = marginal_effect(design, where, without, n - data.by_cluster(data.n).toarray())[
                0
            ]
        effects.append({"effect": name, **row(float(value), others)})
    return pd.DataFrame(terms), pd.DataFrame(effects)


def separated_by_arm(design: Design, where: np.ndarray) -> float | None:
    """Give the observed difference if either arm was always right or always wrong, and not both
    alike; else None.

    Args:
        design: grouped rows of a model.
        where: (P,) the patterns of an effect.
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
    return float(
        np.sqrt(max(float(contrast @ covariance @ contrast), 0.0))
    )  # nothing may round to below 0


def _numbers(made: Inference, naive: float) -> dict[str, float]:
    found = {"value": made.value, "error_naive": naive, "error": made.error, "df": made.df}
    return found | {"low": made.low, "high": made.high, "p": made.p}
