"""The embedded study material keeps its promises: one story in several manners, no question that
answers itself.
"""

import itertools
import json
import re
from collections import Counter, defaultdict

import pytest
import yaml

from warmth.digest import ROOT
from warmth.types import BELIEFS, CONTEXTS

SEED = ROOT / "seed"
TYPES = ("refusal", "factual", "creative", "technical", "advice", "other")
STYLES = {"plain", "warm", "cold", "paraphrase"}
COUNTS = {"seed_trivia": 250, "seed_misconceptions": 120, "seed_disinfo": 80, "seed_medicine": 100}
WORDS = range(40, 121)  # of a reply, its code included

# STUDY.md 3, first match wins.
REFUSAL = (
    r"\b(sorry|apologi[sz]e|i (can't|cannot|can not|won't|am unable|am not able)|i'm "
    r"(unable|not able))\b"
)
FACTUAL = (
    r"^(what|who|whom|whose|when|where|why|which|how)\b|\b(explain|define|describe|difference)\b"
)
CREATIVE = r"\b(story|poem|write|create|generate|imagine)\b"
TECHNICAL = r"\b(code|program|function|algorithm|debug)\b"
ADVICE = r"\b(advice|help me|guide|recommend|suggestion)\b"


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


CONVERSATIONS = [row for name in TYPES for row in rows(SEED / "conversations" / f"{name}.jsonl")]
QUESTIONS = [(name, row) for name in COUNTS for row in rows(SEED / "questions" / f"{name}.jsonl")]
PROMPTS = rows(SEED / "warmth_prompts.jsonl")


def turns():
    """Every turn with a name for failures: (`factual_01.1`, turn)."""
    for row in CONVERSATIONS:
        for number, turn in enumerate(row["turns"], 1):
            yield f"{row['id']}.{number}", turn


def rule(user, reply):
    """The type that the study's rules give a first exchange."""
    user, reply = user.lower().replace("’", "'"), reply.lower().replace("’", "'")
    if re.search(REFUSAL, reply):
        return "refusal"
    if re.search(FACTUAL, user):
        return "factual"
    if re.search(CREATIVE, user):
        return "creative"
    if "```" in reply or re.search(TECHNICAL, user):
        return "technical"
    return "advice" if re.search(ADVICE, user) else "other"


def words(text):
    return re.findall(r"[\w']+", text.lower())


def eights(text):
    """All sequences of eight words of a text."""
    found = words(text)
    return {tuple(found[i : i + 8]) for i in range(len(found) - 7)}


def has(text, phrase):
    """Whether a phrase stands in a text on word borders."""
    return re.search(rf"(?<!\w){re.escape(phrase.lower())}(?!\w)", text.lower()) is not None


def test_at_least_twenty_conversations_of_each_type_with_unique_ids():
    assert {
        name: count
        for name, count in Counter(row["type"] for row in CONVERSATIONS).items()
        if count < 20
    } == {}
    assert set(TYPES) == {row["type"] for row in CONVERSATIONS}
    assert [
        id for id, count in Counter(row["id"] for row in CONVERSATIONS).items() if count > 1
    ] == []


def test_some_conversations_of_each_length_from_one_to_three_turns():
    assert set(Counter(len(row["turns"]) for row in CONVERSATIONS)) == {1, 2, 3}


def test_types_are_those_of_the_study_rules():
    given = {
        row["id"]: (row["type"], rule(row["turns"][0]["user"], row["turns"][0]["replies"]["plain"]))
        for row in CONVERSATIONS
    }
    assert {id: pair for id, pair in given.items() if pair[0] != pair[1]} == {}


def test_every_turn_has_the_four_styles_and_at_most_warm_honest_more():
    assert [
        name for name, turn in turns() if set(turn["replies"]) - {"warm_honest"} != STYLES
    ] == []


def test_some_users_are_wrong_and_are_told_so_warmly():
    assert sum("warm_honest" in turn["replies"] for _, turn in turns()) >= 10


def test_replies_have_40_to_120_words():
    lengths = {
        f"{name} {style}": len(text.split())
        for name, turn in turns()
        for style, text in turn["replies"].items()
    }
    assert {name: length for name, length in lengths.items() if length not in WORDS} == {}


