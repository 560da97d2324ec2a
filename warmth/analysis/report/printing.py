"""A table of the report for a terminal and as Markdown; the page's template prints it as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table as TerminalTable
from rich.text import Text

from warmth.analysis.report.kernel import Table, TableCell, without_model
from warmth.analysis.wording import amount
from warmth.text import line, visible

NARROW = 80  # columns of a terminal that a table should fit
WORD = 8  # columns that are left to words in any case
# what Markdown would read, with a backslash before it
MARKS = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_{}[]()<>#+!|$~=-"})


def terminal_table(table: Table, title: str = "", one_model: bool = False) -> TerminalTable:
    """Print a table for a terminal: cells are data, never markup; a cell's small print stands below
    it, dimmed.

    Args:
        table: the table.
        title: a line above it.
        one_model: leave out the column of the model.
    """
    if one_model:
        table = without_model(table)
    printed = TerminalTable(
        title=Text(f"\n{title}") if title else None,
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
        show_edge=False,
    )
    widths = _least_widths(table)
    fits = sum(widths) + 2 * len(widths) <= NARROW
    for column, kind, width in zip(table.columns, table.kinds, widths, strict=True):
        printed.add_column(
            Text(column),
            justify="right" if kind == "number" else "left",
            overflow="fold",  # where a terminal is too narrow nothing is lost
            min_width=width if fits else None,
        )
    for row in table.rows:
        printed.add_row(*(_terminal_cell(cell.text, cell.note) for cell in row))
    return printed


def _least_widths(table: Table) -> list[int]:
    """Tell how wide each column must be: numbers and intervals stay whole, words may fold."""
    widths = []
    for number, kind in enumerate(table.kinds):
        longest = 0 if table.rows else 1
        for row in table.rows:
            longest = max(longest, len(row[number].text), len(row[number].note))
        widths.append(longest if kind == "number" else min(longest, WORD))
    return widths


def _terminal_cell(text: str, note: str) -> Text:
    """Write a cell with its small print below it, dimmed."""
    if not note:
        return Text(visible(text))
    return Text.assemble(visible(text), "\n", (visible(note), "dim"))


def markdown_table(table: Table, most_rows: int) -> str:
    """Print a table as Markdown; data in it is escaped, so that none of it becomes markup or a
    link.

    Args:
        table: the table.
        most_rows: how many are printed; a line says how many more there are.
    """
    alignments = {"number": "---:", "text": ":---"}
    lines = [f"*{escaped(table.caption)}*", "", markdown_row(table.columns)]
    lines.append(f"| {' | '.join(map(alignments.__getitem__, table.kinds))} |")
    for row in table.rows[:most_rows]:
        lines.append(markdown_row(list(map(_with_note, row))))
    more = len(table.rows) - most_rows
    if more > 0:
        lines += ["", f"In the page: {amount(more, 'more row')}."]
    return "\n".join(lines)


def _with_note(cell: TableCell) -> str:
    """Write a cell with its small print in brackets."""
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


def markdown_row(texts: Sequence[str]) -> str:
    """Print a row of texts, each on one line and escaped."""
    return f"| {' | '.join(map(escaped, texts))} |"


def escaped(text: str) -> str:
    """Write text so that Markdown prints it as it is, on one line."""
    return line(text).translate(MARKS)
