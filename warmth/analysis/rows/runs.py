"""Finished runs under a path: their small files, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmth.analysis.rows.jsonl_frames import whole
from warmth.errors import UserError
from warmth.store import read_json


@dataclass(frozen=True)
class FinishedRun:
    """One run folder with `done.json`."""

    folder: Path
    config: Mapping[str, Any]
    provenance: Mapping[str, Any]
    gates: tuple[Mapping[str, Any], ...]
    rules: Mapping[str, str]  # grader → digest of the rules behind its rows
    graders: Mapping[
        str, Sequence[str]
    ]  # task → its graders as their rows name them, the primary one first

    @property
    def evaluation(self) -> bool:
        """Whether it holds answers or likelihoods (else it is a training run)."""
        return any((self.folder / f"{name}.jsonl").exists() for name in ("answers", "likelihoods"))

    @property
    def arm(self) -> str:
        """The recipe's name; `original` where nothing was changed."""
        recipe = self.config.get("recipe") or {}
        return "original" if recipe.get("name") in (None, "none") else str(recipe["name"])

    @property
    def model(self) -> str:
        """The model entry's name."""
        return str((self.config.get("model") or {}).get("name", "?"))


def finished(paths: Sequence[Path]) -> list[Path]:
    """Folders with `done.json` under any path, each once.

    Raises:
        UserError: a path does not exist, or has no finished run under it.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise UserError(
                f"{path} is not a folder" if path.exists() else f"{path} does not exist"
            )
        here = sorted(
            marker.parent
            for marker in path.rglob("done.json")
            if (marker.parent / "config.json").exists()
        )
        if not here:
            started = sum(1 for _ in path.rglob("status.json"))
            raise UserError(
                f"no finished run found under {path}"
                + (f" ({started} not finished)" if started else "")
            )
        found.update({folder.resolve(): folder for folder in here})
    return list(found.values())


def read_run(folder: Path) -> FinishedRun:
    """A run's small files; provenance and gates may be missing.

    Raises:
        UserError: a file is not the JSON it should be.
    """
    config = whole(read_json(folder / "config.json"))
    optional = {
        name: folder / f"{name}.json" for name in ("provenance", "gates", "rules", "summary")
    }
    found = [whole(read_json(path)) if path.exists() else None for path in optional.values()]
    provenance, gates, rules, outcome = found
    if not isinstance(config, dict):
        raise UserError(f"{folder / 'config.json'} is not a JSON object")
    for name in ("model", "recipe", "task", "grader", "condition", "analysis"):
        if not isinstance(config.get(name) or {}, dict):
            raise UserError(
                f"{folder / 'config.json'}: {name}={str(config[name])[:60]} must be an object"
            )
    for name, value in (("provenance", provenance), ("rules", rules), ("summary", outcome)):
        if not isinstance(value or {}, dict):
            raise UserError(f"{optional[name]} is not a JSON object")
    packages = (provenance or {}).get("packages") or {}
    if not isinstance(packages, dict):
        raise UserError(
            f"{optional['provenance']}: packages={str(packages)[:60]} must be an object"
        )
    if not isinstance((provenance or {}).get("earlier") or [], list):
        raise UserError(f"{optional['provenance']}: earlier must be a list of commits")
    if not isinstance(gates or [], list) or not all(isinstance(gate, dict) for gate in gates or ()):
        raise UserError(f"{optional['gates']} is not a list of JSON objects")
    graders = (outcome or {}).get("graders") or {}
    if not isinstance(graders, dict) or not all(
        isinstance(names, list) for names in graders.values()
    ):
        raise UserError(f"{optional['summary']}: graders must be an object of lists")
    return FinishedRun(folder, config, provenance or {}, tuple(gates or ()), rules or {}, graders)


def refuse_lost_files(runs: Sequence[FinishedRun]) -> None:
    """A finished evaluation has prompts, answers and grades; without one of them its arm would
    silently be missing.
    """
    names = ("prompts.jsonl", "answers.jsonl", "grades.jsonl")
    for run in runs:
        lost = [name for name in names if not (run.folder / name).exists()]
        if 0 < len(lost) < len(names):
            raise UserError(
                f"{run.folder / lost[0]} does not exist, though the run is done; it needs "
                f"{', '.join(names)}"
            )
