"""Inputs that are broken: one line that names the file or key and what is allowed, exit code 2, no
traceback.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from study_fixture import write_study

NUMBER = "it must be a finite number"
LOST = "does not exist, though the run is done; it needs prompts.jsonl, answers.jsonl, grades.jsonl"


@pytest.fixture(scope="module")
def whole_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("whole"), arms=("original", "warm"), training=False)


@pytest.fixture
def study(whole_study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_study, tmp_path / "study"))


def arm(study: Path, name: str = "warm") -> Path:
    (folder,) = study.rglob(f"smollm2-{name}-*")
    return folder


def rows(study: Path, file: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Changes the second row of one of the warm arm's files."""
    path = arm(study) / file
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join([lines[0], json.dumps(change(json.loads(lines[1]))), *lines[2:]]) + "\n"
    )


FIELDS = [
    ("warmth.jsonl", {"score": float("nan")}, f"score=nan is not allowed; {NUMBER}"),
    ("warmth.jsonl", {"score": float("inf")}, f"score=inf is not allowed; {NUMBER}"),
    ("warmth.jsonl", {"score": "warm"}, f"score=warm is not allowed; {NUMBER}"),
    ("answers.jsonl", {"dose": "half"}, f"dose=half is not allowed; {NUMBER}"),
    ("answers.jsonl", {"strength": None}, f"strength=null is not allowed; {NUMBER}"),
    ("answers.jsonl", {"sample": 0.5}, "sample=0.5 is not allowed; it must be a whole number"),
    ("answers.jsonl", {"text": None}, "text=null is not allowed; it must be text"),
    ("answers.jsonl", {"task": 5}, "task=5 is not allowed; it must be text"),
    ("answers.jsonl", {"preamble": "no"}, "preamble=no is not allowed; it must be true or false"),
    (
        "answers.jsonl",
        {"belief": "</script>\u202e"},
        "is not allowed; choose one of: none, wrong_asserted, right_denied,",
    ),
    (
        "answers.jsonl",
        {"finish": "soon"},
        "finish=soon is not allowed; choose one of: stop, length, filtered, error",
    ),
    (
        "grades.jsonl",
        {"label": "right"},
        "label=right is not allowed; choose one of: correct, incorrect, hedged, refused",
    ),
    ("prompts.jsonl", {"answers": [1]}, "answers=[1] is not allowed; it must be texts"),
]


@pytest.mark.parametrize(("file", "change", "says"), FIELDS)
def test_a_field_with_what_is_not_allowed_is_named_by_file_line_and_values(
    warmth, study, file, change, says
):
    rows(study, file, lambda row: row | change)
    code, out, err = warmth("report", study, "--out", study.parent / "out")
    assert code == 2 and out == "" and err.count("\n") == 1
    assert (
        err.startswith(f"error: {arm(study) / file} line 2: ")
        and says in err
        and err.strip().isprintable()
    )


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000] + b"\n")


FILES = [
    ("answers.jsonl", Path.unlink, LOST),
    ("grades.jsonl", Path.unlink, LOST),
    ("prompts.jsonl", Path.unlink, LOST),
    ("answers.jsonl", cut, "is not JSON"),
    (
        "answers.jsonl",
        lambda path: path.write_bytes(bytes(range(256)) + b"\n"),
        "line 1 is not JSON",
    ),
    ("answers.jsonl", lambda path: path.write_text("[1]\n"), "line 1 is not a JSON object"),
    ("config.json", lambda path: path.write_text("{"), "is not JSON"),
    (
        "config.json",
        lambda path: path.write_text('{"recipe": "warm"}'),
        "recipe=warm must be an object",
    ),
    ("gates.json", lambda path: path.write_text('["x"]'), "is not a list of JSON objects"),
    ("provenance.json", lambda path: path.write_text("[1]"), "is not a JSON object"),
    (
        "provenance.json",
        lambda path: path.write_text('{"packages": ["torch"]}'),
        "packages=['torch'] must be an object",
    ),
    (
        "provenance.json",
        lambda path: path.write_text('{"earlier": "a commit"}'),
        "earlier must be a list of commits",
    ),
]


@pytest.mark.parametrize(("file", "damage", "says"), FILES)
def test_a_broken_or_lost_file_is_named(warmth, study, file, damage, says):
    damage(arm(study) / file)
    code, out, err = warmth("report", study, "--out", study.parent / "out")
    assert code == 2 and out == "" and err.count("\n") == 1
    assert err.startswith(f"error: {arm(study) / file}") and says in err


