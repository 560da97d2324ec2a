"""How much work a run is, from its config and files that are there: conversations, steps, prompts,
tokens, calls.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from warmth.api.money import price_of
from warmth.build import build
from warmth.dataset import TYPES, Data
from warmth.digest import digest
from warmth.evaluation.ask.designs import size
from warmth.evaluation.ask.rivals import rivals_identity, server_of
from warmth.evaluation.ask.tasks import file_of
from warmth.evaluation.grade import graders
from warmth.evaluation.identity import task_identity
from warmth.hardware import table
from warmth.schemas import Api, Evaluate, Task, Train

RIVAL_TOKENS = 12  # of a reply that holds one rival


@dataclass(frozen=True)
class Bill:
    """What one server is asked for; `usd` is None where `api.prices` has no price for its model."""

    what: str
    model: str
    calls: int
    usd: float | None
    key: str = ""  # bills with the same key are paid once in a sweep


@dataclass(frozen=True)
class Work:
    """The work of one run."""

    kind: str  # train or generate
    tokens: int  # that the model reads and writes
    steps: int = 0  # optimiser steps
    items: int = 0  # conversations, or answers
    weighed: int = 0  # prompts whose replies are weighed
    bills: tuple[Bill, ...] = field(default=())


def training(study: Train) -> Work:
    """Conversations, optimiser steps and tokens of a training, and what its data and its provider
    cost.
    """
    recipe = study.recipe
    number, tokens = conversations(study)
    bills = rewriting(study, number)
    if study.model.kind == "api":
        epochs = float(recipe.hosted.epochs)
        price = price_of(study.api, study.model.api_model or "")
        usd = None if price is None else price.training * epochs * number * tokens / 1e6
        bills = (*bills, Bill("fine-tuning", study.model.api_model or "", 1, usd))
    else:
        epochs = recipe.epochs
    steps = max(1, math.ceil(round(epochs * math.ceil(number / recipe.batch_size), 9)))
    return Work("train", round(number * tokens * epochs), steps, number, bills=bills)


def conversations(study: Train) -> tuple[int, float]:
    """How many conversations a set has, and tokens of one: counted where they are on disk, else the
    study's.
    """
    data, most = study.data, study.recipe.max_length
    if data.is_built and data.source != "seed":
        types = len(data.types) or len(TYPES)
        number = data.per_type * types if data.per_type else data.conversations or 0
        return number, min(table()["texts"]["conversation_tokens"], most)
    sizes = _sizes_of(study)
    return len(sizes), sum(min(size, most) for size, _ in sizes) / max(1, len(sizes))


def longest(study: Train) -> tuple[int, int | None]:
    """Tokens of a rank's fullest forward pass, and the trained ones: counted on disk, else the most
    there can be.

    Of preferences, both are of one side with its padding.
    """
    from warmth.training.schedule import global_batches, pass_limits, pass_tokens, rank_batches

    data, recipe, launcher = study.data, study.recipe, study.launcher
    ranks = int(launcher.get("ranks", 1)) * int(launcher.get("nodes", 1))
    known = data.source == "seed" or not data.is_built
    sizes = _sizes_of(study) if known else []
    if not sizes or recipe.batch_size % ranks:
        share = (
            math.ceil(recipe.batch_size / ranks) * recipe.max_length
        )  # of a step: more never meets in a pass
        return min(pass_tokens(recipe, launcher), share), None
    most, room = pass_limits(recipe, launcher)
    sides = 2 if recipe.method == "dpo" else 1  # preference pairs count both
    lengths = [sides * round(min(size, recipe.max_length)) for size, _ in sizes]
    batches = global_batches(len(sizes), recipe.batch_size, min(recipe.epochs, 2.0), study.seed)
    passes, _ = rank_batches(batches, lengths, recipe.batch_size, ranks, most, room, 0)
    if recipe.method == "dpo":
        padded = (
            max(len(one) * max(lengths[index] for index in one) for one in passes if one) // sides
        )
        return padded, padded
    fullest = max(passes, key=lambda one: sum(lengths[index] for index in one))
    tokens = sum(lengths[index] for index in fullest)
    said, written = (
        sum(sizes[index][0] for index in fullest),
        sum(sizes[index][1] for index in fullest),
    )
    return tokens, tokens if recipe.loss_on == "all" else round(tokens * written / said)


def _sizes_of(study: Train) -> list[tuple[float, float]]:
    data, recipe = study.data, study.recipe
    return _sizes(
        data.path or "", data.per_type, data.max_turns, recipe.style, recipe.method == "dpo"
    )


@cache
def _sizes(
    path: str, per_type: int | None, max_turns: int, style: str, preferred: bool
) -> list[tuple[float, float]]:
    """Tokens of each conversation of a file or folder in the seed's form, and of its replies in a
    style.

    A style that is not written yet is taken to be as long as the longest there is; of preferences
    only the last reply is in a style, and the longer side counts.
    """
    from warmth.data.sources import load_conversations

    if path and not Path(path).exists():
        return []
    texts, found = table()["texts"], []
    for conversation in load_conversations(
        Data(path=path or None, per_type=per_type, max_turns=max_turns)
    ):
        replies = [_length(turn.replies, style) for turn in conversation.turns]
        if preferred:
            plain = [_length(turn.replies, "plain") for turn in conversation.turns]
            replies = [*plain[:-1], *map(max, plain[-1:], replies[-1:])]
        written = sum(replies) / texts["characters_per_token"]
        asked = sum(len(turn.user) for turn in conversation.turns) / texts["characters_per_token"]
        around = texts["template_tokens"] + 2 * len(replies) * texts["message_tokens"]
        found.append((asked + written + around, written))
    return found


def _length(replies: Mapping[str, str], style: str) -> int:
    """Characters of a turn's reply in a style."""
    return len(replies[style]) if style in replies else max(map(len, replies.values()), default=0)


