"""The kernel of the report: what a section is made of, and tables as lists of columns.

To add a section (a table, a figure, a paragraph), write one file,
`warmth/analysis/report/sections/<name>.py`:

    def length(study: Study) -> Section | None:
        # Compute a frame; `study` has what sections share.
        frame = lengths(study.pool)
        # Of a section that is None nothing appears anywhere.
        if frame.empty:
            return None
        columns = [MODEL, ARM, number("Characters", "length", digits=0)]
        return Section(
            id="length",  # the anchor in the page
            title="Length of answers",
            parts=[table("lengths", CAPTION, columns, frame)],  # in the order of the page
            frames={"lengths": frame},  # tables/lengths.csv
            methods={"Length": "Characters of the visible text."},
        )

and add its name to `SECTIONS` in `sections/__init__.py`, in the place where the page shall have it.
The page, its navigation, the CSV files, the W&B report and `summary.json` walk that tuple and know
no section by name. A section imports no other section; what two sections share is a property of
`Study` (`study.py`).

Data is hostile text. A `TableCell` and a plain `str` are escaped by the template; only a `Markup`
constant of ours is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
from markupsafe import Markup

from warmth.analysis import wording
from warmth.analysis.report.drawing.ink import Drawing, variable

LONG_TABLE = 600  # rows of one table in the page; the CSV has all
STACKED = 40  # rows; on a phone the rows of a longer table stay rows, which scroll sideways


@dataclass(frozen=True)
class TableCell:
    """One table cell: what is read, what it sorts by, and the interval in smaller type."""

    text: str
    sort: float | None = None
    note: str = ""
    arm: str = ""  # CSS variable of the arm's colour; "" if the cell names no arm
    state: str = ""  # "fail" shows it in the colour of what is wrong

    @property
    def order(self) -> str:
        """Write `sort` as a script in the page reads a number; empty if there is none."""
        return str(self.sort).replace("inf", "Infinity") if wording.known(self.sort) else ""


@dataclass(frozen=True)
class Table:
    """A sortable table. `kinds` has "text" or "number" for each column."""

    id: str
    caption: str
    columns: Sequence[str]
    kinds: Sequence[str]
    rows: list[list[TableCell]] = field(default_factory=list)
    more: int = 0  # rows that only the CSV has
    wide: bool = False  # has many columns, in smaller type
    stack: bool = True  # each row becomes a block on a phone
    wrap: bool = False  # its texts are long and take several lines

    @property
    def css_class(self) -> str:
        """Name the CSS classes of its layout."""
        classes = {"wide": self.wide, "stack": self.stack, "wrap": self.wrap}
        return " ".join(name for name, applies in classes.items() if applies)


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `style` is a CSS class of the page."""

    text: str | Markup
    style: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Notes:
    """A list of short lines."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Fold:
    """Parts behind a line that opens them; `files` names the CSV files that hold the same."""

    summary: str
    parts: Sequence[Part]
    files: Sequence[str] = ()


@dataclass(frozen=True)
class Fragment:
    """A part with a layout of its own: a template in `templates/` and its values."""

    template: str
    values: Mapping[str, Any]


Part = Table | Drawing | Paragraph | Heading | Notes | Fold | Fragment


@dataclass(frozen=True)
class Section:
    """One section of the report, complete: what is read, its CSV files, its method, its keys in
    `summary.json`.
    """

    id: str
    title: str  # "" if it goes on under the heading before
    parts: Sequence[Part]
    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # CSV file → its rows
    methods: Mapping[str, str | Markup] = field(
        default_factory=dict
    )  # term → how its numbers are made
    summary: Mapping[str, Any] = field(default_factory=dict)  # keys of summary.json
    points: pd.DataFrame | None = None  # cells that its figures have a point for; see `study.POINT`
    nav: str | None = None  # the word in the navigation; None: the title; "": not there
    level: int = 2  # 2: a section of the page; 3: a part of the one before
    panels: Sequence[str] = ()  # frames that are panels of their own in W&B
    closing: bool = False  # comes after the methods
    commands: Sequence[str] = ()  # lines to type that belong to it
    sentences: Sequence[str] = ()  # what it says, where there is neither table nor figure

    @property
    def link(self) -> str:
        """The word in the navigation; "" if the section is not there."""
        if self.level > 2:
            return ""
        return self.title if self.nav is None else self.nav


def tables_of(parts: Sequence[Part]) -> list[tuple[str, Table]]:
    """List the tables among parts, folded ones too, each with its heading inside the section ("" if
    it has none).
    """
    found: list[tuple[str, Table]] = []
    heading = ""
    for content in parts:
        if isinstance(content, Heading):
            heading = content.text
        elif isinstance(content, Table):
            found.append((heading, content))
        elif isinstance(content, Fold):
            found += [(content.summary, table) for _, table in tables_of(content.parts)]
        elif isinstance(content, Fragment):
            found += [
                (heading, value) for value in content.values.values() if isinstance(value, Table)
            ]
    return found


def drawings_of(parts: Sequence[Part]) -> list[Drawing]:
    """List the drawings among parts, folded ones too."""
    found: list[Drawing] = []
    for content in parts:
        if isinstance(content, Drawing):
            found.append(content)
        elif isinstance(content, Fold):
            found += drawings_of(content.parts)
        elif isinstance(content, Fragment):
            found += [value for value in content.values.values() if isinstance(value, Drawing)]
    return found


# --- columns ---


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, "text" or "number", and how a row of the frame becomes its
    cell.
    """

    heading: str
    kind: str
    cell: Callable[[Mapping[str, Any]], TableCell]


