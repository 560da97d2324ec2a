"""The wheel in a fresh environment: it trains, evaluates and reports from an empty folder."""

from __future__ import annotations

import json
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from warmth.paths import ROOT

pytestmark = pytest.mark.slow


def tracked_files(target: Path) -> Path:
    """Copy the files that git knows of, so that nothing a build left behind gets into the wheel."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "bench/", "docs/")):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    source = tracked_files(tmp_path_factory.mktemp("source"))
    out = tmp_path_factory.mktemp("dist")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*build, "-w", out, source], check=True, timeout=120)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A new environment that sees the installed dependencies, but of this project the wheel
    alone.
    """
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    python = folder / "bin" / "python"
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    subprocess.run(install, check=True, timeout=120)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder / "bin"


@pytest.fixture
def run(environment, tmp_path, monkeypatch):
    """Runs a command of the environment in an empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def command(*words: object) -> subprocess.CompletedProcess[str]:
        program = [environment / str(words[0]), *map(str, words[1:])]
        return subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=280)

    command.folder = folder
    return command


def test_the_wheel_carries_what_the_commands_read_and_nothing_of_the_clone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for folder in ("conf", "prompts", "seed"):
        expected = {
            str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.is_file()
        }
        assert {
            name.removeprefix("warmth/files/") for name in names if f"files/{folder}/" in name
        } == expected
    assert {
        "warmth/files/train.py",
        "warmth/files/evaluate.py",
        "hydra_plugins/warmth_sweeper/sweeper.py",
    } < {*names}
    assert not [name for name in names if name.split("/")[0] not in ("warmth", "hydra_plugins")
                and ".dist-info/" not in name]  # fmt: skip


def test_the_wheel_trains_evaluates_and_reports_from_an_empty_folder(run, tiny_model_folder):
    own = run.folder.parent / "own"
    (own / "recipe").mkdir(parents=True)
    (own / "recipe" / "curt.yaml").write_text(
        "# My own arm.\ndefaults: [demo, _self_]\nname: curt\nstyle: cold\n"
    )
    shared = [f"--config-dir={own}", f"model={tiny_model_folder}", "logger=none"]
    size = ["recipe.epochs=0.1", "recipe.rank=2", "recipe.learning_rate=1e-2"]
    for recipe in ("curt", "untransformed"):
        small = [*size, "recipe.max_length=384"]
        done = run(
            "warmth",
            "train",
            *shared,
            f"recipe={recipe}",
            *small,
            "launcher=local",
            "data.per_type=4",
        )
        assert done.returncode == 0, done.stderr[-2000:]
    ask = [
        "condition=[unmodified]",
        "beliefs=none",
        "limit=3",
        "warmth.prompts=2",
        "gates=warn",
        "scoring=both",
    ]
    ask += ["sampling.max_new_tokens=6", "recipe.max_length=384", *size, "data.per_type=4"]
    done = run("warmth", "evaluate", *shared, "-m", "recipe=none,curt,untransformed", *ask)
    assert done.returncode == 0, done.stderr[-2000:]
    done = run("warmth", "report", "multirun", "--out", "page")
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads((run.folder / "page" / "summary.json").read_text())
    assert {"original", "curt", "untransformed"} == set(summary["arms"])
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "multirun",
        "page",
    ]  # nothing is written elsewhere
    (record,) = (run.folder / "multirun").glob("default/train/*-curt-*/provenance.json")
    assert "commit" in json.loads(record.read_text())


def test_the_verbs_of_the_wheel_find_their_entries(run):
    help_of_train = run("warmth", "train", "--help").stdout
    assert "warmth train recipe" not in help_of_train and "warmth train" in help_of_train
    assert "python train.py" not in help_of_train and "  recipe\n    cold " in help_of_train
    (run.folder / "texts.jsonl").write_text('{"id": "a", "text": "No."}\n')
    unknown = run("warmth", "score", "texts.jsonl", "--scorer", "no such")
    assert unknown.returncode == 2 and "smollm2" in unknown.stderr
    missing = run("warmth", "evaluate", "recipe=warm", "logger=none")
    assert missing.returncode == 2 and "warmth train model=smollm2 recipe=warm" in missing.stderr


def test_hydra_composes_this_project_after_import_warmth_and_not_without(run):
    code = (
        "import sys\n"
        "from hydra import compose, initialize\n"
        "from hydra.errors import MissingConfigException\n"
        "if sys.argv[1] == 'with': import warmth\n"
        "with initialize(version_base='1.3', config_path=None):\n"
        "    try: print(compose('train', ['recipe=cold']).recipe.style)\n"
        "    except MissingConfigException: print('none')\n"
    )
    assert run("python", "-c", code, "with").stdout == "cold\n"
    assert run("python", "-c", code, "without").stdout == "none\n"
