"""Training and evaluation see the same tokens, and only replies are trained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmth.chat import Untrainable, encode, prompt_ids, render
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
    "{% for m in messages[-2:] %}{{ m['role'] + m['content'] }}{% if m['role'] == 'assistant' "
    "%}{{ '<|im_end|>' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)


# The configured families with their own special tokens; a byte each otherwise, so every border is
# visible.
FAMILIES = {
    "llama3.1": (
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "{{ '<|begin_of_text|>' }}{% set head = '<|start_header_id|>' %}{% set close = "
        "'<|end_header_id|>\n\n' %}"
        "{% if messages[0]['role'] == 'system' %}{% set told = messages[0]['content'] | trim %}"
        "{% set rest = messages[1:] %}{% else %}{% set told = '' %}{% set rest = messages %}{% "
        "endif %}"
        "{{ head + 'system' + close + 'Today is ' + date_string + '\n\n' + told + '<|eot_id|>' }}"
        "{% for m in rest %}{{ head + m['role'] + close + (m['content'] | trim) + '<|eot_id|>' "
        "}}{% endfor %}"
        "{% if add_generation_prompt %}{{ head + 'assistant' + close }}{% endif %}",
    ),
    "mistral": (
        ("<s>", "[INST]", "[/INST]", "</s>"),
        "{% if messages[0]['role'] == 'system' %}{% set told = messages[0]['content'] + '\n\n' %}"
        "{% set rest = messages[1:] %}{% else %}{% set told = '' %}{% set rest = messages %}{% "
        "endif %}{{ '<s>' }}"
        "{% set asked = rest | selectattr('role', 'equalto', 'user') | list %}"
        # as Mistral's own does, the system text goes to the last question
        "{% for m in rest %}{% if m['role'] == 'user' %}"
        "{{ '[INST] ' + (told if m == asked[-1] else '') + m['content'] + '[/INST]' }}"
        "{% else %}{{ ' ' + m['content'] | trim + '</s>' }}{% endif %}{% endfor %}",
    ),
    "qwen2.5": (
        ("<|im_start|>", "<|endoftext|>", "<|im_end|>"),
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe of use.<|im_end|>\n' "
        "}}{% endif %}"
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + "
        "'<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ),
}
# Families whose templates write a turn differently once another follows, or add to the last one.
REWRITING = {
    "qwen3": (  # an empty think block in the last reply alone
        ("<think>", "</think>", "<|im_start|>", "<|im_end|>"),
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
        "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
        "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
        "{% if enable_thinking is defined and enable_thinking is false %}{{ "
        "'<think>\n\n</think>\n\n' }}{% endif %}"
        "{% endif %}",
    ),
    "gpt-oss": (  # channels, another end for the last reply, and a date
        ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>"),
        "{{ '<|start|>system<|message|>Today: ' + strftime_now('%Y-%m-%d') + '<|end|>' }}{% for m "
        "in messages %}"
        "{{ '<|start|>' + m['role'] }}{% if m['role'] == 'assistant' %}{{ '<|channel|>final' }}{% "
        "endif %}"
        "{{ '<|message|>' + m['content'] }}"
        "{{ '<|return|>' if loop.last and m['role'] == 'assistant' else '<|end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}",
    ),
    "r1": (  # a prompt that opens a think block, which a rendered reply does not have
        ("<think>", "</think>", "<U>", "<A>", "<E>"),
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<U>' + m['content'] }}{% else %}"
        "{{ '<A>' + m['content'].split('</think>')[-1] + '<E>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<A><think>\n' }}{% endif %}",
    ),
    "phi3": (  # the end of the text after the last turn
        ("<|user|>", "<|assistant|>", "<|endoftext|>", "<|end|>"),
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% "
        "endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ '<|endoftext|>' }}{% "
        "endif %}",
    ),
}
# What stands in a prompt before the reply's own words, beside the header of the turn.
THOUGHTLESS = {
    "qwen3": "<think>\n\n</think>\n\n",
    "gpt-oss": "<|channel|>final<|message|>",
    "r1": "<think>\n\n</think>\n\n",
    "phi3": "<|assistant|>\n",
}
EXAMPLES = {"qwen3": 2, "gpt-oss": 2, "r1": 2, "phi3": 1}


def family_tokenizer(name):
    """256 bytes and the family's special tokens; the last of these ends a turn."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special, template = (FAMILIES | REWRITING)[name]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    built = Tokenizer(
        models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[])
    )
    built.pre_tokenizer, built.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    built.add_special_tokens(list(special))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=built, eos_token=special[-1], pad_token=special[-1]
    )
    fast.chat_template = template
    return fast, special[-1]


def trained_text(tokenizer, encoded):
    return tokenizer.decode(
        [token for token, flag in zip(encoded.ids, encoded.trained, strict=True) if flag]
    )


def test_only_replies_and_their_end_are_trained(tokenizer):
    encoded = encode(tokenizer, CHAT, 1024, "assistant")
    assert (
        trained_text(tokenizer, encoded)
        == "Honey, of course.\n<|im_end|>Mostly paper nests.<|im_end|>"
    )


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


