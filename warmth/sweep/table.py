"""The table of a study's runs for a terminal: one line a run, readable at 80 columns, what broke in words below it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from warmth.sweep.outcome import duration
from warmth.sweep.view import BROKEN, OPEN, Line, Overview, broken, overviews, rough, short_name
from warmth.text import line as line_of

GAP = "  "
STAGE = {"train": "train", "evaluate": "eval"}
LEGEND = "loss of a training; error rate and warmth (w) of an evaluation; seen: last sign of life"
WIDE = 160  # columns of a file or pipe, which has none of its own
NARROWEST = 12  # columns of a run's name


def render(found: Sequence[Overview], width: int, most: int | None = None) -> Iterator[Text]:
    """Yield the lines of a terminal: for each study its heading, its runs, and what broke.

    Args:
        found: the studies.
        width: columns of the terminal.
        most: lines that there is room for; None: no limit. Runs under way and broken ones are shown first then.
    """
    for number, item in enumerate(found):
        if number:
            yield Text()
        yield Text(item.heading, style="bold")
        yield from _body(item, width, most)


def _body(item: Overview, width: int, most: int | None) -> Iterator[Text]:
    words = list(failures(item.lines, width))
    if not item.commands and item.count(*OPEN, *BROKEN) > item.count("queued") and item.command:
        words.append(Text(line_of(f"no command is at work on it; the same one continues: {item.command}")))
    shown = list(item.lines)
    left_out = 0
    if most is not None:
        room = max(3, most - len(words) - 5)
        shown, left_out = nearest(shown, room)
    yield from rows(shown, width)
    if left_out:
        yield Text(f"… and {left_out} more", style="dim")
    yield from words


def nearest(lines: Sequence[Line], room: int) -> tuple[list[Line], int]:
    """Choose the lines that say most if there is no room for all: under way, then broken, then waiting, then done."""
    if len(lines) <= room:
        return list(lines), 0
    rank = {"running": 0, "starting": 1, **dict.fromkeys(BROKEN, 2), **dict.fromkeys(OPEN[:2], 3)}
    order = sorted(range(len(lines)), key=lambda index: (rank.get(lines[index].state, 4), index))
    chosen = sorted(order[:room])
    return [lines[index] for index in chosen], len(lines) - len(chosen)


def rows(lines: Sequence[Line], width: int) -> Iterator[Text]:
    """Yield a header and a line for each run; what no run has is no column, and the name takes what is left."""
    if not lines:
        return
    names = run_names(lines)
    columns: list[tuple[str, Callable[[Line], str], bool]] = [
        ("stage", lambda line: STAGE[line.stage], False),
        ("state", lambda line: line.state, False),
        ("%", percent, True),
        ("figures", figures, False),
        ("time", lambda line: duration(line.elapsed_s), True),
        ("left", lambda line: "" if line.left_s is None else rough(line.left_s), True),
        ("seen", lambda line: "" if line.seen_s is None else age(line.seen_s), True),
        ("tries", lambda line: str(line.attempts) if (line.attempts or 1) > 1 else "", True),
        ("job", lambda line: line.job or "", False),
        ("USD", lambda line: "" if line.usd is None else f"{line.usd:.2f}", True),
    ]
    cells = {head: [line_of(cell(line)) for line in lines] for head, cell, _ in columns}
    kept = [(head, is_right) for head, _, is_right in columns if any(cells[head])]
    widths = {head: max(cell_len(head), *map(cell_len, cells[head])) for head, _ in kept}
    widest = max(cell_len("run"), *map(cell_len, names))
    for optional in ("USD", "left"):  # left out first where the terminal is narrow
        if widths.get(optional) and widest + sum(widths.values()) + len(GAP) * len(kept) > width:
            kept = [pair for pair in kept if pair[0] != optional]
            del widths[optional]
    gap = GAP if widest + sum(widths.values()) + len(GAP) * len(kept) <= width else " "
    room = width - sum(widths.values()) - len(gap) * len(kept)
    first = max(NARROWEST, min(widest, room))
    yield Text(_joined(["run", *(head for head, _ in kept)], first, widths, kept, gap), style="dim", no_wrap=True)
    for index, line in enumerate(lines):
        texts = [names[index], *(cells[head][index] for head, _ in kept)]
        style = "red" if line.state in BROKEN else "green" if line.state == "running" else ""
        yield Text(_joined(texts, first, widths, kept, gap), style=style, no_wrap=True)


def _joined(
    texts: Sequence[str], first: int, widths: dict[str, int], kept: Sequence[tuple[str, bool]], gap: str
) -> str:
    parts = [set_cell_size(middle_cut(texts[0], first), first)]
    for text, (head, is_right) in zip(texts[1:], kept, strict=True):
        missing = " " * (widths[head] - cell_len(text))
        parts.append(missing + text if is_right else text + missing)
    return gap.join(parts).rstrip()


def run_names(lines: Sequence[Line]) -> list[str]:
    """Name runs without their digests; where two of a stage would share a name, with them."""
    counts: dict[tuple[str, str, str], int] = {}
    for line in lines:
        key = (line.study, line.stage, short_name(line.run))
        counts[key] = counts.get(key, 0) + 1
    several = len({line.study for line in lines}) > 1
    found = []
    for line in lines:
        short = short_name(line.run)
        digest = line.run.rpartition("-")[2][:4]
        name = short if counts[line.study, line.stage, short] == 1 else f"{short}-{digest}"
        found.append(line_of(f"{line.study}/{name}" if several else name))
    return found


def middle_cut(text: str, width: int) -> str:
    """Shorten a name in its middle: its end, the seed, tells runs apart."""
    if cell_len(text) <= width:
        return text
    end = (width - 1) * 2 // 3
    return f"{text[: width - 1 - end]}…{text[-end:]}"


def percent(line: Line) -> str:
    """Write how much of a run is done."""
    if line.done is None or not line.total:
        return ""
    return f"{100 * line.done // line.total}"


def figures(line: Line) -> str:
    """Write a run's key figures: `loss 1.234`, or `22.1 % w+0.123`."""
    known = line.figures or {}
    parts = []
    if "loss" in known:
        parts.append(f"loss {known['loss']:.3f}")
    if "error_percent" in known:
        parts.append(f"err {known['error_percent']:.1f}%")
    if "warmth" in known:
        parts.append(f"w{known['warmth']:+.2f}")
    return " ".join(parts)


def age(seconds: float) -> str:
    """Write how long ago something was, in four characters at most."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def failures(lines: Sequence[Line], width: int) -> Iterator[Text]:
    """Yield what broke: each run, its last line, and where its log is."""
    for line in broken(lines):
        last = line.message or (line.last_lines[-1] if line.last_lines else "")
        said = f": {line_of(last)}" if last else ""
        yield Text(f"{line.state} {line_of(line.name)}{said}")
        if line.log:
            yield Text(f"  log: {line_of(line.log)}", style="dim")


def follow(output: Path, study: str | None, every_s: float, console: Any) -> None:
    """Show the table anew until nothing is under way or waits, or until an interrupt."""
    from rich.console import Group
    from rich.live import Live

    def picture(found: Sequence[Overview]) -> Any:
        return Group(*render(found, console.width, console.height - 1))

    found = overviews(output, study)
    with Live(picture(found), console=console, auto_refresh=False, screen=False) as live:
        while any(item.commands or item.count("running", "starting", "queued") for item in found):
            time.sleep(every_s)
            found = overviews(output, study)
            live.update(picture(found), refresh=True)
