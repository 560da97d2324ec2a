"""The rows behind a figure's points: some to read, drawn by seed so that nobody picks them, and how
to see all.

A point is a model, an arm, and perhaps a task, a context or a belief. All answers are shuffled once
and each point shows the first of its own, so that points which overlap share rows and a page of
thousands of points stays small.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from warmth.analysis import wording
from warmth.analysis.report.drawing.ink import point_id, reply_id
from warmth.analysis.rows.examples import WHERE, among
from warmth.analysis.statistics.effects import apart, main_measure, pooled

SHOWN = 20  # rows of one point
ROWS = 6000  # of one page, over all points
# of these rows in the page, which is to stay below 5 MB in a study of 440,000 answers
BYTES = 2_500_000
REPLIES = 750  # rows of all points of warmth
CELL = ["model", "arm", "task", "context", "belief"]
PAIR = ["model", "prompt_id", "sample"]  # what an answer shares with the original's
SEED = 0
EXCERPT = 280  # characters of a message or an answer


def rows_behind_points(
    answers: pd.DataFrame, prompts: pd.DataFrame, cells: pd.DataFrame, paths: Sequence[Any]
) -> dict[str, dict[str, Any]]:
    """Say what each point opens, by its id: title, number of rows behind it, the command for all,
    and rows to read.

    Args:
        answers: columns of `frames.load_rows`.
        prompts: indexed by prompt_id, with message.
        cells: a row per point: model, arm, task, context, belief ("" if it pools all, a comma
            between some), `count`, the rows behind it, and `paired`, whether they are pairs with
            the original's scored answers.
        paths: what the report was made of, for the command.
    """
    pooled_tasks = ",".join(sorted(pooled(answers)["task"].unique())) if apart(answers) else ""
    # behind a point of all tasks are those that are pooled
    rows_of_cells = cells.assign(task=cells["task"].mask(cells["task"].eq(""), pooled_tasks))
    labels_of_cells = drawn(answers, rows_of_cells)
    labels = in_turns(labels_of_cells)
    views = _views(answers.loc[labels], answers, prompts)
    views_by_label = dict(within(BYTES, zip(labels, views, strict=True)))
    opened = {}
    records = zip(
        cells.to_dict("records"),
        rows_of_cells.to_dict("records"),
        labels_of_cells,
        strict=True,
    )
    for cell, rows_of_cell, labels_of_cell in records:
        shown = [views_by_label[label] for label in labels_of_cell if label in views_by_label]
        mark = point_id(cell["model"], cell["arm"], *(cell[name] for name in WHERE))
        opened[mark] = {
            "title": wording.visible(title(cell), 160),
            "count": int(cell["count"]),
            "kind": "pairs" if cell["paired"] else "answers",
            "value": str(cell.get("value") or ""),
            "command": wording.visible(show_command(rows_of_cell, paths), 2000),
            "rows": shown,
        }
    return opened


def in_turns(labels_of_cells: Sequence[Sequence[int]]) -> list[int]:
    """List rows in turns: the first of every point, then the second of each …; each row once, at
    most `ROWS`.
    """
    labels: dict[int | None, None] = {}
    for turn in zip_longest(*labels_of_cells):  # None once a point has no more
        labels.update(dict.fromkeys(turn))
    return [label for label in labels if label is not None][:ROWS]


def drawn(answers: pd.DataFrame, cells: pd.DataFrame) -> list[list[int]]:
    """Draw up to `SHOWN` scored answers of each cell, in the order of one shuffle by seed; they are
    given as labels of the index.

    Args:
        answers: columns of `frames.load_rows`.
        cells: see `points`; of a paired cell only answers with a scored partner of the original are
        drawn.
    """
    # without texts, which are slow to carry
    scored = answers.loc[answers["wrong"].notna(), [*CELL, "prompt_id", "sample"]]
    mixed = scored.iloc[np.random.default_rng(SEED).permutation(len(scored))]
    is_original = mixed["arm"].eq("original")
    keys = mixed.groupby(PAIR, sort=False).ngroup()
    mixed = mixed.assign(paired=~is_original & keys.isin(keys[is_original]))
    groups = mixed.groupby([*CELL, "paired"], sort=False).indices
    kinds = pd.DataFrame(list(groups), columns=[*CELL, "paired"])
    positions_of_kinds = [positions[:SHOWN] for positions in groups.values()]
    labels = []
    for cell in cells.to_dict("records"):
        is_of_cell = kinds["paired"].to_numpy() if cell["paired"] else np.ones(len(kinds), bool)
        for name in CELL:
            if cell[name]:
                is_of_cell = is_of_cell & among(kinds[name], cell[name]).to_numpy()
        positions = [positions_of_kinds[number] for number in np.flatnonzero(is_of_cell)]
        if positions:
            labels.append(mixed.index[np.sort(np.concatenate(positions))[:SHOWN]].tolist())
        else:
            labels.append([])
    return labels


def within(
    limit: int, views: Iterator[tuple[int, dict[str, Any]]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the first rows that fit into so many bytes of the page."""
    for label, view in views:
        limit -= len(_json(view))
        if limit < 0:
            return
        yield label, view


