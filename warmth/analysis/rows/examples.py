"""Rows to read: the same prompt through every arm, drawn by seed so that nobody picks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from warmth.analysis.rows.arm_names import arm_order
from warmth.analysis.rows.frames import Rows

DISAGREEING, AGREEING = 12, 4  # prompts per report
SOME = 12  # values named where one is not known
WHERE = ("task", "context", "belief")  # of these a filter names one or several, a comma between


@dataclass(frozen=True)
class ArmReply:
    """One arm's answer to the example's prompt."""

    arm: str
    label: str  # the grade's label; "unscored" without one
    reason: str
    text: str
    cut_off: bool


@dataclass(frozen=True)
class Example:
    """One prompt and what each arm answered."""

    model: str
    question_id: str
    task: str
    context: str
    belief: str
    message: str
    accepted: tuple[str, ...]
    wrong: str
    disagree: bool
    said: tuple[ArmReply, ...]


def draw(rows: Rows, seed: int = 0) -> tuple[list[Example], int]:
    """Some prompts on which arms disagree and a few on which they agree.

    Returns:
        The examples, disagreeing ones first, and the number of prompts on which arms disagree.
    """
    answers = rows.answers[rows.answers["sample"].eq(0)].drop_duplicates(
        ["model", "arm", "prompt_id"]
    )
    verdicts = answers.groupby(["model", "prompt_id"], sort=True)["wrong"].nunique()
    many = answers.groupby(["model", "prompt_id"], sort=True)["arm"].nunique() > 1
    disagreeing, agreeing = verdicts.index[verdicts > 1], verdicts.index[(verdicts == 1) & many]
    rng = np.random.default_rng(seed)
    chosen: list[tuple[Any, bool]] = []
    for index, count, disagree in ((disagreeing, DISAGREEING, True), (agreeing, AGREEING, False)):
        picks = rng.permutation(len(index))[:count]
        chosen += [(index[i], disagree) for i in picks]
    answers = answers[answers["prompt_id"].isin({key[1] for key, _ in chosen})]
    groups = answers.groupby(["model", "prompt_id"])
    return [
        example(groups.get_group(key), rows.prompts, disagree) for key, disagree in chosen
    ], len(disagreeing)


def of_cell(rows: Rows, where: Mapping[str, str], arm: str = "") -> list[Example]:
    """Every prompt whose columns have these values, in the order of rows; empty when none has.

    A value is one, or of `WHERE` several with a comma between.
    With `arm` only prompts that it answered, its answers and the original's alone.
    """
    answers = rows.answers
    for column, value in where.items():
        answers = answers[among(answers[column], value)]
    if arm:
        own = set(answers.loc[answers["arm"].eq(arm), "prompt_id"])
        answers = answers[answers["arm"].isin([arm, "original"]) & answers["prompt_id"].isin(own)]
    groups = answers.groupby(["model", "prompt_id", "sample"], sort=False)
    return [example(group, rows.prompts, group["wrong"].nunique() > 1) for _, group in groups]


def misfit(rows: pd.DataFrame, given: Mapping[str, str]) -> str:
    """Why no row fits: the first filter that no row passes, with what there is; else all of
    them.
    """
    for name, value in given.items():
        if len(rows) and not among(rows[name], value).any():
            known = sorted(map(str, rows[name].unique()))
            rest = f" and {len(known) - SOME} more" if len(known) > SOME else ""
            return f" fit {name}={value}; there are: {', '.join(known[:SOME])}{rest}"
    return (
        f" fit {' '.join(f'{name}={value}' for name, value in given.items())}"
        if len(rows) and given
        else ""
    )


def among(column: pd.Series, value: str) -> pd.Series:
    """Where a column has a value; of `WHERE` also one of several that a comma parts, which stands
    in arms' names.
    """
    return column.isin([value, *value.split(",")]) if column.name in WHERE else column.eq(value)


def of_replies(rows: Rows, model: str = "", arm: str = "") -> list[Example]:
    """Replies to held-out prompts, warmth scores as labels, a column per arm; with `arm` its own
    and the original's.
    """
    warmth = rows.warmth[rows.warmth["score"].notna()]
    warmth = warmth[warmth["model"].eq(model)] if model else warmth
    if arm:
        own = set(warmth.loc[warmth["arm"].eq(arm), "prompt"])
        warmth = warmth[warmth["arm"].isin([arm, "original"]) & warmth["prompt"].isin(own)]
    found = []
    for (name, prompt, *measure), group in warmth.groupby(
        ["model", "prompt", "variant", "scorer", "seed"], sort=False
    ):
        ordered = group.assign(order=group["arm"].map(arm_order)).sort_values(
            "order", kind="stable"
        )
        said = [
            ArmReply(str(row["arm"]), f"{row['score']:+.4f}", "", str(row["text"]), False)
            for _, row in ordered.iterrows()
        ]
        where = ("held-out prompt", " ".join(map(str, measure[:2])), "none")
        first = str(group["text_id"].iloc[0])
        found.append(
            Example(str(name), first, *where, str(prompt), (), "", len(said) > 1, tuple(said))
        )
    return found


def example(group: pd.DataFrame, prompts: pd.DataFrame, disagree: bool) -> Example:
    """The rows of one prompt, a column per arm."""
    first = group.iloc[0]
    prompt: Any = prompts.loc[first["prompt_id"]] if first["prompt_id"] in prompts.index else {}
    ordered = group.assign(order=group["arm"].map(arm_order)).sort_values("order", kind="stable")
    said = tuple(
        ArmReply(
            row["arm"],
            row["label"] if isinstance(row["label"], str) else "unscored",
            row["reason"] or "",
            str(row["text"]),
            row["cut_off"],
        )
        for _, row in ordered.iterrows()
    )
    return Example(
        **{
            name: str(first[name]) for name in ("model", "question_id", "task", "context", "belief")
        },
        message=str(prompt.get("message", "")),
        accepted=tuple(str(item) for item in prompt.get("answers", ()) or ()),
        wrong=str(prompt.get("wrong") or ""),
        disagree=disagree,
        said=said,
    )
