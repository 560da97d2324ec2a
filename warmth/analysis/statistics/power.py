"""How many questions show an effect: by formula, and by simulating the very test that the report
makes.

What decides it is the discordant share: on how many prompts arm and original differ in being right.
Questions that recur under several conditions, seeds or samples bring less than their rows, by the
correlation of those rows.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from warmth.errors import UserError

DRAWS = 2000
MOST = 1_000_000
# a concentration below which a question's rows are drawn as copies: its gamma variates would all be
# 0
COPIES = 0.02


@dataclass(frozen=True)
class Plan:
    """A study to be: effect and discordance are fractions, `rows` the paired rows of one question.

    Attributes:
        effect: difference in error rate to be shown.
        discordant: share of paired rows in which exactly one of the two answers is wrong.
        rows: paired rows of one question (contexts × beliefs × seeds × samples).
        correlation: of two rows' differences within a question; 0 makes them independent, 1 copies.
        alpha: two-sided size of the test.
    """

    effect: float
    discordant: float
    rows: int = 1
    correlation: float = 0.0
    alpha: float = 0.05

    def __post_init__(self):
        """Checks that such a study can be.

        Raises:
            UserError: a number is out of its range, or more differ on balance than differ at all.
        """
        asked = {
            "effect": (100 * self.effect, 0 < abs(self.effect) < 1, "points within ±100, not 0"),
            "discordant": (
                100 * self.discordant,
                0 < self.discordant <= 1,
                "above 0 and up to 100 %",
            ),
            "rows": (self.rows, self.rows >= 1, "1 or more"),
            "correlation": (self.correlation, 0 <= self.correlation <= 1, "0 to 1"),
            "alpha": (self.alpha, 0 < self.alpha < 1, "between 0 and 1"),
        }
        for name, (value, fine, allowed) in asked.items():
            if not fine:
                raise UserError(f"{name}={value:g} is out of range; allowed: {allowed}")
        if abs(self.effect) > self.discordant:
            raise UserError(
                f"an effect of {100 * self.effect:g} points needs at least as many discordant "
                f"pairs, "
                f"not {100 * self.discordant:g} %"
            )

    @property
    def variance(self) -> float:
        """Of one question's mean difference: (ψ - δ²)·(1 + (m - 1)·ρ)/m, ψ discordant share, δ
        effect, m rows.
        """
        return (
            (self.discordant - self.effect**2)
            * (1 + (self.rows - 1) * self.correlation)
            / self.rows
        )


def power(plan: Plan, questions: int) -> float:
    """Power of the clustered t test: F(|δ|·√(G/V) - t), as a share in (0, 1), t and F of t(G-1) as
    in the test itself.

    Means of few questions are skewed where nearly all discordant pairs point one way; then
    `simulate` says less.

    Source: Miettinen (1968), Biometrics 24, 339, with the variance under the alternative; design
    effect by Kish.
    """
    spread = math.sqrt(plan.variance / questions)
    if spread == 0:
        return 1.0
    reach = stats.t.ppf(1 - plan.alpha / 2, questions - 1)
    return float(stats.t.cdf(abs(plan.effect) / spread - reach, questions - 1))


def questions_needed(plan: Plan, wanted: float = 0.8) -> int:
    """The smallest number of questions with the wanted power: (t_{1-α/2} + t_power)² · V / δ² on
    t(G-1), rounded up.

    Starts from the same with normal quantiles, which is never more.

    Raises:
        UserError: the wanted power is no probability, or a million questions would not do.
    """
    if not 0 < wanted < 1:
        raise UserError(f"power={wanted:g} is not between 0 and 1")
    reach = float(stats.norm.ppf(1 - plan.alpha / 2) + stats.norm.ppf(wanted))
    needed = math.ceil(reach**2 * plan.variance / plan.effect**2)
    if needed > MOST:
        raise UserError(
            f"{needed:,} questions would be needed; the effect is too small to plan for"
        )
    needed = max(needed, 2)
    while power(plan, needed) < wanted:
        needed += 1
    return needed


def smallest_effect(questions: int, discordant: float, wanted: float = 0.8, **shape: Any) -> float:
    """The smallest difference, a fraction, that so many questions show with the wanted power; by
    bisection.

    Raises:
        UserError: not even all discordant pairs in one direction would show it.
    """
    low, high = 1e-6, discordant
    if power(Plan(high, discordant, **shape), questions) < wanted:
        raise UserError(
            f"{questions} questions with {100 * discordant:g} % discordant pairs show no effect "
            f"with this power"
        )
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (low, middle)
            if power(Plan(middle, discordant, **shape), questions) >= wanted
            else (middle, high)
        )
    return high


def simulate(
    plan: Plan, questions: int, draws: int = DRAWS, seed: int = 0, effect: float | None = None
) -> float:
    """Share of simulated studies in which the clustered test (CR1, t(G-1)) rejects at alpha.

    Each question has its own chances of being wrong in the arm alone, in the original alone, or in
    neither or both, from a Dirichlet distribution with mean ((ψ+δ)/2, (ψ-δ)/2, 1-ψ) and
    concentration 1/ρ - 1, which gives the rows of a question the correlation ρ.

    Args:
        plan: the study.
        questions: how many.
        draws: simulated studies; the standard error of the result is at most 0.5/√draws.
        seed: of the simulation.
        effect: the true difference where it is not the plan's; 0 gives the size of the test.
    """
    differences = draw_differences(plan, questions, draws, np.random.default_rng(seed), effect)
    means = differences.mean(1)
    error = differences.std(1, ddof=1) / math.sqrt(questions)
    reach = float(stats.t.ppf(1 - plan.alpha / 2, questions - 1))
    return (
        float(np.mean((error > 1e-12) & (np.abs(means) > reach * error))) if questions > 1 else 0.0
    )


def draw_differences(
    plan: Plan,
    questions: int,
    draws: int,
    generator: np.random.Generator,
    effect: float | None = None,
) -> np.ndarray:
    """(draws, questions) mean differences of each question, in [-1, 1]; see `simulate`."""
    shift = plan.effect if effect is None else effect
    chances = np.array(
        [(plan.discordant + shift) / 2, (plan.discordant - shift) / 2, 1 - plan.discordant]
    )
    shape = (draws, questions)
    if plan.rows > 1 and plan.correlation > 0:
        concentration = 1 / plan.correlation - 1
        if concentration < COPIES:
            own = generator.multinomial(1, chances, size=shape).astype(float)
        else:
            gammas = generator.gamma(np.maximum(chances * concentration, 1e-12), size=(*shape, 3))
            own = gammas / np.maximum(gammas.sum(-1, keepdims=True), 1e-300)
    else:
        own = np.broadcast_to(chances, (*shape, 3))
    arm = generator.binomial(plan.rows, np.clip(own[..., 0], 0, 1))
    rest = np.clip(own[..., 1] / np.maximum(1 - own[..., 0], 1e-12), 0, 1)
    return (arm - generator.binomial(plan.rows - arm, rest)) / plan.rows


def summary(
    plan: Plan,
    questions: int | None,
    wanted: float,
    simulated: bool,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """What `warmth power --json` prints: questions needed, or the power of a given number, and a
    simulation beside it.

    Raises:
        UserError: fewer than two questions.
    """
    if questions is not None and questions < 2:
        raise UserError(f"questions={questions} is too few; at least 2 are needed")
    count = questions or questions_needed(plan, wanted)
    body: dict[str, Any] = {
        **asdict(plan),
        "wanted_power": wanted,
        "questions_needed": questions_needed(plan, wanted),
    }
    body |= {"questions": count, "paired_rows": count * plan.rows, "power": power(plan, count)}
    if simulated:
        found = simulate(plan, count, draws, seed)
        body |= {
            "power_simulated": found,
            "simulation_error": math.sqrt(found * (1 - found) / draws),
        }
        body |= {"size_simulated": simulate(plan, count, draws, seed, effect=0.0), "draws": draws}
    return body


def sentences(found: dict[str, Any]) -> list[str]:
    """What `warmth power` says, from `summary`."""
    shape = f"{100 * found['discordant']:g} % discordant pairs"
    if found["rows"] > 1:
        shape += (
            f", {found['rows']} rows of each question that correlate by {found['correlation']:g}"
        )
    lines = [
        f"To show {100 * abs(found['effect']):g} points ({shape}) with power "
        f"{found['wanted_power']:g} at alpha "
        f"{found['alpha']:g}: {found['questions_needed']:,} questions, "
        f"{found['questions_needed'] * found['rows']:,} pairs.",
        f"{found['questions']:,} questions have power {found['power']:.2f}.",
    ]
    if "power_simulated" in found:
        lines.append(
            f"Simulated, {found['draws']:,} studies: power {found['power_simulated']:.3f} "
            f"(standard error "
            f"{found['simulation_error']:.3f}); without an effect "
            f"{100 * found['size_simulated']:.1f} % are called one."
        )
    return lines
