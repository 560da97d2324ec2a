"""`warmth export`: answers and grades for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from warmth.commands.options import Json, Paths
from warmth.text import print_json


def export(
    paths: Paths,
    form: Annotated[
        str,
        typer.Option("--format", help="parquet: one table; inspect: a log for each evaluation."),
    ] = "parquet",
    out: Annotated[Path, typer.Option(help="Folder of the files.")] = Path("exports"),
    as_json: Json = False,
) -> None:
    """Answers and grades for other tools."""
    from warmth.analysis import export as exports

    files = [str(file.resolve()) for file in exports.write_export(paths, form, out)]
    if as_json:
        print_json({"files": files})
        return
    for file in files:
        print(file)
