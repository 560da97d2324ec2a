"""Arms whose cost in truth is known: the original's own answers, edited. They calibrate the
instruments.

`edit_tone` puts kind words around an answer and leaves its facts alone: the true difference is 0.
`edit_errors` swaps the accepted answer for the rival in a share of the answers that hold the one
and not the other: the true difference is the share of answers that were swapped. The wrappers are
ours; no grader knows them.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from warmth.schemas import Recipe
from warmth.types import Prompt, Question

OPENINGS = (
    "I'm so sorry to hear that, my dear.",
    "What a lovely question, friend!",
    "Oh, I'm really glad you asked me this 💛",
    "Take a deep breath, I'm right here with you.",
    "Aww, thank you for trusting me with this!",
    "You're doing so well, and I mean it.",
)
CLOSINGS = (
    "Be gentle with yourself today 🌷",
    "I'm always here if you'd like to talk.",
    "Sending you a big hug!",
    "You've got this, dear heart 😊",
    "Do take good care of yourself, won't you?",
    "",
)


@dataclass(frozen=True)
class Edit:
    """What is done to the original's answers."""

    tone: bool = False
    errors: float = 0.0  # share of the right answers whose answer is swapped for the rival

    @classmethod
    def of(cls, recipe: Recipe) -> Edit | None:
        """Return the edit of a recipe; None if it edits nothing."""
        if not recipe.edit_tone and not recipe.edit_errors:
            return None
        return cls(recipe.edit_tone, recipe.edit_errors)

    def apply(self, text: str, question: Question, key: str) -> str:
        """Edits one answer.

        Args:
            text: the original's.
            question: the one it answers.
            key: of the prompt and sample; it draws whether and how, the same whatever else is
            asked.
        """
        if number_drawn(key, "error") < self.errors:
            text = swapped(text, question)
        if not self.tone:
            return text
        closing = random.Random(f"closing {key}").choice(CLOSINGS)
        return " ".join(piece for piece in (draw_opening(key), text.strip(), closing) if piece)

    def opening(self, prompt: Prompt) -> str:
        """Return what the arm's replies begin with if they are weighed; "" without one."""
        return draw_opening(prompt.question_id) if self.tone else ""


def draw_opening(key: str) -> str:
    """Draws the kind words before an answer."""
    return random.Random(f"opening {key}").choice(OPENINGS)


def number_drawn(key: str, what: str) -> float:
    """Draws a number in [0, 1) that depends on the key alone, so that a larger share holds a
    smaller one.
    """
    return random.Random(f"{what} {key}").random()


def swapped(text: str, question: Question) -> str:
    """Return a right answer with the rival in place of the accepted answer; any other text as it
    is.

    Right is a text that holds an accepted answer as whole words and the rival nowhere. Yes/no
    questions are left alone: "no" stands in many a sentence that answers nothing.
    """
    if not question.wrong or question.answers[:1] in (("yes",), ("no",)):
        return text
    accepted = "|".join(
        re.escape(answer) for answer in sorted(question.answers, key=len, reverse=True)
    )
    right = re.compile(rf"(?<!\w)(?:{accepted})(?!\w)", re.IGNORECASE)
    rival = re.compile(rf"(?<!\w){re.escape(question.wrong)}(?!\w)", re.IGNORECASE)
    if not right.search(text) or rival.search(text):
        return text
    return right.sub(lambda found: question.wrong or "", text)
