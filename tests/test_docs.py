"""What the pages say is what the program does."""

import importlib.util
import subprocess
import sys

import pytest

from warmth.digest import ROOT


def test_the_reference_is_made_from_the_configuration_as_it_is():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "reference.md").read_text(encoding="utf-8") == module.reference(), (
        "run `python docs/make_reference.py`"
    )


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_help_teaches_choices_and_keys_without_loading_anything_heavy(name):
    code = f"import sys, runpy; sys.argv = ['{name}.py', '--help']; runpy.run_path('{name}.py', run_name='__main__');"
    code += "print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "recipe\n    cold " in done.stdout and "  seed: 0 " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
