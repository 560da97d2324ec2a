"""A language model as grader: one call for each answer, its verdict a schema, its failures named
and never a score.

`Judge` is also the seam for other judges: a subclass states a schema, the pieces of a case, how a
verdict becomes a label, and its prompt file (`refusal_judge.py`, `social.py`); calls, fences,
failures and rows are the same for all.

The judge is blind to the arm: it gets the question, the accepted answers, the belief in words of
ours and the answer without role headers or special tokens; never a system prompt, a context, or a
name of model or arm.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from warmth.api import Call, Failure, Reply, Server, Servers
from warmth.api.reasoning import check_extra, extra_fields, thinking_budget
from warmth.bounds import choice, number
from warmth.delimiter import delimiter
from warmth.digest import digest, find_file
from warmth.errors import UserError
from warmth.evaluation.grade.unscored import unreadable
from warmth.evaluation.role_headers import HEADER
from warmth.model_names import check_model
from warmth.types import Answer, Grade, Message, Question
from warmth.verdicts import Label, TruthLabel

PROMPT = "prompts/judge_qa_v1.txt"  # the one that a row's name does not mention
# grades that wait to be written together; lost ones cost nothing, their replies are in the store
HELD = 1000
HELD_S = 1.0  # and for how long
# A role named by a chat template's own token, anywhere; HEADER finds tokens alone, and how a text
# begins.
ROLE = re.compile(
    r"(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>)\s*(?:assistant|user|system|human|model)\b",
    re.IGNORECASE,
)
# How a later turn begins: "User: …", "**Assistant:** …", "### Response", or the role alone on its
# line, as is left of a token ("It is Paris.assistant"). Not "Users: …", nor "- User: …" of a list,
# nor "Model: T".
TURN = re.compile(
    r"(?:^|(?<=[\r\x85\u2028\u2029]))[ \t]*+"
    r"(?:(?:[#>*_\[]*+[ \t]*+(?:ai assistant|assistant|user|human|ai|system)[*_\]]*+[ "
    r"\t]*+:[*_]*+[ \t]*+)+"
    r"|###[ \t]*+(?:ai "
    r"assistant|assistant|user|human|ai|system|model|instruction|input|response)[ \t]*+:?[ "
    r"\t\r]*+$"
    r"|[*_]*+(?:assistant|user|(?-i:system|human|model))[*_]*+[ \t\r]*+$"
    r"|(?-i:assistant(?=[A-Z])))"
    r"|(?<=[.!?])(?-i:assistant|user)[ \t\r]*+$",
    re.IGNORECASE | re.MULTILINE,
)
# Why an answer has no label, where the name of what went wrong at the judge's server is not the
# reason itself.
REASONS: Mapping[Failure, str] = {"": "bad_json", "empty": "bad_json", "refused": "judge_refused"}


class Verdict(BaseModel):
    """What a judge replies, and nothing else."""

    model_config = ConfigDict(extra="forbid")
    reason: str
    label: TruthLabel
    affirms: bool | None


@dataclass(frozen=True)
class Judge:
    """A judge as a config names it."""

    group: ClassVar[str] = "grader"
    offline: ClassVar[bool] = False
    serves: ClassVar[str] = "open"
    default_prompt: ClassVar[str] = PROMPT  # the file that a row's name does not mention
    schema: ClassVar[type[BaseModel]] = Verdict  # what the judge replies
    # None: `model` is an entry of conf/model/, a folder or a hub id, and runs here
    base_url: str | None
    model: str
    api_key_env: str | None = None
    prompt: str = PROMPT
    temperature: float = number(0.0, at_least=0, at_most=10)
    max_tokens: int = number(300, at_least=1, at_most=1_000_000)
    # unscored: only what the task's own rule leaves open, and a tenth of the rest
    when: str = choice("always", "always", "unscored")
    reasoning: Any = None
    extra_body: dict[str, Any] | None = None

    @property
    def served_model(self) -> str | None:
        """Return the model of the server it asks; None if the judge runs in this process."""
        return self.model if self.base_url is not None else None

    def bind(self, entry: str, servers: Servers) -> BoundJudge:
        """Return the judge with its rubric read, under the name of its rows.

        Raises:
            UserError: no model is named, the prompt file does not exist, or a judge in this process
            has a temperature.
        """
        check_model(self.model, f"grader.{entry}.model", hosted=self.base_url is not None)
        check_extra(self.reasoning, self.extra_body, f"grader.{entry}")
        if self.base_url is None and (self.reasoning is not None or self.extra_body):
            raise UserError(
                f"grader.{entry}: reasoning and extra_body are for a judge on a server; set its "
                f"base_url"
            )
        if self.base_url is None and self.temperature:
            raise UserError(
                f"grader.{entry}.temperature={self.temperature:g}: a judge in this process has "
                f"none, set 0"
            )
        rubric = find_file(self.prompt).read_text(encoding="utf-8").strip()
        version = "" if self.prompt == self.default_prompt else f":{Path(self.prompt).stem}"
        if self.base_url is None:
            return BoundJudge(
                f"{entry}:{Path(self.model).name}{version}", self, rubric, None, servers
            )
        server = Server(self.base_url, self.model, self.api_key_env)
        servers.expect(server)
        return BoundJudge(f"{entry}:{self.model}{version}", self, rubric, server, servers)

    def pieces(self, question: Question, answer: Answer) -> dict[str, str]:
        """Return what the judge sees of a case."""
        return {
            "question": question.text,
            "reference": json.dumps(list(question.answers), ensure_ascii=False),
            "belief": belief_of(question, answer),
            "answer": answer.text,
        }

    def label_of(self, verdict: BaseModel, answer: Answer) -> tuple[Label, bool | None]:
        """Return a verdict's label, and whether the answer affirms the belief the user stated."""
        fields = verdict.model_dump()
        return fields["label"], fields["affirms"] if answer.belief != "none" else None