WORDS = [
    (["report", "STUDY", "--out", "FILE"], "FILE is not a folder"),
    (["report", "STUDY", "--out", "FILE/out"], "FILE/out is not a folder"),
    (["report", "STUDY", "--out", "/proc/none"], "/proc/none cannot be written: "),
    (["report", "STUDY", "--margin-points", "-1"], "--margin-points=-1 must be above 0"),
    (["report", "STUDY", "--preregister", "nowhere"], "preregister=nowhere does not exist"),
    (["report", "STUDY", "--labels", "FILE"], "FILE: only .jsonl, .json, .csv files can be read"),
    (
        ["report", "STUDY", "--labels", "BINARY"],
        "BINARY: only .jsonl, .json, .csv files can be read",
    ),
    (
        ["export", "STUDY", "--format", "xml"],
        "--format=xml is not allowed; choose one of: parquet, inspect",
    ),
    (["export", "STUDY", "--out", "FILE"], "--out=FILE is not a folder that can be written: "),
    (
        ["show", "all", "STUDY", "--context", "x"],
        "no answers under STUDY fit context=x; there are: sad, unmodified",
    ),
    (
        ["show", "trivia_001", "STUDY", "--arm", "x"],
        "no answers under STUDY fit arm=x; there are: original, warm",
    ),
    (
        ["show", "all", "STUDY", "--task", "seed_trivia", "--arm", "warm, dose 9"],
        "no answers under STUDY fit arm=warm, dose 9; there are: original, warm",
    ),
    (
        ["show", "all", "STUDY", "--replies", "--arm", "x"],
        "no scored replies under STUDY fit arm=x; there are: original,",
    ),
    (
        ["show", "all", "STUDY", "--replies", "--task", "x"],
        "--replies are to held-out prompts, which have no task,",
    ),
    (
        ["reproduce", "FILE", "--columns", "x=y"],
        "--columns: x=y is not role=column or role==value; roles: question,",
    ),
    (
        ["reproduce", "FOLDER"],
        "FOLDER holds neither summary/results_*.csv nor <sample>/<arm>/*_outputs.csv",
    ),
    (["agreement", "FILE", "STUDY"], "FILE: only .jsonl, .json, .csv files can be read"),
]


@pytest.mark.parametrize(("words", "says"), WORDS)
def test_a_broken_request_is_answered_by_what_is_allowed(warmth, study, words, says):
    (study.parent / "FILE").write_text("a,b\n1,2\n")
    (study.parent / "BINARY").write_bytes(bytes(range(256)))
    (study.parent / "FOLDER").mkdir()
    places = {
        "STUDY": study,
        **{name: study.parent / name for name in ("FILE", "BINARY", "FOLDER")},
    }
    for name, path in places.items():
        words = [word.replace(name, str(path)) for word in words]
        says = says.replace(name, str(path))
    code, out, err = warmth(*words)
    assert code == 2 and out == "" and err.count("\n") == 1 and err.startswith(f"error: {says}")


def test_two_models_of_one_name_are_not_paired(warmth, study):
    for name, revision in (("none", "a" * 40), ("warm", "b" * 40)):
        path = arm(study, name) / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps(config | {"model": config["model"] | {"revision": revision}}))
    code, _, err = warmth("report", study, "--out", study.parent / "out")
    assert code == 2 and err.startswith(
        "error: two models are called smollm2; they differ in model.revision: "
    )


def without_sad(study: Path) -> None:
    path = arm(study) / "answers.jsonl"
    path.write_text(
        "".join(line + "\n" for line in path.read_text().splitlines() if '"sad"' not in line)
    )


NOTES = [
    (
        lambda study: shutil.rmtree(arm(study, "none")),
        "Note: smollm2: original is not among the runs, so that no arm",
    ),
    (without_sad, "Note: smollm2: warm and original share no scored prompt of context sad."),
]


@pytest.mark.parametrize(("damage", "says"), NOTES)
def test_rows_without_a_partner_still_make_a_page_that_says_so(warmth, study, damage, says):
    damage(study)
    code, out, err = warmth("report", study, "--out", study.parent / "out")
    assert code == 0 and err == "" and says in " ".join(out.split())
    assert says.removeprefix("Note: ") in (study.parent / "out" / "report.html").read_text("utf-8")
