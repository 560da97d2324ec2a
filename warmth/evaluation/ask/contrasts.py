"""What is weighed after each prompt: the accepted answers and the rival, as replies in a frame. No
torch here.

A question without a rival has no contrast. Options that are shown stand at every letter once, for a
letter has a likelihood of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from warmth.errors import UserError
from warmth.evaluation.ask import designs, tasks
from warmth.evaluation.ask.readers import show_options
from warmth.evaluation.ask.rivals import Writer
from warmth.schemas import Evaluate
from warmth.types import Prompt, Question


@dataclass(frozen=True)
class ReplyContrast:
    """A prompt and the answers whose likelihoods are compared after it."""

    prompt: Prompt
    right: tuple[str, ...]  # accepted answers, canonical first
    wrong: tuple[str, ...]  # the rival, or the other letters
    position: int  # of the right option among those shown, from 1; 0 if none are shown


@dataclass(frozen=True)
class Weighed:
    """What one evaluation weighs."""

    questions: list[Question]  # those of `likelihood.limit`
    prompts: int  # that have something to weigh; 0 if scoring=answers
    not_measured: dict[str, int]  # task → questions without a rival

    @classmethod
    def of(cls, study: Evaluate, writer: Writer | None = None) -> Weighed:
        """Load the questions and counts their prompts.

        Raises:
            UserError: likelihoods are asked for, and no question of the tasks has a rival.
        """
        if study.scoring == "answers":
            return cls([], 0, {})
        limit = study.likelihood.limit or study.limit
        questions = tasks.load_all(replace(study, limit=limit), writer)
        prompts = sum(1 for _ in reply_contrasts(study, questions))
        if not prompts:
            raise UserError(
                f"scoring={study.scoring}: no question of task=[{','.join(study.task)}] has a "
                f"wrong answer, which the "
                "right one is weighed against"
            )
        return cls(questions, prompts, not_measured(questions))


def reply_contrasts(study: Evaluate, questions: Iterable[Question]) -> Iterator[ReplyContrast]:
    """Yield every prompt that has something to weigh, question by question, under
    `likelihood.beliefs`.

    Raises:
        UserError: as `designs.prompt_cells`.
    """
    weighed_study = replace(study, beliefs=study.likelihood.beliefs)
    orders = chain.from_iterable(map(rotations, questions))
    for cell in designs.prompt_cells(weighed_study, orders):
        answers = candidates(cell.question)
        if cell.text is None or answers is None:
            continue
        right, wrong = answers
        yield ReplyContrast(
            designs.prompt_of(cell, study), right, wrong, position_of_right(cell.question)
        )


def rotations(question: Question) -> Iterator[Question]:
    """Yield a question once for each rotation of the options that its text shows; else the question
    as it is.
    """
    shown = show_options(question.options)
    if not question.options or shown not in question.text:
        yield question
        return
    letters, texts = list(question.options), list(question.options.values())
    right = letters.index(question.answers[0])
    for turn in range(len(letters)):
        options = dict(zip(letters, [*texts[turn:], *texts[:turn]], strict=True))
        text = question.text.replace(shown, show_options(options))
        letter = letters[(right - turn) % len(letters)]
        yield replace(question, text=text, options=options, answers=(letter,))


def candidates(question: Question) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return accepted and wrong answers of a question; None if it has no rival, or one that is
    accepted as well.
    """
    if position_of_right(question):
        wrong_letters = [letter for letter in question.options if letter not in question.answers]
        return question.answers[:1], tuple(wrong_letters)
    if (
        not question.wrong
        or not question.answers
        or same_words(question.answers[0], question.wrong)
    ):
        return None
    right = [answer for answer in question.answers if not same_words(answer, question.wrong)]
    return tuple(dict.fromkeys(right)), (question.wrong,)


def position_of_right(question: Question) -> int:
    """Return the place of the right letter among the options shown, from 1; 0 if none are shown."""
    letters = list(question.options)
    right = question.answers[0] if question.answers else ""
    return letters.index(right) + 1 if right in letters else 0


def same_words(first: str, second: str) -> bool:
    """Tell whether two answers are one: alike but for case, spaces and a full stop at the end."""
    plain = [" ".join(text.casefold().split()).rstrip(".") for text in (first, second)]
    return plain[0] == plain[1]


def reply(frame: str, answer: str) -> str:
    """Fill a frame with an answer; one that ends in a full stop ("D.C.") takes no second one."""
    if answer.endswith("."):
        frame = frame.replace("{answer}.", "{answer}")
    return frame.replace("{answer}", answer)


def not_measured(questions: Iterable[Question]) -> dict[str, int]:
    """Counts the questions of each task that have no rival to weigh the truth against."""
    return dict(Counter(question.task for question in questions if candidates(question) is None))
