"""The answer of a study for each arm: its difference from the original, and what may be claimed.

Of every arm: the mean difference (`contrast.py`), the same without context and belief, the worst
that missing verdicts could do (`bounds.py`), people's correction, the models one by one and how far
they differ (`meta.py`), and the control that was made as the arm was. The claim follows from these
by one rule, `claim`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
from statsmodels.stats.multitest import multipletests

from warmth.analysis.rows.arm_names import CONTROLS, arm_order, as_strong, control_of, focal
from warmth.analysis.rows.frames import is_missing
from warmth.analysis.statistics import bounds, effects, meta
from warmth.analysis.statistics.bounds import Missing
from warmth.analysis.statistics.contrast import Contrast, contrast, no_contrast
from warmth.analysis.statistics.estimand import EQUAL, Weights
from warmth.analysis.statistics.meta import Heterogeneity
from warmth.analysis.statistics.preregistration import Hypothesis

ALPHA = 0.05
MORE = "more"
LESS = "less"
NONE_SHOWN = "none_shown"
EQUIVALENT = "equivalent"
UNDETERMINED = "undetermined"


@dataclass(frozen=True)
class Corrected:
    """A difference corrected by people's labels; fractions."""

    difference: float
    low: float
    high: float
    p: float
    equivalence_p: float
    labelled: int
    covers_unscored: bool  # whether answers without a verdict were labelled too
    method: str


@dataclass(frozen=True)
class ModelVote:
    """One model's difference, its p corrected over all arms and models (Holm)."""

    contrast: Contrast
    p_holm: float

    @property
    def direction(self) -> str:
        """Say what the corrected test shows: more, less, or "" for neither."""
        if not self.p_holm < ALPHA:
            return ""
        return MORE if self.contrast.difference > 0 else LESS


@dataclass(frozen=True)
class StudyAnswer:
    """What a study says of one arm."""

    effect: Contrast
    claim: str
    # that decides the claim: the primary contrast's own, else corrected over the other arms
    p: float
    is_primary: bool
    margin: float
    weights: Weights
    tasks: tuple[str, ...]
    tasks_apart: tuple[str, ...]
    contexts: tuple[str, ...]
    beliefs: tuple[str, ...]
    without_context: Contrast | None
    missing: Missing | None
    corrected: Corrected | None
    by_model: tuple[ModelVote, ...]
    heterogeneity: Heterogeneity | None
    control: Contrast | None
    kind: str  # how the arm was made
    flow: pd.DataFrame  # a row for each model of the arm and of the reference
    of_models: int = 1  # models that answered, whether or not in both arms
    # shares of the arm's and the reference's answers that are dropped as refusals
    refused: tuple[float, float] = (0.0, 0.0)
    corrections_note: str = ""  # why people's labels do not correct it, though there are some

    @property
    def best(self) -> Contrast | Corrected:
        """Return the difference that is the answer: corrected by people's labels, if it can be."""
        return self.effect if self.corrected is None else self.corrected

    @property
    def is_unscored(self) -> bool:
        """Say whether nothing is known but the bounds: no prompt has a verdict in both arms."""
        return self.effect.pairs == 0 and self.corrected is None

    @property
    def within_margin(self) -> bool:
        """Say whether the difference is shown to be smaller than the margin."""
        return self.best.equivalence_p < ALPHA


def claim_of_difference(
    low: float, high: float, p: float, equivalence_p: float, missing: Missing | None, margin: float
) -> str:
    """Decide what may be claimed of a difference.

    A direction needs an interval and a (corrected) test that exclude 0, and verdicts whose absence
    could not turn the sign. Equivalence, or none shown, needs arms that are unscored alike: what is
    missing in one arm alone could be the difference.

    Args:
        low: of the interval.
        high: of the interval.
        p: of no difference, corrected where it is one of several.
        equivalence_p: of the two one-sided tests.
        missing: what unscored answers leave open; None if that is settled.
        margin: half-width of what is no difference in practice.
    """
    direction = ""
    if p < ALPHA and low > 0:
        direction = MORE
    elif p < ALPHA and high < 0:
        direction = LESS
    scored_claim = direction or (EQUIVALENT if equivalence_p < ALPHA else NONE_SHOWN)
    if missing is None:
        return scored_claim
    if direction:
        is_open = missing.open_sign
    else:
        is_open = missing.spans_zero and missing.uneven
    if scored_claim == EQUIVALENT:
        is_open = is_open and (missing.low < -margin or missing.high > margin)
    return UNDETERMINED if is_open else scored_claim


