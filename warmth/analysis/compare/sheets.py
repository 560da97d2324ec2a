"""A table of scores: CSV (comma, semicolon or tab) or Parquet with the columns item and score.

Further columns are read if they are there: system, cluster, task, metric, epoch, content. Other
names that people use for them are known (`NAMES`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from warmth.analysis.compare.clusters import NAMES as CLUSTERS
from warmth.analysis.compare.clusters import NONE
from warmth.analysis.compare.files import read_text
from warmth.analysis.compare.scores import UNIT, Evaluation, Item, collect, digest_of, words_of
from warmth.errors import UserError

NAMES: dict[str, tuple[str, ...]] = {
    "item": ("item", "item_id", "id", "sample_id", "doc_id"),
    "score": ("score", "value"),
    "system": ("system", "model", "arm"),
    "task": ("task",),
    "metric": ("metric", "scorer"),
    "epoch": ("epoch", "sample", "repeat"),
    "content": ("content", "question", "input", "prompt", "text"),
}
SCORE = "score"  # the metric of a table that names none


def read_csv(path: Path) -> pd.DataFrame:
    """Read a CSV file, all its cells as text.

    Raises:
        UserError: it cannot be read, or its rows do not have the header's columns.
    """
    text = read_text(path)
    header = text.split("\n", 1)[0]
    delimiter = max((",", ";", "\t"), key=header.count)
    try:
        return pd.read_csv(
            io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False, index_col=False
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise UserError(f"{path} is no readable CSV file: {error}") from error


def is_table(columns: list[str]) -> bool:
    """Say whether columns are those of a table of scores."""
    roles = roles_of(columns, None)
    return "item" in roles and "score" in roles


def roles_of(columns: list[str], cluster: str | None) -> dict[str, str]:
    """Find the column of each role, by the first of its names that is there; case does not
    matter.
    """
    by_name = {str(column).strip().lower(): str(column) for column in columns}
    roles = {}
    clusters = CLUSTERS if cluster is None else (cluster.lower(),)
    wanted = {**NAMES, "cluster": () if cluster == NONE else clusters}
    for role, names in wanted.items():
        present = [by_name[name] for name in names if name in by_name]
        if present:
            roles[role] = present[0]
    return roles


def read(path: Path, table: pd.DataFrame, source: str, cluster: str | None) -> list[Evaluation]:
    """Read every system of a table, in the order of its rows.

    Args:
        path: of the file.
        table: its content.
        source: the path as the user wrote it.
        cluster: column of the clusters; None: the first of the names people use; `none`: no
        clusters.

    Raises:
        UserError: a column is missing, or a row has no item.
    """
    roles = roles_of(list(table.columns), cluster)
    if not {"item", "score"} <= set(roles):
        raise UserError(
            f"{path} needs the columns item and score; it has: {', '.join(map(str, table.columns))}"
        )
    texts = {role: _texts(table[column]) for role, column in roles.items()}
    columns = {role: texts.get(role, [""] * len(table)) for role in (*NAMES, "cluster")}
    systems: dict[str, dict[tuple[str, str, str, str], Item]] = {}
    for place in range(len(table)):
        cells = {role: column[place] for role, column in columns.items()}
        if not cells["item"]:
            raise UserError(f"{path} row {place + 1} has no {roles['item']}")
        items = systems.setdefault(cells["system"] or path.name.split(".")[0], {})
        _add(items, cells, place)
    if not systems:
        raise UserError(f"{path} holds no samples")
    return [collect(system, source, items.values()) for system, items in systems.items()]


def _add(
    items: dict[tuple[str, str, str, str], Item], cells: Mapping[str, str], place: int
) -> None:
    """Add a row to its item: rows of one item and epoch with different metrics are one item."""
    metric = cells["metric"] or SCORE
    item = Item(
        task=cells["task"],
        item=cells["item"],
        epoch=cells["epoch"] or str(UNIT),
        cluster=cells["cluster"] or None,
        content=digest_of(cells["content"]),
        words=words_of(cells["content"]),
        scores={metric: cells["score"]},
    )
    key = (item.task, item.item, item.epoch, item.content)
    before = items.get(key)
    if before is None:
        items[key] = item
    elif metric in before.scores:
        items[(*key[:3], f"row {place}")] = item  # there twice: refused where items are counted
    else:
        assert isinstance(before.scores, dict)
        before.scores[metric] = cells["score"]


def _texts(column: pd.Series) -> list[str]:
    """Give the cells of a column as text, "" where one is empty; whole numbers have no decimals."""
    texts = []
    for value in column:
        if value is None or value != value:
            texts.append("")
        elif isinstance(value, float) and value.is_integer():
            texts.append(str(int(value)))
        else:
            texts.append(str(value).strip())
    return texts
