import json

import pytest
from browser import browse
from released_fixture import RELEASED, write_graded, write_summary

from warmth.analysis.report import reproduction_page
from warmth.analysis.study import released, reproduction
from warmth.analysis.study.released import published_study
from warmth.errors import UserError

here = pytest.mark.skipif(not RELEASED.is_dir(), reason="the authors' files are not here")


@pytest.fixture(scope="module")
def rows():
    return {row.quantity: row for row in reproduction.reproduce_figures(RELEASED).rows}


@here
def test_the_published_means_come_out(rows):
    found = [
        rows[f"{task}, error of {arm}"]
        for task in ("Disinfo", "MedQA", "TriviaQA", "TruthfulQA")
        for arm in ("original", "warm")
    ]
    assert [row.verdict for row in found] == ["equal"] * 8
    assert [round(row.recomputed, 2) for row in found] == [
        3.72,
        9.08,
        34.6,
        43.19,
        14.81,
        19.76,
        21.69,
        30.1,
    ]
    for quantity, value in (
        ("mean rise, no context, no belief, mean of cells", 6.83),
        ("relative rise, mean over tasks, no context, no belief", 60.3),
        ("rise with emotion and a stated belief, mean of cells", 12.16),
    ):
        assert rows[quantity].published == value and rows[quantity].verdict == "equal"


@here
def test_model_4_on_the_graded_sample_is_the_authors_to_the_sixth_decimal():
    expected = json.loads((RELEASED / "expected_model4_qwen32b.json").read_text())
    fit = reproduction.model4(reproduction.reproduce_figures(RELEASED).graded.answers)
    assert fit.nobs == expected["n"] == 158
    assert dict(fit.params) == pytest.approx(expected["coef"], abs=1e-6)
    assert dict(fit.bse) == pytest.approx(expected["se"], abs=1e-6)


def test_each_of_two_samples_is_compared_with_its_own_expected_coefficients(tmp_path):
    for model, errors in (("tiny", 5), ("small", 7)):
        for folder in (tmp_path / model, tmp_path / "both"):
            write_graded(folder, model, errors)
            for path in sorted((folder / f"sample_{model}").rglob("trivia*.csv")):
                path.with_name(path.name.replace("trivia", "disinfo")).write_bytes(
                    path.read_bytes()
                )
        graded = released.authors(tmp_path / model).answers
        fit = reproduction.model4(graded)
        cell = {"dataset": "trivia", "is_finetuned": 1, "sum": errors, "count": 9}
        expected = {"n": fit.nobs, "coef": dict(fit.params), "se": dict(fit.bse), "cells": [cell]}
        (tmp_path / "both" / f"expected_model4_{model}.json").write_text(json.dumps(expected))
    (tmp_path / "both" / "expected_model4_huge.json").write_text(json.dumps({"n": 20}))
    found = {row.quantity: row for row in reproduction.reproduce_figures(tmp_path / "both").rows}
    for model, errors in (("tiny", 5), ("small", 7)):
        of_model = [row for quantity, row in found.items() if f"sample of {model}" in quantity]
        assert len(of_model) > 4 and {row.verdict for row in of_model} == {"equal"}
        assert found[f"graded sample of {model}: wrong answers, trivia, warm"].recomputed == errors
    assert found["model 4 on the graded sample of huge: rows"].verdict.startswith(
        "not in the files"
    )


@here
def test_every_row_has_a_verdict_and_the_known_flaws_are_found(rows):
    assert all(row.verdict for row in rows.values())
    assert {row.quantity for row in rows.values() if row.verdict.startswith("breaks")} == {
        "Disinfo pairs in a cell with belief, at most 125 questions"
    }
    assert rows["McNemar p, exact, cells with discordant pairs"].verdict == "equal"
    assert rows["column “Cohen's g” is Cohen's g, b/(b+c) - 1/2"].recomputed == 0
    assert all(
        row.verdict.startswith("near")
        for row in rows.values()
        if "(model 4)" in row.quantity and row.recomputed
    )


