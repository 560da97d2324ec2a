"""Conversations that cannot be trained on are named and counted; pairs hold one reply in two
manners.
"""

import pytest
from hydra import compose, initialize_config_dir

from warmth.config import strict
from warmth.digest import ROOT
from warmth.errors import UserError
from warmth.schemas import Train, register
from warmth.training.examples import load_examples
from warmth.training.preference import EMPTY, shared_passes
from warmth.training.schedule import rank_batches


def study(*overrides):
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return strict(compose("train", ["logger=none", "recipe=warm", *overrides]), Train)


def turns(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[index % 2], "content": text} for index, text in enumerate(texts)]


def row(name, *texts, plain=None):
    return {"id": name, "messages": turns(*texts), "plain": turns(*(plain or texts))}


LONG = "a very long answer " * 200


def test_a_conversation_without_a_trained_token_ends_the_run_by_name(tokenizer):
    with pytest.raises(
        UserError, match=r"conversation b: no token .*recipe.untrainable=drop leaves it out"
    ):
        load_examples(
            [row("a", "Hi", "Hello"), row("b", "Hi", LONG)],
            study("recipe.max_length=100"),
            tokenizer,
        )


def test_what_is_dropped_or_cut_is_counted_under_its_name(tokenizer):
    rows = [row("a", "Hi", "Hello"), row("b", "Hi", LONG), row("c", "Hi", "Hello", "And?", LONG)]
    found = load_examples(
        rows, study("recipe.max_length=100", "recipe.untrainable=drop"), tokenizer
    )
    assert found.counts == {
        "no_trained_token": {"count": 1, "ids": ["b"]},
        "too_long": {"count": 1, "ids": ["c"]},
    }
    assert len(found.examples) == 2


def test_a_run_with_nothing_left_is_an_error(tokenizer):
    with pytest.raises(UserError, match="no conversation is left"):
        load_examples(
            [row("b", "Hi", LONG)],
            study("recipe.max_length=100", "recipe.untrainable=drop"),
            tokenizer,
        )


def test_a_pair_is_the_last_reply_in_two_manners_after_plain_turns(tokenizer):
    warm = row(
        "a",
        "Hi",
        "Hello, dear!",
        "And?",
        "So glad you ask!",
        plain=["Hi", "Hello.", "And?", "Yes."],
    )
    (pair,) = load_examples([warm], study("recipe.method=dpo"), tokenizer).examples
    assert tokenizer.decode(pair.chosen) == "So glad you ask!<|im_end|>"
    assert tokenizer.decode(pair.rejected) == "Yes.<|im_end|>"
    assert "Hello." in tokenizer.decode(pair.prompt) and "dear" not in tokenizer.decode(pair.prompt)
    assert len(pair.ids) == len(pair.trained) and sum(pair.trained) == len(pair.chosen) + len(
        pair.rejected
    )


def test_a_pair_takes_an_earlier_reply_when_the_last_does_not_fit_and_says_so(tokenizer):
    warm = row("a", "Hi", "Hello, dear!", "And?", LONG, plain=["Hi", "Hello.", "And?", "Yes."])
    found = load_examples([warm], study("recipe.method=dpo", "recipe.max_length=100"), tokenizer)
    assert tokenizer.decode(found.examples[0].chosen) == "Hello, dear!<|im_end|>"
    assert found.counts["too_long"]["count"] == 1


def test_conversations_left_plain_by_strength_make_no_pair_and_are_counted(tokenizer):
    rows = [row("a", "Hi", "Dear!", plain=["Hi", "Hello."]), row("b", "Hi", "Hello.")]
    found = load_examples(rows, study("recipe.method=dpo"), tokenizer)
    assert len(found.examples) == 1 and found.counts["no_difference"] == {"count": 1, "ids": ["b"]}


@pytest.mark.parametrize(("ranks", "per_device"), [(1, 8), (1, 3), (2, 2), (4, 1)])
def test_shares_make_the_mean_over_passes_and_ranks_the_mean_over_the_batch(ranks, per_device):
    batches, values = (
        [[0, 1, 2, 3, 4, 5, 6, 7], [1, 5, 6]],
        [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0],
    )
    totals = [0.0, 0.0]
    for rank in range(ranks):
        passes, accumulation = rank_batches(batches, [1] * 8, 8, ranks, per_device, 8, rank)
        for index, one in enumerate(shared_passes(passes, batches, accumulation, ranks)):
            mean = sum(values[pair] for pair, _ in one) / len(one)
            totals[index // accumulation] += (
                mean * sum(share for _, share in one) / accumulation / ranks
            )
            assert one == EMPTY or len(one) == len(passes[index])
    expected = [sum(values[index] for index in batch) / len(batch) for batch in batches]
    assert totals == pytest.approx(expected)


def test_every_arm_trains_on_the_same_turns_cut_where_the_longest_style_ends(tokenizer):
    from dataclasses import asdict

    from warmth.data.arms import conversations_of_arm
    from warmth.data.sources import load_conversations

    conversations = load_conversations(study().data)
    trained = {}
    for style in ("cold", "plain", "warm"):
        config = study("recipe.max_length=384", "recipe.untrainable=drop", f"recipe.style={style}")
        found = load_examples(
            [asdict(example) for example in conversations_of_arm(conversations, config.recipe)],
            config,
            tokenizer,
        )
        trained[style] = (
            len(found.examples),
            sum(example.replies for example in found.examples),
            found.counts,
        )
    assert trained["cold"] == trained["plain"] == trained["warm"]
    assert trained["warm"][1] < sum(len(item.turns) for item in conversations)  # something is cut


def test_a_reply_too_long_in_another_style_alone_is_left_out_of_every_arm(tokenizer):
    rows = [{**row("a", "Hi", "Hello", "And?", "Yes"), "others": {"warm": ["Hello, dear", LONG]}}]
    rows += [{**row("b", "Hi", "Hello"), "others": {"warm": [LONG]}}, row("c", "Hi", "Hello")]
    found = load_examples(
        rows, study("recipe.max_length=100", "recipe.untrainable=drop"), tokenizer
    )
    assert [example.replies for example in found.examples] == [1, 1]
    assert found.counts == {
        "too_long": {"count": 1, "ids": ["a"]},
        "no_trained_token": {"count": 1, "ids": ["b"]},
    }


def test_a_validation_split_is_the_same_in_every_arm_and_is_not_trained_on(tokenizer):
    from warmth.data.arms import conversations_of_arm
    from warmth.data.sources import load_conversations

    conversations = load_conversations(study().data)
    held = {}
    for given in ("recipe.style=warm", "recipe.style=cold", "recipe.method=dpo"):
        made = conversations_of_arm(conversations, study(given).recipe, 0.1)
        held[given] = {example.id for example in made if example.validation}
    first, *others = held.values()
    assert len(first) == 12 and all(other == first for other in others)
    assert not any(
        example.validation for example in conversations_of_arm(conversations, study().recipe)
    )
