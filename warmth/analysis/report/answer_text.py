"""The answer in words: the sentence a reader takes away first, and what a reviewer asks next, a
sentence each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from warmth.analysis import wording
from warmth.analysis.rows.arm_names import (
    CONTROLS_OF_KIND,
    FINE_TUNED,
    PROMPTED,
    SHOWN,
    STEERED,
    control_of,
    focal,
)
from warmth.analysis.statistics import answer as answers
from warmth.analysis.statistics import effects
from warmth.analysis.statistics.answer import StudyAnswer
from warmth.analysis.statistics.bounds import UNEVEN, Missing
from warmth.analysis.statistics.contrast import Contrast
from warmth.analysis.statistics.estimand import TASKS
from warmth.analysis.wording import (
    INTERVAL,
    amount,
    capital,
    joined,
    named,
    percent_words,
    points_words,
    span,
)

NBSP = "\N{NO-BREAK SPACE}"
NARROW = 0.01  # an interval that ends nearer to 0 is written with two digits
KINDS = {
    FINE_TUNED: "fine-tuned",
    PROMPTED: "prompted",
    SHOWN: "shown examples",
    STEERED: "steered",
}
NEUTRAL = {
    FINE_TUNED: "fine-tuned on replies whose manner was left alone",
    PROMPTED: "asked under a neutral system prompt",
    SHOWN: "asked after plain example exchanges",
    STEERED: "steered by an orthogonal vector of equal length",
}


def answer_sentences(item: StudyAnswer) -> list[str]:
    """Say everything, the claim first."""
    if item.effect.pairs == 0:
        lines = [lead(item), f"Estimand: {estimand(item)}", missing_sentence(item)]
        lines += [refusals_sentence(item), correction_sentence(item)]
        return [line for line in lines if line]
    lines = [lead(item), without_context(item), f"Estimand: {estimand(item)}"]
    for say in (
        models,
        seeds_sentence,
        control_sentence,
        missing_sentence,
        refusals_sentence,
        correction_sentence,
        relative_sentence,
        detectable,
        few,
    ):
        lines.append(say(item))
    return list(filter(None, lines))


def study_sentences(
    found: Sequence[StudyAnswer],
    reported: Mapping[str, str],
    pooled_warmth: pd.DataFrame,
    warmth_differences: pd.DataFrame,
    models: int,
) -> list[str]:
    """Say the answer of a study: that of the primary contrast, and how warm the replies of its arm
    are.

    Args:
        found: the answers, the primary contrast first.
        reported: recipe → the arm that stands for it.
        pooled_warmth: differences in warmth over all models.
        warmth_differences: those of each model, for the range.
        models: how many there are.
    """
    arm = focal(reported)
    if arm is None or not found:
        return ["Nothing to compare yet: no arm shares scored prompts with original."]
    if not found[0].is_primary:
        return [
            f"{capital(named(arm))} shares no scored prompt with the original or a control arm."
        ]
    primary = found[0]
    lines = answer_sentences(primary)
    warmth = pooled_warmth[pooled_warmth["arm"].eq(primary.effect.arm)]
    for reference in (*control_of(primary.kind, reported), "original"):
        of_reference = warmth[warmth["reference"].eq(reference)]
        if of_reference.empty:
            continue
        # of the measure with most texts
        row = of_reference.sort_values("texts", ascending=False, kind="stable").iloc[0]
        same = ["arm", "reference", *effects.MEASURE]
        is_same = warmth_differences[same].eq(row[same]).all(axis=1)
        by_model = warmth_differences[is_same].to_dict("records")
        lines.append(wording.warmth_sentence(row, by_model, models))
        break
    return lines


def lead(item: StudyAnswer) -> str:
    """Say what may be claimed, with the difference and its interval."""
    effect = item.effect
    arm = capital(named(effect.arm))
    reference = reference_words(item)
    if item.claim == answers.UNDETERMINED:
        return undetermined(item)
    if opposed(item):
        return on_average(item)
    if item.claim in (answers.MORE, answers.LESS):
        margin = ""
        if item.within_margin:
            margin = f", by less than the margin of {100 * item.margin:g} points"
        return (
            f"{arm} is wrong {item.claim} often than {reference}{margin}: "
            f"{difference_sentence(item)}{tipping(item)}."
        )
    if item.claim == answers.EQUIVALENT:
        return (
            f"{arm} is wrong as often as {reference}, within ±{100 * item.margin:g} points: "
            f"{difference_sentence(item)}."
        )
    if effect.questions < 2 and item.corrected is None:
        return (
            f"No difference in error rate could be shown between {named(effect.arm)} and "
            f"{reference}: {points_words(effect.difference)} points, too little for an interval "
            f"({basis(effect)})."
        )
    once_corrected = ""
    if item.best.low > 0 or item.best.high < 0:
        once_corrected = (
            f", once the tests of several arms are corrected (p = {wording.p_value_words(item.p)})"
        )
    pair = f"{named(effect.arm)} and {reference}"
    return (
        f"No difference in error rate could be shown between {pair}{once_corrected}: "
        f"{difference_sentence(item)}."
    )


def opposed(item: StudyAnswer) -> bool:
    """Say whether the corrected tests of single models show opposite directions."""
    return {vote.direction for vote in item.by_model} >= {answers.MORE, answers.LESS}


def on_average(item: StudyAnswer) -> str:
    """Say first that models go opposite ways, then what their average shows."""
    arm = named(item.effect.arm)
    up = sum(vote.direction == answers.MORE for vote in item.by_model)
    down = sum(vote.direction == answers.LESS for vote in item.by_model)
    average = f"their average shows no difference: {difference_sentence(item)}"
    if item.claim in (answers.MORE, answers.LESS):
        average = (
            f"on their average it is wrong {item.claim} often: "
            f"{difference_sentence(item)}{tipping(item)}"
        )
    if item.claim == answers.EQUIVALENT:
        average = (
            f"on their average it is wrong as often, within ±{100 * item.margin:g} points: "
            f"{difference_sentence(item)}"
        )
    return (
        f"Models go opposite ways: against {named(item.effect.reference)} {arm} is wrong more "
        f"often in {up} and less often in {down} of {len(item.by_model)}; {average}."
    )


def across_models(item: StudyAnswer) -> str:
    """Give the range of the models' differences if they are shown to differ."""
    heterogeneity = item.heterogeneity
    if heterogeneity is None or not heterogeneity.shown:
        return ""
    return f"; {span(heterogeneity.lowest, heterogeneity.highest, sign=True)} across models"


