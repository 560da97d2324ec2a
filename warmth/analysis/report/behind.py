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


def points(
    answers: pd.DataFrame, prompts: pd.DataFrame, cells: pd.DataFrame, paths: Sequence[Any]
) -> dict[str, dict[str, Any]]:
    """What each point opens, by its id: title, number of rows behind it, the command for all, and
    rows to read.

    Args:
        answers: columns of `frames.load`.
        prompts: indexed by prompt_id, with message.
        cells: a row per point: model, arm, task, context, belief ("" where it pools all, a comma
            between some), `count`, the rows behind it, and `paired`, whether they are pairs with
            the original's scored answers.
        paths: what the report was made of, for the command.
    """
    shared = ",".join(sorted(pooled(answers)["task"].unique())) if apart(answers) else ""
    asked = cells.assign(
        task=cells["task"].mask(cells["task"].eq(""), shared)
    )  # behind a point of all tasks
    wanted = drawn(answers, asked)
    turns = [place for turn in zip_longest(*wanted) for place in turn if place is not None]
    places = list(dict.fromkeys(turns))[:ROWS]  # a row for every point, then a second one, …
    views = dict(
        within(BYTES, zip(places, _views(answers.loc[places], answers, prompts), strict=True))
    )
    made = {}
    for cell, whole, own in zip(
        cells.to_dict("records"), asked.to_dict("records"), wanted, strict=True
    ):
        made[point_id(cell["model"], cell["arm"], *(cell[name] for name in WHERE))] = {
            "title": wording.visible(title(cell), 160),
            "count": int(cell["count"]),
            "kind": "pairs" if cell["paired"] else "answers",
            "value": str(cell.get("value") or ""),
            "command": wording.visible(command(whole, paths), 2000),
            "rows": [views[place] for place in own if place in views],
        }
    return made


def drawn(answers: pd.DataFrame, cells: pd.DataFrame) -> list[list[int]]:
    """Of each cell, up to `SHOWN` scored answers in the order of one shuffle by seed, as labels of
    the index.

    Args:
        answers: columns of `frames.load`.
        cells: see `points`; of a paired cell only answers with a scored partner of the original are
        drawn.
    """
    scored = answers.loc[
        answers["wrong"].notna(), [*CELL, "prompt_id", "sample"]
    ]  # texts are slow to carry
    mixed = scored.iloc[np.random.default_rng(SEED).permutation(len(scored))]
    original = mixed["arm"].eq("original")
    keys = mixed.groupby(PAIR, sort=False).ngroup()
    mixed = mixed.assign(paired=~original & keys.isin(keys[original]))
    groups = mixed.groupby([*CELL, "paired"], sort=False).indices
    kinds = pd.DataFrame(list(groups), columns=[*CELL, "paired"])
    first = [places[:SHOWN] for places in groups.values()]
    found = []
    for cell in cells.to_dict("records"):
        keep = kinds["paired"].to_numpy() if cell["paired"] else np.ones(len(kinds), bool)
        for name in CELL:
            keep = keep & among(kinds[name], cell[name]).to_numpy() if cell[name] else keep
        own = [first[at] for at in np.flatnonzero(keep)]
        found.append(mixed.index[np.sort(np.concatenate(own))[:SHOWN]].tolist() if own else [])
    return found