def rewriting(study: Train, number: int) -> tuple[Bill, ...]:
    """The calls that make a set's styles; nothing where it is there already, or a model in this
    process makes it.
    """
    from warmth.data.sets import set_folder

    data, texts = study.data, table()["texts"]
    if not data.styles or data.rewriter.base_url is None:
        return ()
    folder = set_folder(study)
    if (folder / "done.json").exists():
        return ()
    calls = round(number * texts["conversation_replies"] * len(data.styles))
    prompt, reply = texts["reply_tokens"] + texts["rewrite_overhead_tokens"], texts["reply_tokens"]
    usd = cost(study.api, data.rewriter.model, calls * prompt, calls * reply)
    return (Bill("rewriting", data.rewriter.model, calls, usd, key=folder.name),)


def cost(api: Api, model: str, prompt: float, reply: float) -> float | None:
    """USD of so many prompt and reply tokens; None where the model has no price."""
    price = price_of(api, model)
    if price is None:
        return None
    share = price.batch_share if api.mode == "batch" else 1.0
    return share * (prompt * price.input + reply * price.output) / 1e6


def evaluation(study: Evaluate) -> Work:
    """Answers and tokens of an evaluation, and what its judges and a hosted model cost."""
    texts = table()["texts"]
    counts = {name: answers(name, task, study) for name, task in study.task.items()}
    new = {
        name: (task.max_new_tokens or study.sampling.max_new_tokens) * texts["answer_share"]
        for name, task in study.task.items()
    }
    asked, replied = sum(counts.values()), sum(counts[name] * new[name] for name in counts)
    asked_tokens = asked * texts["question_tokens"]
    replied += study.warmth.prompts * study.warmth.max_new_tokens * texts["answer_share"]
    bills = [*writing_rivals(study), *judging(study, counts)]
    prompts = sum(weighed(name, task, study) for name, task in study.task.items())
    if study.model.kind == "api":
        usd = cost(study.api, _served_model(study), asked_tokens, replied)
        bills.append(Bill("answering", _served_model(study), asked, usd))
    tokens = asked_tokens + replied + prompts * texts["weighed_tokens"]
    return Work("generate", round(tokens), 0, asked, prompts, bills=tuple(bills))


def _served_model(study: Evaluate) -> str:
    base = study.model.api_model or ""
    return base if study.recipe.method == "none" else f"ft:{base}"


def answers(name: str, task: Task, study: Evaluate) -> int:
    """How many answers one task asks for."""
    return questions(name, task, study.limit) * size(study, task) * study.samples


def weighed(name: str, task: Task, study: Evaluate) -> int:
    """Count the prompts of one task whose replies are weighed, as if every question had a rival."""
    if study.scoring == "answers":
        return 0
    asked = replace(study, scoring="answers", beliefs=study.likelihood.beliefs)
    limit = study.likelihood.limit or study.limit
    return questions(name, task, limit) * size(asked, replace(task, free_answers=True))


def questions(name: str, task: Task, limit: int | None) -> int:
    """How many questions of a task are asked: as many as are drawn, or its file or split has."""
    path = file_of(task)
    if task.questions is not None:
        number = task.questions
    elif path is not None and path.is_file() and path.suffix == ".jsonl":
        number = _lines(path)
    else:
        number = table()["questions"].get(name, 1000)
    return number if limit is None else min(number, limit)


@cache
def _lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(1 for _ in stream)


def judging(study: Evaluate, counts: dict[str, int]) -> Iterator[Bill]:
    """Count the calls of each chosen grader that asks a server: one for each answer of the tasks it
    serves.
    """
    texts = table()["texts"]
    serving = graders.serving(study)
    for name, entry in study.grader.items():
        model = build(entry, "grader", f"grader.{name}").served_model
        if model is None:
            continue
        calls = sum(counts[task] for task, entries in serving.items() if name in entries)
        usd = cost(
            study.api,
            model,
            calls * texts["judge_prompt_tokens"],
            calls * texts["judge_reply_tokens"],
        )
        yield Bill("judging", model, calls, usd)


def writing_rivals(study: Evaluate) -> Iterator[Bill]:
    """Count the calls that write rivals, one a question; all arms of a sweep share them.

    Raises:
        UserError: a task's rivals are to be written and no model is named.
    """
    texts = table()["texts"]
    for name, task in study.task.items():
        if task.wrong != "written":
            continue
        model = server_of(study.rivals).model
        calls = questions(name, task, study.limit)
        usd = cost(study.api, model, calls * texts["judge_prompt_tokens"], calls * RIVAL_TOKENS)
        key = digest(
            [rivals_identity(study.rivals), task_identity(task), study.draw_seed, study.limit]
        )
        yield Bill("writing rivals", model, calls, usd, key=key)


def total_usd(bills: Iterable[Bill]) -> tuple[float, list[str]]:
    """The sum of bills, each shared one once, and the models without a price."""
    once: dict[str, Bill] = {}
    for number, bill in enumerate(bills):
        once[bill.key or str(number)] = bill
    unknown = sorted({bill.model for bill in once.values() if bill.usd is None})
    return sum(bill.usd or 0.0 for bill in once.values()), unknown