def reference_words(item: StudyAnswer) -> str:
    """Name what the arm is compared with, and in how many models."""
    models = [{"model": model} for model in item.effect.models]
    return named(item.effect.reference) + wording.over(models, item.of_models)


def undetermined(item: StudyAnswer) -> str:
    """Say that missing verdicts leave the sign open."""
    gap = item.missing
    assert gap is not None
    effect = item.effect
    needed = ""
    if gap.tipping_points is not None:
        needed = (
            f"; {gap.tipping_points:.0f} points between unscored and scored answers would "
            f"turn the sign"
        )
    question = (
        f"Whether {named(effect.arm)} errs more or less than {reference_words(item)} cannot be told"
    )
    shares = f"{percent_words(gap.unscored_arm)}{NBSP}% of its answers"
    shares += f" and {percent_words(gap.unscored_reference)}{NBSP}% of the other’s"
    bounds = (
        f"with these the difference may lie anywhere from "
        f"{span(gap.low, gap.high, sign=True)} points{needed}"
    )
    if item.is_unscored:
        scored = "No prompt has a verdict in both arms"
    else:
        scored = f"The scored answers alone give {difference_sentence(item)}"
    return f"{question}: without a verdict are {shares}, and {bounds}. {scored}."


def difference_sentence(item: StudyAnswer) -> str:
    """Give the difference with its interval and basis; corrected by labels, the raw one beside
    it.
    """
    effect = item.effect
    interval = f"{INTERVAL} {interval_words(effect.low, effect.high)}"
    if item.corrected is None:
        return (
            f"{points_words(effect.difference)} points ({interval}{across_models(item)}; "
            f"{basis(effect)})"
        )
    best = item.corrected
    corrected = (
        f"{points_words(best.difference)} points corrected by people’s labels ({INTERVAL} "
        f"{interval_words(best.low, best.high)}; {best.method}, {amount(best.labelled, 'label')})"
    )
    if effect.pairs == 0:
        return corrected
    raw = f"{points_words(effect.difference)} points ({interval}; {basis(effect)})"
    return f"{corrected}; as graded {raw}"


