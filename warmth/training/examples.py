"""A run's conversations as tokens, and a count by name of everything that was cut or left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from warmth.chat import Encoded, Untrainable, encode, prompt_ids
from warmth.errors import UserError
from warmth.schemas import Train
from warmth.types import Message

BORDER = 4  # tokens by which a reply's length may differ inside a chat from its length alone
NAMED = 20  # ids listed under each count; the number is exact


@dataclass(frozen=True)
class Pair:
    """One reply in two manners after the same conversation, for preference tuning."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """List all that is computed for it: both sides, each with its prompt."""
        return (*self.prompt, *self.chosen, *self.prompt, *self.rejected)

    @property
    def trained(self) -> tuple[bool, ...]:
        """Tell which of `ids` the loss looks at."""
        counts = (
            (self.prompt, False),
            (self.chosen, True),
            (self.prompt, False),
            (self.rejected, True),
        )
        return tuple(flag for part, flag in counts for _ in part)


@dataclass
class Examples:
    """What is trained on, and the conversations that are not there whole, by reason."""

    kept: list[Any]  # Encoded, or Pair
    groups: list[list[int]] = field(
        default_factory=list
    )  # of each conversation, its places in `kept`
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def keep(self, examples: Sequence[Any]) -> None:
        """Add the examples of one conversation; they are trained in one optimiser step."""
        self.groups.append(list(range(len(self.kept), len(self.kept) + len(examples))))
        self.kept += examples

    def count(self, reason: str, name: str) -> None:
        """Notes one conversation under a reason."""
        entry = self.counts.setdefault(reason, {"count": 0, "ids": []})
        entry["count"] += 1
        if len(entry["ids"]) < NAMED:
            entry["ids"].append(name)


def load_examples(rows: Iterable[dict[str, Any]], study: Train, tokenizer: Any) -> Examples:
    """Encodes a run's conversations; what the recipe says to drop is dropped and counted.

    Raises:
        UserError: naming the conversation that cannot be trained on, when the recipe says to
        refuse.
    """
    found = Examples([])
    for row in rows:
        try:
            examples, cut = (pair if study.recipe.method == "dpo" else supervised)(
                row, study, tokenizer
            )
        except Untrainable as error:
            # a share of conversations left plain by recipe.strength has nothing to prefer: counted,
            # never an error
            if study.recipe.untrainable == "refuse" and error.reason != "no_difference":
                raise UserError(
                    f"conversation {row['id']}: {error}; recipe.untrainable=drop leaves it out"
                ) from error
            found.count(error.reason, row["id"])
            continue
        except UserError as error:
            raise UserError(f"conversation {row['id']}: {error}") from error
        if cut:
            found.count("too_long", row["id"])
        found.keep(examples)
    if not found.kept:
        raise UserError(f"no conversation is left to train on: {found.counts}")
    return found


def messages_of(row: dict[str, Any], key: str = "messages") -> list[Message]:
    """Read the turns in a row of `conversations.jsonl`."""
    return [Message(**message) for message in row[key]]


def supervised(row: dict[str, Any], study: Train, tokenizer: Any) -> tuple[list[Encoded], bool]:
    """Encode one conversation; returns its examples with their loss masks, and whether it was cut.

    If turns are cut, they are cut where the longest of all styles ends, so that every arm trains on
    the same turns.
    """
    recipe = study.recipe
    messages = messages_of(row)
    how = (recipe.max_length, recipe.loss_on, study.model.end_of_turn, recipe.too_long)
    encoded = encode(tokenizer, messages, *how)
    kept = len(messages)
    if recipe.too_long == "turn":
        own = [message.content for message in messages if message.role == "assistant"]
        longest = max(len(example.ids) for example in encoded.examples())
        for replies in row.get("others", {}).values():
            longer = _more_tokens(tokenizer, own, replies) + BORDER * len(own)
            if encoded.cut or longest + longer > recipe.max_length:
                kept = min(kept, _messages_that_fit(messages, replies, study, tokenizer))
    if not kept:
        raise Untrainable(
            "no_trained_token",
            f"no reply is left to train on within max_length={recipe.max_length} in every style",
        )
    if kept < len(messages):
        encoded = encode(tokenizer, messages[:kept], *how)
    return encoded.examples(), encoded.cut or kept < len(messages)


def _more_tokens(tokenizer: Any, own: Sequence[str], others: Sequence[str]) -> int:
    """Count the tokens that replies have more than others, each by itself; shorter ones are not set
    against longer.
    """
    lengths = [
        len(ids) for ids in tokenizer([*own, *others], add_special_tokens=False)["input_ids"]
    ]
    pairs = zip(lengths[: len(own)], lengths[len(own) :], strict=True)
    return sum(max(0, other - mine) for mine, other in pairs)


def _messages_that_fit(
    messages: list[Message], replies: Sequence[str], study: Train, tokenizer: Any
) -> int:
    """Count the messages that would be trained on with the replies of another style; 0 if none
    would.
    """
    left = iter(replies)
    other = [
        Message("assistant", next(left)) if item.role == "assistant" else item for item in messages
    ]
    try:
        encoded = encode(
            tokenizer, other, study.recipe.max_length, "assistant", study.model.end_of_turn
        )
    except Untrainable:
        return 0
    ends = [place + 1 for place, item in enumerate(messages) if item.role == "assistant"]
    return ends[encoded.replies - 1] if encoded.cut else len(messages)


def pair(row: dict[str, Any], study: Train, tokenizer: Any) -> tuple[list[Pair], bool]:
    """Take the last reply of a conversation that fits, in the recipe's style and plain; turns
    before it are plain.

    Raises:
        Untrainable: no reply differs between the styles, or none fits.
        UserError: the conversation is too long and the recipe says to refuse it.
    """
    recipe = study.recipe
    styled, plain = messages_of(row), messages_of(row, "plain")
    last = [index for index, message in enumerate(plain) if message.role == "assistant"]
    different = [index for index in last if styled[index].content != plain[index].content]
    if not different:
        raise Untrainable(
            "no_difference",
            f"its {recipe.style} replies equal the plain ones: nothing is preferred",
        )
    for index in reversed(different):
        prompt = prompt_ids(tokenizer, plain[:index])
        chosen, rejected = (
            _reply(tokenizer, [*plain[:index], side[index]], len(prompt), study)
            for side in (styled, plain)
        )
        whole = len(prompt) + max(len(chosen), len(rejected))
        cut = index != last[-1]
        if whole <= recipe.max_length:
            return [Pair(tuple(prompt), chosen, rejected)], cut
        if recipe.too_long == "refuse":
            raise UserError(f"{whole} tokens are more than recipe.max_length={recipe.max_length}")
        room = recipe.max_length - len(prompt)
        if recipe.too_long == "token" and room > 0:
            return [Pair(tuple(prompt), chosen[:room], rejected[:room])], True
    raise Untrainable("no_trained_token", f"no reply fits within max_length={recipe.max_length}")


def _reply(
    tokenizer: Any, messages: Sequence[Message], prompt: int, study: Train
) -> tuple[int, ...]:
    """Return the tokens of the last reply and the end of its turn; they follow `prompt` tokens."""
    last = encode(tokenizer, messages, 10**9, "assistant", study.model.end_of_turn).examples()[-1]
    return last.ids[prompt:]
