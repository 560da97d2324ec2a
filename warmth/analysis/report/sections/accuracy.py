"""What is known of the graders' accuracy, beside the tasks that they graded here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from warmth import accuracy as known_accuracy
from warmth.analysis import wording
from warmth.analysis.report.kernel import (
    Column,
    Fold,
    Paragraph,
    Section,
    TableCell,
    count,
    number,
    percent,
    rate,
    table,
    text,
)
from warmth.analysis.report.study import Study

CAPTION = (
    "Each task’s grader on answers that people labelled. Small: 95 % interval over questions. "
    "Bias: the largest "
    "difference of two systems’ errors by the grader, less that by people."
)
IN_SAMPLE = (
    "The rules were changed with answers of these populations in view (in-sample), so expect less "
    "agreement on others. "
    "Labels of your own answers tell how much less: warmth agreement."
)
METHOD = (
    "Made by bench/accuracy.py and kept in warmth/accuracy.json. Agreement and Cohen’s kappa are "
    "of answers that the "
    "grader labels; the share without a label stands beside them."
)


def accuracy(study: Study) -> Section | None:
    """Show how far the graders of this study agree with people elsewhere."""
    graders = graders_by_task(study)
    frame = accuracy_of_graders(graders)
    unknown = [
        f"{task} ({grader})"
        for task, grader in graders.items()
        if not known_accuracy.of(grader, task)
    ]
    parts: list[Any] = []
    if unknown:
        sentence = (
            f"Of {wording.joined(unknown)} no accuracy is known; warmth agreement measures "
            f"one from people’s labels."
        )
        parts.append(Paragraph(sentence))
    if len(frame):
        columns = [
            text("Task", "task"),
            text("Grader", "grader"),
            text("Known on", "population"),
            count("Answers", "answers"),
            rate("Agree, %", "agreement"),
            Column("Kappa", "number", _kappa),
            percent("No label, %", "unscored"),
            number("Bias, points", "bias", 1, sign=True),
        ]
        accuracy_table = table("accuracy", CAPTION, columns, frame, wide=True)
        parts.append(Fold("What is known of every rule and judge", [accuracy_table], ["accuracy"]))
        if frame["in_sample"].any():
            parts.append(Paragraph(IN_SAMPLE))
    if not parts:
        return None
    return Section(
        id="accuracy",
        title="What is known of the graders",
        nav="Accuracy",
        parts=parts,
        frames={"accuracy": frame} if len(frame) else {},
        methods={"Known accuracy": METHOD},
    )


def graders_by_task(study: Study) -> dict[str, str]:
    """Return the grader whose labels count, for each task that is not without its judge."""
    pairs = study.answers[["task", "grader"]].dropna().drop_duplicates()
    return {row.task: row.grader for row in pairs.itertuples() if row.grader != "no_judge"}


def accuracy_of_graders(graders: dict[str, str]) -> pd.DataFrame:
    """Return what is known of each task's grader, shares from 0 to 1."""
    rows = []
    for task, grader in graders.items():
        for row in known_accuracy.of(grader, task):
            shares = {
                name: getattr(row, name) / 100 for name in ("agreement", "low", "high", "unscored")
            }
            rows.append(asdict(row) | shares)
    return pd.DataFrame(rows)


def _kappa(row: Any) -> TableCell:
    return (
        TableCell(f"{row['kappa']:.2f}", float(row["kappa"]))
        if wording.known(row["kappa"])
        else TableCell("—")
    )
