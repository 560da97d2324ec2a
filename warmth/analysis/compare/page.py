"""What `warmth compare` shows: a table for the terminal, and a page that stands alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from warmth import __version__
from warmth.analysis import wording
from warmth.analysis.compare.differences import Comparison, comparison_records
from warmth.analysis.compare.plot import comparison_forest
from warmth.analysis.compare.scores import shown
from warmth.analysis.report.drawing.ink import Drawing
from warmth.analysis.report.kernel import Column, Table, TableCell, count, p_value, table, text
from warmth.analysis.report.page import drawing_view, page_environment, policy_sha256, stylesheet
from warmth.analysis.rows import tables
from warmth.errors import UserError

DIGITS = 3
CAPTION = (
    "Difference: b minus a, of the score, on the items that both scored, with its 95 % interval; "
    "items of one cluster count as one. p: corrected over all rows by Holm’s rule. Bounds: what "
    "the difference could be if the items that lack a score had the worst or the best one."
)
METHODS = (
    "Items are matched by task, id, epoch and content. If the two have different epochs of an "
    "item, every epoch of the one is paired with every epoch of the other: compared is the mean "
    "over an item’s epochs. An item weighs the same however many epochs it has, and its epochs are "
    "one cluster.",
    "If every score is 0 or 1 the interval is that of paired right and wrong, clustered (the "
    "ordinary CR1 interval if at least 40 clusters hold a difference, else Tango’s score interval "
    "at an effective size, or the exact one); other scores have the clustered mean’s (CR1, t). The "
    "same code as the report’s. Items that one of both has no score for are left out of the "
    "difference; the bounds fill them in.",
    "Two systems whose separate intervals overlap may differ all the same: pairing takes away "
    "what is hard or easy for both.",
)


def comparison_table(comparison: Comparison) -> Table:
    """Make the page's table of differences; a name that is the same in all rows is left out."""
    columns = [*_names(comparison), *_numbers(), _bounds_column()]
    columns += [count("Items", "items"), count("Clusters", "clusters")]
    columns += [count("Only a", "only_a"), count("Only b", "only_b")]
    columns += [count("No score a", "unscored_a"), count("No score b", "unscored_b")]
    return table("compare", CAPTION, columns, comparison.rows, stack=True)


def comparison_terminal_table(comparison: Comparison) -> Table:
    """Make a narrow table for a terminal; `losses` has the rest in words."""
    frame = comparison.rows
    columns = [*_names(comparison), *_numbers(), _items_column()]
    if any(not _is_point(ends) for ends in frame["bounds"]):
        columns.append(_bounds_column())
    return table("compare", CAPTION, columns, frame)


def lost_items(comparison: Comparison) -> list[str]:
    """Say which items are in no difference, in a sentence for each row that lacks some; equal ones
    once.
    """
    lines = []
    for row in comparison.rows.to_dict("records"):
        counts = {
            f"only in {shown(row['a'])}": row["only_a"],
            f"only in {shown(row['b'])}": row["only_b"],
            f"without a score in {shown(row['a'])}": row["unscored_a"],
            f"without a score in {shown(row['b'])}": row["unscored_b"],
        }
        phrases = [f"{number:,} {where}" for where, number in counts.items() if number]
        if phrases:
            lines.append(f"{_where(row)}: {wording.joined(phrases)}")
    return list(dict.fromkeys(lines))


def _names(comparison: Comparison) -> list[Column]:
    columns = [text("Task", "task"), text("Metric", "metric")]
    if len(comparison.systems) > 2:
        columns.append(text("b", "b", 40))
    varied = [column for column in columns if not _says_nothing(column, comparison.rows)]
    return varied or [text("Metric", "metric")]


def _numbers() -> list[Column]:
    return [_score("a", "score_a"), _score("b", "score_b"), _difference(), p_value("p", "p_holm")]


def _items_column() -> Column:
    def cell(row: Mapping[str, Any]) -> TableCell:
        note = ""
        if row["clusters"] < row["items"]:
            note = wording.amount(row["clusters"], "cluster")
        return TableCell(f"{row['items']:,}", row["items"], note)

    return Column("Items", "number", cell)


def _is_point(ends: tuple[float, float] | None) -> bool:
    """Say whether no score is missing, so that the bounds are the difference itself."""
    return ends is not None and ends[0] == ends[1]


def _says_nothing(column: Column, frame: pd.DataFrame) -> bool:
    """Say whether a column of names is the same, or empty, in all rows."""
    if column.kind == "number":
        return False
    texts = {column.cell(row).text for row in frame.to_dict("records")}
    return len(texts) == 1


def _score(heading: str, key: str) -> Column:
    return Column(heading, "number", lambda row: _number_cell(row[key]))


def _number_cell(value: float) -> TableCell:
    if not wording.known(value):
        return TableCell("—")
    return TableCell(f"{value:.{DIGITS}f}".replace("-", wording.MINUS), value)


def _difference() -> Column:
    def cell(row: Mapping[str, Any]) -> TableCell:
        if not wording.known(row["difference"]):
            return TableCell("not scored")
        interval = wording.span(row["low"], row["high"], 1.0, DIGITS, sign=True) or "no interval"
        return TableCell(wording.signed(row["difference"], DIGITS), row["difference"], interval)

    return Column("b − a", "number", cell)


