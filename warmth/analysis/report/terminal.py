"""Data on a terminal: nothing in it is read as markup or as an escape sequence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from warmth.analysis import wording
from warmth.analysis.rows.examples import PromptExample


def side_by_side(example: PromptExample) -> Iterator[Any]:
    """Yield a prompt and its answers in columns, for a terminal; nothing in it is read as markup or
    as an escape.
    """
    condition = (
        f"{example.question_id} · {example.model} · {example.task} · {example.context} · "
        f"{wording.belief(example.belief)}"
    )
    yield Text(wording.visible(condition), style="bold")
    yield terminal_text(example.message)
    if example.accepted:
        yield Text(wording.visible(f"accepted: {'; '.join(example.accepted)}"), style="dim")
    table = Table(expand=True, show_lines=False)
    verdicts = []
    texts = []
    for answer in example.said:
        table.add_column(Text(wording.name_words(answer.arm)), ratio=1, overflow="fold")
        verdict = str(answer.label)
        if answer.reason:
            verdict += f": {answer.reason}"
        if answer.cut_off:
            verdict += ", cut off"
        verdicts.append(Text(wording.visible(verdict), style="dim"))
        texts.append(terminal_text(answer.text))
    table.add_row(*verdicts)
    table.add_row(*texts)
    yield table
    yield Text()


def score_table(result: list[dict[str, Any]], rows: list[dict[str, Any]]) -> Any:
    """Make a table of scores for a terminal, the beginning of each text beside them."""
    longest = max((len(str(row["id"])) for row in rows), default=2)
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("Id", no_wrap=True, min_width=min(longest, 12))
    table.add_column("Warmth", justify="right", no_wrap=True, min_width=10)
    table.add_column("Text", no_wrap=True, overflow="ellipsis", ratio=1)
    for line, row in zip(result, rows, strict=True):
        scored = line["score"] is not None
        value = wording.signed(line["score"], 4) if scored else "not scored"
        start = wording.visible(" ".join(row["text"].split()), 80)
        text = Text(start) if scored else Text.assemble((f"{line['reason']} ", "dim"), start)
        table.add_row(Text(wording.visible(line["id"], 40)), Text(value), text)
    return table


def terminal_text(text: str) -> Any:
    """Write data as terminal text: no markup, no control characters."""
    return Text(wording.visible(text))


def plain_console() -> Any:
    """Open a console that adds no colour or link of its own to data."""
    return Console(markup=False, highlight=False, emoji=False)
