"""Text that is not ours is shown, never obeyed: on a terminal, in a sheet, on a page."""

from __future__ import annotations

import csv
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmth.analysis import wording
from warmth.analysis.rows import tables
from warmth.text import line, sheet_cell, visible, write_sheet

FORMULAS = ["=1+1", " =1+1", "\r=1+1", "\t=1", "-0.5 is it", "+1", "@SUM(A1)", "  @x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_is_a_formula_in_a_sheet(text):
    assert sheet_cell(text).startswith("'")


@given(st.text())
def test_every_writer_gives_a_cell_that_neither_calculates_nor_moves_a_cursor(text):
    cell = sheet_cell(text)
    assert tables.neutral(text) == cell
    assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))
    assert not any(ord(char) < 32 and char not in "\t\n" for char in cell) and "\x1b" not in cell


def test_numbers_stay_numbers_and_what_is_unknown_is_empty(tmp_path):
    write_sheet(tmp_path / "x.csv", ["a", "=b"], [[-0.5, None], [math.nan, "plain"]])
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as stream:
        assert list(csv.reader(stream)) == [["a", "'=b"], ["-0.5", ""], ["", "plain"]]


@given(st.text())
def test_a_line_is_one_line(text):
    assert "\n" not in line(text) and "\r" not in line(text)


def test_control_and_direction_characters_are_pictures():
    assert (
        visible("a\x1b[31mb\x00\u202ec\ud800")
        == "a␛[31mb␀\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}"
    )
    assert wording.visible is visible and visible("abcdef", 4) == "abc…"
