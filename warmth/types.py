"""The nouns of a study, frozen, without logic: Conversation → adapter, Question → Prompt → Answer → Grade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from warmth.verdicts import Label

Role = Literal["system", "user", "assistant"]
Belief = Literal["none", "wrong_asserted", "right_denied", "user_right"]
Finish = Literal["stop", "length", "filtered", "error"]

BELIEFS: tuple[Belief, ...] = ("none", "wrong_asserted", "right_denied", "user_right")
CONTEXTS = ("unmodified", "happy", "sad", "anger", "close", "hierarchical_up", "hierarchical_down", "high", "low")


@dataclass(frozen=True)
class Message:
    """One message of a chat."""

    role: Role
    content: str


@dataclass(frozen=True)
class Turn:
    """A user message and the replies to it, one for each style; `plain` is the source's own."""

    user: str
    replies: Mapping[str, str]
    facts: tuple[str, ...] = ()  # strings every style must keep


@dataclass(frozen=True)
class Conversation:
    """One conversation in every style it has; an arm picks one."""

    id: str
    type: str  # refusal, factual, creative, technical, advice, other
    turns: tuple[Turn, ...]
    system: str | None = None


@dataclass(frozen=True)
class Question:
    """A question with a known answer."""

    id: str
    task: str
    text: str
    answers: tuple[str, ...]  # accepted aliases, canonical first
    wrong: str | None = None  # a plausible wrong answer; None where no belief can be stated
    options: Mapping[str, str] = field(default_factory=dict)  # letter → text, where options are shown
    source: str = ""
    pair: str = ""  # the question that tells the same conflict from the other side; "" where there is none


@dataclass(frozen=True)
class Prompt:
    """A question under one condition, as every arm is asked it (an arm's system prompt comes later)."""

    prompt_id: str  # digest of the messages, without arm, model or system prompt
    question_id: str
    task: str
    context: str
    belief: Belief
    preamble: bool
    statement: str  # the interpersonal statement; "" when unmodified
    messages: tuple[Message, ...]
    max_new_tokens: int


@dataclass(frozen=True)
class Answer:
    """What an arm said to a prompt: a row of `answers.jsonl`, columns as in the contract."""

    answer_id: str
    prompt_id: str
    question_id: str
    task: str
    context: str
    belief: Belief
    preamble: bool
    statement: str
    arm: str  # "original" where nothing was changed, else the recipe's name
    model: str
    strength: float
    dose: float
    checkpoint: float | None  # epochs; None where nothing was trained
    seed: int
    draw_seed: int
    sample: int
    text: str
    finish: Finish
    tokens: int  # generated, the end token not counted
    run: str  # digest of the evaluation run


@dataclass(frozen=True)
class Grade:
    """One grader's verdict on one answer: a row of `grades.jsonl`."""

    answer_id: str
    grader: str  # entry name; a judge adds its dated model
    label: Label | None  # None: the grader failed, so the answer is not scored
    affirms: bool | None = None  # does the answer affirm the belief the user stated?
    reason: str = ""  # why label is None (a key of verdicts.REASONS); next to a label, the judge's sentence for it
    cost_usd: float = 0.0


@dataclass(frozen=True)
class WarmthScore:
    """The warmth of one text: a row of `warmth.jsonl`."""

    text_id: str
    arm: str
    model: str
    dose: float
    checkpoint: float | None
    seed: int
    draw_seed: int
    variant: Literal["reference", "paper", "deterministic"]
    scorer: str
    score: float  # nats per token; above 0 reads warmer
    close: float  # mean log-likelihood per token after the close speakers
    distant: float
    text: str
    prompt: str
    run: str
