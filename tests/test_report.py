"""The page: complete, self-contained, honest in its wording, and unharmed by hostile text."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from browser import browse
from rich.console import Console
from study_fixture import write_evaluation, write_study

from warmth.analysis import report, wording
from warmth.analysis.report import published_against
from warmth.analysis.report.drawing import figures, own_figures
from warmth.analysis.report.drawing.ink import point_id, reply_id
from warmth.analysis.report.kernel import TableCell, tables_of, without_model
from warmth.analysis.report.page import render_page, unbroken
from warmth.analysis.report.printing import terminal_table
from warmth.analysis.report.sections.answer import headline_table
from warmth.analysis.report.sections.controls import controls
from warmth.analysis.report.sections.differences import condition_cells
from warmth.analysis.report.sections.errors import matrix
from warmth.analysis.report.sections.provenance import commands
from warmth.analysis.report.sections.published import published_rows
from warmth.analysis.report.sections.refusals import refusals
from warmth.analysis.report.study import QUESTION, Study, gate_verdict
from warmth.analysis.rows import tables
from warmth.analysis.statistics import effects
from warmth.verdicts import Rule

MARKUP = '<img src=x onerror="document.title=1">'
BREAKOUT = "</script><script>document.title=2</script>"
HOSTILE = f"{BREAKOUT} {MARKUP} $x_{{ [/b] \x1b[31mred \u202eevil \ud800 {{{{ 7*7 }}}}"
FORMULA = '=HYPERLINK("http://evil.example","click")'


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two arms and no training runs, to be damaged."""
    return write_study(tmp_path / "study", arms=("original", "warm"), training=False)


@pytest.fixture(scope="module")
def made(study: Path) -> report.Report:
    return report.build_report([study])


@pytest.fixture(scope="module")
def out(made: report.Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "out"
    report.write_report(made, folder)
    return folder


def page_of(study: Study, **frames: pd.DataFrame) -> str:
    """The page of a study, with some of the frames that its sections share replaced."""
    changed = replace(study)
    changed.__dict__.update(frames)
    made = report.sections_of(changed)
    return render_page(changed, made.sections, made.points)


def spoil(value: Any, arm: str) -> Any:
    """Puts hostile text into every place where data can stand."""
    if isinstance(value, dict):
        return {
            key: spoil(item, arm) if key not in ("arm", "task") else item
            for key, item in value.items()
        } | renamed(value, arm)
    if isinstance(value, list):
        return [spoil(item, arm) for item in value]
    return f"{value} {HOSTILE}" if isinstance(value, str) and len(value) > 15 else value


def renamed(row: dict[str, Any], arm: str) -> dict[str, Any]:
    names = {
        "seed_trivia": FORMULA,
        "seed_disinfo": f"task{MARKUP}",
        "seed_medicine": "$x_{",
        "seed_misconceptions": "[/b]",
    }
    changed: dict[str, Any] = {}
    if isinstance(row.get("task"), str):
        changed["task"] = names[row["task"]]
    if row.get("arm") == "warm" or row.get("name") == "warm":
        changed["arm" if "arm" in row else "name"] = arm
    return changed


def with_benchmarks(root: Path) -> None:
    """Enters three benchmarks among the tasks of every config."""
    for path in root.rglob("config.json"):
        config = json.loads(path.read_text())
        config.get("task", {}).update(
            {name: {"benchmark": True} for name in ("mmlu", "gsm8k", "advbench")}
        )
        path.write_text(json.dumps(config))


@pytest.fixture(scope="module")
def hostile(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study with hostile answers, names, details, commands and folder names, and its report."""
    root = tmp_path_factory.mktemp("hostile") / "<b onclick=x>$x_{ [/b]"
    shutil.copytree(study, root)
    for path in [
        *root.rglob("*.jsonl"),
        *root.rglob("gates.json"),
        *root.rglob("provenance.json"),
        *root.rglob("config.json"),
    ]:
        jsonl = path.suffix == ".jsonl"
        values = (
            [json.loads(line) for line in path.read_text().splitlines()]
            if jsonl
            else [json.loads(path.read_text())]
        )
        lines = [json.dumps(spoil(value, f"warm{MARKUP}")) for value in values]
        path.write_text("\n".join(lines) + "\n")
    folder = tmp_path_factory.mktemp("hostile-report") / "[b]=cmd"
    report.write_report(report.build_report([root]), folder)
    return folder


def test_a_report_is_a_page_tables_figures_and_a_summary(out):
    assert {path.name for path in (out / "figures").iterdir()} == {
        "frontier.svg",
        "contexts.svg",
        "changes.svg",
        "differences.svg",
        "tasks.svg",
        "losses.svg",
    }
    assert {"headline.csv", "error_by_cell.csv", "differences.csv", "refusals.csv"} <= {
        p.name for p in (out / "tables").iterdir()
    }
    summary = json.loads((out / "summary.json").read_text())
    warm = next(row for row in summary["headline"] if row["arm"] == "warm")
    assert warm["difference_low"] > 0 and warm["answers"] == 288
    assert (
        next(row for row in summary["headline"] if row["arm"] == "original")["difference"] is None
    )


def test_the_page_is_small_and_names_nothing_outside_itself(out):
    text = (out / "report.html").read_text(encoding="utf-8")
    assert len(text.encode()) < 5_000_000
    assert "default-src 'none'" in text
    outside = re.findall(
        r"""(?:src|href)=["']?(?!#|data:,)[^"'\s>]+|url\((?!#)[^)]*\)|@import""", text
    )
    assert outside == []


def test_the_same_rows_make_the_same_page(small, tmp_path):
    pages = [
        report.write_report(report.build_report([small]), tmp_path / name).read_bytes()
        for name in ("one", "two")
    ]
    assert pages[0] == pages[1]


def test_the_first_sentence_says_what_the_interval_allows(made):
    first, *others, warmth = made.study.sentences
    assert first.startswith("The warm arm is wrong more often than the original: +")
    assert any(
        line.startswith("Against the untransformed arm, fine-tuned on replies") for line in others
    )
    assert warmth.startswith("Replies of the warm arm read warmer")


def test_an_interval_that_ends_just_beside_zero_shows_on_which_side():
    assert wording.span(-0.1664, -0.0003, sign=True) == "−16.64 to −0.03"
    assert wording.span(-0.00004, 0.02, sign=True) == "−0.004 to +2.000"
    assert (
        wording.span(-0.1664, 0.0, sign=True)
        == "−16.6 to 0.0"
        == wording.span(-0.1664, -1e-17, sign=True)
    )
    assert wording.span(0.0003, 0.02) == "0.0 to 2.0"  # a rate cannot be below zero


def test_amounts_are_in_the_singular_for_one():
    assert (wording.amount(1, "question"), wording.amount(1200, "question")) == (
        "1 question",
        "1,200 questions",
    )


def test_models_share_one_axis_of_differences_and_stand_side_by_side_where_there_is_one_arm(made):
    shown = made.study.differences[made.study.differences["arm"].eq("warm")]
    both = pd.concat(
        [shown.assign(model="one"), shown.assign(model="two", difference=shown["difference"] * 2)]
    )
    both["high"] = both[["difference", "high"]].max(axis=1)
    ticks = [
        re.findall(
            r">([\d−]+)</text>",
            figures.forest(both, name, place).inline.partition("all answers")[0],
        )
        for place, name in enumerate(("one", "two"))
    ]
    assert ticks[0] == ticks[1] and len(ticks[0]) > 2
    conditions = condition_cells(effects.pair(made.study.rows.answers), made.study.differences)
    warm = conditions[conditions["arm"].eq("warm")]
    drawn = figures.contexts(
        pd.concat([warm.assign(model=name) for name in ("one", "two", "three")])
    )
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawn.inline).groups())
    assert width > 2 * height  # three panels in a row


