"""The nouns of a study, frozen, without logic: Conversation → adapter, Question → Prompt → Answer →
Grade.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from warmth.output import set_apart
from warmth.verdicts import Label

Role = Literal["system", "user", "assistant"]
Belief = Literal["none", "wrong_asserted", "right_denied", "user_right", "wrong_denied"]
Finish = Literal["stop", "length", "filtered", "error"]

BELIEFS: tuple[Belief, ...] = (
    "none",
    "wrong_asserted",
    "right_denied",
    "user_right",
    "wrong_denied",
)
# What `beliefs=all` asks: `wrong_denied` is there for the stance that likelihoods measure.
ANSWER_BELIEFS: tuple[Belief, ...] = ("none", "wrong_asserted", "right_denied", "user_right")
CONTEXTS = (
    "unmodified",
    "happy",
    "sad",
    "anger",
    "close",
    "hierarchical_up",
    "hierarchical_down",
    "high",
    "low",
)


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
    # letter → text, where options are shown
    options: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    pair: str = (
        ""  # the question that tells the same conflict from the other side; "" where there is none
    )
    proposition: str = (
        ""  # the claim that a yes/no question asks about; "" where the file states none
    )
    told: str = ""  # how it is asked beside a stated belief; "" as ever
    # what the user names as right and as wrong in stating a belief, if it is not the answer; "": no
    # belief is stated
    stated: Mapping[str, str] = field(default_factory=dict)
    # right and wrong propositions, which a belief states whole
    claims: Mapping[str, str] = field(default_factory=dict)
    unmatched: str | None = (
        None  # the task's key: the label of an answer that names no accepted answer; None: no label
    )


@dataclass(frozen=True)
class Prompt:
    """A question under one condition, as every arm is asked it (an arm's system prompt comes
    later).
    """

    prompt_id: str  # digest of the messages, without arm, model or system prompt
    question_id: str
    task: str
    context: str
    belief: Belief
    preamble: bool
    statement: str  # the interpersonal statement; "" when unmodified
    messages: tuple[Message, ...]
    max_new_tokens: int
    temperature: float | None = None  # the task's own; None: as sampling


@dataclass(frozen=True)
class Answer:
    """What an arm said to a prompt: a row of `answers.jsonl`, columns as in the contract.

    Thinking that stands in `text` is moved to `thinking` when the answer is made, wherever the
    answer comes from: so no grader, judge or measure can read it as what the user was told.
    """

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
    tokens: int  # generated, thinking included, the end token not counted
    run: str  # digest of the evaluation run
    thinking: str = ""  # what the model wrote before its answer; kept, never graded
    failure: str = ""  # why there is no answer, where `finish` is error or filtered
    detail: str = ""  # the server's own sentence about it

    def __post_init__(self) -> None:
        text, thinking, is_open = set_apart(self.text)
        if not thinking and not is_open:
            return
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "thinking", "\n\n".join(filter(None, (self.thinking, thinking))))
        if is_open and self.finish == "stop":  # it never came to its answer
            object.__setattr__(self, "finish", "length")


# columns of answers that a row has where they are not empty
SOMETIMES = (
    "thinking",
    "failure",
    "detail",
)


@dataclass(frozen=True)
class Grade:
    """One grader's verdict on one answer: a row of `grades.jsonl`."""

    answer_id: str
    grader: str  # entry name; a judge adds its dated model
    label: Label | None  # None: the grader failed, so the answer is not scored
    affirms: bool | None = None  # does the answer affirm the belief the user stated?
    # why label is None (a key of verdicts.REASONS); next to a label, the judge's sentence for it
    reason: str = ""
    cost_usd: float = 0.0


@dataclass(frozen=True)
class Candidate:
    """One reply that an arm was not asked to write but to weigh."""

    text: str  # the answer as it stands in the frame
    right: bool
    logprob: (
        float  # natural log, summed over the reply's tokens, full stop included, end of turn not
    )
    tokens: int
    bytes: int  # of the whole reply in UTF-8


@dataclass(frozen=True)
class LikelihoodRow:
    """How likely an arm holds the right and the wrong answer as its reply: a row of
    `likelihoods.jsonl`.
    """

    likelihood_id: str
    prompt_id: str
    question_id: str
    task: str
    context: str
    belief: Belief
    preamble: bool
    statement: str
    arm: str
    model: str
    strength: float
    dose: float
    checkpoint: float | None
    seed: int
    draw_seed: int
    design: str  # deference, or the grid of the answers
    frame: str  # the reply around the answer, such as "It is {answer}."
    opening: str  # what the reply began with before the frame; "" for nothing
    own_opening: bool  # whether the arm itself wrote that opening
    answer: str  # the accepted answer that stands first
    position: int  # of the right one among the options shown, from 1; 0 where none are shown
    right_logprob: float  # log of the summed probabilities of all accepted answers
    wrong_logprob: float  # the same of the wrong ones: the rival, or all other letters
    margin: float  # right - wrong, in nats: the log-odds of the truth among the candidates
    candidates: tuple[Candidate, ...]
    run: str


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
