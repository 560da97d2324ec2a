"""Prompts with every arm's answer, side by side, drawn and not picked."""

from __future__ import annotations

from typing import Any

import pandas as pd

from warmth.analysis import wording
from warmth.analysis.report.drawing.ink import variable
from warmth.analysis.report.kernel import Fragment, Section
from warmth.analysis.report.study import Study
from warmth.analysis.rows import examples as drawn
from warmth.analysis.rows.examples import PromptExample
from warmth.verdicts import LABELS

LONG_ANSWER = 1500  # characters of one answer shown


def examples(study: Study) -> Section | None:
    """Show prompts on which arms disagree, and some on which they agree."""
    items, disagreements = drawn.draw_examples(study.rows)
    primary = study.said.answers[0].effect.arm if study.said.answers else ""
    values = {
        "examples": views(items, primary),
        "disagreements": disagreements,
        "label_classes": LABELS,
    }
    return Section(
        id="examples",
        title="Examples",
        parts=[Fragment("examples.html.j2", values)],
        frames={"examples": pd.DataFrame(csv_rows(items))},
        panels=["examples"],
    )


def csv_rows(items: list[PromptExample]) -> list[dict[str, Any]]:
    """Write a row for each answer shown."""
    rows = []
    for item in items:
        prompt = {
            name: getattr(item, name) for name in ("question_id", "context", "belief", "message")
        }
        rows += [
            {**prompt, "arm": answer.arm, "label": answer.label, "text": answer.text}
            for answer in item.said
        ]
    return rows


def views(items: list[PromptExample], primary: str = "") -> list[dict[str, Any]]:
    """Make everything in the examples visible, and cut longer answers; a phone shows the primary
    arm's first.
    """
    return [
        {
            "question_id": wording.visible(item.question_id, 80),
            "task": wording.name_words(item.task),
            "context": wording.name_words(item.context),
            "belief": wording.belief(item.belief),
            "model": wording.name_words(item.model),
            "message": wording.visible(item.message, LONG_ANSWER),
            "accepted": wording.visible("; ".join(item.accepted), 300),
            "disagree": item.disagree,
            "said": [_answer(answer, primary) for answer in item.said],
        }
        for item in items
    ]


def _answer(answer: Any, primary: str) -> dict[str, Any]:
    return {
        "primary": answer.arm == primary,
        "arm": wording.name_words(answer.arm),
        "variable": variable(answer.arm),
        "label": answer.label,
        "reason": wording.name_words(answer.reason),
        "text": wording.visible(answer.text, LONG_ANSWER),
        "cut_off": answer.cut_off and answer.reason != "cut_off",
    }
