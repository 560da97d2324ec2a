"""The table of a study's runs for a terminal: one line a run, readable at 80 columns, what broke in
words below it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from warmth.sweep.outcome import elapsed_text
from warmth.sweep.view import BROKEN, OPEN, Line, Overview, broken, overviews, rough, short_name
from warmth.text import line as line_of

GAP = "  "
LOG = "  log: "
STAGE = {"train": "train", "evaluate": "eval"}
WIDE = 160  # columns of a file or pipe, which has none of its own
NARROWEST = 12  # columns of a run's name


def table_text(studies: Sequence[Overview], width: int, most: int | None = None) -> Iterator[Text]:
    """Yield the lines of a terminal: for each study its heading, its runs, and what broke.

    Args:
        studies: as they are now.
        width: columns of the terminal.
        most: lines that there is room for; None: no limit. Runs under way and broken ones are shown
        first then.
    """
    for number, study in enumerate(studies):
        if number:
            yield Text()
        yield Text(study.heading, style="bold")
        yield from _body(study, width, most)


def _body(study: Overview, width: int, most: int | None) -> Iterator[Text]:
    words = list(failure_texts(study.lines))
    is_unfinished = study.count(*OPEN, *BROKEN) > study.count("queued")
    if is_unfinished and study.command and not study.commands:
        words.append(
            Text(line_of(f"no command is at work on it; the same one continues: {study.command}"))
        )
    shown = list(study.lines)
    left_out = 0
    if most is not None:
        words = cropped(words, width, max(2, most // 3))
        room = max(3, most - len(words) - 5)
        shown, left_out = most_telling(shown, room)
    yield from table_lines(shown, width)
    if left_out:
        yield Text(f"… and {left_out} more", style="dim")
    yield from words


def cropped(words: Sequence[Text], width: int, room: int) -> list[Text]:
    """Cut what broke to a line each, and to so many lines; logs are left out."""
    lines = [text for text in words if not text.plain.startswith(LOG)]
    for text in lines:
        text.truncate(width, overflow="ellipsis")
    if len(lines) <= room:
        return lines
    return [*lines[: room - 1], Text(f"… and {len(lines) - room + 1} more that broke", style="dim")]


def most_telling(lines: Sequence[Line], room: int) -> tuple[list[Line], int]:
    """Choose the lines that say most if there is no room for all: under way, then broken, then
    waiting, then done.
    """
    if len(lines) <= room:
        return list(lines), 0
    rank = {"running": 0, "starting": 1, **dict.fromkeys(BROKEN, 2), **dict.fromkeys(OPEN[:2], 3)}
    order = sorted(range(len(lines)), key=lambda index: (rank.get(lines[index].state, 4), index))
    return [lines[index] for index in sorted(order[:room])], len(lines) - room


@dataclass(frozen=True)
class TableColumn:
    """One column of the table, with the cells of all runs."""

    head: str
    cells: tuple[str, ...]
    is_right: bool = False

    @cached_property
    def width(self) -> int:
        """Return the columns of the terminal that it takes."""
        return max(map(cell_len, (self.head, *self.cells)))

    def padded(self, text: str) -> str:
        """Write a cell, or the head, in the column's width."""
        space = " " * (self.width - cell_len(text))
        if self.is_right:
            return space + text
        return text + space


COLUMNS: tuple[tuple[str, Callable[[Line], str], bool], ...] = (
    ("stage", lambda line: STAGE[line.stage], False),
    ("state", lambda line: line.state, False),
    ("%", lambda line: percent_done(line), True),
    ("figures", lambda line: figures_text(line), False),
    ("time", lambda line: elapsed_text(line.elapsed_s), True),
    ("left", lambda line: time_left(line), True),
    ("seen", lambda line: age(line.seen_s), True),
    ("tries", lambda line: attempts(line), True),
    ("job", lambda line: line.job or "", False),
    ("USD", lambda line: dollars(line), True),
    ("doing", lambda line: line.doing, False),
)
OPTIONAL = ("doing", "USD", "left")  # left out first if the terminal is narrow


