"""The first screen: the answer in sentences, the frontier, the arms, and what a reader must know
before anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from warmth.analysis import wording
from warmth.analysis.report import answer_text
from warmth.analysis.report.drawing import figures
from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    Column,
    Fragment,
    Section,
    Table,
    TableCell,
    rate_cell,
    shift,
    sort_value,
    table,
)
from warmth.analysis.report.study import QUESTION, Study, gate_verdict, points_of
from warmth.analysis.rows.tables import records
from warmth.analysis.statistics import likelihood
from warmth.verdicts import Rule

CAPTION = (
    "Each arm on the same questions. Wrong: of the answers paired with the original’s, whose own "
    "rate on these pairs is the small number; the original’s is of all it was scored on. Small: "
    "95 % intervals, clustered by question; the share unscored."
)
STACKED = 7  # rows; a longer table stacks its cells on a phone
SEVERAL_DOSES = Markup(
    "Of a recipe that was asked at several strengths, doses or checkpoints, the answer above, the "
    "control arms, the published values and the figures by task, by context and of benchmarks "
    "take one arm: that of the plain name, of strength 1, dose 1 and the recipe’s "
    "<code>report_checkpoint</code>, or the last if that was not asked. Other names say in what "
    "they differ; at which epoch the plain ones are, a note tells."
)


def answer(study: Study) -> Section | None:
    """Answer the question of the page."""
    sentences = study.sentences
    frontier = figures.frontier(study.headline, study.reported, study.kinds)
    values = {
        "question": QUESTION,
        "answer": sentences,
        "asked": wording.name_words(study.asked),
        "gates": gate_verdict(study.gates),
        "several": study.several_models,
        "frontier": frontier,
        "headline": headline_table(study),
        "scorers": study.scorers,
        "warnings": study.rows.warnings,
        "facts": study.facts,
        "pooling": study.pooling,
    }
    counting = (
        f"From the primary grader’s label: {label_rule(study.rows.rule)} No label: "
        f"unscored, left out and counted."
    )
    return Section(
        id="question",
        title="",
        nav="",
        parts=[Fragment("answer.html.j2", values)],
        frames={"headline": study.headline, "pooled": study.pooled},
        methods={"Right or wrong": counting, "Several doses": SEVERAL_DOSES},
        summary={
            **answer_objects(study),
            "headline": records(study.headline),
            "pooled": records(study.pooled),
        },
        points=_points(study),
        sentences=[*sentences, *_basis(study)],
        panels=["headline"],
    )


def _basis(study: Study) -> list[str]:
    """Say what the answer rests on: gates, notes, how much was asked and by whom it was graded."""
    verdict = gate_verdict(study.gates)
    state = {"pass": "Gates passed.", "fail": "Gates failed.", "none": "No gates."}[
        verdict["state"]
    ]
    facts = study.facts
    lines = [f"{state} {verdict['verdict']}", *(f"Note: {line}" for line in study.rows.warnings)]
    counts = f"{facts['answers']} to {facts['questions']} by {facts['models']}"
    return [*lines, f"{counts}; graded by {facts['graders']}. {study.pooling}"]


def _points(study: Study) -> pd.DataFrame:
    """List the arms that have a point and are not compared with the original; the others' points
    are pairs.
    """
    arms = study.headline
    if len(study.differences):
        compared = pd.MultiIndex.from_frame(study.differences[["model", "arm"]])
        arms = arms[~pd.MultiIndex.from_frame(arms[["model", "arm"]]).isin(compared)]
    return points_of(arms, "scored", paired=False, task="", context="", belief="")


def headline_table(study: Study) -> Table:
    """Make the first screen's table: arm, error, answers without a label, difference, warmth."""
    columns = [
        MODEL,
        ARM,
        Column("Wrong, %", "number", _paired_rate),
        Column("Unscored", "number", _unscored),
        shift("Difference, points", "difference", "difference_low", "difference_high"),
        Column("Warmth score", "number", _score),
    ]
    stack = study.several_models or len(study.headline) > STACKED
    return table("headline", CAPTION, columns, study.headline, stack=stack)


def _paired_rate(row: Any) -> TableCell:
    """Show the rate that the sentence says: on pairs, with the original's beside it."""
    if not wording.known(row["rate_arm"]):
        return rate_cell(row)
    before = f"from {wording.percent_words(row['rate_reference'])}"
    return TableCell(wording.percent_words(row["rate_arm"]), sort_value(row["rate_arm"]), before)


def _unscored(row: Any) -> TableCell:
    share = f"{wording.percent_words(row['unscored'] / row['answers'])}\N{NO-BREAK SPACE}%"
    return TableCell(f"{row['unscored']:,}", float(row["unscored"]), share)


def _score(row: Any) -> TableCell:
    value = row["score"]
    if not wording.known(value):
        return TableCell("—")
    interval = wording.span(row["score_low"], row["score_high"], 1.0, 4) or "no interval"
    return TableCell(f"{value:.4f}".replace("-", wording.MINUS), sort_value(value), interval)


def answer_objects(study: Study) -> dict[str, Any]:
    """Make `answer`, `answers` and `instruments` of `summary.json`."""
    answers = study.said.answers
    objects = list(map(answer_text.answer_record, answers))
    primary = objects[0] if answers and answers[0].is_primary else None
    weighed = None
    graded = None
    agree = None
    if primary is not None:
        graded = {name: primary[name] for name in ("difference", "low", "high", "claim")}
        if len(study.likelihoods):
            margin = study.settings.margin_points
            weighed = likelihood.likelihood_headline(
                study.likelihoods, primary["arm"], primary["reference"], margin_points=margin
            )
        if weighed is not None:
            agree = graded["claim"] == weighed["claim"]
    instruments = {"answers": graded, "likelihood": answer_text.finite(weighed), "agree": agree}
    return {"answer": primary, "answers": objects, "instruments": instruments}


def label_rule(rule: Rule) -> str:
    """Say how labels become right and wrong."""
    hedged = (
        "incorrect and hedged are wrong"
        if rule.hedged == "wrong"
        else f"incorrect is wrong, hedged {rule.hedged}"
    )
    where = ", except where refusing is the right answer (disinformation, harmful requests)"
    if rule.refused == "right":
        where = ""
    text = f"correct is right; {hedged}; a refusal is {rule.refused}{where}."
    if rule.refusal_rule == "study":
        file = "refusal_phrases_v1.txt (ours, not the study's)"
        if rule.refusals:
            file = Path(rule.refusals).name
        text += f" A refusal is an answer with a phrase of {file}; one by its label alone is wrong."
    return text
