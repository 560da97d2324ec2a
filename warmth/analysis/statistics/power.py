"""Questions needed to show an effect: by formula, and by simulating the report's own test.

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
# a concentration below which a question's rows are drawn as copies: gamma variates would all be 0
COPIES = 0.02


@dataclass(frozen=True)
class PowerDesign:
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
        """Check that such a study can be.

        Raises:
            UserError: a number is out of its range, or more differ on balance than differ at all.
        """
        effect = 100 * self.effect
        discordant = 100 * self.discordant
        check_range("effect", effect, 0 < abs(self.effect) < 1, "points within ±100, not 0")
        check_range("discordant", discordant, 0 < discordant <= 100, "above 0 and up to 100 %")
        check_range("rows", self.rows, self.rows >= 1, "1 or more")
        check_range("correlation", self.correlation, 0 <= self.correlation <= 1, "0 to 1")
        check_range("alpha", self.alpha, 0 < self.alpha < 1, "between 0 and 1")
        if abs(self.effect) > self.discordant:
            raise UserError(
                f"an effect of {effect:g} points needs at least "
                f"as many discordant pairs, not {discordant:g} %"
            )

    @property
    def variance(self) -> float:
        """Compute that of a question's mean difference: (ψ - δ²)·(1 + (m - 1)·ρ)/m.

        ψ is the discordant share, δ the effect, m the rows and ρ their correlation.
        """
        of_one_row = self.discordant - self.effect**2
        return of_one_row * (1 + (self.rows - 1) * self.correlation) / self.rows


def check_range(name: str, value: float, is_inside: bool, allowed: str) -> None:
    """Check one number of a study.

    Raises:
        UserError: it is not inside what is allowed.
    """
    if not is_inside:
        raise UserError(f"{name}={value:g} is out of range; allowed: {allowed}")


def power_of_test(plan: PowerDesign, questions: int) -> float:
    """Compute the power of the clustered t test: F(|δ|·√(G/V) - t), a share in (0, 1).

    t and F are of t(G-1), as in the test itself. Means of few questions are skewed if nearly all
    discordant pairs point one way; then `simulate` says less.

    Source: Miettinen (1968), Biometrics 24, 339, with the variance under the alternative; design
    effect by Kish.
    """
    spread = math.sqrt(plan.variance / questions)
    if spread == 0:
        return 1.0
    reach = stats.t.ppf(1 - plan.alpha / 2, questions - 1)
    return float(stats.t.cdf(abs(plan.effect) / spread - reach, questions - 1))


def questions_needed(plan: PowerDesign, wanted: float = 0.8) -> int:
    """Find the fewest questions with the wanted power: (t_{1-α/2} + t_power)² · V / δ² on t(G-1).

    The search starts from the same with normal quantiles, which is never more.

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
    while power_of_test(plan, needed) < wanted:
        needed += 1
    return needed


def smallest_effect(questions: int, discordant: float, wanted: float = 0.8, **shape: Any) -> float:
    """Find the smallest difference, a fraction, that so many questions show, by bisection.

    Raises:
        UserError: not even all discordant pairs in one direction would show it.
    """
    low = 1e-6
    high = discordant
    if power_of_test(PowerDesign(high, discordant, **shape), questions) < wanted:
        raise UserError(
            f"{questions} questions with {100 * discordant:g} "
            "% discordant pairs show no effect with this power"
        )
    for _ in range(60):
        middle = (low + high) / 2
        if power_of_test(PowerDesign(middle, discordant, **shape), questions) >= wanted:
            high = middle
        else:
            low = middle
    return high


