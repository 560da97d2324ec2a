"""Questions: rows of a file or of the hub become questions, and some of them are drawn."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from warmth.digest import ROOT, digest, find_file
from warmth.errors import NotTrained, UserError, one_line
from warmth.evaluation.ask.readers import READERS, BadField
from warmth.evaluation.ask.rivals import Writer, source_of, with_rivals, writer_of
from warmth.evaluation.ask.wording import Wording, read_wording
from warmth.schemas import Evaluate, Task
from warmth.store import set_folder
from warmth.types import Message, Prompt, Question
from warmth.user_rows import user_rows

# Readers of files that somebody wrote for this project: a repeat is a mistake
OWN = (
    "seed",
    "advice",
    "jsonl",
)
WARMTH_PROMPTS = "warmth_prompts.jsonl"  # in the seed, and in a set built with `data.held_out`


def load_all(study: Evaluate, writer: Writer | None = None) -> list[Question]:
    """Read the questions of all chosen tasks.

    Args:
        study: the accepted config.
        writer: who writes rivals for tasks with `wrong=written`; None: whom `rivals` names, with a
        budget of its own.

    Raises:
        UserError: two tasks ask the same question, which would be answered for one of them alone.
    """
    questions: list[Question] = []
    asked: dict[str, Question] = {}
    wording = (
        read_wording(study.statements) if study.design in ("paper", "factorial") else Wording()
    )
    for name, task in study.task.items():
        for plain in load_questions(
            name, task, study.draw_seed, study.limit, writer or writer_of(study)
        ):
            question = wording.of(plain)
            same_text = asked.setdefault(question.text, question)
            if same_text is not question:
                raise UserError(
                    f"task.{name} and task.{same_text.task} both ask {question.text[:80]!r} (ids "
                    f"{question.id!r} and "
                    f"{same_text.id!r}); leave one of them out"
                )
            questions.append(question)
    return questions


def load_answered(study: Evaluate, writer: Writer | None = None) -> list[Question]:
    """Return the questions that are answered freely; none under `scoring=likelihood`."""
    if study.scoring == "likelihood":
        return []
    tasks = {name: task for name, task in study.task.items() if task.free_answers}
    return load_all(replace(study, task=tasks), writer)


def load_questions(
    name: str, task: Task, draw_seed: int, limit: int | None, writer: Writer | None = None
) -> list[Question]:
    """Return the questions of one task, drawn by `draw_seed`.

    The draw orders questions by a hash of seed and id, so a larger `limit` is a superset of a
    smaller one, and a question added to a file moves no other. Wrong answers are drawn over the
    whole file, whatever the limit. Where they do not come with the rows, a question without one is
    not drawn, and the next takes its place.

    Args:
        name: the task's name, the `task` of every question.
        task: where the questions are and how many are drawn.
        draw_seed: the same for all arms that are compared.
        limit: how many of the drawn questions are asked; None: all.
        writer: who writes rivals for `wrong=written`.

    Raises:
        UserError: an unknown reader, a missing file, a bad row (file, line and field are named), or
        too few questions.
    """
    questions = read_questions(name, task, draw_seed)
    origin = task.path or task.source
    ordered = sorted(questions, key=lambda question: digest([draw_seed, question.id]))
    drawn = _drawn(name, task, ordered, draw_seed, limit, writer)
    with_rival = (
        "" if task.wrong == "supplied" else f" with a rival (task.{name}.wrong={task.wrong})"
    )
    # A sample of the declared set: the limit says how much of it is wanted
    if task.path and limit is not None:
        if 0 < len(drawn) < min(limit, task.questions or limit):
            print(
                f"task.{name}: {origin} holds {len(drawn)} questions{with_rival}, fewer than "
                f"limit={limit}",
                file=sys.stderr,
            )
    elif task.questions is not None and len(drawn) < min(task.questions, limit or task.questions):
        held = len(drawn) if with_rival else len(questions)
        raise UserError(
            f"task.{name}: {origin} holds {held} questions{with_rival}, {task.questions} are asked "
            f"for"
        )
    if not drawn:
        raise UserError(f"task.{name}: {origin} holds no questions{with_rival}, some are asked for")
    return [replace(question, unmatched=task.unmatched) for question in drawn]


def _drawn(
    name: str,
    task: Task,
    ordered: list[Question],
    draw_seed: int,
    limit: int | None,
    writer: Writer | None,
) -> list[Question]:
    """Take as many questions as are asked for, in their order, each with its rival."""
    count = min(number for number in (task.questions, limit, len(ordered)) if number is not None)
    if task.wrong == "supplied":
        return ordered[:count]
    source = source_of(name, task, ordered, draw_seed, writer or no_writer)
    drawn: list[Question] = []
    position = 0
    while len(drawn) < count and position < len(ordered):
        size = count - len(drawn)  # no more than needed: a written rival is paid for
        drawn += with_rivals(ordered[position : position + size], source)
        position += size
    return drawn[:count]


def no_writer(task: str, questions: Sequence[Question]) -> dict[str, str]:
    """Refuse to write rivals: nobody was named.

    Raises:
        UserError: always.
    """
    raise UserError(
        f"task.{task}.wrong=written needs a study, whose rivals name the model that writes"
    )


def warmth_prompts_file(study: Evaluate) -> Path:
    """Return the prompts held out from the set that the arms were trained on, so that none of them
    saw a prompt of its kind.

    Raises:
        NotTrained: the set was not built yet.
        UserError: `warmth.path` does not exist.
    """
    if study.warmth.path:
        return find_file(study.warmth.path)
    if study.data.source == "seed" or not study.data.held_out:
        return ROOT / "seed" / WARMTH_PROMPTS
    folder = set_folder(study)
    beside_run = (
        [Path(study.run).resolve().parent.parent / "data" / folder.name] if study.run else []
    )
    for folder_of_file in (folder, *beside_run):
        if (folder_of_file / "done.json").exists():
            return folder_of_file / WARMTH_PROMPTS
    raise NotTrained(
        f"{folder}, whose held-out prompts measure warmth, is not built: train an arm on "
        f"data={study.data.name} first, "
        "or give warmth.path=FILE or warmth.prompts=0"
    )


def load_warmth_prompts(study: Evaluate) -> list[Prompt]:
    """Held-out prompts whose replies are scored for warmth, drawn like questions and the same for
    every arm.

    Raises:
        UserError: fewer exist than are asked for, or a row is bad.
    """
    settings = study.warmth
    if not settings.prompts:
        return []
    file, prompts = warmth_prompts_file(study), {}
    for location, row in user_rows(file):
        if not isinstance(row.get("id"), str) or not isinstance(row.get("prompt"), str):
            raise UserError(f"{location}: fields id and prompt must be texts")
        prompts[row["id"]] = row["prompt"]
    if len(prompts) < settings.prompts:
        raise UserError(f"warmth.prompts={settings.prompts}, but {file} holds {len(prompts)}")
    result = []
    for key in sorted(prompts, key=lambda key: digest([study.draw_seed, key]))[: settings.prompts]:
        messages = (Message("user", prompts[key]),)
        length = settings.max_new_tokens
        result.append(
            Prompt(
                digest(messages), key, "warmth", "unmodified", "none", False, "", messages, length
            )
        )
    return result


def read_questions(name: str, task: Task, draw_seed: int) -> list[Question]:
    """Return every question of a task's file or hub split, without repeats."""
    reader = READERS.get(task.reader)
    if reader is None:
        raise UserError(
            f"task.{name}.reader={task.reader} is not allowed; choose one of: "
            f"{', '.join(sorted(READERS))}"
        )
    by_id: dict[str, tuple[Question, str]] = {}
    asked: dict[
        str, tuple[Question, str]
    ] = {}  # by text: equal questions are one prompt, with one answer
    twice = 0
    for location, row in rows(name, task):
        try:
            question = reader(row, name, draw_seed)
        except BadField as error:
            raise UserError(f"{location}: {error}") from error
        before = by_id.get(question.id)
        if before is not None:
            if before[0] != question:
                raise UserError(
                    f"{location}: field id: {question.id!r} already stands in {before[1]}"
                )
            twice += 1  # the same row twice is one question; MMLU has some
            continue
        same = asked.get(question.text)
        if same is not None and task.reader in OWN:
            raise UserError(
                f"{location}: field question: the same question stands in {same[1]} as "
                f"{same[0].id!r}"
            )
        if same is not None:
            twice += 1
            continue
        by_id[question.id] = asked[question.text] = (question, location)
    if twice:
        print(f"task.{name}: {twice} rows repeat a question and are left out", file=sys.stderr)
    return [question for question, _ in by_id.values()]


