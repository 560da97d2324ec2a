"""A table of scores: CSV (comma, semicolon or tab) or Parquet with the columns item and score.

Further columns are read if they are there: system, cluster, task, metric, epoch, content. Other
names that people use for them are known (`NAMES`), and so are decimal commas.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from warmth.analysis.compare.clusters import NAMES as CLUSTERS
from warmth.analysis.compare.clusters import NONE
from warmth.analysis.compare.files import read_text
from warmth.analysis.compare.scores import UNIT, Evaluation, Item, collect, content_of, first_words
from warmth.errors import UserError

NAMES: dict[str, tuple[str, ...]] = {
    "item": ("item", "item_id", "id", "sample_id", "doc_id"),
    "score": ("score", "value", "correct", "is_correct", "acc", "accuracy"),
    "system": ("system", "model", "arm"),
    "task": ("task",),
    "metric": ("metric", "scorer"),
    "epoch": ("epoch", "sample", "repeat"),
    "content": ("content", "question", "input", "prompt", "text"),
}
SCORE = "score"  # the metric of a table that names none
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")  # 1,234 may be a thousand or a little above 1


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


def is_table(columns: Sequence[str]) -> bool:
    """Say whether columns are those of a table of scores."""
    roles = roles_of(columns, None)
    return "item" in roles and "score" in roles


def roles_of(columns: Sequence[str], cluster: str | None) -> dict[str, str]:
    """Find the column of each role, by the first of its names that is there; case does not
    matter.
    """
    columns_by_name = {str(column).strip().lower(): str(column) for column in columns}
    names_of_role = dict(NAMES)
    if cluster is None:
        names_of_role["cluster"] = CLUSTERS
    elif cluster != NONE:
        names_of_role["cluster"] = (cluster.lower(),)
    roles = {}
    for role, names in names_of_role.items():
        for name in names:
            if name in columns_by_name:
                roles[role] = columns_by_name[name]
                break
    return roles


def read_sheet(
    path: Path, table: pd.DataFrame, source: str, cluster: str | None
) -> list[Evaluation]:
    """Read every system of a table, in the order of its rows.

    Args:
        path: of the file.
        table: its content.
        source: the path as the user wrote it.
        cluster: column of the clusters; None: the first of the names people use; `none`: no
        clusters.

    Raises:
        UserError: a column is missing, two could be the score, a score's comma is no clear decimal
        mark, or a row has no item.
    """
    names = [str(column) for column in table.columns]
    roles = roles_of(names, cluster)
    _check_columns(path, names, roles)
    empty = [""] * len(table)
    columns = dict.fromkeys((*NAMES, "cluster"), empty)
    for role, column in roles.items():
        columns[role] = _texts(table[column])
    columns["score"] = with_decimal_points(columns["score"], f"{path} column {roles['score']}")
    systems: dict[str, dict[tuple[str, str, str, str], Item]] = {}
    for number in range(len(table)):
        cells = {role: column[number] for role, column in columns.items()}
        if not cells["item"]:
            raise UserError(f"{path} row {number + 1} has no {roles['item']}")
        items = systems.setdefault(cells["system"] or path.name.split(".")[0], {})
        _add(items, cells, number)
    if not systems:
        raise UserError(f"{path} holds no samples")
    return [collect(system, source, items.values()) for system, items in systems.items()]


def _check_columns(path: Path, columns: Sequence[str], roles: Mapping[str, str]) -> None:
    """Check that a table names its items and, clearly, its scores.

    Raises:
        UserError: it does not.
    """
    if "item" not in roles or "score" not in roles:
        items = ", ".join(NAMES["item"])
        scores = ", ".join(NAMES["score"])
        raise UserError(
            f"{path} needs the columns item and score (known names: {items}; {scores}); it has: "
            f"{', '.join(columns)}"
        )
    lower_names = [column.strip().lower() for column in columns]
    candidates = [name for name in NAMES["score"] if name in lower_names]
    if candidates[0] != SCORE and len(candidates) > 1:
        raise UserError(
            f"{path} has several columns that could be the score: {', '.join(candidates)}; "
            f"rename one to score"
        )


def with_decimal_points(scores: list[str], place: str) -> list[str]:
    """Write scores with decimal commas as numbers with decimal points.

    Args:
        scores: cells of one column.
        place: the column, for messages.

    Raises:
        UserError: the commas could as well part thousands, or points are used, too.
    """
    with_comma = [score for score in scores if DECIMAL_COMMA.fullmatch(score)]
    if not with_comma:
        return scores
    if any("." in score for score in scores):
        raise UserError(
            f"{place} has commas and points in its numbers, such as {with_comma[0]}; use one of "
            f"them as the decimal mark"
        )
    if all(THOUSANDS.fullmatch(score) for score in with_comma):
        raise UserError(
            f"{place}: {with_comma[0]} could be a thousand or a decimal number; write it with a "
            f"decimal point"
        )
    return [score.replace(",", ".") for score in scores]


def _add(
    items: dict[tuple[str, str, str, str], Item], cells: Mapping[str, str], row_number: int
) -> None:
    """Add a row to its item: rows of one item and epoch with different metrics are one item."""
    metric = cells["metric"] or SCORE
    item = Item(
        task=cells["task"],
        item=cells["item"],
        epoch=cells["epoch"] or str(UNIT),
        cluster=cells["cluster"] or None,
        content=content_of(content=cells["content"]),
        words=first_words(cells["content"]),
        scores={metric: cells["score"]},
    )
    key = (item.task, item.item, item.epoch, item.content)
    earlier = items.get(key)
    if earlier is None:
        items[key] = item
    elif metric in earlier.scores:
        # there twice: refused where items are counted
        items[(item.task, item.item, item.epoch, f"row {row_number}")] = item
    else:
        assert isinstance(earlier.scores, dict)
        earlier.scores[metric] = cells["score"]


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
