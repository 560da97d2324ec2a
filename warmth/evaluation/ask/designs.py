"""Designs: which prompts every question becomes.

All designs yield prompts one by one, so that a large grid needs no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from warmth.digest import digest, find_file
from warmth.errors import UserError
from warmth.evaluation.ask.conditions import (
    beliefs_file,
    draw_statement,
    read_propositions,
    read_sentences,
    read_statements,
    read_yaml,
    statements_of,
)
from warmth.evaluation.ask.readers import ASK_LETTER, YES_NO, show_options
from warmth.schemas import Evaluate, Task
from warmth.types import BELIEFS, CONTEXTS, Belief, Message, Prompt, Question

# The study lets no user be right
PAPER_BELIEFS: tuple[Belief, ...] = (
    "none",
    "wrong_asserted",
    "right_denied",
)
DEFERENCE_BELIEFS: tuple[Belief, ...] = ("none", "wrong_asserted", "user_right")
STAKES = ("high", "low")  # under which the study's belief questions have no preamble


@dataclass(frozen=True)
class PromptCell:
    """One question under one condition, and the message it makes."""

    question: Question
    context: str
    belief: Belief
    preamble: bool
    statement: str
    text: str | None  # None: the question has not what the belief names, so nothing is asked


Design = Callable[[Evaluate], Callable[[Question], Iterator[PromptCell]]]


def prompt_cells(study: Evaluate, questions: Iterable[Question]) -> Iterator[PromptCell]:
    """Yield every cell of the grid, question by question; the text of one that cannot or need not
    be asked is None.

    A message that stood before is not asked again.

    Raises:
        UserError: a statement, template or the design's file is missing or wrong (file and key are
        named).
    """
    of_question = DESIGNS[study.design](study)
    # 64 bits each: a grid of a million prompts has a collision once in 40 million studies
    seen: set[bytes] = set()
    for question in questions:
        for cell in of_question(question):
            key = blake2b(
                (cell.text or "").encode("utf-8", "surrogatepass"), digest_size=8
            ).digest()
            if key in seen:
                cell = replace(cell, text=None)
            else:
                seen.add(key)
            yield cell


def prompts(study: Evaluate, questions: Iterable[Question]) -> Iterator[Prompt]:
    """Yield the prompts that are asked, one user message each.

    Raises:
        UserError: as `prompt_cells`.
    """
    for cell in prompt_cells(study, questions):
        if cell.text is not None:
            yield prompt_of(cell, study)


def prompt_of(cell: PromptCell, study: Evaluate) -> Prompt:
    """Make the prompt of a cell that has a text."""
    messages = (Message("user", cell.text or ""),)
    return Prompt(
        prompt_id=digest(messages),
        question_id=cell.question.id,
        task=cell.question.task,
        context=cell.context,
        belief=cell.belief,
        preamble=cell.preamble,
        statement=cell.statement,
        messages=messages,
        max_new_tokens=study.task[cell.question.task].max_new_tokens
        or study.sampling.max_new_tokens,
        temperature=study.task[cell.question.task].temperature,
    )


def size(study: Evaluate, task: Task) -> int:
    """Count the cells that a question of a task has, before its answers are known.

    A design may leave some of them out.
    """
    if study.scoring == "likelihood" or not task.free_answers:
        return 0
    if study.design == "paper" and task.contexts and task.beliefs:
        return len(CONTEXTS) * (2 if task.reader in YES_NO else 3) + 1
    if study.design == "file" and study.design_file:
        listed = read_yaml(find_file(study.design_file)).get("prompts")
        # Anything but a list is refused when it is read.
        return len(listed) if isinstance(listed, list) else 0
    orders = 2 if study.design == "deference" else 1
    contexts = contexts_of(task, study.condition)
    beliefs = beliefs_of(task, study.beliefs)
    return len(contexts) * len(beliefs) * orders


def contexts_of(task: Task, contexts: Iterable[str]) -> list[str]:
    """Return the contexts that a task's questions are asked in: of some, or none at all."""
    if task.contexts:
        return list(contexts)
    return ["unmodified"]


def beliefs_of(task: Task, beliefs: Iterable[Belief]) -> list[Belief]:
    """Return the beliefs that a task's questions are asked under: of some, or none at all."""
    if task.beliefs:
        return list(beliefs)
    return ["none"]


def join(*parts: str) -> str:
    """Return the parts of a message with a space between them; empty ones leave none."""
    return " ".join(filter(None, parts))


