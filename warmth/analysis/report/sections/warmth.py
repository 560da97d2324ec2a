"""Warmth scores by arm and, over training, by epoch."""

from __future__ import annotations

from typing import Any

from warmth.analysis import wording
from warmth.analysis.report.drawing import own_figures
from warmth.analysis.report.kernel import (
    ARM,
    MODEL,
    Column,
    Paragraph,
    Part,
    Section,
    Table,
    TableCell,
    count,
    name,
    sort_value,
    table,
)
from warmth.analysis.report.study import Study
from warmth.analysis.rows.arm_names import arm_order
from warmth.analysis.rows.tables import records

ABOUT = (
    "The score is a log-likelihood ratio: how much likelier a scoring model finds a reply when it "
    "is said by someone "
    "close rather than by someone distant. Scores compare only within one variant and scorer. "
)
CAPTION = "Warmth in nats per token; differences are paired by prompt."
METHOD = (
    "Mean score, in nats (natural logarithms) per token, with the same clustered interval, "
    "clustered by the prompt "
    "that was answered; differences are paired by prompt."
)
KEYS = ["model", "arm", "variant", "scorer"]


def warmth(study: Study) -> Section | None:
    """Show every arm's warmth score and its difference from each reference."""
    parts: list[Part] = [Paragraph(ABOUT + study.scorers)]
    if len(study.warmth):
        parts.append(warmth_table(study))
    else:
        parts.append(Paragraph("No warmth scores were taken."))
    epochs = own_figures.epochs(study.rows.warmth)
    if epochs is not None:
        parts.append(epochs)
    return Section(
        id="warmth",
        title="Warmth",
        parts=parts,
        frames={
            "warmth": study.warmth,
            "warmth_differences": study.warmth_differences,
            "pooled_warmth": study.pooled_warmth,
        },
        methods={"Warmth": METHOD},
        summary={
            "warmth": records(study.warmth),
            "warmth_differences": records(study.warmth_differences),
            "pooled_warmth": records(study.pooled_warmth),
        },
        panels=["warmth"],
    )


def warmth_table(study: Study) -> Table:
    """Make the table of scores, with a column for the difference from each reference."""
    changes = {}
    for row in study.warmth_differences.to_dict("records"):
        changes[(*(row[key] for key in KEYS), row["reference"])] = row
    columns = [
        MODEL,
        ARM,
        name("Variant", "variant"),
        name("Scorer", "scorer"),
        count("Texts", "texts"),
        Column("Score", "number", _score),
    ]
    for reference in sorted(set(study.warmth_differences["reference"]), key=arm_order):
        columns.append(_against(reference, changes))
    return table("warmth-scores", CAPTION, columns, study.warmth)


def _against(reference: str, changes: dict[Any, Any]) -> Column:
    def cell(row: Any) -> TableCell:
        change = changes.get((*(row[key] for key in KEYS), reference))
        return TableCell("—") if change is None else _score(change, sign=True)

    return Column(f"Difference from {wording.name_words(reference)}", "number", cell)


def _score(row: Any, sign: bool = False) -> TableCell:
    value = row["score"]
    if not wording.known(value):
        return TableCell("—")
    written = wording.signed(value, 4) if sign else f"{value:.4f}".replace("-", wording.MINUS)
    interval = wording.span(row["low"], row["high"], 1.0, 4, sign=sign) or "no interval"
    return TableCell(written, sort_value(value), interval)
