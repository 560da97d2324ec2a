"""Logistic regression on rows that recur: grouped, clustered, and honest where the data separate.

Rows with equal covariates are summed before anything is computed: a logistic regression needs no more than how many
rows of a pattern there are and how many of them are wrong, in each cluster. 440,000 rows become some hundred patterns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.optimize import linprog
from scipy.special import expit

STEPS = 60
SUSPECT = 14.0  # a linear predictor beyond this means rates below 1e-6: perhaps no finite estimate exists
CHUNK = 2_000_000  # numbers held at once when many fits run together
REFITS = 5_000_000  # clusters × patterns × terms above which leaving out each cluster by a refit would take long


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
        """G."""
        return int(self.cluster.max()) + 1

    @property
    def rows(self) -> int:
        """Rows before summing."""
        return int(self.n.sum())

    @property
    def large(self) -> bool:
        """Whether a cluster is left out by one Newton step, rather than by a refit."""
        return self.clusters * self.design.size > REFITS

    @cached_property
    def totals(self) -> tuple[np.ndarray, np.ndarray]:
        """(P,) rows and (P,) wrong of each pattern over all clusters."""
        size = len(self.design)
        return np.bincount(self.pattern, self.n, size), np.bincount(self.pattern, self.wrong, size)

    def by_cluster(self, values: np.ndarray) -> sparse.csr_array:
        """(M,) values as a sparse (G, P) matrix."""
        shape = (self.clusters, len(self.design))
        return sparse.csr_array((values.astype(float), (self.cluster, self.pattern)), shape=shape)


@dataclass(frozen=True)
class Fit:
    """A fitted logistic regression.

    Attributes:
        data: what was fitted.
        beta: (k,) log-odds.
        rates: (P,) fitted probability of each pattern.
        bread: (k, k) inverse information, which is the covariance that takes rows for independent.
        converged: whether the scores vanish at `beta`.
    """

    data: Grouped
    beta: np.ndarray
    rates: np.ndarray
    bread: np.ndarray
    converged: bool

    @property
    def suspect(self) -> bool:
        """Whether the maximum may lie at infinity; `separated` then decides."""
        return not self.converged or bool(np.abs(self.data.design @ self.beta).max() > SUSPECT)

    @cached_property
    def scores(self) -> np.ndarray:
        """(G, k) sum of x·(y - p) over each cluster's rows."""
        data = self.data
        return data.by_cluster(data.wrong - data.n * self.rates[data.pattern]) @ data.design


def fit(data: Grouped) -> Fit:
    """Maximum likelihood by Newton's method, which for the logit link is iteratively reweighted least squares.

    The same estimate as statsmodels' GLM(Binomial). Where the data separate it stops after `STEPS` and says so.
    """
    design, (n, wrong) = data.design, data.totals
    beta = np.zeros(design.shape[1])
    for _ in range(STEPS):
        rates = expit(design @ beta)
        information = design.T @ (design * (n * rates * (1 - rates))[:, None])
        score = design.T @ (wrong - n * rates)
        step = _solve(information, score)
        if float(score @ step) < 1e-20 * data.rows:
            break
        beta = beta + step * min(1.0, 5.0 / max(np.abs(step).max(), 1e-300))
    rates = expit(design @ beta)
    information = design.T @ (design * (n * rates * (1 - rates))[:, None])
    bread = np.linalg.pinv(information, hermitian=True)
    converged = bool(np.abs(design.T @ (wrong - n * rates)).max() < 1e-6 * max(1.0, math.sqrt(data.rows)))
    return Fit(data, beta, rates, (bread + bread.T) / 2, converged)