def answers_of(
    answers: pd.DataFrame,
    chosen: Mapping[str, str],
    kinds: Mapping[str, str],
    stages: pd.DataFrame,
    weights: Weights = EQUAL,
    margin: float = 0.02,
    planned: Hypothesis | None = None,
    corrected: Mapping[tuple[str, str], Corrected | str] | None = None,
    planned_rows: pd.DataFrame | None = None,
) -> list[StudyAnswer]:
    """Answer for every arm, the primary contrast first.

    The primary contrast is the first planned hypothesis, else the arm `warm`, else the first recipe
    in the order of arms. It is tested by itself; the other arms' tests are corrected among
    themselves (Holm). An arm that shares no scored prompt with its reference has an answer if
    verdicts are missing: their bounds.

    Args:
        answers: columns of `frames.load_rows`, question ids distinct between tasks.
        chosen: recipe → the arm that stands for it.
        kinds: arm → how it was made.
        stages: from `flow.flow`.
        weights: see `estimand`.
        margin: half-width of what is no difference in practice.
        planned: the plan's first hypothesis.
        corrected: (arm, reference) → the difference corrected by people's labels, or why it is not.
        planned_rows: the answers that the plan is about, `wrong` as it says.
    """
    everything = effects.pooled(answers)
    apart = tuple(effects.apart(answers))
    pairs_with_original = pairs_with(everything, "original")
    primary = planned.arm if planned is not None else focal(chosen)
    answers_of_arms = []
    for arm in sorted(set(everything["arm"]) - {"original"}, key=arm_order):
        reference = reference_of(arm, everything, chosen, kinds, planned)
        pool = everything
        if planned is not None and arm == planned.arm and planned_rows is not None:
            pool = planned_rows
            pairs = pairs_with(pool, reference)
        elif reference == "original":
            pairs = pairs_with_original
        else:
            pairs = pairs_with(pool, reference)
        pairs = pairs[pairs["arm"].eq(arm)]
        kind = kinds.get(arm, "")
        if len(pairs):
            answer = answer_of_arm(pool, pairs, chosen, kind, stages, weights, margin)
        else:
            answer = unscored_answer(pool, arm, reference, kind, stages, weights, margin)
        if answer is None:
            continue
        answer = replace(answer, tasks_apart=apart, is_primary=arm == primary)
        correction = (corrected or {}).get((arm, reference))
        if isinstance(correction, str):
            answer = replace(answer, corrections_note=correction)
        elif correction is not None:
            answer = replace(answer, corrected=correction)
        answers_of_arms.append(answer)
    answers_of_arms.sort(key=lambda answer: not answer.is_primary)
    return decided(with_votes(answers_of_arms), margin)


def reference_of(
    arm: str,
    answers: pd.DataFrame,
    chosen: Mapping[str, str],
    kinds: Mapping[str, str],
    planned: Hypothesis | None,
) -> str:
    """Name what an arm is compared with.

    It is what the plan says, else the original, else the strictest control made as the arm was.
    """
    if planned is not None and arm == planned.arm:
        return planned.reference
    if answers["arm"].eq("original").any():
        return "original"
    for control in control_of(kinds.get(arm, ""), chosen):
        if control != arm:
            return control
    return "original"


