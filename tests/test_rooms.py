from importlinter.cli import lint_imports

from warmth.digest import ROOT


def test_rooms_import_the_ground_floor_and_never_each_other(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    broken = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert not broken, capsys.readouterr().out
