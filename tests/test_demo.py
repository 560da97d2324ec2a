"""The demo finishes arms one by one, and its page is written after each: the first one after two
arms.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from warmth.commands import demo


def test_the_demos_arms_are_those_of_its_experiment_the_original_among_them():
    names = demo.demo_arms()
    assert "none" in names and "warm" in names and len(names) > 2


def test_the_first_round_has_the_original_and_one_trained_arm_and_every_round_ends_with_the_page():
    rounds = list(demo.rounds(["none", "warm", "cold"]))
    assert [words[0] for words in rounds[0]] == ["train", "evaluate", "report"] and len(rounds) == 2
    assert rounds[0][0][-1] == "recipe=warm" and rounds[0][1][-1] == "recipe=none,warm"
    assert rounds[1][0][-1] == "recipe=cold" and rounds[1][1][-1] == "recipe=cold"
    assert rounds[0][2] == rounds[1][2] == ["report", "multirun/demo", "--out", "reports/demo"]


@pytest.fixture
def carried(monkeypatch, capsys):
    """Runs the demo without its work; returns the commands and what was printed."""
    words = []
    codes = {}

    def run(command, **_):
        words.append(command[3:])
        return SimpleNamespace(returncode=codes.get(command[3], 0))

    monkeypatch.setattr(demo.subprocess, "run", run)
    monkeypatch.setattr(demo, "embedded_folder", lambda: None)
    monkeypatch.setattr(demo, "estimate_s", lambda trained: 200.0 * trained)
    monkeypatch.setattr(demo, "demo_arms", lambda: ["none", "warm", "cold", "untransformed"])

    def carry(**failing):
        codes.update(failing)
        try:
            demo.main()
            code = 0
        except SystemExit as ended:
            code = ended.code
        return code, words, capsys.readouterr().out

    return carry


def test_it_says_what_comes_when_and_where_each_page_is(carried):
    code, words, out = carried()
    assert code == 0 and [item[0] for item in words] == ["train", "evaluate", "report"] * 3
    assert (
        "first page comes after two arms, in about 3 min 20 s" in out
        and "the last in about 10 min" in out
    )
    pages = [line.partition(": ")[0] for line in out.splitlines() if "report.html" in line]
    assert pages == ["page after 2 of 4 arms", "page after 3 of 4 arms", "page after 4 of 4 arms"]
    assert out.count("of processor time") == 3


def test_a_command_that_fails_ends_it_with_its_code(carried):
    code, words, out = carried(evaluate=2)
    assert (
        code == 2
        and [item[0] for item in words] == ["train", "evaluate"]
        and "page after" not in out
    )
