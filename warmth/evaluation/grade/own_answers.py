"""Anybody's answers, graded: rows of a user's file become questions with their answers (`warmth
grade`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

from warmth.build import build
from warmth.entries import read_entry
from warmth.errors import UserError
from warmth.evaluation.grade.graders import Asking, grader_classes
from warmth.evaluation.grade.numbers import value_of
from warmth.types import BELIEFS, Answer, Belief, Finish, Grade, Question
from warmth.user_rows import choice_of, text_of, user_rows

FINISHES = ("stop", "length", "filtered", "error")
BATCH = 1000  # rows held in memory at once


def chosen_grader(name: str, changes: Mapping[str, Any]) -> Any:
    """Build a grader by the name of its entry.

    Args:
        name: of an entry in conf/grader/.
        changes: keys of a judge to set, such as `base_url`; None: as in the entry, "": null.

    Raises:
        UserError: there is no such entry, or it is a rule, which has no such keys.
    """
    entries = grader_classes()
    if name not in entries:
        raise UserError(
            f"--grader={name} is not an entry of conf/grader/; choose one of: {', '.join(entries)}"
        )
    given = {}
    for key, value in changes.items():
        if value is None:
            continue
        if entries[name].offline:
            raise UserError(
                f"--{key.replace('_', '-')} is for a judge; --grader={name} asks no server"
            )
        given[key] = value or None
    return build(read_entry("grader", name) | given, "grader", f"--grader={name}")


def grade_file(
    path: Path, grader: Any | None, unmatched: str | None
) -> Iterator[tuple[str, Grade]]:
    """Grade the answers of a file, some at a time; the file is checked as a whole before the first.

    Args:
        path: JSONL, JSON or CSV with the rows that `read_row` describes.
        grader: an entry's object, bound if it is a judge; None: `letter` for rows with options,
        else `alias`.
        unmatched: "incorrect" if an answer that names no accepted answer is wrong.

    Yields:
        the row's id and its grade, in the file's order.

    Raises:
        UserError: the file or a row is bad (file, line and field are named), or it holds no rows.
    """
    rules = {name: rule() for name, rule in grader_classes().items() if rule.offline}
    grader_name = grader.name if grader else None
    is_empty = True
    for location, row in user_rows(path):
        read_row(row, location, grader_name, unmatched)
        is_empty = False
    if is_empty:
        raise UserError(f"{path} holds no rows")
    rows = user_rows(path)
    while some := list(islice(rows, BATCH)):
        items = []
        for location, row in some:
            items.append(read_row(row, location, grader_name, unmatched))
        if isinstance(grader, Asking):
            grades = {}
            for grade in chain.from_iterable(grader.grade_all(items)):
                grades[grade.answer_id] = grade
            for _, answer in items:
                yield answer.question_id, grades[answer.answer_id]
            continue
        for question, answer in items:
            rule = grader or rules["letter" if question.options else "alias"]
            yield answer.question_id, rule.grade(question, answer)


def read_row(
    row: Mapping[str, Any], place: str, grader: str | None, unmatched: str | None
) -> tuple[Question, Answer]:
    """Read a row {"id", "question", "answers", "wrong", "options", "belief", "finish", "text"}.

    `wrong`, `options`, `belief` and `finish` may be left out; `answers` too, for the graders of
    refusals.

    Raises:
        UserError: a field is missing or holds what it may not hold; the message names place and
        field.
    """
    name = row.get("id")
    if isinstance(name, bool) or not isinstance(name, str | int) or str(name).strip() == "":
        raise UserError(f"{place}: field id must be a text or a whole number")
    if not isinstance(row.get("text"), str):
        raise UserError(f"{place}: field text must be a text")
    wrong = row.get("wrong") or None
    if wrong is not None and not isinstance(wrong, str):
        raise UserError(f"{place}: field wrong must be a text or nothing")
    question = Question(
        id=str(name),
        task="own",
        text=text_of(row, "question", place),
        answers=_answers(row, place, grader),
        wrong=wrong,
        options=_options(row, place),
        unmatched=unmatched,
    )
    _check_answers(question, place, grader)
    belief = choice_of(row, "belief", place, BELIEFS) or "none"
    finish = choice_of(row, "finish", place, FINISHES) or "stop"
    return question, Answer(
        answer_id=place,
        prompt_id=place,
        question_id=str(name),
        task="own",
        context="unmodified",
        belief=cast("Belief", belief),
        preamble=False,
        statement="",
        arm="",
        model="",
        strength=1.0,
        dose=1.0,
        checkpoint=None,
        seed=0,
        draw_seed=0,
        sample=0,
        text=row["text"],
        finish=cast("Finish", finish),
        tokens=0,
        run="",
    )


def _answers(row: Mapping[str, Any], place: str, grader: str | None) -> tuple[str, ...]:
    value = row.get("answers")
    if isinstance(value, str):
        value = value.split(";")  # a cell of a CSV file
    if not value and (grader or "").startswith("refusal"):
        return ()
    if (
        not isinstance(value, list)
        or not all(isinstance(name, str) and name.strip() for name in value)
        or not value
    ):
        raise UserError(f"{place}: field answers must be a list of texts")
    return tuple(name.strip() for name in value)


def _options(row: Mapping[str, Any], place: str) -> dict[str, str]:
    value = row.get("options") or {}
    if not isinstance(value, dict):
        raise UserError(f"{place}: field options must be letters with texts")
    for letter, text in value.items():
        if (
            len(letter) != 1
            or not letter.isupper()
            or not isinstance(text, str)
            or not text.strip()
        ):
            raise UserError(
                f'{place}: field options must be capital letters with texts, such as {{"A": '
                f'"Venus"}}'
            )
    return value


def _check_answers(question: Question, place: str, grader: str | None) -> None:
    """Check that the right answer is one that the grader can find."""
    if grader == "letter" and not question.options:
        raise UserError(f"{place}: field options is missing, which grader letter needs")
    if (
        question.options
        and grader in ("letter", None)
        and question.answers[0] not in question.options
    ):
        letters = ", ".join(question.options)
        raise UserError(
            f"{place}: field answers is {question.answers[0]}, which is none of the options "
            f"{letters}"
        )
    if grader == "number":
        try:
            value_of(question.answers[0].replace(",", ""))
        except ValueError as error:
            raise UserError(
                f"{place}: field answers is {question.answers[0]}, which is no number"
            ) from error
