"""What the instruments say of arms whose cost in truth is known, by the code that made the page."""

from __future__ import annotations

from typing import Any

import pandas as pd

from warmth.analysis import wording
from warmth.analysis.report import calibration as stored
from warmth.analysis.report.kernel import (
    Column,
    Paragraph,
    Part,
    Section,
    TableCell,
    count,
    table,
    text,
)
from warmth.analysis.report.study import Study

CAPTION = (
    "Arms made from the original's own answers, and what is reported of them. Small: 95 % "
    "intervals."
)
ABOUT = (
    "Kind words around the same answers cost no truth; a known share of swapped answers costs "
    "that share. Kind words "
    "before weighed replies must leave K where it is, and training on wrong answers must lower it."
)


def calibration(study: Study) -> Section | None:
    """Show the calibration of this version, or say that there is none."""
    content = stored.read_calibration()
    contents: list[Part] = [Paragraph(stored.calibration_sentence())]
    frames = {}
    if content is not None:
        frame = pd.DataFrame(content["rows"])
        columns = [
            text("Arm", "name"),
            text("Instrument", "instrument"),
            text("Quantity", "quantity"),
            Column("True", "number", _truth),
            Column("Measured", "number", _measured),
            count("Pairs", "pairs"),
        ]
        contents = [
            Paragraph(f"{ABOUT} {stored.tone_sentences()}"),
            table("calibration", CAPTION, columns, frame),
        ]
        frames = {"calibration": frame}
    return Section(
        id="calibration",
        title="Calibration",
        nav="",
        parts=contents,
        frames=frames,
        summary={"calibration": None if content is None else content["rows"]},
    )


def _truth(row: Any) -> TableCell:
    if pd.isna(row["expected"]):
        return TableCell("below 0")
    written = (
        wording.points_words(row["expected"])
        if row["unit"] == "points"
        else wording.signed(row["expected"], 2)
    )
    return TableCell(f"{written} {row['unit']}", float(row["expected"]))


def _measured(row: Any) -> TableCell:
    scale, digits = (100.0, 1) if row["unit"] == "points" else (1.0, 2)
    interval = "no interval"
    if not pd.isna(row["low"]):
        interval = wording.span(row["low"], row["high"], scale, digits, sign=True)
    written = wording.signed(scale * row["difference"], digits)
    return TableCell(f"{written} {row['unit']}", float(row["difference"]), interval)
