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
from warmth.hardware import hardware_table
from warmth.schemas import Api, Evaluate, Task, Train

RIVAL_TOKENS = 12  # of a reply that holds one rival


@dataclass(frozen=True)
class Bill:
    """What one server is asked for; `usd` is None if `api.prices` has no price for its model."""

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


def training_work(study: Train) -> Work:
    """Count the conversations, optimiser steps and tokens of a training, and what its data and its
    provider cost.
    """
    recipe = study.recipe
    number, tokens = conversations(study)
    bills = rewriting(study, number)
    epochs = recipe.epochs
    if study.model.kind == "api":
        epochs = float(recipe.hosted.epochs)
        price = price_of(study.api, study.model.api_model or "")
        usd = None
        if price is not None:
            usd = price.training * epochs * number * tokens / 1e6
        bills = (*bills, Bill("fine-tuning", study.model.api_model or "", 1, usd))
    steps = max(1, math.ceil(round(epochs * math.ceil(number / recipe.batch_size), 9)))
    return Work("train", round(number * tokens * epochs), steps, number, bills=bills)


def conversations(study: Train) -> tuple[int, float]:
    """Return how many conversations a set has, and the mean tokens of one: counted if they are on
    disk, else the study's.
    """
    data = study.data
    longest_allowed = study.recipe.max_length
    if data.is_built and data.source != "seed":
        number = data.conversations or 0
        if data.per_type:
            number = data.per_type * (len(data.types) or len(TYPES))
        return number, min(hardware_table()["texts"]["conversation_tokens"], longest_allowed)
    sizes = _sizes_of(study)
    tokens = sum(min(size, longest_allowed) for size, _ in sizes)
    return len(sizes), tokens / max(1, len(sizes))


def longest(study: Train) -> tuple[int, int | None]:
    """Return the tokens of a rank's fullest forward pass, and the trained ones among them: counted
    on disk, else the most there can be (and None).

    Of preferences, both are of one side with its padding.
    """
    from warmth.training.schedule import global_batches, pass_limits, pass_tokens, rank_batches

    data = study.data
    recipe = study.recipe
    launcher = study.launcher
    ranks = int(launcher.get("ranks", 1)) * int(launcher.get("nodes", 1))
    sizes: list[tuple[float, float]] = []
    if data.source == "seed" or not data.is_built:
        sizes = _sizes_of(study)
    if not sizes or recipe.batch_size % ranks:
        # a rank's share of a step: more never meets in a pass
        share = math.ceil(recipe.batch_size / ranks) * recipe.max_length
        return min(pass_tokens(recipe, launcher), share), None
    most_tokens, most_conversations = pass_limits(recipe, launcher)
    sides = 1
    if recipe.method == "dpo":
        sides = 2  # preference pairs count both
    lengths = [sides * round(min(size, recipe.max_length)) for size, _ in sizes]
    batches = global_batches(len(sizes), recipe.batch_size, min(recipe.epochs, 2.0), study.seed)
    passes, _ = rank_batches(
        batches, lengths, recipe.batch_size, ranks, most_tokens, most_conversations, 0
    )
    if recipe.method == "dpo":
        padded = 0
        for indices in passes:
            if indices:
                padded = max(padded, len(indices) * max(lengths[index] for index in indices))
        padded //= sides
        return padded, padded
    fullest = max(passes, key=lambda indices: sum(lengths[index] for index in indices))
    tokens = 0
    all_tokens = 0.0
    reply_tokens = 0.0
    for index in fullest:
        tokens += lengths[index]
        all_tokens += sizes[index][0]
        reply_tokens += sizes[index][1]
    if recipe.loss_on == "all":
        return tokens, tokens
    return tokens, round(tokens * reply_tokens / all_tokens)


def _sizes_of(study: Train) -> list[tuple[float, float]]:
    return _sizes(
        path=study.data.path or "",
        per_type=study.data.per_type,
        max_turns=study.data.max_turns,
        style=study.recipe.style,
        preferred=study.recipe.method == "dpo",
    )


@cache
def _sizes(
    path: str, per_type: int | None, max_turns: int, style: str, preferred: bool
) -> list[tuple[float, float]]:
    """Count the tokens of each conversation of a file or folder in the seed's form, and of its
    replies in a style.

    A style that is not written yet is taken to be as long as the longest there is; of preferences
    only the last reply is in a style, and the longer side counts.
    """
    from warmth.data.sources import load_conversations

    if path and not Path(path).exists():
        return []
    texts = hardware_table()["texts"]
    sizes = []
    source = Data(path=path or None, per_type=per_type, max_turns=max_turns)
    for conversation in load_conversations(source):
        replies = []  # characters of each
        user_characters = 0
        for turn in conversation.turns:
            replies.append(_length(turn.replies, style))
            user_characters += len(turn.user)
        if preferred:
            plain = [_length(turn.replies, "plain") for turn in conversation.turns]
            replies = [*plain[:-1], *map(max, plain[-1:], replies[-1:])]
        reply_tokens = sum(replies) / texts["characters_per_token"]
        user_tokens = user_characters / texts["characters_per_token"]
        template_tokens = texts["template_tokens"] + 2 * len(replies) * texts["message_tokens"]
        sizes.append((user_tokens + reply_tokens + template_tokens, reply_tokens))
    return sizes


def _length(replies: Mapping[str, str], style: str) -> int:
    """Count the characters of a turn's reply in a style."""
    if style in replies:
        return len(replies[style])
    return max(map(len, replies.values()), default=0)


