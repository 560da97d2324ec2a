"""Simulated studies whose truth is known: how often each interval covers it, and how often a test
cries wolf.

`python tests/truth.py` runs all and writes the table into docs/statistics.md; tests/test_truth.py
asserts the limits. Every seed comes from SEED and a study's own name, was fixed before the first
run and is not changed after.
"""

from __future__ import annotations

import math
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit

from warmth import sequential
from warmth.analysis.rows import labels
from warmth.analysis.statistics import (
    agreement,
    answer,
    bounds,
    covariance,
    dose,
    effects,
    estimand,
    families,
    label_correction,
    logit,
    meta,
    power,
    rare,
    regression_models,
)
from warmth.analysis.study import comparison
from warmth.verdicts import Rule

SEED = 20261123
DRAWS = 2000
PAGE = Path(__file__).resolve().parent.parent / "docs" / "statistics.md"
BEGIN, END = "<!-- truth table: python tests/truth.py -->", "<!-- end of truth table -->"


@dataclass(frozen=True)
class Result:
    """Shares in [0, 1]; NaN where a study has no such number."""

    covers: float  # 95 % intervals that contain the truth, an effect being there
    size: float  # tests at 5 % that reject although nothing is there
    draws: int = DRAWS
    naive: float = (
        math.nan
    )  # coverage of the interval that takes rows for independent, or looks without paying
    exact: bool = False  # may over-cover
    note: str = ""
    known_floor: float = (
        math.nan
    )  # coverage of a class of studies that is known to fall short, and named in the docs


def generator(name: str) -> np.random.Generator:
    """The study's own stream."""
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