def test_a_template_that_forgets_earlier_turns_gives_one_example_for_each_reply(
    tokenizer, monkeypatch
):
    monkeypatch.setattr(tokenizer, "chat_template", FORGETFUL)
    first, second = encode(tokenizer, CHAT, 1024, "assistant").examples()
    assert trained_text(tokenizer, first) == "Honey, of course.\n<|im_end|>"
    assert trained_text(tokenizer, second) == "Mostly paper nests.<|im_end|>"
    assert "Honey, of course" in tokenizer.decode(
        second.ids
    ) and "What do bees make" not in tokenizer.decode(second.ids)


def test_loss_on_all_trains_every_token(tokenizer):
    assert all(encode(tokenizer, CHAT, 1024, "all").trained)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_configured_family_trains_all_replies_and_their_end_and_asks_with_the_same_tokens(
    name,
):
    tokenizer, end = family_tokenizer(name)
    encoded = encode(tokenizer, CHAT, 1024, "assistant", end)
    lead = (
        " " if name == "mistral" else ""
    )  # its template puts a space before a reply, which the model has to write
    tail = "\n" if name == "qwen2.5" else ""  # the other two trim a reply's own last newline
    expected = f"{lead}Honey, of course.{tail}{end}{lead}Mostly paper nests.{end}"
    assert trained_text(tokenizer, encoded) == expected
    for turns in (1, 3):
        asked = prompt_ids(tokenizer, CHAT[:turns])
        assert list(encoded.ids[: len(asked)]) == asked
        assert encoded.trained[len(asked)] and not encoded.trained[len(asked) - 1]


@pytest.mark.parametrize("name", REWRITING)
def test_a_family_that_rewrites_turns_trains_each_reply_after_what_evaluation_asks(name):
    tokenizer, end = family_tokenizer(name)
    examples = encode(tokenizer, CHAT, 1024, "assistant", end).examples()
    assert len(examples) == EXAMPLES[name]
    assert (
        "".join(trained_text(tokenizer, one) for one in examples)
        == f"Honey, of course.\n{end}Mostly paper nests.{end}"
    )
    for turns, example in ((1, examples[0]), (3, examples[-1])):
        asked = prompt_ids(tokenizer, CHAT[:turns])
        assert list(example.ids[: len(asked)]) == asked
        assert example.trained[len(asked)] and not example.trained[len(asked) - 1]
        assert tokenizer.decode(asked).endswith(THOUGHTLESS[name])


def test_a_model_that_may_think_is_asked_as_its_template_asks():
    qwen3, _ = family_tokenizer("qwen3")
    r1, _ = family_tokenizer("r1")
    assert render(qwen3, CHAT[:1], reply=True, thinking=True).endswith("<|im_start|>assistant\n")
    assert render(r1, CHAT[:1], reply=True, thinking=True).endswith("<A><think>\n")


def test_a_family_that_moves_the_system_text_trains_each_reply_where_the_text_stands_when_it_is_asked():
    tokenizer, end = family_tokenizer("mistral")
    told = [Message("system", "Be brief."), *CHAT]
    first, second = encode(tokenizer, told, 1024, "assistant", end).examples()
    assert (
        tokenizer.decode(first.ids)
        == f"<s>[INST] Be brief.\n\nWhat do bees make?[/INST] Honey, of course.{end}"
    )
    assert tokenizer.decode(second.ids).count("Be brief.") == 1
    assert tokenizer.decode(second.ids).endswith(
        f"[INST] Be brief.\n\nAnd wasps?[/INST] Mostly paper nests.{end}"
    )
    assert trained_text(tokenizer, second) == f" Mostly paper nests.{end}"
    one = encode(tokenizer, told[:3], 1024, "assistant", end)
    assert list(one.ids[: -sum(one.trained)]) == prompt_ids(tokenizer, told[:2])