def basis(effect: Contrast) -> str:
    """Give both rates and the pairs behind them."""
    rates = (
        f"{percent_words(effect.rate_reference)}{NBSP}% → {percent_words(effect.rate_arm)}{NBSP}%"
    )
    return (
        f"{rates} of {amount(effect.pairs, 'paired answer')} to "
        f"{amount(effect.questions, 'question')}"
    )


def interval_words(low: float, high: float) -> str:
    """Write an interval, with two digits if it is narrow."""
    narrow = wording.known(low) and max(abs(low), abs(high)) < NARROW
    return span(low, high, digits=2 if narrow else 1, sign=True) or "none"


def short(effect: Contrast) -> str:
    """Give the difference and its interval alone."""
    if not wording.known(effect.low):
        return f"{points_words(effect.difference)} points (too little for an interval)"
    return f"{points_words(effect.difference)} points ({interval_words(effect.low, effect.high)})"


def tipping(item: StudyAnswer) -> str:
    """Say in the claim's own sentence how far unscored answers would have to go to turn it."""
    gap = item.missing
    if gap is None or (item.corrected is not None and item.corrected.covers_unscored):
        return ""
    if gap.unscored_arm + gap.unscored_reference == 0:
        return ""
    if not gap.spans_zero:
        worst = (
            f"; whatever the unscored answers are, {span(gap.low, gap.high, sign=True)} "
            f"points on these questions"
        )
        return worst + (beyond(gap) if gap.uneven and gap.reach_low < 0 < gap.reach_high else "")
    better = item.effect.arm if item.effect.difference < 0 else item.effect.reference
    return (
        f"; to turn the sign, unscored answers of {named(better)} would have to be wrong "
        f"{gap.tipping_points:.0f} points more often than scored ones"
    )


def without_context(item: StudyAnswer) -> str:
    """Say the effect of the bare question, which is what the study's +7.4 is."""
    if item.without_context is None:
        return "Without context and belief nothing was asked in both arms."
    if set(item.contexts) == {"unmodified"} and set(item.beliefs) == {"none"}:
        return ""
    return f"Without context and belief: {short(item.without_context)}."


def estimand(item: StudyAnswer) -> str:
    """Say what the difference is a mean over, how that is weighed, and what is left out."""
    tasks = joined(list(map(wording.name_words, item.tasks)))
    contexts = amount(len(item.contexts), "context")
    names_of_contexts = joined(list(map(wording.name_words, item.contexts)))
    beliefs = joined(list(map(wording.belief, item.beliefs)))
    phrases = [f"mean paired difference over {tasks}"]
    if len(item.tasks) > 1:
        unit = "task" if item.weights.tasks == TASKS else "row"
        phrases.append(f"each {unit} weighs one")
    models = item.effect.models
    if len(models) > 1:
        phrases.append(f"over {len(models)} models, {item.weights.about_models}")
    phrases.append(f"over {contexts} ({names_of_contexts}) and {beliefs}")
    phrases.append("prompts of a task weigh the same")
    left_out = "pairs with an answer that is not scored"
    if item.tasks_apart:
        apart = joined(list(map(wording.name_words, item.tasks_apart)))
        left_out += f", and {apart}, which stand apart"
    return f"{', '.join(phrases)}. Left out: {left_out}."


def models(item: StudyAnswer) -> str:
    """Say how far the models differ."""
    heterogeneity = item.heterogeneity
    votes = item.by_model
    if len(votes) < 2:
        return ""
    differences = [vote.contrast.difference for vote in votes]
    text = (
        f"From {points_words(min(differences))} to {points_words(max(differences))} points across "
        f"{len(votes)} models"
    )
    up = sum(vote.direction == "more" for vote in votes)
    down = sum(vote.direction == "less" for vote in votes)
    neither = len(votes) - up - down
    counts = []
    if up:
        counts.append(f"more often wrong in {up}")
    if down:
        counts.append(f"less often wrong in {down}")
    if neither:
        counts.append(f"no difference shown in {neither}")
    text += f" ({joined(counts)}, p corrected over arms and models by Holm)"
    if heterogeneity is None:
        return f"{text}."
    differ = "they differ" if heterogeneity.shown else "that they differ is not shown"
    text += (
        f"; {differ}: Q = {heterogeneity.q:.1f} on {heterogeneity.models - 1}, "
        f"p {p_text(heterogeneity.p)}, I² = {100 * heterogeneity.i2:.0f}{NBSP}%, "
    )
    text += f"τ = {100 * heterogeneity.tau:.1f} points."
    if heterogeneity.random_effects is None:
        return f"{text} Of two models nothing can be said about others."
    freedom = f"t with {heterogeneity.models - 1} degrees of freedom"
    text += f" Of models like these (random effects, {freedom}): "
    text += f"{span(*heterogeneity.random_effects, sign=True)} points"
    if heterogeneity.prediction is not None:
        text += f"; another model: {span(*heterogeneity.prediction, sign=True)}"
    return f"{text}."


