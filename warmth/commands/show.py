"""`warmth show`: one question through every arm and condition."""

from __future__ import annotations

from typing import Annotated

import typer

from warmth.commands.options import Json, Paths
from warmth.errors import UserError
from warmth.text import print_json


def show(
    question_id: Annotated[
        str, typer.Argument(metavar="QUESTION_ID", help="As in answers.jsonl; all: every one.")
    ],
    paths: Paths,
    model: Annotated[str, typer.Option(help="Only this model.")] = "",
    arm: Annotated[str, typer.Option(help="Only what this arm answered, original beside it.")] = "",
    task: Annotated[
        str, typer.Option(help="Only this task; several: a comma between, as in the next two.")
    ] = "",
    context: Annotated[str, typer.Option(help="Only this context.")] = "",
    belief: Annotated[str, typer.Option(help="Only this belief.")] = "",
    replies: Annotated[
        bool,
        typer.Option("--replies", help="Scored replies to held-out prompts instead; with all."),
    ] = False,
    as_json: Json = False,
) -> None:
    """One question, or the rows behind a figure's point, through every arm and condition, side by
    side.
    """
    from dataclasses import asdict

    from warmth.analysis.report.terminal import plain_console, side_by_side
    from warmth.analysis.rows import examples, frames
    from warmth.analysis.rows.narrowed import load_question

    loaded = (
        frames.load(paths) if question_id == "all" or replies else load_question(paths, question_id)
    )
    where = {"model": model, "task": task, "context": context, "belief": belief}
    where |= {"question_id": question_id} if question_id != "all" else {}
    if replies and (task or context or belief):
        raise UserError(
            "--replies are to held-out prompts, which have no task, context or belief; allowed: "
            "--model, --arm"
        )
    if replies:
        matching = [
            example
            for example in examples.of_replies(loaded, model, arm)
            if question_id in ("all", example.question_id)
        ]
    else:
        matching = examples.of_cell(
            loaded, {name: value for name, value in where.items() if value}, arm
        )
    if not matching:
        given = {name: value for name, value in {**where, "arm": arm}.items() if value}
        raise UserError(
            f"no {'scored replies' if replies else 'answers'} under {', '.join(map(str, paths))}"
            + examples.misfit(
                loaded.warmth.rename(columns={"text_id": "question_id"})
                if replies
                else loaded.answers,
                given,
            )
        )
    if as_json:
        print_json(
            {"question_id": question_id, "prompts": [asdict(example) for example in matching]}
        )
        return
    console = plain_console()
    for example in matching:
        for renderable in side_by_side(example):
            console.print(renderable)
