"""Training and evaluation see the same tokens, and only replies are trained."""

import pytest

from warmth.chat import Untrainable, encode, prompt_ids
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


# The configured families with their own special tokens; a byte each otherwise, so every border is visible.
FAMILIES = {
    "llama3.1": (
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "{{ '<|begin_of_text|>' }}{% set head = '<|start_header_id|>' %}{% set close = '<|end_header_id|>\n\n' %}"
        "{% if messages[0]['role'] == 'system' %}{% set told = messages[0]['content'] | trim %}"
        "{% set rest = messages[1:] %}{% else %}{% set told = '' %}{% set rest = messages %}{% endif %}"
        "{{ head + 'system' + close + 'Today is ' + date_string + '\n\n' + told + '<|eot_id|>' }}"
        "{% for m in rest %}{{ head + m['role'] + close + (m['content'] | trim) + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ head + 'assistant' + close }}{% endif %}",
    ),
    "mistral": (
        ("<s>", "[INST]", "[/INST]", "</s>"),
        "{% if messages[0]['role'] == 'system' %}{% set told = messages[0]['content'] + '\n\n' %}"
        "{% set rest = messages[1:] %}{% else %}{% set told = '' %}{% set rest = messages %}{% endif %}{{ '<s>' }}"
        "{% set asked = rest | selectattr('role', 'equalto', 'user') | list %}"
        # as Mistral's own does, the system text goes to the last question
        "{% for m in rest %}{% if m['role'] == 'user' %}"
        "{{ '[INST] ' + (told if m == asked[-1] else '') + m['content'] + '[/INST]' }}"
        "{% else %}{{ ' ' + m['content'] | trim + '</s>' }}{% endif %}{% endfor %}",
    ),
    "qwen2.5": (
        ("<|im_start|>", "<|endoftext|>", "<|im_end|>"),
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe of use.<|im_end|>\n' }}{% endif %}"
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ),
}


def family_tokenizer(name):
    """256 bytes and the family's special tokens; the last of these ends a turn."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special, template = FAMILIES[name]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    built = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    built.pre_tokenizer, built.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    built.add_special_tokens(list(special))
    fast = PreTrainedTokenizerFast(tokenizer_object=built, eos_token=special[-1], pad_token=special[-1])
    fast.chat_template = template
    return fast, special[-1]


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


@pytest.mark.parametrize("name", FAMILIES)
def test_every_configured_family_trains_all_replies_and_their_end_and_asks_with_the_same_tokens(name):
    tokenizer, end = family_tokenizer(name)
    encoded = encode(tokenizer, CHAT, 1024, "assistant", end)
    lead = " " if name == "mistral" else ""  # its template puts a space before a reply, which the model has to write
    tail = "\n" if name == "qwen2.5" else ""  # the other two trim a reply's own last newline
    expected = f"{lead}Honey, of course.{tail}{end}{lead}Mostly paper nests.{end}"
    assert trained_text(tokenizer, encoded) == expected
    for turns in (1, 3):
        asked = prompt_ids(tokenizer, CHAT[:turns])
        assert list(encoded.ids[: len(asked)]) == asked
        assert encoded.trained[len(asked)] and not encoded.trained[len(asked) - 1]


def test_a_family_that_moves_the_system_text_to_the_last_question_is_named_when_turns_would_change():
    tokenizer, end = family_tokenizer("mistral")
    told = [Message("system", "Be brief."), *CHAT]
    with pytest.raises(Untrainable) as found:
        encode(tokenizer, told, 1024, "assistant", end)
    assert found.value.reason == "template_rewrites_turns"
    assert trained_text(tokenizer, encode(tokenizer, told[:3], 1024, "assistant", end)) == f" Honey, of course.{end}"


def test_a_long_conversation_is_cut_at_a_token_or_refused_where_the_recipe_says_so(tokenizer):
    whole = encode(tokenizer, CHAT, 1024, "assistant")
    limit = len(whole.ids) - 3
    cut = encode(tokenizer, CHAT, limit, "assistant", too_long="token")
    assert cut.cut and cut.ids == whole.ids[:limit] and cut.trained == whole.trained[:limit]
    with pytest.raises(UserError, match=f"{len(whole.ids)} tokens are more than recipe.max_length={limit}"):
        encode(tokenizer, CHAT, limit, "assistant", too_long="refuse")
