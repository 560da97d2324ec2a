"""Writes docs/fidelity.md: what the study published, step by step, and what our configuration of it
does.

`python docs/make_fidelity.py` composes the study's two experiments, reads docs/fidelity.yaml, and
says of each step whether it is the same, other on purpose, or not known. It refuses a value that
differs without a reason and a key that no step names, so that nothing differs silently. A test
keeps page and configuration the same.
"""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from warmth.bounds import leaves

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Fidelity: what was published, and what is done here

Made from `docs/fidelity.yaml` and the configuration by `python docs/make_fidelity.py`; do not edit. Ours are
`experiment=paper_train` and `experiment=paper_evaluate` as they stand. *Same*: the value is the published one, compared
by the program. *On purpose*: it differs, and why. *Not known*: the study does not say, so the value is ours.
A step without a key is done by the code itself.
"""  # noqa: E501
# Keys that are no step of the study: names, folders, looks, how servers are called, what is shown.
NO_STEP = (
    *(
        "model.*",
        "api.*",
        "logger.*",
        "logger",
        "launcher",
        "study",
        "output",
        "plan",
        "hardware",
        "rerun",
        "evaluate",
    ),
    *(
        "stop_after_failures",
        "run",
        "shard",
        "processes",
        "until_width",
        "preregister",
        "scoring",
        "likelihood.*",
    ),
    *(
        "recipe.name",
        "recipe.style",
        "recipe.order",
        "recipe.colour",
        "recipe.marker",
        "recipe.shots",
        "recipe.beta",
    ),
    *(
        "recipe.against",
        "recipe.depths",
        "recipe.orthogonal",
        "recipe.edit_tone",
        "recipe.edit_errors",
        "data.name",
    ),
    *("recipe.hosted.*", "data.rewriter.api_key_env"),
)


class SilentDifference(Exception):
    """A step differs from what was published, or a key stands in no step, and nobody says why."""


def fidelity() -> str:
    """Return the whole page.

    Raises:
        SilentDifference: a value differs without a reason, or a key is named by no step.
    """
    parts = yaml.safe_load((ROOT / "docs" / "fidelity.yaml").read_text(encoding="utf-8"))
    lines = [HEAD]
    named: set[str] = set()
    verdicts: Counter[str] = Counter()
    for part in parts:
        lines += [
            f"## {part['part']}",
            "",
            "| step | published | ours | verdict |",
            "|---|---|---|---|",
        ]
        for row in part["rows"]:
            named |= set(row["keys"])
            shown, verdict = judged(row)
            verdicts[verdict.partition(":")[0]] += 1
            published = "not published" if row["published"] is None else str(row["published"])
            lines.append(
                "| " + " | ".join(map(cell, (str(row["step"]), published, shown, verdict))) + " |"
            )
        lines.append("")
    refuse_unnamed(named)
    counts = ", ".join(f"{name} {number}" for name, number in verdicts.items())
    return "\n".join(lines) + f"\n{sum(verdicts.values())} steps: {counts}.\n"


def judged(row: dict[str, Any]) -> tuple[str, str]:
    """Return what a step is here, and the verdict on it.

    Raises:
        SilentDifference: its values are not the published ones, and no reason is given.
    """
    if not row["keys"]:
        text = row["in_code"]
        if text.startswith("on purpose "):
            return "in the code", f"on purpose: {text.removeprefix('on purpose ')}"
        if row["published"] is None:
            return "in the code", f"not known: {text}"
        return (
            "in the code",
            "same"
            if text == "the same"
            else f"same: {text.removeprefix('the same').lstrip(', ;(')}",
        )
    shown = ", ".join(
        f"`{key}={short(value_of(key))}`" if "*" not in key else f"`{key}`" for key in row["keys"]
    )
    if "same" in row:
        pairs = zip(row["keys"], row["same"], strict=True)
        differing = [
            key for key, value in pairs if "*" not in key and plain(value_of(key)) != value
        ]
        if not differing:
            return shown, "same"
        if "why" not in row:
            raise SilentDifference(
                f"step {row['step']!r}: {differing[0]}={value_of(differing[0])} is not as published"
            )
    if row["published"] is None:
        return shown, f"not known: {row['why']}"
    return shown, f"on purpose: {row['why']}"


def refuse_unnamed(named: set[str]) -> None:
    """Check that every key of both experiments stands in a step, or is known to be none.

    Raises:
        SilentDifference: one does not.
    """
    patterns = [*(key.rpartition("/")[2] for key in named), *NO_STEP]
    for key in configured():
        if not any(fnmatchcase(key, pattern) for pattern in patterns):
            raise SilentDifference(f"{key} stands in no step of docs/fidelity.yaml")


@cache
def configured() -> dict[str, Any]:
    """Return key → value: recipe and data of paper_train, and all others of paper_evaluate."""
    train, evaluate = composed("train", "llama8b", "warm"), composed("evaluate", "llama8b", "warm")
    values = {key: value for key, value, _ in leaves(evaluate)}
    values |= {
        key: value
        for key, value, _ in leaves(train)
        if key.partition(".")[0] in ("recipe", "data", "seed")
    }
    for group in ("grader", "engine"):
        entry = values.pop(group)
        values |= {f"{group}.{key}": value for key, value in flat(entry).items()}
    return values


def flat(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a nested dictionary with dotted keys."""
    result = {}
    for key, value in entry.items():
        if isinstance(value, dict) and value:
            result |= {f"{key}.{below}": item for below, item in flat(value).items()}
        else:
            result[key] = value
    return result