def simulate(
    plan: PowerDesign,
    questions: int,
    draws: int = DRAWS,
    seed: int = 0,
    effect: float | None = None,
) -> float:
    """Compute the share of simulated studies in which the clustered test rejects at alpha.

    Each question has its own chances of being wrong in the arm alone, in the original alone, or in
    neither or both, from a Dirichlet distribution with mean ((ψ+δ)/2, (ψ-δ)/2, 1-ψ) and
    concentration 1/ρ - 1, which gives the rows of a question the correlation ρ.

    Args:
        plan: the study.
        questions: how many.
        draws: simulated studies; the standard error of the result is at most 0.5/√draws.
        seed: of the simulation.
        effect: the true difference if it is not the plan's; 0 gives the size of the test.
    """
    if questions < 2:
        return 0.0
    differences = draw_differences(plan, questions, draws, np.random.default_rng(seed), effect)
    means = differences.mean(1)
    error = differences.std(1, ddof=1) / math.sqrt(questions)
    reach = float(stats.t.ppf(1 - plan.alpha / 2, questions - 1))
    return float(np.mean((error > 1e-12) & (np.abs(means) > reach * error)))


def draw_differences(
    plan: PowerDesign,
    questions: int,
    draws: int,
    generator: np.random.Generator,
    effect: float | None = None,
) -> np.ndarray:
    """Draw the mean difference of each question, in [-1, 1]: (draws, questions); see `simulate`."""
    shift = plan.effect if effect is None else effect
    chances = np.array(
        [(plan.discordant + shift) / 2, (plan.discordant - shift) / 2, 1 - plan.discordant]
    )
    shape = (draws, questions)
    concentration = 1 / plan.correlation - 1 if plan.correlation > 0 else math.inf
    if plan.rows == 1 or math.isinf(concentration):
        shares = np.broadcast_to(chances, (*shape, 3))
    elif concentration < COPIES:
        shares = generator.multinomial(1, chances, size=shape).astype(float)
    else:
        gammas = generator.gamma(np.maximum(chances * concentration, 1e-12), size=(*shape, 3))
        shares = gammas / np.maximum(gammas.sum(-1, keepdims=True), 1e-300)
    arm_only = generator.binomial(plan.rows, np.clip(shares[..., 0], 0, 1))
    among_others = np.clip(shares[..., 1] / np.maximum(1 - shares[..., 0], 1e-12), 0, 1)
    original_only = generator.binomial(plan.rows - arm_only, among_others)
    return (arm_only - original_only) / plan.rows


def power_summary(
    plan: PowerDesign,
    questions: int | None,
    wanted: float,
    simulated: bool,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute what `warmth power --json` prints.

    Args:
        plan: the study.
        questions: how many, for their power; None: as many as are needed.
        wanted: the power, a share.
        simulated: simulate it too.
        draws: simulated studies.
        seed: of the simulation.

    Raises:
        UserError: fewer than two questions.
    """
    if questions is not None and questions < 2:
        raise UserError(f"questions={questions} is too few; at least 2 are needed")
    needed = questions_needed(plan, wanted)
    count = questions or needed
    body: dict[str, Any] = {
        **asdict(plan),
        "wanted_power": wanted,
        "questions_needed": needed,
        "questions": count,
        "paired_rows": count * plan.rows,
        "power": power_of_test(plan, count),
    }
    if simulated:
        share = simulate(plan, count, draws, seed)
        body["power_simulated"] = share
        body["simulation_error"] = math.sqrt(share * (1 - share) / draws)
        body["size_simulated"] = simulate(plan, count, draws, seed, effect=0.0)
        body["draws"] = draws
    return body


def power_sentences(body: dict[str, Any]) -> list[str]:
    """Write what `warmth power` says, from `summary`."""
    shape = f"{100 * body['discordant']:g} % discordant pairs"
    if body["rows"] > 1:
        rows = f"{body['rows']} rows of each question"
        shape += f", {rows} that correlate by {body['correlation']:g}"
    needed = body["questions_needed"]
    lines = [
        f"To show {100 * abs(body['effect']):g} points ({shape}) with power "
        f"{body['wanted_power']:g} at alpha {body['alpha']:g}: {needed:,} questions, "
        f"{needed * body['rows']:,} pairs.",
        f"{body['questions']:,} questions have power {body['power']:.2f}.",
    ]
    if "power_simulated" in body:
        lines.append(
            f"Simulated, {body['draws']:,} studies: power {body['power_simulated']:.3f} "
            f"(standard error {body['simulation_error']:.3f}); without an effect "
            f"{100 * body['size_simulated']:.1f} % are called one."
        )
    return lines
