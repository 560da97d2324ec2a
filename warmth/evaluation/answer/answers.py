"""From prompts to rows of answers: each is looked up by content before it is generated, and kept
once it exists.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby, islice, product
from pathlib import Path
from typing import Any, TypeVar

from warmth.chat import prompt_ids
from warmth.digest import digest
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.engines import Completion, Engine, Request
from warmth.evaluation.progress import Meter
from warmth.schemas import Sampling
from warmth.store import FIRST_ANSWER, Run, read_json
from warmth.types import SOMETIMES, Answer, Prompt, Question

T = TypeVar("T")
WINDOW = 4096  # prompts held at once where nothing says otherwise
Watch = Callable[[Sequence[Answer]], str]


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield a stream in lists of `size`."""
    stream = iter(items)
    while window := list(islice(stream, size)):
        yield window


def windows(prompts: Iterable[Prompt], size: int) -> Iterator[list[Prompt]]:
    """Yield prompts in lists of at most `size`, all of one temperature: tasks may have their
    own.
    """
    for _, alike in groupby(prompts, lambda prompt: prompt.temperature):
        yield from batched(alike, size)


def sampling_of(prompt: Prompt, sampling: Sampling) -> Sampling:
    """Return how a prompt's answers are drawn: at its task's temperature if that has one."""
    if prompt.temperature is None:
        return sampling
    return replace(sampling, temperature=prompt.temperature)