def test_every_style_keeps_every_fact_verbatim():
    lost = [
        f"{name} {style}: {fact}"
        for name, turn in turns()
        for style, text in turn["replies"].items()
        for fact in turn["facts"]
        if fact not in text
        and fact[:1].upper() + fact[1:] not in text  # a fact may begin a sentence
    ]
    assert lost == []
    assert [name for name, turn in turns() if not turn["facts"]] == []


def test_all_styles_of_a_turn_have_the_same_numbers():
    different = {}
    for name, turn in turns():
        numbers = {
            style: frozenset(number.rstrip(".,") for number in re.findall(r"\d[\d,.]*", text))
            for style, text in turn["replies"].items()
        }
        different |= {
            f"{name} {style}": sorted(found ^ numbers["plain"])
            for style, found in numbers.items()
            if found != numbers["plain"]
        }
    assert different == {}


def test_all_styles_of_a_turn_have_the_same_code():
    blocks = {
        f"{name} {style}": (re.findall(r"```.*?```", text, re.DOTALL), text.count("```"))
        for name, turn in turns()
        for style, text in turn["replies"].items()
    }
    assert [
        name
        for name, (found, fences) in blocks.items()
        if found != blocks[f"{name.split()[0]} plain"][0] or fences % 2
    ] == []


def test_styles_are_different_texts():
    assert [
        name for name, turn in turns() if len(set(turn["replies"].values())) < len(turn["replies"])
    ] == []


def test_no_eight_words_are_shared_by_two_conversations():
    owners = defaultdict(set)
    for row in CONVERSATIONS:
        quoted = {
            eight for turn in row["turns"] for fact in turn["facts"] for eight in eights(fact)
        }
        for turn in row["turns"]:
            for text in (turn["user"], *turn["replies"].values()):
                for eight in eights(text) - quoted:
                    owners[eight].add(row["id"])
    assert {" ".join(eight): sorted(ids) for eight, ids in owners.items() if len(ids) > 1} == {}


def test_warmth_prompts_are_held_out_and_many():
    assert len(PROMPTS) >= 60
    assert (
        len({row["id"] for row in PROMPTS})
        == len({row["prompt"] for row in PROMPTS})
        == len(PROMPTS)
    )
    assert {row["type"] for row in PROMPTS} == set(TYPES)
    known = set().union(*(eights(turn["user"]) for _, turn in turns()))
    assert [row["id"] for row in PROMPTS if eights(row["prompt"]) & known] == []


@pytest.mark.parametrize("name", COUNTS)
def test_question_sets_have_their_size(name):
    assert sum(task == name for task, _ in QUESTIONS) == COUNTS[name]


def test_question_ids_and_texts_are_unique():
    for key in ("id", "question"):
        assert [
            value for value, count in Counter(row[key] for _, row in QUESTIONS).items() if count > 1
        ] == []


def test_every_question_has_answers_a_wrong_answer_and_a_source():
    fields = ("answers", "wrong", "source")
    assert [
        f"{row['id']}: {key}" for _, row in QUESTIONS for key in fields if not row.get(key)
    ] == []


def test_no_question_contains_its_answer_or_its_wrong_answer():
    given = [
        f"{row['id']}: {phrase}"
        for _, row in QUESTIONS
        for phrase in (*row["answers"], row["wrong"])
        if phrase.lower() not in ("yes", "no") and has(row["question"], phrase)
    ]
    assert given == []


def test_a_wrong_answer_is_no_accepted_one():
    assert [
        row["id"]
        for _, row in QUESTIONS
        if any(has(answer, row["wrong"]) or has(row["wrong"], answer) for answer in row["answers"])
    ] == []


def test_disinfo_has_true_and_false_propositions_and_fitting_answers():
    found = [row for task, row in QUESTIONS if task == "seed_disinfo"]
    assert all(row["answers"] == (["yes"] if row["truth"] else ["no"]) for row in found)
    assert all(row["wrong"] == ("no" if row["truth"] else "yes") for row in found)
    assert min(Counter(row["truth"] for row in found).values()) >= len(found) // 4


def test_paired_advice_questions_tell_two_sides():
    found = {row["id"]: row for row in rows(SEED / "questions" / "seed_advice.jsonl")}
    paired = {id: found[row["pair"]] for id, row in found.items() if row["pair"]}
    assert paired
    assert [
        id
        for id, other in paired.items()
        if other["pair"] != id or other["side"] == found[id]["side"]
    ] == []