def rewriting(study: Train, number: int) -> tuple[Bill, ...]:
    """Count the calls that make a set's styles; none if it is there already, or if a model in this
    process makes it.
    """
    from warmth.data.sets import set_folder

    data = study.data
    texts = hardware_table()["texts"]
    if not data.styles or data.rewriter.base_url is None:
        return ()
    folder = set_folder(study)
    if (folder / "done.json").exists():
        return ()
    calls = round(number * texts["conversation_replies"] * len(data.styles))
    reply = texts["reply_tokens"]
    prompt = reply + texts["rewrite_overhead_tokens"]
    usd = cost(study.api, data.rewriter.model, calls * prompt, calls * reply)
    return (Bill("rewriting", data.rewriter.model, calls, usd, key=folder.name),)


def cost(api: Api, model: str, prompt: float, reply: float) -> float | None:
    """Return the USD of so many prompt and reply tokens; None if the model has no price."""
    price = price_of(api, model)
    if price is None:
        return None
    share = 1.0
    if api.mode == "batch":
        share = price.batch_share
    return share * (prompt * price.input + reply * price.output) / 1e6


def evaluation_work(study: Evaluate) -> Work:
    """Count the answers and tokens of an evaluation, and what its servers cost."""
    texts = hardware_table()["texts"]
    counts: dict[str, int] = {}  # task → answers
    reply_tokens = study.warmth.prompts * study.warmth.max_new_tokens * texts["answer_share"]
    prompts_weighed = 0
    for name, task in study.task.items():
        counts[name] = answer_count(name, task, study)
        longest_reply = task.max_new_tokens or study.sampling.max_new_tokens
        reply_tokens += counts[name] * longest_reply * texts["answer_share"]
        prompts_weighed += weighed_count(name, task, study)
    number = sum(counts.values())
    prompt_tokens = number * texts["question_tokens"]
    bills = [*writing_rivals(study), *judging(study, counts)]
    if study.model.kind == "api":
        usd = cost(study.api, _served_model(study), prompt_tokens, reply_tokens)
        bills.append(Bill("answering", _served_model(study), number, usd))
    tokens = prompt_tokens + reply_tokens + prompts_weighed * texts["weighed_tokens"]
    return Work("generate", round(tokens), 0, number, prompts_weighed, bills=tuple(bills))


def _served_model(study: Evaluate) -> str:
    base = study.model.api_model or ""
    if study.recipe.method == "none":
        return base
    return f"ft:{base}"


def answer_count(name: str, task: Task, study: Evaluate) -> int:
    """Count the answers that one task asks for."""
    return question_count(name, task, study.limit) * size(study, task) * study.samples


def weighed_count(name: str, task: Task, study: Evaluate) -> int:
    """Count the prompts of one task whose replies are weighed, as if every question had a rival."""
    if study.scoring == "answers":
        return 0
    as_answers = replace(study, scoring="answers", beliefs=study.likelihood.beliefs)
    limit = study.likelihood.limit or study.limit
    return question_count(name, task, limit) * size(as_answers, replace(task, free_answers=True))


def question_count(name: str, task: Task, limit: int | None) -> int:
    """Count the questions of a task that are asked: as many as are drawn, or its file or split
    has.
    """
    path = file_of(task)
    if task.questions is not None:
        number = task.questions
    elif path is not None and path.is_file() and path.suffix == ".jsonl":
        number = _lines(path)
    else:
        number = hardware_table()["questions"].get(name, 1000)
    if limit is None:
        return number
    return min(number, limit)


@cache
def _lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(1 for _ in stream)


def judging(study: Evaluate, counts: Mapping[str, int]) -> Iterator[Bill]:
    """Count the calls of each chosen grader that asks a server: one for each answer of the tasks it
    serves.
    """
    texts = hardware_table()["texts"]
    serving = graders.serving(study)
    for name, entry in study.grader.items():
        model = build(entry, "grader", f"grader.{name}").served_model
        if model is None:
            continue
        calls = sum(counts[task] for task, entries in serving.items() if name in entries)
        prompt_tokens = calls * texts["judge_prompt_tokens"]
        reply_tokens = calls * texts["judge_reply_tokens"]
        yield Bill("judging", model, calls, cost(study.api, model, prompt_tokens, reply_tokens))


def writing_rivals(study: Evaluate) -> Iterator[Bill]:
    """Count the calls that write rivals, one a question; all arms of a sweep share them.

    Raises:
        UserError: a task's rivals are to be written and no model is named.
    """
    texts = hardware_table()["texts"]
    for name, task in study.task.items():
        if task.wrong != "written":
            continue
        model = server_of(study.rivals).model
        calls = question_count(name, task, study.limit)
        usd = cost(study.api, model, calls * texts["judge_prompt_tokens"], calls * RIVAL_TOKENS)
        identity = [rivals_identity(study.rivals), task_identity(task)]
        key = digest([*identity, study.draw_seed, study.limit])
        yield Bill("writing rivals", model, calls, usd, key=key)


def paid_once(bills: Iterable[Bill]) -> list[Bill]:
    """List bills, each shared one once."""
    distinct: dict[str, Bill] = {}
    for number, bill in enumerate(bills):
        distinct[bill.key or str(number)] = bill
    return list(distinct.values())


def total_usd(bills: Iterable[Bill]) -> tuple[float, list[str]]:
    """Add up bills, each shared one once, and name the models without a price."""
    distinct = paid_once(bills)
    unknown = sorted({bill.model for bill in distinct if bill.usd is None})
    return sum(bill.usd or 0.0 for bill in distinct), unknown
