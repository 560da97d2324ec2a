"""`warmth grade`: anybody's answers, graded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

from warmth.commands.options import Json
from warmth.text import print_json_rows


def grade(
    answers: Annotated[
        Path,
        typer.Argument(
            metavar="ANSWERS.jsonl",
            help='Rows {"id", "question", "answers", "wrong", "options", "belief", "finish", '
            '"text"}.',
        ),
    ],
    grader: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="An entry of conf/grader/; else letter for rows with options, or alias.",
        ),
    ] = None,
    unmatched: Annotated[
        Literal["incorrect"] | None,
        typer.Option(
            help="What an answer is that names no accepted answer, if the lists of names are "
            "complete."
        ),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Server of a judge; empty: its model runs here.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Its model there, dated; or an entry, a hub id or a folder.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(help="NAME of the variable with its key; empty: none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Grade anybody's answers by a rule or a judge, each with its label, or the reason why it has
    none.
    """
    from warmth.analysis.report.terminal import plain, plain_console
    from warmth.evaluation.grade.own_answers import chosen_grader, grade_file

    chosen = None
    if grader:
        from warmth.api import Servers
        from warmth.schemas import Evaluate

        chosen = chosen_grader(
            grader, {"base_url": base_url, "model": model, "api_key_env": api_key_env}
        )
        if not chosen.offline:
            servers = Servers(Evaluate(output="multirun"))
            chosen = chosen.bind(grader, servers)
            servers.check()
    grades = grade_file(answers, chosen, unmatched)
    if as_json:
        print_json_rows(
            {"id": name, "label": row.label, "reason": row.reason, "affirms": row.affirms}
            for name, row in grades
        )
        return
    console = plain_console()
    counts: Counter[str] = Counter()
    for name, row in grades:
        counts[row.label or f"no label, {row.reason}"] += 1
        console.print(
            plain(f"{name}: {row.label or 'no label'} {row.reason}".rstrip()), soft_wrap=True
        )
    console.print(
        plain(", ".join(f"{label} {count}" for label, count in counts.most_common())),
        soft_wrap=True,
    )
