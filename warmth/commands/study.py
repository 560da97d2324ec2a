"""`warmth study`: the study's own words, from the authors' files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from warmth.commands.options import Json
from warmth.text import print_json


def study(
    folder: Annotated[
        Path, typer.Argument(metavar="RELEASED_DIR", help="Your copy of the authors' files.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Where their wording goes, as YAML; keep it to yourself."
        ),
    ],
    as_json: Json = False,
) -> None:
    """The study's own words, from the authors' files: for design=paper statements=FILE
    refusals=FILE.
    """
    from warmth.analysis.report.terminal import plain_console, terminal_text
    from warmth.analysis.study.study_words import read_study_words, write_study

    words = read_study_words(folder)
    write_study(words, out)
    lacks = words.lacks()
    if as_json:
        print_json({"file": str(out.resolve()), "lacks": lacks})
        return
    console = plain_console()
    statements = sum(map(len, words.statements.values()))
    console.print(
        terminal_text(
            f"{statements} statements of {len(words.statements)} contexts, {len(words.templates)} "
            f"belief sentences, "
            f"{len(words.recast)} cases as told, answers to {len(words.answers)} questions, "
            f"{len(words.refusals)} refusal phrases"
        ),
        soft_wrap=True,
    )
    for line in lacks:
        console.print(terminal_text(f"these files lack {line}"), soft_wrap=True)
    use = f"use it by: design=paper statements={out}"
    use += f" refusals={out}" if words.refusals else " (refusals: the phrases of this project)"
    console.print(terminal_text(use), soft_wrap=True)
