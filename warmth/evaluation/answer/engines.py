"""What generates answers: a class for each kind of server or library.

Heavy imports wait until they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from warmth.bounds import number
from warmth.errors import UserError
from warmth.memory import answering_memory, shape_of
from warmth.output import output_of_text
from warmth.schemas import Model, Sampling
from warmth.types import Finish, Message

if TYPE_CHECKING:
    from warmth.api import Servers
    from warmth.evaluation.answer.arms import Arm
    from warmth.evaluation.answer.weighing import Weighing

SAMPLER = "philox-1"  # how `sampling.py` draws; an answer drawn in another way must have another id
# None: the model's own, settled with the config
DTYPES = (
    None,
    "auto",
    "bfloat16",
    "float16",
    "float32",
)


@dataclass(frozen=True)
class Request:
    """One answer to be generated."""

    ids: tuple[int, ...]  # the rendered prompt; empty where a server renders it
    max_new_tokens: int
    seed: int  # sampling seed of this answer; ignored when greedy
    messages: tuple[Message, ...] = ()  # the prompt as it is, for a server
    sample: int = 0  # which draw of this prompt


@dataclass(frozen=True)
class Completion:
    """What a model said."""

    text: str
    finish: Finish
    tokens: int  # generated, thinking included, the end token not counted
    thinking: str = ""  # set apart from the text
    failure: str = ""  # why there is no answer, where `finish` is error or filtered
    detail: str = ""  # the server's own sentence about it


def completion_of_text(text: str, ended: bool, tokens: int) -> Completion:
    """Read what an engine in this process generated, its thinking set apart.

    Args:
        text: as decoded, special tokens included.
        ended: whether the model ended its turn within the limit.
        tokens: how many it generated.
    """
    output = output_of_text(text, "stop" if ended else "length")
    finish: Finish = "stop" if output.finish == "stop" else "length"
    return Completion(output.text, finish, tokens, output.thinking)


class Engine(Protocol):
    """What every engine offers once it is bound to an arm."""

    family: ClassVar[str]  # its name in identities and plans
    renders: ClassVar[bool]  # whether it makes tokens of prompts here; else its server does
    # Whether it scores warmth by its own model: a second copy would not fit beside it
    scores: ClassVar[bool]
    # Prompts held at once: enough for batches of like length, a few megabytes
    window: ClassVar[int]
    # Version of how it draws tokens; part of the id of an answer that is drawn
    sampler: ClassVar[str]
    weighs: ClassVar[bool]  # whether it gives log-probabilities of replies that it did not write

    def precision(self) -> str:
        """Return the dtype this process computes in."""
        ...

    def signature(self) -> dict[str, str]:
        """Tell what two arms must have in common to be compared."""
        ...

    def identity(self) -> dict[str, str]:
        """Tell what of the engine is part of an answer's id."""
        ...

    def answer(
        self,
        arm: Arm,
        requests: Sequence[Request],
        sampling: Sampling,
        wanted: Callable[[int], bool],
    ) -> Iterator[dict[int, Completion]]:
        """Completions by the position of their request, some at a time."""
        ...

    def for_weighing(self) -> Any:
        """Return the engine as it has to be where replies are weighed."""
        ...

    def weighing_precision(self) -> str:
        """Return the dtype that given replies are weighed in."""
        ...

    def weighing_identity(self) -> dict[str, str]:
        """Tell what of the engine is part of a likelihood's id."""
        ...

    def weigh(self, arm: Arm, weighings: Sequence[Weighing]) -> Iterator[dict[int, list[float]]]:
        """Yield the log-probabilities of each weighing's replies, by position, some at a time."""
        ...


@dataclass(frozen=True)
class InProcess:
    """What engines share that hold the weights in this process.

    Raises:
        UserError: an unknown dtype.
    """

    family: ClassVar[str]
    renders: ClassVar[bool] = True
    scores: ClassVar[bool] = False
    window: ClassVar[int] = 4096
    sampler: ClassVar[str] = "the library's"
    weighs: ClassVar[bool] = True
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UserError(
                f"engine.dtype={self.dtype} is not allowed; choose one of: {', '.join(DTYPES[1:])}"
            )

    def bind(self, arm: Arm, servers: Servers) -> Any:
        """Return the engine that answers for one arm: this one.

        Raises:
            UserError: only a server has the arm's weights.
        """
        if arm.model.kind == "api":
            raise UserError(
                f"model={arm.model.name} is served by an API; ask it with engine=openai"
            )
        return self

    def precision(self) -> str:
        """Return the dtype answers are computed in on this machine, `auto` resolved."""
        from warmth.models import choose_dtype

        return str(choose_dtype(self.dtype)).removeprefix("torch.")

    def signature(self) -> dict[str, str]:
        """Tell what two arms must have in common to be compared."""
        return {"family": self.family, "dtype": self.precision()}

    def identity(self) -> dict[str, str]:
        """Tell what of this engine is part of an answer's id."""
        return self.signature()

    def for_weighing(self) -> Any:
        """Return the engine as it has to be where replies are weighed: this one."""
        return self

    def weighing_precision(self) -> str:
        """Return the dtype that given replies are weighed in."""
        return self.precision()

    def weighing_identity(self) -> dict[str, str]:
        """Tell what of this engine is part of a likelihood's id."""
        return {"family": self.family, "dtype": self.weighing_precision()}


