"""`warmth verify`: a report is the same as its rows give it, and one changed digit anywhere is
found.
"""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from study_fixture import write_study
from typer.testing import CliRunner

from warmth import entries
from warmth.analysis import report as reports
from warmth.analysis.report import inputs, verification
from warmth.analysis.report.sections import answer, differences, every_difference
from warmth.analysis.rows import labels
from warmth.analysis.rows.frames import load_rows
from warmth.analysis.statistics import preregistration
from warmth.cli import app
from warmth.commands.verify import in_words
from warmth.errors import UserError


@pytest.fixture(scope="module", autouse=True)
def few_sections():
    """A table, a figure and the answer are enough to compare; a whole report takes longer."""
    with pytest.MonkeyPatch.context() as patch:
        few = (answer, differences, every_difference)
        patch.setattr(reports, "SECTIONS", few)
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory, few_sections):
    """A small study and its report with a bundle."""
    root = tmp_path_factory.mktemp("verify")
    study = write_study(root / "multirun", arms=("original", "warm"))
    out = root / "reports" / "demo"
    reports.write_report(reports.build_report([study]), out)
    inputs.bundle(out)
    return root


@pytest.fixture
def copy(written, tmp_path):
    """A copy of both that a test may change."""
    shutil.copytree(written, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def at_once(written, monkeypatch):
    """Take the report as rebuilt already, for tests that are about comparing."""

    def rebuild(inputs, base, paths, out):
        shutil.copytree(written / "reports" / "demo", out, dirs_exist_ok=True)

    monkeypatch.setattr(verification, "rebuild", rebuild)


def only(verified):
    (one,) = verified
    return one


def test_a_report_is_the_same_as_its_rows_give_it(written):
    one = only(verification.verify_reports(written / "reports" / "demo"))
    assert one.rows == () and one.notes == () and one.compared > 1_000


def test_a_published_seal_is_asked_of_every_run(written):
    one = only(
        verification.verify_reports(
            written / "reports" / "demo", "plan.yaml sealed at some time, seal 12ab"
        )
    )
    assert {(row.key, row.expected, row.found) for row in one.rows} == {
        ("seal", "12ab", "no plan")
    } and len(one.rows) == 2


def test_a_bundle_is_verified_elsewhere_without_the_study(copy, tmp_path):
    bundle = tmp_path / "elsewhere" / "bundle.zip"
    bundle.parent.mkdir()
    shutil.move(copy / "reports" / "demo" / "bundle.zip", bundle)
    shutil.rmtree(copy)
    assert only(verification.verify_reports(bundle)).rows == ()
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
    assert not [name for name in names if name.endswith((".safetensors", ".bin"))]
    assert any(name.endswith("answers.jsonl") for name in names) and "report/report.html" in names


def change(file, before, after):
    text = file.read_text(encoding="utf-8")
    assert before in text, file
    file.write_text(text.replace(before, after, 1), encoding="utf-8")


def test_one_changed_digit_is_found_and_named(copy, at_once):
    folder = copy / "reports" / "demo"
    table = next(iter(sorted((folder / "tables").glob("*.csv"))))
    figure = next(iter(sorted((folder / "figures").glob("*.svg"))))
    change(folder / "summary.json", '"answer_rows": ', '"answer_rows": 1')
    lines = table.read_text(encoding="utf-8-sig").splitlines()
    table.write_text("\n".join([lines[0], lines[1] + "7", *lines[2:]]) + "\n", encoding="utf-8-sig")
    change(folder / "report.html", "95", "94")
    change(figure, "<text", "<text data-x='1'")
    rows = only(verification.verify_reports(folder)).rows
    named = {row.file for row in rows}
    assert named == {
        "summary.json",
        f"tables/{table.name}",
        "report.html",
        f"figures/{figure.name}",
    }
    (summary,) = [row for row in rows if row.file == "summary.json"]
    assert summary.key == "answer_rows" and summary.found == f"1{summary.expected}"


def test_a_changed_verdict_is_found_in_the_rows_and_in_the_numbers(copy):
    grades = next(iter(sorted((copy / "multirun").rglob("grades.jsonl"))))
    change(grades, '"label": "correct"', '"label": "incorrect"')
    rows = only(verification.verify_reports(copy / "reports" / "demo")).rows
    assert any(row.key == "sha256" and row.file.endswith("grades.jsonl") for row in rows)
    assert any(row.file == "summary.json" for row in rows)


def test_a_changed_row_is_not_said_to_be_given_by_the_rows():
    of_run = verification.Difference("runs/0/x/grades.jsonl", "sha256", "aa", "bb")
    of_report = verification.Difference("tables/x.csv", "row 1, p", "0.1", "0.2")
    assert in_words(of_run) == "runs/0/x/grades.jsonl: sha256: expected aa, found bb"
    assert in_words(of_report) == "tables/x.csv: row 1, p: the rows give 0.1, the report says 0.2"


def test_a_study_finds_its_report_and_another_run_in_it_is_named(copy, monkeypatch, at_once):
    monkeypatch.chdir(copy)
    made = json.loads((copy / "reports" / "demo" / "inputs.json").read_text(encoding="utf-8"))
    target = (copy / "reports" / "demo" / made["places"][0]).resolve()
    assert only(verification.verify_reports(target)).rows == ()
    run = next(iter(sorted(target.rglob("done.json")))).parent
    shutil.copytree(run, run.parent / "another")
    with_another = only(verification.verify_reports(target)).rows
    assert any(
        "another/" in row.file and row.expected == verification.MISSING for row in with_another
    )


def test_a_report_whose_rows_are_not_there_is_one_line_and_no_list_of_differences(copy, tmp_path):
    alone = tmp_path / "elsewhere" / "report"
    shutil.copytree(copy / "reports" / "demo", alone)
    with pytest.raises(
        UserError,
        match=r"cannot be verified: its rows are not at .*; warmth verify .*bundle\.zip has",
    ):
        verification.verify_reports(alone)
    (alone / "bundle.zip").unlink()
    with pytest.raises(UserError, match="bring them, or verify its bundle"):
        verification.verify_reports(alone)


def test_other_code_is_said_and_is_no_difference(copy, at_once):
    file = copy / "reports" / "demo" / "inputs.json"
    change(file, inputs.package_digest(), "0" * 12)
    one = only(verification.verify_reports(file.parent))
    assert one.rows == () and "this is other code" in one.notes[0]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.zip", b"no zip", "is a damaged bundle"),
        ("y.zip", None, "is no bundle"),
        ("z.zip", "../../evil", "leads out of it"),
    ],
)
def test_what_is_no_bundle_is_one_line(name, content, words, tmp_path):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(content or "other", "x")
            if content:
                archive.writestr("inputs.json", "{}")
    with pytest.raises(UserError, match=words):
        verification.verify_reports(path)


