"""The first screen of a study without free answers: what likelihoods say, and what a reader must
know before that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from warmth.analysis import wording
from warmth.analysis.report import answer_text
from warmth.analysis.report.kernel import Fragment, Notes, Paragraph, Part, Section
from warmth.analysis.report.study import QUESTION, Study, gate_verdict
from warmth.analysis.rows.arm_names import focal
from warmth.analysis.statistics import likelihood

ESTIMAND = (
    "mean paired difference of the probability of the wrong answer, 1 − σ(K), where no belief is "
    "stated, over questions and contexts; mean of all frames"
)
CLAIMS = {
    "more": "{arm} holds the truth less likely than {reference}",
    "less": "{arm} holds the truth more likely than {reference}",
    "equivalent": "{arm} holds the truth as likely as {reference}, within ±{margin:g} points",
    "none_shown": "no difference is shown in how likely {arm} and {reference} hold the truth",
}
NO_ANSWERS = (
    "These arms were asked for no free answers (scoring=likelihood): nothing here says what they "
    "would write, how often they refuse or hedge, or what a reader would take from it."
)


def weighed(study: Study) -> Section | None:
    """Answer the question of the page from likelihoods alone."""
    objects = weighed_answer_objects(study)
    primary = objects[0] if objects else None
    lines = [answer["text"] for answer in objects]
    if not lines:
        lines = ["Nothing to compare yet: no two arms weighed the same questions."]
    verdict = gate_verdict(study.gates)
    state = {"pass": "Gates passed.", "fail": "Gates failed.", "none": "No gates."}[
        verdict["state"]
    ]
    graded = None
    if primary is not None:
        graded = {name: primary[name] for name in ("difference", "low", "high", "claim")}
    notes = [f"Note: {line}" for line in study.rows.warnings]
    margins = wording.amount(len(study.likelihoods), "margin")
    basis = f"{margins} of {study.facts['questions']} by {study.facts['models']}."
    answers = {"question": QUESTION, "answer": lines, "gates": verdict}
    parts: list[Part] = [Fragment("weighed.html.j2", answers), Paragraph(f"{NO_ANSWERS} {basis}")]
    if study.rows.warnings:
        parts.append(Notes(list(study.rows.warnings)))
    return Section(
        id="question",
        title="",
        nav="",
        parts=parts,
        summary={
            "answer": primary,
            "answers": objects,
            "instruments": {"answers": None, "likelihood": graded, "agree": None},
        },
        sentences=[*lines, f"{state} {verdict['verdict']}", *notes, NO_ANSWERS, basis],
    )


def weighed_answer_objects(study: Study) -> list[dict[str, Any]]:
    """Make the answer of every arm as `summary.json` holds it, that of the primary arm first."""
    references = study.references
    if not references:
        return []
    reference = references[0]
    arms = [arm for arm in study.reported.values() if arm != reference]
    arms.sort(key=lambda arm: arm != focal(study.reported))
    objects = []
    for arm in arms:
        cost = likelihood.likelihood_headline(
            study.likelihoods, arm, reference, margin_points=study.settings.margin_points
        )
        if cost is not None:
            objects.append(answer_object(study, arm, reference, cost))
    return objects


def answer_object(
    study: Study, arm: str, reference: str, cost: Mapping[str, Any]
) -> dict[str, Any]:
    """Make one arm's answer; null for what only free answers have."""
    return answer_text.finite(
        {
            "arm": arm,
            "reference": reference,
            "instrument": "likelihood",
            "claim": cost["claim"],
            "estimand": ESTIMAND,
            "difference": cost["difference"],
            "low": cost["low"],
            "high": cost["high"],
            "bounds": [cost["difference"], cost["difference"]],
            "tipping_points": None,
            "corrected": None,
            "without_context": None,
            "relative": None,
            "detectable_points": None,
            "flow": {},
            "heterogeneity": None,
            "control": None,
            "text": sentence(study, arm, reference, cost),
        }
    )


def sentence(study: Study, arm: str, reference: str, cost: Mapping[str, Any]) -> str:
    """Say an arm's answer: the claim, and the difference with its interval."""
    names = {"arm": wording.named(arm), "reference": wording.named(reference)}
    claim = CLAIMS[cost["claim"]].format(**names, margin=study.settings.margin_points)
    interval = wording.span(cost["low"], cost["high"], sign=True)
    return (
        f"By likelihood, {claim}: the probability of the wrong answer differs by "
        f"{wording.points_words(cost['difference'])} points ({wording.INTERVAL} {interval})."
    )
