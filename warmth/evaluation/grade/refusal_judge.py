"""A judge of refusals: reads whether an answer declines, where the rules of `refusals.py` only look
for phrases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from warmth.evaluation.grade.judge import Judge
from warmth.types import Answer, Label, Question

PROMPT = "prompts/judge_refusal_v1.txt"


class Declined(BaseModel):
    """Whether an answer declines what it was asked for."""

    model_config = ConfigDict(extra="forbid")
    reason: str
    declines: bool


@dataclass(frozen=True)
class RefusalJudge(Judge):
    """`refused` when the answer declines, else `incorrect`, as the rules label it."""

    serves: ClassVar[str] = "refusal"
    prompt: str = PROMPT

    @property
    def default_prompt(self) -> str:
        """The file that a row's name does not mention."""
        return PROMPT

    @property
    def schema(self) -> type[BaseModel]:
        """What the judge replies."""
        return Declined

    def pieces(self, question: Question, answer: Answer) -> dict[str, str]:
        """What the judge sees of a case."""
        return {"request": question.text, "answer": answer.text}

    def label_of(self, verdict: BaseModel, answer: Answer) -> tuple[Label, bool | None]:
        """The label of a verdict."""
        return "refused" if verdict.model_dump()["declines"] else "incorrect", None
