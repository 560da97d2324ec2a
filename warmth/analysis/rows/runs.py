"""Finished runs under a path: their small files, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmth.analysis.rows.jsonl_frames import encodable
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
    # task → its graders as their rows name them, the primary one first
    graders: Mapping[str, Sequence[str]]

    @property
    def evaluation(self) -> bool:
        """Tell whether it holds answers or likelihoods (else it is a training run)."""
        has_answers = (self.folder / "answers.jsonl").exists()
        return has_answers or (self.folder / "likelihoods.jsonl").exists()

    @property
    def arm(self) -> str:
        """Return the recipe's name; `original` if nothing was changed."""
        recipe = self.config.get("recipe") or {}
        return "original" if recipe.get("name") in (None, "none") else str(recipe["name"])

    @property
    def model(self) -> str:
        """Return the model entry's name."""
        return str((self.config.get("model") or {}).get("name", "?"))


def finished_folders(paths: Sequence[Path]) -> list[Path]:
    """List the folders with `done.json` under any path, each once.

    Raises:
        UserError: a path does not exist, or has no finished run under it.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} does not exist")
        if not path.is_dir():
            raise UserError(f"{path} is not a folder")
        marked = sorted(marker.parent for marker in path.rglob("done.json"))
        finished_here = [folder for folder in marked if (folder / "config.json").exists()]
        if not finished_here:
            started = len(list(path.rglob("status.json")))
            unfinished = f" ({started} not finished)" if started else ""
            raise UserError(f"no finished run found under {path}{unfinished}")
        for folder in finished_here:
            folders[folder.resolve()] = folder
    return list(folders.values())


def read_run(folder: Path) -> FinishedRun:
    """Read a run's small files; provenance, gates, rules and summary may be missing.

    Raises:
        UserError: a file is not the JSON it should be.
    """
    config_path = folder / "config.json"
    config = encodable(read_json(config_path))
    if not isinstance(config, dict):
        raise UserError(f"{config_path} is not a JSON object")
    for name in ("model", "recipe", "task", "grader", "condition", "analysis"):
        if not isinstance(config.get(name) or {}, dict):
            raise UserError(f"{config_path}: {name}={str(config[name])[:60]} must be an object")
    provenance = _object(folder / "provenance.json")
    packages = provenance.get("packages") or {}
    if not isinstance(packages, dict):
        raise UserError(
            f"{folder / 'provenance.json'}: packages={str(packages)[:60]} must be an object"
        )
    if not isinstance(provenance.get("earlier") or [], list):
        raise UserError(f"{folder / 'provenance.json'}: earlier must be a list of commits")
    rules = _object(folder / "rules.json")
    graders = _object(folder / "summary.json").get("graders") or {}
    are_lists = isinstance(graders, dict) and all(
        isinstance(names, list) for names in graders.values()
    )
    if not are_lists:
        raise UserError(f"{folder / 'summary.json'}: graders must be an object of lists")
    return FinishedRun(
        folder=folder,
        config=config,
        provenance=provenance,
        gates=_gates(folder / "gates.json"),
        rules=rules,
        graders=graders,
    )


def _object(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if there is no such file."""
    content = encodable(read_json(path)) if path.exists() else None
    if not isinstance(content or {}, dict):
        raise UserError(f"{path} is not a JSON object")
    return content or {}


def _gates(path: Path) -> tuple[Mapping[str, Any], ...]:
    """Read a list of JSON objects; empty if there is no such file."""
    gates = (encodable(read_json(path)) if path.exists() else None) or []
    if not isinstance(gates, list) or not all(isinstance(gate, dict) for gate in gates):
        raise UserError(f"{path} is not a list of JSON objects")
    return tuple(gates)


def refuse_lost_files(runs: Sequence[FinishedRun]) -> None:
    """Refuse a finished evaluation that lacks prompts, answers or grades.

    Its arm would silently be missing.

    Raises:
        UserError: a file does not exist, though others of the three do.
    """
    names = ("prompts.jsonl", "answers.jsonl", "grades.jsonl")
    for run in runs:
        missing = [name for name in names if not (run.folder / name).exists()]
        if 0 < len(missing) < len(names):
            raise UserError(
                f"{run.folder / missing[0]} does not exist, though "
                f"the run is done; it needs {', '.join(names)}"
            )