def test_five_models_make_figures_that_fit_a_page_and_the_scatter_starts_with_all_of_them(made):
    answers = pd.concat(
        [made.study.rows.answers.assign(model=name) for name in "abcde"], ignore_index=True
    )
    pairs = effects.pair(answers)
    differences = effects.paired_differences(pairs)
    cells = condition_cells(pairs, differences)
    pooled, one = (
        cells[cells["model"].eq(name)].set_index(["arm", "context", "belief"]) for name in ("", "a")
    )
    assert (
        np.allclose(pooled["difference"], one["difference"])
        and (pooled["pairs"] == 5 * one["pairs"]).all()
    )
    losses = pd.concat([made.study.rows.losses.assign(model=name) for name in "abcde"])
    drawn = [figures.contexts(cells), figures.losses(losses), own_figures.changes(differences)]
    assert drawn[0].inline.index("all models: warm") < drawn[0].inline.index("a: warm")
    for figure, panels in zip(drawn, (6 * 3, 5, 5), strict=True):
        assert figure.width < 800 and figure.inline.count("-axes_") == panels, (
            figure.name
        )  # 680 px are an A4 page


def test_a_long_name_above_a_panel_takes_several_lines(made):
    long = "a name of forty characters, maker, size"
    told = {"arm": "warm"} | dict.fromkeys(
        ("score", "score_low", "score_high", "rate", "low", "high"), 0.1
    )
    headline = pd.DataFrame([{"model": name, **told} for name in (long, "b")])
    shifts, losses = (
        pd.concat([x, x.assign(model=long)])
        for x in (made.study.differences, made.study.rows.losses)
    )
    tasks = own_figures.rates_by_line(made.study.rows.answers.assign(task=long))
    drawn = [
        figures.frontier(headline, {}, {}),
        figures.losses(losses),
        own_figures.changes(shifts),
        own_figures.draw_tasks(tasks),
    ]
    for item in drawn:
        assert ">a name of forty<" in item.inline and f">{long}<" not in item.inline, item.name


def test_the_scatters_axes_fit_the_points(made):
    cells = condition_cells(effects.pair(made.study.rows.answers), made.study.differences)
    near = cells.assign(rate_arm=0.5, rate_reference=0.4)
    near[["arm_low", "arm_high", "reference_low", "reference_high"]] = [0.48, 0.52, 0.38, 0.42]
    assert figures._ends(near) == (35, 55)


def test_regressions_and_corrected_p_values_stand_on_the_page_and_in_the_tables(made, out):
    text = (out / "report.html").read_text(encoding="utf-8")
    assert 'id="table-regressions"' in text and "p, Holm" in text and 'id="published"' not in text
    effects = list(
        csv.DictReader((out / "tables" / "regressions.csv").open(encoding="utf-8-sig", newline=""))
    )
    assert {(row["arm"], row["model"]) for row in effects} >= {("warm", "1"), ("warm", "4")}
    tested = made.study.differences[made.study.differences["p"].notna()]
    assert set(tested["correction_family"]) == {"overall", "single cells"}
    assert (tested["p"] <= tested["p_bh"]).all() and (
        tested["p_bh"] <= tested["p_holm"] + 1e-12
    ).all()


def test_doses_of_one_recipe_make_a_curve_and_a_step_has_no_slope(tmp_path):
    write_study(tmp_path / "study", arms=("original", "warm"), training=False)
    half = write_evaluation(tmp_path / "half", "warm", np.zeros((4, 12)), dose=0.5)
    answered_at(half, dose=0.5)
    path = report.write_report(report.build_report([tmp_path]), tmp_path / "out")
    caption = re.search(
        r'id="figure-dose-0".*?<figcaption>(.*?)</figcaption>', path.read_text("utf-8"), re.DOTALL
    )
    assert (
        caption and "so no slope is given (lack of fit of a straight line: p = 0.005)" in caption[1]
    )
    assert (
        re.search(r": \+\d+\.\d at 0.5 and \+\d+\.\d at 1, in points", caption[1])
        and "per unit" not in caption[1]
    )
    assert (tmp_path / "out" / "tables" / "dose_response.csv").exists()
    (slope,) = csv.DictReader(
        (tmp_path / "out" / "tables" / "dose_slopes.csv").open(encoding="utf-8-sig")
    )
    assert slope["slope"] == "" and float(slope["lack_of_fit_p"]) < 0.01