def rendered_prompts(arm: Arm, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
    """Return the token ids of every prompt as the arm reads it, its system prompt and examples in
    front.
    """
    from warmth.evaluation.answer.decoding import tokenizer_of

    tokenizer = tokenizer_of(arm.model)
    thinking = arm.model.thinking
    rendered = []
    for prompt in prompts:
        ids = prompt_ids(tokenizer, arm.preface + prompt.messages, thinking)
        rendered.append(tuple(ids))
    return rendered


def rendered_by(engine: Engine, arm: Arm, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
    """Return the token ids of every prompt; empty if the engine's server makes them, unseen."""
    if not engine.renders:
        return [()] * len(prompts)
    return rendered_prompts(arm, prompts)


def write_prompts(
    run: Run,
    prompts: Sequence[Prompt],
    rendered: Sequence[tuple[int, ...]],
    questions: Mapping[tuple[str, str], Question],
    there: set[str],
    name: str = "prompts",
) -> None:
    """Add to `prompts.jsonl` what gates and readers need beside the answers, but for prompts that
    are `there`.
    """
    rows = []
    for prompt, ids in zip(prompts, rendered, strict=True):
        if prompt.prompt_id not in there:
            rows.append(_prompt_row(prompt, questions[prompt.task, prompt.question_id], ids))
    run.append(name, rows)


def _prompt_row(prompt: Prompt, question: Question, ids: tuple[int, ...]) -> dict[str, Any]:
    pair = {"pair": question.pair} if question.pair else {}
    return {
        "prompt_id": prompt.prompt_id,
        "question_id": prompt.question_id,
        "task": prompt.task,
        "context": prompt.context,
        "belief": prompt.belief,
        "preamble": prompt.preamble,
        "statement": prompt.statement,
        "question": question.text,
        "answers": question.answers,
        "wrong": question.wrong,
        **pair,
        "message": prompt.messages[-1].content,
        "tokens": len(ids) if ids else None,
        "tokens_digest": digest(ids) if ids else None,
    }


def answer_prompts(
    run: Run,
    name: str,
    engine: Engine,
    arm: Arm,
    prompts: Iterable[Prompt],
    sampling: Sampling,
    samples: int,
    draw_seed: int,
    total: int | None = None,
    questions: Sequence[Question] = (),
    watch: Watch = lambda rows: "",
) -> dict[str, float]:
    """Fill `<name>.jsonl` with one row for each prompt and sample.

    Rows that exist are never written again, but for failures: they are no answers, so they are
    removed and asked for once more. An answer that another run of the study holds is copied, a
    failure never; the rest is generated and appended batch by batch. Prompts are taken from their
    stream a window at a time, so memory does not grow with the grid.

    Args:
        run: where rows are kept.
        name: the file.
        engine: what generates.
        arm: who answers.
        prompts: in an order that does not change between two runs of one command.
        sampling: how answers are drawn.
        samples: answers to each prompt.
        draw_seed: of this study's draws.
        total: how many prompts there are, for the time left; None: as many as `prompts` has.
        questions: theirs, where `prompts.jsonl` is to be written beside.
        watch: is shown all new rows and says what to print beside the progress.

    Returns:
        How many answers were generated and copied now, the tokens that were read and written for
        the generated ones, and the seconds it took.
    """
    if total is None:
        prompts = list(prompts)
        total = len(prompts)
    question_of = {(question.task, question.id): question for question in questions}
    stored_prompts: set[str] = set()
    if question_of:
        stored_prompts = {row["prompt_id"] for row in run.rows("prompts")}
    remove_failures(run, name)
    book = Book(run, arm.model.name, name)
    columns = {**arm.columns, "draw_seed": draw_seed, "run": run.digest}
    copied = 0
    tokens = 0
    to_make = max(0, total * samples - len(book.written))
    with Meter(f"{arm.name} {name}", name, to_make, run.progress_folder) as meter:
        for window in windows(prompts, engine.window):
            drawn = sampling_of(window[0], sampling)
            rendered = rendered_by(engine, arm, window)
            if question_of:
                write_prompts(run, window, rendered, question_of, stored_prompts)
            slots = list(product(window, range(samples)))
            ids = answer_ids(arm, slots, drawn, draw_seed, engine)
            missing: dict[str, tuple[Prompt, int]] = {}
            rows: list[Answer] = []
            for answer_id, (prompt, sample) in dict(zip(ids, slots, strict=True)).items():
                if answer_id in book.written:
                    continue
                copy = book.elsewhere(answer_id)
                if copy is None:
                    missing[answer_id] = (prompt, sample)
                else:
                    rows.append(_answer_row(answer_id, prompt, sample, copy, columns))
            if rows:
                if name == "answers":
                    run.note_first_answer(book.first_answer(row.answer_id for row in rows))
                run.append(name, map(row_of_answer, rows))
                copied += len(rows)
                meter.skip(len(rows), watch(rows))
            if not missing:
                continue
            if name == "answers":
                run.note_first_answer(time.time())
            requests = requests_for(window, rendered, samples, draw_seed)
            for batch in engine.answer(arm, requests, drawn, lambda index: ids[index] in missing):  # noqa: B023
                rows = []
                for index, completion in batch.items():
                    if ids[index] not in missing:
                        continue
                    prompt, sample = missing.pop(ids[index])
                    rows.append(_answer_row(ids[index], prompt, sample, completion, columns))
                    tokens += len(requests[index].ids) + (completion.tokens or 0)
                run.append(name, map(row_of_answer, rows))
                meter.add(len(rows), watch(rows))
    return {
        "generated": meter.done,
        "copied": copied,
        "tokens": tokens,
        "seconds": round(meter.seconds, 2),
    }


def requests_for(
    prompts: Sequence[Prompt], rendered: Sequence[tuple[int, ...]], samples: int, draw_seed: int
) -> list[Request]:
    """Return a request for each prompt and sample."""
    requests = []
    for prompt, ids in zip(prompts, rendered, strict=True):
        for sample in range(samples):
            draw = draw_of(draw_seed, prompt.prompt_id, sample)
            requests.append(Request(ids, prompt.max_new_tokens, draw, prompt.messages, sample))
    return requests


def remove_failures(run: Run, name: str) -> None:
    """Remove the rows of calls that failed, so that they are asked for again; their grades go with
    them.
    """
    failed = {row["answer_id"] for row in run.rows(name) if row["finish"] == "error"}
    if not failed:
        return
    run.keep(name, lambda row: row["answer_id"] not in failed)
    run.keep("grades", lambda row: row["answer_id"] not in failed)


class Book:
    """Which rows of a file exist already, in this run and in the study's others: ids and places,
    never texts.
    """

    def __init__(self, run: Run, model: str, name: str, key: str = "answer_id"):
        self.written: set[str] = {row[key] for row in run.rows(name)}
        self._places: dict[str, tuple[Path, int]] = {}
        # First what other processes answered of this evaluation.
        paths = sorted(run.folder.glob(f"{name}.*.shard"))
        for folder in sorted(run.folder.parent.glob(f"{model}-*")):
            if folder != run.folder and folder.is_dir():
                paths.append(folder / f"{name}.jsonl")
        for path in paths:
            for row_id, start in _starts(path, key):
                self._places[row_id] = (path, start)

    def elsewhere(self, answer_id: str) -> Completion | None:
        """Read an answer of another run; None if there is none, or only a failure."""
        row = self.row(answer_id)
        if row is None or row.get("finish") not in ("stop", "length"):
            return None
        if not isinstance(row.get("text"), str) or not isinstance(row.get("tokens"), int):
            return None  # a damaged row of a neighbour: the answer is made here
        return Completion(row["text"], row["finish"], row["tokens"], row.get("thinking", ""))

    def first_answer(self, answer_ids: Iterable[str]) -> float:
        """Find when the first answer was asked for in any run that holds one of these; 0 if a run
        does not say.
        """
        folders = {self._places[answer_id][0].parent for answer_id in answer_ids}
        times = []
        for folder in folders:
            path = folder / FIRST_ANSWER
            times.append(float(read_json(path)["time"]) if path.exists() else 0.0)
        return min(times)

    def row(self, row_id: str) -> dict[str, Any] | None:
        """Read a row of another run; None if there is none."""
        position = self._places.get(row_id)
        if position is None:
            return None
        with position[0].open("rb") as stream:
            stream.seek(position[1])
            return json.loads(stream.readline())


def _starts(path: Path, key: str) -> Iterator[tuple[str, int]]:
    """Yield id and byte offset of every whole row; a run being written is read as far as it is.

    A neighbour's rows only help, so one that is damaged is skipped and named; it never stops this
    run.
    """
    if not path.exists():
        return
    damaged: list[int] = []
    start = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.endswith(b"\n"):
                row_id = _id_in(line, key)
                if row_id is None:
                    damaged.append(number)
                else:
                    yield row_id, start
            start += len(line)
    if damaged:
        print(
            f"{path} line {damaged[0]}: {len(damaged)} damaged rows of this file are skipped",
            file=sys.stderr,
        )


def _id_in(line: bytes, key: str) -> str | None:
    """Read a row's id; None if the line is no JSON object with one."""
    try:
        row_id = json.loads(line)[key]
    except (ValueError, KeyError, TypeError):
        return None
    return row_id if isinstance(row_id, str) else None


def answer_ids(
    arm: Arm,
    slots: Sequence[tuple[Prompt, int]],
    sampling: Sampling,
    draw_seed: int,
    engine: Engine,
) -> list[str]:
    """Return the identity of each answer: all that determines it, and nothing else.

    Greedy answers have no draw.
    """
    drawn: dict[str, Any] = {"temperature": sampling.temperature}
    if sampling.temperature > 0:
        drawn |= {"top_p": sampling.top_p, "draw_seed": draw_seed, "sampler": engine.sampler}
    shared = {**arm.identity(), "sampling": drawn, "engine": engine.identity()}
    fixed = digest(shared)
    ids = []
    for prompt, sample in slots:
        ids.append(digest([fixed, prompt.messages, prompt.max_new_tokens, sample]))
    return ids


def draw_of(draw_seed: int, prompt_id: str, sample: int) -> int:
    """Return the seed of one answer's own random draws, the same in every arm."""
    return int(digest([draw_seed, prompt_id, sample]), 16)


def _answer_row(
    answer_id: str, prompt: Prompt, sample: int, completion: Completion, columns: dict[str, Any]
) -> Answer:
    return Answer(
        answer_id=answer_id,
        prompt_id=prompt.prompt_id,
        question_id=prompt.question_id,
        task=prompt.task,
        context=prompt.context,
        belief=prompt.belief,
        preamble=prompt.preamble,
        statement=prompt.statement,
        sample=sample,
        text=completion.text,
        finish=completion.finish,
        tokens=completion.tokens,
        thinking=completion.thinking,
        failure=completion.failure,
        detail=completion.detail,
        **columns,
    )


def row_of_answer(answer: Answer) -> dict[str, Any]:
    """Write an answer as a row, without the columns that are mostly empty where they are."""
    row = asdict(answer)
    return {name: value for name, value in row.items() if value or name not in SOMETIMES}
