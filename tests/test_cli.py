"""The verbs as a user types them: output, exit codes, one line on an error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from study_fixture import write_study

from warmth import cli


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(
        tmp_path_factory.mktemp("study"), arms=("original", "untransformed", "warm"), training=False
    )


def test_help_imports_nothing_heavy():
    heavy = (
        "{'torch', 'pandas', 'matplotlib', 'scipy', 'hydra', 'omegaconf', 'jinja2', 'transformers'}"
    )
    check = f"import sys, warmth.cli; sys.exit(bool({heavy} & set(sys.modules)))"
    assert (
        subprocess.run(
            [sys.executable, "-c", check], cwd=Path(cli.__file__).parent.parent
        ).returncode
        == 0
    )


def test_report_ends_with_the_table_and_the_path_of_the_page(warmth, study, tmp_path):
    code, out, _ = warmth("report", study, "--out", tmp_path / "out")
    lines = out.strip().splitlines()
    assert code == 0 and lines[-1] == f"page: {(tmp_path / 'out' / 'report.html').resolve()}"
    assert any(line.startswith("warm ") and "+" in line for line in lines)


def test_publishing_without_a_key_records_offline_beside_the_runs(
    warmth, study, tmp_path, monkeypatch
):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    code, _, err = warmth("report", study, "--out", tmp_path / "out", "--publish")
    recorded = list((study / "demo" / "wandb").glob("offline-run-*-report-*/*.wandb"))
    recorded_line, published_line = [
        line for line in err.splitlines() if line.startswith("wandb: ")
    ]
    assert "recorded offline in " in recorded_line and "wandb sync " in recorded_line
    assert published_line.startswith("wandb: no report was published, record")
    assert code == 0 and len(recorded) == 1 and recorded[0].stat().st_size > 10_000


def test_report_goes_to_a_folder_named_after_the_study(warmth, study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert warmth("report", study)[0] == 0
    assert (tmp_path / "reports" / "demo" / "report.html").exists()


def test_json_stands_alone_on_standard_output(warmth, study, tmp_path):
    _, out, err = warmth("report", study, "--out", tmp_path / "out", "--json")
    assert json.loads(out)["arms"] == ["original", "untransformed", "warm"] and err == ""
    _, out, _ = warmth("show", "trivia_001", study, "--json")
    assert len(json.loads(out)["prompts"]) == 6


def test_show_puts_arms_side_by_side(warmth, study):
    code, out, _ = warmth("show", "trivia_001", study)
    assert code == 0 and "What is the capital of Portugal?" in out
    header = next(line for line in out.splitlines() if "original" in line)
    assert header.index("original") < header.index("untransformed") < header.index("warm")


def test_show_takes_several_contexts_and_the_replies_behind_a_warmth_score(warmth, study):
    _, out, _ = warmth(
        "show", "trivia_001", study, "--context", "sad,unmodified", "--belief", "none", "--json"
    )
    assert {item["context"] for item in json.loads(out)["prompts"]} == {"sad", "unmodified"}
    _, out, _ = warmth("show", "all", study, "--arm", "warm", "--replies", "--json")
    shown = json.loads(out)["prompts"]
    assert len(shown) == 24 and [one["arm"] for one in shown[0]["said"]] == ["original", "warm"]
    assert all(one["label"][0] in "+-" for item in shown for one in item["said"])


def test_show_prints_hostile_text_as_text(warmth, study, tmp_path):
    import shutil

    root = Path(shutil.copytree(study, tmp_path / "study"))
    for path in root.rglob("answers.jsonl"):
        rows = [
            json.loads(line) | {"text": "[/b][red]\x1b]0;title\x07\x1b[31m$x_{ <img>"}
            for line in path.read_text().splitlines()
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = warmth("show", "trivia_001", root)
    assert code == 0 and "\x1b" not in out and "\x07" not in out and "[/b]" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["report", "nowhere"], "error: nowhere does not exist"),
        (["report"], "error: Missing argument 'PATH...'."),
        (["reprot", "x"], "error: No such command 'reprot'."),
        (["show", "no_such_question", "STUDY"], "error: no answers under "),
        (["score", "nowhere.jsonl"], "error: nowhere.jsonl does not exist"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(warmth, study, words, says):
    code, out, err = warmth(*(study if word == "STUDY" else word for word in words))
    assert code == 2 and out == "" and err.startswith(says) and err.count("\n") == 1


def test_a_report_that_cannot_be_written_says_so(warmth, study, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = warmth("report", study, "--out", tmp_path / "file")
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"id": 1}', "line 2: field text must be a string"),
        ('{"text": "x"}', "line 2 has no field id"),
        ("x", "line 2: not JSON"),
    ],
)
def test_a_bad_text_is_named_by_file_and_line(warmth, tmp_path, row, says):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"id": "a", "text": "fine"}\n' + row + "\n")
    code, _, err = warmth("score", path)
    assert code == 2 and says in err


def test_an_unknown_scorer_is_refused_before_anything_is_loaded(warmth, tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"id": "a", "text": "fine"}\n')
    code, _, err = warmth("score", path, "--scorer", "no such")
    assert code == 2 and "neither a folder nor a hub id nor one of: " in err and "smollm2" in err
