"""Every key changes a run's identity, or is declared not to with a reason, or is refused."""

import copy
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from test_config import evaluate, train

from warmth.bounds import Bounds, Choices, leaves
from warmth.build import build
from warmth.config import check_values
from warmth.digest import ROOT, training_digest
from warmth.errors import UserError
from warmth.evaluation.answer.arms import Arm
from warmth.evaluation.identity import evaluation_digest
from warmth.schemas import Data, Evaluate, Model, Recipe, Task, Train
from warmth.used_keys import check_overrides, reason_of, without_effect


def entry_names(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


BASE = {
    "train": train("recipe=warm"),
    "evaluate": evaluate("recipe=warm", "warmth.variant=reference"),
}
GROUPS = {"model": Model, "data": Data, "recipe": Recipe, "task": Task}


def entry(group: str, name: str) -> Any:
    """Load one entry of conf/ as its dataclass, with the files it inherits."""
    loaded = OmegaConf.load(ROOT / "conf" / group / f"{name}.yaml")
    if group == "task":
        loaded = loaded[name]
    return OmegaConf.to_object(
        OmegaConf.merge(OmegaConf.structured(GROUPS[group]), with_parents(group, loaded))
    )


def with_parents(group: str, loaded: Any) -> Any:
    """Merge an entry onto those that its defaults list names."""
    parents = [parent for parent in loaded.pop("defaults", []) if parent != "_self_"]
    inherited = [
        with_parents(group, OmegaConf.load(ROOT / "conf" / group / f"{parent}.yaml"))
        for parent in parents
    ]
    return OmegaConf.merge(*inherited, loaded)


def with_entry(command: str, group: str, name: str) -> Train | Evaluate:
    """Make the study of a command with another entry chosen."""
    if group == "engine":
        return replace(
            BASE[command],
            engine=OmegaConf.to_object(OmegaConf.load(ROOT / f"conf/engine/{name}.yaml")),
        )
    chosen = entry(group, name)
    if name in ("jsonl", "hf", "sharegpt"):
        chosen.path = str(ROOT / "seed/conversations/other.jsonl")
        chosen.held_out = 0  # the others would have to be built first
    if group == "task":
        return replace(BASE[command], task={name: chosen})
    return replace(BASE[command], **{group: chosen})


CASES = [
    (command, group, name)
    for command in BASE
    for group in ("model", "data", "recipe", *(("task", "engine") if command == "evaluate" else ()))
    for name in entry_names(group)
    if name not in ("lora", "gpt2", "demo", "hub")
    and (command, group, name) != ("train", "recipe", "none")
]


def identity(study: Train | Evaluate) -> str:
    """Compute the digest that names a run, without looking for a trained adapter."""
    if isinstance(study, Train):
        return training_digest(study)
    arm = Arm(
        name=study.recipe.name,
        model=study.model,
        adapter=None,
        training=None,
        checkpoint=study.checkpoint[0],
        dose=study.dose[0],
        strength=study.recipe.strength,
        seed=study.seed,
        system_prompt=None,
    )
    return evaluation_digest(study, arm)


def other_values(key: str, value: Any, metadata: dict[str, Any], folder: Path) -> Iterator[Any]:
    """Yield values that differ from a leaf's own and are allowed beside it; a file's copy has other
    content.
    """
    allowed = metadata.get("allowed")
    if isinstance(value, list | tuple):
        items = list(value)
        if isinstance(allowed, Bounds):
            yield [*items[:-1], *((item * 1.01) for item in items[-1:])] or [1.0]
        yield [*items, "other"]
        yield items[:-1] or ["other"]
        return
    if isinstance(value, bool):
        yield not value
        return
    if isinstance(allowed, Choices):
        yield from (word for word in allowed.words if word != value)
        return
    if isinstance(value, int | float) or isinstance(allowed, Bounds):
        start = value if value is not None else (allowed.at_least or 0)
        candidates = [start + 1, start / 2, start * 0.9, start - 1, 1] if start is not None else [1]
        kind = type(value) if isinstance(value, int | float) else int
        yield from (
            kind(number)
            for number in candidates
            if kind(number) != value and allowed.admits(kind(number))
        )
        return
    if isinstance(value, dict):
        yield {**value, "other": 1}
        return
    if isinstance(value, str) and (ROOT / value).is_file():
        copied = folder / f"{key}-{Path(value).name}"
        copied.write_bytes((ROOT / value).read_bytes() + b"\n")
        yield str(copied)
        return
    if not str(value).startswith(
        "http"
    ):  # a server is known by its host, whatever the port and path
        yield f"{value}x" if value else "other"
    yield f"http://127.0.0.2/{key}"


def walked(study: Train | Evaluate) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield every leaf with its metadata; the keys of a chosen class are those of its dataclass."""
    for key, value, metadata in leaves(study):
        if key == "engine":
            for item in fields(type(build(value, "engine"))):
                yield f"engine.{item.name}", value.get(item.name, item.default), dict(item.metadata)
        elif metadata.get("digest", True):
            yield key, value, dict(metadata)


def replaced(study: Any, key: str, value: Any) -> Any:
    """Copy a study with one leaf changed."""
    changed = copy.deepcopy(study)
    place = changed
    *parents, last = key.split(".")
    for name in parents:
        place = place[name] if isinstance(place, dict) else getattr(place, name)
    if isinstance(place, dict):
        place[last] = value
    else:
        setattr(place, last, value)
    return changed


def silent_keys(study: Train | Evaluate, folder: Path, below: str = "") -> list[str]:
    """List the keys below one that a config accepts, that change no digest, and that nothing
    declares.
    """
    reasons = without_effect(study)
    before = identity(study)
    silent = []
    for key, value, metadata in walked(study):
        if not key.startswith(below) or metadata.get("reason") or reason_of(key, reasons):
            continue
        outcomes = []
        for other in other_values(key, value, metadata, folder):
            changed = replaced(study, key, other)
            try:
                check_values(changed)
                outcomes.append(identity(changed) != before)
            except UserError:
                continue  # refused in one line
        if outcomes and not all(outcomes):
            silent.append(key)
    return silent


@pytest.mark.parametrize(("command", "group", "name"), CASES)
def test_every_key_counts_or_is_declared_or_refused(command, group, name, tmp_path):
    assert silent_keys(with_entry(command, group, name), tmp_path, below=group) == []


SETTINGS: list[dict[str, Any]] = [
    {},
    {"design": "paper"},
    {"beliefs": ["none"], "warmth": replace(BASE["evaluate"].warmth, prompts=0)},
    {"sampling": replace(BASE["evaluate"].sampling, temperature=0.8)},
    {"warmth": replace(BASE["evaluate"].warmth, variant="deterministic")},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_key_of_an_evaluation_counts(settings, tmp_path):
    assert silent_keys(replace(BASE["evaluate"], **settings), tmp_path) == []


def test_every_key_of_a_training_counts(tmp_path):
    assert silent_keys(BASE["train"], tmp_path) == []


def test_every_exception_has_a_reason():
    for schema in BASE.values():
        for key, _, metadata in leaves(schema):
            if not metadata.get("digest", True):
                assert len(metadata.get("reason", "")) > 10, key


def numeric_fields(cls: type) -> Iterator[tuple[str, Any]]:
    for item in fields(cls):
        kind = item.default_factory if isinstance(item.default_factory, type) else None
        if kind is not None and is_dataclass(kind):
            yield from numeric_fields(kind)
        elif any(
            word in str(item.type).replace("list[", "").replace("]", "").split(" | ")
            for word in ("int", "float")
        ):
            yield f"{cls.__name__}.{item.name}", item.metadata.get("allowed")


def test_every_number_has_bounds():
    from warmth import dataset, schemas

    classes = [
        cls for module in (schemas, dataset) for cls in vars(module).values() if is_dataclass(cls)
    ]
    unbounded = {key for cls in classes for key, allowed in numeric_fields(cls) if allowed is None}
    assert unbounded == set()


@pytest.mark.parametrize("group", ["engine", "grader", "launcher", "logger"])
def test_every_number_of_a_chosen_class_has_bounds(group):
    for name in entry_names(group):
        loaded = OmegaConf.to_object(OmegaConf.load(ROOT / f"conf/{group}/{name}.yaml"))
        settings = loaded[name] if group in ("grader", "logger") else loaded
        unbounded = {
            key for key, allowed in numeric_fields(type(build(settings, group))) if allowed is None
        }
        assert unbounded == set()


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(
        UserError, match=r"unknown key engine.batchsize \(did you mean engine.batch_size\?\)"
    ):
        build({**BASE["evaluate"].engine, "batchsize": 3}, "engine")


@pytest.mark.parametrize(
    ("overrides", "asked", "line"),
    [
        (
            ["design=paper"],
            ["preamble=true"],
            "preamble=true has no effect: design=paper asks the study's grid",
        ),
        (
            ["warmth.prompts=0"],
            ["warmth.passes=3"],
            "warmth.passes=3 has no effect: warmth.prompts=0",
        ),
        (
            ["model.path=x"],
            ["model.revision=abc"],
            "model.revision=abc has no effect: model.path is read instead",
        ),
    ],
)
def test_an_override_without_effect_is_refused_where_it_is_asked_for(overrides, asked, line):
    with pytest.raises(UserError, match=line):
        check_overrides(evaluate("recipe=none", *overrides), asked)


def test_the_original_accepts_the_keys_of_trained_arms_beside_it():
    check_overrides(evaluate("recipe=none"), ["recipe.rank=4", "data.per_type=2", "seed=1"])


def test_no_two_recipes_share_an_arms_name():
    names = {
        name: OmegaConf.load(ROOT / f"conf/recipe/{name}.yaml").get("name")
        for name in entry_names("recipe")
    }
    del names["lora"]  # inherited, not chosen
    assert names == {name: name for name in names}