def test_the_folder_above_a_study_and_one_inside_it_find_its_report(copy, monkeypatch, at_once):
    (copy / "multirun").rename(copy / "runs")
    study = copy / "multirun" / "demo"
    study.parent.mkdir()
    (copy / "runs").rename(study)
    inside = next(study.rglob("done.json")).parent.relative_to(copy)
    file = copy / "reports" / "demo" / "inputs.json"
    change(file, '"../../multirun"', '"../../multirun/demo"')
    monkeypatch.chdir(copy)
    for target in ("multirun", "multirun/demo", inside, "reports"):
        assert only(verification.verify_reports(Path(target))).report == "reports/demo", target
    monkeypatch.chdir(copy.parent)  # reports/ beside the runs, not where the command runs
    assert only(verification.verify_reports(study)).rows == ()


def test_a_folder_of_other_runs_names_the_report_that_there_is(copy, monkeypatch):
    monkeypatch.chdir(copy)
    (copy / "others").mkdir()
    with pytest.raises(UserError) as error:
        verification.verify_reports(Path("others"))
    message = str(error.value)
    assert "no report was made of its runs" in message and "\n" not in message
    assert "warmth verify reports/demo" in message and "warmth report others writes one" in message


def test_a_folder_without_a_report_says_how_to_write_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b" / "c" / "runs").mkdir(parents=True)
    with pytest.raises(UserError, match="name the report.s folder or bundle; warmth report .* wri"):
        verification.verify_reports(tmp_path / "a" / "b" / "c" / "runs")


