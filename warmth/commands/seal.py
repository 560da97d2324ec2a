"""`warmth seal`: a plan is frozen before the first answer, and a line is printed to publish."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warmth.errors import UserError
from warmth.text import print_json

if TYPE_CHECKING:
    from warmth.analysis.statistics.preregistration import Preregistration


def seal(
    plan: Annotated[
        Path,
        typer.Argument(metavar="PLAN", help="YAML file of hypotheses, as for preregister=PLAN."),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Machine-readable output, alone on standard output.")
    ] = False,
) -> None:
    """Freeze a plan before its answers, and print a line to publish (a pull request, an OSF
    note).
    """
    from dataclasses import asdict

    from warmth.analysis.statistics import preregistration

    content = preregistration.read_plan(plan)
    if content.exclusions.get("question_id") and not content.tasks:
        raise UserError(
            f"{plan}: exclusions: question_id names questions of no stated task, so that they "
            f"cannot be checked; add tasks: [NAME]"
        )
    names = preregistration.PlanNames(questions=known_questions(content))
    sealed = preregistration.seal_plan(plan, names)
    line = sealed.line(plan.name)
    if as_json:
        print_json(
            {
                **asdict(sealed),
                "line": line,
                "file": str(preregistration.frozen_path(plan).resolve()),
            }
        )
        return
    print(line)
    print(
        f"kept in {preregistration.frozen_path(plan)}; run evaluate.py with preregister={plan}",
        file=sys.stderr,
    )


def known_questions(plan: Preregistration) -> dict[str, frozenset[str]]:
    """Read the ids of the questions of a plan's tasks, if it excludes questions and their files are
    here.

    A task whose file cannot be had is named on standard error: its ids are checked by
    `evaluate.py`.
    """
    if not plan.exclusions.get("question_id"):
        return {}
    from warmth.entries import read_entry
    from warmth.evaluation.ask.tasks import load_questions
    from warmth.schemas import Task

    questions = {}
    for name in plan.tasks:
        try:
            drawn = load_questions(name, Task(**read_entry("task", name)), 0, None)
        except (UserError, OSError) as error:
            print(f"question ids of {name} are not checked: {error}", file=sys.stderr)
            continue
        questions[name] = frozenset(question.id for question in drawn)
    return questions
