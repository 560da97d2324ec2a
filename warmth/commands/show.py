"""`warmth show`: one question through every arm and condition."""

from __future__ import annotations

from typing import Annotated

import typer

from warmth.commands.options import Json, Paths
from warmth.errors import UserError
from warmth.text import print_json


def show(
    question_id: Annotated[
        str,
        typer.Argument(
            metavar="QUESTION_ID",
            help="Id of the question, as in answers.jsonl; all: every question.",
        ),
    ],
    paths: Paths,
    model: Annotated[str, typer.Option(help="Show this model alone.")] = "",
    arm: Annotated[
        str, typer.Option(help="Show what this arm answered, the original beside it.")
    ] = "",
    task: Annotated[
        str, typer.Option(help="Show this task alone; several with commas between them.")
    ] = "",
    context: Annotated[str, typer.Option(help="Show this context alone, or several.")] = "",
    belief: Annotated[str, typer.Option(help="Show this belief alone, or several.")] = "",
    replies: Annotated[
        bool,
        typer.Option(
            "--replies",
            help="Show scored replies to held-out prompts instead; with QUESTION_ID all.",
        ),
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

    conditions = {"model": model, "task": task, "context": context, "belief": belief}
    if question_id != "all":
        conditions["question_id"] = question_id
    named = {name: value for name, value in conditions.items() if value}
    if question_id == "all" or replies:
        loaded = frames.load_rows(paths)
    else:
        loaded = load_question(paths, question_id)
    if replies and (task or context or belief):
        raise UserError(
            "--replies are to held-out prompts, which have no task, context or belief; allowed: "
            "--model, --arm"
        )
    if replies:
        matching = examples.of_replies(loaded, model, arm)
        if question_id != "all":
            matching = [example for example in matching if example.question_id == question_id]
        rows = loaded.warmth.rename(columns={"text_id": "question_id"})
        kind = "scored replies"
    else:
        matching = examples.of_cell(loaded, named, arm)
        rows = loaded.answers
        kind = "answers"
    if not matching:
        if arm:
            named["arm"] = arm
        folders = ", ".join(map(str, paths))
        raise UserError(f"no {kind} under {folders}{examples.misfit(rows, named)}")
    if as_json:
        print_json({"question_id": question_id, "prompts": list(map(asdict, matching))})
        return
    console = plain_console()
    for example in matching:
        for renderable in side_by_side(example):
            console.print(renderable)
