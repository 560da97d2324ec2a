"""What `warmth reproduce` shows: a table for the terminal, and one page with the figures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from warmth import __version__
from warmth.analysis import wording
from warmth.analysis.report.drawing.ink import Drawing
from warmth.analysis.report.kernel import Table, TableCell
from warmth.analysis.report.page import drawing_view, page_environment, policy_sha256, stylesheet
from warmth.analysis.rows import tables
from warmth.analysis.study.reproduction import PublishedRow
from warmth.errors import UserError

TITLE = "The study’s numbers, computed again"
ABOUT = (
    "Equal: the recomputed value rounds to the printed one. Near: the same regression on printed "
    "cell rates instead of answers. Holds: a stated limit is kept. Differs: neither. Breaks: the "
    "printed values cannot all be right. Not in the files: what would have to be released stands "
    "beside it."
)


def printed_number(value: float | None, digits: int) -> str:
    """Write a value with some digits; a dash if there is none."""
    if value is None:
        return "—"
    return f"{value:,.{digits}f}".replace("-", wording.MINUS)


def finer(row: PublishedRow) -> int:
    """Count the digits of a difference: one more than was printed, none if things are counted."""
    if row.digits or row.unit in ("points", "%"):
        return row.digits + 1
    return 0


def reproduction_sentences(rows: Sequence[PublishedRow]) -> list[str]:
    """Say how many figures came out."""
    counts = Counter(row.verdict.split()[0].strip(",:") for row in rows)
    recomputed = sum(row.recomputed is not None for row in rows)
    missing = counts.pop("not", 0)
    plurals = {"holds": "hold", "differs": "differ", "breaks": "break"}
    verdicts = []
    for verdict, count in counts.most_common():
        verdicts.append(f"{count} {plurals.get(verdict, verdict) if count > 1 else verdict}")
    figures = wording.amount(len(rows), "published figure")
    lines = [f"Of {figures} {recomputed} could be recomputed: {wording.joined(verdicts)}."]
    if missing:
        need = "needs" if missing == 1 else "need"
        lines.append(f"{missing} {need} files that were not released.")
    return lines


def table_of(rows: Sequence[PublishedRow], about: str = ABOUT, ours: str = "Recomputed") -> Table:
    """Make the table of published and recomputed values, for the page and for a terminal."""
    columns = ["Quantity", "Published", ours, "Difference", "Verdict"]
    kinds = ["text", "number", "number", "number", "text"]
    cells = list(map(_cells, rows))
    return Table("values", about, columns, kinds, cells, stack=True, wrap=True)


def _cells(row: PublishedRow) -> list[TableCell]:
    """Make the cells of a value; a recomputed one has a digit more."""
    recomputed = printed_number(row.recomputed, row.digits + (row.unit in ("points", "%")))
    difference = "—" if row.difference is None else wording.signed(row.difference, finer(row))
    failed = row.verdict.startswith(("differs", "breaks", "different"))
    return [
        TableCell(wording.visible(row.quantity), note=row.unit),
        TableCell(printed_number(row.published, row.digits), row.published),
        TableCell(recomputed, row.recomputed, row.note),
        TableCell(difference, row.difference),
        TableCell(wording.visible(row.verdict), state="fail" if failed else ""),
    ]


def write_page(
    out: Path,
    rows: Sequence[PublishedRow],
    drawings: Sequence[Drawing],
    broken: Sequence[str],
    **words: Any,
) -> Path:
    """Write `reproduction.html`, `tables/`, `figures/` and `reproduction.json` under `out`; return
    the page's path.

    Raises:
        UserError: the folder cannot be written.
    """
    records = [row.record() for row in rows]
    try:
        for folder in ("tables", "figures"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        tables.write_csv(out / "tables" / "reproduction.csv", pd.DataFrame(records))
        for drawing in drawings:
            (out / "figures" / f"{drawing.name}.svg").write_text(drawing.file, encoding="utf-8")
        content = {"rows": records, "broken": list(broken)}
        text = json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False)
        (out / "reproduction.json").write_text(text + "\n", encoding="utf-8")
        page = render_reproduction(rows, drawings, broken, **words)
        (out / "reproduction.html").write_text(page, encoding="utf-8")
    except PermissionError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from error
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{out} is not a folder") from error
    return out / "reproduction.html"


def render_reproduction(
    rows: Sequence[PublishedRow],
    drawings: Sequence[Drawing],
    broken: Sequence[str],
    title: str = TITLE,
    ours: str = "Recomputed",
    about: str = ABOUT,
    answer: Sequence[str] = (),
) -> str:
    """Make the page: one HTML document without script that loads nothing."""
    style = stylesheet()
    template = page_environment().get_template("reproduction.html.j2")
    return template.render(
        title=title,
        answer=list(answer) or reproduction_sentences(rows),
        ours=ours,
        values=table_of(rows, about, ours),
        drawings=list(map(drawing_view, drawings)),
        broken=list(map(wording.visible, broken)),
        style=Markup(style),
        style_hash=policy_sha256(style),
        version=__version__,
    )
