"""The check of how much a reader must hold in mind counts what it says, and only lowers bounds."""

import importlib.util
import sys

import pytest

from warmth.digest import ROOT


@pytest.fixture(scope="module")
def density():
    spec = importlib.util.spec_from_file_location("density", ROOT / "checks" / "density.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["density"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


SOURCE = '''
def f(rows):
    """A noun phrase."""
    a, b = 1, 2
    found = [x for x in [y for y in rows]]
    return a if b else found
'''


def test_it_counts_statements_comprehensions_conditions_names_and_noun_phrases(density, tmp_path):
    (tmp_path / "module.py").write_text(SOURCE)
    counts = density.count(tmp_path)
    assert (counts.statements, counts.comprehensions, counts.nested) == (5, 2, 1)
    assert (counts.conditionals, counts.parallel) == (1, 1)
    assert (counts.names, counts.empty_names) == (5, 1)  # a, b, found, x, y
    assert (counts.docstrings, counts.noun_docstrings) == (1, 1)
    measures = counts.measures()
    assert measures["empty_names_percent"] == 20.0
    assert set(measures) == set(density.GOALS)


def test_bounds_are_lowered_to_what_is_reached_and_never_raised(density):
    text = "first = 5\nsecond = 2\n"
    measures = {"first": 3.201, "second": 9.0}
    assert (
        density.lowered(text, measures, {"first": 5, "second": 2}) == "first = 3.21\nsecond = 2\n"
    )


def test_a_bound_above_the_goal_does_not_help(density, monkeypatch, tmp_path, capsys):
    package = tmp_path / "warmth"
    package.mkdir()
    (package / "module.py").write_text(SOURCE)
    bounds = "\n".join(f"{name} = 1000" for name in density.GOALS)
    settings = tmp_path / "pyproject.toml"
    settings.write_text(f"[tool.density]\n{bounds}\n")
    monkeypatch.setattr(density, "ROOT", tmp_path)
    monkeypatch.setattr(density, "SETTINGS", settings)
    assert density.main([]) == 1
    assert "over" in capsys.readouterr().out
