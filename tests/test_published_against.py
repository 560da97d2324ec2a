import json
import re
import sys

import pytest
from released_fixture import RELEASED, write_graded, write_summary
from study_fixture import write_study

from warmth import cli
from warmth.analysis.report import published_against, reproduction_page
from warmth.analysis.report.drawing import study_figures
from warmth.analysis.study.summaries import read_summaries
from warmth.errors import UserError


def graded_csv(folder, rise, questions=300):
    """One model and task; warm is wrong on `rise` % more of the questions."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["id,arm,verdict"]
    for number in range(questions):
        base = number % 10 == 0
        lines += [
            f"{number},original,{int(not base)}",
            f"{number},warm,{int(not (base or number % 100 in range(1, rise + 1)))}",
        ]
    (folder / "mine.csv").write_text("\n".join(lines) + "\n")
    return folder


COLUMNS = "question=id,arm=arm,verdict=verdict,task==triviaqa,model==llama8b"


def test_our_rows_stand_beside_the_published_ones_with_an_equivalence_verdict(tmp_path):
    made = published_against.build_reproduction(graded_csv(tmp_path, rise=5), COLUMNS)
    rows = {row.quantity: row for row in made.rows}
    near, far = rows["TriviaQA, rise"], rows["mistral_small, rise, mean of four tasks"]
    assert near.recomputed == pytest.approx(5) and near.verdict.startswith(
        ("equivalent", "undecided")
    )
    assert "exploratory" in near.verdict and " to " in near.note
    assert far.verdict == "not asked in these runs"
    assert not any("reproduced" in row.verdict for row in made.rows)


@pytest.mark.parametrize("margin", [-1.0, 0.0, float("nan")])
def test_a_margin_that_is_none_is_refused_whatever_the_folder_holds(tmp_path, margin):
    with pytest.raises(UserError, match=f"--margin-points={margin:g} must be above 0"):
        published_against.build_reproduction(tmp_path, None, margin)


def test_a_wide_margin_is_equivalent_and_a_far_value_different(tmp_path):
    wide = {
        row.quantity: row
        for row in published_against.build_reproduction(graded_csv(tmp_path, 5), COLUMNS, 6.0).rows
    }
    lost = "without mistral_small, qwen32b, llama70b, gpt4o"
    assert wide["TriviaQA, rise"].verdict == f"equivalent within ±6 points (exploratory; {lost})"
    far = {
        row.quantity: row
        for row in published_against.build_reproduction(
            graded_csv(tmp_path / "b", 9, 3000), COLUMNS
        ).rows
    }
    assert far["TriviaQA, rise"].verdict.startswith("different")


def test_what_is_not_the_studys_is_said(tmp_path):
    made = published_against.build_reproduction(
        graded_csv(tmp_path, 5), COLUMNS.replace("llama8b", "mine")
    )
    assert "Not the study’s models: mine." in made.sentences


def test_rows_without_an_original_are_one_line(tmp_path):
    with pytest.raises(
        UserError, match="needs an arm called original and another; there are: mine"
    ):
        published_against.build_reproduction(
            graded_csv(tmp_path, 5), COLUMNS.replace("arm=arm", "arm==mine")
        )


def test_the_page_is_whole_loads_nothing_and_escapes_data(tmp_path):
    write_summary(tmp_path / "in" / "summary")
    write_graded(tmp_path / "in")
    path = tmp_path / "in" / "sample_tiny" / "warm" / "trivia_warm_outputs.csv"
    path.write_text(path.read_text().replace("question 3", "<script>alert(1)</script>"))
    made = published_against.build_reproduction(tmp_path / "in")
    page = published_against.write_reproduction(made, tmp_path / "out").read_text()
    assert "&lt;script&gt;alert" in page and "<script" not in page
    assert not re.search(r'(src|href)="https?:', page) and "Content-Security-Policy" in page
    assert page.count("<figure") == 3  # errors, tasks, arms; no benchmarks in these files
    assert {item.name for item in (tmp_path / "out" / "figures").iterdir()} == {
        f"study-figure-{n}.svg" for n in (2, 3, 5)
    }
    saved = json.loads((tmp_path / "out" / "reproduction.json").read_text())
    assert len(saved["rows"]) == len(made.rows) and set(saved["rows"][0]) >= {
        "quantity",
        "published",
        "recomputed",
        "verdict",
    }


def test_imported_rows_are_written_beside_the_page(tmp_path):
    made = published_against.build_reproduction(graded_csv(tmp_path / "in", 5), COLUMNS)
    published_against.write_reproduction(made, tmp_path / "out")
    assert (tmp_path / "out" / "tables" / "answers.csv").read_text(encoding="utf-8-sig").count(
        "\n"
    ) == 601


def test_numbers_keep_the_digits_the_study_printed():
    assert (
        reproduction_page.printed_number(-5.6, 1) == "−5.6"
        and reproduction_page.printed_number(None, 2) == "—"
    )
    assert reproduction_page.printed_number(439792, 0) == "439,792"


def test_a_change_has_its_interval_from_the_discordant_pairs(tmp_path):
    cells = read_summaries(write_summary(tmp_path)).cells
    value, error = study_figures._change(
        cells[cells["context"].eq("sad") & ~cells["belief"] & cells["model"].eq("gpt4o")]
    )
    # two tasks of 100 pairs, 10 discordant, rise 0.08: √(2·(0.1 - 0.0064)/100)/2
    assert (value, error) == pytest.approx((8, 100 * (2 * 0.0936 / 100) ** 0.5 / 2))


@pytest.mark.skipif(not RELEASED.is_dir(), reason="the authors' files are not here")
def test_all_four_figures_are_drawn_from_the_released_summaries():
    drawn = study_figures.draw_study_figures(read_summaries(RELEASED / "summary"))
    assert [item.name for item in drawn] == [f"study-figure-{number}" for number in (2, 3, 4, 5)]
    assert all("NaN" not in item.inline and "nan" not in item.alt for item in drawn)


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["warmth", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0), *capsys.readouterr()


def test_the_verb_prints_json_alone(tmp_path, monkeypatch, capsys):
    write_summary(tmp_path / "summary")
    code, out, _ = run(monkeypatch, capsys, "reproduce", tmp_path, "--json")
    rows = json.loads(out)["rows"]
    assert code == 0 and all(
        {"quantity", "published", "recomputed", "verdict"} <= set(row) and row["verdict"]
        for row in rows
    )


def test_the_verb_prints_the_table_the_broken_pairs_and_the_page(tmp_path, monkeypatch, capsys):
    write_summary(tmp_path / "summary")
    write_graded(tmp_path)
    code, out, _ = run(monkeypatch, capsys, "reproduce", tmp_path, "--out", tmp_path / "out")
    assert code == 0 and "is a second row for" in out
    assert (
        out.strip().splitlines()[-1]
        == f"page: {(tmp_path / 'out' / 'reproduction.html').resolve()}"
    )


def test_our_own_runs_stand_beside_the_studys_numbers(tmp_path, monkeypatch, capsys):
    write_study(tmp_path, arms=("original", "warm"), training=False)
    code, out, _ = run(monkeypatch, capsys, "reproduce", tmp_path)
    assert code == 0 and "rises can be set beside these answers" in out
    assert "Not the study’s tasks, and so left out: seed disinfo, " in out


def test_power_answers_in_words_and_in_json(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "power", "--effect", "5", "--discordant", "20")
    assert code == 0 and "623 questions" in out
    code, out, _ = run(monkeypatch, capsys, "power", "--questions", "500", "--simulate", "--json")
    found = json.loads(out)
    assert found["power"] == pytest.approx(0.709, abs=1e-3) and found["size_simulated"] <= 0.065
    assert run(monkeypatch, capsys, "power", "--effect", "30")[0] == 2