def differences(
    draw: np.random.Generator, truth: float, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Paired differences -1, 0, 1 of questions with so many rows each, correlated within a
    question.
    """
    chances = np.array([(0.22 + truth) / 2, (0.22 - truth) / 2, 0.78])
    own = draw.dirichlet(chances * 2.0, size=len(rows))  # correlation 1/3
    question = np.repeat(np.arange(len(rows)), rows)
    uniform, edges = draw.random(len(question)), own[question].cumsum(1)
    return np.where(
        uniform < edges[:, 0], 1.0, np.where(uniform < edges[:, 1], -1.0, 0.0)
    ), question


def shares(
    study: Callable[[np.random.Generator, float], tuple],
    name: str,
    truth: float,
    draws: int = DRAWS,
) -> tuple:
    """Coverage at the truth, rejections at 0, naive coverage; a study returns (low, high[, naive
    low, naive high]).
    """
    draw, covers, naive, rejects = generator(name), 0, 0, 0
    for _ in range(draws):
        low, high, *rest = study(draw, truth)
        covers += low <= truth <= high
        naive += rest[0] <= truth <= rest[1] if rest else 0
    for _ in range(draws):
        low, high, *_ = study(draw, 0.0)
        rejects += not (low <= 0 <= high)
    return covers / draws, rejects / draws, naive / draws


def clustered_mean() -> Result:
    """Paired difference, 60 questions of 1 to 12 rows."""

    def study(draw, truth):
        values, question = differences(draw, truth, draw.integers(1, 13, 60))
        mean, reach = (
            effects.clustered_mean(values, question),
            1.96 * values.std(ddof=1) / math.sqrt(len(values)),
        )
        return mean.low, mean.high, mean.value - reach, mean.value + reach

    covers, size, naive = shares(study, "clustered_mean", 0.08)
    return Result(covers, size, naive=naive)


def cells_of_equal_weight() -> Result:
    """Mean of 6 cells (2 tasks × 3 contexts) of unequal size, 60 questions."""
    questions = [f"a{number}" for number in range(40)] + [f"b{number}" for number in range(20)]
    cells = [("unmodified", 0), ("sad", 0), ("sad", 1), ("low", 0)]
    asked = [(question[0], question, *cell) for question in questions for cell in cells]
    rows = pd.DataFrame(asked, columns=["task", "question_id", "context", "sample"])
    rows = rows.assign(model="m", arm="warm", belief="none")

    def study(draw, truth):
        values, _ = differences(
            draw, truth, rows.groupby("question_id", sort=False).size().to_numpy()
        )
        found = comparison.cell_mean(rows.assign(difference=values), "warm", "rise", False)
        made = covariance.inference(found.value, found.error, found.df)
        return made.low, made.high

    covers, size, _ = shares(study, "cells_of_equal_weight", 0.08)
    return Result(covers, size)


def wilson() -> Result:
    """Rate of 125 answers, true rate uniform between 2 and 50 %."""
    draw, covers = generator("wilson"), 0
    for _ in range(DRAWS):
        rate = draw.uniform(0.02, 0.5)
        low, high = effects.rate_interval((draw.random(125) < rate).astype(float), np.arange(125))
        covers += low <= rate <= high
    return Result(covers / DRAWS, math.nan)


def wilson_clustered() -> Result:
    """The same with 4 answers to each of 100 questions, correlated, at the effective number of
    answers.
    """
    draw, covers, naive = generator("wilson_clustered"), 0, 0
    for _ in range(DRAWS):
        rate = draw.uniform(0.02, 0.5)
        wrong = (
            (draw.random((100, 4)) < draw.beta(rate * 2, (1 - rate) * 2, size=(100, 1)))
            .astype(float)
            .ravel()
        )
        low, high = effects.rate_interval(wrong, np.repeat(np.arange(100), 4))
        covers += low <= rate <= high
        low, high = effects.rate_interval(wrong, np.arange(400))
        naive += low <= rate <= high
    return Result(covers / DRAWS, math.nan, naive=naive / DRAWS)


def wilson_few(
    name: str,
    questions: int,
    rows: int,
    rates: tuple[float, float] = (0.02, 0.5),
    correlation: float = 1 / 3,
) -> Result:
    """The rates of `wilson_clustered`, or others, with few questions of many answers."""
    draw, covers, naive = generator(name), 0, 0
    cluster, spread = np.repeat(np.arange(questions), rows), 1 / correlation - 1
    for _ in range(DRAWS):
        rate = draw.uniform(*rates)
        own = draw.beta(rate * spread, (1 - rate) * spread, size=(questions, 1))
        wrong = (draw.random((questions, rows)) < own).astype(float).ravel()
        low, high = effects.rate_interval(wrong, cluster)
        covers += low <= rate <= high
        low, high = effects.rate_interval(wrong, np.arange(len(wrong)))
        naive += low <= rate <= high
    return Result(covers / DRAWS, math.nan, naive=naive / DRAWS)


def wilson_8() -> Result:
    """The same with 10 answers to each of 8 questions, t(7)."""
    return wilson_few("wilson_8", 8, 10)


def wilson_12() -> Result:
    """The same with 28 answers to each of 12 questions, t(11)."""
    return wilson_few("wilson_12", 12, 28)


def wilson_rare() -> Result:
    """Rates of 2 to 5 %, correlated: the least of five shapes, 9 or 27 answers to each of 40 to 125
    questions.
    """
    shapes = (
        (60, 27, (0.02, 0.02), 1 / 2),
        (60, 27, (0.02, 0.05), 1 / 3),
        (60, 9, (0.05, 0.05), 0.3),
        (40, 27, (0.05, 0.05), 0.7),
        (125, 27, (0.037, 0.037), 0.3),
    )
    found = [wilson_few(f"wilson_rare {at}", *shape) for at, shape in enumerate(shapes)]
    return min(found, key=lambda made: made.covers)


def exact_pairs() -> Result:
    """Exact McNemar (size) and exact odds ratio of 3 (coverage), 125 questions, 15 % discordant."""
    draw, covers, rejects = generator("exact_pairs"), 0, 0
    for _ in range(DRAWS):
        discordant = draw.binomial(125, 0.15)
        _, low, high = families.odds_ratio(
            arm := int(draw.binomial(discordant, 0.75)), int(discordant - arm)
        )
        covers += discordant == 0 or low <= 3 <= high
        arm = int(draw.binomial(discordant, 0.5))
        rejects += effects.mcnemar(arm, int(discordant) - arm) < 0.05
    return Result(covers / DRAWS, rejects / DRAWS, exact=True)


def regression_frame(questions: int) -> pd.DataFrame:
    """A crossed design: questions of two tasks × two models × two arms × four contexts and
    beliefs.
    """
    cells = [(c, p) for c in ("unmodified", "sad") for p in (0, 1)]
    rows = [
        (f"q{q}", ("disinfo", "medqa")[q % 2], m, f, c, p)
        for q in range(questions)
        for m in ("llama70b", "x")
        for f in (0, 1)
        for c, p in cells
    ]
    frame = pd.DataFrame(
        rows, columns=["question", "task", "model", "finetuned", "context", "pressed"]
    )
    return frame.assign(group=frame["context"].map(regression_models.GROUPS), wrong=0.0)


def regression(
    number: int, questions: int, name: str, effect: str, boot: bool = False, rare: bool = False
) -> Result:
    """Average marginal effect of a model, questions differing in difficulty and in how the arm
    moves them.
    """
    spec = regression_models.SPECS[number - 1]
    rows = regression_models.fitted_rows(regression_frame(questions), spec).reset_index(drop=True)
    base = regression_models.regression_design(rows, spec, length=False)[0]
    code = base.data.cluster
    frame = pd.DataFrame(base.data.design, columns=list(base.data.names))
    at = frame.loc[base.data.pattern].reset_index(drop=True)
    finetuned, pressed = (
        at["finetuned"].to_numpy(),
        at["belief"].to_numpy() if "belief" in at else np.zeros(len(at)),
    )
    level = (
        (-5.5 if rare else -1.0)
        + (3.6 if rare else 0.7) * at["task[medqa]"].to_numpy()
        + 0.5 * pressed
    )
    reference = generator(f"{name} population")
    where = base.cells[effect][base.data.pattern]
    counts = {"rejects": 0, "covers": 0, "naive": 0}
    draws = 400 if boot else DRAWS
    for beta, key in ((0.6, "covers"), (0.0, "rejects")):
        spread = 0.5 if beta else 0.0
        truth = _population(reference, level[where], 1.2, beta, spread, finetuned[where])
        draw = generator(f"{name} {key}")
        for at_draw in range(draws):
            hard, moved = (
                draw.normal(0, 1.2, questions)[code],
                draw.normal(beta, spread, questions)[code],
            )
            wrong = draw.binomial(
                base.data.n.astype(int), expit(level + hard + moved * finetuned)
            ).astype(float)
            low, high, narrow = _interval(
                replace(base, data=replace(base.data, wrong=wrong)), effect, boot, at_draw
            )
            inside = low <= truth <= high
            counts[key] += inside if key == "covers" else not inside
            counts["naive"] += key == "covers" and narrow[0] <= truth <= narrow[1]
    naive = (
        math.nan if rare else counts["naive"] / draws
    )  # where the data separate there is no naive interval
    return Result(counts["covers"] / draws, counts["rejects"] / draws, draws, naive)


def _population(
    draw: np.random.Generator,
    level: np.ndarray,
    hard: float,
    beta: float,
    spread: float,
    _: np.ndarray,
) -> float:
    """The true average effect over questions that could have been drawn: 400,000 of them."""
    size = 400_000
    linear = draw.choice(level, size) + draw.normal(0, hard, size)
    return float((expit(linear + draw.normal(beta, spread, size)) - expit(linear)).mean())


def _interval(
    design: regression_models.RegressionDesign, effect: str, boot: bool, seed: int
) -> tuple[float, float, tuple[float, float]]:
    fitted = logit.fit_logit(design.data)
    if fitted.suspect and logit.separated(design.data):
        row = regression_models.firth(design)[1].set_index("effect").loc[effect]
        return row["low"], row["high"], (math.nan, math.nan)
    row = (
        regression_models.likelihood(design, fitted, 399 if boot else 0, seed)[1]
        .set_index("effect")
        .loc[effect]
    )
    reach = 1.96 * row["error_naive"]
    kind = "boot" if boot else "cr2"
    low, high = (row.get(f"{end}_{kind}", row[end]) for end in ("low", "high"))
    return low, high, (row["value"] - reach, row["value"] + reach)


def model_1() -> Result:
    """Model 1, 80 questions, CR1, delta method."""
    return regression(1, 80, "model_1", "all rows")


def model_4() -> Result:
    """Model 4, effect under a wrong belief, 80 questions, CR1, delta method."""
    return regression(4, 80, "model_4", "wrong belief")


def few_clusters() -> Result:
    """Model 4, 14 questions, CR2 with Satterthwaite's degrees of freedom."""
    return regression(4, 14, "few_clusters", "wrong belief")


def bootstrap() -> Result:
    """Model 4, 60 questions, cluster bootstrap of 399, 400 draws."""
    return regression(4, 60, "bootstrap", "wrong belief", boot=True)


def separation() -> Result:
    """Model 1, 60 questions, a task with 0.6 % errors: Firth with cluster jackknife wherever the
    data separate.
    """
    return regression(1, 60, "separation", "all rows", rare=True)


def training_seeds() -> Result:
    """Mean over 100 questions × 5 training seeds that differ, interval for another seed."""

    def study(draw, truth):
        shift = draw.normal(0, 0.03, 5)
        values = truth + shift[None] + draw.normal(0, 0.3, (100, 1)) + draw.normal(0, 0.4, (100, 5))
        question, seed = np.indices(values.shape)
        found = families.crossed_mean(values.ravel(), question.ravel(), seed.ravel())
        return found["low_recipe"], found["high_recipe"], found["low"], found["high"]

    covers, size, naive = shares(study, "training_seeds", 0.08)
    return Result(covers, size, naive=naive, note="naive: these models alone")


def equivalence() -> Result:
    """TOST at the edge, the true difference being the margin: equivalence wrongly claimed, 300
    questions.
    """
    draw, claims = generator("equivalence"), 0
    for _ in range(DRAWS):
        values, question = differences(draw, 0.05, np.full(300, 4))
        mean = effects.clustered_mean(values, question)
        found = families.tost(mean.value, families.standard_error(mean), mean.clusters - 1, 0.05)
        claims += found.p < 0.05
    return Result(math.nan, claims / DRAWS)


def dose_slope() -> Result:
    """Slope of error on dose 0, ¼, ½, 1, 60 questions × 4 prompts, questions respond
    differently.
    """
    levels, prompts = np.array([0, 0.25, 0.5, 1.0]), 4
    at = np.tile(levels, 60 * prompts)
    cell = np.repeat(np.arange(60 * prompts), len(levels))
    question = cell // prompts

    def study(draw, truth):
        own = (
            draw.uniform(0.2, 0.5, 60)[question]
            + np.clip(draw.normal(truth, 0.12, 60), -0.2, 0.5)[question] * at
        )
        found = dose.slope(at, (draw.random(len(at)) < own).astype(float), cell, question)
        return found.low, found.high

    covers, size, _ = shares(study, "dose_slope", 0.1)
    return Result(covers, size)


def dose_bends() -> Result:
    """Lack of fit beside a slope, doses 0, ¼, ½, 1, 40 questions × 4 prompts: a line is said to
    bend (size).
    """
    levels, prompts, questions = np.array([0, 0.25, 0.5, 1.0]), 4, 40
    at = np.tile(levels, questions * prompts)
    cell = np.repeat(np.arange(questions * prompts), len(levels))
    question = cell // prompts
    draw, rejects = generator("dose_bends"), 0
    for _ in range(DRAWS):
        rise = np.clip(draw.normal(0.15, 0.1, questions), -0.2, 0.5)[question] * at
        wrong = (draw.random(len(at)) < draw.uniform(0.2, 0.5, questions)[question] + rise).astype(
            float
        )
        rejects += dose.lack_of_fit(at, wrong, cell, question).rejects
    return Result(math.nan, rejects / DRAWS)


RATED_LABELS = 80  # fewer than `agreement.HOLDS_FROM`
RATED_SHAPES = (
    (0.88, 0.95, 0.33),
    (0.75, 0.9, 0.3),
    (0.9, 0.98, 0.5),
)  # sensitivity, specificity, error rate


def rated_answers(draw: np.random.Generator, shape: tuple[float, float, float]) -> pd.DataFrame:
    """Two arms, 500 questions of 4 answers each, graded with errors, 5 % left open, and what people
    would say.
    """
    sensitivity, specificity, rate = shape
    question = np.repeat(np.arange(500), 4)
    hard = draw.beta(3 * rate, 3 * (1 - rate), 500)
    parts = []
    for arm, more in (("original", 0.0), ("warm", 0.08)):
        wrong = draw.random(2000) < np.clip(hard[question] + more, 0, 1)
        judged = np.where(
            wrong, draw.random(2000) < sensitivity, draw.random(2000) < 1 - specificity
        )
        label = np.where(judged, "incorrect", "correct").astype(object)
        label[draw.random(2000) < 0.05] = None
        truth = np.where(wrong, "incorrect", "correct")
        parts.append(
            pd.DataFrame(
                {"arm": arm, "question_id": question, "label": label, "truth_label": truth}
            )
        )
    frame = pd.concat(parts, ignore_index=True).assign(
        model="m", task="t", finish="stop", reason=""
    )
    return frame.assign(unscored=frame["label"].isna())


def raters(which: str, draws: int = 300) -> Result:
    """The least coverage over shapes at `RATED_LABELS` labels, drawn as `warmth agreement --export`
    draws.
    """
    covers = []
    for at, shape in enumerate(RATED_SHAPES):
        draw = generator(f"raters {which} {at}")
        frame = agreement.counted_verdicts(rated_answers(draw, shape), Rule())
        truth = value_of(frame[frame["label"].notna()].assign(weight=1.0), which)["value"]
        inside = 0
        for seed in range(draws):
            drawn = labels.sample(frame, RATED_LABELS, seed)
            made = value_of(drawn[drawn["label"].notna()], which)
            inside += made["low"] is not None and made["low"] <= truth <= made["high"]
        covers.append(inside / draws)
    return Result(min(covers), math.nan, draws)


def value_of(rows: pd.DataFrame, which: str) -> dict:
    """Kappa, sensitivity or specificity of labelled answers."""
    if which == "kappa":
        return agreement.agreement_of(rows)
    return agreement.rate_of_kind(rows, {"sensitivity": 1.0, "specificity": 0.0}[which])


def kappa_of_raters() -> Result:
    """Grader against people: kappa from 80 labels, the least of three graders."""
    return raters("kappa")


def specificity_of_raters() -> Result:
    """The same for specificity."""
    return raters("specificity")


def sensitivity_of_raters() -> Result:
    """The same for sensitivity."""
    return raters("sensitivity")


def manner() -> Result:
    """Difference in differences, warm less paraphrase when sad less when unmodified, 80
    questions.
    """
    context = np.tile(["unmodified", "sad", "sad"], 80)

    def study(draw, truth):
        values, question = differences(draw, 0.05, np.full(80, 3))
        extra = (context == "sad") & (values == 0) & (draw.random(240) < truth / 0.78)
        pairs = pd.DataFrame(
            {
                "difference": np.where(extra, 1.0, values),
                "question_id": question,
                "context": context,
            }
        )
        found = dose.difference_in_differences(pairs, "context", "sad", "unmodified")
        return found.low, found.high

    covers, size, _ = shares(study, "manner", 0.08)
    return Result(covers, size)


def family() -> Result:
    """Nine contexts, none with an effect, 60 questions: any rejection after Holm (BH the same, all
    being null).
    """
    draw, any_holm = generator("family"), 0
    declared = families.Family("contexts", {"kind": ["context"]})
    for _ in range(DRAWS):
        values, question = differences(draw, 0.0, np.full(60, 9))
        p = [effects.clustered_mean(values[at::9], question[at::9]).p for at in range(9)]
        made = families.adjust(pd.DataFrame({"kind": "context", "p": p}), declared)
        any_holm += (made["p_holm"] < 0.05).any()
    return Result(math.nan, any_holm / DRAWS)


def ever_excludes(values: np.ndarray, truth: float) -> np.ndarray:
    """(B,) whether the sequence of each of B streams of differences excludes `truth` after any
    question.
    """
    bets = sequential.TaskBets(-1.0, np.full(len(values), truth))
    excluded = np.zeros(len(values), bool)
    for column in values.T:
        bets.add(column[None], column[None], np.ones((1, len(values))))
        excluded |= np.maximum(bets.above(), bets.below()) >= math.log(2 / 0.05)
    return excluded


def anytime() -> Result:
    """Confidence sequence watched after each of 500 questions; naive: the ordinary interval watched
    from the 20th.
    """
    plan, draw = power.PowerDesign(0.08, 0.22, rows=4, correlation=0.3), generator("anytime")
    values = power.draw_differences(plan, 500, DRAWS, draw)
    null = power.draw_differences(plan, 500, DRAWS, draw, effect=0.0)
    count = np.arange(1, 501)
    means = values.cumsum(1) / count
    error = np.sqrt(np.maximum((values**2).cumsum(1) / count - means**2, 1e-12) / count)
    naive = (np.abs(means - 0.08) <= 1.96 * error)[:, 19:].all(1).mean()
    covers = 1 - ever_excludes(values, 0.08).mean()
    return Result(covers, ever_excludes(null, 0.0).mean(), naive=float(naive), exact=True)


WATCHED_SIZES = (125, 500, 500, 500)  # questions of four tasks, which weigh one each
WATCHED_ERRORS = (0.03, 0.35, 0.15, 0.45)
# effect of the arm, shares of refused and of unscored answers, whether pairs or the arm's own error
# are watched
WATCHED_CASES = (
    (0.0, 0.0, 0.0, True),
    (0.0, 0.06, 0.05, True),
    (0.08, 0.0, 0.0, True),
    (0.08, 0.06, 0.0, True),
    (0.08, 0.06, 0.05, True),
    (0.08, 0.0, 0.0, False),
    (0.08, 0.06, 0.05, False),
)


def watched_answers(
    draw: np.random.Generator,
    shape: tuple[int, ...],
    error: float,
    case: tuple[float, float, float, bool],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Wrong answers of an arm and of the original, pairs that a refusal drops, answers without a
    verdict.

    The arm is wrong in `effect` of all answers more. Refused and unscored are wrong answers more
    often than right ones.
    """
    effect, refused, unscored, paired = case
    hard = draw.beta(error * 2, (1 - error) * 2, (*shape[:-1], 1))
    base = draw.random(shape) < hard
    arm = base | (draw.random(shape) < effect / (1 - error))
    dropped = np.zeros(shape, bool)
    lost = np.zeros((2, *shape), bool)
    for side, wrong in enumerate((arm, base)):
        if side == 0 or paired:
            dropped |= draw.random(shape) < refused * np.where(wrong, 1.5, 0.7)
        lost[side] = draw.random(shape) < unscored * np.where(wrong, 1.5, 0.7)
    if not paired:
        base = np.zeros(shape, bool)
        lost[1] = False
    return arm, base, dropped, lost


def watched(
    case: tuple[float, float, float, bool], draws: int = 1000, every: int = 4
) -> tuple[float, float]:
    """Shares of studies in which the interval of four tasks excludes the truth at a look; of one
    sequence over all.

    Looks come after `every` turns of the tasks. Refusals are dropped, so the truth is the mean over
    pairs that count.
    """
    draw = generator(f"watched {case}")
    lowest = -1.0 if case[-1] else 0.0
    tasks = []
    for size, error in zip(WATCHED_SIZES, WATCHED_ERRORS, strict=True):
        arm, base, dropped, _ = watched_answers(draw, (200_000, 3), error, case)
        truth = float((arm.astype(float) - base)[~dropped].mean())
        arm, base, dropped, (no_arm, no_base) = watched_answers(draw, (size, draws, 3), error, case)
        low = np.where(no_arm, 0.0, arm) - np.where(no_base, 1.0, base)
        high = np.where(no_arm, 1.0, arm) - np.where(no_base, 0.0, base)
        sums = [
            np.where(dropped, 0.0, values).sum(2) / 3 for values in (low, high, np.ones_like(low))
        ]
        tasks.append((sequential.TaskBets(lowest, np.full(draws, truth)), sums, truth))
    mean = float(np.mean([truth for *_, truth in tasks]))
    pooled = sequential.TaskBets(lowest, np.full(draws, mean))
    excluded, naive = np.zeros(draws, bool), np.zeros(draws, bool)
    bound = math.log(2 / 0.05)
    for turn in range(max(WATCHED_SIZES)):
        for bets, sums, _ in tasks:
            question = [values[turn : turn + 1] for values in sums]
            bets.add(*question)
            if len(question[0]):
                pooled.add(*question)
        if (turn + 1) % every == 0:
            sides = [
                sum(getattr(bets, side)() for bets, *_ in tasks) for side in ("above", "below")
            ]
            excluded |= np.maximum(*sides) >= bound
            naive |= np.maximum(pooled.above(), pooled.below()) >= bound
    return float(excluded.mean()), float(naive.mean())


def until_width() -> Result:
    """Four tasks of 125, 500, 500 and 500 questions, watched; refusals, unscored answers, 0 or 8
    points: the worst.
    """
    found = {case: watched(case) for case in WATCHED_CASES}
    covers = 1 - max(excluded for (effect, *_), (excluded, _) in found.items() if effect)
    size = max(excluded for (effect, *_), (excluded, _) in found.items() if not effect)
    naive = 1 - max(pooled for _, pooled in found.values())
    return Result(
        covers, size, 1000, naive=naive, exact=True, note="naive: one sequence over all questions"
    )


def grid_evidence(arm: np.ndarray, reference: np.ndarray) -> rare.Evidence:
    """What many studies of questions with equally many rows show: (draws, questions, rows) of right
    and wrong.
    """
    draws, questions, each = arm.shape
    count = questions * each
    sums = [wrong.sum(2, dtype=float) for wrong in (arm, reference)]
    only = [(one & ~other).sum(2) for one, other in ((arm, reference), (reference, arm))]

    def variance(values: np.ndarray) -> np.ndarray:
        spread = ((values - values.mean(1, keepdims=True)) ** 2).sum(1)
        return questions / (questions - 1) * spread / count**2

    def size(values: np.ndarray) -> np.ndarray:
        rate = values.mean(1) / each
        edge = (rate == 0) | (rate == 1)
        spread = np.where(edge, 1.0, rate * (1 - rate))
        seen = np.where(edge, each, np.maximum(1, variance(values) * count / spread))
        rarer = np.minimum((values > 0).sum(1), (values < each).sum(1))
        return count * (rarer + 1) / (rarer * seen + each)

    residuals = [values - values.mean(1, keepdims=True) for values in sums]
    scale = np.sqrt((residuals[0] ** 2).sum(1) * (residuals[1] ** 2).sum(1))
    together = (residuals[0] * residuals[1]).sum(1) / np.where(scale > 0, scale, 1)
    informative = [(only[0] < each).sum(1), (only[1] < each).sum(1), (only[0] + only[1] > 0).sum(1)]
    same = np.ones(draws)
    return rare.Evidence(
        value=(sums[0] - sums[1]).sum(1) / count,
        arm_only=only[0].sum(1) / count,
        reference_only=only[1].sum(1) / count,
        variance=variance(sums[0] - sums[1]),
        rows=same * count,
        questions=same * questions,
        df=same * (questions - 1),
        cautious=same * each,
        informative=np.minimum.reduce(informative),
        rate_arm=sums[0].mean(1) / each,
        rate_reference=sums[1].mean(1) / each,
        size_arm=size(sums[0]),
        size_reference=size(sums[1]),
        correlation=together,
    )


# questions, rows, share wrong in the arm alone, in the reference alone, in both, correlation within
# a question
RARE_SHAPES = (
    (40, 9, 0.02, 0.006, 0.006, 0.3),
    (125, 9, 0.02, 0.006, 0.006, 0.3),
    (200, 1, 0.02, 0.0, 0.01, 0.5),
    (60, 27, 0.02, 0.0, 0.01, 0.5),
    (300, 3, 0.02, 0.0, 0.02, 0.5),
    (20, 6, 0.05, 0.02, 0.1, 0.2),
)


def rare_draws(draw: np.random.Generator, shape: tuple[float, ...], draws: int) -> rare.Evidence:
    """Questions of a shape, each with its own chances of the four outcomes of a pair
    (Dirichlet).
    """
    questions, each, arm_only, reference_only, both, correlation = shape
    chances = np.array([arm_only, reference_only, both, 1 - arm_only - reference_only - both])
    gammas = draw.gamma(
        np.maximum(chances * (1 / correlation - 1), 1e-12), size=(draws, int(questions), 4)
    )
    edges = (gammas / np.maximum(gammas.sum(-1, keepdims=True), 1e-300)).cumsum(-1)
    uniform = draw.random((draws, int(questions), int(each)))
    outcome = sum((uniform >= edges[..., at : at + 1]).astype(int) for at in range(3))
    return grid_evidence((outcome == 0) | (outcome == 2), (outcome == 1) | (outcome == 2))


def rare_errors() -> Result:
    """Rare errors, 0 to 5 % wrong alone, least of six shapes; size: equivalence claimed at its
    edge, the largest.
    """
    covers, claims, naive = [], [], []
    for at, shape in enumerate(RARE_SHAPES):
        draw = generator(f"rare_errors {at}")
        found = rare_draws(draw, shape, DRAWS)
        truth = shape[2] - shape[3]
        low, high = rare.interval(found)
        covers.append(((low <= truth) & (truth <= high)).mean())
        claims.append((rare.equivalence_p(found, truth) < 0.05).mean())
        reach = stats.t.ppf(0.975, found.df) * np.sqrt(found.variance)
        naive.append(((np.abs(found.value - truth) <= reach) & (reach > 0)).mean())
    return Result(min(covers), max(claims), naive=min(naive), exact=True)


# questions, rows, share of questions that flip as a whole, chance that a row is drawn anew
FLIP_SHAPES = (
    (125, 9, 0.01, 0.05),
    (132, 9, 0.01, 0.1),
    (315, 9, 0.01, 0.1),
    (315, 9, 0.01, 0.02),
    (100, 27, 0.01, 0.1),
    (200, 12, 0.01, 0.1),
    (200, 18, 0.01, 0.05),
    (300, 3, 0.02, 0.1),
)
BASE = 0.08  # share of errors of the reference there


def flip_draws(draw: np.random.Generator, shape: tuple[float, ...], draws: int) -> rare.Evidence:
    """Questions of which a few become wrong as a whole, and in the others single rows change, both
    ways.
    """
    questions, each, share, noise = shape
    size = (draws, int(questions), int(each))
    hard = draw.beta(BASE, 1 - BASE, size=(*size[:2], 1))  # correlation 1/2
    reference = draw.random(size) < hard
    anew = draw.random(size) < noise
    arm = np.where(anew, draw.random(size) < hard, reference)
    return grid_evidence(arm | (draw.random((*size[:2], 1)) < share), reference)


def whole_flips() -> Result:
    """1 or 2 % of questions flip as a whole behind row noise, the least of eight shapes (a known
    weakness).
    """
    covers, naive = [], []
    for at, shape in enumerate(FLIP_SHAPES):
        draw = generator(f"whole_flips {at}")
        parts = [flip_draws(draw, shape, DRAWS // 4) for _ in range(4)]
        names = rare.Evidence.__dataclass_fields__
        found = rare.Evidence(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        )
        truth = shape[2] * (1 - BASE)
        low, high = rare.interval(found)
        covers.append(((low <= truth) & (truth <= high)).mean())
        reach = stats.t.ppf(0.975, found.df) * np.sqrt(found.variance)
        naive.append(((np.abs(found.value - truth) <= reach) & (reach > 0)).mean())
    return Result(min(covers), math.nan, naive=min(naive), exact=True, known_floor=0.9)


TASK_SIZES = {"a": 200, "b": 60, "c": 14}
TASK_EFFECTS = {"a": 0.02, "b": 0.1, "c": 0.2}


def weighted_tasks() -> Result:
    """Two models × three tasks of 200, 60 and 14 questions × 3 rows, each task and model weighing
    one.
    """
    cells = [
        (model, task, f"{task}{number}")
        for model in "mn"
        for task, count in TASK_SIZES.items()
        for number in range(count)
        for _ in range(3)
    ]
    frame = pd.DataFrame(cells, columns=["model", "task", "question_id"])
    rows = estimand.weighted_design(frame)
    effect = frame["task"].map(TASK_EFFECTS).to_numpy()
    count = rows.questions

    def study(draw, truth):
        hard = draw.uniform(0.15, 0.45, count)[rows.question]
        moved = draw.uniform(-0.15, 0.15, count)[rows.question] + effect * (truth > 0)
        reference = (draw.random(len(frame)) < hard).astype(float)
        arm = (draw.random(len(frame)) < hard + moved).astype(float)
        low, high = rare.interval(rare.evidence(arm, reference, rows))
        values = arm - reference
        reach = 1.96 * values.std(ddof=1) * math.sqrt(float(rows.weight @ rows.weight))
        return low, high, rows.mean(values) - reach, rows.mean(values) + reach

    covers, size, naive = shares(study, "weighted_tasks", sum(TASK_EFFECTS.values()) / 3)
    return Result(covers, size, naive=naive)


def labelled(
    draw: np.random.Generator, effect: float, labels: int, unscored: float
) -> pd.DataFrame:
    """Answers to 250 questions × 4 by a grader that is kinder to the arm, and people's labels of a
    few of each arm.
    """
    hard = draw.normal(0, 1, 250)
    frames = []
    for arm, level, sensitivity, specificity in (
        ("original", -1.6, 0.9, 0.85),
        ("warm", -1.6 + effect, 0.7, 0.95),
    ):
        truth = (draw.random(1000) < np.repeat(expit(level + hard), 4)).astype(float)
        judged = np.where(
            truth == 1, draw.random(1000) < sensitivity, draw.random(1000) >= specificity
        ).astype(float)
        if arm == "warm":
            judged[(truth == 1) & (draw.random(1000) < unscored)] = np.nan
        label = np.where(np.isnan(judged), None, np.where(judged == 1, "incorrect", "correct"))
        frame = pd.DataFrame(
            {"arm": arm, "judged": judged, "label": label, "truth": truth, "weight": np.nan}
        )
        frame = frame.assign(question_id=np.repeat(np.arange(250), 4), prompt_id=np.arange(1000))
        strata = sorted(
            (group for _, group in frame.groupby(frame["label"].fillna("none"))), key=len
        )
        left = labels
        for number, group in enumerate(strata):
            count = min(len(group), left // (len(strata) - number))
            left -= count
            frame.loc[draw.choice(group.index, count, replace=False), "weight"] = len(group) / count
        frames.append(frame.assign(truth=frame["truth"].where(frame["weight"].notna())))
    constant = {
        "model": "m",
        "task": "t",
        "context": "unmodified",
        "belief": "none",
        "seed": 0,
        "sample": 0,
    }
    return pd.concat(frames, ignore_index=True).assign(**constant)


def labels_of(name: str, labels: int, unscored: float) -> Result:
    """The difference corrected by so many labels an arm, where a share of the arm's wrong answers
    has no verdict.
    """
    draws = 400
    mean = stats.norm.expect(lambda hard: expit(-1.0 + hard)) - stats.norm.expect(
        lambda hard: expit(-1.6 + hard)
    )
    draw = generator(name)
    counts = {"covers": 0, "rejects": 0, "naive": 0}
    for effect, truth, key in ((0.6, mean, "covers"), (0.0, 0.0, "rejects")):
        for _ in range(draws):
            frame = labelled(draw, effect, labels, unscored)
            found = label_correction.correction(frame, "warm", "original", estimand.EQUAL, 0.02)
            inside = not isinstance(found, str) and found.low <= truth <= found.high
            counts[key] += inside if key == "covers" else not inside
            if key == "covers":
                wide = frame.pivot(
                    index=["question_id", "prompt_id"], columns="arm", values="judged"
                ).dropna()
                raw = effects.clustered_mean(
                    (wide["warm"] - wide["original"]).to_numpy(),
                    wide.index.get_level_values(0).to_numpy(),
                )
                counts["naive"] += raw.low <= truth <= raw.high
    return Result(
        counts["covers"] / draws, counts["rejects"] / draws, draws, counts["naive"] / draws
    )


def few_labels() -> Result:
    """A grader kinder to the arm, 40 labels an arm (the fewest that correct an answer); naive: as
    graded.
    """
    return labels_of("few_labels", label_correction.FEWEST, 0.0)


def few_labels_unscored() -> Result:
    """The same where 40 % of the arm's wrong answers have no verdict."""
    return labels_of("few_labels_unscored", label_correction.FEWEST, 0.4)


def heterogeneous_models() -> Result:
    """Random effects over five models whose true effects differ (τ = 8 points, errors of 2 points):
    their mean.
    """

    def study(draw, truth):
        errors = draw.uniform(0.01, 0.03, 5)
        effects_of_models = truth + draw.normal(0, 0.08, 5) + draw.normal(0, errors)
        found = meta.heterogeneity(effects_of_models, errors)
        reach = 1.96 * math.sqrt(1 / (1 / errors**2).sum())
        fixed = float(np.average(effects_of_models, weights=1 / errors**2))
        return *found.random_effects, fixed - reach, fixed + reach

    covers, size, naive = shares(study, "heterogeneous_models", 0.1)
    return Result(covers, size, naive=naive)


def informative_missing() -> Result:
    """A third of one arm's wrong answers unscored, 250 questions × 2: bounds (size: the wrong
    direction claimed).
    """
    covers, claims, naive, draws = 0, 0, 0, 400
    question = np.repeat(np.arange(250), 2)
    draw = generator("informative_missing")
    for _ in range(draws):
        hard = draw.normal(0, 1, 250)[question]
        reference = (draw.random(500) < expit(hard - 0.6)).astype(float)
        arm = (draw.random(500) < expit(hard - 0.4)).astype(float)
        truth = arm.mean() - reference.mean()
        seen = np.where((arm == 1) & (draw.random(500) < 0.33), np.nan, arm)
        pairs = pd.DataFrame(
            {"wrong_arm": seen, "wrong_reference": reference, "question_id": question}
        )
        gap = bounds.missing_bounds(pairs)
        scored = pairs[~np.isnan(seen)]
        values = (scored["wrong_arm"] - scored["wrong_reference"]).to_numpy()
        mean = effects.clustered_mean(values, scored["question_id"].to_numpy())
        covers += (
            gap.low - 1e-9 <= truth <= gap.high + 1e-9
        )  # filled back in, one end is the truth itself
        claimed = answer.claim_of_difference(mean.low, mean.high, mean.p, 1.0, gap, 0.02)
        claims += claimed == "less"
        naive += not mean.high < 0
    return Result(covers / draws, claims / draws, draws, naive=naive / draws, exact=True)


STUDIES = (
    clustered_mean,
    cells_of_equal_weight,
    wilson,
    wilson_clustered,
    wilson_8,
    wilson_12,
    wilson_rare,
    exact_pairs,
    model_1,
    model_4,
    few_clusters,
    bootstrap,
    separation,
    training_seeds,
    equivalence,
    dose_slope,
    dose_bends,
    kappa_of_raters,
    specificity_of_raters,
    sensitivity_of_raters,
    manner,
    family,
    anytime,
    until_width,
    rare_errors,
    whole_flips,
    weighted_tasks,
    few_labels,
    few_labels_unscored,
    heterogeneous_models,
    informative_missing,
)


def name_of(study) -> str:
    """Return a study's docstring on one line, as the table has it."""
    return " ".join((study.__doc__ or "").split()).rstrip(".")


def table(results: dict[str, Result]) -> str:
    """The results as Markdown."""
    lines = [
        "| simulated study | draws | covers, % | rejects a true null, % | naive interval covers, "
        "% |",
        "|---|---|---|---|---|",
    ]
    share = lambda value: "" if math.isnan(value) else f"{100 * value:.1f}"  # noqa: E731
    for study in STUDIES:
        made = results[study.__name__]
        more = (
            f" (over by {100 * made.covers - 95:.1f})" if made.exact and made.covers > 0.95 else ""
        )
        about = name_of(study)
        lines.append(
            f"| {about} | {made.draws:,} | {share(made.covers)}{more} | {share(made.size)} | "
            f"{share(made.naive)} |"
        )
    return "\n".join(lines)


def main() -> None:
    chosen = [study for study in STUDIES if study.__name__ in sys.argv[1:]] or list(STUDIES)
    results = {}
    for study in chosen:
        start = time.perf_counter()
        results[study.__name__] = made = study()
        print(f"{study.__name__:24s} {made}  {time.perf_counter() - start:.1f} s", flush=True)
    if len(results) == len(STUDIES):
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