def table(
    id: str,
    caption: str,
    columns: Sequence[Column],
    frame: pd.DataFrame,
    wide: bool = False,
    stack: bool | None = None,
) -> Table:
    """Make a table of a frame, a row for each of its rows, at most `LONG_TABLE` of them.

    `wide` and `stack` are as in `Table`; None: it is stacked unless it has more than `STACKED`
    rows.
    """
    shown = frame[:LONG_TABLE].to_dict("records")
    rows = [[column.cell(row) for column in columns] for row in shown]
    return Table(
        id=id,
        caption=caption,
        columns=[column.heading for column in columns],
        kinds=[column.kind for column in columns],
        rows=rows,
        more=max(0, len(frame) - LONG_TABLE),
        wide=wide,
        stack=len(frame) <= STACKED if stack is None else stack,
    )


def without_model(table: Table) -> Table:
    """Leave out the first column if it is the model: the report holds but one."""
    if not table.columns or table.columns[0] != MODEL.heading:
        return table
    rows = [row[1:] for row in table.rows]
    return replace(table, columns=table.columns[1:], kinds=table.kinds[1:], rows=rows)


def name(heading: str, key: str) -> Column:
    """Show a name: visible, on one line, at most 40 characters."""
    return Column(heading, "text", lambda row: TableCell(wording.name_words(row[key])))


def text(heading: str, key: str, limit: int = 80) -> Column:
    """Show a text, at most `limit` characters of it; empty if it is missing."""
    return Column(
        heading,
        "text",
        lambda row: TableCell(wording.visible(row[key], limit) if wording.known(row[key]) else ""),
    )


def arm_name(heading: str, key: str) -> Column:
    """Show an arm's name with its colour."""
    return Column(heading, "text", lambda row: arm_cell(row[key]))


def condition(heading: str, key: str) -> Column:
    """Show a task, context or belief in words; `all` if rows of all of them are pooled."""
    return Column(heading, "text", lambda row: TableCell(condition_words(key, row[key])))


def condition_words(key: str, value: str) -> str:
    """Say a task, context or belief in words; `all` for an empty one."""
    if not value:
        return "all"
    return wording.belief(value) if key == "belief" else wording.name_words(value)


def count(heading: str, key: str) -> Column:
    """Show a whole number; empty if it is unknown."""
    return Column(heading, "number", lambda row: count_cell(row[key]))


def percent(heading: str, key: str) -> Column:
    """Show a fraction in per cent."""
    return Column(
        heading,
        "number",
        lambda row: TableCell(wording.percent_words(row[key]), sort_value(row[key])),
    )


def rate(heading: str, key: str = "rate", low: str = "low", high: str = "high") -> Column:
    """Show an error rate in per cent with its interval."""
    return Column(heading, "number", lambda row: rate_cell(row, key, low, high))


def shift(heading: str, key: str, low: str = "low", high: str = "high") -> Column:
    """Show a paired difference in points with its interval; a dash if there is nothing to
    compare.
    """
    return Column(heading, "number", lambda row: shift_cell(row, key, low, high))


def points(heading: str, key: str) -> Column:
    """Show a difference in points without an interval; a dash if there is nothing to compare."""
    return Column(heading, "number", lambda row: _points_cell(row[key]))


def p_value(heading: str, key: str) -> Column:
    """Show a p-value to two digits that count; empty if nothing was tested."""
    return Column(
        heading,
        "number",
        lambda row: TableCell(wording.p_value_words(row[key]), sort_value(row[key])),
    )


def number(
    heading: str,
    key: str,
    digits: int,
    low: str = "",
    high: str = "",
    sign: bool = False,
) -> Column:
    """Show a number with `digits` decimals and, if `low` and `high` name columns, its interval; a
    dash if unknown.
    """
    return Column(heading, "number", lambda row: number_cell(row, key, digits, low, high, sign))


def arm_cell(arm: str) -> TableCell:
    """Make the cell of an arm's name with its colour."""
    return TableCell(wording.name_words(arm), arm=variable(arm))


def count_cell(value: Any) -> TableCell:
    """Make the cell of a count."""
    return TableCell(f"{int(value):,}", float(value)) if wording.known(value) else TableCell("")


def rate_cell(row: Any, key: str = "rate", low: str = "low", high: str = "high") -> TableCell:
    """Make the cell of an error rate in per cent with its interval."""
    return TableCell(
        wording.percent_words(row[key]), sort_value(row[key]), wording.span(row[low], row[high])
    )


def shift_cell(row: Any, key: str, low: str = "low", high: str = "high") -> TableCell:
    """Make the cell of a paired difference in points with its interval; a dash if there is nothing
    to compare.
    """
    if not wording.known(row[key]):
        return TableCell("—")
    interval = wording.span(row[low], row[high], sign=True) or "no interval"
    return TableCell(wording.points_words(row[key]), sort_value(row[key]), interval)


def number_cell(
    row: Any, key: str, digits: int, low: str = "", high: str = "", sign: bool = False
) -> TableCell:
    """Make the cell of a number with its interval; a dash if it is unknown."""
    value = row[key]
    if not wording.known(value):
        return TableCell("—")
    written = (
        wording.signed(value, digits) if sign else f"{value:.{digits}f}".replace("-", wording.MINUS)
    )
    interval = wording.span(row[low], row[high], 1.0, digits, sign=sign) if low else ""
    return TableCell(written, float(value), interval)


def _points_cell(value: Any) -> TableCell:
    if not wording.known(value):
        return TableCell("—")
    return TableCell(wording.points_words(value), float(value))


def sort_value(value: Any) -> float | None:
    """Give the number that a cell sorts by; None if it is unknown."""
    return float(value) if wording.known(value) else None


MODEL = name("Model", "model")
ARM = arm_name("Arm", "arm")
