"""Covariances of a logistic regression with clustered rows: CR1, and CR2 for few clusters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from warmth.analysis.statistics.logit import LogitFit

FEW = 50  # clusters; below, CR2 stands beside CR1
ROUNDING = 1e-7  # an error below this, of log-odds or a fraction, is what computing left of none


@dataclass(frozen=True)
class Inference:
    """An estimate with its interval; `low`, `high` and `p` are NaN if there is no error."""

    value: float
    error: float
    df: float
    low: float
    high: float
    p: float  # two-sided, of the value being 0


def inference(
    value: float, error: float, df: float, level: float = 0.95, rounding: float = ROUNDING
) -> Inference:
    """Compute the interval value ± t(df)·error; normal if `df` is infinite.

    Rows that do not vary carry no information about their spread: an error below `rounding`, which
    is in the value's unit, is none, and there is no interval rather than one of width zero.

    Raises:
        ValueError: the level is no probability.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level} is not between 0 and 1")
    if not (math.isfinite(error) and error > rounding and df > 0):
        return Inference(value, math.nan, df, math.nan, math.nan, math.nan)
    reach = float(stats.t.ppf((1 + level) / 2, df)) * error
    p = float(2 * stats.t.sf(abs(value) / error, df))
    return Inference(value, error, df, value - reach, value + reach, p)


def cr1(fit: LogitFit) -> np.ndarray:
    """Give the (k, k) clustered covariance B (Σ_g s_g s_gᵀ) B · G/(G-1) · (n-1)/(n-k), with t(G-1).

    B is the inverse information and s_g the sum of scores of cluster g: statsmodels'
    `cov_type="cluster"` on rows, where n counts rows before they were summed.

    Raises:
        ValueError: one cluster has no spread to estimate.

    Source: Liang and Zeger (1986), Biometrika 73, 13; correction as in Cameron and Miller (2015),
    JHR 50, 317.
    """
    groups = fit.data.clusters
    rows = fit.data.rows
    terms = len(fit.beta)
    if groups < 2 or rows <= terms:
        raise ValueError(f"{groups} clusters and {rows} rows are too few for {terms} terms")
    return fit.sandwich * groups / (groups - 1) * (rows - 1) / (rows - terms)


@dataclass(frozen=True)
class Cr2:
    """What CR2 needs of each cluster, reduced to k × k.

    With Z_g the weighted design of cluster g, H_g = Z_g B Z_gᵀ its leverages and A = B^½:
    Z_gᵀ (I - H_g)^(-½) e = A⁻¹ (I - A Z_gᵀZ_g A)^(-½) A Z_gᵀ e, so no matrix is larger than the
    number of terms.
    """

    covariance: np.ndarray  # (k, k)
    bread: np.ndarray  # (k, k)
    squares: np.ndarray  # (G, k, k) Z_gᵀ (I - H_g)^(-1) Z_g
    halves: np.ndarray  # (G, k, k) Z_gᵀ (I - H_g)^(-½) Z_g

    def df(self, contrast: np.ndarray) -> float:
        """Compute Satterthwaite's degrees of freedom of a combination of coefficients.

        NaN if nothing varies. Source: Bell and McCaffrey (2002).
        """
        direction = self.bread @ contrast
        variances = np.einsum("i,gij,j->g", direction, self.squares, direction)
        reached = self.halves @ direction  # (G, k): Z_gᵀ q_g
        matrix = np.diag(variances) - reached @ self.bread @ reached.T
        total = float((matrix**2).sum())
        if total <= 0:
            return math.nan
        return float(np.trace(matrix)) ** 2 / total


def cr2(fit: LogitFit) -> Cr2:
    """Compute the bias-reduced clustered covariance CR2, for fewer than `FEW` clusters.

    Unbiased if the working model (independent rows) holds, whatever the number of clusters. A
    direction that only one cluster informs is left out of its adjustment (pseudo-inverse), as
    usual.

    Source: Bell and McCaffrey (2002), Survey Methodology 28, 169; Pustejovsky and Tipton (2018),
    JBES 36, 672.
    """
    data = fit.data
    terms = len(fit.beta)
    weights = data.by_cluster(data.n * (fit.rates * (1 - fit.rates))[data.pattern])
    products = (data.design[:, :, None] * data.design[:, None, :]).reshape(len(data.design), -1)
    values, vectors = np.linalg.eigh(fit.bread)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    back = np.linalg.pinv(root, hermitian=True)
    inner = root @ (weights @ products).reshape(-1, terms, terms) @ root
    spectrum, basis = np.linalg.eigh((inner + inner.transpose(0, 2, 1)) / 2)
    # the eigenvalues of I - H_g; 1/inf = 0 makes it a pseudo-inverse
    remaining = np.where(spectrum < 1 - 1e-8, 1 - spectrum, np.inf)

    def from_eigenvalues(diagonal: np.ndarray) -> np.ndarray:
        return back @ (basis * diagonal[:, None, :] @ basis.transpose(0, 2, 1)) @ back

    adjustment = from_eigenvalues(1 / np.sqrt(remaining))
    scores = np.einsum("gij,gj->gi", adjustment, fit.scores @ fit.bread)
    meat = scores.T @ scores
    return Cr2(
        covariance=fit.bread @ meat @ fit.bread,
        bread=fit.bread,
        squares=from_eigenvalues(spectrum / remaining),
        halves=from_eigenvalues(spectrum / np.sqrt(remaining)),
    )
