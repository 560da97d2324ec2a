"""`warmth reproduce`: the study's published numbers, recomputed or beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from warmth.commands.options import Json
from warmth.text import print_json


def reproduce(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="RELEASED_DIR",
            help="The authors' files, graded CSVs (--columns), or finished runs.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of a page with the figures; none is written without."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Roles of a CSV's columns: question=id,verdict=label,arm=arm,model==llama8b,…"
        ),
    ] = None,
    margin_points: Annotated[
        float, typer.Option(help="What counts as the same, beside rows that are yours.")
    ] = 2.0,
    as_json: Json = False,
) -> None:
    """The study's published numbers, recomputed or beside yours, each with a verdict."""
    from warmth.analysis.report import published_against, reproduction_page
    from warmth.analysis.report.printing import terminal_table
    from warmth.analysis.report.terminal import plain_console, terminal_text

    built = published_against.build_reproduction(
        folder, columns, margin_points, figures=out is not None
    )
    page = published_against.write_reproduction(built, out) if out else None
    if as_json:
        print_json({"rows": [row.record() for row in built.rows]})
        return
    console = plain_console()
    table = reproduction_page.table_of(built.rows, ours=built.words.get("ours", "Recomputed"))
    console.print(terminal_table(table))
    for sentence in built.sentences:
        console.print(terminal_text(sentence))
    for line in built.broken[:5]:
        console.print(terminal_text(f"note: {line}"), soft_wrap=True)
    if len(built.broken) > 5:
        console.print(
            terminal_text(
                f"note: {len(built.broken) - 5} more rows without one partner; --out lists them"
            )
        )
    if page:
        console.print(terminal_text(f"page: {page.resolve()}"), soft_wrap=True)
