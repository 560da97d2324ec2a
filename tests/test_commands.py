"""Every command of the README and the documentation is one that works, or says in its comment what
it needs first.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys

import pytest
from hydra import compose, initialize_config_dir
from study_fixture import write_study
from typer.testing import CliRunner

from warmth import cli
from warmth.config import strict
from warmth.entries import OWN_FOLDER, adopt_own_folder
from warmth.entry import SCHEMAS, accepted_words
from warmth.paths import ROOT
from warmth.schemas import register

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "README.md"]
STARTS = re.compile(r"(?:\S*/)?python +(train|evaluate)\.py +|warmth +")
NEEDS = re.compile(r"needs (?:a GPU|a server|a download|a cluster|such|them|it filled)")


def commands():
    """Page and command of every line of a code block that starts one of ours."""
    for page in PAGES:
        if page.name == "reference.md":
            continue
        for block in re.findall(
            r"^```[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            for line in block.splitlines():
                if STARTS.match(line):
                    yield page.name, line


COMMANDS = list(dict.fromkeys(commands()))
OF_CONFIGS = [item for item in COMMANDS if not item[1].startswith("warmth ")]
OF_VERBS = [item for item in COMMANDS if item[1].startswith("warmth ")]


def words_of(line):
    """The words of a command without its comment."""
    return shlex.split(re.sub(r"\s#\s.*$", "", line))


def test_the_pages_hold_commands_of_every_kind():
    assert len(OF_CONFIGS) > 25 and len(OF_VERBS) > 20
    verbs = {words_of(line)[1] for _, line in OF_VERBS}
    assert {
        "report",
        "show",
        "export",
        "score",
        "grade",
        "rate",
        "reproduce",
        "agreement",
        "preview",
        "status",
    } <= verbs


@pytest.mark.slow
@pytest.mark.parametrize(("page", "line"), OF_CONFIGS, ids=[line[:60] for _, line in OF_CONFIGS])
def test_a_command_that_trains_or_evaluates_is_accepted(page, line, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv(OWN_FOLDER, raising=False)
    name = STARTS.match(line)[1]
    words = words_of(line)[2:]
    adopt_own_folder(words)
    accepted = [
        word for word in accepted_words(name, words) if "=" in word and not word.startswith("-")
    ]
    # of a sweep's axis the first value: `a=1,2` outside of brackets
    single = [re.sub(r"^([^=\[]+=[^\[,'\"]+),.*$", r"\1", word) for word in accepted]
    register()
    own = (
        [f"hydra.searchpath=[file://{ROOT / 'examples' / 'own'}]"] if "--config-dir" in line else []
    )
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        study = strict(compose(name, [*single, *own]), SCHEMAS[name])
    assert study.study
    monkeypatch.delenv(OWN_FOLDER, raising=False)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder as the reader's: examples beside a finished study under the names that the pages
    use.
    """
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "examples", folder / "examples")
    study = write_study(tmp_path_factory.mktemp("study"))
    for name in ("demo", "default", "first"):
        shutil.copytree(study / "demo", folder / "multirun" / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("page", "line"), OF_VERBS, ids=[line[:60] for _, line in OF_VERBS])
def test_a_verb_does_what_the_page_says_or_names_what_it_needs(
    page, line, clone, monkeypatch, capsys
):
    words = words_of(line)[1:]
    if words[0] in ("train", "evaluate"):
        pytest.skip(
            "the same as python train.py and evaluate.py, whose commands are accepted above"
        )
    if words[0] == "demo":
        pytest.skip("twenty minutes; its flow is tested in tests/test_demo.py")
    options = [word for word in words[1:] if word.startswith("--")]
    help_of_verb = CliRunner().invoke(cli.app, [words[0], "--help"]).output
    assert help_of_verb, words[0]
    assert [option for option in options if option.partition("=")[0] not in help_of_verb] == []
    if NEEDS.search(line):
        return
    shown = {"trivia_150": "trivia_001", "LABELS.csv": "labels.csv"}  # the fixture's own questions
    monkeypatch.chdir(clone)
    monkeypatch.setattr(sys, "argv", ["warmth", *(shown.get(word, word) for word in words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code, capsys.readouterr().err


def test_a_make_target_that_a_page_names_exists():
    targets = set(
        re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = set()
    for page in PAGES:
        for block in re.findall(
            r"^```[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            for line in re.findall(r"^make +([^#\n]+)", block, re.MULTILINE):
                named |= {word for word in line.split() if re.fullmatch(r"[a-z-]+", word)}
    assert named and named <= targets | {"clean-help"}
