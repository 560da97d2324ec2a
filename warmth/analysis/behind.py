"""The rows behind a figure's points: some to read, drawn by seed so that nobody picks them, and how to see all.

A point is a model, an arm, and perhaps a task, a context or a belief. Rows are drawn once for every single cell; a
point that pools cells shows a draw from theirs, so that a page of thousands of points stays small.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from warmth.analysis import wording
from warmth.analysis.ink import point_id

SHOWN = 20  # rows of one point
ROWS = 3000  # of one page, over all single cells
LEAF = ["model", "arm", "context", "belief"]
WHERE = ("task", "context", "belief")
SEED = 0
EXCERPT = 280  # characters of a message or an answer


def points(
    answers: pd.DataFrame, prompts: pd.DataFrame, cells: pd.DataFrame, paths: Sequence[Any]
) -> dict[str, dict[str, Any]]:
    """What each point opens, by its id: title, number of rows behind it, the command for all, and rows to read.

    Args:
        answers: columns of `rows.load`.
        prompts: indexed by prompt_id, with message.
        cells: a row per point: model, arm, task, context, belief ("" where it pools), and `count`, the rows behind it.
        paths: what the report was made of, for the command.
    """
    drawn = sample(answers)
    views = _views(drawn, answers, prompts)
    shuffle = np.random.default_rng(SEED)
    made = {}
    for cell in cells.to_dict("records"):
        keep = drawn["model"].eq(cell["model"]).to_numpy() & drawn["arm"].eq(cell["arm"]).to_numpy()
        for name in WHERE:
            keep &= drawn[name].eq(cell[name]).to_numpy() if cell[name] else True
        own = np.flatnonzero(keep)
        chosen = np.sort(shuffle.permutation(own)[:SHOWN])
        made[point_id(cell["model"], cell["arm"], *(cell[name] for name in WHERE))] = {
            "title": wording.visible(title(cell), 160),
            "count": int(cell["count"]),
            "command": wording.visible(command(cell, paths), 2000),
            "rows": [views[place] for place in chosen],
        }
    return made


def sample(answers: pd.DataFrame) -> pd.DataFrame:
    """Scored answers drawn by seed, the same number in every model, arm, context and belief."""
    scored = answers[answers["wrong"].notna()]
    mixed = scored.iloc[np.random.default_rng(SEED).permutation(len(scored))]
    each = max(1, min(SHOWN, ROWS // max(1, mixed[LEAF].drop_duplicates().shape[0])))
    return mixed.groupby(LEAF, sort=False).head(each).head(ROWS).reset_index(drop=True)


def _views(drawn: pd.DataFrame, answers: pd.DataFrame, prompts: pd.DataFrame) -> list[dict[str, Any]]:
    """Each drawn answer with the original's to the same prompt and sample, cut and visible."""
    near = answers[answers["arm"].eq("original") & answers["prompt_id"].isin(set(drawn["prompt_id"]))]
    keys = zip(near["model"], near["prompt_id"], near["sample"], strict=True)
    original = dict(zip(keys, near[["label", "text"]].to_dict("records"), strict=True))
    messages = prompts["message"].reindex(drawn["prompt_id"]).tolist()
    views = []
    for row, message in zip(drawn.to_dict("records"), messages, strict=True):
        said = [("original", original.get((row["model"], row["prompt_id"], row["sample"])))]
        said = [*said, (row["arm"], row)] if row["arm"] != "original" else [("original", row)]
        views.append(
            {
                "question": wording.visible(row["question_id"], 80),
                "where": wording.visible(
                    " · ".join(
                        (wording.name(row["task"]), wording.name(row["context"]), wording.belief(row["belief"]))
                    ),
                    140,
                ),
                "message": wording.visible(message if isinstance(message, str) else "", EXCERPT),
                "said": [
                    [wording.name(arm), _label(one), wording.visible(one["text"], EXCERPT)] for arm, one in said if one
                ],
            }
        )
    return views


def _label(row: Mapping[str, Any]) -> str:
    return row["label"] if isinstance(row["label"], str) else "unscored"


def title(cell: Mapping[str, Any]) -> str:
    """A point in words."""
    parts = [wording.name(cell["model"]), wording.name(cell["arm"])]
    parts += [wording.name(cell[name]) for name in ("task", "context") if cell[name]]
    parts += [wording.belief(cell["belief"])] if cell["belief"] else []
    return " · ".join(parts)


def command(cell: Mapping[str, Any], paths: Sequence[Any]) -> str:
    """`warmth show` for every row behind a point."""
    words = ["warmth", "show", "all", *map(str, paths)]
    for name in ("model", "arm", *WHERE):
        words += [f"--{name}", str(cell[name])] if cell[name] else []
    return shlex.join(words)


def as_json(made: Mapping[str, Any]) -> str:
    """JSON that may stand inside a page's script element: nothing in it can end the element or start another.

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
    text = json.dumps({"points": points, "rows": rows}, ensure_ascii=True, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
