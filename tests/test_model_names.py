"""`model=` takes an entry, a hub id with a revision, or a folder; a hub model is described by its
files.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

from warmth.digest import ROOT
from warmth.memory import shape_of
from warmth.model_names import argument_of, expand
from warmth.schemas import Model

ENTRIES = ("smollm2", "llama8b")
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("model=llama8b", ["model=llama8b"]),
        ("model=org/name", ["model=hub", "model.hub_id='org/name'", "model.name='org--name'"]),
        (
            "model=org/na.me-2@abc",
            [
                "model=hub",
                "model.hub_id='org/na.me-2'",
                "model.name='org--na.me-2'",
                "model.revision='abc'",
            ],
        ),
        ("model=./my folder", ["model=hub", "model.path='my folder'", "model.name='my-folder'"]),
        ("model=/data/x", ["model=hub", "model.path='/data/x'", "model.name='x'"]),
        ("model=llama8b,org/name", ["model=llama8b,org/name"]),
        ("data.hub_id=org/name", ["data.hub_id=org/name"]),
        ("model=a/b/c", ["model=a/b/c"]),
    ],
)
def test_a_model_is_an_entry_a_hub_id_or_a_folder(given, expected):
    assert expand([given], ENTRIES) == expected


@pytest.mark.parametrize("text", ["org/name", "org/name@abc", "llama8b", "/data/x"])
def test_what_chose_a_model_is_written_to_choose_it_again(text):
    values = dict(item.split("=", 1) for item in expand([f"model={text}"], ENTRIES))
    keys = {
        key.removeprefix("model."): value.strip("'")
        for key, value in values.items()
        if key != "model"
    }
    model = Model(**{"name": text, "kind": "hub", **keys})
    assert argument_of(model, ENTRIES) == text


@pytest.fixture
def hub_cache(tiny_model_folder, tmp_path):
    """A local cache in the hub's layout that holds the tiny model as `org/tiny`."""
    folder = tmp_path / "hub" / "models--org--tiny"
    shutil.copytree(tiny_model_folder, folder / "snapshots" / REVISION)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(REVISION)
    return tmp_path / "hub"


def run(command, hub_cache, tmp_path, *overrides):
    environment = {**os.environ, "HF_HUB_CACHE": str(hub_cache), "HF_HUB_OFFLINE": "1"}
    argv = [
        sys.executable,
        str(ROOT / f"{command}.py"),
        *overrides,
        "logger=none",
        f"output={tmp_path / 'out'}",
    ]
    return subprocess.run(argv, capture_output=True, text=True, env=environment, cwd=tmp_path)


def test_a_hub_model_is_evaluated_from_the_local_cache_under_its_own_name(hub_cache, tmp_path):
    small = [
        "task=[seed_trivia]",
        "condition=[unmodified]",
        "beliefs=[none]",
        "limit=2",
        "warmth.prompts=0",
    ]
    done = run(
        "evaluate", hub_cache, tmp_path, "model=org/tiny", "recipe=none", *small, "gates=warn"
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "out" / "default" / "evaluate").glob("org--tiny-none-*/")
    row = (folder / "answers.jsonl").read_text().splitlines()[0]
    assert '"model": "org--tiny"' in row
    assert '"arm": "original"' in row


def test_a_sweep_takes_entries_and_hub_ids_side_by_side(hub_cache, tmp_path):
    done = run(
        "train",
        hub_cache,
        tmp_path,
        "-m",
        "model=smollm2,org/tiny@main",
        "recipe=demo",
        "plan=true",
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"smollm2-demo-s0-", done.stdout)
    assert "org--tiny-" in done.stdout


def test_the_shape_of_a_hub_model_is_read_from_its_files(hub_cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub_cache))
    shape = shape_of(Model(name="org--tiny", kind="hub", hub_id="org/tiny"))
    assert shape is not None
    assert shape.layers == 2


def test_a_file_that_cannot_be_had_is_one_line_that_names_it(hub_cache, tmp_path):
    done = run("train", hub_cache, tmp_path, "model=org/unknown", "plan=true")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "model=org/unknown: config.json is not in the local cache" in done.stderr
