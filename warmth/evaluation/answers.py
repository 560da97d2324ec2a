"""From prompts to rows of answers: each is looked up by content before it is generated, and kept once it exists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from warmth.chat import prompt_ids
from warmth.digest import digest
from warmth.evaluation.arms import Arm
from warmth.evaluation.engines import Completion, Engine, Request
from warmth.evaluation.progress import Meter
from warmth.schemas import Sampling
from warmth.store import Run, read_rows
from warmth.types import Answer, Message, Prompt, Question


def render(arm: Arm, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
    """Token ids of every prompt as the arm reads it, its system prompt in front."""
    from warmth.evaluation.decoding import tokenizer_of

    tokenizer = tokenizer_of(arm.model)
    system = (Message("system", arm.system_prompt),) if arm.system_prompt else ()
    return [tuple(prompt_ids(tokenizer, system + prompt.messages)) for prompt in prompts]


def rendered_by(engine: Engine, arm: Arm, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
    """Token ids of every prompt; empty where the engine's server makes them, unseen."""
    return render(arm, prompts) if engine.renders else [()] * len(prompts)


def write_prompts(
    run: Run, engine: Engine, arm: Arm, prompts: Sequence[Prompt], questions: Sequence[Question]
) -> list[tuple[int, ...]]:
    """Writes `prompts.jsonl`, what gates and readers need beside the answers, and returns the rendered prompts."""
    rendered = rendered_by(engine, arm, prompts)
    asked = {(question.task, question.id): question for question in questions}
    there = {row["prompt_id"] for row in run.rows("prompts")}
    run.append(
        "prompts",
        (
            _prompt_row(prompt, asked[prompt.task, prompt.question_id], ids)
            for prompt, ids in zip(prompts, rendered, strict=True)
            if prompt.prompt_id not in there
        ),
    )
    return rendered


def _prompt_row(prompt: Prompt, question: Question, ids: tuple[int, ...]) -> dict[str, Any]:
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
        **({"pair": question.pair} if question.pair else {}),
        "message": prompt.messages[-1].content,
        "tokens": len(ids) if ids else None,
        "tokens_digest": digest(ids) if ids else None,
    }


def answer(
    run: Run,
    name: str,
    engine: Engine,
    arm: Arm,
    prompts: Sequence[Prompt],
    rendered: Sequence[tuple[int, ...]],
    sampling: Sampling,
    samples: int,
    draw_seed: int,
) -> dict[str, float]:
    """Fills `<name>.jsonl` with one row for each prompt and sample.

    Rows that exist are never written again. An answer that another run of the study holds is copied; the rest is
    generated and appended batch by batch.

    Returns:
        How many answers were generated and copied now, and the seconds it took.
    """
    slots = [(prompt, sample) for prompt in prompts for sample in range(samples)]
    ids = answer_ids(arm, slots, sampling, draw_seed, engine)
    requests = [
        Request(tokens, prompt.max_new_tokens, draw_of(draw_seed, prompt.prompt_id, sample), prompt.messages, sample)
        for prompt, tokens in zip(prompts, rendered, strict=True)
        for sample in range(samples)
    ]
    columns = {**arm.columns, "draw_seed": draw_seed, "run": run.digest}
    written = {row["answer_id"] for row in run.rows(name)}
    missing = {answer_id: slot for answer_id, slot in zip(ids, slots, strict=True) if answer_id not in written}
    known = {row["answer_id"]: row for row in elsewhere(run, arm.model.name, name) if row["answer_id"] in missing}
    copies = {key: Completion(row["text"], row["finish"], row["tokens"]) for key, row in known.items()}
    run.append(name, [_answer_row(key, *missing.pop(key), completion, columns) for key, completion in copies.items()])
    with Meter(f"{arm.name} {name}", name, len(missing)) as meter:
        for batch in engine.answer(arm, requests, sampling, lambda index: ids[index] in missing):
            new = {ids[index]: completion for index, completion in batch.items() if ids[index] in missing}
            run.append(name, [_answer_row(key, *missing.pop(key), made, columns) for key, made in new.items()])
            meter.add(len(new))
    return {"generated": meter.done, "copied": len(copies), "seconds": round(meter.seconds, 2)}


def answer_ids(
    arm: Arm, slots: Sequence[tuple[Prompt, int]], sampling: Sampling, draw_seed: int, engine: Engine
) -> list[str]:
    """The identity of each answer: all that determines it, and nothing else. Greedy answers have no draw."""
    drawn = {"temperature": sampling.temperature}
    if sampling.temperature > 0:
        drawn |= {"top_p": sampling.top_p, "draw_seed": draw_seed}
    shared = {**arm.identity(), "sampling": drawn, "engine": engine.identity()}
    fixed = digest(shared)
    return [digest([fixed, prompt.messages, prompt.max_new_tokens, sample]) for prompt, sample in slots]


def draw_of(draw_seed: int, prompt_id: str, sample: int) -> int:
    """The seed of one answer's own random draws, the same in every arm."""
    return int(digest([draw_seed, prompt_id, sample]), 16)


def elsewhere(run: Run, model: str, name: str) -> Iterator[dict[str, Any]]:
    """Rows of the same model in the study's other runs; a run being written is read as far as it is."""
    for folder in sorted(run.folder.parent.glob(f"{model}-*")):
        if folder != run.folder and folder.is_dir():
            yield from read_rows(Path(folder) / f"{name}.jsonl")


def _answer_row(answer_id: str, prompt: Prompt, sample: int, completion: Completion, columns: dict[str, Any]) -> Answer:
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
        **columns,
    )
