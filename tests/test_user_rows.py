"""Rows of a user's file: read whole, and a bad one is named by file, line and field."""

from __future__ import annotations

import pytest

from warmth.errors import UserError
from warmth.user_rows import choice_of, text_of, user_rows

TEXTS = {
    # no newline at the end
    "a.jsonl": '{"id": "1", "text": "x"}\n\n{"id": "2", "text": "a\u2028b"}',
    "a.json": '[{"id": "1", "text": "x"}, {"id": "2", "text": "a\u2028b"}]',
    "a.csv": '\ufeffid,text\n1,x\n2,"a\u2028b"\n',
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_format_gives_every_row_with_its_place(tmp_path, name):
    path = tmp_path / name
    path.write_text(TEXTS[name], encoding="utf-8")
    places, rows = zip(*user_rows(path), strict=True)
    assert rows == ({"id": "1", "text": "x"}, {"id": "2", "text": "a\u2028b"})
    assert all(place.startswith(f"{path} line ") for place in places)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"id": 1}\n{"id": ', r"a\.jsonl line 2: not JSON"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl line 1: not a JSON object"),
        ("a.json", b'{"id": 1}', r"a\.json: not a JSON array of rows"),
        ("a.json", b"[1,\n", r"a\.json line 2: not JSON"),
        ("a.csv", b"id\n1\n", r"a\.csv has no column text; it needs id, text"),
        ("a.csv", b"id,text\n1,\xff\n", r"a\.csv is not UTF-8"),
        ("a.csv", b"id,text\n1,\x00\n", None),
        ("a.txt", b"", r"a\.txt: only \.jsonl, \.json, \.csv files can be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    if said is None:  # a null byte is a byte like others to today's csv module
        assert [row["id"] for _, row in user_rows(path)] == ["1"]
        return
    with pytest.raises(UserError, match=said):
        list(user_rows(path, ["id", "text"]))


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        list(user_rows(tmp_path / "a.jsonl"))
    with pytest.raises(UserError, match="is not a file"):
        list(user_rows(tmp_path))


def test_fields_are_named_with_what_is_allowed():
    assert text_of({"text": " x "}, "text", "f line 1") == " x "
    for row in ({}, {"text": " "}, {"text": 1}):
        with pytest.raises(UserError, match="f line 1: field text must be a text"):
            text_of(row, "text", "f line 1")
    assert choice_of({"warmer": " A "}, "warmer", "f line 1", ("a", "b")) == "a"
    assert choice_of({"warmer": None}, "warmer", "f line 1", ("a", "b")) == ""
    with pytest.raises(UserError, match="f line 1: warmer=c is not allowed; choose one of: a, b"):
        choice_of({"warmer": "c"}, "warmer", "f line 1", ("a", "b"))