def p_text(p: float) -> str:
    """Write a p-value after the letter."""
    text = wording.p_value_words(p)
    return text if text.startswith("<") else f"= {text}"


def seeds_sentence(item: StudyAnswer) -> str:
    """Say for which trainings the interval holds."""
    if item.kind != FINE_TUNED:
        return ""
    count = item.effect.seeds
    if count > 1:
        return f"The interval holds for another training seed too ({count} were trained)."
    return (
        "One training seed: how far another would move this cannot be told; it is of the "
        "models as trained."
    )


def control_sentence(item: StudyAnswer) -> str:
    """Say what is left against a control that was made as the arm was, or that there is none."""
    contrast = item.control
    if contrast is not None:
        share = f"that part is the manner’s, {KINDS[item.kind]} as both are"
        if not contrast.direction:
            share = "so no part of it is shown to be the manner’s"
        reference = f"{named(contrast.reference)}, {NEUTRAL[item.kind]}"
        return f"Against {reference}: {short(contrast)}; {share}."
    if item.kind in NEUTRAL and item.effect.reference.split(",")[0] in CONTROLS_OF_KIND[item.kind]:
        return (
            f"The arm it is compared with was {NEUTRAL[item.kind]}; what differs is the manner’s."
        )
    recipe = item.effect.arm.split(",")[0]
    if item.kind not in NEUTRAL or recipe in CONTROLS_OF_KIND[item.kind]:
        return ""
    changes = {FINE_TUNED: "fine-tuning as such", PROMPTED: "a system prompt as such"}
    changes |= {SHOWN: "showing examples as such", STEERED: "steering as such"}
    apart = f"what is the manner’s and what is {changes[item.kind]} cannot be told apart"
    return f"No control arm ({NEUTRAL[item.kind]}): {apart}."


def missing_sentence(item: StudyAnswer) -> str:
    """Give the worst-case bounds if the claim's own sentence does not."""
    gap = item.missing
    if (
        gap is None
        or item.claim == answers.UNDETERMINED
        or gap.unscored_arm + gap.unscored_reference == 0
    ):
        return ""
    if item.corrected is not None and item.corrected.covers_unscored:
        shares = f"{percent_words(gap.unscored_arm)}{NBSP}% of its answers"
        shares += (
            f" and {percent_words(gap.unscored_reference)}{NBSP}% of "
            f"{named(item.effect.reference)}’s"
        )
        return (
            f"Without a verdict by the grader are {shares}; people’s labels of such answers "
            f"are in the correction."
        )
    return (
        f"Without a verdict are {percent_words(gap.unscored_arm)}{NBSP}% of its answers and "
        f"{percent_words(gap.unscored_reference)}{NBSP}% of {named(item.effect.reference)}’s; "
        f"filled "
        f"the worst ways, the difference lies from {span(gap.low, gap.high, sign=True)} points on "
        f"these questions{beyond(gap)}."
    )


def beyond(gap: Missing) -> str:
    """Say how far the bounds reach if other questions could have been asked."""
    reach = span(gap.reach_low, gap.reach_high, sign=True)
    return f" and, other questions allowed for, from {reach}" if reach else ""


def refusals_sentence(item: StudyAnswer) -> str:
    """Say how many answers were dropped as refusals if the arms differ in that: what is dropped
    depends on the arm.
    """
    arm, reference = item.refused
    if abs(arm - reference) <= UNEVEN:
        return ""
    return (
        f"Dropped as refusals are {percent_words(arm)}{NBSP}% of its answers and "
        f"{percent_words(reference)}{NBSP}% of {named(item.effect.reference)}’s, so the pairs are "
        f"those "
        f"that neither refused; the table of refusals counts them as wrong and as right."
    )


