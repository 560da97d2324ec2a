"""Logistic regression on rows that recur: grouped, clustered, and honest where the data separate.

Rows with equal covariates are summed before anything is computed: a logistic regression needs no
more than how many rows of a pattern there are and how many of them are wrong, in each cluster.
440,000 rows become some hundred patterns.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.optimize import linprog
from scipy.special import expit

STEPS = 60
HALVINGS = 12
SETTLED = 1e-10  # a step below this is none
LARGEST = 30.0  # coefficient of a column of length 1 that refits go to
# a linear predictor beyond this means rates below 1e-6: perhaps no finite estimate exists
SUSPECT = 14.0
CHUNK = 2_000_000  # numbers held at once when many fits run together
# clusters × patterns × terms above which leaving out each cluster by a refit would take long
REFITS = 5_000_000


@dataclass(frozen=True)
class Grouped:
    """Binary rows summed by covariate pattern and cluster.

    Attributes:
        names: (k,) terms.
        design: (P, k) one row per covariate pattern.
        cluster: (M,) codes 0…G-1 of each (cluster, pattern) that occurs.
        pattern: (M,) rows of `design`.
        n: (M,) rows summed.
        wrong: (M,) of these, outcome 1.
    """

    names: tuple[str, ...]
    design: np.ndarray
    cluster: np.ndarray
    pattern: np.ndarray
    n: np.ndarray
    wrong: np.ndarray

    @property
    def clusters(self) -> int:
        """Count the clusters, G."""
        return int(self.cluster.max()) + 1

    @property
    def rows(self) -> int:
        """Count the rows before summing."""
        return int(self.n.sum())

    @property
    def large(self) -> bool:
        """Say whether a cluster is left out by one Newton step, rather than by a refit."""
        return self.clusters * self.design.size > REFITS

    @cached_property
    def totals(self) -> tuple[np.ndarray, np.ndarray]:
        """Sum (P,) rows and (P,) wrong of each pattern over all clusters."""
        size = len(self.design)
        return np.bincount(self.pattern, self.n, size), np.bincount(self.pattern, self.wrong, size)

    def by_cluster(self, values: np.ndarray) -> sparse.csr_array:
        """Arrange (M,) values as a sparse (G, P) matrix."""
        shape = (self.clusters, len(self.design))
        return sparse.csr_array((values.astype(float), (self.cluster, self.pattern)), shape=shape)


@dataclass(frozen=True)
class LogitFit:
    """A fitted logistic regression.

    Attributes:
        data: what was fitted.
        beta: (k,) log-odds.
        rates: (P,) fitted probability of each pattern.
        bread: (k, k) inverse information, which is the covariance that takes rows for independent.
        sandwich: (k, k) B (Σ_g s_g s_gᵀ) B, clustered and without a factor for small samples.
        converged: whether the estimate stopped moving.
    """

    data: Grouped
    beta: np.ndarray
    rates: np.ndarray
    bread: np.ndarray
    sandwich: np.ndarray
    converged: bool

    @property
    def suspect(self) -> bool:
        """Say whether the maximum may lie at infinity; `separated` then decides."""
        return not self.converged or bool(np.abs(self.data.design @ self.beta).max() > SUSPECT)

    @cached_property
    def scores(self) -> np.ndarray:
        """Sum x·(y - p) over each cluster's rows: (G, k)."""
        data = self.data
        return data.by_cluster(data.wrong - data.n * self.rates[data.pattern]) @ data.design


def fit_logit(data: Grouped) -> LogitFit:
    """Fit by maximum likelihood, with a clustered covariance: statsmodels' GLM(Binomial) on counts.

    If the data separate it stops after `STEPS` and says so.
    """
    import statsmodels.api as sm

    counts = np.column_stack([data.wrong, data.n - data.wrong])
    model = sm.GLM(counts, data.design[data.pattern], family=sm.families.Binomial())
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of separation, which `suspect` reports
        result = model.fit(
            maxiter=STEPS,
            tol=SETTLED,
            tol_criterion="params",
            cov_type="cluster",
            cov_kwds={"groups": data.cluster, "use_correction": False},
        )
    rates = expit(data.design @ result.params)
    information = data.design.T @ (data.design * (data.totals[0] * rates * (1 - rates))[:, None])
    return LogitFit(
        data=data,
        beta=result.params,
        rates=rates,
        bread=np.linalg.pinv(information, hermitian=True),
        sandwich=result.cov_params(),
        converged=bool(result.converged),
    )


