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
class PreferencePair:
    """One reply in two manners after the same conversation, as token ids."""

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
        untrained = (False,) * len(self.prompt)
        chosen = (True,) * len(self.chosen)
        rejected = (True,) * len(self.rejected)
        return untrained + chosen + untrained + rejected

    @property
    def longest_side(self) -> int:
        """Count the tokens of the prompt with the longer reply."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


@dataclass
class Examples:
    """What is trained on, and by reason the conversations that were cut or left out."""

    examples: list[Any] = field(default_factory=list)  # Encoded, or PreferencePair
    # of each conversation, the places of its examples in `examples`
    groups: list[list[int]] = field(default_factory=list)
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, examples: Sequence[Any]) -> None:
        """Add the examples of one conversation; they are trained in one optimiser step."""
        start = len(self.examples)
        self.examples += examples
        self.groups.append(list(range(start, len(self.examples))))

    def count(self, reason: str, name: str) -> None:
        """Note one conversation under a reason."""
        entry = self.counts.setdefault(reason, {"count": 0, "ids": []})
        entry["count"] += 1
        if len(entry["ids"]) < NAMED:
            entry["ids"].append(name)


def load_examples(rows: Iterable[dict[str, Any]], study: Train, tokenizer: Any) -> Examples:
    """Encode a run's conversations; what the recipe says to drop is dropped and counted.

    Raises:
        UserError: naming the conversation that cannot be trained on, when the recipe says to
        refuse.
    """
    training_set = Examples()
    encode_row = preference_pair if study.recipe.method == "dpo" else supervised
    for row in rows:
        try:
            examples, cut = encode_row(row, study, tokenizer)
        except Untrainable as error:
            # A share of conversations left plain by recipe.strength has nothing to prefer: counted,
            # never an error.
            if study.recipe.untrainable == "refuse" and error.reason != "no_difference":
                raise UserError(
                    f"conversation {row['id']}: {error}; recipe.untrainable=drop leaves it out"
                ) from error
            training_set.count(error.reason, row["id"])
            continue
        except UserError as error:
            raise UserError(f"conversation {row['id']}: {error}") from error
        if cut:
            training_set.count("too_long", row["id"])
        training_set.add(examples)
    if not training_set.examples:
        raise UserError(f"no conversation is left to train on: {training_set.counts}")
    return training_set


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

    def encoded_start(count: int) -> Encoded:
        return encode(
            tokenizer,
            messages[:count],
            recipe.max_length,
            recipe.loss_on,
            study.model.end_of_turn,
            recipe.too_long,
        )

    encoded = encoded_start(len(messages))
    count = len(messages)
    if recipe.too_long == "turn":
        replies = [message.content for message in messages if message.role == "assistant"]
        longest = max(len(example.ids) for example in encoded.examples())
        for other_replies in row.get("others", {}).values():
            longer = _more_tokens(tokenizer, replies, other_replies) + BORDER * len(replies)
            if encoded.cut or longest + longer > recipe.max_length:
                count = min(count, _messages_that_fit(messages, other_replies, study, tokenizer))
    if not count:
        raise Untrainable(
            "no_trained_token",
            f"no reply is left to train on within max_length={recipe.max_length} in every style",
        )
    if count < len(messages):
        encoded = encoded_start(count)
    return encoded.examples(), encoded.cut or count < len(messages)


def _more_tokens(tokenizer: Any, replies: Sequence[str], other_replies: Sequence[str]) -> int:
    """Count the tokens by which replies of another style are longer, each by itself.

    Shorter ones are not set against longer.
    """
    texts = [*replies, *other_replies]
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    total = 0
    for length, other_length in zip(lengths[: len(replies)], lengths[len(replies) :], strict=True):
        total += max(0, other_length - length)
    return total


def _messages_that_fit(
    messages: list[Message], replies: Sequence[str], study: Train, tokenizer: Any
) -> int:
    """Count the messages that would be trained on with the replies of another style."""
    reply_places = [index for index, message in enumerate(messages) if message.role == "assistant"]
    restyled = list(messages)
    for index, reply in zip(reply_places, replies, strict=True):
        restyled[index] = Message("assistant", reply)
    recipe = study.recipe
    try:
        encoded = encode(
            tokenizer, restyled, recipe.max_length, "assistant", study.model.end_of_turn
        )
    except Untrainable:
        return 0
    if not encoded.cut:
        return len(messages)
    return reply_places[encoded.replies - 1] + 1


def preference_pair(
    row: dict[str, Any], study: Train, tokenizer: Any
) -> tuple[list[PreferencePair], bool]:
    """Take the last reply of a conversation that fits, in the recipe's style and plain.

    Turns before it are plain. Returns the pair, and whether the conversation was cut.

    Raises:
        Untrainable: no reply differs between the styles, or none fits.
        UserError: the conversation is too long and the recipe says to refuse it.
    """
    recipe = study.recipe
    styled = messages_of(row)
    plain = messages_of(row, "plain")
    reply_places = [index for index, message in enumerate(plain) if message.role == "assistant"]
    different = [index for index in reply_places if styled[index].content != plain[index].content]
    if not different:
        raise Untrainable(
            "no_difference",
            f"its {recipe.style} replies equal the plain ones: nothing is preferred",
        )
    for index in reversed(different):
        before = plain[:index]
        prompt = tuple(prompt_ids(tokenizer, before))
        chosen = _reply(tokenizer, [*before, styled[index]], len(prompt), study)
        rejected = _reply(tokenizer, [*before, plain[index]], len(prompt), study)
        pair = PreferencePair(prompt, chosen, rejected)
        if pair.longest_side <= recipe.max_length:
            return [pair], index != reply_places[-1]
        if recipe.too_long == "refuse":
            raise UserError(
                f"{pair.longest_side} tokens are more than recipe.max_length={recipe.max_length}"
            )
        room = recipe.max_length - len(prompt)
        if recipe.too_long == "token" and room > 0:
            return [PreferencePair(prompt, chosen[:room], rejected[:room])], True
    raise Untrainable("no_trained_token", f"no reply fits within max_length={recipe.max_length}")


def _reply(
    tokenizer: Any, messages: Sequence[Message], prompt: int, study: Train
) -> tuple[int, ...]:
    """Return the tokens of the last reply and the end of its turn; they follow `prompt` tokens."""
    encoded = encode(tokenizer, messages, 10**9, "assistant", study.model.end_of_turn)
    return encoded.examples()[-1].ids[prompt:]
