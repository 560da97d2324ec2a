"""Prompts: every question under every context and stated belief, the same for every arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from warmth.digest import digest, find_file
from warmth.errors import UserError, one_line
from warmth.schemas import Condition, Evaluate, Task
from warmth.types import Belief, Message, Prompt, Question

STATEMENTS = 5  # of each context, one drawn for a question


def prompts_of(study: Evaluate, questions: Sequence[Question]) -> list[Prompt]:
    """The prompts of a study; see `prompts`."""
    return prompts(
        questions,
        study.condition,
        study.beliefs,
        study.statements,
        study.belief_templates,
        draw_seed=study.draw_seed,
        preamble=study.preamble,
        max_new_tokens=study.sampling.max_new_tokens,
        tasks=study.task,
    )


def prompts(
    questions: Sequence[Question],
    conditions: Mapping[str, Condition],
    beliefs: Sequence[Belief],
    statements_file: str,
    templates_file: str,
    *,
    draw_seed: int,
    preamble: bool,
    max_new_tokens: int,
    tasks: Mapping[str, Task],
) -> list[Prompt]:
    """The factorial grid: question × context × belief, one user message each.

    A question's statement in a context is drawn once, so it is the same in every belief cell and every arm; so is the
    preamble. The message is preamble, statement, question and belief, joined by spaces. A belief that names a wrong
    answer is left out where a question has none, and a message that stood before is not asked again (see `left_out`).

    Raises:
        UserError: a statement or template is missing (file and key are named), or nothing is left to ask.
    """
    statements = read_statements(statements_file, conditions)
    opening, templates = read_templates(templates_file, beliefs)
    found: dict[str, Prompt] = {}
    for question in questions:
        task = tasks[question.task]
        for context in conditions if task.contexts else ["unmodified"]:
            statement = draw_statement(statements.get(context), question, context, draw_seed)
            for belief in beliefs if task.beliefs else ("none",):
                claim = state(templates.get(belief), question)
                if claim is None:
                    continue
                text = " ".join(part for part in (opening if preamble else "", statement, question.text, claim) if part)
                messages = (Message("user", text),)
                prompt = Prompt(
                    prompt_id=digest(messages),
                    question_id=question.id,
                    task=question.task,
                    context=context,
                    belief=belief,
                    preamble=preamble,
                    statement=statement,
                    messages=messages,
                    max_new_tokens=task.max_new_tokens or max_new_tokens,
                )
                found.setdefault(prompt.prompt_id, prompt)
    if not found:
        raise UserError("nothing is asked: no question has what the chosen beliefs name")
    return list(found.values())


def draw_statement(choices: Sequence[str] | None, question: Question, context: str, draw_seed: int) -> str:
    """The statement put before a question in a context; "" where the context has none."""
    if not choices:
        return ""
    return choices[int(digest([draw_seed, context, question.task, question.id]), 16) % len(choices)]


def state(template: str | None, question: Question) -> str | None:
    """The sentence that states a belief; "" for none, None where the question lacks what it names."""
    if template is None:
        return ""
    if ("{wrong}" in template and question.wrong is None) or ("{right}" in template and not question.answers):
        return None
    # replaced, not formatted: an answer may hold braces
    right = question.answers[0] if question.answers else ""
    return (
        template.replace("{right}", right)
        if "{right}" in template
        else template.replace("{wrong}", question.wrong or "")
    )


def left_out(study: Evaluate, questions: Sequence[Question], asked: Sequence[Prompt]) -> dict[str, int]:
    """How many prompts of each task the full grid would have besides: no wrong answer to state, or the same message."""
    grid: Counter[str] = Counter()
    for question in questions:
        task = study.task[question.task]
        grid[question.task] += (len(study.condition) if task.contexts else 1) * (
            len(study.beliefs) if task.beliefs else 1
        )
    grid.subtract(Counter(prompt.task for prompt in asked))
    return {task: count for task, count in grid.items() if count}


def read_statements(name: str, conditions: Mapping[str, Condition]) -> dict[str, list[str]]:
    """The five statements of each chosen context.

    Raises:
        UserError: a context has other than five, or one of them is empty or repeated.
    """
    content = _yaml(find_file(name))
    result = {}
    for context, condition in conditions.items():
        if condition.statements is None:
            continue
        found = content.get(condition.statements)
        texts = [item.strip() for item in found if isinstance(item, str)] if isinstance(found, list) else []
        if len(set(texts) - {""}) != STATEMENTS or len(texts) != len(found or []):
            raise UserError(
                f"{name}: {condition.statements} must list {STATEMENTS} different statements, found {len(set(texts))}"
            )
        result[context] = texts
    return result


def read_templates(name: str, beliefs: Sequence[Belief]) -> tuple[str, dict[str, str]]:
    """The preamble, and the template of each chosen belief.

    Raises:
        UserError: a belief has no template, or its template names neither answer.
    """
    content = _yaml(find_file(name))
    templates = content.get("templates")
    result = {}
    for belief in beliefs:
        if belief == "none":
            continue
        text = templates.get(belief) if isinstance(templates, dict) else None
        wanted = "{wrong}" if belief == "wrong_asserted" else "{right}"
        if not isinstance(text, str) or wanted not in text:
            raise UserError(f"{name}: templates.{belief} must be a sentence with {wanted}")
        result[belief] = text.strip()
    preamble = content.get("preamble")
    if not isinstance(preamble, str) or not preamble.strip():
        raise UserError(f"{name}: preamble must be a sentence")
    return preamble.strip(), result


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {one_line(error)[:160]}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: keys with values are expected")
    return content