def join_all(*parts: str | None) -> str | None:
    """Return the parts of a message as `join` does; None if one of them cannot be said."""
    if None in parts:
        return None
    return " ".join(filter(None, parts))


def factorial(study: Evaluate) -> Callable[[Question], Iterator[PromptCell]]:
    """Question × context × belief; the message is preamble, statement, question and belief.

    Statement and preamble are the same under every belief, so that context and belief do not mix.
    """
    statements = statements_of(study)
    sentences = read_sentences(beliefs_file(study), study.beliefs)
    opening = sentences.preamble if study.preamble else ""

    def of_question(question: Question) -> Iterator[PromptCell]:
        task = study.task[question.task]
        for context in contexts_of(task, study.condition):
            statement = draw_statement(statements.get(context), question, context, study.draw_seed)
            for belief in beliefs_of(task, study.beliefs):
                claim = sentences.state(belief, question)
                text = join_all(opening, statement, question.text, claim)
                yield PromptCell(question, context, belief, study.preamble, statement, text)

    return of_question


def paper(study: Evaluate) -> Callable[[Question], Iterator[PromptCell]]:
    """Yield the study's grid: nine contexts × three beliefs and one unmodified question with the
    preamble, 28 prompts.

    A question answered by yes or no has no `right_denied`, which would be `wrong_asserted` in other
    words: 19. Each prompt draws its own statement, which stands first; the preamble stands before
    belief questions but under stakes. MedQA's case is told as a relative's where a belief is
    stated, without the preamble, and under the preamble alone.
    """
    keys = {name: None if name == "unmodified" else name for name in CONTEXTS}
    statements = read_statements(study.statements, keys)
    sentences = read_sentences(beliefs_file(study), PAPER_BELIEFS)
    # Those of the user's file.
    contexts = [name for name in CONTEXTS if name == "unmodified" or name in statements]

    def of_question(question: Question) -> Iterator[PromptCell]:
        task = study.task[question.task]
        beliefs = beliefs_of(task, PAPER_BELIEFS)
        if set(question.answers[:1]) <= {"yes", "no"}:
            beliefs = beliefs[:2]
        for context in contexts_of(task, contexts):
            for belief in beliefs:
                statement = draw_statement(
                    statements.get(context), question, context, study.draw_seed, belief
                )
                is_told = belief != "none" and bool(question.told)
                preamble = belief != "none" and context not in STAKES and not is_told
                opening = sentences.preamble if preamble else ""
                # Under stakes, too, a proposition is what the user told others.
                claim = sentences.state(
                    belief, question, after_preamble=preamble or context in STAKES
                )
                question_text = question.told if is_told else question.text
                text = join_all(statement, opening, question_text, claim)
                yield PromptCell(question, context, belief, preamble, statement, text)
        if task.contexts and task.beliefs:
            text = join(sentences.preamble, question.told or question.text)
            yield PromptCell(question, "unmodified", "none", True, "", text)

    return of_question


def from_file(study: Evaluate) -> Callable[[Question], Iterator[PromptCell]]:
    """Anyone's grid: `prompts`, a list of templates, and `statements` by context, in `design_file`.

    Raises:
        UserError: an entry without its keys, an unknown belief, or a context whose statement nobody
        wrote.
    """
    name = study.design_file or ""  # that it is given was checked with the identity
    content = read_yaml(find_file(name))
    statements = content.get("statements") or {}
    entries = content.get("prompts")
    if not isinstance(entries, list) or not entries:
        raise UserError(
            f"{name}: prompts must list at least one entry with context, belief and template"
        )
    templates = [_entry(name, number, entry, statements) for number, entry in enumerate(entries, 1)]

    def of_question(question: Question) -> Iterator[PromptCell]:
        task = study.task[question.task]
        for number, (context, belief, preamble, template) in enumerate(templates):
            if (context != "unmodified" and not task.contexts) or (
                belief != "none" and not task.beliefs
            ):
                continue
            drawn = statements.get(context) if "{statement}" in template else None
            statement = draw_statement(
                drawn, question, context, study.draw_seed, f"{belief} {number}"
            )
            yield PromptCell(
                question, context, belief, preamble, statement, fill(template, question, statement)
            )

    return of_question


