"""Answers from a model server: any that speaks OpenAI's chat completions, through `warmth.api`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from warmth.api import PASSING, Call, Reply, Server, Servers
from warmth.digest import digest
from warmth.errors import RunFailed, UserError
from warmth.evaluation.arms import Arm
from warmth.evaluation.engines import Completion, Request
from warmth.schemas import EXCLUDED, Sampling
from warmth.store import read_json
from warmth.types import Finish

HELD = 16  # answers that wait to be written together
HELD_S = 0.5  # and for how long
SEEDS = 2**31  # servers take seeds of 32 bits, signed
# How a reply ended. `refused` and `empty` are what the model said; the last two the server will say again.
FINISHES: Mapping[str, Finish] = {
    "": "stop", "refused": "stop", "empty": "stop", "cut_off": "length", "filtered": "filtered",
    "too_long": "error", "bad_request": "error",
}  # fmt: skip


@dataclass(frozen=True)
class OpenAI:
    """Asks an OpenAI-compatible server: that of a model of kind api, or `base_url` and `model` for other weights."""

    group: ClassVar[str] = "engine"
    family: ClassVar[str] = "openai"
    weighs: ClassVar[bool] = False
    base_url: str | None = field(default=None, metadata=EXCLUDED)
    model: str | None = None
    api_key_env: str | None = field(default=None, metadata=EXCLUDED)
    dtype: str = "unknown"

    def bind(self, arm: Arm, servers: Servers) -> Served:
        """The engine that answers for one arm.

        Raises:
            UserError: the server or the name it knows the arm by is not set, or a dose that no server can give.
        """
        server = self.server_of(arm)
        servers.expect(server)
        return Served(self, server, servers)

    def server_of(self, arm: Arm) -> Server:
        """The server and the name under which it knows the arm."""
        if arm.dose != 1.0 or arm.other or arm.steering:
            what = f"recipe={arm.name}" if arm.steering else f"dose={arm.dose:g}"
            raise UserError(f"{what} cannot be had with engine=openai: a server does not scale an adapter")
        if arm.model.kind == "api":
            base_url, key, name = arm.model.base_url, arm.model.api_key_env, arm.model.api_model
            if arm.adapter is not None:
                name = str(read_json(arm.adapter / "hosted.json")["model"])
            name, identity = self.model or name, ""
        else:  # local weights: the name alone does not say which
            base_url, key, name = None, None, self.model
            identity = digest({key: value for key, value in arm.identity().items() if key != "system_prompt"})
        base_url = self.base_url or base_url
        if not base_url or not name:
            missing = "base_url" if not base_url else "model"
            raise UserError(f"engine.{missing} is not set; engine=openai needs it to ask for model={arm.model.name}")
        return Server(base_url, name, self.api_key_env or key, identity)


@dataclass(frozen=True)
class Served:
    """The engine `openai` with the one model that it asks."""

    settings: OpenAI
    server: Server
    servers: Servers
    renders: ClassVar[bool] = False  # the server makes tokens of the messages
    sampler: ClassVar[str] = "the server's"

    def signature(self) -> dict[str, str]:
        """What two arms must have in common to be compared."""
        return {"family": self.settings.family, "dtype": self.settings.dtype}

    def identity(self) -> dict[str, str]:
        """What of this engine is part of an answer's id: a model asked for by another name is another."""
        return self.signature() | ({"model": self.settings.model} if self.settings.model else {})

    def precision(self) -> str:
        """The dtype this process computes in, which is that of warmth scores alone."""
        from warmth.models import choose_dtype

        return str(choose_dtype("auto")).removeprefix("torch.")

    def answer(
        self, arm: Arm, requests: Sequence[Request], sampling: Sampling, wanted: Callable[[int], bool]
    ) -> Iterator[dict[int, Completion]]:
        """Asks for the answers that are wanted, and hands them over as they come.

        Yields:
            A few completions at a time, each under the position of its request.

        Raises:
            RunFailed: the server failed some calls (time, connection, budget); all others have been handed over.
        """
        todo = [index for index in range(len(requests)) if wanted(index)]
        if not todo:
            return
        held: dict[int, Completion] = {}
        failed: Counter[str] = Counter()
        said = time.monotonic()
        for reply in self.servers.ask(self.server, lambda index: call_of(arm, requests[index], sampling), todo):
            if reply.failure in PASSING:
                failed[reply.failure] += 1
            else:
                held[todo[reply.index]] = completion_of(reply)
            if held and (len(held) >= HELD or time.monotonic() - said > HELD_S):
                yield held
                held, said = {}, time.monotonic()
        if held:
            yield held
        if failed:
            named = ", ".join(f"{name} {count}" for name, count in failed.most_common())
            raise RunFailed(
                f"{failed.total()} answers could not be had ({named}); the same command asks for these alone"
            )


def call_of(arm: Arm, request: Request, sampling: Sampling) -> Call:
    """A request as a call; greedy answers have no draw, so no seed."""
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
    """A reply as an answer. Tokens are those the server counted, the end token with them where it counts it."""
    return Completion(reply.text, FINISHES[reply.failure], reply.usage.completion_tokens)
