"""The engine of an edited arm: the original's answers, looked up or generated, and then edited."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from warmth.digest import digest
from warmth.evaluation.answer.answers import Book, answer_ids
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.edits import Edit
from warmth.evaluation.answer.engines import Completion, Engine, Request
from warmth.evaluation.ask import designs
from warmth.schemas import Evaluate, Sampling
from warmth.store import Run
from warmth.types import Prompt, Question


@dataclass(frozen=True)
class Edited:
    """An engine whose answers are the original's, edited."""

    engine: Any
    edit: Edit
    asked: Mapping[str, tuple[Prompt, Question]]  # by prompt_id
    draw_seed: int
    book: Book  # the study's answers

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def answer(
        self,
        arm: Arm,
        requests: Sequence[Request],
        sampling: Sampling,
        wanted: Callable[[int], bool],
    ) -> Iterator[dict[int, Completion]]:
        """Edits what the original said: an answer that the study holds, or one that is generated
        now.
        """
        original = replace(arm, edit=None)
        stored: dict[int, Completion] = {}
        for index in filter(wanted, range(len(requests))):
            completion = self.answer_of(original, requests[index], sampling)
            if completion is not None:
                stored[index] = completion
        missing = self.engine.answer(
            original, requests, sampling, lambda index: index not in stored and wanted(index)
        )
        for batch in (stored, *missing) if stored else missing:
            edited_batch = {}
            for index, completion in batch.items():
                edited_batch[index] = self.edited(completion, requests[index])
            yield edited_batch

    def answer_of(self, original: Arm, request: Request, sampling: Sampling) -> Completion | None:
        """Looks up the original's answer to a request; None if the study does not hold it."""
        prompt_and_question = self.asked.get(digest(request.messages))
        if prompt_and_question is None:
            return None
        slot = (prompt_and_question[0], request.sample)
        (answer_id,) = answer_ids(original, [slot], sampling, self.draw_seed, self.engine)
        return self.book.elsewhere(answer_id)

    def edited(self, completion: Completion, request: Request) -> Completion:
        """Edits one completion; how it ended and its tokens stay the original's."""
        prompt_id = digest(request.messages)
        prompt_and_question = self.asked.get(prompt_id)
        # A prompt for the warmth score has no answer
        question = prompt_and_question[1] if prompt_and_question else Question("", "", "", ())
        return replace(
            completion,
            text=self.edit.apply(completion.text, question, f"{prompt_id} {request.sample}"),
        )


def edited_engine(
    engine: Engine, arm: Arm, study: Evaluate, questions: Sequence[Question], run: Run
) -> Any:
    """Return the engine of an arm; that of an edited one answers as the original does and edits."""
    if arm.edit is None:
        return engine
    known = {(question.task, question.id): question for question in questions}
    question_of = {}
    for prompt in designs.prompts(study, questions):
        question_of[prompt.prompt_id] = (prompt, known[prompt.task, prompt.question_id])
    return Edited(
        engine, arm.edit, question_of, study.draw_seed, Book(run, arm.model.name, "answers")
    )