def rows_behind_warmth(
    warmth: pd.DataFrame, drawn: set[str], paths: Sequence[Any]
) -> dict[str, dict[str, Any]]:
    """Say what a point of a warmth curve opens: replies to held-out prompts with their scores, the
    original's beside them.

    Args:
        warmth: columns of `frames.load_rows`; each model's measure with most texts counts, as in
            the figures.
        drawn: ids of the points that figures have.
        paths: what the report was made of, for the command.
    """
    rows = warmth[warmth["score"].notna()]
    if rows.empty:
        return {}
    rows = main_measure(rows)
    arms = [
        (key, group) for key, group in rows.groupby(["model", "arm"]) if reply_id(*key) in drawn
    ]
    shuffle = np.random.default_rng(SEED)
    rows_of_arm = max(1, min(SHOWN, REPLIES // max(1, len(arms))))
    original = rows[rows["arm"].eq("original")].drop_duplicates(["model", "prompt"])
    original = original.set_index(["model", "prompt"])
    opened = {}
    for (model, arm), group in arms:
        positions = np.sort(shuffle.permutation(len(group))[:rows_of_arm])
        shown = group.iloc[positions].to_dict("records")
        cell = {"model": model, "arm": arm, "task": "", "context": "", "belief": ""}
        opened[reply_id(model, arm)] = {
            "title": wording.visible(f"{title(cell)} · warmth of replies to held-out prompts", 160),
            "count": len(group),
            "kind": "replies",
            "value": "",
            "command": wording.visible(f"{show_command(cell, paths)} --replies", 2000),
            "rows": [_reply_view(row, original) for row in shown],
        }
    return opened


def _reply_view(row: Mapping[str, Any], original: pd.DataFrame) -> dict[str, Any]:
    """Show one reply with its score, after the original's to the same prompt."""
    replies: list[Mapping[str, Any]] = [row]
    key = (row["model"], row["prompt"])
    if row["arm"] != "original" and key in original.index:
        replies.insert(0, original.loc[key].to_dict() | {"arm": "original"})
    lines = []
    for reply in replies:
        score = wording.signed(reply["score"], 4)
        text = wording.visible(reply["text"], EXCERPT)
        lines.append([wording.name_words(reply["arm"]), score, text])
    return {
        "question": wording.visible(row["text_id"], 80),
        "where": "held-out prompt",
        "message": wording.visible(row["prompt"], EXCERPT),
        "said": lines,
    }


def _views(
    rows: pd.DataFrame, answers: pd.DataFrame, prompts: pd.DataFrame
) -> list[dict[str, Any]]:
    """Show each of some answers with the original's to the same prompt and sample, cut and
    visible.
    """
    is_near = answers["arm"].eq("original") & answers["prompt_id"].isin(set(rows["prompt_id"]))
    near = answers[is_near]
    keys = zip(near["model"], near["prompt_id"], near["sample"], strict=True)
    originals = dict(zip(keys, near[["label", "text"]].to_dict("records"), strict=True))
    messages = prompts["message"].reindex(rows["prompt_id"]).tolist()
    views = []
    for row, message in zip(rows.to_dict("records"), messages, strict=True):
        lines = [_line("original", row)]
        if row["arm"] != "original":
            lines = [_line(row["arm"], row)]
            original = originals.get((row["model"], row["prompt_id"], row["sample"]))
            if original is not None:
                lines.insert(0, _line("original", original))
        condition = (
            f"{wording.name_words(row['task'])} · {wording.name_words(row['context'])} · "
            f"{wording.belief(row['belief'])}"
        )
        view = {
            "question": wording.visible(row["question_id"], 80),
            "where": wording.visible(condition, 140),
            "message": wording.visible(message if isinstance(message, str) else "", EXCERPT),
            "said": lines,
        }
        views.append(view)
    return views


def _line(arm: str, row: Mapping[str, Any]) -> list[str]:
    """Give an answer's arm, label and text."""
    return [wording.name_words(arm), _label(row), wording.visible(row["text"], EXCERPT)]


def _label(row: Mapping[str, Any]) -> str:
    return row["label"] if isinstance(row["label"], str) else "unscored"


def title(cell: Mapping[str, Any]) -> str:
    """Name a point in words."""
    names = [wording.name_words(cell["model"])] if cell["model"] else []
    names.append(wording.name_words(cell["arm"]))
    for key in ("task", "context"):
        if cell[key]:
            names.append(", ".join(map(wording.name_words, cell[key].split(","))))
    if cell["belief"]:
        names.append(" or ".join(map(wording.belief, cell["belief"].split(","))))
    return " · ".join(names)


def show_command(cell: Mapping[str, Any], paths: Sequence[Any]) -> str:
    """Write the `warmth show` for every row behind a point."""
    words = ["warmth", "show", "all", *map(str, paths)]
    for name in ("model", "arm", *WHERE):
        if cell[name]:
            words += [f"--{name}", str(cell[name])]
    return shlex.join(words)


def script_json(points: Mapping[str, Any]) -> str:
    """Write JSON that may stand inside a page's script element: nothing in it can end the element
    or start another.

    A row that several points show is written once: points hold positions in one list of rows.
    """
    rows: list[Any] = []
    positions: dict[int, int] = {}
    written = {}
    for name, point in points.items():
        for row in point["rows"]:
            if id(row) not in positions:
                positions[id(row)] = len(rows)
                rows.append(row)
        written[name] = {**point, "rows": [positions[id(row)] for row in point["rows"]]}
    return _json({"points": written, "rows": rows})


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
