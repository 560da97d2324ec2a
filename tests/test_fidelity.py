"""docs/fidelity.md: nothing of the study's two experiments differs from what was published without
a word.
"""

from __future__ import annotations

import importlib.util

import pytest

from warmth.digest import ROOT


@pytest.fixture(scope="module")
def page():
    spec = importlib.util.spec_from_file_location(
        "make_fidelity", ROOT / "docs" / "make_fidelity.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_made_from_the_configuration_as_it_is(page):
    written = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    assert written == page.fidelity(), "run `python docs/make_fidelity.py`"
    assert "| 44,375 answers" not in written and "`grid.answers=44375`" in written


def test_a_value_that_differs_without_a_reason_is_no_page(page, monkeypatch):
    values = {**page.configured(), "recipe.rank": 16}
    monkeypatch.setattr(page, "configured", lambda: values)
    with pytest.raises(
        page.SilentDifference, match="step 'rank': recipe.rank=16 is not as published"
    ):
        page.fidelity()


def test_a_key_that_no_step_names_is_no_page(page):
    with pytest.raises(page.SilentDifference, match="stands in no step"):
        page.refuse_unnamed({"recipe.*", "data.*"})


def test_a_reason_is_shown_beside_a_value_that_differs(page):
    row = {
        "step": "x",
        "published": "7",
        "keys": ["recipe.rank"],
        "same": [7],
        "why": "eight is better",
    }
    assert page.judged(row) == ("`recipe.rank=8`", "on purpose: eight is better")
    assert page.judged({**row, "same": [8]})[1] == "same"
    assert (
        page.judged({"step": "x", "published": None, "keys": ["recipe.rank"], "why": "ours"})[1]
        == "not known: ours"
    )