def _bounds_column() -> Column:
    def cell(row: Mapping[str, Any]) -> TableCell:
        if row["bounds"] is None:
            return TableCell("unknown")
        if _is_point(row["bounds"]):
            return TableCell("")
        low, high = row["bounds"]
        return TableCell(wording.span(low, high, 1.0, DIGITS, sign=True), high - low)

    return Column("Bounds", "number", cell)


def comparison_sentences(comparison: Comparison) -> list[str]:
    """Say what is shown, a sentence for each row, the shown differences first."""
    reference = shown(comparison.systems[0])
    rows = comparison.rows.sort_values("p_holm", kind="stable").to_dict("records")
    return [_sentence(row, reference) for row in rows]


def _where(row: Mapping[str, Any]) -> str:
    """Name the metric and the task of a row."""
    return " of ".join(name for name in (shown(row["metric"]), shown(row["task"])) if name)


def _sentence(row: Mapping[str, Any], reference: str) -> str:
    """Say what a row shows of a system against the reference."""
    where = _where(row)
    system = shown(row["b"])
    if not wording.known(row["difference"]):
        return f"{where}: no item was scored for both {reference} and {system}."
    number = wording.signed(row["difference"], DIGITS)
    interval = wording.span(row["low"], row["high"], 1.0, DIGITS, sign=True)
    items = wording.amount(row["items"], "item")
    basis = f"{items} in {wording.amount(row['clusters'], 'cluster')}"
    if not interval:
        return (
            f"{where}: {system} scores {number} against {reference}; no interval can be had from "
            f"{basis}."
        )
    if wording.known(row["p_holm"]) and row["p_holm"] < 0.05:
        change = "higher" if row["difference"] > 0 else "lower"
        return (
            f"{where}: {system} scores {change} than {reference}, by {number} (95 % interval "
            f"{interval}; {basis})."
        )
    if row["p"] < 0.05:
        return (
            f"{where}: {number} for {system} against {reference} (95 % interval {interval}; "
            f"{basis}), but no difference is shown once all rows are corrected for."
        )
    return (
        f"{where}: no difference could be shown between {system} and {reference} "
        f"({number}, 95 % interval {interval}; {basis})."
    )


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Write `compare.html`, `compare.json`, `tables/` and `figures/` under a folder; returns the
    page's path.

    Raises:
        UserError: the folder cannot be written.
    """
    drawing = comparison_forest(comparison)
    summary = {
        "rows": comparison_records(comparison),
        "notes": list(comparison.notes),
        "systems": list(comparison.systems),
    }
    text_of_summary = json.dumps(summary, indent=2, ensure_ascii=True, allow_nan=False)
    try:
        (out / "tables").mkdir(parents=True, exist_ok=True)
        (out / "figures").mkdir(exist_ok=True)
        tables.write_csv(out / "tables" / "compare.csv", _sheet(comparison.rows))
        tables.write_csv(out / "tables" / "mismatches.csv", comparison.mismatches)
        if drawing is not None:
            (out / "figures" / f"{drawing.name}.svg").write_text(drawing.file, encoding="utf-8")
        (out / "compare.json").write_text(text_of_summary + "\n", encoding="utf-8")
        (out / "compare.html").write_text(render_comparison(comparison, drawing), encoding="utf-8")
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"--out={out} is not a folder") from error
    except OSError as error:
        raise UserError(f"--out={out} cannot be written: {error.strerror or error}") from error
    return out / "compare.html"


def _sheet(rows: pd.DataFrame) -> pd.DataFrame:
    """Give the rows with the two bounds in columns of their own."""
    lows = []
    highs = []
    for ends in rows["bounds"]:
        low, high = (math.nan, math.nan) if ends is None else ends
        lows.append(low)
        highs.append(high)
    return rows.assign(bounds_low=lows, bounds_high=highs).drop(columns="bounds")


def render_comparison(comparison: Comparison, drawing: Drawing | None) -> str:
    """Make the page: one HTML document without a script that loads nothing; all data in it is
    escaped.
    """
    style = stylesheet()
    notes = [wording.visible(note) for note in [*lost_items(comparison), *comparison.notes]]
    template = page_environment().get_template("compare.html.j2")
    return template.render(
        systems=[shown(name) for name in comparison.systems],
        answer=comparison_sentences(comparison),
        values=comparison_table(comparison),
        drawing_of_differences=None if drawing is None else drawing_view(drawing),
        mismatches=_mismatches(comparison),
        notes=notes,
        methods=METHODS,
        style=Markup(style),
        style_hash=policy_sha256(style),
        version=__version__,
    )


def _mismatches(comparison: Comparison) -> Table | None:
    """List the items that ask two things; None if there are none."""
    if comparison.mismatches.empty:
        return None
    columns = [text("Task", "task"), text("Item", "item")]
    columns += [text("In a", "words_a"), text("In b", "words_b")]
    caption = "One id, different content: such items are in no pair."
    return table("mismatches", caption, columns, comparison.mismatches, stack=True)
