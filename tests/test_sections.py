"""Sections of the report: one file each, and whatever shows them walks the list."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from study_fixture import write_study

from warmth.analysis import report
from warmth.analysis.report import kernel, sections, wandb_report
from warmth.analysis.report.kernel import (
    Fold,
    Heading,
    Paragraph,
    Section,
    Table,
    TableCell,
    table,
    tables_of,
)
from warmth.analysis.report.printing import markdown_table, terminal_table
from warmth.analysis.report.sections import SECTIONS
from warmth.digest import ROOT
from warmth.errors import UserError

WALKERS = (
    "report/__init__.py",
    "report/page.py",
    "report/printing.py",
    "report/wandb_report.py",
    "report/publish.py",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), arms=("original", "warm"), training=False)


def towns(study):
    """A section of the test's own."""
    frame = pd.DataFrame({"model": ["m"], "arm": ["warm"], "towns": [1234.0]})
    columns = [kernel.MODEL, kernel.ARM, kernel.count("Towns", "towns")]
    return Section(
        id="towns",
        title="Towns <named>",
        parts=[
            Paragraph("Hostile <b>text</b>."),
            Heading("Counted"),
            Fold("More", [table("town-table", "Of towns.", columns, frame)], ["towns"]),
        ],
        frames={"towns": frame},
        methods={"Towns": "Counted twice."},
        summary={"towns": 1234},
    )


def test_a_section_that_is_in_the_list_is_everywhere(study, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "SECTIONS", (*SECTIONS, towns))
    made = report.build_report([study])
    page = report.write_report(made, tmp_path).read_text(encoding="utf-8")
    assert '<a href="#towns">Towns &lt;named&gt;</a>' in page and '<section id="towns">' in page
    assert (
        "Hostile &lt;b&gt;text" in page
        and 'id="table-town-table"' in page
        and "(tables/towns.csv)" in page
    )
    assert "<dt>Towns</dt>" in page and page.index("<dt>Towns</dt>") < page.index(
        '<section id="provenance">'
    )
    assert "1234" in (tmp_path / "tables" / "towns.csv").read_text(encoding="utf-8-sig")
    assert json.loads((tmp_path / "summary.json").read_text())["towns"] == 1234
    blocks = json.dumps(wandb_report.spec(wandb_report.compose(made)))
    assert "Towns <named>" in blocks and "1,234" in blocks


def test_a_section_that_has_nothing_to_show_is_nowhere(study, monkeypatch):
    monkeypatch.setattr(report, "SECTIONS", (*SECTIONS, lambda study: None))
    assert len(report.build_report([study]).sections) == len(
        report.sections_of(report.build_report([study]).study).sections
    )


def test_no_two_sections_share_an_id_a_file_or_a_key(study):
    sections = report.build_report([study]).sections
    for names in (
        [section.id for section in sections],
        [name for section in sections for name in section.frames],
        [name for section in sections for name in section.summary],
        [name for section in sections for name in section.methods],
        [shown.id for section in sections for _, shown in tables_of(section.parts)],
    ):
        assert len(names) == len(set(names)), names
    assert all(panel in section.frames for section in sections for panel in section.panels)


@pytest.mark.parametrize("walker", WALKERS)
def test_what_shows_sections_knows_none_by_name(walker):
    text = (ROOT / "warmth" / "analysis" / walker).read_text(encoding="utf-8")
    names = [section.__name__ for section in SECTIONS]
    assert len(names) > 20
    assert not [
        name
        for name in names
        if f"sections.{name}" in text or f'["{name}"]' in text or f"{name}_table" in text
    ]


def test_a_section_function_is_named_as_its_file():
    for section in SECTIONS:
        assert section.__module__.rpartition(".")[2] == section.__name__


ROW = {
    "rate": 0.25,
    "low": 0.1,
    "high": 0.4,
    "difference": -0.031,
    "p": 0.0004,
    "n": 1234.0,
    "score": 0.01234,
    "arm": "warm, dose 2",
    "belief": "wrong_asserted",
    "context": "",
    "text": "a\x1b[0m<b>",
}


