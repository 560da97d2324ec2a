import tomllib

from importlinter.cli import lint_imports

from warmth.digest import ROOT


def test_rooms_import_the_ground_floor_and_never_each_other_and_nothing_goes_in_circles(
    monkeypatch, capsys
):
    monkeypatch.chdir(ROOT)
    broken = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert not broken, capsys.readouterr().out


def test_every_room_is_asked_for_circles():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    (circles,) = [contract for contract in contracts if contract["type"] == "acyclic_siblings"]
    packages = {path.parent for path in (ROOT / "warmth").rglob("*.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in packages}
    assert names == set(circles["ancestors"])