def fit_many(
    design: np.ndarray, n: np.ndarray, wrong: np.ndarray, start: np.ndarray, firth: bool = False
) -> np.ndarray:
    """Fit logistic regressions that share a design and differ in their counts, all at once.

    Firth's estimate maximises the likelihood times √det(information); its score is Σ x·(y - n·p +
    h·(1/2 - p)) with the leverages h, and it is finite whatever the data.

    Args:
        design: (P, k).
        n: (B, P) rows of each pattern in each data set; may be 0.
        wrong: (B, P) of these, wrong.
        start: (k,) where Newton's method starts.
        firth: penalise as above.

    Returns:
        (B, k) log-odds.

    Source: Firth (1993), Biometrika 80, 27; Heinze and Schemper (2002), Statistics in Medicine 21,
    2409.
    """
    patterns, terms = design.shape
    numbers = patterns * terms if firth else patterns
    size = max(1, CHUNK // numbers)
    estimates = []
    for begin in range(0, len(n), size):
        chunk = slice(begin, begin + size)
        estimates.append(_newton(design, n[chunk], wrong[chunk], start, firth))
    return np.concatenate(estimates)


def _newton(
    design: np.ndarray, n: np.ndarray, wrong: np.ndarray, start: np.ndarray, firth: bool
) -> np.ndarray:
    """Climb all likelihoods at once, in coordinates with orthogonal columns of one length.

    Both estimates follow a change of coordinates, and in these ones no coefficient is large unless
    rates are extreme.
    """
    patterns, terms = design.shape
    columns, back = np.linalg.qr(design)
    columns = columns * math.sqrt(patterns)
    back = back / math.sqrt(patterns)
    products = (columns[:, :, None] * columns[:, None, :]).reshape(patterns, -1)
    ridge = 1e-9 * np.eye(terms)  # for draws that lost a pattern entirely

    def informed(beta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rates = expit(beta @ columns.T)
        weights = n * rates * (1 - rates)
        return rates, weights, (weights @ products).reshape(-1, terms, terms) + ridge

    def height(beta: np.ndarray, information: np.ndarray) -> np.ndarray:
        linear = beta @ columns.T
        value = (wrong * linear - n * np.logaddexp(0, linear)).sum(1)
        if firth:
            value = value + 0.5 * np.linalg.slogdet(information)[1]
        return value

    beta = np.tile(back @ start, (len(n), 1))
    rates, weights, information = informed(beta)
    reached = height(beta, information)
    for _ in range(STEPS):
        residual = wrong - n * rates
        if firth:
            solved = np.linalg.solve(
                information, np.broadcast_to(columns.T, (len(n), terms, patterns))
            )
            residual = residual + weights * np.einsum("pk,bkp->bp", columns, solved) * (0.5 - rates)
        step = np.linalg.solve(information, (residual @ columns)[:, :, None])[:, :, 0]
        step *= np.minimum(1.0, 3.0 / np.maximum(np.abs(step).max(1, keepdims=True), 1e-300))
        for _ in range(HALVINGS):  # shorten what overshoots
            tried = np.clip(beta + step, -LARGEST, LARGEST)
            rates, weights, information = informed(tried)
            now = height(tried, information)
            worse = now < reached - 1e-10 * (1 + np.abs(reached))
            if not worse.any():
                break
            step[worse] /= 2
        beta = tried
        reached = now
        if np.abs(step).max() < SETTLED:
            break
    return np.linalg.solve(back, beta.T).T


def separated(data: Grouped) -> list[str]:
    """List the terms without a finite maximum-likelihood estimate; empty if all are finite.

    Solves the linear programme: is there b with x·b ≥ 0 wherever an answer is wrong and x·b ≤ 0
    wherever one is right, not 0 everywhere? Then the likelihood rises for ever along b, and the
    terms that b touches are named.

    Source: Konis (2007), Linear programming algorithms for detecting separated data, Oxford,
    section 4.
    """
    pure, mixed = patterns_by_outcome(data)
    if len(pure) == 0:
        return []
    equal = {"A_eq": mixed, "b_eq": np.zeros(len(mixed))} if len(mixed) else {}
    solution = linprog(-pure.sum(0), A_ub=-pure, b_ub=np.zeros(len(pure)), bounds=(-1, 1), **equal)
    if not solution.success or -solution.fun < 1e-7:
        return []
    return [name for name, value in zip(data.names, solution.x, strict=True) if abs(value) > 1e-7]


def separated_completely(data: Grouped) -> bool:
    """Say whether the terms together tell every wrong answer from every right one.

    Solves the linear programme: how large can t be if x·b ≥ t wherever an answer is wrong and x·b ≤
    -t wherever one is right, no coefficient beyond ±1? If above 0, every rate is estimated as 0 or
    1, and nothing is known of any term.
    """
    pure, mixed = patterns_by_outcome(data)
    if len(mixed):
        return False
    gap = np.ones((len(pure), 1))
    goal = np.zeros(pure.shape[1] + 1)
    goal[-1] = -1
    bounds = [(-1, 1)] * pure.shape[1] + [(0, 1)]
    solution = linprog(goal, A_ub=np.hstack([-pure, gap]), b_ub=np.zeros(len(pure)), bounds=bounds)
    return bool(solution.success and -solution.fun > 1e-7)


def patterns_by_outcome(data: Grouped) -> tuple[np.ndarray, np.ndarray]:
    """Split the patterns that occur into those of one outcome and those of both.

    Returns:
        (Q, k) patterns in which all answers are wrong, or, times -1, all right; and (R, k) those
        that have both.
    """
    n, wrong = data.totals
    occurs = n > 0
    mixed = occurs & (wrong > 0) & (wrong < n)
    pure = occurs & ~mixed
    sign = np.where(wrong > 0, 1.0, -1.0)
    return (sign[:, None] * data.design)[pure], data.design[mixed]


def firth_jackknife(data: Grouped, beta: np.ndarray) -> np.ndarray:
    """Fit Firth's estimate without each cluster in turn, starting from that over all: (G, k)."""
    n, wrong = data.totals
    counts = data.by_cluster(data.n)
    errors = data.by_cluster(data.wrong)
    at_once = max(1, CHUNK // len(data.design))
    refits = []
    for start in range(0, data.clusters, at_once):
        left_out = slice(start, min(start + at_once, data.clusters))
        remaining = n - counts[left_out].toarray()
        remaining_wrong = wrong - errors[left_out].toarray()
        refits.append(fit_many(data.design, remaining, remaining_wrong, beta, firth=True))
    return np.concatenate(refits)


def jackknife_step(data: Grouped, beta: np.ndarray) -> np.ndarray:
    """Approximate `jackknife` by one Newton step from the estimate over all, leverages held.

    The step is b - (I - I_g)⁻¹ s_g, with I_g and s_g the cluster's information and its score in
    Firth's equations. Time and memory grow with the rows, not with their square; a direction that
    one cluster alone informs is left as it is (pseudo-inverse).

    Source: Pregibon (1981), Annals of Statistics 9, 705, for clusters in place of rows.
    """
    design = data.design
    n = data.totals[0]
    rates = expit(design @ beta)
    row_variance = rates * (1 - rates)
    information = design.T @ (design * (n * row_variance)[:, None])
    leverage = row_variance * np.einsum(
        "pk,pk->p", design @ np.linalg.pinv(information, hermitian=True), design
    )
    residual = data.wrong + data.n * (leverage * (0.5 - rates) - rates)[data.pattern]
    scores = data.by_cluster(residual) @ design
    weights = data.by_cluster(data.n * row_variance[data.pattern])
    of_cluster = np.stack([weights @ (design * column[:, None]) for column in design.T], axis=1)
    steps = np.linalg.pinv(information - of_cluster, hermitian=True) @ scores[:, :, None]
    return np.clip(beta - steps[:, :, 0], -30, 30)


def bootstrap(fitted: LogitFit, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Refit with clusters drawn anew.

    Returns:
        (draws, k) estimates and (draws, P) rows of each pattern in each draw.
    """
    data = fitted.data
    generator = np.random.default_rng(seed)
    chances = np.full(data.clusters, 1 / data.clusters)
    weights = generator.multinomial(data.clusters, chances, size=draws).astype(float)
    n = weights @ data.by_cluster(data.n)
    wrong = weights @ data.by_cluster(data.wrong)
    return fit_many(data.design, n, wrong, fitted.beta), n


def independent_columns(design: np.ndarray, weights: np.ndarray) -> list[int]:
    """List the columns that no earlier ones make up; the others cannot be estimated beside them."""
    scaled = design / np.maximum(np.sqrt((weights[:, None] * design**2).sum(0)), 1e-300)
    gram = scaled.T @ (scaled * weights[:, None])
    independent: list[int] = []
    for column in range(gram.shape[0]):
        unexplained = gram[column, column]
        if independent:
            cross = gram[independent, column]
            unexplained = unexplained - cross @ np.linalg.solve(
                gram[np.ix_(independent, independent)], cross
            )
        if unexplained > 1e-9:
            independent.append(column)
    return independent


def subset(data: Grouped, columns: Sequence[int]) -> Grouped:
    """Leave out all terms but some."""
    names = tuple(data.names[column] for column in columns)
    return Grouped(
        names, data.design[:, list(columns)], data.cluster, data.pattern, data.n, data.wrong
    )