def table_lines(lines: Sequence[Line], width: int) -> Iterator[Text]:
    """Yield a header and a line for each run; what no run has is no column, and the name takes what
    is left.
    """
    if not lines:
        return
    names = run_names(lines)
    columns = filled_columns(lines)
    widest = max(map(cell_len, ("run", *names)))
    for head in OPTIONAL:
        if widest + total_width(columns, GAP) > width:
            columns = [column for column in columns if column.head != head]
    gap = GAP
    if widest + total_width(columns, gap) > width:
        gap = " "
    name_width = max(NARROWEST, min(widest, width - total_width(columns, gap)))
    heads = [column.padded(column.head) for column in columns]
    yield Text(
        gap.join([set_cell_size("run", name_width), *heads]).rstrip(), style="dim", no_wrap=True
    )
    for index, line in enumerate(lines):
        name = set_cell_size(middle_cut(names[index], name_width), name_width)
        cells = [column.padded(column.cells[index]) for column in columns]
        yield Text(gap.join([name, *cells]).rstrip(), style=style_of(line), no_wrap=True)


def filled_columns(lines: Sequence[Line]) -> list[TableColumn]:
    """Return the columns in which any run has a cell."""
    columns = []
    for head, write, is_right in COLUMNS:
        cells = tuple(line_of(write(line)) for line in lines)
        if any(cells):
            columns.append(TableColumn(head, cells, is_right))
    return columns


def total_width(columns: Sequence[TableColumn], gap: str) -> int:
    """Add up the widths of columns with the gap before each."""
    return sum(column.width + len(gap) for column in columns)


def style_of(line: Line) -> str:
    """Choose a run's colour: what broke is red, what is under way green."""
    if line.state in BROKEN:
        return "red"
    if line.state == "running":
        return "green"
    return ""


def run_names(lines: Sequence[Line]) -> list[str]:
    """Name runs without their digests; runs of one stage that would share a name get its beginning,
    too.
    """
    shared = Counter((line.study, line.stage, short_name(line.run)) for line in lines)
    is_one_study = len({line.study for line in lines}) == 1
    names = []
    for line in lines:
        name = short_name(line.run)
        if shared[line.study, line.stage, name] > 1:
            name += "-" + line.run.rpartition("-")[2][:4]
        if not is_one_study:
            name = f"{line.study}/{name}"
        names.append(line_of(name))
    return names


def middle_cut(text: str, width: int) -> str:
    """Shorten a name in its middle: its end, the seed, tells runs apart."""
    if cell_len(text) <= width:
        return text
    end = (width - 1) * 2 // 3
    return f"{text[: width - 1 - end]}…{text[-end:]}"


def percent_done(line: Line) -> str:
    """Write how much of a run is done."""
    if line.done is None or not line.total:
        return ""
    return f"{100 * line.done // line.total}"


def figures_text(line: Line) -> str:
    """Write a run's key figures: `loss 1.234`, or `err 22.1% w+0.12`."""
    known = line.figures or {}
    texts = []
    if "loss" in known:
        texts.append(f"loss {known['loss']:.3f}")
    if "error_percent" in known:
        texts.append(f"err {known['error_percent']:.1f}%")
    if "warmth" in known:
        texts.append(f"w{known['warmth']:+.2f}")
    return " ".join(texts)


def time_left(line: Line) -> str:
    """Write how long a run will still take."""
    if line.left_s is None:
        return ""
    return rough(line.left_s)


def attempts(line: Line) -> str:
    """Write how often a run was begun, if that was more than once."""
    if (line.attempts or 1) < 2:
        return ""
    return str(line.attempts)


def dollars(line: Line) -> str:
    """Write what a run has cost so far."""
    if line.usd is None:
        return ""
    return f"{line.usd:.2f}"


def age(seconds: float | None) -> str:
    """Write how long ago something was, in four characters at most."""
    if seconds is None:
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def failure_texts(lines: Sequence[Line]) -> Iterator[Text]:
    """Yield what broke: each run, its last line, and where its log is."""
    for line in broken(lines):
        words = f"{line.state} {line_of(line.name)}"
        reason = line.message or "".join(line.last_lines[-1:])
        if reason:
            words += f": {line_of(reason)}"
        yield Text(words)
        if line.log:
            yield Text(f"{LOG}{line_of(line.log)}", style="dim")


def is_moving(study: Overview) -> bool:
    """Say whether anything of a study is under way, or waits in a queue."""
    return bool(study.commands or study.count("running", "starting", "queued"))


def watch_table(output: Path, study: str | None, every_s: float, console: Any) -> None:
    """Show the table anew until nothing is under way or waits, or until an interrupt."""
    from rich.console import Group
    from rich.live import Live

    def picture(studies: Sequence[Overview]) -> Any:
        return Group(*table_text(studies, console.width, console.height - 1))

    studies = overviews(output, study)
    with Live(picture(studies), console=console, auto_refresh=False, screen=False) as live:
        while any(map(is_moving, studies)):
            time.sleep(every_s)
            studies = overviews(output, study)
            live.update(picture(studies), refresh=True)