@dataclass(frozen=True)
class Transformers(InProcess):
    """Generates in this process with transformers, in static batches of prompts that begin alike.

    Raises:
        UserError: an unknown dtype, or a batch of nothing.
    """

    group: ClassVar[str] = "engine"
    family: ClassVar[str] = "transformers"
    sampler: ClassVar[str] = SAMPLER
    batch_size: int = number(32, at_least=1, excluded_because="how many answers are made at once")

    def __post_init__(self) -> None:
        super().__post_init__()

    def answer(
        self,
        arm: Arm,
        requests: Sequence[Request],
        sampling: Sampling,
        wanted: Callable[[int], bool],
    ) -> Iterator[dict[int, Completion]]:
        """Generates batch by batch; each batch is handed over as soon as it is complete.

        Batches depend on all requests and on nothing else, so a run that continues after a kill
        computes what it would have computed undisturbed (in bfloat16 a row's neighbours can change
        its last digits). A batch in which nothing is `wanted` any more is left out; otherwise it is
        generated whole.

        Yields:
            For every row of one batch, the position of its request and the completion.
        """
        import torch

        from warmth.evaluation.answer.decoding import decode, end_ids, tokenizer_of, weights
        from warmth.evaluation.answer.sampling import Sampler

        todo = [batch for batch in batches(requests, self.batch_size) if any(map(wanted, batch))]
        if not todo:
            return
        tokenizer = tokenizer_of(arm.model)
        room = self.room(arm.model, requests)
        with weights(arm.model, getattr(torch, self.precision()), arm, room) as model:
            declared = getattr(model.generation_config, "eos_token_id", None)
            ends = end_ids(tokenizer, declared, arm.model.end_of_turn)
            for batch in todo:
                rows = [requests[index] for index in batch]
                sampler = Sampler(
                    sampling.temperature, sampling.top_p, seeds=tuple(row.seed for row in rows)
                )
                limits = [row.max_new_tokens for row in rows]
                decoded = decode(
                    model, [row.ids for row in rows], limits, ends, tokenizer.pad_token_id, sampler
                )
                completions = {}
                for index, (ids, ended) in zip(batch, decoded, strict=True):
                    # Special tokens stay visible: a model that writes a role header must not look
                    # as if it had not.
                    text = tokenizer.decode(ids, skip_special_tokens=False)
                    completions[index] = completion_of_text(text, ended, len(ids))
                yield completions

    def weighing_precision(self) -> str:
        """Float32, whatever answers are generated in: bfloat16 moves a reply's log-probability by
        0.3 nats.
        """
        return "float32"

    def weigh(self, arm: Arm, weighings: Sequence[Weighing]) -> Iterator[dict[int, list[float]]]:
        """Weigh given replies on the model's device; a value depends on no other but by rounding.

        Yields:
            for each weighing of one pass, by its position, the log-probability of each reply in
            nats.
        """
        import torch

        from warmth.evaluation.answer.decoding import weights
        from warmth.evaluation.answer.weighing import reply_log_probs

        with weights(
            arm.model, getattr(torch, self.weighing_precision()), arm, purpose="weighs"
        ) as model:
            yield from reply_log_probs(model, weighings)

    def room(self, model: Model, requests: Sequence[Request]) -> float:
        """Forecast the bytes that the largest batch needs beside the weights; 0 if the model's
        shape is not known.
        """
        shape = shape_of(model)
        if shape is None:
            return 0.0
        prompt = max(len(request.ids) for request in requests)
        answer = max(request.max_new_tokens for request in requests)
        width = 4 if self.precision() == "float32" else 2
        return answering_memory(
            shape, min(self.batch_size, len(requests)), prompt, answer, width=width
        ).activations


def batches(requests: Sequence[Request], size: int) -> list[list[int]]:
    """Positions of requests in batches, longest first: what does not fit in memory fails at once.

    Within a factor of four in length, requests that begin alike are neighbours: what they share is
    read once.
    """
    order = sorted(range(len(requests)), key=lambda index: _order(requests[index]))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _order(request: Request) -> tuple[int, int, tuple[int, ...]]:
    return -request.max_new_tokens, -(len(request.ids).bit_length() // 2), request.ids
