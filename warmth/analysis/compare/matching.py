"""Which item of one evaluation is which of another: the same id and the same content, or the
content alone.

An id that asks two different things is no pair; it is listed. If a log does not say what was asked
(a CSV), its ids are believed, and a note says so. If the two asked their items in different epochs,
every epoch of an item in one log is paired with every epoch of it in the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from warmth.analysis import wording
from warmth.analysis.compare.scores import KEY, Evaluation, differing_fields, shown
from warmth.errors import UserError

SIDES = ("a", "b")
MISMATCH = ["task", "item", "epoch", "words_a", "words_b"]
LISTED = 3  # ids that a message quotes


@dataclass(frozen=True)
class Matching:
    """The items of two evaluations side by side.

    Attributes:
        pairs: task, item, cluster, row_a, row_b: places in the items of either.
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
    notes: list[str] = []
    items_a = a.items
    items_b = _same_task_name(a, b, notes)
    key = ["task", "item"]
    if has_same_epochs(items_a, items_b):
        key = KEY
    else:
        notes.append(_about_epochs(a, b))
    by_id = _merged(items_a, items_b, key)
    is_unknown = by_id["content_a"].eq("") | by_id["content_b"].eq("")
    is_same = is_unknown | by_id["content_a"].eq(by_id["content_b"])
    pairs = by_id[is_same]
    different = by_id[~is_same]
    moved = _by_content(items_a, items_b, pairs, key)
    if len(moved):
        count = wording.amount(moved["item"].nunique(), "item")
        notes.append(f"{count} matched by content: the id is another in {shown(b.system)}")
        is_moved_a = different["row_a"].isin(moved["row_a"])
        is_moved_b = different["row_b"].isin(moved["row_b"])
        different = different[~(is_moved_a & is_moved_b)]
        pairs = pd.concat([pairs, moved], ignore_index=True)
    if is_unknown.any():
        count = wording.amount(by_id.loc[is_unknown, "item"].nunique(), "item")
        notes.append(f"{count} matched by id alone: a log does not say what was asked")
    if pairs.empty:
        raise UserError(_nothing_in_common(a, b, different))
    mismatches = different[MISMATCH].reset_index(drop=True)
    if len(mismatches):
        count = wording.amount(mismatches["item"].nunique(), "item")
        ids = _listed(mismatches["item"].unique())
        notes.append(f"{count} left out, with different content under one id: {ids}")
    pairs = pairs.assign(cluster=_clusters(pairs, a, b))
    return Matching(
        pairs=pairs[["task", "item", "cluster", "row_a", "row_b"]].reset_index(drop=True),
        mismatches=mismatches,
        only_a=items_a[~items_a.index.isin(pairs["row_a"])],
        only_b=items_b[~items_b.index.isin(pairs["row_b"])],
        notes=tuple(notes),
    )


def has_same_epochs(items_a: pd.DataFrame, items_b: pd.DataFrame) -> bool:
    """Say whether all items of two evaluations that are in both have the same epochs in both."""
    epochs_a = set(items_a["epoch"].unique())
    epochs_b = set(items_b["epoch"].unique())
    if epochs_a != epochs_b:
        return False
    if len(epochs_a) == 1:
        return True
    keys_a = pd.MultiIndex.from_frame(items_a[["task", "item"]])
    keys_b = pd.MultiIndex.from_frame(items_b[["task", "item"]])
    common_a = items_a.loc[keys_a.isin(keys_b), KEY]
    common_b = items_b.loc[keys_b.isin(keys_a), KEY]
    return set(common_a.itertuples(index=False)) == set(common_b.itertuples(index=False))


def _about_epochs(a: Evaluation, b: Evaluation) -> str:
    """Say how items of unlike epochs are compared."""
    return (
        f"{shown(a.system)} has {_epochs_of(a)} and {shown(b.system)} {_epochs_of(b)}: compared is "
        f"the mean over an item’s epochs, and an item is one cluster"
    )


def _epochs_of(evaluation: Evaluation) -> str:
    """Say how many epochs the items of an evaluation have: `3 epochs of each item`."""
    counts = evaluation.items.groupby(["task", "item"], sort=False).size()
    fewest = int(counts.min())
    most = int(counts.max())
    if fewest == most:
        return f"{wording.amount(fewest, 'epoch')} of each item"
    return f"{fewest} to {most} epochs of each item"


