"""`warmth train` and `warmth evaluate` are the two scripts; a shell completes their keys and
entries.
"""

from __future__ import annotations

import sys

import pytest

from warmth import __version__, cli, command_line
from warmth.commands import run_verbs
from warmth.commands.run_verbs import completions
from warmth.paths import script


@pytest.mark.parametrize(
    ("words", "position", "incomplete", "expected"),
    [
        ("warmth train rec", 2, "rec", ["recipe=", "recipe.name="]),
        ("warmth train recipe = col", 4, "col", ["cold"]),  # bash parts a word at =
        ("warmth train recipe =", 3, "", ["cold", "warm"]),
        ("warmth evaluate scoring = ", 4, "", ["answers", "likelihood", "both"]),
        ("warmth train evaluate = dem", 4, "dem", ["demo_evaluate"]),
    ],
)
def test_bash_completes_keys_entries_and_allowed_words(
    words, position, incomplete, expected, monkeypatch
):
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(position))
    found = completions(words.split()[1], incomplete)
    assert set(expected) <= set(found) and all(item.startswith(incomplete) for item in found)


def test_other_shells_complete_the_whole_word(monkeypatch):
    monkeypatch.delenv("COMP_WORDS", raising=False)
    assert completions("evaluate", "task=seed_t") == ["task=seed_trivia"]
    assert "--config-dir" in completions("train", "--") and "-m" in completions("train", "-")


def test_entries_of_the_folder_that_the_line_names_are_completed(tmp_path, monkeypatch):
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "curt.yaml").write_text("# Mine.\nname: curt\n")
    monkeypatch.setenv("WARMTH_CONFIG_DIR", "")
    monkeypatch.setenv("COMP_WORDS", f"warmth train --config-dir {tmp_path} recipe = cu")
    monkeypatch.setenv("COMP_CWORD", "6")
    assert completions("train", "cu") == ["curt"]


def test_the_verb_hands_on_the_words_as_they_were_typed(monkeypatch):
    seen = []
    monkeypatch.setattr(
        run_verbs,
        "script",
        lambda name: type("S", (), {"main": lambda: seen.append(list(sys.argv))}),
    )
    monkeypatch.setattr(
        sys,
        "argv",
        ["/usr/bin/warmth", "train", "-m", "recipe=a,b", "--cfg", "job", "evaluate=train"],
    )
    with pytest.raises(SystemExit):
        cli.main()
    assert seen == [["warmth train", "-m", "recipe=a,b", "--cfg", "job", "evaluate=train"]]


def test_a_line_names_the_command_as_it_was_started(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert command_line.typed("train") == "python train.py"
    monkeypatch.setattr(sys, "argv", ["warmth evaluate"])
    assert command_line.typed("train") == "warmth train"


def test_the_version_is_printed_alone(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["warmth", "--version"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code and capsys.readouterr().out == f"warmth {__version__}\n"


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_a_script_of_this_version_can_be_loaded_as_a_module(name):
    assert callable(script(name).main)