def pairs_with(answers: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Pair every arm with a reference."""
    return effects.pair(answers, reference).assign(reference=reference)


def answer_of_arm(
    pool: pd.DataFrame,
    pairs: pd.DataFrame,
    chosen: Mapping[str, str],
    kind: str,
    stages: pd.DataFrame,
    weights: Weights,
    margin: float,
) -> StudyAnswer:
    """Compute everything of one arm but what depends on the other arms.

    Args:
        pool: answers of the tasks that are pooled.
        pairs: from `pairs_with`, of the arm alone.
        chosen: recipe → arm.
        kind: how the arm was made.
        stages: from `flow.flow`.
        weights: see `estimand`.
        margin: half-width of what is no difference in practice.
    """
    effect = contrast(pairs, weights, margin)
    bare = pairs[pairs["context"].eq("unmodified") & pairs["belief"].eq("none")]
    votes = []
    for _, pairs_of_model in pairs.groupby("model", sort=True):
        votes.append(ModelVote(contrast(pairs_of_model, weights, margin), math.nan))
    return StudyAnswer(
        effect=effect,
        claim=NONE_SHOWN,
        p=effect.p,
        is_primary=False,
        margin=margin,
        weights=weights,
        tasks=tuple(sorted(pairs["task"].unique())),
        tasks_apart=(),
        contexts=tuple(pairs["context"].unique()),
        beliefs=tuple(pairs["belief"].unique()),
        without_context=contrast(bare, weights, margin) if len(bare) else None,
        missing=bounds.missing_bounds(eligible_pairs(pool, effect.arm, effect.reference), weights),
        corrected=None,
        by_model=tuple(votes),
        heterogeneity=meta.heterogeneity(
            [vote.contrast.difference for vote in votes], [vote.contrast.error for vote in votes]
        ),
        control=control_contrast(pool, effect, chosen, kind, weights, margin),
        kind=kind,
        flow=stages[stages["arm"].isin([effect.arm, effect.reference])],
        of_models=pool["model"].nunique(),
        refused=(dropped_refusals(pool, effect.arm), dropped_refusals(pool, effect.reference)),
    )


def eligible_pairs(pool: pd.DataFrame, arm: str, reference: str) -> pd.DataFrame:
    """Pair the answers of an arm with the reference's if each has a verdict or should have one."""
    rows = pool[pool["arm"].isin([arm, reference])]
    rows = rows[rows["wrong"].notna() | is_missing(rows)]
    return effects.pair_all(rows, reference)


def unscored_answer(
    pool: pd.DataFrame,
    arm: str,
    reference: str,
    kind: str,
    stages: pd.DataFrame,
    weights: Weights,
    margin: float,
) -> StudyAnswer | None:
    """Answer for an arm that shares no scored prompt with its reference: bounds alone.

    Args:
        pool: answers of the tasks that are pooled.
        arm: the arm.
        reference: what it is compared with.
        kind: how the arm was made.
        stages: from `flow.flow`.
        weights: see `estimand`.
        margin: half-width of what is no difference in practice.

    Returns:
        the answer; None if no prompt was answered in both arms, or none of these answers should
        have had a verdict (it was refused, or its task waits for a judge).
    """
    pairs = eligible_pairs(pool, arm, reference)
    missing = bounds.missing_bounds(pairs, weights)
    if missing is None:
        return None
    return StudyAnswer(
        effect=no_contrast(arm, reference, tuple(sorted(pairs["model"].unique()))),
        claim=UNDETERMINED,
        p=math.nan,
        is_primary=False,
        margin=margin,
        weights=weights,
        tasks=tuple(sorted(pairs["task"].unique())),
        tasks_apart=(),
        contexts=tuple(pairs["context"].unique()),
        beliefs=tuple(pairs["belief"].unique()),
        without_context=None,
        missing=replace(missing, tipping_points=None),  # there is no sign that could turn
        corrected=None,
        by_model=(),
        heterogeneity=None,
        control=None,
        kind=kind,
        flow=stages[stages["arm"].isin([arm, reference])],
        of_models=pool["model"].nunique(),
        refused=(dropped_refusals(pool, arm), dropped_refusals(pool, reference)),
    )


def dropped_refusals(pool: pd.DataFrame, arm: str) -> float:
    """Give the share of an arm's answers that the rule for refusals drops."""
    answers = pool[pool["arm"].eq(arm)]
    return float((answers["refused"] & answers["wrong"].isna()).mean())


def control_contrast(
    pool: pd.DataFrame,
    effect: Contrast,
    chosen: Mapping[str, str],
    kind: str,
    weights: Weights,
    margin: float,
) -> Contrast | None:
    """Compare an arm with the strictest control that was made as it was.

    Returns:
        the contrast; None if there is no such control, or the arm is a control itself.
    """
    if arm_order(effect.arm).recipe in CONTROLS:
        return None
    for of_recipe in control_of(kind, chosen):
        control = as_strong(of_recipe, effect.arm, kind)
        if control == effect.reference:
            continue
        pairs = pairs_with(pool[pool["arm"].isin([effect.arm, control])], control)
        if len(pairs):
            return contrast(pairs, weights, margin)
    return None


def with_votes(answers: Sequence[StudyAnswer]) -> list[StudyAnswer]:
    """Correct the models' tests over all arms and models (Holm)."""
    p_values = []
    for answer in answers:
        p_values += [vote.contrast.p for vote in answer.by_model]
    corrected = iter(holm(p_values))
    voted = []
    for answer in answers:
        votes = tuple(replace(vote, p_holm=next(corrected)) for vote in answer.by_model)
        voted.append(replace(answer, by_model=votes))
    return voted


def decided(answers: Sequence[StudyAnswer], margin: float) -> list[StudyAnswer]:
    """Decide the claims.

    The primary contrast is decided by its own test, the others by theirs corrected among
    themselves.
    """
    corrected = iter(holm([answer.best.p for answer in answers if not answer.is_primary]))
    with_claims = []
    for answer in answers:
        best = answer.best
        p = best.p if answer.is_primary else next(corrected)
        missing = answer.missing
        if answer.corrected is not None and answer.corrected.covers_unscored:
            missing = None
        claimed = UNDETERMINED
        if not answer.is_unscored:
            claimed = claim_of_difference(
                best.low, best.high, p, best.equivalence_p, missing, margin
            )
        with_claims.append(replace(answer, p=p, claim=claimed))
    return with_claims


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values over a family by Holm's method; NaN is no member and stays."""
    values = pd.Series(list(p_values), dtype=float)
    known = values.notna()
    if known.any():
        values[known] = multipletests(values[known], method="holm")[1]
    return values.tolist()