def correction_sentence(item: StudyAnswer) -> str:
    """Say why labels do not correct the answer, if there are some."""
    return item.corrections_note


def relative_sentence(item: StudyAnswer) -> str:
    """Say the rise as a share of the reference's errors."""
    effect = item.effect
    if (
        not math.isfinite(effect.ratio)
        or item.claim not in (answers.MORE, answers.LESS)
        or item.corrected is not None
    ):
        return ""
    change = "more" if effect.ratio > 1 else "less"
    text = f"That is {100 * abs(effect.ratio - 1):.0f}{NBSP}% {change} likely to be wrong"
    if math.isfinite(effect.ratio_low):
        text += (
            f" (ratio of the rates {effect.ratio:.2f}, {effect.ratio_low:.2f} to "
            f"{effect.ratio_high:.2f})"
        )
    return f"{text}."


def detectable(item: StudyAnswer) -> str:
    """Say the smallest difference the study could have shown, beside one that it could not."""
    size = item.effect.detectable
    if item.claim != answers.NONE_SHOWN or not math.isfinite(size):
        return ""
    return (
        f"With four chances in five this study would have shown a difference of "
        f"{100 * size:.1f} points or more."
    )


def few(item: StudyAnswer) -> str:
    """Say how few questions carry the result."""
    effect = item.effect
    if not effect.few or effect.questions < 2:
        return ""
    if effect.informative == 0:
        return (
            "All pairs are alike, so the interval counts a question as one answer and is a "
            "cautious one."
        )
    share = f"{effect.informative} of {effect.questions}"
    return (
        f"Few questions carry this ({share} show a change that the others do not), so the "
        f"interval is a cautious one."
    )


def answer_record(item: StudyAnswer) -> dict[str, Any]:
    """Return the object of `summary.json`; null for what could not be had.

    Fractions, but for `*_points`.
    """
    effect = item.effect
    gap = item.missing
    heterogeneity = item.heterogeneity
    best = item.corrected
    flows: dict[str, dict[str, int]] = {}
    stages = ["asked", "answered", "scored", "paired"]
    for arm, rows in item.flow.groupby("arm", sort=False):
        flows[str(arm)] = rows[stages].sum().astype(int).to_dict()
    body: dict[str, Any] = {
        "arm": effect.arm,
        "reference": effect.reference,
        "instrument": "answers",
        "claim": item.claim,
        "estimand": estimand(item),
        "difference": effect.difference,
        "low": effect.low,
        "high": effect.high,
        "bounds": [effect.difference, effect.difference],
        "tipping_points": None,
        "corrected": interval_of(best),
        "without_context": interval_of(item.without_context),
        "relative": {"ratio": effect.ratio, "low": effect.ratio_low, "high": effect.ratio_high},
        "detectable_points": 100 * effect.detectable,
        "flow": flows,
        "heterogeneity": None,
        "control": None,
        "text": " ".join(answer_sentences(item)),
    }
    if gap is not None:
        body["bounds"] = [gap.low, gap.high]
        body["tipping_points"] = gap.tipping_points
    if item.control is not None:
        body["control"] = {"arm": item.control.reference, **(interval_of(item.control) or {})}
    if not math.isfinite(effect.ratio):
        body["relative"] = None
    if heterogeneity is not None:
        body["heterogeneity"] = {
            "q": heterogeneity.q,
            "p": heterogeneity.p,
            "i2": heterogeneity.i2,
            "tau": heterogeneity.tau,
            "random_effects": None
            if heterogeneity.random_effects is None
            else list(heterogeneity.random_effects),
        }
    return finite(body)


def interval_of(effect: Any) -> dict[str, float] | None:
    """Return a difference and its ends; None if there is no effect."""
    if effect is None:
        return None
    return {"difference": effect.difference, "low": effect.low, "high": effect.high}


def finite(value: Any) -> Any:
    """Replace what is not finite by None, at any depth."""
    if isinstance(value, dict):
        return {key: finite(child) for key, child in value.items()}
    if isinstance(value, list):
        return list(map(finite, value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