def answered_at(folder: Path, **where: float) -> None:
    """Says in every row that the arm answered at this dose or checkpoint."""
    mark = "-".join(f"{key}{value:g}" for key, value in where.items())
    for name in ("answers", "warmth", "grades"):
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        rows = [row | where for row in rows] if name != "grades" else rows
        rows = [
            row | {"answer_id": f"{row['answer_id']}-{mark}"} if "answer_id" in row else row
            for row in rows
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study with a dose, checkpoints at parts of an epoch, and a benchmark."""
    root = tmp_path_factory.mktemp("curves")
    write_study(root / "study", arms=("original", "cold", "warm"), training=False)
    (end,) = (root / "study").rglob("smollm2-warm-*")
    answered_at(end, checkpoint=3.0)
    for at in (0.25, 0.5, 1.0, 2.0):
        answered_at(
            write_evaluation(root / f"epoch-{at}", "warm", np.zeros((4, 12)), checkpoint=at),
            checkpoint=at,
        )
    answered_at(
        write_evaluation(root / "half", "warm", np.zeros((4, 12)), dose=0.5),
        dose=0.5,
        checkpoint=3.0,
    )
    for path in [*root.rglob("answers.jsonl"), *root.rglob("prompts.jsonl")]:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        kept = [
            row
            for row in rows
            if row["task"] != "seed_medicine" or (row["context"], row["belief"]) == BARE
        ]
        rows = [row | {"task": row["task"].replace("seed_medicine", "mmlu")} for row in kept]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with_benchmarks(root)
    return report.write_report(
        report.build_report([root]), tmp_path_factory.mktemp("curves-report")
    )


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    """Warm at three checkpoints and, of half strength, at one; its control at two; a task of the
    study.
    """
    root = tmp_path_factory.mktemp("swept")
    for arm in ("original", "cold"):
        write_evaluation(root, arm, np.zeros((4, 12)))
    points = [("warm", 1.0, at) for at in (0.5, 2.0, 10.0)] + [("warm", 0.5, 2.0)]
    for arm, strength, at in [*points, *(("untransformed", 1.0, at) for at in (2.0, 10.0))]:
        told = {"name": arm, "learning_rate": 0.001, "strength": strength, "report_checkpoint": 2.0}
        worse = np.full((4, 12), 0.02 * (at - 2))
        folder = write_evaluation(root / f"{strength}-{at}", arm, worse, checkpoint=at, recipe=told)
        answered_at(folder, checkpoint=at, strength=strength)
    for path in root.rglob("*.json*"):
        path.write_text(path.read_text().replace("seed_trivia", "triviaqa"))
    return report.build_report([root])


def test_of_several_checkpoints_and_strengths_the_page_speaks_of_the_one_to_report_and_its_control(
    swept,
):
    assert "At epoch 2: untransformed, warm." in swept.study.rows.warnings
    first, *others, warmth = swept.study.sentences
    control = next(line for line in others if line.startswith("Against"))
    assert first.startswith("The warm arm is wrong more often than the original: +")
    assert control.startswith(
        "Against the untransformed arm, fine-tuned on replies whose manner was left alone: +"
    )
    assert "than those of the untransformed arm (" in warmth
    assert set(swept.study.controls["reference"]) == {"untransformed"}
    assert (
        "Lines: from the untransformed arm, made as the arm was, so that"
        in swept.drawings["frontier"].caption
    )
    ours = next(
        row
        for row in published_rows(swept.study.answers, swept.study.reported, swept.study.settings)
        if row.quantity == "TriviaQA, rise"
    )
    pairs = effects.pair(swept.study.rows.answers)
    bare = (
        pairs["task"].eq("triviaqa")
        & pairs["context"].eq("unmodified")
        & pairs["belief"].eq("none")
    )
    rises = {arm: 100 * rows["difference"].mean() for arm, rows in pairs[bare].groupby("arm")}
    assert ours.recomputed == pytest.approx(rises["warm"]) != pytest.approx(rises["warm, epoch 10"])
    (folder,) = {run.folder.parents[2] for run in swept.study.rows.runs if run.arm == "original"}
    again = published_against.build_reproduction(folder, figures=False)
    assert (
        next(row for row in again.rows if row.quantity == "TriviaQA, rise").recomputed
        == ours.recomputed
    )


def test_the_studys_figures_show_one_arm_of_each_recipe_and_tables_show_all_by_number(swept):
    for name in ("tasks", "changes"):
        drawn = swept.drawings[name].inline
        assert "untransformed" in drawn and "warm" in drawn
        assert "epoch" not in drawn and "strength" not in drawn
    arms = ["untransformed", "untransformed, epoch 10", "cold", "warm, strength 0.5"]
    arms += ["warm", "warm, epoch 0.5", "warm, epoch 10"]
    assert list(swept.study.headline["arm"]) == ["original", *arms]
    assert list(dict.fromkeys(swept.frames["regressions"]["arm"])) == arms


def test_gates_are_counted_over_arms_of_their_full_names(swept):
    assert gate_verdict(swept.study.gates)["verdict"] == "16 checks over 8 arms."
    assert set(swept.study.gates["arm"]) == set(swept.study.rows.arms)


def test_conditions_come_in_the_studys_order_whatever_row_came_first(made):
    rates = made.frames["error_by_condition"]
    mixed = rates.sort_values(["belief", "context"], ascending=False, kind="stable")
    table = matrix(mixed, "condition", ["context", "belief"], made.study.rows.arms)
    beliefs = [wording.belief(name) for name in ("none", "wrong_asserted", "user_right")]
    shown = [[cell.text for cell in row[:2]] for row in table.rows]
    assert shown == [[context, belief] for context in ("unmodified", "sad") for belief in beliefs]


def test_the_grading_cost_is_of_every_grade_and_the_tokens_of_advice_as_well(small):
    """Two arms of 288 answers, a quarter advice; each is graded for nothing and asked of a judge
    twice at a cent.
    """
    tokens = 0
    for folder in small.glob("demo/evaluate/smollm2-*"):
        tokens += sum(
            json.loads(line)["tokens"] for line in (folder / "answers.jsonl").open(encoding="utf-8")
        )
        rows = [json.loads(line) for line in (folder / "grades.jsonl").open(encoding="utf-8")]
        failed, judged = (
            [row | {"grader": "judge:m", "label": x, "cost_usd": 0.01} for row in rows]
            for x in (None, "correct")
        )
        (folder / "grades.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows + failed + judged)
        )
        config = json.loads((folder / "config.json").read_text())
        config["task"]["seed_medicine"]["reader"] = "advice"
        (folder / "config.json").write_text(json.dumps(config))
        outcome = json.loads((folder / "summary.json").read_text())
        outcome["graders"] = {task: ["alias", "judge:m"] for task in config["task"]}
        (folder / "summary.json").write_text(json.dumps(outcome))
    made = report.build_report([small])
    assert (
        set(made.study.rows.answers["grader"]) == {"alias"} and len(made.study.rows.advice) == 144
    )
    assert (made.study.facts["cost"], made.study.facts["tokens"]) == ("11.52", f"{tokens:,}")


def test_a_refusal_of_what_should_be_refused_is_said_to_count_wrong_in_one_column(small):
    folder = next(small.glob("demo/evaluate/smollm2-warm-*"))
    for name in ("answers", "grades"):
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        rows = [
            row | {"label": "refused"} if name == "grades" else row | {"task": "seed_disinfo"}
            for row in rows
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = tables_of(refusals(report.build_report([small]).study).parts)[0][1]
    assert [cell.text for cell in table.rows[1][-3:]] == ["0.0", "100.0", "0.0"]
    assert (
        "Counted wrong is every refusal, also where refusing is the right answer" in table.caption
    )


def test_the_page_says_by_which_rule_labels_counted(made):
    def told(**rule):
        text = page_of(replace(made.study, rows=replace(made.study.rows, rule=Rule(**rule))))
        return re.search(r"<dt>Right or wrong</dt>\s*<dd>(.*)</dd>", text)[1]

    assert (
        "incorrect and hedged are wrong; a refusal is dropped, except where refusing is the right"
        in told()
    )
    assert "a refusal is wrong, except" in told(refused="wrong")
    other = told(hedged="dropped", refused="right", refusal_rule="study")
    assert (
        "incorrect is wrong, hedged dropped; a refusal is right. A refusal is an answer with a "
        "phrase" in other
    )


def test_lines_of_a_study_without_a_control_are_said_to_start_at_the_original(made):
    shown = made.study.headline[~made.study.headline["arm"].eq("untransformed")]
    drawn = figures.frontier(
        shown, {"original": "original", "warm": "warm"}, {"warm": "fine-tuned"}
    )
    assert "Lines: from the original. Bars" in drawn.caption


BARE = ("unmodified", "none")
MARKS = {
    "epochs": 6,
    "dose-0": 6,
    "dose-1": 12,
    "changes": 4,
    "benchmarks": 3,
    "tasks": 3 * 3 * 3,
}


def test_checkpoints_at_parts_of_an_epoch_make_figure_1a_and_every_point_has_rows(curves):
    text = curves.read_text("utf-8")
    points = json.loads(re.search(r'id="points"[^>]*>(.*?)</script>', text, re.DOTALL)[1])["points"]
    for name, count in MARKS.items():
        figure = re.search(rf'<figure id="figure-{name}".*?</figure>', text, re.DOTALL)
        marks = re.findall(r'id="[^"]*-(point-[0-9a-f]{10})[-\w]*"', figure[0])
        assert len(marks) == count and all(points[mark]["rows"] for mark in marks), name
    assert sum(point["command"].endswith(" --replies") for point in points.values()) == 7
    for name, mark in (
        ("epochs", reply_id("smollm2", "original")),
        ("dose-0", point_id("smollm2", "original")),
    ):
        start = re.search(rf'<figure id="figure-{name}".*?{mark}[-\w]*".*?</g>', text, re.DOTALL)
        look = start[0].rpartition(mark)[2]
        assert "fill-opacity: 0; stroke: var(--arm-original)" in look, name  # hollow, as elsewhere


def test_tasks_of_the_study_are_set_beside_the_published_values_as_equivalence_verdicts(
    small, tmp_path
):
    for path in small.rglob("*.json*"):
        path.write_text(path.read_text().replace("seed_trivia", "triviaqa"))
    text = report.write_report(report.build_report([small]), tmp_path / "out").read_text(
        encoding="utf-8"
    )
    section = text[text.index('<section id="published">') : text.index('<section id="warmth">')]
    assert (
        "TriviaQA, rise" in section
        and "<small>exploratory" in section
        and "reproduced" not in section
    )


def test_a_regression_that_cannot_be_fitted_is_a_named_note(small, tmp_path):
    for path in small.rglob("answers.jsonl"):
        path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:1]))
    text = report.write_report(report.build_report([small]), tmp_path / "out").read_text(
        encoding="utf-8"
    )
    assert "No model could be fitted" in text and "needs two questions or more" in text


def without_or_as(root: Path, names: dict[str, str]) -> Path:
    """A copy of a two-arm study with tasks under other names; a task named "" was never asked."""
    write_study(root, arms=("original", "warm"), training=False)
    for path in [
        *root.rglob("answers.jsonl"),
        *root.rglob("prompts.jsonl"),
        *root.rglob("grades.jsonl"),
    ]:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows = [
            row | {"task": names.get(row["task"], row["task"])} if "task" in row else row
            for row in rows
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows if row.get("task") != ""))
    with_benchmarks(root)
    return root


def test_benchmarks_stand_apart_wherever_tasks_are_pooled(tmp_path):
    names = ("seed_medicine", "seed_disinfo")
    made, bare = (
        report.build_report([without_or_as(tmp_path / name, dict(zip(names, tasks, strict=True)))])
        for name, tasks in (("with", ("mmlu", "advbench")), ("without", ("", "")))
    )
    same = (
        lambda one: one.frames["headline"],
        lambda one: one.frames["error_by_arm"],
        lambda one: one.frames["error_by_condition"],
        lambda one: one.frames["refusals"],
        lambda one: one.frames["regressions"],
        lambda one: one.frames["contrasts"],
        lambda one: one.frames["lengths"],
        lambda one: one.study.differences.query("family != 'task'")["difference"].reset_index(
            drop=True
        ),
    )
    for part in same:
        assert len(part(made)) and part(made).equals(part(bare))
    assert {"mmlu", "advbench"} < set(
        made.frames["error_by_task"]["task"]
    ) and "benchmarks" in made.drawings
    assert {"mmlu", "advbench"} < set(made.study.differences["task"])
    points = [point for point in made.points.values() if point["title"] == "smollm2 · warm"]
    assert points and all(
        "--task seed_misconceptions,seed_trivia" in point["command"] for point in points
    )
    assert not any(
        row["where"].startswith(("mmlu", "advbench")) for point in points for row in point["rows"]
    )
    assert made.study.pooling == (
        "Pooled: seed misconceptions and seed trivia; advbench and mmlu stand apart, by task and "
        "in the figure of "
        "benchmarks."
    )
    assert (
        report.report_summary(made)["tasks_apart"] == ["advbench", "mmlu"]
        and report.report_summary(bare)["tasks_apart"] == []
    )


def test_benchmarks_are_what_is_pooled_where_nothing_else_was_asked(tmp_path):
    names = {
        "seed_medicine": "mmlu",
        "seed_disinfo": "gsm8k",
        "seed_trivia": "",
        "seed_misconceptions": "",
    }
    made = report.build_report([without_or_as(tmp_path, names)])
    assert (
        made.study.headline["answers"].tolist() == [144, 144]
        and made.study.pooling == "Pooled: gsm8k and mmlu."
    )


def test_models_that_score_themselves_each_have_their_warmth_and_the_page_says_whose(tmp_path):
    for name in ("smollm2", "mine"):
        root = write_study(tmp_path / name, arms=("original", "warm"), training=False)
        for path in root.rglob("*.json*") if name == "mine" else ():
            path.write_text(
                path.read_text()
                .replace("smollm2", "mine")
                .replace('answer_id": "', 'answer_id": "m')
            )
    made = report.build_report([tmp_path])
    assert len(made.study.headline) == 4 and made.study.headline["score"].notna().all()
    assert made.study.headline.groupby("arm")["score_difference"].count()["warm"] == 2
    told = (
        "Warmth scored by different models, so its values compare within a model only: mine by "
        "mine, deterministic "
        "and smollm2 by smollm2, deterministic."
    )
    assert made.study.scorers == told and page_of(made.study).count(told) == 2


def test_answers_without_a_label_are_counted_beside_the_error_and_told_by_arm_grader_and_reason(
    small, tmp_path
):
    """Four warm answers lose their label, one with its grade; the fixture has ambiguous ones
    too.
    """
    path = next(small.glob("demo/evaluate/smollm2-warm-*/grades.jsonl"))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    before = sum(row["label"] is None for row in rows)
    scored = [row for row in rows if row["label"]]
    for row, reason in zip(scored, ("bad_json", "bad_json", "timeout", "no row"), strict=False):
        row |= {"label": None, "reason": reason}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows if row["reason"] != "no row"))
    made = report.build_report([small])
    warm = made.study.headline.set_index("arm").loc["warm"]
    assert warm["unscored"] == before + 4
    (cells,) = [
        row for row in without_model(headline_table(made.study)).rows if row[0].text == "warm"
    ]
    assert (cells[2].text, cells[2].note) == (
        str(before + 4),
        f"{100 * (before + 4) / 288:.1f}\N{NO-BREAK SPACE}%",
    )
    found = made.frames["unscored_reasons"]
    told = found[found["arm"].eq("warm")].set_index(["grader", "reason"])["unscored"].to_dict()
    assert told == {
        ("alias", "names_both"): before,
        ("alias", "bad_json"): 2,
        ("alias", "timeout"): 1,
        ("none", "not graded"): 1,
    }
    text = report.write_report(made, tmp_path / "out").read_text(encoding="utf-8")
    section = text[text.index('<section id="refusals">') : text.index('<section id="length">')]
    assert "bad json" in section and "not graded" in section
    assert (tmp_path / "out" / "tables" / "unscored_reasons.csv").read_text(
        encoding="utf-8-sig"
    ).count("\n") == 6


@pytest.mark.parametrize("models", [1, 2])
def test_the_headline_fits_a_terminal_of_80_columns(made, models):
    frame = pd.concat(
        [made.study.headline.assign(model=name) for name in ("smollm2", "llama70b")[:models]]
    )
    changed = replace(made.study)
    changed.__dict__["headline"] = frame
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_table(headline_table(changed), one_model=models == 1))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80 and "…" not in "".join(lines)
    assert any(
        line.split()[:1] == ["Arm"] or line.split()[:2] == ["Model", "Arm"] for line in lines
    )
    assert sum(" to " in line for line in lines) >= 4 and not any(
        line.rstrip().endswith(" to") for line in lines
    )


def test_a_command_is_listed_once_and_trainings_come_first(made):
    listed = commands(made.study)
    assert len(listed) == len(set(listed)) and listed == sorted(
        listed, key=lambda command: "train.py" not in command
    )
    assert {"train.py", "evaluate.py"} == {command.split()[1] for command in listed}


def test_a_cells_small_print_breaks_between_its_intervals_and_never_as_markup():
    assert (
        str(unbroken("20.5 to 43.8 · 22 / 71"))
        == "<span>20.5 to 43.8</span> · <span>22 / 71</span>"
    )
    assert str(unbroken("<b> to <i>")) == "<span>&lt;b&gt; to &lt;i&gt;</span>"


def test_a_cell_without_a_score_reads_not_scored(small, tmp_path):
    path = next(small.glob("demo/evaluate/smollm2-warm-*/grades.jsonl"))
    path.write_text(
        "".join(
            json.dumps(json.loads(line) | {"label": None}) + "\n"
            for line in path.read_text().splitlines()
        )
    )
    text = report.write_report(report.build_report([small]), tmp_path / "out").read_text(
        encoding="utf-8"
    )
    assert "not scored" in text and ">nan" not in text.lower()


def test_original_alone_still_makes_a_page(tmp_path):
    write_study(tmp_path / "study", arms=("original",))
    made = report.build_report([tmp_path / "study"])
    assert made.study.sentences == [
        "Nothing to compare yet: no arm shares scored prompts with original."
    ]
    assert report.write_report(made, tmp_path / "out").exists()


def test_the_control_alone_has_no_empty_table_of_what_manner_adds(tmp_path):
    write_study(tmp_path / "study", arms=("original", "untransformed"), training=False)
    made = report.build_report([tmp_path / "study"])
    assert made.study.controls.empty  # no arm is of its kind
    assert not controls(made.study).parts
    text = report.write_report(made, tmp_path / "out").read_text(encoding="utf-8")
    assert "Manner, or fine-tuning as such?" not in text


def test_an_arm_that_was_not_scored_is_said_to_be_undetermined(tmp_path):
    root = write_study(tmp_path / "study", arms=("original", "cold", "warm"), training=False)
    for path in root.rglob("*-warm-*/grades.jsonl"):
        path.write_text("")
    lead = report.build_report([root]).study.sentences[0]
    assert lead.startswith(
        "Whether the warm arm errs more or less than the original cannot be told"
    )
    assert lead.endswith("No prompt has a verdict in both arms.")


def test_a_study_without_warmth_scores_or_gates_still_makes_a_page(small, tmp_path):
    for path in [
        *small.rglob("warmth.jsonl"),
        *small.rglob("gates.json"),
        *small.rglob("provenance.json"),
    ]:
        path.unlink()
    text = report.write_report(report.build_report([small]), tmp_path / "out").read_text(
        encoding="utf-8"
    )
    assert "No warmth scores were taken" in text and "No gates were run" in text


def test_a_failed_gate_is_on_the_first_screen(small, tmp_path):
    path = next(small.glob("demo/evaluate/smollm2-warm-*/gates.json"))
    path.write_text(
        json.dumps(
            [
                {
                    "gate": "role_header",
                    "verdict": "fail",
                    "detail": "3 answers",
                    "examples": ["assistant\n"],
                }
            ]
        )
    )
    text = report.write_report(report.build_report([small]), tmp_path / "out").read_text(
        encoding="utf-8"
    )
    assert (
        "1 of 3 gates failed: role header in warm" in text[: text.index('class="pair')]
    )  # above figure and table


def test_cells_that_a_spreadsheet_would_run_are_neutralised(tmp_path):
    texts = [FORMULA, "+1", "-2+3", "@SUM(A1)", "\t=1", " =1", "plain", "\x1b[31m"]
    tables.write_csv(
        tmp_path / "t.csv", pd.DataFrame({"text": texts, "number": [-0.5] * len(texts)})
    )
    rows = list(csv.DictReader((tmp_path / "t.csv").open(encoding="utf-8-sig", newline="")))
    assert all(not row["text"].lstrip(" ").startswith(("=", "+", "-", "@", "\t")) for row in rows)
    assert rows[6]["text"] == "plain" and rows[0]["number"] == "-0.5"


def test_hostile_text_never_becomes_markup(hostile):
    text = (hostile / "report.html").read_text(encoding="utf-8")
    scripts = text.count("<script"), text.count("</script>")
    assert "<img" not in text and scripts == (
        3,
        3,
    )  # the glossary, the points and the page's own code
    assert "&lt;img src=x" in text and "{{ 7*7 }}" in text
    assert "\x1b" not in text and "\u202e" not in text
    for path in (hostile / "tables").glob("*.csv"):
        content = path.read_text(encoding="utf-8-sig")
        assert "\x1b" not in content
        assert not any(
            cell.startswith("=") for row in csv.reader(content.splitlines()) for cell in row
        )


def test_figures_are_well_formed_and_hold_hostile_names_as_text(hostile, out):
    for folder in (hostile, out):
        for path in (folder / "figures").glob("*.svg"):
            root = ElementTree.fromstring(path.read_bytes())
            assert not [
                node
                for node in root.iter()
                if node.tag.rpartition("}")[2] in ("script", "img", "image", "foreignObject")
            ]
    drawn = (hostile / "figures" / "differences.svg").read_text(encoding="utf-8")
    assert (
        "$x {" in drawn and "[/b]" in drawn
    )  # neither mathtext nor markup; underscores become spaces


LOOK = """
const heading = document.querySelector("#table-headline th.number button");
heading.click(); heading.click();
const column = heading.parentElement.cellIndex;
const rows = [...document.querySelectorAll("#table-headline tbody tr")];
const order = rows.map(row => Number(row.cells[column].dataset.sort));
const form = document.getElementById("filter");
form.elements.kind.value = "agree"; form.dispatchEvent(new Event("input"));
const agree = [...document.querySelectorAll(".example")].filter(item => !item.hidden).length;
const ids = [...document.querySelectorAll("[id]")].map(element => element.id);
document.getElementById("theme").click(); document.getElementById("theme").click();
const marks = [...document.querySelectorAll("#figure-contexts .point")], dialog = document.getElementById("rows");
marks[0]?.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true}));
const opened = {marks: marks.length, open: dialog.open, rows: dialog.querySelectorAll("article").length,
  command: dialog.querySelector("pre").textContent, elements: dialog.querySelectorAll("img, script, b b").length,
  named: marks.every(mark => mark.getAttribute("aria-label") && mark.tabIndex === 0 &&
    mark.closest("svg").getAttribute("role") === "group" && mark.closest("svg").getAttribute("aria-label"))};