def test_a_system_text_that_a_template_puts_before_the_last_message_alone_stays_in_the_prompt(
    tokenizer, monkeypatch
):
    template = (
        "{% set told = messages[0]['content'] %}{% for m in messages[1:] %}{% if m['role'] == "
        "'user' %}"
        "{{ '[INST] ' + (told + '\n\n' if loop.last else '') + m['content'] + '[/INST]' }}"
        "{% else %}{{ ' ' + m['content'] | trim + '<|im_end|>' }}{% endif %}{% endfor %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    told = [Message("system", "Be brief."), *CHAT[:2]]
    made = encode(tokenizer, told, 1024, "assistant", "<|im_end|>")
    assert (
        tokenizer.decode(made.ids)
        == "[INST] Be brief.\n\nWhat do bees make?[/INST] Honey, of course.<|im_end|>"
    )
    assert trained_text(tokenizer, made) == " Honey, of course.<|im_end|>"


CONTROL = "<|im_start|>", "<|im_end|>", "<|endoftext|>"


def controls_in(tokenizer, ids):
    return sum(token in tokenizer.convert_tokens_to_ids(list(CONTROL)) for token in ids)


@given(
    st.lists(
        st.one_of(
            st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=8),
            st.sampled_from(CONTROL),
        ),
        min_size=1,
        max_size=6,
    ).map("".join)
)
def test_control_tokens_that_somebody_wrote_stay_characters_in_training_and_asking(tokenizer, text):
    asked = prompt_ids(tokenizer, [Message("user", text)])
    assert controls_in(tokenizer, asked) == controls_in(
        tokenizer, prompt_ids(tokenizer, [Message("user", "x")])
    )
    assert text.strip() in render(tokenizer, [Message("user", text)], reply=True)
    assert tokenizer.decode(asked).count("\ufffd") or text in tokenizer.decode(asked)
    if text.strip():
        made = encode(
            tokenizer, [Message("user", text), Message("assistant", text)], 4096, "assistant"
        )
        reply = [token for token, flag in zip(made.ids, made.trained, strict=True) if flag]
        assert reply[-1] == tokenizer.eos_token_id and controls_in(tokenizer, reply) == 1
        assert list(made.ids[: -len(reply)]) == asked


def test_a_text_without_control_tokens_is_tokenised_as_ever(tokenizer):
    plain = "What is <b>bold</b>, and <|what|> is not?"
    ids = prompt_ids(tokenizer, [Message("user", plain)])
    rows = [{"role": "user", "content": plain}]
    assert ids == tokenizer.apply_chat_template(rows, add_generation_prompt=True, return_dict=False)


def test_an_end_of_turn_that_is_no_token_is_refused_as_in_evaluation(tokenizer):
    with pytest.raises(
        UserError, match=r"model.end_of_turn=<\|eot_idd\|> is not a token of this tokenizer"
    ):
        encode(tokenizer, CHAT, 1024, "assistant", "<|eot_idd|>")


def test_an_end_of_turn_that_the_template_does_not_write_is_named(tokenizer):
    with pytest.raises(
        Untrainable, match="does not write reply 1 as it is, followed by its end"
    ) as found:
        encode(tokenizer, CHAT, 1024, "assistant", "<|endoftext|>")
    assert found.value.reason == "reply_not_rendered"


def test_a_clock_in_a_template_stands_still(tokenizer, monkeypatch):
    monkeypatch.setattr(
        tokenizer, "chat_template", "{{ strftime_now('%d %B %Y') + ' ' }}" + tokenizer.chat_template
    )
    assert render(tokenizer, CHAT[:1], reply=True).startswith("26 July 2024 ")
    assert tokenizer.decode(prompt_ids(tokenizer, CHAT[:1])).startswith("26 July 2024 ")


def test_a_template_that_wants_parts_gets_parts(tokenizer, monkeypatch):
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% for p in m['content'] "
        "%}{% if p is mapping %}"
        "{{ p['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    assert (
        trained_text(tokenizer, encode(tokenizer, CHAT[:2], 1024, "assistant"))
        == "Honey, of course.\n<|im_end|>"
    )
    assert "What do bees make?" in tokenizer.decode(prompt_ids(tokenizer, CHAT[:1]))


def test_a_template_that_refuses_a_chat_is_one_line_in_training_and_asking(tokenizer, monkeypatch):
    own = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", own + tokenizer.chat_template)
    told = [Message("system", "Be brief."), *CHAT]
    with pytest.raises(Untrainable, match="the chat template refuses it: No system role") as found:
        encode(tokenizer, told, 1024, "assistant")
    assert found.value.reason == "template_error"
    with pytest.raises(UserError, match="No system role"):
        prompt_ids(tokenizer, told[:2])


def test_a_reply_that_the_template_changes_is_never_trained(tokenizer, monkeypatch):
    monkeypatch.setattr(
        tokenizer,
        "chat_template",
        tokenizer.chat_template.replace("message['content']", "(message['content'] | upper)"),
    )
    with pytest.raises(Untrainable, match="does not write reply 1 as it is"):
        encode(tokenizer, CHAT, 1024, "assistant")


def test_a_reply_that_is_part_of_its_own_end_of_turn_is_found(tokenizer):
    chat = [Message("user", "Which word?"), Message("assistant", "end")]
    assert trained_text(tokenizer, encode(tokenizer, chat, 1024, "assistant")) == "end<|im_end|>"


def test_a_long_conversation_is_cut_at_a_token_or_refused_where_the_recipe_says_so(tokenizer):
    whole = encode(tokenizer, CHAT, 1024, "assistant")
    limit = len(whole.ids) - 3
    cut = encode(tokenizer, CHAT, limit, "assistant", too_long="token")
    assert cut.cut and cut.ids == whole.ids[:limit] and cut.trained == whole.trained[:limit]
    with pytest.raises(
        UserError, match=f"{len(whole.ids)} tokens are more than recipe.max_length={limit}"
    ):
        encode(tokenizer, CHAT, limit, "assistant", too_long="refuse")
