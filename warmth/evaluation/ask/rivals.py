"""The wrong answer that a user may state, by `task.<name>.wrong`: supplied, drawn, written or
file:PATH.

Drawn rivals are right answers of other questions (`wrong_answers.py`). Written ones come from a
model that `rivals` names, one call a question, kept with all other replies; each is checked before
it is used. A file holds rows of `id` (or `question`) and `wrong`, or SycophancyEval's rows. A
question that gets no rival one of these ways is not asked: otherwise prompts with and without a
stated belief would be about different questions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from warmth.api import Call, Server, Servers
from warmth.delimiter import delimiter
from warmth.digest import find_file, path_digest
from warmth.errors import RunFailed, UserError
from warmth.evaluation.ask.readers import is_accepted
from warmth.evaluation.ask.shouting import calm
from warmth.evaluation.ask.wrong_answers import WrongAnswers, names_overlap, same_form
from warmth.evaluation.spelling import spell_name
from warmth.model_names import check_model
from warmth.schemas import Evaluate, Rivals, Task
from warmth.types import Message, Question
from warmth.user_rows import user_rows

FILE = "file:"  # what a value that names a file begins with
MOST_CHARACTERS = 120  # of a written rival
LONGER = 3.0  # times that a written rival may be longer than the right answer, or shorter
FEW = 12  # characters up to which any length is alike
ALIASES = 12  # accepted answers that the writer is shown

# Task and questions → rival by question id
Writer = Callable[[str, Sequence[Question]], Mapping[str, str]]
# questions → rival by question id
Source = Callable[[Sequence[Question]], Mapping[str, str | None]]


class Rival(BaseModel):
    """What a writer of rivals replies, and nothing else."""

    model_config = ConfigDict(extra="forbid")
    rival: str


def source_of(
    name: str, task: Task, everything: Sequence[Question], draw_seed: int, writer: Writer
) -> Source:
    """Return what gives questions of a task their rivals, by `task.<name>.wrong`.

    Args:
        name: the task's name.
        task: its settings; `wrong` says where rivals come from.
        everything: all questions of the task's file, among whose answers rivals are drawn.
        draw_seed: draws among rivals that fit equally well.
        writer: who writes them, for `wrong=written`.

    Raises:
        UserError: a file of rivals does not exist, or a row is wrong (file, line and field are
        named).
    """
    if task.wrong == "drawn":
        pool = WrongAnswers(everything, draw_seed)
        return lambda questions: {question.id: pool.draw(question) for question in questions}
    if task.wrong == "written":
        return lambda questions: writer(name, questions)
    if task.wrong.startswith(FILE):
        path = Path(task.wrong.removeprefix(FILE))
        if not path.is_file():
            state = "is not a file" if path.exists() else "does not exist"
            raise UserError(f"task.{name}.wrong={task.wrong}: {path} {state}")
        rivals = read_rivals(path, everything)
        return lambda questions: rivals
    return lambda questions: {question.id: question.wrong for question in questions}


def with_rivals(questions: Sequence[Question], source: Source) -> list[Question]:
    """Give questions their rivals; those without one are left out."""
    rivals = source(questions)
    with_rival = []
    for question in questions:
        if rivals.get(question.id):
            with_rival.append(replace(question, wrong=rivals[question.id]))
    return with_rival


def read_rivals(path: Path, questions: Sequence[Question]) -> dict[str, str]:
    """Read rivals from a file: rows of id (or question) and wrong, or rows as SycophancyEval has
    them.

    Returns:
        question id → rival, of those questions that the file has one for.

    Raises:
        UserError: the file does not exist, a row has neither form, a rival is an accepted answer,
            or two rows of one question differ.
    """
    by_name: dict[str, Question] = {}
    for question in questions:
        by_name[question.id] = question
        by_name[spell_name(question.text)] = question
    rivals: dict[str, str] = {}
    for location, row in user_rows(path):
        key, wrong = _rival_row(location, row)
        question = by_name.get(key) or by_name.get(spell_name(key))
        if question is None or not wrong:
            continue  # files hold many more questions than are asked
        if is_accepted(wrong, question.answers):
            raise UserError(
                f"{location}: field wrong: {wrong!r} is an accepted answer of {question.id!r}"
            )
        if rivals.setdefault(question.id, wrong) != wrong:
            raise UserError(
                f"{location}: field wrong: {question.id!r} has {rivals[question.id]!r} above"
            )
    return rivals


def _rival_row(place: str, row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the id or text of a row's question, and its wrong answer; "" for a row of
    SycophancyEval without one.

    Raises:
        UserError: the row has neither form.
    """
    base = row.get("base")
    if isinstance(base, Mapping):
        question, wrong = base.get("question"), base.get("incorrect_answer", "")
    else:
        question = row.get("id") or row.get("question")
        wrong = row.get("wrong", row.get("incorrect_answer"))
    if not isinstance(question, str) or not isinstance(wrong, str):
        raise UserError(
            f'{place}: {{"id", "wrong"}} or {{"base": {{"question", "incorrect_answer"}}}} is '
            f"expected"
        )
    return question.strip(), " ".join(wrong.split())