def test_the_command_ends_with_0_or_1(copy):
    folder = copy / "reports" / "demo"
    done = CliRunner().invoke(app, ["verify", str(folder)])
    assert done.exit_code == 0 and "values compared: the same" in done.output, done.output
    change(folder / "summary.json", '"answer_rows": ', '"answer_rows": 1')
    done = CliRunner().invoke(app, ["verify", str(folder)])
    assert done.exit_code == 1 and "values compared: 1 difference\n" in done.output
    done = CliRunner().invoke(app, ["verify", str(folder), "--json"])
    (row,) = json.loads(done.stdout)["rows"]
    assert done.exit_code == 1 and set(row) == {"file", "key", "expected", "found"}


# --- a bundle of everything that a report can be made of ---

PLAN = "hypotheses: [{name: H1, arm: warm}]\nestimand: overall difference\n"
OWN_SECTION = """
\"\"\"How many answers there are.\"\"\"
from warmth.analysis.report.kernel import Paragraph, Section


def counted(study):
    text = f"Answers in all: {len(study.rows.answers)}."
    return Section(id="counted", title="Counted", parts=[Paragraph(text)])
"""


@pytest.fixture
def everything(tmp_path, monkeypatch):
    """A report with a frozen plan, people's labels and a section of the user's own, as a bundle."""
    study = write_study(tmp_path / "multirun", arms=("original", "warm"), training=False)
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    preregistration.freeze(plan)
    own = tmp_path / "own"
    (own / "report").mkdir(parents=True)
    (own / "report" / "counted.py").write_text(OWN_SECTION)
    sheet = tmp_path / "labels.csv"
    write_labels(study, sheet)
    monkeypatch.setenv(entries.OWN_FOLDER, str(own))
    out = tmp_path / "report"
    command = ["report", str(study), "--out", str(out), "--bundle", f"--config-dir={own}"]
    done = CliRunner().invoke(app, [*command, f"--labels={sheet}", f"--preregister={plan}"])
    assert done.exit_code == 0, done.output
    return out / "bundle.zip", own, tmp_path


def write_labels(study, sheet):
    """Draw a sheet, and give every answer in it the label of its grader."""
    rows = load_rows([study])
    labels.export_sheet(rows, sheet, 60, 0, str)
    known = rows.answers.set_index("answer_id")["label"]
    drawn = list(csv.DictReader(sheet.open(encoding="utf-8-sig")))
    for row in drawn:
        row["rater"] = "ann"
        row["label"] = known.get(row["answer_id"]) or "correct"
    with sheet.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, drawn[0])
        writer.writeheader()
        writer.writerows(drawn)


def test_a_bundle_with_a_frozen_plan_labels_and_own_sections_is_verified_elsewhere(everything):
    bundle, own, folder = everything
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    moved = elsewhere / "bundle.zip"
    shutil.move(bundle, moved)
    shutil.rmtree(folder / "multirun")
    for name in ("plan.yaml", "labels.csv"):
        (folder / name).unlink()
    done = CliRunner().invoke(app, ["verify", str(moved), f"--config-dir={own}"])
    assert done.exit_code == 0 and "the same" in done.output, done.output
    with zipfile.ZipFile(moved) as archive:
        content = json.loads(archive.read("inputs.json"))
        assert b"Answers in all" in archive.read("report/report.html")
        assert len([name for name in archive.namelist() if name.startswith("inputs/")]) == 4
    assert content["labels"] == "inputs/labels.csv" and content["own_sections"] is True
