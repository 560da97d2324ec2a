"""The graders: who agrees with whom, and what people's labels correct."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup

from warmth.analysis import wording
from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    Column,
    Paragraph,
    Section,
    Table,
    TableCell,
    arm_cell,
    count,
    percent,
    points,
    rate_cell,
    shift,
    shift_cell,
    table,
    text,
)
from warmth.analysis.report.study import Study
from warmth.analysis.rows.labels import read_labels
from warmth.analysis.statistics import agreement
from warmth.analysis.statistics.judging import METHODS

BY = ["refused", "model", "arm"]
CORRECTIONS = {"raw": "As graded", "rogan_gladen": "Rogan-Gladen", "ppi": "PPI++"}
ABOUT = Markup(
    "A grade is a measurement with an error of its own, which may differ between arms. "
    "<code>warmth agreement</code> measures it against people."
)
PAIRS = (
    "Graders on the answers both scored. Kappa: agreement beyond chance. Small: 95 % interval "
    "over questions."
)
BRIDGE = (
    "Two graders on the answers both scored. Small: 95 % interval of the second’s rate less "
    "the first’s."
)
METHOD = (
    "With people’s labels, two estimates. Rogan–Gladen: (q + Sp − 1) / (Se + Sp − 1) of the "
    "graded rate q, with the grader’s sensitivity Se and specificity Sp; where refusals are "
    "dropped, a ratio of what people find wrong to what they count, verdict by verdict. PPI++, "
    "prediction-powered inference: the labelled answers’ own rate, its noise reduced by what the "
    "grader says of all answers."
)


def graders(study: Study) -> Section | None:
    """Show how graders agree with each other and, if people labelled answers, what their labels
    correct.
    """
    judges = agreement.judges(study.rows, study.grades)
    pairs = pd.DataFrame(list(map(flat_kappa, judges["pairs"])))
    bridge = pd.DataFrame(judges["bridge"])
    corrected: dict[str, Any] = {"rates": [], "differences": [], "scored": 0, "answers": 0}
    if study.labels:
        corrected = agreement.agreement_summary(
            study.rows, read_labels([study.labels], study.rows.studies)
        )["corrected"]
    frames = {
        "graders": pairs,
        "grader_bridge": bridge,
        "corrected_rates": pd.DataFrame(corrected["rates"]),
        "corrected_differences": pd.DataFrame(corrected["differences"]),
    }
    frames = {name: frame for name, frame in frames.items() if len(frame)}
    if not frames:
        return None
    tables = []
    if "graders" in frames:
        tables.append(pair_table(pairs))
    if "grader_bridge" in frames:
        tables.append(bridge_table(bridge))
    if "corrected_rates" in frames:
        tables.append(correction_table(corrected))
    return Section(
        id="graders",
        title="Graders",
        parts=[Paragraph(ABOUT), *tables],
        frames=frames,
        methods={"A grader’s error": METHOD},
    )


def flat_kappa(row: dict[str, Any]) -> dict[str, Any]:
    """Put the value and the interval of a pair's kappa into columns of their own."""
    kappa = row["kappa"]
    return {**row, "kappa": kappa["value"], "kappa_low": kappa["low"], "kappa_high": kappa["high"]}


def pair_table(pairs: pd.DataFrame) -> Table:
    """Make the table of how far every two graders agree."""
    columns = [
        text("First", "first"),
        text("Second", "second"),
        count("Answers", "n"),
        percent("Same label, %", "same"),
        Column("Kappa", "number", _kappa),
    ]
    return table("graders", PAIRS, columns, pairs, wide=True)


def _kappa(row: Any) -> TableCell:
    if not wording.known(row["kappa"]):
        return TableCell("—")
    interval = ""
    if wording.known(row["kappa_low"]):
        interval = f"{row['kappa_low']:.2f} to {row['kappa_high']:.2f}"
    return TableCell(f"{row['kappa']:.2f}", float(row["kappa"]), interval)


def bridge_table(bridge: pd.DataFrame) -> Table:
    """Make the table of two graders on the same answers, and of what replacing one by the other
    changes.
    """
    columns = [
        MODEL,
        ARM,
        text("First", "first"),
        text("Second", "second"),
        count("Answers", "n"),
        percent("Wrong by first, %", "rate_first"),
        percent("By second, %", "rate_second"),
        shift("Second − first, points", "change"),
        points("Difference by first", "difference_first"),
        points("By second", "difference_second"),
    ]
    return table("grader-bridge", BRIDGE, columns, bridge, wide=True)


def correction_table(corrected: dict[str, Any]) -> Table:
    """Make the table of rates and differences as graded and corrected, side by side.

    Args:
        corrected: `rates` and `differences`, rows of model, arm, method, value, low, high and
            refused; `scored` of `answers` are behind them.
    """
    caption = (
        "Corrected for the grader’s errors by people’s labels. Small: 95 % intervals that hold "
        f"those errors. Of scored answers only: {corrected['scored']:,} of "
        f"{corrected['answers']:,}."
    )
    kinds = [("wrong, %", "rates", rate_cell), ("difference, points", "differences", shift_cell)]
    kinds = [kind for kind in kinds if corrected[kind[1]]]
    rows = []
    for heading, name, make in kinds:
        for (refused, model, arm), group in pd.DataFrame(corrected[name]).groupby(BY, sort=False):
            by_method = group.set_index("method").to_dict("index")
            numbers = [_corrected(by_method[method], make) for method in METHODS]
            words = [TableCell(heading)] if len(kinds) > 1 else []
            rows.append(
                [
                    TableCell(wording.name_words(model)),
                    arm_cell(arm),
                    *words,
                    TableCell(refused),
                    *numbers,
                ]
            )
    headings = ["Model", "Arm", *(["What"] if len(kinds) > 1 else []), "Refusals"]
    types = ["text"] * len(headings) + ["number"] * len(CORRECTIONS)
    return Table("corrected", caption, [*headings, *CORRECTIONS.values()], types, rows, wide=True)


def _corrected(row: Any, make: Any) -> TableCell:
    return make(row, "value") if wording.known(row["value"]) else TableCell("—")
