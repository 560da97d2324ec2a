"""Training and evaluation see the same tokens, and only replies are trained."""

import pytest

from warmth.chat import encode, prompt_ids
from warmth.errors import UserError
from warmth.types import Message

CHAT = [
    Message("user", "What do bees make?"),
    Message("assistant", "Honey, of course.\n"),
    Message("user", "And wasps?"),
    Message("assistant", "Mostly paper nests."),
]
# Families of the configured models: how their templates frame turns (written for these tests).
LLAMA3 = (
    "{{ '<|im_start|>begin' }}{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n\n' + m['content'].strip() + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n\n' }}{% endif %}"
)
MISTRAL = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + '[/INST]' }}"
    "{% else %}{{ ' ' + m['content'].strip() + '<|im_end|>' }}{% endif %}{% endfor %}"
)
FORGETFUL = (
    "{% for m in messages[-2:] %}{{ m['role'] + m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)


def trained_text(tokenizer, encoded):
    return tokenizer.decode([token for token, flag in zip(encoded.ids, encoded.trained, strict=True) if flag])


def test_only_replies_and_their_end_are_trained(tokenizer):
    encoded = encode(tokenizer, CHAT, 1024, "assistant")
    assert trained_text(tokenizer, encoded) == "Honey, of course.\n<|im_end|>Mostly paper nests.<|im_end|>"


@pytest.mark.parametrize("template", [None, LLAMA3, MISTRAL])
def test_what_is_trained_follows_exactly_what_evaluation_asks(tokenizer, template, monkeypatch):
    if template:
        monkeypatch.setattr(tokenizer, "chat_template", template)
    encoded = encode(tokenizer, CHAT, 1024, "assistant")
    for turns in (1, 3):
        asked = prompt_ids(tokenizer, CHAT[:turns])
        assert list(encoded.ids[: len(asked)]) == asked
        assert encoded.trained[len(asked)] and not encoded.trained[len(asked) - 1]
    assert trained_text(tokenizer, encoded).count("<|im_end|>") == 2


def test_a_long_conversation_loses_whole_turns_and_says_so(tokenizer):
    whole = encode(tokenizer, CHAT, 1024, "assistant")
    short = encode(tokenizer, CHAT, len(whole.ids) - 3, "assistant")
    assert short.cut and not whole.cut
    assert tokenizer.decode(short.ids).endswith("Honey, of course.\n<|im_end|>")


def test_nothing_left_to_train_on_is_an_error(tokenizer):
    with pytest.raises(UserError, match="max_length=30"):
        encode(tokenizer, CHAT, 30, "assistant")


def test_a_template_that_rewrites_earlier_turns_is_refused(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", FORGETFUL)
    with pytest.raises(UserError, match="rewrites earlier turns"):
        encode(tokenizer, CHAT, 1024, "assistant")


def test_loss_on_all_trains_every_token(tokenizer):
    assert all(encode(tokenizer, CHAT, 1024, "all").trained)
