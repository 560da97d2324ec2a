"""Answers from a model server: any that speaks OpenAI's chat completions, through `warmth.api`."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar
from urllib.parse import urlsplit

from warmth.api import PASSING, Call, Reply, Server, Servers
from warmth.api.inspect_transport import SCHEME, refuse_without_inspect
from warmth.api.reasoning import check_extra, extra_fields, thinking_budget
from warmth.bounds import setting
from warmth.digest import digest
from warmth.entries import entry_files
from warmth.errors import RunFailed, UserError
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.answer.engines import Completion, Request
from warmth.schemas import Model, Sampling
from warmth.store import read_json
from warmth.types import Finish

HELD = 16  # answers that wait to be written together
HELD_S = 0.5  # and for how long
EMBEDDED_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
SEEDS = 2**31  # servers take seeds of 32 bits, signed
# How a reply ended. `refused` and `empty` are what the model said; the last three are failures, not
# answers.
FINISHES: Mapping[str, Finish] = {
    "": "stop", "refused": "stop", "empty": "stop", "cut_off": "length", "filtered": "filtered",
    "too_long": "error", "bad_request": "error", "unknown_finish": "error",
}  # fmt: skip


@dataclass(frozen=True)
class OpenAI:
    """Asks an OpenAI-compatible server: that of a model of kind api, or `base_url` and `model` for
    other weights.

    Raises:
        UserError: `reasoning` is neither an effort nor a budget, or `extra_body` sets what another
        key says.
    """

    group: ClassVar[str] = "engine"
    family: ClassVar[str] = "openai"
    sampler: ClassVar[str] = "the server's"
    weighs: ClassVar[bool] = False
    base_url: str | None = setting(
        None, excluded_because="a server is known by the model it answers as"
    )
    model: str | None = None
    api_key_env: str | None = setting(None, excluded_because="says who pays, not what answers")
    dtype: str = "unknown"
    reasoning: Any = None
    extra_body: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_extra(self.reasoning, self.extra_body, "engine")

    def bind(self, arm: Arm, servers: Servers) -> Served:
        """Return the engine that answers for one arm.

        Raises:
            UserError: the server or the name it knows the arm by is not set, or a dose that no
            server can give.
        """
        server = self.server_of(arm)
        servers.expect(server)
        return Served(self, server, servers)

    def server_of(self, arm: Arm) -> Server:
        """Return the server and the name under which it knows the arm."""
        if arm.dose != 1.0 or arm.other or arm.steering:
            unserved = f"recipe={arm.name}" if arm.steering else f"dose={arm.dose:g}"
            raise UserError(
                f"{unserved} cannot be had with engine=openai: a server does not scale an adapter"
            )
        if arm.model.kind == "api":
            base_url = arm.model.base_url
            key = arm.model.api_key_env
            name = arm.model.api_model
            if arm.adapter is not None:
                name = str(read_json(arm.adapter / "hosted.json")["model"])
            name = self.model or name
            identity = ""
        else:  # local weights: the name alone does not say which
            refuse_another_name(arm, self.model)
            served = None if arm.adapter else arm.model.hub_id
            base_url = None
            key = None
            name = self.model or served
            weights_identity = arm.identity()
            weights_identity.pop("system_prompt", None)
            identity = digest(weights_identity)
        if self.base_url and urlsplit(self.base_url).hostname != urlsplit(base_url or "").hostname:
            key = None  # the model's key is for the model's own server
        base_url = self.base_url or base_url
        if not base_url or not name:
            missing = "base_url" if not base_url else "model"
            raise UserError(
                f"engine.{missing} is not set; engine=openai needs it to ask for "
                f"model={arm.model.name}"
            )
        return Server(base_url, name, self.api_key_env or key, identity)


@dataclass(frozen=True)
class Inspect:
    """Asks any provider that Inspect knows, by its `get_model`: arms without weights of their own.

    Our client does the rest, as for `openai`: stored replies, pace, budget, failures by name.
    """

    group: ClassVar[str] = "engine"
    family: ClassVar[str] = "inspect"
    sampler: ClassVar[str] = "the server's"
    weighs: ClassVar[bool] = False
    reasoning: ClassVar[None] = None
    extra_body: ClassVar[None] = None
    model: str | None = None
    dtype: str = "unknown"

    def bind(self, arm: Arm, servers: Servers) -> Served:
        """Return the engine that answers for one arm.

        Raises:
            UserError: Inspect is not installed, or the arm has weights of its own or no name at a
            provider.
        """
        if arm.adapter is not None or arm.dose != 1.0 or arm.other or arm.steering:
            raise UserError(
                f"recipe={arm.name} has weights of its own, which engine=inspect cannot ask for; "
                f"allowed: recipe=none, "
                "recipe=system_warm and others that only change the prompt"
            )
        name = self.model or arm.model.api_model or arm.model.hub_id
        if not name or "/" not in name:
            raise UserError(
                f"engine.model={name or 'null'} must name provider and model, such as "
                f"engine.model=openai/gpt-4o; or "
                "give model=provider/name"
            )
        refuse_without_inspect()
        provider = name.partition("/")[0]
        server = Server(f"{SCHEME}://{provider}", name)
        servers.expect(server)
        return Served(self, server, servers)


@dataclass(frozen=True)
class Served:
    """The engine `openai` or `inspect` with the one model that it asks."""

    settings: OpenAI | Inspect
    server: Server
    servers: Servers
    renders: ClassVar[bool] = False  # the server makes tokens of the messages
    scores: ClassVar[bool] = False
    window: ClassVar[int] = 4096
    sampler: ClassVar[str] = OpenAI.sampler

    def signature(self) -> dict[str, str]:
        """Tell what two arms must have in common to be compared."""
        return {"family": self.settings.family, "dtype": self.settings.dtype}

    def identity(self) -> dict[str, Any]:
        """Tell what of this engine is part of an answer's id: the name it asks by, and how the
        model is told to think.
        """
        identity: dict[str, Any] = dict(self.signature())
        if self.settings.model:
            identity["model"] = self.settings.model
        if self.settings.reasoning is not None:
            identity["reasoning"] = self.settings.reasoning
        if self.settings.extra_body:
            identity["extra_body"] = self.settings.extra_body
        return identity

    def precision(self) -> str:
        """Return the dtype this process computes in, which is that of warmth scores alone."""
        from warmth.models import choose_dtype

        return str(choose_dtype("auto")).removeprefix("torch.")

    def answer(
        self,
        arm: Arm,
        requests: Sequence[Request],
        sampling: Sampling,
        wanted: Callable[[int], bool],
    ) -> Iterator[dict[int, Completion]]:
        """Ask for the answers that are wanted, and hand them over as they come.

        Yields:
            A few completions at a time, each under the position of its request.

        Raises:
            RunFailed: the server failed some calls (time, connection, budget); all others have been
            handed over.
        """
        todo = [index for index in range(len(requests)) if wanted(index)]
        if not todo:
            return
        held: dict[int, Completion] = {}
        failed: Counter[str] = Counter()
        sentence = ""
        reported_at = time.monotonic()
        for reply in self.servers.ask(
            self.server, lambda index: self.call(arm, requests[index], sampling), todo
        ):
            if reply.failure in PASSING:
                failed[reply.failure] += 1
                sentence = sentence or reply.detail
            else:
                held[todo[reply.index]] = completion_of(reply)
            if held and (len(held) >= HELD or time.monotonic() - reported_at > HELD_S):
                yield held
                held = {}
                reported_at = time.monotonic()
        if held:
            yield held
        if failed:
            named = ", ".join(f"{name} {count}" for name, count in failed.most_common())
            if sentence:
                named += f": {sentence}"
            raise RunFailed(
                f"{failed.total()} answers could not be had ({named}); the same command asks for "
                f"these alone"
            )

    def call(self, arm: Arm, request: Request, sampling: Sampling) -> Call:
        """Make the call of a request, the engine's own fields with it."""
        plain = call_of_request(arm, request, sampling)
        budget = thinking_budget(self.settings.reasoning)
        body = {**thinking_switch(arm.model), **(self.settings.extra_body or {})}
        extra = extra_fields(self.settings.reasoning, body)
        return replace(plain, max_tokens=plain.max_tokens + budget, extra=extra)


