"""Data on a terminal: nothing in it is read as markup or as an escape sequence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from warmth.analysis import wording
from warmth.analysis.rows.examples import Example


def side_by_side(item: Example) -> Iterator[Any]:
    """A prompt and its answers in columns, for a terminal; nothing in it is read as markup or as an
    escape.
    """
    where = (
        f"{item.question_id} · {item.model} · {item.task} · {item.context} · "
        f"{wording.belief(item.belief)}"
    )
    yield Text(wording.visible(where), style="bold")
    yield plain(item.message)
    if item.accepted:
        yield Text(wording.visible(f"accepted: {'; '.join(item.accepted)}"), style="dim")
    table = Table(expand=True, show_lines=False)
    for one in item.replies:
        table.add_column(Text(wording.name(one.arm)), ratio=1, overflow="fold")
    verdicts = [
        f"{one.label}{f': {one.reason}' if one.reason else ''}{', cut off' if one.cut_off else ''}"
        for one in item.replies
    ]
    table.add_row(*(Text(wording.visible(verdict), style="dim") for verdict in verdicts))
    table.add_row(*(plain(one.text) for one in item.replies))
    yield table
    yield Text()


def score_table(result: list[dict[str, Any]], rows: list[dict[str, Any]]) -> Any:
    """Scores for a terminal, the beginning of each text beside them."""
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column(
        "Id", no_wrap=True, min_width=max((min(len(str(row["id"])), 12) for row in rows), default=2)
    )
    table.add_column("Warmth", justify="right", no_wrap=True, min_width=10)
    table.add_column("Text", no_wrap=True, overflow="ellipsis", ratio=1)
    for line, row in zip(result, rows, strict=True):
        scored = line["score"] is not None
        value = wording.signed(line["score"], 4) if scored else "not scored"
        start = wording.visible(" ".join(row["text"].split()), 80)
        text = Text(start) if scored else Text.assemble((f"{line['reason']} ", "dim"), start)
        table.add_row(Text(wording.visible(line["id"], 40)), Text(value), text)
    return table


def plain(text: str) -> Any:
    """Data as terminal text: no markup, no control characters."""
    return Text(wording.visible(text))


def plain_console() -> Any:
    """A console that adds no colour or link of its own to data."""
    return Console(markup=False, highlight=False, emoji=False)