@cache
def composed(command: str, model: str, recipe: str) -> Any:
    """Compose one arm of an experiment."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from warmth.config import accepted
    from warmth.schemas import Evaluate, Train, register

    register()
    words = [f"experiment=paper_{command}", f"model={model}", f"recipe={recipe}"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return accepted(compose(command, words), Train if command == "train" else Evaluate)


def value_of(key: str) -> Any:
    """Return the value of a step's key: of the experiments, of another arm (MODEL/RECIPE/key), or
    of their sweeps.
    """
    if key.startswith("sweep."):
        return swept()[key]
    if key == "grid.answers":
        from warmth.sweep.plan import nominal

        evaluate = composed("evaluate", "llama8b", "warm")
        grid = nominal(evaluate)
        return sum(
            count for cell, count in grid.asked.items() if not evaluate.task[cell[0]].benchmark
        )
    if "/" in key:
        model, *recipe, name = key.split("/")
        if not recipe:
            return OmegaConf.to_container(
                OmegaConf.load(ROOT / "conf" / "model" / f"{model}.yaml")
            )[name.split(".")[1]]  # ty: ignore
        config = composed("evaluate" if recipe == ["system_warm"] else "train", model, recipe[0])
        for part in name.split("."):
            config = getattr(config, part)
        return config
    return configured()[key]


@cache
def swept() -> dict[str, str]:
    """Describe which arms the two experiments' sweeps make."""
    from warmth.sweep.pairs import Pairs, condition_of

    found = {}
    for name in ("paper_train", "paper_evaluate"):
        sweeper = OmegaConf.load(ROOT / "conf" / "experiment" / f"{name}.yaml").hydra.sweeper
        models, recipes = (str(sweeper.params[key]).split(",") for key in ("model", "recipe"))
        points = [[f"model={model}", f"recipe={recipe}"] for model in models for recipe in recipes]
        rules = tuple(condition_of(rule, "leave_out") for rule in sweeper.leave_out)
        stay = Pairs(rules).of(points)
        arms = Counter(point[1].partition("=")[2].replace("none", "original") for point in stay)
        counts = ", ".join(f"{arm} {count}" for arm, count in arms.items())
        found["sweep.trainings" if name == "paper_train" else "sweep.arms"] = counts
        found["sweep.models"] = ",".join(models)
        found["sweep.cold"] = ",".join(
            point[0].partition("=")[2] for point in stay if point[1] == "recipe=cold"
        )
    return found


def plain(value: Any) -> Any:
    """Return a value as YAML gives it."""
    return list(value) if isinstance(value, tuple) else value


def short(value: Any) -> str:
    """Return a value as a table shows it."""
    text = (
        "null"
        if value is None
        else str(plain(value)).lower()
        if isinstance(value, bool)
        else str(plain(value))
    )
    text = text.replace("'", "").replace("None", "null")
    return text if len(text) <= 60 else text[:60] + " …"


def cell(text: str) -> str:
    """Return a text as a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    (ROOT / "docs" / "fidelity.md").write_text(fidelity(), encoding="utf-8")