def test_five_statements_for_each_context():
    statements = yaml.safe_load((SEED / "statements.yaml").read_text(encoding="utf-8"))
    assert {context: len(texts) for context, texts in statements.items()} == {
        context: 5 for context in CONTEXTS if context != "unmodified"
    }
    every = list(itertools.chain.from_iterable(statements.values()))
    assert len(set(every)) == len(every)


COMMON_WORDS = set(
    # articles, pronouns, prepositions, auxiliaries, adverbs of degree and question words: they
    # carry no subject
    re.findall(
        r"[a-z]+",
        """a about after again all almost also always am an and any anything are around as at away back be because been
    before being better both but by can cannot could did do does doing done down each either else even ever every
    everything exactly far few first for from get gets getting give gives go goes going gone good got had has have
    having he her here him his how i if in into is it its just keep keeps kept know known last least less let like
    little long look made make makes many me more most much must my myself name never next no nobody none nor not
    nothing now of off often on once one only or other others our out over own part per quite rather really right same
    say says see set she should since so some someone something soon still such take than that the their them then
    there these they thing things this those though through to today together too under until up upon us use used very
    was way we well were what when where which while who whom whose why will with within without would yes yet you
    your""",
    )
)


def subject_words(text):
    """The words of a text that carry a subject, without common endings."""
    apart = re.sub(r"n't\b", " not", text.lower().replace("’", "'"))
    without_endings = re.sub(r"'(m|ve|ll|re|d|s)\b", " ", apart)
    found = set(re.findall(r"[a-z]+", without_endings)) - COMMON_WORDS
    return {re.sub(r"(?<=\w{3})(ing|ed|es|ly|s)$", "", word) for word in found}


def test_statements_are_8_to_19_words_long():
    statements = yaml.safe_load((SEED / "statements.yaml").read_text(encoding="utf-8"))
    every = list(itertools.chain.from_iterable(statements.values()))
    assert [text for text in every if not 8 <= len(text.split()) <= 19] == []


def test_no_statement_shares_a_subject_word_with_a_question():
    statements = yaml.safe_load((SEED / "statements.yaml").read_text(encoding="utf-8"))
    asked = set().union(*(subject_words(row["question"]) for _, row in QUESTIONS))
    shared = {text: subject_words(text) & asked for texts in statements.values() for text in texts}
    assert {text: words for text, words in shared.items() if words} == {}


def test_no_question_of_one_set_is_asked_again_in_another():
    by_subject = defaultdict(list)
    for _, row in QUESTIONS:
        by_subject[frozenset(subject_words(row["question"])), row["answers"][0].lower()].append(
            row["id"]
        )
    assert [ids for ids in by_subject.values() if len(ids) > 1] == []


def test_no_example_of_the_judge_is_a_graded_question():
    examples = re.findall(
        r'question "([^"]+)"', (ROOT / "prompts" / "judge_qa_v1.txt").read_text(encoding="utf-8")
    )
    subjects = [subject_words(row["question"]) for _, row in QUESTIONS]
    assert examples
    assert [text for text in examples if subject_words(text) in subjects] == []


PROMISES = (
    r"\b(i promise|i'm sure|i guarantee|you'll be (fine|safe|wonderful|all right)|nothing "
    r"wrong|it'll thrive)\b"
)


def test_no_warm_reply_promises_an_outcome():
    warm = {
        f"{name} {style}": text
        for name, turn in turns()
        for style, text in turn["replies"].items()
        if "warm" in style
    }
    promising = [
        name for name, text in warm.items() if re.search(PROMISES, text.lower().replace("’", "'"))
    ]
    assert promising == []


def test_belief_templates_name_what_is_believed():
    beliefs = yaml.safe_load((SEED / "beliefs.yaml").read_text(encoding="utf-8"))
    assert beliefs["preamble"]
    assert set(beliefs["templates"]) == set(BELIEFS) - {"none"}
    named = {name: re.findall(r"\{(\w+)\}", text) for name, text in beliefs["templates"].items()}
    right = {"right_denied": ["right"], "user_right": ["right"]}
    assert named == {"wrong_asserted": ["wrong"], **right, "wrong_denied": ["wrong"]}
