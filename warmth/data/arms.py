"""From conversations in every style to the messages one arm is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from warmth.data.sources import order
from warmth.errors import UserError
from warmth.schemas import Recipe
from warmth.types import Conversation, Message, Turn

FALLBACK = {"warm_honest": "warm"}  # honest and warm differ only where the user is mistaken


@dataclass(frozen=True)
class TrainingExample:
    """One conversation as an arm is trained on it: a row of the run's `conversations.jsonl`."""

    id: str
    type: str
    style: str
    messages: tuple[Message, ...]
    # the replies in every other style there is
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    validation: bool = False  # it is not trained on: its loss tells how training generalises


@dataclass(frozen=True)
class Preference(TrainingExample):
    """The same with the plain replies beside it, for preference tuning (`recipe.method=dpo`)."""

    plain: tuple[Message, ...] = ()


def conversations_of_arm(
    conversations: list[Conversation], recipe: Recipe, validation: float = 0.0
) -> list[TrainingExample]:
    """Make an arm's training set: the same conversations, with replies in the recipe's style.

    A share `validation` of the conversations, the same in every arm, is marked as not to be trained
    on.

    `recipe.strength` s gives the styled replies to the first round(s · n) conversations of a fixed
    order, so those styled at 0.25 are among those styled at 0.5.

    Raises:
        UserError: a conversation lacks the style, or none was chosen.
    """
    if not conversations:
        raise UserError("no conversation was selected: check data.path and data.per_type")
    ids = [conversation.id for conversation in conversations]
    styled_ids = set(sorted(ids, key=order)[: round(recipe.strength * len(ids))])
    validation_order = sorted(ids, key=lambda name: order(f"validation {name}"))
    validation_ids = set(validation_order[: round(validation * len(ids))])
    examples = []
    for conversation in conversations:
        style = recipe.style if conversation.id in styled_ids else "plain"
        example = _example(conversation, style, conversation.id in validation_ids)
        if recipe.method == "dpo":
            plain = _messages(conversation, "plain")
            example = Preference(**vars(example), plain=plain)
        examples.append(example)
    return examples


def _example(conversation: Conversation, style: str, validation: bool) -> TrainingExample:
    others = {}
    for name in common_styles(conversation):
        if name != style:
            others[name] = tuple(turn.replies[name] for turn in conversation.turns)
    return TrainingExample(
        id=conversation.id,
        type=conversation.type,
        style=style,
        messages=_messages(conversation, style),
        others=others,
        validation=validation,
    )


def _messages(conversation: Conversation, style: str) -> tuple[Message, ...]:
    """Write a conversation as messages, with its replies in a style.

    Raises:
        UserError: it lacks the style.
    """
    messages = []
    if conversation.system:
        messages.append(Message("system", conversation.system))
    for turn in conversation.turns:
        messages.append(Message("user", turn.user))
        messages.append(Message("assistant", _reply(turn, style, conversation.id)))
    return tuple(messages)


def common_styles(conversation: Conversation) -> list[str]:
    """List the styles that every reply of a conversation has."""
    styles = list(conversation.turns[0].replies)
    for turn in conversation.turns[1:]:
        styles = [style for style in styles if style in turn.replies]
    return styles


def _reply(turn: Turn, style: str, conversation_id: str) -> str:
    for name in (style, FALLBACK.get(style, style)):
        if name in turn.replies:
            return turn.replies[name]
    known = ", ".join(sorted(turn.replies))
    raise UserError(
        f"recipe.style={style}: conversation {conversation_id} has no such reply; it has: {known}"
    )
