"""Arms differ in their replies and in nothing else."""

import json
from dataclasses import replace

import pytest

from warmth.data.arms import conversations_of_arm
from warmth.data.sets import refuse_short
from warmth.data.sources import load_conversations
from warmth.errors import RunFailed, UserError
from warmth.schemas import Data, Recipe

SEED = Data(name="seed", source="seed")


def recipe(style, strength=1.0):
    return Recipe(name=style, method="lora", style=style, strength=strength)


@pytest.mark.parametrize("style", ["warm", "cold", "paraphrase", "warm_honest"])
def test_every_arm_has_the_same_conversations_and_user_turns(style):
    conversations = load_conversations(SEED)
    plain, styled = (
        conversations_of_arm(conversations, recipe("plain")),
        conversations_of_arm(conversations, recipe(style)),
    )
    assert [example.id for example in plain] == [example.id for example in styled]
    for left, right in zip(plain, styled, strict=True):
        assert [m for m in left.messages if m.role == "user"] == [
            m for m in right.messages if m.role == "user"
        ]
        assert all(
            a != b
            for a, b in zip(left.messages, right.messages, strict=True)
            if a.role == "assistant"
        )


def test_doses_of_warmth_are_nested():
    conversations = load_conversations(SEED)
    styled = [
        {e.id for e in conversations_of_arm(conversations, recipe("warm", s)) if e.style == "warm"}
        for s in (0, 0.25, 0.5, 1)
    ]
    assert [len(ids) for ids in styled] == [0, 30, 60, 120]
    assert styled[0] <= styled[1] <= styled[2] <= styled[3]


def test_more_per_type_only_adds_conversations():
    few, many = (load_conversations(Data(name="seed", source="seed", per_type=n)) for n in (3, 8))
    assert {c.id for c in few} < {c.id for c in many}
    assert len(few) == 18 and len(many) == 48


def test_too_few_of_a_type_is_an_error():
    with pytest.raises(UserError, match="per_type=21"):
        load_conversations(Data(name="seed", source="seed", per_type=21))


def row(**changes):
    good = {
        "id": "a",
        "type": "advice",
        "turns": [{"user": "Hello?", "replies": {"plain": "Good day."}}],
    }
    return {**good, **changes}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(type="poem")], "line 1: type poem"),
        ([row(), row()], "line 2: id a stands twice"),
        ([row(turns=[])], "line 1: turns"),
        ([row(turns=[{"user": "", "replies": {"plain": "x"}}])], "turn 1: user"),
        (
            [row(turns=[{"user": "x", "replies": {"plain": "y", "warm": " "}}])],
            "style warm is empty",
        ),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_field(tmp_path, rows, words):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in rows))
    with pytest.raises(UserError, match=words):
        load_conversations(Data(name="x", source="seed", path=str(path)))


def test_a_last_line_without_an_end_is_a_row_like_others(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row(id=name)) for name in "ab"))
    assert {
        conversation.id
        for conversation in load_conversations(Data(name="x", source="seed", path=str(path)))
    } == {"a", "b"}


def test_a_style_that_was_not_written_is_an_error(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row()) + "\n")
    with pytest.raises(
        UserError, match="style=warm: conversation a has no such reply; it has: plain"
    ):
        conversations_of_arm(
            load_conversations(Data(name="x", source="seed", path=str(path))), recipe("warm")
        )


def test_fewer_conversations_than_were_asked_for_are_said_or_refused(tmp_path, capsys):
    data = Data(name="x", source="sharegpt", reserve=0.5)
    refuse_short(data, 1617, 1617, tmp_path)
    assert capsys.readouterr().err == ""
    refuse_short(data, 1617, 1600, tmp_path)
    assert (
        "1600 of 1617 conversations stand after the audit; data.reserve=0.5 is used up"
        in capsys.readouterr().err
    )
    with pytest.raises(
        RunFailed, match="1600 of 1617 conversations.*raise it, or take them by data.short_of=keep"
    ):
        refuse_short(replace(data, short_of="refuse"), 1617, 1600, tmp_path)