def rows(name: str, task: Task) -> Iterator[tuple[str, dict[str, Any]]]:
    """Raw rows of a task, each with the place that errors name."""
    path = file_of(task)
    if path is None:
        yield from _hub_rows(name, task)
    elif not path.is_file():
        raise UserError(
            f"task.{name}.path={path} does not exist"
            if task.path
            else f"task.{name}.source={task.source}: no {path}"
        )
    else:
        yield from user_rows(path)


def file_of(task: Task) -> Path | None:
    """Return the local file a task is read from; None if it comes from the hub."""
    if task.path:
        return Path(task.path)
    return (
        ROOT / "seed" / "questions" / f"{task.source}.jsonl"
        if task.reader in ("seed", "advice")
        else None
    )


def _hub_rows(name: str, task: Task) -> Iterator[tuple[str, dict[str, Any]]]:
    import datasets

    try:
        split = datasets.load_dataset(
            task.source, task.config, split=task.split, revision=task.revision
        )
    except Exception as error:  # the hub's client raises many kinds: offline, gated, renamed, moved
        hint = f"give a local copy by task.{name}.path=FILE"
        raise UserError(
            f"task.{name}: {task.source} cannot be loaded from the hub ({one_line(error)[:160]}); "
            f"{hint}"
        ) from error
    for number, row in enumerate(split, 1):
        yield f"{task.source} row {number}", dict(row)
