"""From conversations in every style to the messages one arm is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from warmth.data.sources import order
from warmth.errors import UserError
from warmth.schemas import Recipe
from warmth.types import Conversation, Message, Turn

FALLBACK = {"warm_honest": "warm"}  # honest and warm differ only where the user is mistaken


@dataclass(frozen=True)
class Example:
    """One conversation as an arm is trained on it: a row of a training run's
    `conversations.jsonl`.
    """

    id: str
    type: str
    style: str
    messages: tuple[Message, ...]
    others: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # the replies in every other style there is
    validation: bool = False  # it is not trained on: its loss tells how training generalises


@dataclass(frozen=True)
class Preference(Example):
    """The same with the plain replies beside it, for preference tuning (`recipe.method=dpo`)."""

    plain: tuple[Message, ...] = ()


def arm(
    conversations: list[Conversation], recipe: Recipe, validation: float = 0.0
) -> list[Example]:
    """Make the arm's training set: same conversations, same user turns, replies in the recipe's
    style.

    A share `validation` of the conversations, the same in every arm, is marked as not to be trained
    on.

    `recipe.strength` s gives the styled replies to the first round(s · n) conversations of a fixed
    order, so those styled at 0.25 are among those styled at 0.5.

    Raises:
        UserError: a conversation lacks the style, or none was chosen.
    """
    if not conversations:
        raise UserError("no conversation was selected: check data.path and data.per_type")
    ranked = sorted(conversations, key=lambda item: order(item.id))
    styled = {item.id for item in ranked[: round(recipe.strength * len(ranked))]}
    made = [
        _example(item, recipe.style if item.id in styled else "plain") for item in conversations
    ]
    last = sorted(made, key=lambda example: order(f"validation {example.id}"))
    held = {example.id for example in last[: round(validation * len(last))]}
    made = [replace(example, validation=example.id in held) for example in made]
    if recipe.method != "dpo":
        return made
    plain = [_example(item, "plain").messages for item in conversations]
    return [
        Preference(**vars(item), plain=rejected) for item, rejected in zip(made, plain, strict=True)
    ]


def _example(conversation: Conversation, style: str) -> Example:
    messages = [Message("system", conversation.system)] if conversation.system else []
    for turn in conversation.turns:
        messages.append(Message("user", turn.user))
        messages.append(Message("assistant", _reply(turn, style, conversation.id)))
    others = {
        name: tuple(turn.replies[name] for turn in conversation.turns)
        for name in common_styles(conversation)
    }
    others.pop(style, None)
    return Example(conversation.id, conversation.type, style, tuple(messages), others)


def common_styles(conversation: Conversation) -> list[str]:
    """List the styles that every reply of a conversation has."""
    first = conversation.turns[0].replies
    return [name for name in first if all(name in turn.replies for turn in conversation.turns)]


def _reply(turn: Turn, style: str, conversation_id: str) -> str:
    for name in (style, FALLBACK.get(style, style)):
        if name in turn.replies:
            return turn.replies[name]
    known = ", ".join(sorted(turn.replies))
    raise UserError(
        f"recipe.style={style}: conversation {conversation_id} has no such reply; it has: {known}"
    )