def _entry(name: str, number: int, entry: Any, statements: Any) -> tuple[str, Belief, bool, str]:
    """Context, belief, preamble and template of one entry of a design's file."""
    where = f"{name}: entry {number} of prompts"
    if not isinstance(entry, Mapping) or not {"context", "belief", "template"} <= set(entry):
        raise UserError(f"{where} must have context, belief and template")
    unknown = sorted(set(entry) - {"context", "belief", "template", "preamble"})
    if unknown:
        raise UserError(
            f"{where}: unknown key {unknown[0]}; allowed here: belief, context, preamble, template"
        )
    context, belief, template = str(entry["context"]), entry["belief"], entry["template"]
    if belief not in BELIEFS:
        raise UserError(
            f"{where}: belief={belief} is not allowed; choose one of: {', '.join(BELIEFS)}"
        )
    if not isinstance(template, str) or not ("{question}" in template or "{told}" in template):
        raise UserError(f"{where}: template must be a text with {{question}} or {{told}}")
    texts = statements.get(context) if isinstance(statements, Mapping) else None
    if "{statement}" in template and not (
        isinstance(texts, list) and texts and all(map(_is_text, texts))
    ):
        raise UserError(f"{where} has {{statement}}, but statements.{context} lists no texts")
    return context, belief, bool(entry.get("preamble", False)), template.strip()


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def fill(template: str, question: Question, statement: str) -> str | None:
    """Return a template with its slots filled, each once and in one pass: a question may hold
    braces.

    None: nothing fits.
    """
    right_answer = question.answers[0] if question.answers else None
    slots: dict[str, str | None] = {"question": question.text, "statement": statement}
    slots["told"] = question.told or question.text
    slots["wrong"] = question.stated.get("wrong", question.wrong) or None
    slots["right"] = question.stated.get("right", right_answer) or None
    slots["wrong_claim"] = question.claims.get("wrong")
    slots["right_claim"] = question.claims.get("right")
    parts = []
    for index, piece in enumerate(template.split("{")):
        slot, closed, after_slot = piece.partition("}")
        if index == 0 or not closed or slot not in slots:
            parts.append(piece if index == 0 else "{" + piece)
            continue
        value = slots[slot]
        if value is None:
            return None
        parts.append(value + after_slot)
    return "".join(parts)


def deference(study: Evaluate) -> Callable[[Question], Iterator[PromptCell]]:
    """Questions whose reply holds no word that the user said, so that nothing can be repeated.

    A question with a rival shows both answers as options A and B, in both orders, and the belief
    names an answer's text. A yes/no question with a proposition has the belief state or deny that.
    Others are not asked.
    """
    statements = statements_of(study)
    beliefs = [belief for belief in study.beliefs if belief in DEFERENCE_BELIEFS]
    sentences = read_sentences(study.belief_templates, beliefs)
    asserted, denied = read_propositions(study.belief_templates)

    def of_question(question: Question) -> Iterator[PromptCell]:
        task = study.task[question.task]
        for context in contexts_of(task, study.condition):
            statement = draw_statement(statements.get(context), question, context, study.draw_seed)
            for belief in beliefs_of(task, beliefs):
                if set(question.answers[:1]) <= {"yes", "no"}:
                    holds = (question.answers[:1] == ("yes",)) == (belief == "user_right")
                    claim = belief_sentence(
                        asserted if holds else denied, belief, question.proposition
                    )
                    text = join_all(statement, question.text, claim)
                    yield PromptCell(question, context, belief, False, statement, text)
                    continue
                claim = sentences.state(belief, question)
                for order in both_orders(question):
                    text = join_all(statement, order.text, claim)
                    yield PromptCell(order, context, belief, False, statement, text)

    return of_question


def belief_sentence(template: str, belief: Belief, proposition: str) -> str | None:
    """Return the sentence that states or denies a proposition; "" for no belief, None if there is
    no proposition.
    """
    if not proposition:
        return None
    return "" if belief == "none" else template.replace("{proposition}", proposition)


def both_orders(question: Question) -> Iterator[Question]:
    """Yield a question twice, its answer and its rival shown as A and B and as B and A; not at all
    without a rival.
    """
    if question.wrong is None or not question.answers:
        return
    texts = (question.answers[0], question.wrong)
    for right, wrong, shown in (("A", "B", texts), ("B", "A", texts[::-1])):
        options = dict(zip("AB", shown, strict=True))
        text = f"{question.text}\n\n{show_options(options)}\n\n{ASK_LETTER}"
        yield replace(question, text=text, options=options, answers=(right,), wrong=wrong)


DESIGNS: dict[str, Design] = {
    "factorial": factorial,
    "paper": paper,
    "file": from_file,
    "deference": deference,
}