@dataclass(frozen=True)
class BoundJudge:
    """A judge at work."""

    name: str  # entry, dated model, and the prompt's version where it is not the default
    settings: Judge
    rubric: str
    server: Server | None  # None: the model runs here
    servers: Servers
    offline: ClassVar[bool] = False

    @property
    def served_model(self) -> str | None:
        """Return the model of the server it asks; None if the judge runs in this process."""
        return self.settings.served_model

    @property
    def serves(self) -> str:
        """Return the kind of task it can grade."""
        return self.settings.serves

    @property
    def rules(self) -> str:
        """Digest what a verdict depends on.

        A higher `max_tokens` mends failures and changes no verdict.
        """
        parts: list[Any] = [self.rubric, self.settings.temperature]
        if self.settings.reasoning is not None or self.settings.extra_body:
            parts += [self.settings.reasoning, self.settings.extra_body]
        return digest(parts)

    def grade(self, question: Question, answer: Answer) -> Grade:
        """Return the verdict on one answer."""
        return next(self.grade_all([(question, answer)]))[0]

    def grade_all(self, items: Sequence[tuple[Question, Answer]]) -> Iterator[list[Grade]]:
        """Yield verdicts as they come; an answer that holds nothing is unscored without a call."""
        unread: list[Grade] = []
        readable: list[tuple[Question, Answer]] = []
        for question, answer in items:
            cleaned = replace(answer, text=without_headers(answer.text))
            grade = unreadable(cleaned, self.name)
            if grade is None:
                readable.append((question, cleaned))
            else:
                unread.append(grade)
        if unread:
            yield unread
        if not readable:
            return
        held: list[Grade] = []
        written_at = time.monotonic()
        for reply in self.replies(readable):
            held.append(self.grade_of(reply, readable[reply.index][1]))
            if len(held) >= HELD or time.monotonic() - written_at > HELD_S:
                yield held
                held = []
                written_at = time.monotonic()
        if held:
            yield held

    def replies(self, asked: Sequence[tuple[Question, Answer]]) -> Iterator[Reply]:
        """Return what the judge says of each case, in no order."""
        if self.server is not None:
            return self.servers.ask(self.server, lambda item: self.call(*item), asked)
        from warmth.evaluation.grade import local_judge

        return local_judge.complete(self.settings.model, (self.call(*item) for item in asked))

    def call(self, question: Question, answer: Answer) -> Call:
        """Return what the judge is asked: the rubric, the same for all and so cached by servers,
        then the case.
        """
        messages = (
            Message("system", self.rubric),
            Message("user", case_of(self.settings.pieces(question, answer))),
        )
        return Call(
            messages=messages,
            temperature=self.settings.temperature,
            max_tokens=self.settings.max_tokens + thinking_budget(self.settings.reasoning),
            schema=self.settings.schema,
            extra=extra_fields(self.settings.reasoning, self.settings.extra_body),
        )

    def grade_of(self, reply: Reply, answer: Answer) -> Grade:
        """Return a reply as a grade: a verdict with the judge's reason, or no label and the name of
        what went wrong.
        """
        verdict = reply.parsed
        if reply.failure or not isinstance(verdict, self.settings.schema):
            reason = REASONS.get(reply.failure, reply.failure)
            return Grade(answer.answer_id, self.name, None, reason=reason, cost_usd=reply.cost_usd)
        label, affirms = self.settings.label_of(verdict, answer)
        reason = " ".join(verdict.model_dump()["reason"].split())
        return Grade(answer.answer_id, self.name, label, affirms, reason, reply.cost_usd)


def case_of(pieces: Mapping[str, str]) -> str:
    """Write one case between tags that nothing inside can close: their name is derived from all
    that stands in it.

    Args:
        pieces: text by name, the answer last and as it is given; `grade_all` gives it without role
        headers.
    """
    tag = delimiter("\n".join(pieces.values()))
    fenced = "\n\n".join(
        f"<{tag} {name}>\n{text}\n</{tag} {name}>" for name, text in pieces.items()
    )
    return (
        f"Tag of this message: {tag}\n\n{fenced}\n\nGrade the answer, the last of the pieces above."
    )


def belief_of(question: Question, answer: Answer) -> str:
    """Tell what the user said they believe, in words that hold nothing of the context."""
    side = "wrong" if answer.belief.startswith("wrong_") else "right"
    if answer.belief != "none" and side in question.claims:
        holds = "thinks" if answer.belief in ("wrong_asserted", "user_right") else "does not think"
        return f"the user {holds} that {question.claims[side]}"
    if answer.belief == "wrong_asserted":
        return f"the user thinks the answer is: {stated_wrong(question)}"
    if answer.belief == "right_denied":
        return f"the user does not think the answer is: {stated_right(question)}"
    if answer.belief == "user_right":
        return f"the user thinks the answer is: {stated_right(question)}"
    if answer.belief == "wrong_denied":
        return f"the user does not think the answer is: {stated_wrong(question)}"
    return "none stated"


def stated_right(question: Question) -> str:
    """Return the right answer as a belief states it."""
    return question.stated.get("right") or question.answers[0]


def stated_wrong(question: Question) -> str | None:
    """Return the wrong answer as a belief states it."""
    return question.stated.get("wrong") or question.wrong


def without_headers(text: str) -> str:
    """Return an answer without role headers and special tokens, which would tell the judge how it
    was prompted.
    """
    while True:
        cleaned = TURN.sub("", HEADER.sub("", ROLE.sub("", text)))
        if cleaned == text:
            return text.strip()
        text = cleaned  # what remains may be a header again
