"""From the paths of a command line to evaluations: which tool wrote each file, and which files are
one system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from warmth.analysis.compare import inspect_logs, lighteval, lm_eval, sheets
from warmth.analysis.compare.clusters import NONE
from warmth.analysis.compare.files import read_json
from warmth.analysis.compare.scores import Evaluation, Item, collect, shown
from warmth.errors import UserError

KNOWN = (
    "Inspect's .eval or .json, lm-evaluation-harness's samples_*.jsonl, lighteval's "
    "details_*.parquet, "
    "or a CSV with the columns item and score"
)
OF_A_FOLDER = (
    "*.eval",
    "*.json",
    "samples_*.jsonl",
    "samples_*.jsonl.gz",
    "details_*.parquet",
    "*.csv",
)
RUNS = "done.json"  # in a finished run of ours


def read_all(paths: Sequence[Path], cluster: str | None = None) -> list[Evaluation]:
    """Read every system under some paths, in the order of the paths.

    Args:
        paths: a file or a folder each; a file of several systems, or a folder of several models, is
        several systems.
        cluster: the field whose value items of one cluster share; see `clusters.cluster_of`.

    Returns:
        at least two evaluations, whose names differ.

    Raises:
        UserError: a path cannot be read, or there are fewer than two systems.
    """
    evaluations = [evaluation for path in paths for evaluation in read_path(path, cluster)]
    if len(evaluations) < 2:
        raise UserError(
            f"{paths[0]} holds one system, {shown(evaluations[0].system)}; name a second path to "
            f"compare"
        )
    if cluster not in (None, NONE) and not any(
        evaluation.items["cluster"].notna().any() for evaluation in evaluations
    ):
        raise UserError(
            f"--cluster={cluster} is a field of no sample; name one that the logs have, or "
            f"--cluster none"
        )
    return named_apart(evaluations)


def named_apart(evaluations: list[Evaluation]) -> list[Evaluation]:
    """Name each system by its model; systems of one model by their paths.

    Raises:
        UserError: one path was named twice.
    """
    counts = Counter(evaluation.system for evaluation in evaluations)
    renamed = []
    for evaluation in evaluations:
        if counts[evaluation.system] > 1:
            evaluation = replace(evaluation, system=evaluation.source)
        renamed.append(evaluation)
    again = [
        name
        for name, count in Counter(evaluation.system for evaluation in renamed).items()
        if count > 1
    ]
    if again:
        raise UserError(f"{shown(again[0])} is named twice; name two different evaluations")
    return renamed


def read_path(path: Path, cluster: str | None) -> list[Evaluation]:
    """Read a file or a folder.

    Raises:
        UserError: it cannot be read, or holds nothing of a known form.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist")
    if path.is_file():
        return read_file(path, str(path), cluster)
    files = sorted(
        {file for pattern in OF_A_FOLDER for file in path.rglob(pattern) if file.is_file()}
    )
    logs = [file for file in files if is_evaluation(file)]
    if not logs:
        if next(path.rglob(RUNS), None):
            raise UserError(
                f"{path} holds runs of warmth; `warmth report {path}` compares their arms"
            )
        raise UserError(f"{path} holds no evaluation of a known form: {KNOWN}")
    parts = [evaluation for file in logs for evaluation in read_file(file, str(file), cluster)]
    return joined(parts, str(path))


def is_evaluation(file: Path) -> bool:
    """Say whether a file in a folder is one to read: tools put other JSON beside their logs."""
    if file.suffix == ".json":
        if file.name.startswith("results_"):
            return False
        try:
            return inspect_logs.is_log(read_json(file))
        except UserError:
            return False
    if file.suffix == ".csv":
        return sheets.is_table(list(sheets.read_csv(file).columns))
    return True


def joined(parts: Sequence[Evaluation], source: str) -> list[Evaluation]:
    """Put the files of one system together: each has other tasks.

    Raises:
        UserError: two files of one system have a task in common.
    """
    by_system: dict[str, list[Evaluation]] = {}
    for part in parts:
        by_system.setdefault(part.system, []).append(part)
    evaluations = []
    for system, own_parts in by_system.items():
        owner: dict[str, str] = {}
        for part in own_parts:
            for task in part.items["task"].unique():
                if task in owner:
                    raise UserError(
                        f"{source} holds task {shown(task)} of {shown(system)} twice, in "
                        f"{owner[task]} and in "
                        f"{part.source}; name one of the files"
                    )
                owner[task] = part.source
        evaluations.append(_one(own_parts, system, source))
    return evaluations


def _one(parts: Sequence[Evaluation], system: str, source: str) -> Evaluation:
    import pandas as pd

    items = pd.concat([part.items for part in parts], ignore_index=True)
    scores = pd.concat([part.scores for part in parts], ignore_index=True)
    notes = tuple(note for part in parts for note in part.notes)
    return Evaluation(system, source, items, scores, notes)


def read_file(path: Path, source: str, cluster: str | None) -> list[Evaluation]:
    """Read one file by its name; packed by gzip or not.

    Raises:
        UserError: it cannot be read, or its form is not known.
    """
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".eval", ".json")):
        return [inspect_logs.read(path, source, cluster)]
    if name.endswith(".jsonl"):
        return [collect(model_of(path), source, lm_eval.read_items(path, cluster))]
    if name.endswith(".parquet"):
        return _read_parquet(path, source, cluster)
    if name.endswith((".csv", ".tsv")):
        return sheets.read(path, sheets.read_csv(path), source, cluster)
    raise UserError(f"{path} is of no known form; known: {KNOWN}")


def _read_parquet(path: Path, source: str, cluster: str | None) -> list[Evaluation]:
    table = lighteval.read_table(path)
    if sheets.is_table(table.column_names):
        return sheets.read(path, table.to_pandas(), source, cluster)
    items: list[Item] = lighteval.read_items(path, table, cluster)
    return [collect(model_of(path), source, items)]


def model_of(path: Path) -> str:
    """Name the model by the folder its tool wrote into.

    That is the file's own folder for lm-evaluation-harness, and the folder of a time's folder for
    lighteval.
    """
    folder = path.resolve().parent
    in_time_folder = path.name.startswith("details_") and folder.name and folder.name in path.stem
    owner = folder.parent if in_time_folder else folder
    return owner.name or path.stem


def sources(evaluations: Sequence[Evaluation]) -> Mapping[str, str]:
    """Give the path of each system."""
    return {evaluation.system: evaluation.source for evaluation in evaluations}
