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
from warmth.analysis.effects import apart, main_measure, pooled
from warmth.analysis.examples import among
from warmth.analysis.ink import point_id, reply_id

SHOWN = 20  # rows of one point
ROWS = 3000  # of one page, over all single cells
LEAF = ["model", "arm", "context", "belief"]
PAIR = ["model", "prompt_id", "sample"]  # what an answer shares with the original's
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
        cells: a row per point: model, arm, task, context, belief ("" where it pools all, a comma between some),
            `count`, the rows behind it, and `paired`, whether they are pairs with the original's scored answers.
        paths: what the report was made of, for the command.
    """
    drawn = sample(answers)
    views = _views(drawn, answers, prompts)
    shuffle = np.random.default_rng(SEED)
    tasks = answers["task"].unique()
    shared = ",".join(sorted(pooled(answers)["task"].unique())) if apart(tasks) else ""  # behind a point of all tasks
    made = {}
    for cell in cells.to_dict("records"):
        asked = {**cell, "task": cell["task"] or shared}
        keep = (drawn["arm"].eq(cell["arm"]) & drawn["of_pairs" if cell["paired"] else "of_all"]).to_numpy()
        for name in ("model", *WHERE):
            keep = keep & among(drawn[name], asked[name]).to_numpy() if asked[name] else keep
        own = np.flatnonzero(keep)
        chosen = np.sort(shuffle.permutation(own)[:SHOWN])
        made[point_id(cell["model"], cell["arm"], *(cell[name] for name in WHERE))] = {
            "title": wording.visible(title(cell), 160),
            "count": int(cell["count"]),
            "kind": "pairs" if cell["paired"] else "answers",
            "command": wording.visible(command(asked, paths), 2000),
            "rows": [views[place] for place in chosen],
        }
    return made


def replies(warmth: pd.DataFrame, drawn: set[str], paths: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """What a point of a warmth curve opens: replies to held-out prompts with their scores, the original's beside them.

    Args:
        warmth: columns of `rows.load`; each model's measure with most texts counts, as in the figures.
        drawn: ids of the points that figures have.
        paths: what the report was made of, for the command.
    """
    rows = warmth[warmth["score"].notna()]
    if rows.empty:
        return {}
    rows = main_measure(rows)
    arms = [(key, group) for key, group in rows.groupby(["model", "arm"]) if reply_id(*key) in drawn]
    shuffle, each = np.random.default_rng(SEED), max(1, min(SHOWN, ROWS // 4 // max(1, len(arms))))
    plain = rows[rows["arm"].eq("original")].drop_duplicates(["model", "prompt"]).set_index(["model", "prompt"])
    made = {}
    for (model, arm), group in arms:
        chosen = group.iloc[np.sort(shuffle.permutation(len(group))[:each])].to_dict("records")
        own = {"model": model, "arm": arm, "task": "", "context": "", "belief": ""}
        made[reply_id(model, arm)] = {
            "title": wording.visible(f"{title(own)} · warmth of replies to held-out prompts", 160),
            "count": len(group),
            "kind": "replies",
            "command": wording.visible(f"{command(own, paths)} --replies", 2000),
            "rows": [_reply_view(row, plain) for row in chosen],
        }
    return made


def _reply_view(row: Mapping[str, Any], plain: pd.DataFrame) -> dict[str, Any]:
    """One reply with its score, after the original's to the same prompt."""
    key = (row["model"], row["prompt"])
    told = [plain.loc[key].to_dict() | {"arm": "original"}] if row["arm"] != "original" and key in plain.index else []
    return {
        "question": wording.visible(row["text_id"], 80),
        "where": "held-out prompt",
        "message": wording.visible(row["prompt"], EXCERPT),
        "said": [
            [wording.name(one["arm"]), wording.signed(one["score"], 4), wording.visible(one["text"], EXCERPT)]
            for one in (*told, row)
        ],
    }


def sample(answers: pd.DataFrame) -> pd.DataFrame:
    """Scored answers drawn by seed: as many in every model, arm, context and belief, and of bare questions by task.

    Returns:
        Columns of `answers`; `of_pairs`: drawn from the pairs with a scored answer of the original; `of_all`: from all
        answers, fewer of the other arms, whose points are of pairs but for a few that pool many cells.
    """
    scored = answers[answers["wrong"].notna()]
    mixed = scored.iloc[np.random.default_rng(SEED).permutation(len(scored))].reset_index(drop=True)
    original = mixed["arm"].eq("original")
    keys = mixed.groupby(PAIR, sort=False).ngroup()
    paired = ~original & keys.isin(keys[original])
    slim = mixed[[*LEAF, "task"]]  # texts are slow to carry
    first = _draw(slim[original | paired], 5 * ROWS // 8, ROWS // 8)
    others = _draw(slim[~original], ROWS // 8, ROWS // 8)
    drawn = mixed.loc[first.union(others)]
    own = drawn.index.isin(first)
    of_all = (own & original[drawn.index]) | drawn.index.isin(others)
    return drawn.assign(of_all=of_all, of_pairs=own & paired[drawn.index]).reset_index(drop=True)


def _draw(rows: pd.DataFrame, cells: int, bare: int) -> pd.Index:
    """Places of rows: so many over all single cells, and so many bare questions over the tasks."""
    alone = rows[rows["context"].eq("unmodified") & rows["belief"].eq("none")]
    return _share(rows, LEAF, cells).union(_share(alone, ["model", "arm", "task"], bare))


def _share(rows: pd.DataFrame, by: list[str], limit: int) -> pd.Index:
    """Places of the first rows of each group, equally many, together no more than the limit."""
    each = max(1, min(SHOWN, limit // max(1, rows[by].drop_duplicates().shape[0])))
    return rows.groupby(by, sort=False).head(each).head(limit).index


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
    parts = [wording.name(cell["model"])] if cell["model"] else []
    parts += [wording.name(cell["arm"])]
    parts += [", ".join(map(wording.name, cell[name].split(","))) for name in ("task", "context") if cell[name]]
    parts += [" or ".join(map(wording.belief, cell["belief"].split(",")))] if cell["belief"] else []
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
