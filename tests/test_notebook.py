"""What a notebook uses: `import warmth`, its functions, and finished runs as frames."""

from __future__ import annotations

import subprocess
import sys

import pytest
from study_fixture import write_study

import warmth
from warmth.errors import UserError
from warmth.paths import ROOT


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), arms=("original", "warm"), training=False)


def test_a_study_is_loaded_as_pandas_frames(study):
    loaded = warmth.Study.load(str(study))
    assert set(loaded.answers["arm"]) == {"original", "warm"}
    assert {"text", "label", "wrong"} <= set(loaded.answers.columns)
    assert set(loaded.grades["answer_id"]) == set(loaded.answers["answer_id"])
    assert list(loaded.runs["stage"]) == ["evaluate"] * len(loaded.runs) and set(
        loaded.runs["arm"]
    ) == {
        "original",
        "warm",
    }
    assert len(loaded.warmth) and len(loaded.prompts)


def test_a_notebook_completes_the_names_before_they_are_imported():
    code = "import sys, warmth; print({*warmth.__all__} <= {*dir(warmth)}, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_a_report_has_its_page_its_tables_and_its_answer(study, tmp_path):
    page = warmth.Study.load(study).report(out=tmp_path / "page")
    assert page.path == tmp_path / "page" / "report.html" and page.path.exists()
    assert page.answer and page.answer in page.summary["answer"]["text"]
    assert "report.html" in page._repr_html_() and "<script" not in page._repr_html_()
    assert len(page.tables)


def test_what_is_wrong_is_an_exception_and_leaves_the_command_line_alone(tmp_path):
    before = list(sys.argv)
    with pytest.raises(UserError, match="did you mean recipe.epochs"):
        warmth.train(["recipe.epoch=3"])
    with pytest.raises(UserError, match="must be a list of words"):
        warmth.evaluate("recipe=none")
    with pytest.raises(UserError, match="does not exist"):
        warmth.Study.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no folder was given"):
        warmth.report()
    assert sys.argv == before


def test_a_run_from_a_notebook_returns_its_folder(tiny_model_folder, tmp_path):
    words = [
        f"model={tiny_model_folder}",
        "recipe=none",
        "logger=none",
        f"output={tmp_path}",
        "limit=1",
        "gates=warn",
    ]
    words += [
        "condition=[unmodified]",
        "beliefs=none",
        "warmth.prompts=0",
        "sampling.max_new_tokens=4",
    ]
    (folder,) = warmth.evaluate(words)
    assert (folder / "done.json").exists()
    assert warmth.evaluate(words) == [folder]  # done already
    assert warmth.evaluate([*words, "draw_seed=0,1"], sweep=True)[0] == folder
    assert len(warmth.Study.load(tmp_path).runs) == 2


def test_import_warmth_is_light_and_offers_what_it_says():
    code = (
        "import sys, warmth; print(sorted({'torch', 'pandas', 'hydra', 'omegaconf'} & "
        "set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    assert all(hasattr(warmth, name) for name in warmth.__all__) and not hasattr(
        warmth, "nothing_such"
    )
