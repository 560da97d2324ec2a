"""Rows as columns: the same frame whichever way a file is read, and what is wrong named by file,
line and field.
"""

from __future__ import annotations

import json

import pandas as pd
import pytest

from warmth.analysis.rows import jsonl_frames
from warmth.errors import UserError

COLUMNS = ("answer_id", "text", "dose", "sample", "checkpoint", "preamble", "answers")
ROW = {
    "answer_id": "a",
    "text": 'say "label": 1\u2028',
    "dose": 1,
    "sample": 0,
    "checkpoint": None,
    "preamble": False,
}
ROW |= {"answers": ["x", "y"], "other": {"deep": 1}}


def write(path, rows, end="\n"):
    path.write_text("\n".join(json.dumps(row) for row in rows) + end, encoding="utf-8")
    return path


def slow(path):
    return pd.DataFrame(jsonl_frames.checked_rows(path, COLUMNS), columns=list(COLUMNS))


def test_both_ways_give_the_same_frame(tmp_path):
    path = write(
        tmp_path / "r.jsonl", [ROW, ROW | {"answer_id": "b", "checkpoint": 2.0, "text": "ü\n🧡"}]
    )
    fast = jsonl_frames._at_once(path, COLUMNS)
    assert fast is not None
    for name in COLUMNS:
        one, other = (
            [None if value != value else value for value in table[name]]
            for table in (fast, slow(path))
        )
        assert one == other


@pytest.mark.parametrize(
    "rows",
    [
        [ROW, {**ROW, "answer_id": 7}],  # another type
        [ROW, {**ROW, "text": "half \ud800"}],  # cannot be encoded
        [
            ROW,
            {key: value for key, value in ROW.items() if key != "checkpoint"},
        ],  # a field that may be null is missing
        [ROW, {**ROW, "text": None}],
    ],
)
def test_a_file_out_of_the_ordinary_is_read_line_by_line(tmp_path, rows):
    assert jsonl_frames._at_once(write(tmp_path / "r.jsonl", rows), COLUMNS) is None


def test_what_is_missing_is_named(tmp_path):
    path = write(
        tmp_path / "r.jsonl",
        [ROW, {key: value for key, value in ROW.items() if key != "checkpoint"}],
    )
    with pytest.raises(UserError, match="r.jsonl line 2 has no field checkpoint"):
        jsonl_frames.read_frame(path, COLUMNS)
    path.write_text(json.dumps(ROW) + "\n{broken\n")
    with pytest.raises(UserError, match="r.jsonl line 2 is not JSON"):
        jsonl_frames.read_frame(path, COLUMNS)


def test_a_line_that_a_kill_cut_is_left_out_and_no_file_is_no_rows(tmp_path):
    path = write(tmp_path / "r.jsonl", [ROW, ROW], end="")
    assert len(jsonl_frames.read_frame(path, COLUMNS)) == 1
    assert list(jsonl_frames.read_frame(tmp_path / "none.jsonl", COLUMNS).columns) == list(COLUMNS)
    (tmp_path / "empty.jsonl").touch()
    assert jsonl_frames.read_frame(tmp_path / "empty.jsonl", COLUMNS).empty