def _same_task_name(a: Evaluation, b: Evaluation, notes: list[str]) -> pd.DataFrame:
    """Give B's items under A's name of the task, if each has a single task and the names differ.

    Items then pair only if both logs say what was asked, and it is the same.
    """
    tasks_a = a.items["task"].unique()
    tasks_b = b.items["task"].unique()
    if len(tasks_a) != 1 or len(tasks_b) != 1 or tasks_a[0] == tasks_b[0]:
        return b.items
    both_named = bool(tasks_a[0] and tasks_b[0])
    if both_named and not set(a.items["content"]) & set(b.items["content"]) - {""}:
        return b.items
    if both_named:
        notes.append(
            f"task {shown(tasks_b[0])} of {shown(b.system)} is {shown(tasks_a[0])}: it asks the "
            f"same"
        )
    return b.items.assign(task=tasks_a[0])


def _merged(items_a: pd.DataFrame, items_b: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Put rows of two evaluations side by side that agree in some columns."""
    side_a = items_a.assign(row_a=items_a.index)
    side_b = items_b.assign(row_b=items_b.index)
    merged = side_a.merge(side_b, on=key, suffixes=("_a", "_b"))
    for name in KEY:
        if name not in merged:
            merged[name] = merged[f"{name}_a"]
    return merged


def _by_content(
    items_a: pd.DataFrame, items_b: pd.DataFrame, pairs: pd.DataFrame, key: list[str]
) -> pd.DataFrame:
    """Pair the remaining items by content, if the content is there once on either side."""
    remaining_a = items_a[~items_a.index.isin(pairs["row_a"]) & items_a["content"].ne("")]
    remaining_b = items_b[~items_b.index.isin(pairs["row_b"]) & items_b["content"].ne("")]
    identity = ["task", "content", "epoch"]
    remaining_a = remaining_a[~remaining_a.duplicated(identity, keep=False)]
    remaining_b = remaining_b[~remaining_b.duplicated(identity, keep=False)]
    return _merged(
        remaining_a, remaining_b, ["content" if name == "item" else name for name in key]
    )


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
        example = unlike.iloc[0]
        raise UserError(
            f"item {shown(example['item'])} is in cluster {shown(example['cluster_a'])} in "
            f"{a.source} and in {shown(example['cluster_b'])} in {b.source}; name another field by "
            f"--cluster, or --cluster none"
        )
    labels = of_a.where(of_a.notna(), of_b)
    named = "cluster\x1f" + labels.astype(str)
    by_item = "item\x1f" + pairs["item"].astype(str)
    return named.where(labels.notna(), by_item).tolist()


def _nothing_in_common(a: Evaluation, b: Evaluation, different: pd.DataFrame) -> str:
    """Say why no item of two evaluations could be paired."""
    sources = f"{a.source} and {b.source} have no item in common"
    if different.empty:
        return f"{sources}: {_described(a)}; {_described(b)}"
    count = wording.amount(different["item"].nunique(), "id")
    example = different.iloc[0]
    item = shown(example["item"])
    if example["words_a"] == example["words_b"]:
        names = wording.joined(differing_fields(example["content_a"], example["content_b"]))
        words = shown(example["words_a"])
        return (
            f"{sources}: {count} with different content, such as {item}: both ask “{words}”, but "
            f"not the same is: {names}"
        )
    return (
        f"{sources}: {count} with different content, such as {item}: "
        f"“{shown(example['words_a'])}” and “{shown(example['words_b'])}”"
    )


def _described(evaluation: Evaluation) -> str:
    """Say how many items an evaluation has, of which tasks, and a few of their ids."""
    tasks = _listed(evaluation.items["task"].unique())
    ids = _listed(evaluation.items["item"].unique())
    count = wording.amount(len(evaluation.items), "item")
    of_tasks = f" of {tasks}" if tasks else ""
    return f"{shown(evaluation.system)} has {count}{of_tasks}, such as {ids}"


def _listed(names: Iterable[str]) -> str:
    """Quote the first names, with `…` if there are more; empty ones are left out."""
    known = [shown(name) for name in names if name]
    more = ["…"] if len(known) > LISTED else []
    return ", ".join(known[:LISTED] + more)
