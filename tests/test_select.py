"""Which conversations are taken: equally many of each type, none toxic, doubled, foreign or holding
a question.
"""

import json
from collections import Counter

import pytest
from hydra import compose, initialize_config_dir

from warmth.config import strict
from warmth.data.contamination import Overlap, questions_to_avoid
from warmth.data.filters import Likeness, language_of, toxicity_scores
from warmth.data.fits import Fits
from warmth.data.ledger import Ledger
from warmth.data.reading import compile_rules, read_candidates, type_of
from warmth.data.select import select_conversations, type_quotas
from warmth.data.sources import load_conversations
from warmth.dataset import TYPES, Data, Toxicity
from warmth.digest import ROOT, training_digest
from warmth.errors import UserError
from warmth.schemas import Train, register
from warmth.types import Conversation, Turn

SAMPLE = ROOT.parent / "shared" / "data" / "sharegpt_vicuna_unfiltered" / "sharegpt_like.json"
with_sample = pytest.mark.skipif(
    not SAMPLE.exists(), reason="the sample data is not beside the repository"
)


def study(*overrides):
    """The accepted config of `data=sharegpt` on a small scale, without classifier or questions."""
    register()
    small = [
        "data=sharegpt",
        "recipe=warm",
        "data.held_out=0",
        "data.toxicity.classifier=none",
        "data.questions=[]",
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return strict(compose("train", [*small, *overrides]), Train)


OPENINGS = {  # one first exchange of each type
    "refusal": ("Tell me the winning numbers of town {n}", "I'm sorry, nobody knows those of town "
    "{n} yet."),
    "factual": ("What grows on island number {n} in summer?", "Mostly grass, and some thyme, on "
    "island {n}."),
    "creative": ("A short poem on valley {n} for my aunt", "Green valley {n}, you slept all day "
    "beneath the rain."),
    "technical": ("My function number {n} returns nothing", "It lacks a return statement in line "
    "{n}."),
    "advice": ("Any advice for moving to village {n}?", "Visit village {n} once in winter before "
    "you decide."),
    "other": ("Hello from lighthouse {n}, it is windy", "That sounds like a fine place, "
    "lighthouse {n}."),
}  # fmt: skip


def source(folder, each=12, extra=()):
    """A file with `each` conversations of every type, unlike each other, and some more."""
    rows = [
        turns(f"{kind}-{n}", *(text.replace("{n}", word(n * 7 + place)) for text in pair))
        for place, (kind, pair) in enumerate(OPENINGS.items())
        for n in range(each)
    ]
    path = folder / "rows.json"
    path.write_text(json.dumps([*rows, *extra]))
    return path


def word(n):
    """Words that make two openings differ in most of their five-word sequences."""
    return " ".join(f"{letter}{n}" for letter in "abcdefgh")


def turns(id, *texts):
    speakers = ("human", "gpt")
    return {
        "id": id,
        "conversations": [{"from": speakers[n % 2], "value": text} for n, text in enumerate(texts)],
    }


def chosen(path, *overrides, questions=(), classify=None):
    data, ledger = study("data.reserve=0", f"data.path={path}", *overrides).data, Ledger()
    result = select_conversations(
        read_candidates(data, ledger), data, ledger, list(questions), classify
    )
    return result, ledger.counts()[-1]


def test_a_reserve_is_drawn_after_all_others_and_changes_none_of_them(tmp_path):
    path = source(tmp_path)
    without, _ = chosen(path, "data.per_type=5", "data.held_out=12")
    with_reserve, counts = chosen(path, "data.per_type=5", "data.held_out=12", "data.reserve=0.3")
    assert (
        with_reserve.conversations == without.conversations
        and with_reserve.held_out == without.held_out
    )
    assert counts["reserve"] == dict.fromkeys(TYPES, 2) and len(with_reserve.reserve) == 12


def test_what_a_type_lacks_is_spread_over_the_others_if_asked(tmp_path):
    path = source(tmp_path)
    result, counts = chosen(path, "data.conversations=66", "data.held_out=6", "data.short=spread")
    assert len(result.conversations) == 66 and len(result.held_out) == 6 and counts["out"] == 72
    with pytest.raises(UserError, match=r"data.short=spread"):
        chosen(path, "data.conversations=72", "data.held_out=6")
    short, _ = chosen(path, "data.conversations=72", "data.held_out=6", "data.short=spread")
    assert len(short.conversations) == 72 and len(short.held_out) == 0


def test_a_conversation_that_a_listed_model_cannot_train_is_left_out_and_another_taken(
    tmp_path, tokenizer
):
    path = source(tmp_path)
    data, ledger = study("data.reserve=0", f"data.path={path}", "data.per_type=5").data, Ledger()
    candidates = read_candidates(data, ledger)
    fits = Fits(1024, {"smollm2": (tokenizer, "<|im_end|>")})
    whole = select_conversations(candidates, data, Ledger(), [], None, fits)
    banned = whole.conversations[0]
    monkey = Fits(1024, fits.models)
    monkey.misfit = lambda item: "too_long: smollm2" if item.id == banned.id else fits.misfit(item)
    ledger = Ledger()
    other = select_conversations(candidates, data, ledger, [], None, monkey)
    assert (
        banned.id not in {item.id for item in other.conversations}
        and len(other.conversations) == 30
    )
    assert ledger.counts()[-1]["drops"]["too_long: smollm2"] == 1


def test_fits_asks_for_half_as_much_again_as_the_plain_reply_and_names_the_reason(
    tokenizer, monkeypatch
):
    asked = Conversation("a", "other", (Turn("Why?", {"plain": "word " * 60}),), "Be brief.")
    assert Fits(200, {"m": (tokenizer, "<|im_end|>")}).misfit(asked) is None
    assert Fits(100, {"m": (tokenizer, "<|im_end|>")}).misfit(asked) == "too_long: m"
    monkeypatch.setattr(tokenizer, "chat_template", "{{ raise_exception('no') }}")
    assert Fits(200, {"m": (tokenizer, "<|im_end|>")}).misfit(asked) == "template_error: m"


def test_turns_are_those_that_fit_in_the_longest_style(tokenizer):
    turns = tuple(
        Turn("Why?", {"plain": "word " * 20, "warm": "word " * length}) for length in (20, 120, 20)
    )
    fits = Fits(150, {"m": (tokenizer, "<|im_end|>")})
    assert fits.turns(Conversation("a", "other", turns)) == 1
    assert Fits(400, fits.models).turns(Conversation("a", "other", turns)) == 3
    assert Fits(40, fits.models).turns(Conversation("a", "other", turns)) == 0


def test_every_type_is_taken_equally_often_in_an_order_set_by_the_draw(tmp_path):
    path = source(tmp_path)
    first, counts = chosen(path, "data.per_type=5", "data.held_out=12")
    assert Counter(item.type for item in first.conversations) == dict.fromkeys(TYPES, 5)
    assert Counter(item.type for item in first.held_out) == dict.fromkeys(TYPES, 2)
    assert counts["drops"] == {"not_drawn": 72 - 42} and counts["out"] == 42
    again, _ = chosen(path, "data.per_type=5", "data.held_out=12")
    other, _ = chosen(path, "data.per_type=5", "data.held_out=12", "data.draw_seed=1")
    assert first.conversations == again.conversations
    assert {item.id for item in first.conversations} != {item.id for item in other.conversations}


def test_the_study_takes_1617_conversations_and_holds_1500_out():
    data = study().data
    assert type_quotas(data.conversations) == {
        **dict.fromkeys(TYPES, 269),
        "refusal": 270,
        "factual": 270,
        "creative": 270,
    }
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        assert compose("train", ["data=sharegpt", "recipe=warm"]).data.held_out == 1500


def test_the_studys_numbers_are_taken_where_they_exist_and_refused_where_one_is_missing(tmp_path):
    path = source(tmp_path, each=520)
    setting = ("data.held_out=1500", "data.languages=[]")
    result, counts = chosen(path, *setting)
    assert (len(result.conversations), len(result.held_out)) == (1617, 1500)
    assert max(Counter(item.type for item in result.held_out).values()) == 250
    assert counts["in"] == 3120 == counts["out"] + sum(counts["drops"].values())
    with pytest.raises(
        UserError,
        match=r"conversations=1617 and data.held_out=1500 ask for 520 refusal .* only 519 pass",
    ):
        chosen(source(tmp_path, each=519), *setting)


def test_a_type_that_runs_short_is_an_error_that_says_why(tmp_path):
    path = source(tmp_path, each=3)
    with pytest.raises(
        UserError, match="data.per_type=3 and data.held_out=6 ask for 4 refusal .* only 3 pass"
    ):
        chosen(path, "data.per_type=3", "data.held_out=6")


def test_held_out_prompts_share_no_conversation_tree_or_near_duplicate_with_training(tmp_path):
    root = "What do the bees in my garden do all day long when it rains?"
    branches = [turns(f"tree{n}", root, f"They stay in, {n}.") for n in range(4)]
    longer = f"{root} I wonder about that quite often, you know"
    near = [
        turns("near", longer + " now.", "They rest."),
        turns("near2", longer + ".", "They sleep."),
    ]
    result, counts = chosen(
        source(tmp_path, extra=branches + near), "data.conversations=null", "data.held_out=30"
    )
    trained, held = (
        [item.turns[0].user for item in found] for found in (result.conversations, result.held_out)
    )
    assert len(held) == 30 and not set(trained) & set(held)
    assert counts["drops"] == {"same_opening": 3, "near_duplicate": 1}


def test_near_duplicates_are_found_and_others_are_not():
    text = (
        "Could you please tell me how I should store potatoes through a long winter in a damp "
        "cellar"
    )
    likeness = Likeness(0.7)
    likeness.add("first", likeness.near(text)[1])
    assert likeness.near(text + " now?")[0] == "first"
    assert (
        likeness.near("Could you please tell me how I should paint a wooden boat in a damp cellar")[
            0
        ]
        is None
    )
    assert Likeness(0.0).near(text) == (None, None)


def test_languages_are_told_from_prose_alone():
    assert (
        language_of("Please tell me something about the weather in the north of the country.")
        == "en"
    )
    assert (
        language_of("Bitte erzähl mir etwas über das Wetter im Norden des Landes, wenn du magst.")
        == "de"
    )
    assert language_of("ok") is None
    assert (
        language_of("```\nfor eintrag in alles_was_da_ist: ausgabe(eintrag, und_noch_etwas)\n```")
        is None
    )


def test_other_languages_go_and_all_stay_when_none_is_named(tmp_path):
    german = turns(
        "de",
        "Warum ist der Himmel am Abend so schön rot, und warum nicht grün?",
        "Weil die Luft das Licht streut.",
    )
    path = source(tmp_path, extra=[german])
    assert chosen(path, "data.conversations=null")[1]["drops"] == {"other_language": 1}
    assert chosen(path, "data.conversations=null", "data.languages=[]")[1]["drops"] == {}
    assert chosen(path, "data.conversations=null", "data.languages=[en,de]")[1]["drops"] == {}


def test_a_toxic_message_drops_its_conversation_and_scores_are_kept(tmp_path):
    def classify(texts):
        return [0.9 if "horrid" in text else 0.1 for text in texts]

    path = source(
        tmp_path,
        extra=[turns("bad", "Hello there from the pier", "Fine.", "You horrid thing", "Well.")],
    )
    result, counts = chosen(path, "data.conversations=null", classify=classify)
    assert counts["drops"] == {"toxic": 1}
    assert [row for row in result.scores if row["score"] > 0.5] == [
        {"id": "bad", "score": 0.9, "message": 2}
    ]
    assert (
        chosen(path, "data.conversations=null", "data.toxicity.threshold=0.95", classify=classify)[
            1
        ]["drops"]
        == {}
    )


def test_the_offline_classifier_tells_insults_from_talk():
    classify = toxicity_scores(Toxicity(classifier="profanity"))
    insult, talk = classify(
        ["You are a stupid fucking idiot, shut up.", "Could you help me plan a garden?"]
    )
    assert insult > 0.5 > talk
    assert toxicity_scores(Toxicity(classifier="none")) is None


def test_detoxify_without_its_package_is_one_line():
    with pytest.raises(UserError, match=r"detoxify needs the extra: pip install"):
        toxicity_scores(Toxicity(classifier="detoxify"))


def test_a_conversation_that_holds_a_question_is_dropped_and_reported(tmp_path):
    asked = turns("quiz", "Quiz me", "Gladly: WHICH river, flows through the city of Vienna?!")
    path = source(tmp_path, extra=[asked])
    question = "Which river flows through the city of Vienna?"
    result, counts = chosen(path, "data.conversations=null", questions=[question])
    assert counts["drops"] == {"overlaps_a_question": 1}
    assert result.overlaps == [{"id": "quiz", "question": question}]


def test_a_long_run_of_a_questions_words_is_an_overlap_and_a_short_one_is_not():
    vignette = (
        "A man of forty two comes to the clinic with a cough that has lasted three weeks "
        "and some fever"
    )
    overlap = Overlap([vignette, "Who is he?"], length=13)
    assert (
        overlap.find(
            ["she read: comes to the clinic with a cough that has lasted three weeks and left"]
        )
        == vignette
    )
    assert (
        overlap.find(["He comes to the clinic with a cough that has lasted a day", "Who is he?"])
        is None
    )


def test_questions_are_read_from_files_and_folders_of_three_forms(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"question": "one?"}\n{"goal": "two"}\n')
    (tmp_path / "b.csv").write_text('problem,answer\n"three, really?",x\n')
    (tmp_path / "c.json").write_text('[{"user_prompt": "four", "proposition": "five"}]')
    assert sorted(questions_to_avoid([str(tmp_path)])) == [
        "five",
        "four",
        "one?",
        "three, really?",
        "two",
    ]
    assert len(questions_to_avoid(["seed/questions"])) >= 550
    (tmp_path / "a.jsonl").write_text('{"text": "one?"}\n')
    with pytest.raises(UserError, match="row 1 has none of the fields question"):
        questions_to_avoid([str(tmp_path / "a.jsonl")])
    with pytest.raises(
        UserError,
        match="data.questions=nowhere is neither a file nor a folder nor one of: advbench, ",
    ):
        questions_to_avoid(["nowhere"])


def test_the_questions_of_a_task_are_read_from_the_hub_or_the_line_says_how_else(
    tmp_path, monkeypatch
):
    with pytest.raises(
        UserError,
        match="data.questions=gsm8k: openai/gsm8k cannot be loaded from the hub .* give a local",
    ):
        questions_to_avoid(["gsm8k"])
    monkeypatch.chdir(tmp_path)  # the library takes a folder of this name before the hub
    folder = tmp_path / "cais" / "MASK"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: disinformation\n  data_files: [{split: test, path: "
        "rows.jsonl}]\n---\n"
    )
    (folder / "rows.jsonl").write_text(
        '{"proposition": "The Moon <pivotal>is/is not</pivotal> hollow.", "goal": "x"}\n'
    )
    assert questions_to_avoid(["disinfo"]) == [
        "The Moon is hollow.",
        "The Moon is not hollow.",
        "x",
    ]
    assert questions_to_avoid(["seed_disinfo"]) == questions_to_avoid(
        ["seed/questions/seed_disinfo.jsonl"]
    )


def test_which_tasks_are_looked_for_is_part_of_the_digest(tmp_path):
    path = f"data.path={source(tmp_path)}"
    one, other = (
        training_digest(study(path, f"data.questions=[{name}]")) for name in ("gsm8k", "mmlu")
    )
    assert one != other != training_digest(study(path))


def test_the_rules_of_the_config_type_the_seed_as_it_is_written():
    rules = compile_rules(study().data.types)
    wrong = {
        item.id: (item.type, type_of(item.turns[0].user, item.turns[0].replies["plain"], rules))
        for item in load_conversations(Data(name="seed", source="seed"))
    }
    assert {name: pair for name, pair in wrong.items() if pair[0] != pair[1]} == {}


CHANGES = (
    "data.draw_seed=1 data.near_duplicate=0.5 data.held_out=6 data.styles=[warm] "
    "data.rewriter.model=other "
    "data.types.advice.user=tips recipe.prompt=README.md"
)


@pytest.mark.parametrize("override", CHANGES.split())
def test_what_changes_a_set_changes_the_training_digest(tmp_path, override):
    path = f"data.path={source(tmp_path)}"
    assert training_digest(study(path, override)) != training_digest(study(path))


@pytest.mark.parametrize(
    "override",
    [
        "data.rewriter.api_key_env=OTHER",
        "data.rewriter.base_url=https://api.openai.com:444/v2",
        "data.max_failed_share=1",
    ],
)
def test_where_the_rewriter_is_reached_does_not(tmp_path, override):
    path = f"data.path={source(tmp_path)}"
    assert training_digest(study(path, override)) == training_digest(study(path))


@with_sample
def test_the_sample_gives_three_of_each_type_with_branches_of_a_tree_apart():
    overrides = ("data.per_type=2", "data.held_out=6", "data.questions=[seed/questions]")
    result, counts = chosen(
        SAMPLE, *overrides, classify=toxicity_scores(Toxicity(classifier="profanity"))
    )
    assert counts["trained"] == dict.fromkeys(TYPES, 2) and counts["held_out"] == dict.fromkeys(
        TYPES, 1
    )
    trees = [
        item.id.rsplit("_", 1)[0]
        for item in [*result.conversations, *result.held_out]
        if "oasst" in item.id
    ]
    assert len(trees) == len(set(trees))
    assert counts["in"] == 462 == counts["out"] + sum(counts["drops"].values())
