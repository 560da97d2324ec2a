"""`warmth status`: how far a study is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from warmth.commands.options import Json
from warmth.text import print_json


def status(
    study: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="Its name; all studies by default.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where run folders go.")] = Path("multirun"),
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again until nothing is under way.")
    ] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks.")] = 5.0,
    as_json: Json = False,
) -> None:
    """How far a study is: done, running, waiting, time left, and what broke; also of jobs on other
    machines.
    """
    from warmth.sweep import table, view

    if as_json:
        print_json(view.status_json(view.overviews(output, study)))
        return
    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False)
    if watch and console.is_terminal:
        table.watch_table(output, study, every, console)
        return
    width = console.width if console.is_terminal else table.WIDE
    for line in table.table_text(view.overviews(output, study), width):
        console.print(line, soft_wrap=True)