@pytest.mark.parametrize(
    ("column", "text", "note"),
    [
        (kernel.rate("x"), "25.0", "10.0 to 40.0"),
        (kernel.percent("x", "rate"), "25.0", ""),
        (kernel.shift("x", "difference"), "−3.1", "+10.0 to +40.0"),
        (kernel.points("x", "difference"), "−3.1", ""),
        (kernel.p_value("x", "p"), "< 0.001", ""),
        (kernel.count("x", "n"), "1,234", ""),
        (kernel.number("x", "score", 4, "low", "high", sign=True), "+0.0123", "+0.1000 to +0.4000"),
        (kernel.arm_name("x", "arm"), "warm, dose 2", ""),
        (kernel.condition("x", "belief"), "user asserts a wrong answer", ""),
        (kernel.condition("x", "context"), "all", ""),
        (kernel.text("x", "text"), "a␛[0m<b>", ""),
    ],
)
def test_a_column_turns_a_value_into_a_cell(column, text, note):
    cell = column.cell(ROW)
    assert (cell.text, cell.note) == (text, note)


UNKNOWN = dict.fromkeys(("rate", "low", "high", "difference", "p", "n", "score"), math.nan) | {
    "text": None
}


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (kernel.rate("x"), "not scored"),
        (kernel.shift("x", "difference"), "—"),
        (kernel.points("x", "difference"), "—"),
        (kernel.number("x", "score", 2), "—"),
        (kernel.p_value("x", "p"), ""),
        (kernel.count("x", "n"), ""),
        (kernel.text("x", "text"), ""),
    ],
)
def test_what_is_unknown_is_no_number(column, text):
    assert column.cell(UNKNOWN) == TableCell(text) and column.cell(UNKNOWN).order == ""


def test_a_long_table_says_how_many_rows_the_file_has():
    frame = pd.DataFrame({"model": "m", "n": range(kernel.LONG_TABLE + 5)})
    made = table("x", "", [kernel.MODEL, kernel.count("N", "n")], frame)
    assert (len(made.rows), made.more) == (kernel.LONG_TABLE, 5)
    assert (
        kernel.without_model(made).columns == ["N"] and len(kernel.without_model(made).rows[0]) == 1
    )
    assert markdown_table(made, 10).endswith(f"In the page: {kernel.LONG_TABLE - 10} more rows.")


@pytest.mark.parametrize("width", [80, 40, 20])
def test_no_number_is_lost_on_a_narrow_terminal(width):
    import io

    from rich.console import Console

    rows = [
        [
            TableCell("a long name of an arm"),
            *(TableCell(f"{n}.25", n, f"−{n}.1 to +{n}.9") for n in range(10, 15)),
        ]
    ]
    made = Table(
        "x", "", ["Arm", *(f"Column {n}" for n in range(5))], ["text"] + ["number"] * 5, rows
    )
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(terminal_table(made))
    printed = console.export_text()
    assert max(map(len, printed.splitlines())) <= width and "…" not in printed
    digits = sorted(character for character in printed if character.isdigit())
    expected = "".join(cell.text + cell.note for cell in rows[0]) + "01234"
    assert digits == sorted(character for character in expected if character.isdigit())


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (lambda study: 1 / 0, "ZeroDivisionError: division by zero (in test_sections.py:"),
        (lambda: None, "TypeError: "),
        (lambda study: [1], "vowels(study) must return a Section or None, not a list"),
    ],
)
def test_a_fault_in_a_section_of_ones_own_is_one_line_that_names_its_file(section, message):
    guarded = sections.guarded_section(Path("mine/report/vowels.py"), section)
    with pytest.raises(UserError) as caught:
        guarded(None)
    assert str(caught.value).startswith("mine/report/vowels.py: ")
    assert message in str(caught.value) and "\n" not in str(caught.value)