def fit_many(
    design: np.ndarray, n: np.ndarray, wrong: np.ndarray, start: np.ndarray, firth: bool = False
) -> np.ndarray:
    """Logistic regressions that share a design and differ in their counts, all at once.

    Firth's estimate maximises the likelihood times √det(information); its score is Σ x·(y - n·p + h·(1/2 - p)) with the
    leverages h, and it is finite whatever the data.

    Args:
        design: (P, k).
        n: (B, P) rows of each pattern in each data set; may be 0.
        wrong: (B, P) of these, wrong.
        start: (k,) where Newton's method starts.
        firth: penalise as above.

    Returns:
        (B, k) log-odds.

    Source: Firth (1993), Biometrika 80, 27; Heinze and Schemper (2002), Statistics in Medicine 21, 2409.
    """
    patterns, terms = design.shape
    size = max(1, CHUNK // (patterns * (terms if firth else 1)))
    parts = [_newton(design, n[at : at + size], wrong[at : at + size], start, firth) for at in range(0, len(n), size)]
    return np.concatenate(parts)


def _newton(design: np.ndarray, n: np.ndarray, wrong: np.ndarray, start: np.ndarray, firth: bool) -> np.ndarray:
    patterns, terms = design.shape
    products = (design[:, :, None] * design[:, None, :]).reshape(patterns, -1)

    def informed(beta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rates = expit(beta @ design.T)
        weights = n * rates * (1 - rates)
        ridge = 1e-9 * np.eye(terms)  # for draws that lost a pattern entirely
        return rates, weights, (weights @ products).reshape(-1, terms, terms) + ridge

    def height(beta: np.ndarray, information: np.ndarray) -> np.ndarray:
        linear = beta @ design.T
        value = (wrong * linear - n * np.logaddexp(0, linear)).sum(1)
        return value + 0.5 * np.linalg.slogdet(information)[1] if firth else value

    beta = np.tile(start, (len(n), 1))
    rates, weights, information = informed(beta)
    reached = height(beta, information)
    for _ in range(STEPS):
        residual = wrong - n * rates
        if firth:
            solved = np.linalg.solve(information, np.broadcast_to(design.T, (len(n), terms, patterns)))
            residual = residual + weights * np.einsum("pk,bkp->bp", design, solved) * (0.5 - rates)
        step = np.linalg.solve(information, (residual @ design)[:, :, None])[:, :, 0]
        step *= np.minimum(1.0, 3.0 / np.maximum(np.abs(step).max(1, keepdims=True), 1e-300))
        for _ in range(12):  # halve what overshoots
            tried = np.clip(beta + step, -30, 30)
            rates, weights, information = informed(tried)
            now = height(tried, information)
            worse = now < reached - 1e-10 * (1 + np.abs(reached))
            if not worse.any():
                break
            step[worse] /= 2
        beta, reached = tried, now
        if np.abs(step).max() < 1e-9:
            break
    return beta


def separated(data: Grouped) -> list[str]:
    """Terms without a finite maximum-likelihood estimate; empty where all are finite.

    Solves the linear programme: is there b with x·b ≥ 0 wherever an answer is wrong and x·b ≤ 0 wherever one is right,
    not 0 everywhere? Then the likelihood rises for ever along b, and the terms that b touches are named.

    Source: Konis (2007), Linear programming algorithms for detecting separated data, Oxford, section 4.
    """
    n, wrong = data.totals
    seen = n > 0
    design, n, wrong = data.design[seen], n[seen], wrong[seen]
    mixed = (wrong > 0) & (wrong < n)
    sign = np.where(wrong > 0, 1.0, -1.0)[~mixed]
    pure = sign[:, None] * design[~mixed]
    if len(pure) == 0:
        return []
    equal = {"A_eq": design[mixed], "b_eq": np.zeros(int(mixed.sum()))} if mixed.any() else {}
    found = linprog(-pure.sum(0), A_ub=-pure, b_ub=np.zeros(len(pure)), bounds=(-1, 1), **equal)
    if not found.success or -found.fun < 1e-7:
        return []
    return [name for name, value in zip(data.names, found.x, strict=True) if abs(value) > 1e-7]


def jackknife(data: Grouped, beta: np.ndarray) -> np.ndarray:
    """(G, k) Firth's estimate without each cluster in turn, started from the estimate over all."""
    n, wrong = data.totals
    rows = max(1, CHUNK // len(data.design))
    size, without = data.clusters, []
    counts, errors = data.by_cluster(data.n), data.by_cluster(data.wrong)
    for at in range(0, size, rows):
        part = slice(at, min(at + rows, size))
        without.append(fit_many(data.design, n - counts[part].toarray(), wrong - errors[part].toarray(), beta, True))
    return np.concatenate(without)


def jackknife_step(data: Grouped, beta: np.ndarray) -> np.ndarray:
    """(G, k) `jackknife` by one Newton step from the estimate over all: b - (I - I_g)⁻¹ s_g, leverages held.

    I_g and s_g are the cluster's information and its score in Firth's equations. Time and memory grow with the rows,
    not with their square; a direction that one cluster alone informs is left as it is (pseudo-inverse).

    Source: Pregibon (1981), Annals of Statistics 9, 705, for clusters in place of rows.
    """
    design, n = data.design, data.totals[0]
    rates = expit(design @ beta)
    each = rates * (1 - rates)  # of one row
    information = design.T @ (design * (n * each)[:, None])
    leverage = each * np.einsum("pk,pk->p", design @ np.linalg.pinv(information, hermitian=True), design)
    residual = data.wrong + data.n * (leverage * (0.5 - rates) - rates)[data.pattern]
    scores = data.by_cluster(residual) @ design
    weights = data.by_cluster(data.n * each[data.pattern])
    own = np.stack([weights @ (design * column[:, None]) for column in design.T], axis=1)
    steps = np.linalg.pinv(information - own, hermitian=True) @ scores[:, :, None]
    return np.clip(beta - steps[:, :, 0], -30, 30)


def bootstrap(fitted: Fit, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Refits with clusters drawn anew.

    Returns:
        (draws, k) estimates and (draws, P) rows of each pattern in each draw.
    """
    data, generator = fitted.data, np.random.default_rng(seed)
    weights = generator.multinomial(data.clusters, np.full(data.clusters, 1 / data.clusters), size=draws).astype(float)
    n, wrong = (weights @ data.by_cluster(values) for values in (data.n, data.wrong))
    return fit_many(data.design, n, wrong, fitted.beta), n


def independent_columns(design: np.ndarray, weights: np.ndarray) -> list[int]:
    """Columns that no earlier ones make up; the others cannot be estimated beside them."""
    scaled = design / np.maximum(np.sqrt((weights[:, None] * design**2).sum(0)), 1e-300)
    gram = scaled.T @ (scaled * weights[:, None])
    kept: list[int] = []
    for column in range(gram.shape[0]):
        rest = gram[column, column]
        if kept:
            cross = gram[kept, column]
            rest = rest - cross @ np.linalg.solve(gram[np.ix_(kept, kept)], cross)
        if rest > 1e-9:
            kept.append(column)
    return kept


def _solve(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.solve(matrix, vector)
    except np.linalg.LinAlgError:
        return np.linalg.lstsq(matrix, vector)[0]


def subset(data: Grouped, columns: Sequence[int]) -> Grouped:
    """The same rows with some of the terms."""
    keep = list(columns)
    names = tuple(data.names[column] for column in keep)
    return Grouped(names, data.design[:, keep], data.cluster, data.pattern, data.n, data.wrong)