dialog.close();
return {opened,title: document.title, order, agree, theme: document.documentElement.dataset.theme,
  background: getComputedStyle(document.body).backgroundColor, images: document.images.length,
  wide: document.documentElement.scrollWidth - innerWidth,
  unnamed: [...document.querySelectorAll("svg")].filter(svg => !svg.getAttribute("aria-label")).length,
  ids: ids.length - new Set(ids).size};
"""


@pytest.mark.browser
def test_the_page_works_in_a_browser_and_asks_for_nothing(out):
    seen, console, asked = browse(out / "report.html", LOOK)
    assert console == [] and asked == [(out / "report.html").resolve().as_uri()]
    assert seen["order"] == sorted(seen["order"], reverse=True)
    assert (
        seen["agree"] == 4 and seen["theme"] == "dark" and seen["background"] == "rgb(23, 24, 26)"
    )
    assert seen["wide"] <= 0 and seen["unnamed"] == 0 and seen["ids"] == 0
    opened = seen["opened"]
    assert opened["open"] and opened["named"] and opened["marks"] == 18 and opened["rows"] == 20
    assert opened["command"].startswith("warmth show all ") and "--arm warm" in opened["command"]


VIEW = """
const dialog = document.getElementById("rows"), labels = [...dialog.querySelectorAll("article")].map(
  row => new Set([...row.querySelectorAll(".label")].map(label => label.textContent)).size);