def within(
    limit: int, views: Iterator[tuple[int, dict[str, Any]]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The first rows that fit into so many bytes of the page."""
    for place, view in views:
        limit -= len(_json(view))
        if limit < 0:
            return
        yield place, view


def replies(
    warmth: pd.DataFrame, drawn: set[str], paths: Sequence[Any]
) -> dict[str, dict[str, Any]]:
    """What a point of a warmth curve opens: replies to held-out prompts with their scores, the
    original's beside them.

    Args:
        warmth: columns of `frames.load`; each model's measure with most texts counts, as in the
        figures.
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
    shuffle, each = np.random.default_rng(SEED), max(1, min(SHOWN, REPLIES // max(1, len(arms))))
    plain = (
        rows[rows["arm"].eq("original")]
        .drop_duplicates(["model", "prompt"])
        .set_index(["model", "prompt"])
    )
    made = {}
    for (model, arm), group in arms:
        chosen = group.iloc[np.sort(shuffle.permutation(len(group))[:each])].to_dict("records")
        own = {"model": model, "arm": arm, "task": "", "context": "", "belief": ""}
        made[reply_id(model, arm)] = {
            "title": wording.visible(f"{title(own)} · warmth of replies to held-out prompts", 160),
            "count": len(group),
            "kind": "replies",
            "value": "",
            "command": wording.visible(f"{command(own, paths)} --replies", 2000),
            "rows": [_reply_view(row, plain) for row in chosen],
        }
    return made


def _reply_view(row: Mapping[str, Any], plain: pd.DataFrame) -> dict[str, Any]:
    """One reply with its score, after the original's to the same prompt."""
    key = (row["model"], row["prompt"])
    told = (
        [plain.loc[key].to_dict() | {"arm": "original"}]
        if row["arm"] != "original" and key in plain.index
        else []
    )
    return {
        "question": wording.visible(row["text_id"], 80),
        "where": "held-out prompt",
        "message": wording.visible(row["prompt"], EXCERPT),
        "said": [
            [
                wording.name(one["arm"]),
                wording.signed(one["score"], 4),
                wording.visible(one["text"], EXCERPT),
            ]
            for one in (*told, row)
        ],
    }


def _views(
    chosen: pd.DataFrame, answers: pd.DataFrame, prompts: pd.DataFrame
) -> list[dict[str, Any]]:
    """Each chosen answer with the original's to the same prompt and sample, cut and visible."""
    near = answers[
        answers["arm"].eq("original") & answers["prompt_id"].isin(set(chosen["prompt_id"]))
    ]
    keys = zip(near["model"], near["prompt_id"], near["sample"], strict=True)
    original = dict(zip(keys, near[["label", "text"]].to_dict("records"), strict=True))
    messages = prompts["message"].reindex(chosen["prompt_id"]).tolist()
    views = []
    for row, message in zip(chosen.to_dict("records"), messages, strict=True):
        said = [("original", original.get((row["model"], row["prompt_id"], row["sample"])))]
        said = [*said, (row["arm"], row)] if row["arm"] != "original" else [("original", row)]
        views.append(
            {
                "question": wording.visible(row["question_id"], 80),
                "where": wording.visible(
                    " · ".join(
                        (
                            wording.name(row["task"]),
                            wording.name(row["context"]),
                            wording.belief(row["belief"]),
                        )
                    ),
                    140,
                ),
                "message": wording.visible(message if isinstance(message, str) else "", EXCERPT),
                "said": [
                    [wording.name(arm), _label(one), wording.visible(one["text"], EXCERPT)]
                    for arm, one in said
                    if one
                ],
            }
        )
    return views


def _label(row: Mapping[str, Any]) -> str:
    return row["label"] if isinstance(row["label"], str) else "unscored"


def title(cell: Mapping[str, Any]) -> str:
    """A point in words."""
    parts = [wording.name(cell["model"])] if cell["model"] else []
    parts += [wording.name(cell["arm"])]
    parts += [
        ", ".join(map(wording.name, cell[name].split(",")))
        for name in ("task", "context")
        if cell[name]
    ]
    parts += [" or ".join(map(wording.belief, cell["belief"].split(",")))] if cell["belief"] else []
    return " · ".join(parts)


def command(cell: Mapping[str, Any], paths: Sequence[Any]) -> str:
    """`warmth show` for every row behind a point."""
    words = ["warmth", "show", "all", *map(str, paths)]
    for name in ("model", "arm", *WHERE):
        words += [f"--{name}", str(cell[name])] if cell[name] else []
    return shlex.join(words)


def as_json(made: Mapping[str, Any]) -> str:
    """JSON that may stand inside a page's script element: nothing in it can end the element or
    start another.

    A row that several points show is written once: points hold positions in one list of rows.
    """
    rows: list[Any] = []
    places: dict[int, int] = {}
    points = {}
    for name, point in made.items():
        for row in point["rows"]:
            if id(row) not in places:
                places[id(row)] = len(rows)
                rows.append(row)
        points[name] = {**point, "rows": [places[id(row)] for row in point["rows"]]}
    return _json({"points": points, "rows": rows})


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