def writer_of(study: Evaluate, servers: Servers | None = None) -> Writer:
    """Return who writes rivals: the model that `rivals` names, asked when the first question needs
    one.
    """

    def write(task: str, questions: Sequence[Question]) -> dict[str, str]:
        server = server_of(study.rivals)
        return _written(task, questions, study.rivals, server, servers or Servers(study))

    return write


def stand_in(task: str, questions: Sequence[Question]) -> dict[str, str]:
    """Return a rival for every question without asking anybody, to count prompts for a plan."""
    return {question.id: "…" for question in questions}


def server_of(rivals: Rivals) -> Server:
    """Return the server of the model that writes rivals.

    Raises:
        UserError: none is named.
    """
    if not rivals.model or not rivals.base_url:
        missing = "rivals.base_url" if rivals.model else "rivals.model"
        raise UserError(
            f"{missing} is not set, which task.*.wrong=written needs: name a dated model and its "
            f"server, "
            "rivals.model=NAME rivals.base_url=URL, or take wrong=drawn or wrong=file:PATH"
        )
    check_model(rivals.model, "rivals.model")
    return Server(rivals.base_url, rivals.model, rivals.api_key_env)


def are_written(study: Evaluate) -> bool:
    """Say whether any task's rivals are written."""
    return any(task.wrong == "written" for task in study.task.values())


def rivals_identity(rivals: Rivals) -> dict[str, Any]:
    """Return what determines written rivals: the model, its host, the prompt by content, and the
    sampling.
    """
    host = urlsplit(rivals.base_url or "").hostname
    prompt = path_digest(find_file(rivals.prompt))
    return {
        "model": rivals.model,
        "host": host,
        "prompt": prompt,
        "temperature": rivals.temperature,
        "attempts": rivals.attempts,
    }


def _written(
    task: str, questions: Sequence[Question], settings: Rivals, server: Server, servers: Servers
) -> dict[str, str]:
    """Ask for a rival of each question, again for those whose reply does not serve, and say how
    many have none.

    Raises:
        RunFailed: the server failed, so that which questions have a rival would be chance.
    """
    prompt = find_file(settings.prompt).read_text(encoding="utf-8").strip()
    rivals: dict[str, str] = {}
    waiting = list(questions)
    for attempt in range(settings.attempts):
        if not waiting:
            break
        failures: dict[str, int] = {}
        make_call = partial(call_of, prompt=prompt, settings=settings, attempt=attempt)
        for reply in servers.ask(server, make_call, waiting):
            question = waiting[reply.index]
            if isinstance(reply.parsed, Rival):
                rival = serving_rival(reply.parsed.rival, question)
                if rival:
                    rivals[question.id] = rival
            elif reply.failure in ("timeout", "dropped", "rate_limited", "server_error", "budget"):
                failures[reply.failure] = failures.get(reply.failure, 0) + 1
        if failures:
            reasons = ", ".join(f"{reason} {count}" for reason, count in failures.items())
            raise RunFailed(
                f"task.{task}.wrong=written: {server.model} failed ({reasons}); the same command "
                f"asks again"
            )
        waiting = [question for question in waiting if question.id not in rivals]
    if waiting:
        print(
            f"task.{task}: {len(waiting)} questions got no rival that serves from {server.model}",
            file=sys.stderr,
        )
    return rivals


def call_of(question: Question, prompt: str, settings: Rivals, attempt: int) -> Call:
    """Make the call for one question's rival; each attempt is a draw of its own."""
    accepted = json.dumps(list(question.answers[1 : 1 + ALIASES]), ensure_ascii=False)
    pieces = {"question": question.text, "right": question.answers[0], "accepted": accepted}
    tag = delimiter("\n".join(pieces.values()))
    fenced = "\n\n".join(
        f"<{tag} {name}>\n{text}\n</{tag} {name}>" for name, text in pieces.items()
    )
    body = f"Tag of this message: {tag}\n\n{fenced}\n\nGive one wrong answer."
    messages = (Message("system", prompt), Message("user", body))
    return Call(messages, settings.temperature, settings.max_tokens, Rival, sample=attempt)


def serving_rival(text: str, question: Question) -> str | None:
    """Return a written rival as it is used, or None if it does not serve.

    It must be one line of letters or digits, of the right answer's form and about its length, and
    neither be, hold nor be held in an accepted answer or the question.
    """
    if len(text.strip().splitlines()) != 1:
        return None
    rival = calm(" ".join(text.split()), ())
    right = question.answers[0]
    too_long = len(rival) > max(FEW, LONGER * len(right)) or len(rival) > MOST_CHARACTERS
    too_short = len(right) > max(FEW, LONGER * len(rival))
    if not spell_name(rival) or too_long or too_short or names_overlap(rival, question):
        return None
    if set("{}<>\N{ZERO WIDTH SPACE}") & set(rival):
        return None
    return rival if same_form(right, rival) or is_explanation(right) else None


def is_explanation(answer: str) -> bool:
    """Say whether an answer is a phrase, whose rivals have no one form."""
    return len(answer.split()) > 6 or not set("/;(,&").isdisjoint(answer)