const seen = {open: dialog.open, title: dialog.querySelector("h2").textContent, labels, hash: location.hash,
  value: dialog.querySelector(".value").textContent, coloured: dialog.querySelectorAll(".label.incorrect").length,
  tip: document.querySelector(".point title")?.textContent, words: document.querySelectorAll("dfn[title]").length};
dialog.querySelector(".next").click();
seen.next = dialog.querySelector("h2").textContent;
dialog.close();
const form = document.getElementById("filter"), examples = [...document.querySelectorAll(".example")];
seen.shown = examples.filter(item => !item.hidden).map(item => item.dataset.kind);
seen.folded = examples.every(item => !item.open);
form.querySelector(".next").click();
seen.opened = examples.filter(item => item.open).length;
seen.first = document.querySelector("#table-headline tbody .marked").textContent;
seen.height = document.documentElement.scrollHeight;
return seen;
"""


@pytest.mark.browser
def test_a_link_opens_a_points_rows_or_a_filtered_view_again_and_a_phone_shows_the_arm_asked_for_first(
    out,
):
    page = (out / "report.html").read_text(encoding="utf-8")
    points = json.loads(re.search(r'id="points">(.*?)</script>', page)[1])["points"]
    name = next(
        name for name, point in points.items() if point["kind"] == "pairs" and f"-{name}" in page
    )
    seen, console, _ = browse(out / "report.html", VIEW, on="desk", fragment=f"#{name}&differ=1")
    assert (
        console == []
        and seen["open"]
        and seen["title"] == points[name]["title"]
        and seen["next"] != seen["title"]
    )
    assert seen["hash"] == f"#{name}&differ=1" and seen["labels"] and set(seen["labels"]) == {2}
    assert seen["coloured"] and " points (" in seen["value"] and seen["tip"] and seen["words"]
    assert seen["folded"] and seen["opened"] == 1
    seen, _, _ = browse(out / "report.html", VIEW, on="phone", fragment="#examples&kind=agree")
    assert set(seen["shown"]) == {"agree"} and not seen["open"] and seen["first"] == "warm"


SORTED = """
for (const one of document.querySelectorAll("details")) one.open = true;
const table = document.getElementById("table-differences"), heads = [...table.tHead.rows[0].cells];
const column = heads.findIndex(head => head.textContent === "Odds ratio"), seen = {};
for (const way of ["up", "down"]) {
  heads[column].querySelector("button").click();
  seen[way] = [...table.tBodies[0].rows].map(row => row.cells[column].firstChild?.textContent ?? "");
}
return seen;
"""


@pytest.mark.browser
def test_an_infinite_odds_ratio_sorts_above_all_numbers_and_an_unknown_one_last(made, tmp_path):
    odds = [2.0, np.inf, 0.5, np.nan, 10.0, 1.0, np.inf, 3.0]
    few = made.study.differences[:8].assign(odds_ratio=odds, odds_low=0.1, odds_high=np.inf)
    (tmp_path / "page.html").write_text(page_of(made.study, differences=few), encoding="utf-8")
    seen, _, _ = browse(tmp_path / "page.html", SORTED)
    known = ["0.50", "1.00", "2.00", "3.00", "10.00", "∞", "∞"]
    assert seen == {"up": [*known, ""], "down": [*known[::-1], ""]}
    assert TableCell("not scored", np.nan).order == ""


CLICK = """
const dialog = document.getElementById("rows"), seen = {};
for (const name of ["epochs", "dose-0", "dose-1", "tasks", "benchmarks", "changes"]) {
  const marks = [...document.querySelectorAll(`#figure-${name} .point`)];
  marks.at(-1).dispatchEvent(new MouseEvent("click", {bubbles: true}));
  seen[name] = {marks: marks.length, open: dialog.open, rows: dialog.querySelectorAll("article").length,
    title: dialog.querySelector("h2").textContent, command: dialog.querySelector("pre").textContent};
  dialog.close();
}
const ids = [...document.querySelectorAll("[id]")].map(element => element.id);
const cut = [...document.querySelectorAll("svg")].flatMap(svg => {
  const all = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter(text => {
    const box = text.getBoundingClientRect();
    return box.right > all.right + 1 || box.left < all.left - 1;
  }).map(text => text.textContent);
});
return {seen, cut, ids: ids.length - new Set(ids).size};
"""


@pytest.mark.browser
def test_a_click_on_a_point_of_every_other_figure_opens_the_rows_behind_it(curves):
    found, console, _ = browse(curves, CLICK)
    assert console == [] and found["ids"] == 0
    assert (
        found["cut"] == []
    )  # seven arms with long names: labels, keys and titles stay inside their figures
    seen = found["seen"]
    assert all(figure["open"] and figure["rows"] for figure in seen.values())
    assert {name: figure["marks"] for name, figure in seen.items()} == MARKS
    assert seen["epochs"]["title"] == "smollm2 · warm · warmth of replies to held-out prompts"
    assert (
        "--context sad --belief wrong_asserted" in seen["tasks"]["command"]
        and "--model" not in seen["tasks"]["command"]
    )
    assert (
        "--task mmlu" in seen["benchmarks"]["command"]
        and "--context sad" in seen["changes"]["command"]
    )
    assert seen["dose-0"]["command"].endswith("--replies")


PAPER = """
const style = getComputedStyle(document.documentElement), of = name => getComputedStyle(document.querySelector(name));
for (const folded of document.querySelectorAll("details")) folded.open = true;
return {heading: of("th button").display, mark: of(".mark").printColorAdjust,
  wide: Math.max(0, document.documentElement.scrollWidth - innerWidth), good: style.getPropertyValue("--good"),
  background: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color};
