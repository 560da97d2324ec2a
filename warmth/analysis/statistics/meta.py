"""Several models: how far they differ, and what another model of their kind might show.

The mean over models with equal weights is the answer; how far the models differ is said beside it.
Models were asked the same questions, so their errors go together and Q, which takes them for
independent, rejects too seldom if anything.

Sources: DerSimonian and Laird (1986), Controlled Clinical Trials 7, 177; Paule and Mandel (1982),
J. Research NBS 87, 377; Higgins and Thompson (2002), Stat. Med. 21, 1539 (I²); Higgins, Thompson
and Spiegelhalter (2009), J. R. Stat. Soc. A 172, 137 (prediction).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RANDOM_FROM = 3  # models from which a random-effects interval is given
PREDICTION_FROM = 5  # models from which the next model's effect is predicted
LEVEL = 0.95


@dataclass(frozen=True)
class Heterogeneity:
    """How far models differ; effects are fractions.

    Intervals are None if there are too few models for them.
    """

    models: int
    lowest: float
    highest: float
    q: float  # Cochran's
    p: float  # of Q, that all models have one effect
    i2: float  # share of Q beyond chance, in [0, 1]
    tau: float  # standard deviation of the models' true effects
    random_effects: tuple[float, float] | None
    prediction: tuple[float, float] | None

    @property
    def shown(self) -> bool:
        """Say whether the models are shown to differ."""
        return self.p < 0.05


def heterogeneity(effects: Sequence[float], errors: Sequence[float]) -> Heterogeneity | None:
    """Compare the effects of models.

    τ² is Paule and Mandel's; the random-effects interval has t(k - 1), the prediction t(k - 2).

    Args:
        effects: of each model.
        errors: their standard errors.

    Returns:
        None for fewer than two models whose errors are known and above 0.
    """
    from statsmodels.stats.meta_analysis import combine_effects

    effect = np.asarray(effects, float)
    error = np.asarray(errors, float)
    known = np.isfinite(effect) & np.isfinite(error) & (error > 0)
    count = int(known.sum())
    if count < 2:
        return None
    with np.errstate(divide="ignore"):  # statsmodels' own I², which is not taken, divides by Q
        combined = combine_effects(
            effect[known], error[known] ** 2, method_re="iterated", use_t=True
        )
    q = float(combined.q)
    tau = math.sqrt(max(0.0, float(combined.tau2)))
    random_effects = None
    if count >= RANDOM_FROM:
        low, high = combined.conf_int(alpha=1 - LEVEL, use_t=True)[1]
        random_effects = (float(low), float(high))
    prediction = None
    if count >= PREDICTION_FROM:
        mean = float(combined.mean_effect_re)
        spread = math.sqrt(tau**2 + float(combined.var_eff_w_re))
        reach = float(stats.t.ppf((1 + LEVEL) / 2, count - 2)) * spread
        prediction = (mean - reach, mean + reach)
    return Heterogeneity(
        models=count,
        lowest=float(effect[known].min()),
        highest=float(effect[known].max()),
        q=q,
        p=float(stats.chi2.sf(q, count - 1)),
        i2=max(0.0, 1 - (count - 1) / q) if q > 0 else 0.0,
        tau=tau,
        random_effects=random_effects,
        prediction=prediction,
    )
