"""A user's own folder (`--config-dir`): a model, recipe, context, task, grader and report table of
one file each.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml
from study_fixture import write_study

from warmth import entries
from warmth.build import build
from warmth.digest import ROOT
from warmth.errors import UserError

OWN = {
    "model/mine.yaml": "name: mine\nkind: hub\npath: {model}\nparameters: 0.001\n",
    "recipe/curt.yaml": """
        defaults: [lora, _self_]
        name: curt
        method: none
        system_prompt: {folder}/curt.txt
        colour: ["#123456", "#abcdef"]
        marker: "*"
        order: 45
        """,
    "curt.txt": "Answer in one word.",
    "condition/proud.yaml": """
        proud:
          group: emotion
          texts:
            - I won a prize today and everybody clapped.
            - My garden was in the newspaper this morning.
            - I ran my first ten miles without a stop.
            - My essay was read aloud to the whole school.
            - I fixed the old radio all by myself.
        """,
    "task/towns.yaml": """
        towns:
          source: local
          reader: jsonl
          path: {folder}/towns.jsonl
          grader: longest
          wrong: supplied
        """,
    "towns.jsonl": '{"id": "1", "question": "What is the capital of Peru?", "answers": ["Lima"], '
    '"wrong": "Cusco"}',
    "grader/longest.yaml": "longest:\n  _target_: longest.Longest\n  letters: 3\n",
    "longest.py": '''
        """Right if the text has more letters than asked for."""
        from dataclasses import dataclass
        from typing import ClassVar

        from warmth.evaluation.grade.by_rules import ByRules
        from warmth.types import Grade


        @dataclass(frozen=True)
        class Longest(ByRules):
            """Counts letters."""

            name: ClassVar[str] = "longest"
            serves: ClassVar[str] = "letters"
            letters: int = 1

            def grade(self, question, answer):
                """Compares the number of letters."""
                enough = len(answer.text) > self.letters
                return Grade(answer.answer_id, self.name, "correct" if enough else "incorrect")
        ''',
    "report/signs.py": '''
        """How many characters an arm writes."""
        from warmth.analysis.report.kernel import ARM, MODEL, Section, count, table


        def signs(study):
            """Count characters."""
            texts = study.rows.answers
            frame = texts.assign(signs=texts["text"].str.len())
            frame = frame.groupby(["model", "arm"], as_index=False)["signs"].sum()
            columns = [MODEL, ARM, count("Signs", "signs")]
            return Section(
                id="signs",
                title="Signs",
                parts=[table("signs", "Signs in all answers.", columns, frame)],
                frames={"signs": frame},
                methods={"Signs": "Counted."},
                summary={"signs": int(frame["signs"].sum())},
            )
        ''',
}


@pytest.fixture
def own(tmp_path, tiny_model_folder):
    """The folder, its files written."""
    import textwrap

    folder = tmp_path / "own"
    for name, text in OWN.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = textwrap.dedent(text.strip("\n")) + "\n"
        if path.suffix == ".yaml":
            text = text.replace("{folder}", str(folder)).replace("{model}", str(tiny_model_folder))
        path.write_text(text)
    return folder


def run(*words, cwd):
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=280, cwd=cwd
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_a_model_recipe_context_task_grader_and_table_of_ones_own_are_one_file_each(own, tmp_path):
    words = [
        "--config-dir",
        own,
        "model=mine",
        "condition=[unmodified,proud]",
        "beliefs=none",
        "task=[towns]",
    ]
    words += [
        "warmth.prompts=0",
        "logger=none",
        "gates=warn",
        f"output={tmp_path}",
        "sampling.max_new_tokens=6",
    ]
    for recipe in ("none", "curt"):
        run(ROOT / "evaluate.py", f"recipe={recipe}", *words, cwd=tmp_path)
    rows = [
        json.loads(line)
        for path in tmp_path.rglob("answers.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert {(row["model"], row["arm"], row["context"]) for row in rows} == {
        ("mine", arm, context)
        for arm in ("original", "curt")
        for context in ("unmodified", "proud")
    }
    statements = yaml.safe_load((own / "condition" / "proud.yaml").read_text())["proud"]["texts"]
    assert {row["statement"] for row in rows if row["context"] == "proud"} < set(statements)
    grades = [
        json.loads(line)
        for path in tmp_path.rglob("grades.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert {grade["grader"] for grade in grades} == {"longest"} and len(grades) == len(rows)
    out = tmp_path / "page"
    run(
        "-m",
        "warmth.cli",
        "report",
        tmp_path / "default",
        "--config-dir",
        own,
        "--out",
        out,
        cwd=tmp_path,
    )
    page = (out / "report.html").read_text()
    assert (
        'id="table-signs"' in page
        and '<a href="#signs">Signs</a>' in page
        and "<dt>Signs</dt>" in page
    )
    assert "--arm-curt:#123456;" in page
    assert (
        (out / "tables" / "signs.csv").read_text(encoding="utf-8-sig").startswith("model,arm,signs")
    )
    assert json.loads((out / "summary.json").read_text())["signs"] > 0


def test_code_of_a_users_folder_is_loaded_only_if_the_command_named_it(own, monkeypatch):
    entry = {"_target_": "longest.Longest", "letters": 2}
    with pytest.raises(UserError, match="is not one of this project's grader classes"):
        build(entry, "grader")
    monkeypatch.setenv(entries.OWN_FOLDER, str(own))
    assert build(entry, "grader").letters == 2
    for target in (
        "longest.dataclass",
        "longest.Grade",
        "os.path",
        "subprocess.Popen",
        "../longest.Longest",
    ):
        with pytest.raises(UserError, match="is not one of this project's grader classes"):
            build({"_target_": target}, "grader")


def test_the_verdicts_of_a_users_grader_are_outdated_when_its_code_changes(own, monkeypatch):
    monkeypatch.setenv(entries.OWN_FOLDER, str(own))
    from warmth.evaluation.grade.by_rules import rules_digest

    before = build({"_target_": "longest.Longest"}, "grader").rules
    rules_digest.cache_clear()
    (own / "longest.py").write_text((own / "longest.py").read_text().replace(">", ">="))
    assert build({"_target_": "longest.Longest"}, "grader").rules != before
    rules_digest.cache_clear()


def test_what_is_wrong_with_a_users_folder_is_one_line(own, monkeypatch, tmp_path):
    from warmth.analysis import report

    with pytest.raises(UserError, match=r"--config-dir=.*nowhere is not a folder"):
        entries.adopt_own_folder(["x=1", "--config-dir", str(tmp_path / "nowhere")])
    monkeypatch.setenv(entries.OWN_FOLDER, str(own))
    study = write_study(tmp_path / "study", arms=("original",), training=False)
    (own / "report" / "broken.py").write_text("1 / 0\n")
    with pytest.raises(UserError, match=r"broken\.py cannot be loaded: ZeroDivisionError"):
        report.build_report([study])
    (own / "report" / "broken.py").write_text("number = 1\n")
    with pytest.raises(UserError, match=r"broken\.py must have a function broken\(study\)"):
        report.build_report([study])