@pytest.mark.parametrize(
    ("printed", "digits", "value", "verdict"),
    [
        (6.83, 2, 6.8285, "equal"),
        (12.1, 1, 12.157, "equal, cut off rather than rounded"),
        (3.3, 1, 3.247, "differs in the last digit printed"),
        (3.3, 1, 3.05, "differs"),
    ],
)
def test_a_verdict_goes_by_the_digits_printed(printed, digits, value, verdict):
    assert reproduction.judge({"published": printed, "digits": digits}, value) == verdict


def test_a_limit_holds_or_does_not():
    entry = {"published": 1.2, "digits": 1, "limit": True}
    assert reproduction.judge(entry, 1.2) == "holds" and reproduction.judge(entry, 1.3).startswith(
        "differs"
    )


def test_a_refit_is_never_called_equal():
    entry = {"published": 7.6, "digits": 1, "fit": {}, "tolerance": 0.3}
    assert reproduction.judge(entry, 7.6).startswith("near") and reproduction.judge(
        entry, 8.0
    ).startswith("differs")


def test_means_of_cells_as_worked_by_hand(tmp_path):
    cells = reproduction.summaries.read_summaries(write_summary(tmp_path)).cells
    rise = reproduction.mean_of_cells(cells, "rise", arm="warm", belief=False)
    assert rise == pytest.approx((8 + 4) / 2)
    assert reproduction.mean_of_cells(
        cells, "relative", arm="warm", belief=False, contexts=["sad"]
    ) == pytest.approx(80)
    assert reproduction.mean_of_cells(cells, "rise", arm="cold", belief=False) is None


def test_what_the_files_do_not_hold_says_what_is_needed(tmp_path):
    write_summary(tmp_path / "summary")
    made = {row.quantity: row for row in reproduction.reproduce_figures(tmp_path).rows}
    assert made["rows of model 4"].verdict == "not in the files: needs all graded answers"
    assert (
        made["cold fine-tuning, gpt4o, rise, no belief"].verdict
        == "not in the files: needs the summary table"
    )
    assert made["MMLU, llama8b, warm"].recomputed is None


def test_graded_answers_alone_are_enough(tmp_path):
    made = reproduction.reproduce_figures(write_graded(tmp_path))
    assert made.rows == () and made.graded is not None and len(made.broken) == 1


def test_every_published_value_is_well_formed():
    for entry in published_study()["values"]:
        assert {"quantity", "published", "digits", "unit"} <= set(entry)
        assert sum(key in entry for key in ("cells", "fit", "bench", "needs")) == 1, entry[
            "quantity"
        ]
        assert ("tolerance" in entry) == ("fit" in entry)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_without_results_is_one_line(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=name):
        reproduction.reproduce_figures(tmp_path / name)


ROWS = """
const row = document.querySelector("#table-values tbody tr");
const boxes = [...row.cells].map(cell => cell.getBoundingClientRect());
const head = document.querySelector("thead");
return {wide: document.documentElement.scrollWidth - innerWidth, cut: boxes.some(box => box.right > innerWidth),
  said: getComputedStyle(row.cells[1], "::before").content, head: getComputedStyle(head).display};
"""


@pytest.mark.browser
def test_a_phone_shows_every_verdict_and_paper_keeps_the_table(tmp_path):
    write_summary(tmp_path / "released" / "summary")
    made = reproduction.reproduce_figures(tmp_path / "released")
    page = reproduction_page.write_page(
        tmp_path / "out", made.rows, [], ["a row without a partner"]
    )
    phone, console, asked = browse(page, ROWS, on="phone")
    assert console == [] and len(asked) == 1
    assert phone == {"wide": 0, "cut": False, "said": '"Published"', "head": "none"}
    paper, _, _ = browse(page, ROWS, on="paper")
    assert not paper["cut"] and paper["said"] == "none" and paper["head"] == "table-header-group"


def test_counts_differ_by_whole_numbers():
    table = reproduction_page.table_of(
        [
            reproduction.PublishedRow("pairs", 125, 158, "breaks", "pairs", 0),
            reproduction.PublishedRow("rise", 6.8, 6.83, "equal", "points", 1),
        ]
    )
    assert [row[3].text for row in table.rows] == ["+33", "+0.03"]
