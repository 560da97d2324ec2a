"""The one place where a chat template is rendered and a loss mask is made, for training and
evaluation alike.

A reply is trained after exactly the tokens that evaluation asks it with. So the prompt of each
reply is rendered on its own, and the reply is put behind it. Where a template writes earlier turns
differently once more turns follow (it moves the system text, or drops an earlier reply's thinking),
one conversation becomes several examples.

A control token (`<|im_end|>`) that somebody *wrote* is text: it is tokenised as the characters it
consists of, so that no message can end its own turn or open another.
"""

from __future__ import annotations

import json
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from warmth.errors import UserError, one_line
from warmth.types import Message

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

# Many templates print the day's date; two runs on two days would then read different prompts. The
# day is that of Llama 3.1's release, which its own template prints if nobody says a date.
CLOCK = datetime(2024, 7, 26)
DATE = "26 Jul 2024"  # the same for templates that take the date as a text
# a reply by which is seen what a template writes around replies; one word that no template has
PROBE = "Zebrafinch"
# Characters of a private plane of Unicode, which stand for others while a chat is rendered (see
# `Controls`).
FIRST_GUARD = 0xF0000
FIRST_ALIAS = 0xF1000
FILLER = chr(0xF0FFF)
OPEN_THOUGHT = re.compile(r"(?:<(?P<tag>[\w:]*think\w*)>|\[THINK\])\s*$")


class Untrainable(UserError):
    """A conversation that cannot be trained on as it is; `reason` is the name it is counted
    under.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Encoded:
    """One conversation as a model sees it."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]  # same length: does the loss count this token?
    cut: bool  # replies were left out at the end to keep to max_length
    # where each example begins in `ids`; examples do not see one another
    starts: tuple[int, ...] = (0,)

    @property
    def replies(self) -> int:
        """Count the replies that are trained: runs of trained tokens."""
        return sum(is_trained for is_trained, _ in groupby(self.trained))

    def examples(self) -> list[Encoded]:
        """Split into what a model sees at once: one example, or several if the template rewrites
        earlier turns.
        """
        ends = (*self.starts[1:], len(self.ids))
        return [
            Encoded(self.ids[start:end], self.trained[start:end], self.cut)
            for start, end in zip(self.starts, ends, strict=True)
        ]


@dataclass(frozen=True)
class TemplateForm:
    """How a template wants a chat, seen on a small one."""

    parts: bool  # contents are lists of parts instead of texts
    # what it writes before a reply's own text and not at the end of a prompt: an empty think block,
    # say
    header: str
    end: str  # the control token it writes behind a reply; "" if there is none


@dataclass(frozen=True)
class Passage:
    """A rendered prompt with the replies in it that are trained."""

    text: str
    # character ranges that the model has to write, end of turn included
    replies: tuple[tuple[int, int], ...]


