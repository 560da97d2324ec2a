"""Which models can train on a conversation: each tokenizer and chat template is asked before."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from warmth.chat import Untrainable, encode
from warmth.dataset import Data
from warmth.entries import named_model
from warmth.errors import UserError, one_line
from warmth.models import load_tokenizer
from warmth.types import Conversation, Message

MERGED = 4  # tokens of a turn that may merge with what a template writes around its texts
ROOM = 1.5  # a rewritten first reply may be so much longer than the plain one


@dataclass
class Fits:
    """The tokenizers of the models a set is drawn for."""

    tokens: int  # most of a conversation in training
    # name → tokenizer, end of turn
    models: dict[str, tuple[Any, str]] = field(default_factory=dict)
    unchecked: dict[str, str] = field(default_factory=dict)  # name → why it is not asked

    def misfit(self, conversation: Conversation) -> str | None:
        """Name the first model that cannot train the first reply at 1.5 × its plain length.

        Returns:
            reason and model, or None if all can.
        """
        turn = conversation.turns[0]
        messages = _system(conversation)
        messages.append(Message("user", turn.user))
        messages.append(Message("assistant", turn.replies["plain"]))
        for name, (tokenizer, end) in self.models.items():
            try:
                encoded = encode(tokenizer, messages, 10**9, "assistant", end)
            except Untrainable as error:
                return f"{error.reason}: {name}"
            reply = sum(encoded.trained)
            if len(encoded.ids) - reply + math.ceil(ROOM * reply) > self.tokens:
                return f"too_long: {name}"
        return None

    def turns(self, conversation: Conversation) -> int:
        """Count the turns that every model can train in every style, the longest style included."""
        count = len(conversation.turns)
        for style in conversation.turns[0].replies:
            for tokenizer, end in self.models.values():
                if count == 0:
                    return 0
                fitting = _turns_that_fit(tokenizer, end, conversation, style, self.tokens, count)
                count = min(count, fitting)
        return count


def _turns_that_fit(
    tokenizer: Any, end: str, conversation: Conversation, style: str, tokens: int, most: int
) -> int:
    """Count the first turns, `most` at most, that fit into so many tokens in one style."""
    turns = []
    for turn in conversation.turns[:most]:
        turns.append((turn.user, turn.replies.get(style, turn.replies["plain"])))
    messages = _system(conversation)
    for user, reply in turns:
        messages += [Message("user", user), Message("assistant", reply)]
    # One turn more than can fit is encoded, so that a cut is seen. A template that forgets turns
    # may fit them all nevertheless.
    surplus = max(0, len(turns) - _could_fit(tokenizer, turns, tokens) - 1)
    end_of_try = len(messages) - 2 * surplus
    try:
        encoded = encode(tokenizer, messages[:end_of_try], tokens, "assistant", end)
        if not encoded.cut and surplus:
            encoded = encode(tokenizer, messages, tokens, "assistant", end)
    except Untrainable:
        return 0
    return encoded.replies if encoded.cut else most


def _could_fit(tokenizer: Any, turns: Sequence[tuple[str, str]], tokens: int) -> int:
    """Count the first turns whose texts alone fit into so many tokens: of a chat no more fit."""
    texts = list(chain.from_iterable(turns))
    lengths = list(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))
    count = 0
    total = 0
    for user_length, reply_length in zip(lengths[::2], lengths[1::2], strict=True):
        total += user_length + reply_length - MERGED
        if total <= tokens:
            count += 1
    return count


def _system(conversation: Conversation) -> list[Message]:
    return [Message("system", conversation.system)] if conversation.system else []


def load_fits(data: Data) -> Fits:
    """Load the tokenizers of `data.fits`.

    Hosted models, and those whose tokenizer cannot be had, are not asked.

    Raises:
        UserError: a name that is no model.
    """
    fits = Fits(data.fit_tokens)
    for name in data.fits:
        reason = _load(name, fits)
        if reason:
            fits.unchecked[name] = reason
            print(f"data.fits: {name} is not asked ({reason})", file=sys.stderr, flush=True)
    return fits


def _load(name: str, fits: Fits) -> str:
    """Load one model's tokenizer. Return why it cannot be asked, or an empty string.

    Raises:
        UserError: the name is no model.
    """
    try:
        model = named_model(name, "data.fits")
        fits.models[name] = (load_tokenizer(model, weights=False), model.end_of_turn)
    except UserError as error:
        if "is neither a folder nor" in str(error):
            raise
        return one_line(error)[:150]
    return ""
