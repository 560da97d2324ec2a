"""The samples that lm-evaluation-harness writes with `--log_samples`:
`samples_<task>_<time>.jsonl`.

An item is a document's number; a document that several filters read has a row for each, and a
metric for each filter, named as the harness names it (`exact_match,strict`). Format:
`lm_eval/loggers/evaluation_tracker.py` of 0.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warmth.analysis.compare.clusters import cluster_of
from warmth.analysis.compare.files import read_json_lines
from warmth.analysis.compare.scores import UNIT, Item, content_of, first_words
from warmth.errors import UserError

NAME = re.compile(r"samples_(?P<task>.+?)_(\d{4}-\d\d-\d\dT[\d.:-]+)$")
NO_FILTER = "none"
# fields of a document that people would read
QUESTIONS = ("question", "query", "prompt", "input", "text", "ctx")


def task_of(path: Path) -> str:
    """Read the task from a file's name."""
    stem = path.name.split(".jsonl")[0]
    match = NAME.match(stem)
    return match["task"] if match else stem.removeprefix("samples_")


def read_lm_eval(path: Path, cluster: str | None) -> list[Item]:
    """Read the samples of one file.

    Args:
        path: of the file.
        cluster: see `clusters.cluster_of`; a field of the document.

    Raises:
        UserError: it cannot be read, or a row is no sample.
    """
    task = task_of(path)
    items: dict[tuple[str, str], Item] = {}
    repeated: list[Item] = []
    filters_read: set[tuple[str, str, str]] = set()
    for number, row in enumerate(read_json_lines(path), start=1):
        if "doc_id" not in row and "doc" not in row:
            raise UserError(
                f"{path} row {number} is no sample of lm-evaluation-harness: it has neither "
                f"doc_id nor doc"
            )
        filter_name = row.get("filter", NO_FILTER)
        item = _item(row, task, cluster)
        key = (item.item, item.content)
        if (*key, filter_name) in filters_read:
            # the same document by the same filter again: refused where items are counted
            repeated.append(item)
            continue
        filters_read.add((*key, filter_name))
        if key in items:
            item = item._replace(scores={**items[key].scores, **item.scores})
        items[key] = item
    return [*items.values(), *repeated]


def _item(row: Mapping[str, Any], task: str, cluster: str | None) -> Item:
    doc = row.get("doc")
    fields = doc if isinstance(doc, Mapping) else {}
    question = next((fields[name] for name in QUESTIONS if name in fields), None)
    prompt = request_text(row.get("arguments"))
    document = doc if doc not in (None, {}, "") else prompt
    content = content_of(
        document=document,
        target=row.get("target"),
        doc_hash=row.get("doc_hash"),
        target_hash=row.get("target_hash"),
    )
    if not document and not row.get("doc_hash") and not row.get("target_hash"):
        content = content_of(prompt_hash=row.get("prompt_hash"))
    return Item(
        task=task,
        item="" if row.get("doc_id") is None else str(row["doc_id"]),
        epoch=str(UNIT),
        cluster=cluster_of(fields, cluster),
        content=content,
        words=first_words(question if question is not None else prompt or doc or ""),
        scores=_scores(row),
    )


def _scores(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give the value of each metric that a row names; a filter's name is part of the metric's."""
    filter_name = row.get("filter", NO_FILTER)
    scores = {}
    for metric in metrics_of(row):
        name = metric if filter_name == NO_FILTER else f"{metric},{filter_name}"
        scores[name] = row.get(metric)
    return scores


OF_A_ROW = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}


def metrics_of(row: Mapping[str, Any]) -> list[str]:
    """List the metrics of a row; before 0.4.8 rows do not name them, and they are the numbers
    beside known fields.
    """
    named = row.get("metrics")
    if isinstance(named, list):
        return [str(name) for name in named]
    metrics = []
    for name, value in row.items():
        is_known_field = name in OF_A_ROW or name.endswith("_hash")
        if not is_known_field and isinstance(value, int | float | None):
            metrics.append(name)
    return metrics


def request_text(arguments: Any) -> str:
    """Give the text of a row's first request, as written since 0.4.3 (`gen_args_0`) or before (a
    list).
    """
    if isinstance(arguments, Mapping):
        arguments = list(arguments.values())
    request = arguments[0] if isinstance(arguments, list) and arguments else ""
    if isinstance(request, Mapping):
        request = list(request.values())
    if isinstance(request, list):
        request = request[0] if request else ""
    return str(request)