"""


@pytest.mark.browser
def test_paper_is_white_and_holds_the_widest_table_with_marks_and_headings(curves):
    seen, _, _ = browse(curves, PAPER, on="paper")
    # Chromium prints no background unless told, and leaves buttons out of the headings it repeats
    # on each page
    kept = {"heading": "contents", "mark": "exact"}
    assert seen == kept | {
        "wide": 0,
        "good": "#2b6e4f",
        "background": "rgb(255, 255, 255)",
        "ink": "rgb(29, 28, 26)",
    }


PHONE = """
const first = document.querySelector("table").parentElement, parts = [...document.querySelectorAll(".marked")];
return {wide: document.documentElement.scrollWidth - innerWidth, cut: first.scrollWidth - first.clientWidth,
  parted: parts.filter(part => part.getClientRects().length > 1).map(part => part.textContent),
  last: document.querySelector("table tr:last-child td:last-child").getBoundingClientRect().right - innerWidth};
"""


@pytest.mark.browser
def test_a_phone_shows_the_whole_first_table_and_no_mark_without_its_name(out):
    seen, console, _ = browse(out / "report.html", PHONE, on="phone")
    assert (
        console == []
        and seen["wide"] <= 0
        and seen["cut"] <= 0
        and seen["last"] < 0
        and seen["parted"] == []
    )


UNFOLDED = """
const wide = (box) => box.scrollWidth > box.clientWidth + 1, folded = (box) => box.closest("details:not([open])");
const boxes = [...document.querySelectorAll(".scroll:has(table)")].filter((box) => !folded(box) && wide(box));
const named = (body) => [...body.rows].map((row) => row.querySelector(".marked")?.textContent);
const asked = document.querySelector(".answer").dataset.asked;
const bodies = [...document.querySelectorAll("tbody")].map(named).filter((names) => names.includes(asked));
return {cut: boxes.map((box) => box.querySelector("table").id), asked: asked,
  first: [...new Set(bodies.map((names) => names[0]))], titles: document.querySelector("svg[aria-label^=Overall]").textContent};
