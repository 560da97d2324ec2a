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
    """Labels an answer `refused` if it declines, else `incorrect`, as the rules do."""

    serves: ClassVar[str] = "refusal"
    default_prompt: ClassVar[str] = PROMPT
    schema: ClassVar[type[BaseModel]] = Declined
    prompt: str = PROMPT

    def pieces(self, question: Question, answer: Answer) -> dict[str, str]:
        """Return what the judge sees of a case."""
        return {"request": question.text, "answer": answer.text}

    def label_of(self, verdict: BaseModel, answer: Answer) -> tuple[Label, bool | None]:
        """Return the label of a verdict."""
        return "refused" if verdict.model_dump()["declines"] else "incorrect", None
