"""What the pages say is what the program does."""

import html
import importlib.util
import json
import re
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir

from warmth.config import strict
from warmth.digest import ROOT
from warmth.evaluation.ask.tasks import load_all
from warmth.schemas import Evaluate, register


def test_the_reference_is_made_from_the_configuration_as_it_is():
    spec = importlib.util.spec_from_file_location(
        "make_reference", ROOT / "docs" / "make_reference.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "reference.md").read_text(encoding="utf-8") == module.reference(), (
        "run `python docs/make_reference.py`"
    )
    assert (
        "all nine contexts and three beliefs whatever condition=" in module.reference()
    )  # a comment of several lines


def test_the_picture_of_the_house_is_drawn_from_the_imports_as_they_are():
    spec = importlib.util.spec_from_file_location("make_house", ROOT / "docs" / "make_house.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = re.search(r"<dc:title>(.*?)</dc:title>", module.PICTURE.read_text(encoding="utf-8"))
    assert json.loads(html.unescape(drawn.group(1))) == module.imports(), (
        "run `python docs/make_house.py`"
    )


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_help_teaches_choices_and_keys_without_loading_anything_heavy(name):
    code = (
        f"import sys, runpy; sys.argv = ['{name}.py', '--help']; runpy.run_path('{name}.py', "
        f"run_name='__main__');"
    )
    code += "print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "recipe\n    cold " in done.stdout and "  seed: 0 " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_tutorial_shows_a_question_that_the_demo_asks():
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        study = strict(compose("evaluate", ["experiment=demo_evaluate"]), Evaluate)
    asked = {question.id for question in load_all(study)}
    shown = re.findall(
        r"^warmth show (\S+)",
        (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert shown and set(shown) <= asked


def pages():
    """Every page that people read: README, CONTRIBUTING, docs and examples."""
    return [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "examples" / "README.md",
        *(ROOT / "docs").glob("*.md"),
    ]


def test_every_link_to_a_page_or_picture_leads_somewhere():
    broken = []
    for page in pages():
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_every_link_into_the_reference_has_its_heading():
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    linked = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert len(linked) > 100 and linked <= anchors


def test_every_page_of_docs_is_in_the_sites_navigation():
    import yaml

    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert set(re.findall(r"[\w-]+\.md", str(nav))) == {
        path.name for path in (ROOT / "docs").glob("*.md")
    }


def test_every_message_of_the_troubleshooting_page_is_one_that_the_program_says():
    sources = [*(ROOT / "warmth").rglob("*.py"), *ROOT.glob("*.py")]
    code = " ".join(re.sub(r'"\s+f?"', "", path.read_text(encoding="utf-8")) for path in sources)
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    heads = [line.split("—")[0] for line in page.splitlines() if line.startswith("**`")]
    quoted = re.findall(r"`([^`]+)`", " ".join(heads))
    assert len(quoted) > 25
    unsaid = []
    for message in quoted:
        parts = [part.strip() for part in message.split("...") if len(part.strip()) > 3]
        unsaid += [part for part in parts if part not in code]
    assert unsaid == []


def test_the_examples_table_names_every_file():
    table = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    files = {path.name + ("/" if path.is_dir() else "") for path in (ROOT / "examples").iterdir()}
    assert {name for name in files if f"`{name}`" not in table} == {"README.md"}
