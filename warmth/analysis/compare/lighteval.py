"""The details that lighteval writes with `--save-details`:
`details/<model>/<time>/details_<task>_<time>.parquet`.

A row is a document: `__doc__` (or `doc`), `__model_response__`, `__metric__` (or `metric`); before
0.9 its parts stood in columns of their own (`example`, `metrics`). What could not be stored nested
is there as Python writes it. Format:
https://huggingface.co/docs/lighteval/saving-and-reading-results
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from warmth.analysis.compare.clusters import cluster_of
from warmth.analysis.compare.scores import UNIT, Item, content_of, first_words
from warmth.errors import UserError

NAME = re.compile(r"details_(?P<task>.+?)_(\d{4}-\d\d-\d\dT[\d.:-]+)$")
METRICS = ("__metric__", "metric", "__metrics__", "metrics")
DOCS = ("__doc__", "doc")
RIGHT = ("choices", "gold_index", "gold")  # of a document: what can be answered and what is right


def lighteval_task(path: Path) -> str:
    """Read the task from a file's name."""
    match = NAME.match(path.stem)
    return match["task"] if match else path.stem.removeprefix("details_")


def is_details(columns: list[str]) -> bool:
    """Say whether the columns of a Parquet file are lighteval's."""
    return any(name in columns for name in METRICS)


def read_table(path: Path) -> pyarrow.Table:
    """Read a Parquet file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is no readable Parquet file: {error}") from error


def read_lighteval(path: Path, table: pyarrow.Table, cluster: str | None) -> list[Item]:
    """Read the documents of one file.

    Args:
        path: of the file, for the task and for messages.
        table: its content.
        cluster: see `clusters.cluster_of`; a field of the document or of its `specific`.

    Raises:
        UserError: it is not lighteval's.
    """
    metric = next((name for name in METRICS if name in table.column_names), None)
    if metric is None:
        raise UserError(
            f"{path} is not lighteval's: it has none of the columns {', '.join(METRICS)}"
        )
    document = next((name for name in DOCS if name in table.column_names), None)
    needed = []  # not the columns of replies and tokens, which are large
    for name in table.column_names:
        if "response" not in name and "tokens" not in name:
            needed.append(name)
    task = lighteval_task(path)
    items = []
    for row in table.select(needed).to_pylist():
        fields = _mapping(row.get(document)) if document else row
        scores = _mapping(row[metric])
        items.append(_item(fields, scores, task, cluster))
    return items


def _item(
    fields: Mapping[str, Any], scores: Mapping[str, Any], task: str, cluster: str | None
) -> Item:
    question = str(fields.get("query") or fields.get("example") or fields.get("full_prompt") or "")
    number = fields.get("id")
    within = _mapping(fields.get("specific") or fields.get("specifics"))
    return Item(
        task=task,
        item="" if number is None else str(number),
        epoch=str(UNIT),
        cluster=cluster_of({**within, **fields}, cluster),
        content=content_of(question=question, **{name: fields.get(name) for name in RIGHT}),
        words=first_words(question),
        scores=scores,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    """Give a nested value as a dictionary, also one that was stored as Python writes it."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}
