"""Which item of one evaluation is which of another: the same id and the same content, or the
content alone.

An id that asks two different things is no pair; it is listed. If a log does not say what was asked
(a CSV), its ids are believed, and a note says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from warmth.analysis.compare.scores import KEY, Evaluation, shown
from warmth.errors import UserError

SIDES = ("a", "b")
MISMATCH = ["task", "item", "epoch", "words_a", "words_b"]
LISTED = 3  # ids that a message quotes


@dataclass(frozen=True)
class Matching:
    """The items of two evaluations side by side.

    Attributes:
        pairs: task, item, epoch, cluster, row_a, row_b: places in the items of either.
        mismatches: one id, two contents: task, item, epoch, words_a, words_b.
        only_a: (n,) places of items without a partner, those of mismatches too.
        only_b: likewise.
        notes: what a reader should know of the matching.
    """

    pairs: pd.DataFrame
    mismatches: pd.DataFrame
    only_a: pd.DataFrame
    only_b: pd.DataFrame
    notes: tuple[str, ...]


def match(a: Evaluation, b: Evaluation) -> Matching:
    """Pair the items of two evaluations.

    Raises:
        UserError: no item is in both, or an item's cluster differs.
    """
    notes = []
    items_a = a.items
    items_b = _same_task_name(a, b, notes)
    by_id = _merged(items_a, items_b, KEY)
    unknown = by_id["content_a"].eq("") | by_id["content_b"].eq("")
    same = unknown | by_id["content_a"].eq(by_id["content_b"])
    pairs = by_id[same]
    different = by_id[~same]
    moved = _by_content(items_a, items_b, pairs)
    if len(moved):
        notes.append(
            f"{len(moved)} items have another id in {shown(b.system)}; they were matched by their "
            f"content"
        )
        taken_a = different["row_a"].isin(moved["row_a"])
        taken_b = different["row_b"].isin(moved["row_b"])
        different = different[~(taken_a & taken_b)]
        pairs = pd.concat([pairs, moved], ignore_index=True)
    unchecked = int(unknown.sum())
    if unchecked:
        notes.append(
            f"{unchecked} items were matched by id alone: a log does not say what was asked"
        )
    mismatches = different[MISMATCH].reset_index(drop=True)
    if pairs.empty:
        raise UserError(_nothing_in_common(a, b, mismatches))
    if len(mismatches):
        ids = ", ".join(shown(item) for item in mismatches["item"][:LISTED])
        notes.append(
            f"{len(mismatches)} items ask different things under one id and were left out: {ids} …"
        )
    pairs = pairs.assign(cluster=_clusters(pairs, a, b))
    return Matching(
        pairs=pairs[[*KEY, "cluster", "row_a", "row_b"]].reset_index(drop=True),
        mismatches=mismatches,
        only_a=items_a[~items_a.index.isin(pairs["row_a"])],
        only_b=items_b[~items_b.index.isin(pairs["row_b"])],
        notes=tuple(notes),
    )


def _same_task_name(a: Evaluation, b: Evaluation, notes: list[str]) -> pd.DataFrame:
    """Give B's items under A's name of the task, if each has a single task and the names differ.

    Items then pair only if both logs say what was asked, and it is the same.
    """
    tasks_a = a.items["task"].unique()
    tasks_b = b.items["task"].unique()
    if len(tasks_a) != 1 or len(tasks_b) != 1 or tasks_a[0] == tasks_b[0]:
        return b.items
    named = bool(tasks_a[0] and tasks_b[0])
    if named and not set(a.items["content"]) & set(b.items["content"]) - {""}:
        return b.items
    if named:
        notes.append(
            f"task {shown(tasks_b[0])} of {shown(b.system)} is {shown(tasks_a[0])}: it asks the "
            f"same"
        )
    return b.items.assign(task=tasks_a[0])


def _merged(items_a: pd.DataFrame, items_b: pd.DataFrame, on: list[str]) -> pd.DataFrame:
    """Put rows of two evaluations side by side that agree in some columns."""
    left = items_a.assign(row_a=items_a.index)
    right = items_b.assign(row_b=items_b.index)
    merged = left.merge(right, on=on, suffixes=("_a", "_b"))
    for name in KEY:
        if name not in merged:
            merged[name] = merged[f"{name}_a"]
    return merged


def _by_content(items_a: pd.DataFrame, items_b: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Pair what is left by content, if the content is there once on either side."""
    left = items_a[~items_a.index.isin(pairs["row_a"]) & items_a["content"].ne("")]
    right = items_b[~items_b.index.isin(pairs["row_b"]) & items_b["content"].ne("")]
    key = ["task", "content", "epoch"]
    left = left[~left.duplicated(key, keep=False)]
    right = right[~right.duplicated(key, keep=False)]
    return _merged(left, right, key)


def _clusters(pairs: pd.DataFrame, a: Evaluation, b: Evaluation) -> list[str]:
    """Name the cluster of each pair: what either log says; an item that no log puts into one stands
    alone.

    Raises:
        UserError: the logs put an item into different clusters.
    """
    of_a = pairs["cluster_a"]
    of_b = pairs["cluster_b"]
    unlike = pairs[of_a.notna() & of_b.notna() & of_a.ne(of_b)]
    if len(unlike):
        first = unlike.iloc[0]
        raise UserError(
            f"item {shown(first['item'])} is in cluster {shown(first['cluster_a'])} in {a.source} "
            f"and in "
            f"{shown(first['cluster_b'])} in {b.source}; name another field by --cluster, or "
            f"--cluster none"
        )
    labels = of_a.where(of_a.notna(), of_b)
    alone = "item\x1f" + pairs["item"].astype(str)
    return (
        labels.map(lambda label: f"cluster\x1f{label}", na_action="ignore")
        .where(labels.notna(), alone)
        .tolist()
    )


def _nothing_in_common(a: Evaluation, b: Evaluation, mismatches: pd.DataFrame) -> str:
    if len(mismatches):
        first = mismatches.iloc[0]
        return (
            f"{a.source} and {b.source} have no item in common: {len(mismatches)} ids ask "
            f"different things, such as "
            f"{shown(first['item'])}: “{shown(first['words_a'])}” and “{shown(first['words_b'])}”"
        )
    return f"{a.source} and {b.source} have no item in common: {_described(a)}; {_described(b)}"


def _described(evaluation: Evaluation) -> str:
    tasks = ", ".join(
        shown(task) or "(no task)" for task in evaluation.items["task"].unique()[:LISTED]
    )
    ids = ", ".join(shown(item) for item in evaluation.items["item"][:LISTED])
    return f"{shown(evaluation.system)} has {len(evaluation.items)} items of {tasks}, such as {ids}"
