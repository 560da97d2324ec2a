"""What an analysis decides beside the data: the margin that matters, and the plan it was promised
to follow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from warmth.analysis.statistics import estimand
from warmth.analysis.statistics.estimand import EQUAL, Weights
from warmth.analysis.statistics.families import MARGIN_POINTS
from warmth.analysis.statistics.preregistration import Plan
from warmth.analysis.statistics.standing import Standing, given_plan, plan_of_runs
from warmth.errors import UserError

if TYPE_CHECKING:
    from warmth.analysis.rows.runs import FinishedRun


@dataclass(frozen=True)
class Settings:
    """`analysis.margin_points`, and the frozen plan with its digest where there is one."""

    margin_points: float = MARGIN_POINTS
    weights: Weights = EQUAL  # `analysis.weights`, `analysis.model_weights`
    plan: Plan | None = None
    standing: Standing | None = (
        None  # of the plan: its seal, and whether it is older than every answer
    )
    checks: bool = False  # regressions also by bootstrap and by estimating equations

    @property
    def preregistered(self) -> bool:
        """Whether the margin was fixed before the answers."""
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
    """Settings as given, else as the runs' configs and plans have them.

    Raises:
        UserError: the margin is not finite and above 0; runs differ in it, or in how tasks or
            models weigh, and none is given; a model has no weight where others have; runs follow
            different plans; the plan was not frozen; a frozen file was edited, emptied or is
            missing.
    """
    if margin_points is not None and not 0 < margin_points < math.inf:
        raise UserError(f"--margin-points={margin_points:g} must be above 0")
    planned = given_plan(preregister, runs) if preregister else plan_of_runs(runs)
    plan, standing = planned if planned else (None, None)
    margin = _margin(runs) if margin_points is None else margin_points
    tasks = _weights(runs) if weights is None else estimand.checked(weights, "--weights")
    models = _model_weights(runs, model_weights)
    return Settings(margin, Weights(tasks, models), plan, standing, checks)


def _margin(runs: Sequence[FinishedRun]) -> float:
    stated = {
        float((run.config.get("analysis") or {}).get("margin_points", MARGIN_POINTS))
        for run in runs
    }
    if len(stated) > 1:
        values = ", ".join(f"{value:g}" for value in sorted(stated))
        raise UserError(
            f"the runs differ in analysis.margin_points ({values}); choose one with --margin-points"
        )
    return stated.pop() if stated else MARGIN_POINTS


def _weights(runs: Sequence[FinishedRun]) -> str:
    """Read how tasks weigh from the configs."""
    stated = {
        str((run.config.get("analysis") or {}).get("weights", estimand.TASKS)) for run in runs
    }
    if len(stated) > 1:
        raise UserError(
            f"the runs differ in analysis.weights ({', '.join(sorted(stated))}); choose one with "
            f"--weights"
        )
    return estimand.checked(stated.pop()) if stated else estimand.TASKS


def _model_weights(
    runs: Sequence[FinishedRun], given: Mapping[str, float] | None
) -> tuple[tuple[str, float], ...]:
    """Take how models weigh from the command, else from the configs."""
    names = {run.model for run in runs}
    if given is not None:
        return estimand.checked_models(given, names, "--model-weights")
    stated = [dict((run.config.get("analysis") or {}).get("model_weights") or {}) for run in runs]
    if any(weights != stated[0] for weights in stated):
        raise UserError(
            "the runs differ in analysis.model_weights; choose one with --model-weights"
        )
    return estimand.checked_models(stated[0], names, "analysis.model_weights") if stated else ()
