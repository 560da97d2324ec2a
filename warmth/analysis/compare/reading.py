"""From the paths of a command line to evaluations: which tool wrote each file, and which files are
one system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from warmth.analysis.compare import inspect_logs, lighteval, lm_eval, sheets
from warmth.analysis.compare.clusters import NONE
from warmth.analysis.compare.files import read_json_file
from warmth.analysis.compare.scores import Evaluation, Item, collect, shown
from warmth.errors import UserError

KNOWN = (
    "Inspect's .eval or .json, lm-evaluation-harness's samples_*.jsonl, lighteval's "
    "details_*.parquet, or a CSV with the columns item and score"
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
    evaluations: list[Evaluation] = []
    for path in paths:
        evaluations += read_path(path, cluster)
    if len(evaluations) < 2:
        raise UserError(
            f"{paths[0]} holds one system, {shown(evaluations[0].system)}; name a second path to "
            f"compare"
        )
    if cluster not in (None, NONE) and not any(map(has_clusters, evaluations)):
        raise UserError(
            f"--cluster={cluster} is a field of no sample; name one that the logs have, or "
            f"--cluster none"
        )
    return named_apart(evaluations)


def has_clusters(evaluation: Evaluation) -> bool:
    """Say whether at least one item belongs to a cluster."""
    return bool(evaluation.items["cluster"].notna().any())


def named_apart(evaluations: list[Evaluation]) -> list[Evaluation]:
    """Name each system by its model; systems of one model by their paths.

    Raises:
        UserError: one path was named twice.
    """
    counts = Counter(evaluation.system for evaluation in evaluations)
    renamed = []
    names = set()
    for evaluation in evaluations:
        name = evaluation.system if counts[evaluation.system] == 1 else evaluation.source
        if name in names:
            raise UserError(f"{shown(name)} is named twice; name two different evaluations")
        names.add(name)
        renamed.append(replace(evaluation, system=name))
    return renamed


def read_path(path: Path, cluster: str | None) -> list[Evaluation]:
    """Read a file or a folder.

    Raises:
        UserError: it cannot be read, or holds nothing of a known form.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist")
    if path.is_file():
        return read_evaluation(path, str(path), cluster)
    files: set[Path] = set()
    for pattern in OF_A_FOLDER:
        files.update(path.rglob(pattern))
    logs = [file for file in sorted(files) if file.is_file() and is_evaluation(file)]
    if not logs:
        if next(path.rglob(RUNS), None):
            raise UserError(
                f"{path} holds runs of warmth; `warmth report {path}` compares their arms"
            )
        raise UserError(f"{path} holds no evaluation of a known form: {KNOWN}")
    evaluations: list[Evaluation] = []
    for file in logs:
        evaluations += read_evaluation(file, str(file), cluster)
    return joined_evaluation(evaluations, str(path))


def is_evaluation(file: Path) -> bool:
    """Say whether a file in a folder is one to read: tools put other JSON beside their logs."""
    if file.suffix == ".json":
        if file.name.startswith("results_"):
            return False
        try:
            return inspect_logs.is_log(read_json_file(file))
        except UserError:
            return False
    if file.suffix == ".csv":
        return sheets.is_table(list(sheets.read_csv(file).columns))
    return True


def joined_evaluation(evaluations: Sequence[Evaluation], source: str) -> list[Evaluation]:
    """Put the files of one system together: each has other tasks.

    Raises:
        UserError: two files of one system have a task in common.
    """
    files_by_system: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        files_by_system.setdefault(evaluation.system, []).append(evaluation)
    return [_one(files, system, source) for system, files in files_by_system.items()]


def _one(files: Sequence[Evaluation], system: str, source: str) -> Evaluation:
    """Put the files of a system together.

    Raises:
        UserError: two have a task in common.
    """
    import pandas as pd

    file_of_task: dict[str, str] = {}
    notes: list[str] = []
    for file in files:
        notes += file.notes
        for task in file.items["task"].unique():
            if task in file_of_task:
                named = f"task {shown(task)} of {shown(system)}" if task else shown(system)
                raise UserError(
                    f"{source} holds {named} twice, in {file_of_task[task]} and in {file.source}; "
                    f"name one of the files"
                )
            file_of_task[task] = file.source
    items = pd.concat([file.items for file in files], ignore_index=True)
    scores = pd.concat([file.scores for file in files], ignore_index=True)
    return Evaluation(system, source, items, scores, tuple(notes))


def read_evaluation(path: Path, source: str, cluster: str | None) -> list[Evaluation]:
    """Read one file by its name; packed by gzip or not.

    Raises:
        UserError: it cannot be read, or its form is not known.
    """
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".eval", ".json")):
        return [inspect_logs.read_inspect_log(path, source, cluster)]
    if name.endswith(".jsonl"):
        return [collect(model_of(path), source, lm_eval.read_lm_eval(path, cluster))]
    if name.endswith(".parquet"):
        return _read_parquet(path, source, cluster)
    if name.endswith((".csv", ".tsv")):
        return sheets.read_sheet(path, sheets.read_csv(path), source, cluster)
    raise UserError(f"{path} is of no known form; known: {KNOWN}")


def _read_parquet(path: Path, source: str, cluster: str | None) -> list[Evaluation]:
    table = lighteval.read_table(path)
    if sheets.is_table(table.column_names):
        return sheets.read_sheet(path, table.to_pandas(), source, cluster)
    items: list[Item] = lighteval.read_lighteval(path, table, cluster)
    return [collect(model_of(path), source, items)]


def model_of(path: Path) -> str:
    """Name the model by the folder its tool wrote into.

    That is the file's own folder for lm-evaluation-harness, and the folder of a time's folder for
    lighteval.
    """
    folder = path.resolve().parent
    is_time = path.name.startswith("details_") and folder.name and folder.name in path.stem
    if is_time:
        folder = folder.parent
    return folder.name or path.stem