class Controls:
    """The control tokens of a tokenizer, and how texts that contain them stay texts.

    While a template is rendered, the first character of each control token that a message contains
    is replaced by a private one. What then still reads as a control token was written by the
    template. All replacements keep the length, so character positions mean the same before and
    after.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        template = str(tokenizer.chat_template)
        added = tokenizer.added_tokens_decoder.values()
        names = []
        for token in added:
            if token.special or _is_markup(token.content, template):
                names.append(token.content)
        # the longest first, as the tokenizer matches
        names.sort(key=lambda name: (-len(name), name))
        self.names = names
        self.pattern: re.Pattern[str] | None = None
        if names:
            self.pattern = re.compile("|".join(map(re.escape, names)))
        self.guards: dict[str, str] = {}
        for index, initial in enumerate(sorted({name[0] for name in names})):
            self.guards[initial] = chr(FIRST_GUARD + index)
        self.unguards = str.maketrans({guard: initial for initial, guard in self.guards.items()})
        self.aliases: dict[str, str] = {}
        for index, name in enumerate(names):
            self.aliases[name] = (chr(FIRST_ALIAS + index) + FILLER * len(name))[: len(name)]
        self._tokenizer = tokenizer
        self._twin: tuple[Tokenizer, dict[int, int]] | None = None

    def guard(self, text: str) -> str:
        """Mark the control tokens in a message as text."""
        if self.pattern is None:
            return text
        return self.pattern.sub(lambda match: self.guards[match[0][0]] + match[0][1:], text)

    def readable(self, text: str) -> str:
        """Undo `guard`."""
        return text.translate(self.unguards)

    def tokenise(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Tokenise a rendered chat.

        Args:
            text: the chat, in which control tokens that messages contain are guarded.

        Returns:
            token ids, and the character range of each.
        """
        plain = self.readable(text)
        if plain == text or self.pattern is None:
            batch = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
            return list(batch["input_ids"]), [tuple(pair) for pair in batch["offset_mapping"]]
        twin, ids = self.twin()
        aliased = self.pattern.sub(lambda match: self.aliases[match[0]], text)
        encoding = twin.encode(self.readable(aliased), add_special_tokens=False)
        return [ids.get(token, token) for token in encoding.ids], list(encoding.offsets)

    def last_before(self, text: str, border: int) -> int:
        """Find where the last control token of the template before a place begins; 0 if there is
        none.
        """
        return max((text.rfind(name, 0, border) for name in self.names), default=0)

    def twin(self) -> tuple[Tokenizer, dict[int, int]]:
        """Make a copy of the tokenizer that knows control tokens by their aliases alone, and a
        table of its ids.
        """
        from tokenizers import Tokenizer

        if self._twin is not None:
            return self._twin
        values = json.loads(self._tokenizer.backend_tokenizer.to_str())
        known = {token["content"]: token["id"] for token in values["added_tokens"]}
        for token in values["added_tokens"]:
            token["content"] = self.aliases.get(token["content"], token["content"])
        twin = Tokenizer.from_str(json.dumps(values))
        ids: dict[int, int] = {}
        for name, number in known.items():
            token_id = twin.token_to_id(self.aliases.get(name, name))
            if token_id is not None:
                ids[token_id] = number
        self._twin = (twin, ids)
        return self._twin


def _is_markup(name: str, template: str) -> bool:
    """Tell whether an added token that is not declared special is one the template writes, such as
    `<think>`.
    """
    return bool(name.strip()) and len(name) > 1 and name in template


_controls: WeakKeyDictionary[Any, dict[str, Controls]] = WeakKeyDictionary()
_forms: WeakKeyDictionary[Any, dict[tuple[str, bool], TemplateForm]] = WeakKeyDictionary()


def controls_of(tokenizer: PreTrainedTokenizerBase) -> Controls:
    """Return the tokenizer's control tokens, read once for each chat template."""
    known = _controls.setdefault(tokenizer, {})
    template = str(tokenizer.chat_template)
    if template not in known:
        known[template] = Controls(tokenizer)
    return known[template]


def form_of(tokenizer: PreTrainedTokenizerBase, thinking: bool = False) -> TemplateForm:
    """See how the template wants a chat by rendering a small one; read once for each template."""
    known = _forms.setdefault(tokenizer, {})
    key = (str(tokenizer.chat_template), thinking)
    if key not in known:
        known[key] = _seen_form(tokenizer, thinking)
    return known[key]


def _seen_form(tokenizer: PreTrainedTokenizerBase, thinking: bool) -> TemplateForm:
    chat = [Message("user", "Is it?"), Message("assistant", PROBE)]
    for as_parts in (False, True):
        try:
            prompt_text = _apply(tokenizer, chat[:1], reply=True, thinking=thinking, parts=as_parts)
            full_text = _apply(tokenizer, chat, reply=False, thinking=thinking, parts=as_parts)
        except Untrainable:
            continue
        if PROBE in full_text:
            before, _, after = full_text.rpartition(PROBE)
            header = ""
            if not thinking:
                header = _header(prompt_text, before)
            pattern = controls_of(tokenizer).pattern
            match = None
            if pattern is not None:
                match = pattern.match(after.lstrip())
            end = ""
            if match is not None:
                end = match[0]
            return TemplateForm(as_parts, header, end)
    return TemplateForm(parts=False, header="", end="")