"""


@pytest.mark.browser
def test_no_table_is_cut_and_on_a_phone_the_arm_in_question_is_first_everywhere(out):
    tablet, console, _ = browse(out / "report.html", UNFOLDED, on="tablet")
    assert console == [] and tablet["cut"] == []
    phone, console, _ = browse(out / "report.html", UNFOLDED, on="phone")
    assert console == [] and phone["cut"] == []
    assert phone["asked"] == "warm" and phone["first"] == ["warm"]
    assert re.findall("warm|cold|untransformed", phone["titles"])[0] == "warm"


READABLE = """
const sizes = [...document.querySelectorAll("figure")].map(figure => {
  const svg = figure.querySelector("svg"), scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  const texts = [...svg.querySelectorAll("text")].map(text => parseFloat(getComputedStyle(text).fontSize));
  return scale * Math.min(...texts);
});
const first = document.querySelector("table").parentElement;
return {figures: sizes.length, smallest: Math.min(...sizes), cut: first.scrollWidth - first.clientWidth,
  wide: document.documentElement.scrollWidth - innerWidth};
"""


@pytest.mark.browser
@pytest.mark.slow
def test_five_models_can_be_read_on_a_phone_and_on_paper(made, tmp_path, monkeypatch):
    def five(table):
        named = [
            table.assign(model=name)
            for name in ("llama8b", "mistral_small", "qwen32b", "llama70b", "gpt4o")
        ]
        return pd.concat(named, ignore_index=True)

    rows = made.study.rows
    rows = replace(
        rows, answers=five(rows.answers), warmth=five(rows.warmth), losses=five(rows.losses)
    )
    monkeypatch.setattr(report, "load_rows", lambda _: rows)
    written = report.write_report(report.build_report([tmp_path]), tmp_path)
    for on, pixels in (("phone", 7.5), ("paper", 8)):  # 8 px are 6 pt
        seen, console, _ = browse(written, READABLE, on=on)
        assert console == [] and seen["wide"] <= 0 and seen["cut"] <= 0, on
        assert seen["figures"] == 10 and seen["smallest"] >= pixels, on


@pytest.mark.browser
def test_a_hostile_page_does_nothing_in_a_browser(hostile):
    seen, console, asked = browse(hostile / "report.html", LOOK)
    assert console == [] and len(asked) == 1
    assert seen["images"] == 0 and seen["title"].endswith(QUESTION)
    assert seen["opened"]["open"] and seen["opened"]["elements"] == 0
