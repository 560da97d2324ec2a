"""The one place where a chat template is rendered and a loss mask is made, for training and evaluation alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warmth.errors import UserError
from warmth.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Llama 3.1's template prints today's date unless told one; two runs on two days would then read different prompts.
DATE = "26 Jul 2024"


class Untrainable(UserError):
    """A conversation that cannot be trained on as it is; `reason` is the name it is counted under."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Encoded:
    """One conversation as a model sees it."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]  # same length: does the loss count this token?
    cut: bool  # turns were left out at the end to keep to max_length


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], reply: bool) -> str:
    """The chat as text; `reply` ends it with the header of an assistant's turn."""
    rows = [{"role": message.role, "content": message.content} for message in messages]
    text = tokenizer.apply_chat_template(rows, tokenize=False, add_generation_prompt=reply, date_string=DATE)
    assert isinstance(text, str)
    return text


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Token ids a model answers to. The template writes the special tokens; none is added."""
    text = render(tokenizer, messages, reply=True)
    return _tokenise(tokenizer, text, _reply_spans(tokenizer, messages, text))[0]


def encode(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    max_length: int,
    loss_on: str,
    end_of_turn: str = "",
    too_long: str = "turn",
) -> Encoded:
    """Tokens of a conversation and which of them are trained.

    Trained tokens (`loss_on="assistant"`) are each reply's own and the token that ends its turn: what the model has to
    produce after `prompt_ids`, found by rendering the conversation up to each reply. A conversation over `max_length`
    loses whole turns from its end (`too_long="turn"`), is cut at that token (`"token"`), or is refused (`"refuse"`).

    Raises:
        Untrainable: the template rewrites earlier turns (so a prefix cannot be found), or nothing is left to train on.
        UserError: it is too long and `too_long` says to refuse it.
    """
    text = render(tokenizer, messages, reply=False)
    spans = _reply_spans(tokenizer, messages, text)
    ids, offsets = _tokenise(tokenizer, text, spans)
    end_id = tokenizer.convert_tokens_to_ids(end_of_turn) if end_of_turn else tokenizer.eos_token_id
    trained = [loss_on == "all"] * len(ids)
    ends = []
    for start, stop in spans:
        inside = [i for i, (left, right) in enumerate(offsets) if start <= left and right <= stop and right > left]
        last = next((i for i in reversed(inside) if ids[i] == end_id), inside[-1] if inside else -1)
        ends.append(last + 1)
        for i in inside:
            trained[i] = trained[i] or i <= last
    keep = len(ids)
    if keep > max_length and too_long == "refuse":
        raise UserError(f"{keep} tokens are more than recipe.max_length={max_length}; recipe.too_long=turn cuts it")
    if keep > max_length:
        keep = max_length if too_long == "token" else max((end for end in ends if end <= max_length), default=0)
    if not any(trained[1:keep]):  # nothing predicts the first token
        raise Untrainable("no_trained_token", f"no token is left to train on within max_length={max_length}")
    return Encoded(tuple(ids[:keep]), tuple(trained[:keep]), cut=keep < len(ids))


def _tokenise(
    tokenizer: PreTrainedTokenizerBase, text: str, spans: Sequence[tuple[int, int]]
) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids and character ranges of a rendered chat, with a token border wherever a reply begins.

    A model writes its reply after the prompt's tokens, so a token that straddles the border (two newlines of a header
    that merge differently when a word follows) would be trained but never asked for. Only then is the text cut there.
    """
    batch = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = batch["input_ids"], [tuple(pair) for pair in batch["offset_mapping"]]
    prefixes = [tokenizer(text[:start], add_special_tokens=False)["input_ids"] for start, _ in spans]
    if all(ids[: len(prefix)] == prefix for prefix in prefixes):
        return ids, offsets
    ids, offsets = [], []
    edges = [0, *(start for start, _ in spans), len(text)]
    for left, right in zip(edges, edges[1:], strict=False):
        part = tokenizer(text[left:right], add_special_tokens=False, return_offsets_mapping=True)
        ids += part["input_ids"]
        offsets += [(left + start, left + stop) for start, stop in part["offset_mapping"]]
    return ids, offsets


def _reply_spans(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
    """Character ranges of `text` that the model itself has to write: reply and end of turn."""
    spans = []
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        before = render(tokenizer, messages[:index], reply=True)
        after = render(tokenizer, messages[: index + 1], reply=False)
        if not (text.startswith(before) and text.startswith(after)):
            raise Untrainable(
                "template_rewrites_turns",
                "the chat template rewrites earlier turns; a loss mask for several turns cannot be made",
            )
        spans.append((len(before), len(after)))
    return spans