def _header(asked: str, before: str) -> str:
    """Find what stands between a prompt and a reply's own text, spaces alone not counted.

    Args:
        asked: a prompt as the template ends it.
        before: the chat with the reply rendered, up to the reply's text.
    """
    if before.startswith(asked):
        header = before[len(asked) :]
        if not header.strip():
            return ""
        return header.rstrip(" ")
    thought = OPEN_THOUGHT.search(asked)
    if thought is None:
        return ""
    closing = "[/THINK]"
    if thought["tag"]:
        closing = f"</{thought['tag']}>"
    if asked.endswith("\n"):
        return f"\n{closing}\n\n"
    return f"\n\n{closing}\n\n"


def _apply(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    reply: bool,
    thinking: bool,
    parts: bool,
) -> str:
    """Render the template, with control tokens in messages guarded.

    Raises:
        Untrainable: the template refuses the chat.
    """
    controls = controls_of(tokenizer)
    rows: list[dict[str, Any]] = []
    for message in messages:
        content: Any = controls.guard(message.content)
        if parts:
            content = [{"type": "text", "text": content}]
        rows.append({"role": message.role, "content": content})
    _stop_clock(str(tokenizer.chat_template))
    try:
        text = tokenizer.apply_chat_template(
            rows,
            tokenize=False,
            add_generation_prompt=reply,
            date_string=DATE,
            enable_thinking=thinking,  # Qwen3, SmolLM3, GLM; templates ignore what they do not know
            thinking=thinking,  # DeepSeek, Granite
        )
    except Exception as error:  # a template is a stranger's program and may raise anything
        raise Untrainable(
            "template_error", f"the chat template refuses it: {one_line(error)[:200]}"
        ) from error
    assert isinstance(text, str)
    return text


