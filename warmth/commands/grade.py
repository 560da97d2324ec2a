"""Grade anybody's answers: `warmth grade`."""

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
            help="Grader, an entry of conf/grader/; by default letter for rows with options, "
            "alias for others.",
        ),
    ] = None,
    unmatched: Annotated[
        Literal["incorrect"] | None,
        typer.Option(
            help="Label of an answer that names no accepted answer, if the lists of names are "
            "complete."
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(help="Address of the judge's server; empty: the judge's model runs here."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The judge's model: a dated name on its server, or an entry, a hub id or a folder."
        ),
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(help="Environment variable with the judge's API key; empty: no key."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Grade anybody's answers by a rule or a judge, each with its label, or the reason why it has
    none.
    """
    from warmth.analysis.report.terminal import plain_console, terminal_text
    from warmth.evaluation.grade.own_answers import chosen_grader, grade_file

    grader_of_rows = None
    if grader:
        from warmth.api import Servers
        from warmth.schemas import Evaluate

        keys = {"base_url": base_url, "model": model, "api_key_env": api_key_env}
        grader_of_rows = chosen_grader(grader, keys)
        if not grader_of_rows.offline:
            servers = Servers(Evaluate(output="multirun"))
            grader_of_rows = grader_of_rows.bind(grader, servers)
            servers.check()
    grades = grade_file(answers, grader_of_rows, unmatched)
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
        verdict = f"{name}: {row.label or 'no label'} {row.reason}".rstrip()
        console.print(terminal_text(verdict), soft_wrap=True)
    totals = [f"{label} {count}" for label, count in counts.most_common()]
    console.print(terminal_text(", ".join(totals)), soft_wrap=True)
