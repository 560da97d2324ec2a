"""What the pages say is what the program does."""

import importlib.util

from warmth.digest import ROOT


def test_the_reference_is_made_from_the_configuration_as_it_is():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "reference.md").read_text(encoding="utf-8") == module.reference(), (
        "run `python docs/make_reference.py`"
    )