@lru_cache
def _stop_clock(template: str) -> None:
    """Let `strftime_now`, which transformers offers to templates, always tell the same day."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    _compile_jinja_template(template).globals["strftime_now"] = CLOCK.strftime


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    reply: bool,
    thinking: bool = False,
) -> str:
    """Render a chat as readable text.

    Args:
        tokenizer: with a chat template.
        messages: the chat.
        reply: end with all that stands before an assistant's own words.
        thinking: let a model that can think do so before it answers.

    Raises:
        Untrainable: the template refuses the chat.
    """
    if reply:
        text = asked_text(tokenizer, messages, thinking)
    else:
        text = _whole(tokenizer, messages, thinking)
    return controls_of(tokenizer).readable(text)


def asked_text(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], thinking: bool
) -> str:
    """Render a prompt up to where the reply's own words begin; control tokens in messages are
    guarded.
    """
    form = form_of(tokenizer, thinking)
    prompt = _apply(tokenizer, messages, reply=True, thinking=thinking, parts=form.parts)
    return prompt + form.header


def _whole(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], thinking: bool = False
) -> str:
    form = form_of(tokenizer, thinking)
    return _apply(tokenizer, messages, reply=False, thinking=thinking, parts=form.parts)


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], thinking: bool = False
) -> list[int]:
    """Return the token ids a model answers to. The template writes the special tokens; none is
    added.

    Raises:
        Untrainable: the template refuses the chat.
    """
    text = asked_text(tokenizer, messages, thinking)
    borders: list[int] = []
    if any(message.role == "assistant" for message in messages):
        try:
            final_passage = passages(tokenizer, messages, "")[-1]
            if text.startswith(final_passage.text):
                borders = [start for start, _ in final_passage.replies]
        except Untrainable:
            pass  # an earlier reply that could not be trained can still be read
    return _tokenise(controls_of(tokenizer), text, borders)[0]


def end_of_turn_id(tokenizer: PreTrainedTokenizerBase, end_of_turn: str) -> int:
    """Return the id of the token that ends a reply.

    Raises:
        UserError: it is not one token of this tokenizer.
    """
    token = tokenizer.convert_tokens_to_ids(end_of_turn)
    if token is None or (token == tokenizer.unk_token_id and end_of_turn != tokenizer.unk_token):
        raise UserError(f"model.end_of_turn={end_of_turn} is not a token of this tokenizer")
    assert isinstance(token, int)
    return token


def encode(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    max_length: int,
    loss_on: str,
    end_of_turn: str = "",
    too_long: str = "turn",
) -> Encoded:
    """Tokenise a conversation and mark which tokens are trained.

    `end_of_turn` is the text of the token that ends a reply; "" takes what the template writes
    there.

    Trained tokens (`loss_on="assistant"`) are each reply's own and the token that ends its turn:
    what the model has to produce after `prompt_ids`. A conversation over `max_length` loses whole
    turns from its end (`too_long="turn"`), is cut at that token (`"token"`), or is refused
    (`"refuse"`). If the template rewrites earlier turns, each example in it keeps to `max_length`
    by itself.

    Raises:
        Untrainable: the template refuses the conversation, a reply does not stand in it as it is,
            or nothing is left to train on.
        UserError: `end_of_turn` is no token; or it is too long and `too_long` says to refuse it.
    """
    end = end_of_turn or form_of(tokenizer).end or str(tokenizer.eos_token)
    end_id = end_of_turn_id(tokenizer, end)
    controls = controls_of(tokenizer)
    ids: list[int] = []
    trained: list[bool] = []
    starts: list[int] = []
    cut = False
    for passage in passages(tokenizer, messages, end):
        tokens, spans = _spans(tokenizer, controls, passage, end_id)
        keep = len(tokens)
        if keep > max_length and too_long == "refuse":
            raise UserError(
                f"{keep} tokens are more than recipe.max_length={max_length}; "
                f"recipe.too_long=turn cuts it"
            )
        if keep > max_length:
            ends = [stop for _, stop in spans if stop <= max_length]
            keep = max_length if too_long == "token" else max(ends, default=0)
            cut = True
        flags = [loss_on == "all"] * keep
        for start, stop in spans:
            flags[start : min(stop, keep)] = [True] * (min(stop, keep) - start)
        if not any(flags[1:]):  # nothing predicts the first token
            continue
        starts.append(len(ids))
        ids += tokens[:keep]
        trained += flags
    if not starts:
        raise Untrainable(
            "no_trained_token", f"no token is left to train on within max_length={max_length}"
        )
    return Encoded(tuple(ids), tuple(trained), cut, tuple(starts))


def passages(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], end: str
) -> list[Passage]:
    """Render each reply behind its own prompt, and join what continues the text before it.

    Args:
        tokenizer: with a chat template.
        messages: the conversation.
        end: the text of the token that ends a reply; "" if a reply may end without one.

    Raises:
        Untrainable: the template refuses the conversation, or a reply does not stand in it as it
        is.
    """
    result: list[Passage] = []
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        prompt = asked_text(tokenizer, messages[:index], thinking=False)
        reply = _reply_text(tokenizer, messages[: index + 1], prompt, end)
        span = (len(prompt), len(prompt) + len(reply))
        if result and prompt.startswith(result[-1].text):
            result[-1] = Passage(prompt + reply, (*result[-1].replies, span))
        else:
            result.append(Passage(prompt + reply, (span,)))
    if not result:
        raise Untrainable("no_trained_token", "it has no reply to train on")
    return result


def _reply_text(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], prompt: str, end: str
) -> str:
    """Return the last reply as the template writes it: spaces around it and the end of its turn
    included.

    Raises:
        Untrainable: the reply's text is not in the rendered chat, or nothing ends its turn.
    """
    full_text = _whole(tokenizer, messages)
    content = controls_of(tokenizer).guard(messages[-1].content).strip()
    number = sum(message.role == "assistant" for message in messages)
    at = _last_place(full_text, content, end)
    if at is None:
        raise Untrainable(
            "reply_not_rendered",
            f"the chat template does not write reply {number} as it is, followed by its end",
        )
    after = full_text[at + len(content) :]
    gap = after[: len(after) - len(after.lstrip())] if end else ""
    return _lead(prompt, full_text, at) + content + gap + end


def _last_place(whole: str, content: str, end: str) -> int | None:
    """Find where a reply begins in a rendered chat: the last place from which its end of turn
    follows it.
    """
    at = whole.rfind(content)
    while at >= 0:
        if whole[at + len(content) :].lstrip().startswith(end):
            return at
        at = whole.rfind(content, 0, at + len(content) - 1)
    return None


def _lead(prompt: str, whole: str, at: int) -> str:
    """Find the white space that a template puts before a reply and the prompt does not have.

    The white space before the reply belongs in part to the end of the prompt. It is divided where
    the text before agrees with the prompt's end the longest.
    """
    before = whole[:at]
    bare = len(before.rstrip())
    splits = range(bare, at + 1)
    best = max(splits, key=lambda split: (_common_end(prompt, before[:split]), split))
    return before[best:]


def _common_end(left: str, right: str) -> int:
    """Count the characters in which two texts agree at their ends, 200 at most."""
    count = 0
    for one_token, second in zip(reversed(left[-200:]), reversed(right[-200:]), strict=False):
        if one_token != second:
            break
        count += 1
    return count


def _spans(
    tokenizer: PreTrainedTokenizerBase, controls: Controls, passage: Passage, end_id: int
) -> tuple[list[int], list[tuple[int, int]]]:
    """Tokenise a passage and find the token range of each reply.

    Raises:
        Untrainable: the tokens of a reply do not read as the reply, or the last is not the end of
        its turn.
    """
    ids, offsets = _tokenise(controls, passage.text, [start for start, _ in passage.replies])
    spans = []
    lefts = [start_offset for start_offset, _ in offsets]
    for start, stop in passage.replies:
        # a token that stands for a part of a character begins where the character begins
        first_token = next(
            (index for index, start_offset in enumerate(lefts) if start_offset >= start), len(ids)
        )
        last_token = next(
            (index for index, start_offset in enumerate(lefts) if start_offset >= stop), len(ids)
        )
        inside = ids[first_token:last_token]
        reply = controls.readable(passage.text[start:stop])
        if not inside or inside[-1] != end_id:
            raise Untrainable(
                "no_end_of_turn", "the last token of a reply is not model.end_of_turn"
            )
        if _letters(tokenizer.decode(inside)) != _letters(reply):
            raise Untrainable(
                "tokens_differ",
                "the tokens of a reply do not read as the reply: unknown characters?",
            )
        spans.append((first_token, last_token))
    return ids, spans


def _letters(text: str) -> str:
    """Bring a text into the form in which tokenizers that normalise agree with it: no spaces, one
    form of letters.
    """
    return "".join(unicodedata.normalize("NFKC", text).split()).casefold()


def _stands_by_itself(
    controls: Controls,
    text: str,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    border: int,
) -> bool:
    """Say whether a text has, up to a border, the tokens that the text before the border has by
    itself.

    What stands before a control token changes nothing behind it, so mostly only the last few
    characters are tokenised.
    """
    start = controls.last_before(text, border)
    first_token = bisect_left(offsets, start, key=itemgetter(0))
    end_token = bisect_left(offsets, border, key=itemgetter(0))
    if list(ids[first_token:end_token]) == controls.tokenise(text[start:border])[0]:
        return True
    ids_before = controls.tokenise(text[:border])[0]
    return list(ids[: len(ids_before)]) == ids_before


def _tokenise(
    controls: Controls, text: str, borders: Sequence[int]
) -> tuple[list[int], list[tuple[int, int]]]:
    """Tokenise a rendered chat with a token border wherever a reply begins.

    A model writes its reply after the prompt's tokens, so a token that straddles the border (two
    newlines of a header that merge differently when a word follows) would be trained but never
    asked for. Only then is the text cut there.
    """
    ids, offsets = controls.tokenise(text)
    if all(_stands_by_itself(controls, text, ids, offsets, border) for border in borders):
        return ids, offsets
    ids, offsets = [], []
    for begin, end in pairwise([0, *borders, len(text)]):
        piece_ids, piece_offsets = controls.tokenise(text[begin:end])
        ids += piece_ids
        for start, stop in piece_offsets:
            offsets.append((begin + start, begin + stop))
    return ids, offsets