def thinking_switch(model: Model) -> dict[str, Any]:
    """Tell a server of local weights, which renders prompts itself, whether they think: as their
    entry says.

    Weights that can think have two entries, NAME and NAME_thinking. Without the switch a server
    lets them think.
    """
    if model.kind == "api" or not (model.thinking or may_think(model.name)):
        return {}
    return {"chat_template_kwargs": {"enable_thinking": model.thinking}}


@cache
def may_think(name: str) -> bool:
    """Say whether there is an entry beside a model's own that lets it think."""
    return f"{name}_thinking" in entry_files("model")


def refuse_another_name(arm: Arm, asked: str | None) -> None:
    """Check that a model asked for by a hub id is the one whose name the rows will bear.

    Raises:
        UserError: it is another.
    """
    is_hub_id = asked is not None and re.fullmatch(r"[\w.-]+/[\w.-]+", asked) is not None
    known = (arm.model.hub_id, EMBEDDED_HUB_ID if arm.model.kind == "embedded" else None)
    if is_hub_id and asked not in known and arm.model.path is None and arm.adapter is None:
        raise UserError(
            f"engine.model={asked} would answer, but every row would name model={arm.model.name}; "
            f"give model={asked}"
        )


def call_of_request(arm: Arm, request: Request, sampling: Sampling) -> Call:
    """Return a request as a call; greedy answers have no draw, so no seed."""
    drawn = sampling.temperature > 0
    return Call(
        (*arm.preface, *request.messages),
        sampling.temperature,
        request.max_new_tokens,
        top_p=sampling.top_p if drawn else 1.0,
        seed=request.seed % SEEDS if drawn else None,
        sample=request.sample,
    )


def completion_of(reply: Reply) -> Completion:
    """Read a reply as an answer.

    Tokens are those the server counted, the end token with them where it counts it.
    """
    finish = FINISHES[reply.failure]
    is_answer = finish in ("stop", "length")
    return Completion(
        text=reply.text,
        finish=finish,
        tokens=reply.usage.completion_tokens,
        thinking=reply.thinking,
        failure="" if is_answer else reply.failure,
        detail="" if is_answer else reply.detail,
    )
