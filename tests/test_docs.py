"""What the pages say is what the program does."""

import importlib.util
import re
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir

from warmth.config import strict
from warmth.digest import ROOT
from warmth.evaluation.tasks import load_all
from warmth.schemas import Evaluate, register


def test_the_reference_is_made_from_the_configuration_as_it_is():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "reference.md").read_text(encoding="utf-8") == module.reference(), (
        "run `python docs/make_reference.py`"
    )
    assert "all nine contexts and three beliefs whatever condition=" in module.reference()  # a comment of several lines


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_help_teaches_choices_and_keys_without_loading_anything_heavy(name):
    code = f"import sys, runpy; sys.argv = ['{name}.py', '--help']; runpy.run_path('{name}.py', run_name='__main__');"
    code += "print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "recipe\n    cold " in done.stdout and "  seed: 0 " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_tutorial_shows_a_question_that_the_demo_asks():
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        study = strict(compose("evaluate", ["experiment=demo_evaluate"]), Evaluate)
    asked = {question.id for question in load_all(study)}
    shown = re.findall(r"^warmth show (\S+)", (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert shown and set(shown) <= asked
