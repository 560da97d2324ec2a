"""Every arm of a study has a look of its own, from its recipe, from the runs, or spare."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from matplotlib.markers import MarkerStyle
from study_fixture import write_study
from test_ink import PAPER, contrast

from warmth.analysis import report
from warmth.analysis.report.drawing.ink import css_colours, variable
from warmth.analysis.rows import looks
from warmth.analysis.rows.looks import Look, adopt, known_looks, look_of, spare_look, stated_look
from warmth.entries import OWN_FOLDER, entry_files
from warmth.errors import UserError

INHERITED = {"lora"}


@pytest.fixture(autouse=True)
def forget():
    adopt([])
    yield
    adopt([])


def run(folder, name, **look):
    return SimpleNamespace(folder=folder, arm=name, config={"recipe": {"name": name, **look}})


def test_every_recipe_has_a_look_of_its_own():
    names = [
        "original" if name == "none" else name
        for name in entry_files("recipe")
        if name not in INHERITED
    ]
    assert set(names) == set(looks.shipped_looks())
    colours = [look_of(name).light for name in names]
    assert len(set(colours)) == len(names)
    orders = [look_of(name).order for name in names]
    assert len(set(orders)) == len(names) and min(orders) == look_of("original").order


def test_every_arm_of_a_study_has_a_colour_in_the_page_that_can_be_read(tmp_path):
    adopt([run(tmp_path, f"mine {number}<b>") for number in range(20)])
    for arm in known_looks():
        light, dark = css_colours()[variable(arm)]
        assert contrast(light, PAPER[0]) >= 4.5 and contrast(dark, PAPER[1]) >= 4.5
        assert MarkerStyle(look_of(arm).marker)


def test_arms_without_a_stated_look_differ_from_each_other_and_from_all_others(tmp_path):
    names = [f"mine_{number}" for number in range(40)]
    adopt([run(tmp_path, name) for name in names])
    first = {name: look_of(name) for name in names}
    pairs = {(look.light, look.marker) for look in known_looks().values()}
    assert len(pairs) == len(known_looks())
    adopt([run(tmp_path, name) for name in reversed(names)])
    assert first == {name: look_of(name) for name in names}


def test_when_no_spare_look_is_left_one_is_used_twice():
    everything = [
        Look(0, light, "", marker)
        for light, _ in looks.SPARE_COLOURS
        for marker in looks.SPARE_MARKERS
    ]
    assert spare_look("x", everything) == spare_look("x")


def test_what_a_run_states_wins_and_doses_share_it(tmp_path):
    adopt([run(tmp_path, "warm", order=5, colour=["#123456", "#abcdef"], marker="v")])
    assert look_of("warm, dose 0.5") == Look(5, "#123456", "#abcdef", "v")
    adopt([])
    assert look_of("warm") == looks.shipped_looks()["warm"]


@pytest.mark.parametrize(
    ("look", "said"),
    [
        ({"colour": ["red", "#abcdef"], "marker": "o"}, "recipe.colour="),
        ({"colour": ["#123456"], "marker": "o"}, "must be two colours"),
        ({"colour": ["#123456;}", "#abcdef"], "marker": "o"}, "recipe.colour="),
        (
            {"colour": ["#123456", "#abcdef"], "marker": "<script>"},
            "recipe.marker=<script> is not allowed",
        ),
        (
            {"colour": ["#123456", "#abcdef"], "marker": "o", "order": "first"},
            "recipe.order=first must be a whole",
        ),
    ],
)
def test_a_look_that_cannot_be_drawn_is_one_line(look, said):
    with pytest.raises(UserError, match=said):
        stated_look(look, "x/config.json")


def test_a_recipe_of_ones_own_has_the_look_that_its_file_states(tmp_path, monkeypatch):
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "mine.yaml").write_text(
        'order: 45\ncolour: ["#123456", "#abcdef"]\nmarker: "*"\n'
    )
    monkeypatch.setenv(OWN_FOLDER, str(tmp_path))
    assert look_of("mine") == Look(45, "#123456", "#abcdef", "*")


def test_a_report_draws_the_looks_of_its_runs(tmp_path):
    root = write_study(tmp_path / "study", arms=("original", "warm"), training=False)
    (folder,) = root.rglob("smollm2-warm-*")
    config = json.loads((folder / "config.json").read_text())
    config["recipe"] |= {"order": -1, "colour": ["#123456", "#abcdef"], "marker": "v"}
    (folder / "config.json").write_text(json.dumps(config))
    page = report.write_report(report.build_report([root]), tmp_path / "out")
    assert "--arm-warm:#123456;" in page.read_text()
    assert "#123456" in (tmp_path / "out" / "figures" / "frontier.svg").read_text()
    rows = (tmp_path / "out" / "tables" / "headline.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["warm", "original"]
