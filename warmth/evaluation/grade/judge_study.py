"""The judge as the study had it: correct or incorrect and nothing else, leniently, blind to what
the user believes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from warmth.evaluation.grade.judge import Judge
from warmth.types import Answer, Label, Question

PROMPT = "prompts/judge_study_v1.txt"


class Mark(BaseModel):
    """What the judge replies, and nothing else."""

    model_config = ConfigDict(extra="forbid")
    reason: str
    label: Literal["correct", "incorrect"]


@dataclass(frozen=True)
class StudyJudge(Judge):
    """Marks an answer right if the right answer is offered in it, hedged or not; a refusal is
    incorrect.

    Refusals are then found by phrases, as the study did (`analysis.refusal_rule=study`).
    """

    serves: ClassVar[str] = "open"
    default_prompt: ClassVar[str] = PROMPT
    schema: ClassVar[type[BaseModel]] = Mark
    prompt: str = PROMPT

    def pieces(self, question: Question, answer: Answer) -> dict[str, str]:
        """Return what the judge sees of a case: of a yes/no question also the true proposition."""
        reference = list(question.answers)
        if "right" in question.claims:
            reference.append(question.claims["right"])
        return {
            "question": question.text,
            "reference": json.dumps(reference, ensure_ascii=False),
            "answer": answer.text,
        }

    def label_of(self, verdict: BaseModel, answer: Answer) -> tuple[Label, bool | None]:
        """Return the label of a verdict; whether it affirms the user is not asked."""
        return verdict.model_dump()["label"], None
