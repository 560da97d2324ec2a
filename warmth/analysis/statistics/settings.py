"""Settings of an analysis: the margin that matters, weights, and the plan it was to follow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmth.analysis.statistics import estimand
from warmth.analysis.statistics.estimand import EQUAL, Weights
from warmth.analysis.statistics.families import MARGIN_POINTS
from warmth.analysis.statistics.preregistration import Preregistration
from warmth.analysis.statistics.standing import Standing, given_plan, plan_of_runs
from warmth.errors import UserError

if TYPE_CHECKING:
    from warmth.analysis.rows.runs import FinishedRun


@dataclass(frozen=True)
class Settings:
    """`analysis.margin_points`, and the frozen plan with its digest where there is one."""

    margin_points: float = MARGIN_POINTS
    weights: Weights = EQUAL  # `analysis.weights`, `analysis.model_weights`
    plan: Preregistration | None = None
    standing: Standing | None = None  # of the plan: is it older than every answer?
    checks: bool = False  # regressions also by bootstrap and by estimating equations

    @property
    def preregistered(self) -> bool:
        """Tell whether the margin was fixed before the answers."""
        if self.plan is None or self.standing is None or not self.standing.confirmatory:
            return False
        return self.plan.margin_points == self.margin_points

    @property
    def seal(self) -> str:
        """Return the digest of the plan; "" without one."""
        return self.standing.seal.digest if self.standing else ""


def of_runs(
    runs: Sequence[FinishedRun],
    margin_points: float | None = None,
    preregister: Path | None = None,
    checks: bool = False,
    weights: str | None = None,
    model_weights: Mapping[str, float] | None = None,
) -> Settings:
    """Take settings as given, else as the runs' configs and plans have them.

    Raises:
        UserError: the margin is not finite and above 0; runs differ in it, or in how tasks or
            models weigh, and none is given; a model has no weight where others have; runs follow
            different plans; the plan was not frozen; a frozen file was edited, emptied or is
            missing.
    """
    if margin_points is not None and not 0 < margin_points < math.inf:
        raise UserError(f"--margin-points={margin_points:g} must be above 0")
    planned = given_plan(preregister, runs) if preregister else plan_of_runs(runs)
    plan, standing = planned or (None, None)
    if margin_points is None:
        margin_points = _margin(runs)
    tasks = _weights(runs) if weights is None else estimand.checked_weighting(weights, "--weights")
    models = _model_weights(runs, model_weights)
    return Settings(
        margin_points=margin_points,
        weights=Weights(tasks, models),
        plan=plan,
        standing=standing,
        checks=checks,
    )


def _stated(runs: Sequence[FinishedRun], key: str, default: Any) -> list[Any]:
    """Read a key of `analysis` from every run's config."""
    return [(run.config.get("analysis") or {}).get(key, default) for run in runs]


def _margin(runs: Sequence[FinishedRun]) -> float:
    """Read the margin, in points, from the configs."""
    stated = set(map(float, _stated(runs, "margin_points", MARGIN_POINTS)))
    if len(stated) > 1:
        values = ", ".join(f"{value:g}" for value in sorted(stated))
        raise UserError(
            f"the runs differ in analysis.margin_points ({values}); choose one with --margin-points"
        )
    return stated.pop() if stated else MARGIN_POINTS


def _weights(runs: Sequence[FinishedRun]) -> str:
    """Read how tasks weigh from the configs."""
    stated = set(map(str, _stated(runs, "weights", estimand.TASKS)))
    if len(stated) > 1:
        raise UserError(
            "the runs differ in analysis.weights "
            f"({', '.join(sorted(stated))}); choose one with --weights"
        )
    return estimand.checked_weighting(stated.pop()) if stated else estimand.TASKS


def _model_weights(
    runs: Sequence[FinishedRun], given: Mapping[str, float] | None
) -> tuple[tuple[str, float], ...]:
    """Take how models weigh from the command, else from the configs."""
    names = {run.model for run in runs}
    if given is not None:
        return estimand.checked_models(given, names, "--model-weights")
    stated = [dict(weights or {}) for weights in _stated(runs, "model_weights", None)]
    if any(weights != stated[0] for weights in stated):
        raise UserError(
            "the runs differ in analysis.model_weights; choose one with --model-weights"
        )
    if not stated:
        return ()
    return estimand.checked_models(stated[0], names, "analysis.model_weights")
